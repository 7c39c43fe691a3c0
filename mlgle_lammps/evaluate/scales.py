"""From temperature and volume to moduli: kT/V of a melt in the units that people read."""

from __future__ import annotations

from dataclasses import dataclass

from mlgle_lammps.records import ANGSTROMS, PICOSECONDS, System

BOLTZMANN = 1.380649e-23
PASCALS = {"real": 101325.0, "metal": 1e5, "si": 1.0, "cgs": 0.1, "electron": 1.0, "micro": 1e3, "nano": 1e6}
"""A LAMMPS unit style's pressure in Pa."""


@dataclass(frozen=True)
class Scales:
    """What turns numbers of a stream into moduli and viscosities.

    Attributes:
        energy_density: kT/V in ``modulus_unit``.
        modulus_unit: "Pa", or "epsilon/sigma^3" in reduced units.
        viscosity_unit: "Pa s", or "epsilon tau/sigma^3".
        time: a unit of time in seconds; 1 in reduced units.
        pressure: the deck's unit of pressure in ``modulus_unit``.
        temperature: as given, in K or reduced.
        volume: of the box in the deck's units.
    """

    energy_density: float
    modulus_unit: str
    viscosity_unit: str
    time: float
    pressure: float
    temperature: float
    volume: float


def scales_of(system: System, temperature: float, volume: float) -> Scales:
    """Return the scales of a melt; units that have no size in SI are taken as reduced ones, where kT = T.

    Args:
        system: whose units count.
        temperature: K, or reduced.
        volume: length³.
    """
    if system.length_unit in ANGSTROMS and system.time_unit in PICOSECONDS:
        density = BOLTZMANN * temperature / (volume * (ANGSTROMS[system.length_unit] * 1e-10) ** 3)
        second = PICOSECONDS[system.time_unit] * 1e-12
        return Scales(density, "Pa", "Pa s", second, PASCALS.get(system.units, 1.0), temperature, volume)
    return Scales(temperature / volume, "epsilon/sigma^3", "epsilon tau/sigma^3", 1.0, 1.0, temperature, volume)
