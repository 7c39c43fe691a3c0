"""Options of the commands: their names, defaults, limits and meaning, checked once; `parsers` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import UserError

HANDOFF_POLICIES = ("tmax", "train", "converged")
PRESETS = ("default", "paper")
TRAINER_FAILURES = ("stop", "record")
DEVICES = ("auto", "cpu", "cuda")
FORMATS = ("lammps-dump", "h5md", "xyz", "data")
LONGEST_STRIDE = 10**9
LARGEST, MOST_THREADS = 2**62, 1024
TRAINED_CHAINS = 1024
"""Chains whose frames train the modes' dynamics, at most; D is fitted to all."""
UNIT_STYLES = ("lj", "real", "metal", "si", "cgs", "electron", "micro", "nano")


def _require_at_least(options: object, at_least: dict[str, int]) -> None:
    """Raise UserError naming the first option that is below the least that makes sense."""
    for name, least in at_least.items():
        if getattr(options, name) < least:
            raise UserError(
                f"--{name.replace('_', '-')} is {getattr(options, name)}; the least that makes sense is {least}"
            )
        most = MOST_THREADS if name == "threads" else LARGEST
        if getattr(options, name) > most:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(options, name)}; the most that is taken is {most}")


@dataclass(frozen=True)
class LearnOptions:
    """What `run` and `replay` share: everything behind the ring buffer.

    Attributes:
        out: result folder.
        overwrite: replace a result folder that exists.
        preset: "default" or "paper".
        modes: k, modes 1..k.
        memory: m, frames of history; t_max = m·dt.
        train_frames: T_train in frames.
        val_frames: T_val in frames.
        handoff: "tmax", "train" or "converged".
        target_ci: relative half-width of D's 95% interval at which "converged" hands off.
        full_md: frames of MD after the hand-off, for the reference D.
        generate_steps: steps of the integrator.
        save_every: keep every n-th generated step in generated.h5.
        ensemble: generated trajectories.
        device: "auto", "cpu" or "cuda".
        seed: of training and generation.
        threads: torch threads; 0 takes the cores that MD leaves.
    """

    out: Path
    overwrite: bool = False
    preset: str = "default"
    modes: int = 12
    memory: int = 128
    train_frames: int = 1000
    val_frames: int = 600
    handoff: str = "train"
    target_ci: float = 0.1
    full_md: int = 0
    generate_steps: int = 100_000
    save_every: int = 1
    ensemble: int = 300
    device: str = "auto"
    seed: int = 1
    threads: int = 0

    def __post_init__(self) -> None:
        at_least = {
            "modes": 1, "memory": 4, "train_frames": 8, "val_frames": 4, "full_md": 0, "generate_steps": 0,
            "save_every": 1, "ensemble": 1, "seed": 0, "threads": 0,
        }  # fmt: skip
        _require_at_least(self, at_least)
        if not 0 < self.target_ci < 1:
            raise UserError(f"--target-ci is {self.target_ci:g}; give a fraction of D between 0 and 1, such as 0.1")
        if self.memory >= self.train_frames:
            raise UserError(
                f"--memory {self.memory} is not shorter than --train-frames {self.train_frames}: "
                "no window of memory + 1 frames fits; lower --memory or raise --train-frames"
            )

        if self.generate_steps and self.save_every > self.generate_steps:
            raise UserError(
                f"--save-every {self.save_every} is above --generate-steps {self.generate_steps}: no step would be kept"
            )

    @property
    def learn_frames(self) -> int:
        """Frames that training can use: T_train + T_val, the size of the ring buffer."""
        return self.train_frames + self.val_frames

    @property
    def handoff_frames(self) -> int | None:
        """Frame count at which the policy hands off; None where the data decide."""
        return {"tmax": self.memory + 1, "train": self.learn_frames, "converged": None}[self.handoff]

    @property
    def md_frames(self) -> int | None:
        """Frames at which MD ends, those for the reference D among them; None where the data decide."""
        return None if self.handoff_frames is None else self.handoff_frames + self.full_md


@dataclass(frozen=True)
class DeckOptions:
    """What only `run` needs: the deck and how frames are taken from it.

    Attributes:
        deck: LAMMPS input script.
        variables: (name, values) as LAMMPS's own ``-var``.
        every: Δt in MD steps.
        chain_group: LAMMPS group of the backbone's beads, None for all.
        strict: refuse a system of which a part would be left out.
        check: print what the run would need, and exit.
        checkpoint_every: frames between two restart files of LAMMPS; 0 for those of production's start and end only.
        wall_limit: seconds after which the run ends by itself, all saved; None for no limit.
        on_trainer_failure: "stop" or "record": what MD does where learning fails.
    """

    deck: Path
    variables: tuple[tuple[str, tuple[str, ...]], ...] = ()
    every: int = 2000
    chain_group: str | None = None
    strict: bool = False
    check: bool = False
    checkpoint_every: int = 200
    wall_limit: float | None = None
    on_trainer_failure: str = "stop"

    def __post_init__(self) -> None:
        _require_at_least(self, {"checkpoint_every": 0})
        if not 1 <= self.every <= LONGEST_STRIDE:
            raise UserError(
                f"--every is {self.every}; give the number of MD steps between two frames, 1 to {LONGEST_STRIDE}"
            )

    @property
    def settings(self) -> dict[str, tuple[str, ...]]:
        """The variables by name; of one given twice the first, which LAMMPS keeps."""
        return dict(reversed(self.variables))


@dataclass(frozen=True)
class RunRequest:
    """What a ``run`` command asks for.

    Attributes:
        deck: options of the deck.
        learn: options of everything behind the ring buffer.
        resume: the run's folder, where an earlier run goes on.
        digest: of the deck when that run began.
        changed: options of ``learn`` that differ from its.
    """

    deck: DeckOptions
    learn: LearnOptions
    resume: Path | None = None
    digest: str = ""
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrajectoryOptions:
    """What ``replay`` takes for trajectories and tensors of modes.

    Attributes:
        topology: LAMMPS data file, or another topology that MDAnalysis reads.
        select: atoms of the chains' backbones, in MDAnalysis' selection language; None for all bonded ones.
        dt: time between two frames of the file; None takes it from the file or from ``timestep``.
        timestep: of the MD; Δt is the steps between two frames times it.
        units: LAMMPS unit style, "unknown" without one.
        skip: frames left out at the start.
        stride: take every n-th frame.
        unwrapped: positions are unwrapped already, whatever the file says.
    """

    topology: Path | None = None
    select: str | None = None
    dt: float | None = None
    timestep: float | None = None
    units: str = "unknown"
    skip: int = 0
    stride: int = 1
    unwrapped: bool = False

    def __post_init__(self) -> None:
        _require_at_least(self, {"skip": 0, "stride": 1})
        for name, value in (("dt", self.dt), ("timestep", self.timestep)):
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"--{name} is {value:g}; give a time above 0")


@dataclass(frozen=True)
class GenerateOptions:
    """What ``generate`` takes.

    Attributes:
        run: a result folder with model.pt and modes.h5.
        steps: steps to generate.
        ensemble: trajectories.
        save_every: keep every n-th step.
        seed: of the noise.
        device: "auto", "cpu" or "cuda".
        out: the file written (default RUN/generated.h5).
        threads: torch threads, 0 for all cores.
    """

    run: Path
    steps: int = 100_000
    ensemble: int = 300
    save_every: int = 1
    seed: int = 1
    device: str = "auto"
    out: Path | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        _require_at_least(self, {"steps": 1, "ensemble": 1, "save_every": 1, "seed": 0, "threads": 0})
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
        _require_at_least(self, {name: n for name, n in least.items() if getattr(self, name) is not None})
        if self.mass is not None and not 0 < self.mass < float("inf"):
            raise UserError(f"--mass is {self.mass:g}; give a mass above 0")


@dataclass(frozen=True)
class CompareOptions:
    """What ``compare`` takes.

    Attributes:
        runs: result folders; the second of two may be a stream of full MD.
        temperatures: of the runs, in their order; empty where the runs' variables or logs tell them.
        out: folder of the comparison.
        overwrite: replace one that exists.
    """

    runs: tuple[Path, ...]
    out: Path
    temperatures: tuple[float, ...] = ()
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.temperatures and len(self.temperatures) != len(self.runs):
            raise UserError(f"--temperatures has {len(self.temperatures)} values for {len(self.runs)} runs")
        if not all(0 < T < float("inf") for T in self.temperatures):
            raise UserError("--temperatures must be above 0")
        if len(self.temperatures) == 1:
            raise UserError("--temperatures needs two runs or more")
