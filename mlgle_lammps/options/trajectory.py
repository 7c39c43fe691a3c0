"""What `replay` takes for other people's trajectories."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.limits import require_at_least, require_bin

UNIT_STYLES = ("lj", "real", "metal", "si", "cgs", "electron", "micro", "nano")


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
        species: name of the main species; None for the rule.
        length_bin: relative width of the lengths of linear chains that share a species; 0 for none.
        group: name of the H5MD group of particles to read; None where there is one, or one that fits the topology.
    """

    topology: Path | None = None
    select: str | None = None
    dt: float | None = None
    timestep: float | None = None
    units: str = "unknown"
    skip: int = 0
    stride: int = 1
    unwrapped: bool = False
    group: str | None = None
    species: str | None = None
    length_bin: float = 0.0

    def __post_init__(self) -> None:
        require_at_least(self, {"skip": 0, "stride": 1})
        require_bin(self.length_bin)
        for name, value in (("dt", self.dt), ("timestep", self.timestep)):
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"--{name} is {value:g}; give a time above 0")
