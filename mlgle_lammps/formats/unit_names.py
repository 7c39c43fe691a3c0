"""Names of units as files write them, brought to those that LAMMPS' unit styles use here."""

from __future__ import annotations

from mlgle_lammps.records import UNITS

_SPELLINGS = {
    "fs": ("femtosecond",),
    "ps": ("picosecond",),
    "ns": ("nanosecond",),
    "us": ("microsecond", "µs", "μs"),
    "s": ("second", "sec"),
    "Angstrom": ("a", "å", "ang", "angstroem", "ångström", "ångstrom"),
    "nm": ("nanometer", "nanometre"),
    "um": ("micrometer", "micrometre", "micron", "µm", "μm"),
    "cm": ("centimeter", "centimetre"),
    "m": ("meter", "metre"),
    "Bohr": ("a0",),
}
_NAMES = {spelling: name for name, more in _SPELLINGS.items() for spelling in (name.lower(), *more)}


def unit_name(written: str) -> str:
    """Return the name used here ("Angstrom" for "A", "ps" for "picoseconds"); what is not known comes back as it is."""
    word = written.strip()
    plain = word.lower()
    for known in (plain, plain.removesuffix("s")):
        if known in _NAMES:
            return _NAMES[known]
    return word


def unit_style(time: str, length: str) -> str:
    """Return the LAMMPS unit style of these units of time and length, "unknown" where none or more than one has them.

    "lj" for either is LAMMPS' way to write that there are none.
    """
    if "lj" in (time, length):
        return "lj"
    found = [style for style, names in UNITS.items() if names == (unit_name(time), unit_name(length))]
    return found[0] if len(found) == 1 else "unknown"
