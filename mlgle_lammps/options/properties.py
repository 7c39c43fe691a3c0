"""What `properties` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.limits import require_at_least


@dataclass(frozen=True)
class PropertiesOptions:
    """What ``properties`` takes.

    Attributes:
        run: a result folder or a recorded stream.
        out: folder for what is written; None for the run's own.
        temperature: of the melt; None takes it from the log or the deck's variable.
        volume: of the box, where the recording has none; None takes the recorded one.
        q: scattering vectors, 1/length; empty for some about 1/Rg.
        beads: per chain, where the recording does not say.
        bead_mass: g/mol, for RepTate's files; None where it is not known.
        sum_beads: sum scattering over bead positions too.
    """

    run: Path
    out: Path | None = None
    temperature: float | None = None
    volume: float | None = None
    q: tuple[float, ...] = ()
    beads: int | None = None
    bead_mass: float | None = None
    sum_beads: bool = False

    def __post_init__(self) -> None:
        if self.beads is not None:
            require_at_least(self, {"beads": 2})
        for name in ("temperature", "volume", "bead_mass"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"--{name.replace('_', '-')} is {value:g}; give a number above 0")
        if not all(0 < value < float("inf") for value in self.q):
            raise UserError("--q must be above 0")
