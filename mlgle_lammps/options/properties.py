"""What `properties` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.declaring import option, require_limits

LEAST, MOST = 1e-50, 1e50
"""Of temperatures, volumes, masses and scattering vectors: beyond these their powers are no numbers."""


@dataclass(frozen=True)
class PropertiesOptions:
    """What ``properties`` takes; each field says what it means."""

    run: Path = option(meaning="a result folder, or a recorded stream", metavar="RUN", positional=True)
    out: Path | None = option(
        None, "folder for properties.json, properties.html and properties/", metavar="DIR",
        shown="the run's own, FILE-properties for a file",
    )  # fmt: skip
    temperature: float | None = option(
        None, "of the melt", metavar="T", shown="the mean one of its log, or the deck's variable T"
    )
    volume: float | None = option(None, "of the box, where the recording has none", metavar="V")
    q: tuple[float, ...] = option((), "scattering vectors, 1/length", metavar="Q", shown="some about 1/Rg")
    beads: int | None = option(None, "beads per chain, where the recording does not say", metavar="N", least=2)
    bead_mass: float | None = option(None, "g/mol, for the molar mass in RepTate's files", metavar="MASS")
    sum_beads: bool = option(
        False, "sum scattering over bead positions too: MD's where all modes are streamed, and those of generated.h5"
    )

    def __post_init__(self) -> None:
        require_limits(self)
        for name in ("temperature", "volume", "bead_mass"):
            value = getattr(self, name)
            if value is not None and not LEAST <= value <= MOST:
                raise UserError(f"`{name}` is {value:g}; give a number above 0, from {LEAST:g} to {MOST:g}")
        for value in self.q:
            if not LEAST <= value <= MOST:
                raise UserError(f"`q` must be above 0, from {LEAST:g} to {MOST:g}, and {value:g} is not")
