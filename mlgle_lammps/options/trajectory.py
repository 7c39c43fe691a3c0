"""What `replay` takes for other people's trajectories."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.declaring import option, require_limits
from mlgle_lammps.options.species import EVERY, LENGTH_BIN, SPECIES, require_bin
from mlgle_lammps.records import UNITS

NO_UNITS = "unknown"
TENSOR_OPTIONS = ("dt", "units", "skip", "stride")
"""Fields that tensors of modes have a use for."""
SHORTEST, LONGEST = 1e-50, 1e50
"""Times between two frames lie between these, as in the files that they are written to (store.description)."""
_SECTION = "trajectories"


@dataclass(frozen=True)
class TrajectoryOptions:
    """What ``replay`` takes for trajectories and tensors of modes; each field says what it means."""

    topology: Path | None = option(
        None, "LAMMPS data file (or another topology) with the bonds", metavar="DATA", section=_SECTION
    )
    select: str | None = option(
        None, "backbone atoms, in MDAnalysis' language: 'type 1'", metavar="SELECTION", shown="all bonded ones",
        section=_SECTION,
    )  # fmt: skip
    species: str | None = option(
        None,
        f"{SPECIES}; {EVERY}: each in turn, in folders below `out`",
        metavar="NAME",
        shown="the longest of ten molecules or more",
        section=_SECTION,
    )
    length_bin: float = option(0.0, LENGTH_BIN, metavar="FRACTION", section=_SECTION)
    dt: float | None = option(None, "time between two frames of the file", metavar="TIME", section=_SECTION)
    timestep: float | None = option(
        None, "time step of the MD, where frames know their steps", metavar="TIME", section=_SECTION
    )
    units: str = option(
        NO_UNITS, "LAMMPS units of the file, of dt and of timestep", choices=tuple(UNITS), section=_SECTION
    )
    skip: int = option(0, "leave out frames at the start", metavar="FRAMES", least=0, section=_SECTION)
    stride: int = option(1, "take every n-th frame", metavar="N", least=1, section=_SECTION)
    unwrapped: bool = option(False, "positions are unwrapped already: take them as they are", section=_SECTION)
    group: str | None = option(
        None, "H5MD's group of particles", metavar="NAME", shown="the one that fits the topology", section=_SECTION
    )

    @property
    def given(self) -> tuple[str, ...]:
        """Options that are not as they are by default, as messages name them."""
        return tuple(f"`{own.name}`" for own in fields(self) if getattr(self, own.name) != own.default)

    def __post_init__(self) -> None:
        require_limits(self)
        require_bin(self.length_bin)
        for name, value in (("dt", self.dt), ("timestep", self.timestep)):
            if value is not None and not SHORTEST < value < LONGEST:
                raise UserError(f"`{name}` is {value:g}; give a time above 0, from {SHORTEST:g} to {LONGEST:g}")
