"""What training CG-GNN takes, and its presets."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlgle_lammps.errors import UserError
from mlgle_lammps.surrogates.cg_gnn.energy import EnergySize
from mlgle_lammps.surrogates.cg_gnn.equivariant import EquivariantSize
from mlgle_lammps.surrogates.cg_gnn.grouping import METHODS
from mlgle_lammps.surrogates.cg_gnn.published_network import SMALL, PublishedSize
from mlgle_lammps.surrogates.cg_gnn.training import TrainingPlan

ENERGY, EQUIVARIANT, PUBLISHED = "default", "network", "published"
SMALL_PUBLISHED, DETERMINISTIC = "published-small", "deterministic"
PRESETS = (ENERGY, EQUIVARIANT, PUBLISHED, SMALL_PUBLISHED, DETERMINISTIC)
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
        members: of the ensemble: networks of other seeds, or energies of which each leaves out its share of the runs;
            None takes the preset's, 1 of default and 2 of others.
        seed: of the first member.
        device: "auto", "cpu" or "cuda".
        energy: how preset default moves molecules.
        calibrated: whether the size of the noise is tied by one number to the recorded Rg² (preset network).
        pair_core: whether forces of pairs are fitted in closed form first (preset network).
        equivariant: size of the network of preset network.
        published: size of the published one; None takes the preset's.
        plan: how long to train; None takes the preset's.
    """

    preset: str = ENERGY
    beads_per_group: int = 10
    grouping: str = "blocks"
    step: float = 20.0
    members: int | None = None
    seed: int = 1
    device: str = "cpu"
    energy: EnergySize = field(default_factory=EnergySize)
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
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"`{name}` is {value}; give 1 or more")
        if not self.step > 0:
            raise UserError(f"`step` is {self.step:g}; give a time above 0")

    @property
    def n_members(self) -> int:
        """Of the ensemble."""
        return self.members or (1 if self.preset == ENERGY else 2)

    @property
    def size(self) -> EnergySize | EquivariantSize | PublishedSize:
        """Size of the preset's network."""
        if self.preset == ENERGY:
            return self.energy
        if self.preset == EQUIVARIANT:
            return self.equivariant
        return self.published or (PublishedSize() if self.preset == PUBLISHED else SMALL)

    @property
    def training_plan(self) -> TrainingPlan:
        """How long to train."""
        if self.plan is not None:
            return self.plan
        return {EQUIVARIANT: TrainingPlan(), PUBLISHED: PUBLISHED_PLAN}.get(self.preset, SMALL_PLAN)
