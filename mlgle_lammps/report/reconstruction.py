"""Sizes of reconstructed chains against those of MD, as pages show them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.report.page import Gaps, number
from mlgle_lammps.report.plots import unit_symbol

SHOWN = {"end_to_end_sq": "⟨R²⟩", "gyration_sq": "⟨Rg²⟩", "bond_sq": "⟨b²⟩"}


@dataclass(frozen=True)
class SizeRow:
    """One size of the chains, its numbers written with standard errors.

    Attributes:
        name: its symbol.
        reconstructed: of the beads that were written.
        md: of MD.
        ratio: of the two.
    """

    name: str
    reconstructed: str
    md: str
    ratio: str


@dataclass(frozen=True)
class Reconstruction:
    """What a page shows of reconstruct.json.

    Attributes:
        rows: one per size.
        unit: of length.
        drawn: one line on what is drawn at random.
        warnings: one line each.
    """

    rows: tuple[SizeRow, ...]
    unit: str
    drawn: str
    warnings: tuple[str, ...]


def reconstruction_of(numbers: JsonMapping | None) -> Reconstruction | None:
    """Return what to show of reconstruct.json; None without any size in it.

    Args:
        numbers: its content, which may come from anyone: what is absent or no number becomes a dash.
    """
    kept = Gaps(numbers or {})
    sizes = {key: row for key in SHOWN if isinstance(row := kept.part("sizes").get(key), dict)}
    if not sizes:
        return None
    rows = tuple(
        SizeRow(SHOWN[key], _measured(row.get("reconstructed")), _measured(row.get("md")), _ratio(row))
        for key, row in sizes.items()
    )
    warnings = kept["warnings"] if isinstance(kept["warnings"], list) else []
    unit = kept["length_unit"] if isinstance(kept["length_unit"], str) else ""
    return Reconstruction(rows, unit_symbol(unit), _drawn(kept), tuple(str(line) for line in warnings))


def _drawn(kept: Gaps) -> str:
    """Return the line on what is drawn at random."""
    chains, frames, generated, drawn = (
        number(_finite(kept[key])) for key in ("chains", "frames", "modes_generated", "modes_drawn")
    )
    told = f"{chains} chains, {frames} frames; modes 1 to {generated} are generated"
    if kept["modes_drawn"] == 0:
        return f"{told}, none is missing."
    source = f"; their variances: {kept['fast_mode_source']}" if kept["fast_mode_source"] else ""
    return f"{told}, the {drawn} faster ones are drawn anew as normal numbers in each frame{source}."


def _measured(entry: object) -> str:
    return _with_error(entry.get("value"), entry.get("se"), 4) if isinstance(entry, dict) else "–"


def _ratio(row: JsonMapping) -> str:
    return _with_error(row.get("ratio"), row.get("ratio_se"), 4)


def _with_error(value: object, se: object, digits: int) -> str:
    shown, error = _finite(value), _finite(se)
    return number(shown, digits, True) + (f" ± {number(error, 2)}" if shown is not None and error is not None else "")


def _finite(value: object) -> int | float | None:
    """Return ``value`` where it is a finite number, None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e300 and not math.isnan(value) else None
