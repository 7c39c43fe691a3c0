"""What only `run` needs: the deck, how frames are taken from it, and the run that goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.declaring import option, require_limits
from mlgle_lammps.options.learn import NO_SURROGATE, LearnOptions
from mlgle_lammps.options.species import LENGTH_BIN, SPECIES, require_bin

TRAINER_FAILURES = ("stop", "record")
LONGEST_STRIDE = 10**9
EVERY = 2000
"""Steps between two frames where nobody says it, and no surrogate finds it."""


@dataclass(frozen=True)
class DeckOptions:
    """What only `run` needs: the deck and how frames are taken from it; each field says what it means.

    ``variables`` are (name, values) as LAMMPS's own ``-var``; ``wall_limit`` is in seconds.
    """

    deck: Path = option(meaning="LAMMPS input script", metavar="DECK", positional=True)
    variables: tuple[tuple[str, tuple[str, ...]], ...] = ()
    every: int | None = option(
        None, "Δt: MD steps between two frames", metavar="STEPS", shown="2000; nm-mb: found from the centres' motion"
    )  # fmt: skip
    chain_group: str | None = option(
        None, "LAMMPS group that holds the backbone beads", metavar="GROUP", shown="all bonded beads"
    )
    species: str | None = option(None, SPECIES, metavar="NAME", shown="the longest of ten molecules or more")
    length_bin: float = option(0.0, LENGTH_BIN, metavar="FRACTION")
    strict: bool = option(False, "refuse a system whose molecules are not alike")
    check: bool = option(False, "print chains, memory, disk and expected MD time, and exit")
    checkpoint_every: int = option(
        200, "frames between two restart files of LAMMPS", metavar="FRAMES", least=0,
        shown="200; 0: where production begins and where it ends only",
    )  # fmt: skip
    wall_limit: float | None = option(
        None, "end with all saved before so much wall time, as HH:MM:SS, 90m or 23.5h", metavar="TIME",
        shown="Slurm's limit, where there is one",
    )  # fmt: skip
    on_trainer_failure: str = option(
        "stop", "where learning fails, MD stops or goes on recording", choices=TRAINER_FAILURES
    )
    stress: int = option(
        0, "correlate the pressure tensor of each so many-th step, for viscosity and moduli", metavar="STEPS", least=0,
        most=LONGEST_STRIDE, shown="0: not at all; 1: of each step",
    )  # fmt: skip

    def __post_init__(self) -> None:
        require_limits(self)
        require_bin(self.length_bin)
        if self.every is not None and not 1 <= self.every <= LONGEST_STRIDE:
            raise UserError(
                f"`every` is {self.every}; give the number of MD steps between two frames, 1 to {LONGEST_STRIDE}"
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

    @property
    def records_only(self) -> bool:
        """Whether frames are recorded and nothing is learned."""
        return self.learn.surrogate == NO_SURROGATE

    @property
    def target_frames(self) -> int | None:
        """Frames at which MD ends; None where the data or the deck decide."""
        return self.learn.frames if self.records_only else self.learn.md_frames
