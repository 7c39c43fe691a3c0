"""One thing in other units: results and streams brought to common ones before they are held against one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import ANGSTROMS, CHAINS, PICOSECONDS, Frames, System
from mlgle_lammps.store.recording import Recording

UNNAMED = {"time_unit": "time", "length_unit": "length"}
"""What stands in a description that does not say its unit."""
REDUCED = ("tau", "sigma")
SIZES = {"time_unit": PICOSECONDS, "length_unit": ANGSTROMS}


def unit_factors(own: System, path: Path, other: System, other_path: Path) -> tuple[float, float]:
    """Return by what times and lengths of ``own`` are multiplied to be in the units of ``other``; 1 where not said.

    Raises:
        UserError: reduced units against real ones, or units that are not known.
    """
    time, length = (_factor(own, path, other, other_path, name) for name in UNNAMED)
    return time, length


def _factor(own: System, path: Path, other: System, other_path: Path, name: str) -> float:
    mine, its = getattr(own, name), getattr(other, name)
    if mine == its or UNNAMED[name] in (mine, its):
        return 1.0
    sizes = SIZES[name]
    if mine in sizes and its in sizes:
        return float(f"{sizes[mine] / sizes[its]:.12g}")
    reduced = mine in REDUCED or its in REDUCED
    why = "reduced (lj) units have no size in real ones" if reduced else "their ratio is not known"
    raise UserError(f"{path} has {name} {mine}, {other_path} has {its}: {why}, so that they cannot be compared")


def system_in_units(system: System, other: System, time: float, length: float) -> System:
    """Return a system in the units of ``other``, by the factors of `unit_factors`."""
    if time == length == 1.0:
        return system
    box, variances = system.box, system.mode_variances
    return replace(
        system,
        dt=float(f"{system.dt * time:.12g}"),
        units=other.units,
        time_unit=other.time_unit if system.time_unit != UNNAMED["time_unit"] else system.time_unit,
        length_unit=other.length_unit if system.length_unit != UNNAMED["length_unit"] else system.length_unit,
        box=None if box is None else tuple(edge * length for edge in box),
        mode_variances=None if variances is None else tuple(v * length**2 for v in variances),
    )


def units_note(own: System, path: Path, other: System, other_path: Path) -> list[str]:
    """Return a line where `recording_in_units` changes numbers."""
    if unit_factors(own, path, other, other_path) == (1.0, 1.0):
        return []
    return [
        f"{path} is in {own.length_unit} and {own.time_unit}: its numbers are brought to the {other.length_unit} and "
        f"{other.time_unit} of {other_path}"
    ]


def recording_in_units(recording: Recording, path: Path, other: System, other_path: Path) -> Recording:
    """Return a recording whose Δt, centres and modes are in the units of ``other``, itself where they are already.

    Raises:
        UserError: as of `unit_factors`.
    """
    time, length = unit_factors(recording.system, path, other, other_path)
    system = system_in_units(recording.system, other, time, length)
    if length == 1.0:
        return replace(recording, system=system)

    def scaled(values: NDArray[np.floating]) -> NDArray[np.floating]:
        return (values.astype(np.float64) * length).astype(values.dtype)

    def read() -> Iterator[Frames]:
        for block in recording.read():
            own = {name: scaled(v) for name, v in block.channels[CHAINS].items() if name in ("com", "modes")}
            yield Frames(block.steps, block.segments, {CHAINS: own})

    return replace(recording, system=replace(system, channels=("com", "modes"), others=()), read=read)
