"""What training CG-GNN takes, and its presets."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlgle_lammps.errors import UserError
from mlgle_lammps.surrogates.cg_gnn.equivariant import EquivariantSize
from mlgle_lammps.surrogates.cg_gnn.grouping import METHODS
from mlgle_lammps.surrogates.cg_gnn.published_network import SMALL, PublishedSize
from mlgle_lammps.surrogates.cg_gnn.training import TrainingPlan

EQUIVARIANT, PUBLISHED = "default", "published"
SMALL_PUBLISHED, DETERMINISTIC = "published-small", "deterministic"
PRESETS = (EQUIVARIANT, PUBLISHED, SMALL_PUBLISHED, DETERMINISTIC)
"""Deterministic is the small published network whose noise is left out when it moves molecules: an ablation."""
PUBLISHED_PLAN = TrainingPlan(
    updates=500_000, horizon_updates=0, batch=64, rate=2e-4, last_rate=2e-5, decay=0.0, averaging=0.0
)
SMALL_PLAN = TrainingPlan(updates=4000, horizon_updates=0, batch=128, rate=1e-3, last_rate=1e-4, decay=0.0)


@dataclass(frozen=True)
class CgGnnOptions:
    """How to learn from runs.

    Attributes:
        preset: one of ``PRESETS``.
        beads_per_group: wanted beads of a group.
        grouping: how beads are grouped, one of ``grouping.METHODS``.
        step: time of a model step in the runs' unit, a multiple of the time between frames.
        members: of the ensemble, each of another seed.
        seed: of the first member.
        device: "auto", "cpu" or "cuda".
        calibrated: whether the size of the noise is tied by one number to the recorded Rg² (preset default).
        pair_core: whether forces of pairs are fitted in closed form first (preset default).
        equivariant: size of the network of preset default.
        published: size of the published one; None takes the preset's.
        plan: how long to train; None takes the preset's.
    """

    preset: str = EQUIVARIANT
    beads_per_group: int = 10
    grouping: str = "blocks"
    step: float = 20.0
    members: int = 2
    seed: int = 1
    device: str = "cpu"
    calibrated: bool = True
    pair_core: bool = True
    equivariant: EquivariantSize = field(default_factory=EquivariantSize)
    published: PublishedSize | None = None
    plan: TrainingPlan | None = None

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise UserError(f"`preset` {self.preset}: cg-gnn has no such preset; there are: {', '.join(PRESETS)}")
        if self.grouping not in METHODS:
            raise UserError(f"`grouping` {self.grouping}: there are {', '.join(METHODS)}")
        for name in ("beads_per_group", "members"):
            if getattr(self, name) < 1:
                raise UserError(f"`{name}` is {getattr(self, name)}; give 1 or more")
        if not self.step > 0:
            raise UserError(f"`step` is {self.step:g}; give a time above 0")

    @property
    def is_equivariant(self) -> bool:
        """Whether it is the network with noise by modes on a linear core."""
        return self.preset == EQUIVARIANT

    @property
    def size_published(self) -> PublishedSize:
        """Size of the published network."""
        return self.published or (PublishedSize() if self.preset == PUBLISHED else SMALL)

    @property
    def training_plan(self) -> TrainingPlan:
        """How long to train."""
        if self.plan is not None:
            return self.plan
        return {EQUIVARIANT: TrainingPlan(), PUBLISHED: PUBLISHED_PLAN}.get(self.preset, SMALL_PLAN)
