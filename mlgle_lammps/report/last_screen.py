"""The last lines on the terminal: what the first screen of report.html says, from the same result.json."""

from __future__ import annotations

from pathlib import Path

from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.report.page import traffic_light
from mlgle_lammps.report.report import comparisons_of, direction_lines, headline_of, species_rows


def last_screen(result: JsonMapping, folder: Path) -> tuple[list[str], list[str]]:
    """Return warnings, and the lines that follow them, the last of which is D with its interval and the folder.

    Args:
        result: content of result.json.
        folder: that it is in.
    """
    warnings = [f"warning: {line}" for line in result.get("warnings") or []]
    lines = [f"note: {line}" for line in result.get("notes") or []]
    chains = f"{result.get('n_chains')} chains"
    if result.get("n_beads"):
        chains += f" × {result['n_beads']} beads"
    lines.append(f"{result.get('source') or 'a stream'}: {chains}, {result.get('status') or 'partial'}")
    lines += direction_lines(result)
    light = traffic_light(result)
    lines.append(light.words.replace("below", "above"))
    lines += [f"- {reason}" for reason in light.reasons]
    lines += [_other_way(row) for row in comparisons_of(result)[1:] if row["value"] is not None]
    lines += [_other_species(row) for row in species_rows(result) if not row["main"]]
    headline = headline_of(result)
    if headline["method"]:
        lines.append(f"D by {headline['method']}")
    return warnings, [*lines, f"D = {_described(result, headline['metric'])}; results in {folder}"]


def _other_species(row: JsonMapping) -> str:
    found = _estimate(row) if row["value"] is not None else f"not known: {row['reason']}"
    return f"{row['name']} ({row['words']}): D = {found}"


def _other_way(row: JsonMapping) -> str:
    return f"{row['name']}: D = {_estimate(row)}" + (f", z = {row['z']:+.1f}" if row["z"] is not None else "")


def _described(result: JsonMapping, metric: str) -> str:
    D = result.get("D")
    if not D or D.get("value") is None:
        return "not known yet"
    units = f"{result.get('length_unit')}^2/{result.get('time_unit')}"
    return f"{_estimate(D)} {units}" + (f" ({metric})" if metric else "")


def _estimate(D: JsonMapping) -> str:
    """Return the value with its interval."""
    bounds = D.get("ci95") or [None, None]
    interval = f" [{bounds[0]:.4g}, {bounds[1]:.4g}]" if None not in bounds else " (no interval)"
    return f"{D['value']:.4g}{interval}"
