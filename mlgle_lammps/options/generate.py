"""What `generate` and `reconstruct` take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.limits import require_at_least

FORMATS = ("lammps-dump", "h5md", "xyz", "data")


@dataclass(frozen=True)
class GenerateOptions:
    """What ``generate`` takes.

    Attributes:
        run: a result folder with a model and modes.h5.
        steps: steps to generate.
        ensemble: trajectories.
        save_every: keep every n-th step.
        seed: of the noise.
        device: "auto", "cpu" or "cuda".
        out: the file written (default RUN/generated.h5).
        threads: torch threads, 0 for all cores.
        surrogate: that the model has to be of; None for any.
        temperature: of the trajectories, where ``run`` is a comparison of temperatures; None for a run's own.
    """

    run: Path
    steps: int = 100_000
    ensemble: int = 300
    save_every: int = 1
    seed: int = 1
    device: str = "auto"
    out: Path | None = None
    threads: int = 0
    surrogate: str | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise UserError(f"--temperature is {self.temperature:g}; give one above 0")
        require_at_least(self, {"steps": 1, "ensemble": 1, "save_every": 1, "seed": 0, "threads": 0})
        if self.save_every > self.steps:
            raise UserError(f"--save-every {self.save_every} is above --steps {self.steps}: no step would be kept")


@dataclass(frozen=True)
class ReconstructOptions:
    """What ``reconstruct`` takes.

    Attributes:
        run: a result folder with generated.h5 and modes.h5.
        format: "lammps-dump", "h5md", "xyz" or "data".
        trajectories: chains written; None for as many as the MD has.
        every: use each n-th frame of generated.h5; None for about 1000 frames.
        start: first frame used.
        stop: one after the last, None for the end.
        out: the file written (default RUN/reconstructed.*).
        overwrite: replace it.
        seed: of the fast modes.
        beads: per chain, where modes.h5 does not say.
        mass: of a bead, for data files.
    """

    run: Path
    format: str = "lammps-dump"
    trajectories: int | None = None
    every: int | None = None
    start: int = 0
    stop: int | None = None
    out: Path | None = None
    overwrite: bool = False
    seed: int = 1
    beads: int | None = None
    mass: float | None = None

    def __post_init__(self) -> None:
        least = {"trajectories": 1, "every": 1, "start": 0, "stop": 1, "seed": 0, "beads": 2}
        require_at_least(self, {name: n for name, n in least.items() if getattr(self, name) is not None})
        if self.mass is not None and not 0 < self.mass < float("inf"):
            raise UserError(f"--mass is {self.mass:g}; give a mass above 0")
