"""What only `run` needs: the deck, how frames are taken from it, and the run that goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.options.limits import require_at_least

TRAINER_FAILURES = ("stop", "record")
LONGEST_STRIDE = 10**9


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
        stress: steps between two samples of the pressure tensor, which is correlated; 0 for none.
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
    stress: int = 0

    def __post_init__(self) -> None:
        require_at_least(self, {"checkpoint_every": 0, "stress": 0})
        if self.stress > LONGEST_STRIDE:
            raise UserError(f"--stress is {self.stress}; give the number of MD steps between two samples, such as 1")
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
