"""What `generate` and `reconstruct` take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.declaring import option, require_limits
from mlgle_lammps.options.devices import DEVICE, device_names
from mlgle_lammps.options.learn import MOST_STEPS, MOST_THREADS, MOST_TRAJECTORIES

LONGEST_TIME = 1e15
"""In any unit, and longer than any use reaches."""
FORMATS = ("lammps-dump", "h5md", "xyz", "data")


@dataclass(frozen=True)
class GenerateOptions:
    """What ``generate`` takes; each field says what it means."""

    run: Path = option(
        meaning="a result folder with a model and modes.h5; with --temperature what compare wrote of several "
        "temperatures; with --start a folder with a model of many molecules", metavar="RUN", positional=True,
    )  # fmt: skip
    steps: int = option(100_000, "steps to generate", metavar="STEPS", least=1, most=MOST_STEPS)
    time: float | None = option(None, "time to generate, in place of steps", metavar="TIME")
    start: tuple[Path, ...] = option(
        (), "runs of molecules that need not have been learned from: each is moved on from its own first frames",
        metavar="RUN",
    )  # fmt: skip
    ensemble: int | None = option(
        None, "trajectories; boxes of molecules that move together (nm-mb, cg-gnn)", metavar="N", least=1,
        most=MOST_TRAJECTORIES, shown="300, or 1 box",
    )  # fmt: skip
    save_every: int = option(1, "keep every n-th step", metavar="STEPS", least=1)
    seed: int = option(1, "of the noise", metavar="SEED", least=0)
    device: str = option("auto", DEVICE.format("run"), metavar="DEVICE")
    out: Path | None = option(
        None, "file to write; with --start a folder", metavar="FILE",
        shown="RUN/generated.h5, RUN/generated with --start, FOLDER/generated-T370.h5 with --temperature 370",
    )  # fmt: skip
    overwrite: bool = option(False, "replace a folder that --start made before")
    threads: int = option(0, "torch threads", metavar="N", least=0, most=MOST_THREADS, shown="all cores")
    surrogate: str | None = option(None, "refuse a model of another", metavar="NAME", shown="any")
    molecules: int | None = option(
        None, "of a surrogate whose molecules move together (nm-mb): a box of so many at the same density",
        metavar="N", least=2, most=10**6, shown="the box of the run",
    )  # fmt: skip
    temperature: float | None = option(
        None, "of the trajectories, which nobody need have run: the nearest run's model, its times scaled by a_T and "
        "its sizes interpolated", metavar="T",
    )  # fmt: skip

    @property
    def trajectories(self) -> int:
        """Trajectories of molecules that move each by itself."""
        return 300 if self.ensemble is None else self.ensemble

    @property
    def boxes(self) -> int:
        """Boxes of molecules that move together."""
        return 1 if self.ensemble is None else self.ensemble

    def __post_init__(self) -> None:
        require_limits(self)
        device_names(self.device)
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise UserError(f"`temperature` is {self.temperature:g}; give one above 0")
        if self.time is not None and not 0 < self.time < LONGEST_TIME:
            raise UserError(f"`time` is {self.time:g}; give one above 0 and below {LONGEST_TIME:g}")
        if self.start and self.temperature is not None:
            raise UserError("`start` and `temperature` do not go together")
        if self.start and self.molecules is not None:
            raise UserError("`start` and `molecules` do not go together: the runs to start from say how many there are")
        if self.time is not None and not self.start:
            raise UserError("`time` goes with `start`; give `steps`")
        if self.time is None and self.save_every > self.steps:
            raise UserError(f"`save_every` {self.save_every} is above `steps` {self.steps}: no step would be kept")


@dataclass(frozen=True)
class ReconstructOptions:
    """What ``reconstruct`` takes; each field says what it means."""

    run: Path = option(meaning="a result folder with generated.h5 and modes.h5", metavar="RUN", positional=True)
    format: str = option("lammps-dump", "of the file", choices=FORMATS)
    trajectories: int | None = option(None, "chains", metavar="N", least=1, shown="as many as the MD has")
    every: int | None = option(
        None, "use each n-th frame of generated.h5", metavar="N", least=1, shown="about 1000 in all"
    )
    start: int = option(0, "first frame used", metavar="FRAME", least=0)
    stop: int | None = option(
        None, "one after the last frame used; data files hold the last one", metavar="FRAME", least=1
    )
    out: Path | None = option(None, "file to write", metavar="FILE", shown="RUN/reconstructed.*")
    overwrite: bool = option(False, "replace the file")
    seed: int = option(1, "of the fast modes that are drawn", metavar="SEED", least=0)
    beads: int | None = option(None, "beads per chain, where modes.h5 does not say", metavar="N", least=2)
    mass: float | None = option(None, "of a bead, for data files", metavar="MASS", shown="left to the deck")

    def __post_init__(self) -> None:
        require_limits(self)
        if self.mass is not None and not 0 < self.mass < float("inf"):
            raise UserError(f"`mass` is {self.mass:g}; give a mass above 0")
        if self.mass is not None and self.format != "data":
            raise UserError(f"`mass` is for data files alone, and `format` is {self.format}; leave it out")
