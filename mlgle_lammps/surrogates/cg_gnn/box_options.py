"""What training on boxes of several species takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlgle_lammps.errors import UserError
from mlgle_lammps.surrogates.cg_gnn.box_mobility import MobilitySize
from mlgle_lammps.surrogates.cg_gnn.grouping import METHODS

DEFAULT = "default"
REFINE, MOST_REFINE = 8, 64


@dataclass(frozen=True)
class BoxOptions:
    """How to learn from boxes.

    Attributes:
        preset: "default" alone.
        beads_per_group: wanted beads of a group.
        grouping: how beads are grouped, one of ``grouping.METHODS``.
        step: time of a model step in the runs' unit; None for two frames.
        members: networks of the ensemble.
        seed: of the first member.
        refine: levels of noise, calls of the score in a step; 1 for no refinement.
        frames: of each run that the score is fitted to, at each level.
        rounds: of score and tie; the score hangs on how large the noise is.
        ties: of each round.
        mobility: size of the networks.
    """

    preset: str = DEFAULT
    beads_per_group: int = 10
    grouping: str = "blocks"
    step: float | None = None
    members: int = 2
    seed: int = 1
    refine: int = REFINE
    frames: int = 90
    rounds: int = 2
    ties: int = 2
    mobility: MobilitySize = field(default_factory=MobilitySize)

    def __post_init__(self) -> None:
        if self.preset != DEFAULT:
            raise UserError(f"`preset` {self.preset} is of single molecules; boxes of several species have {DEFAULT}")
        if self.grouping not in METHODS:
            raise UserError(f"`grouping` {self.grouping}: there are {', '.join(METHODS)}")
        for name in ("beads_per_group", "members", "refine", "frames", "rounds"):
            if getattr(self, name) < 1:
                raise UserError(f"`{name}` is {getattr(self, name)}; give 1 or more")
        if self.step is not None and not self.step > 0:
            raise UserError(f"`step` is {self.step:g}; give a time above 0")
