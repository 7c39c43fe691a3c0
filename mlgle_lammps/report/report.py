"""The page for people: one self-contained report.html with its pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.directions import AXES
from mlgle_lammps.evaluate.labels import FULL_MD, MD, surrogate_label
from mlgle_lammps.plain import JsonMapping, JsonObject
from mlgle_lammps.records import ANGSTROMS, PICOSECONDS
from mlgle_lammps.report import plots
from mlgle_lammps.report.interactive import PAGE, write_interactive
from mlgle_lammps.report.page import Gaps, Picture, duration, interval, number, traffic_light, write_page
from mlgle_lammps.report.plots import Curve, Level, unit_symbol
from mlgle_lammps.report.reconstruction import reconstruction_of
from mlgle_lammps.statistics.errors import NORMAL
from mlgle_lammps.store.run_folder import RunFolder, plain

if TYPE_CHECKING:  # records of other stages, for their types only
    from mlgle_lammps.evaluate.stream_statistics import StreamSummary
    from mlgle_lammps.statistics.correlation import Autocorrelation
    from mlgle_lammps.statistics.moments import Moments

__all__ = ["Picture", "RunCurves", "duration", "interval", "number", "write_report", "write_run_report"]

NACF_MODES = (1, 2, 5, 10)
_SHOWN = {
    "diffusion": (
        "D as frames come in",
        "The online estimate with its 95% interval. It should settle, and its interval narrow, well before the last "
        "point. Horizontal bands, where there are any, should overlap it; of them only full MD is independent.",
    ),
    "msd": (
        "Mean squared displacement of the chains",
        "Summed over {axes}, bands are 95% intervals. That of {surrogate} should lie on MD's up to t_max, "
        "and bend into the dotted line {slope}Dt at late times; where full MD was run, it should do the same. The "
        "lower panel shows the same over {slope}t: what is left above D at late times is what subdiffusion has yet to "
        "lose.",
    ),
    "nacf": (
        "Relaxation of the modes",
        "Normalized autocorrelations. That of {surrogate} (dashed) should stay within MD's 95% band and cross 1/e "
        "(dotted) where MD's does; slow modes are the ones that MD knows worst.",
    ),
    "modes": (
        "Mode by mode",
        "Left: relaxation times fall roughly as p⁻² for unentangled chains. Right: the variance of generated modes "
        "over MD's should be 1; the grey band is ±5%. Slow modes scatter more: MD saw few relaxations of them.",
    ),
}
"""Figures of the report in their order: name to title and what one should see."""
_PER_CM_SQ_S = 1e-4  # cm²/s in Å²/ps


@dataclass(frozen=True)
class RunCurves:
    """What the report of a run draws, beyond the numbers of result.json.

    Attributes:
        moments: displacements of MD up to the hand-off.
        correlation: NACF of MD's modes; None without a window.
        generated: statistics of the generated ensemble; None where nothing was generated.
        full_md: displacements of MD after the hand-off; None without.
        md_relaxation_times: 1/e times of ``correlation`` by mode, time_unit; None where beyond its lags.
    """

    moments: Moments
    correlation: Autocorrelation | None
    generated: StreamSummary | None
    full_md: Moments | None
    md_relaxation_times: Sequence[float | None] = ()


def write_run_report(folder: RunFolder, result: JsonObject, curves: RunCurves, interactive: bool = False) -> Path:
    """Draw a run's pictures into its folder and write report.html around them; return the page.

    Args:
        folder: of the run.
        result: content of result.json.
        curves: to draw.
        interactive: write interactive.html too.

    Raises:
        RunFailure: a file cannot be written.
    """
    result = plain(result)
    if interactive:
        write_interactive(folder.path, result, curves)
    pictures = [draw(folder.figures, result, curves) for draw in (_diffusion, _msd, _nacf, _modes)]
    return write_report(folder.path, result, [picture for picture in pictures if picture is not None])


def remake_run_report(folder: RunFolder) -> Path | None:
    """Write a finished run's report.html anew, with the pictures that are there and the sizes of reconstructed chains.

    Returns:
        the page; None where result.json or every picture is missing.

    Raises:
        UserError: result.json is damaged.
        RunFailure: a picture cannot be read or the page not written.
    """
    drawn = [png for name in _SHOWN if (png := folder.figures / f"{name}.png").is_file()]
    if not folder.result.is_file() or not drawn:
        return None
    result = folder.read_result()
    pictures = [_picture(png, result) for png in drawn]
    return write_report(folder.path, result, pictures, folder.read_reconstruction())


def _picture(png: Path, result: JsonMapping) -> Picture:
    title, caption = _SHOWN[png.stem]
    free = free_directions(result)
    axes = " and ".join(filter(None, (", ".join(free[:-1]), free[-1])))
    return Picture(png, title, caption.format(surrogate=surrogate_label(result), axes=axes, slope=2 * len(free)))


def free_directions(result: JsonMapping) -> str:
    """Return the free directions, "xyz" where a result does not tell them, as those of before."""
    return str((result.get("directions") or {}).get("free") or AXES)


def direction_lines(result: JsonMapping) -> list[str]:
    """Return what the page says of directions; nothing where all are free."""
    told = result.get("directions") or {}
    free = free_directions(result)
    if free == AXES:
        return []
    how = " (as --directions says)" if told.get("given") else ""
    closed = {} if told.get("given") else told.get("closed") or {}
    said = f"D is that of {', '.join(free)} alone{how}."
    return [said, *(f"{axis} is closed: {why}." for axis, why in closed.items())]


def _direction_rows(result: JsonMapping) -> list[JsonObject]:
    """Return the rows of D by direction; none where there is one direction, or a result of before."""
    found = result.get("D_by_direction") or {}
    rows = [{"axis": axis, **Gaps(found.get(axis) or {})} for axis in free_directions(result)]
    return [Gaps(row) for row in rows] if len(rows) > 1 and found else []


def write_report(
    folder: Path,
    result: JsonMapping,
    pictures: Sequence[Picture],
    reconstruction: JsonMapping | None = None,
) -> Path:
    """Write ``folder``/report.html, which needs no other file and no network.

    Args:
        folder: where the page goes.
        result: content of result.json; absent and null numbers are shown as a dash.
        pictures: embedded in this order.
        reconstruction: content of reconstruct.json; None without.

    Raises:
        RunFailure: a picture cannot be read or the page not written.
    """
    result = plain(result)
    return write_page(
        folder / "report.html",
        "report.html",
        pictures,
        result.get("versions") or {},
        traffic_light(result),
        result=Gaps(result),
        surrogate=surrogate_label(result),
        headline=headline_of(result),
        comparisons=comparisons_of(result),
        reconstruction=reconstruction_of(reconstruction),
        modes=[Gaps(mode) for mode in result.get("modes") or []],
        units=D_units(result),
        time_unit=unit_symbol(str(result.get("time_unit") or "")),
        length_unit=unit_symbol(str(result.get("length_unit") or "")),
        directions=direction_lines(result),
        by_direction=_direction_rows(result),
        equal_p=(result.get("D_by_direction") or {}).get("equal_p"),
        species=species_rows(result),
        interactive=PAGE if (folder / PAGE).is_file() else None,
    )


def species_rows(result: JsonMapping) -> list[Gaps]:
    """Return an entry for each of several species; none where there is one, or where a result does not list them."""
    found = result.get("species") or []
    if len(found) < 2:
        return []
    rows = []
    for own in found:
        D, fit = own.get("D") or {}, own.get("fit") or {}
        words = f"{own.get('molecules')}" + (f" × {own['beads']} beads" if own.get("beads") else "")
        row = {**own, "words": words, "value": D.get("value"), "ci95": D.get("ci95"), "method": D.get("method")}
        rows.append(Gaps({**row, "p": fit.get("p"), "beta_sq": fit.get("beta_sq")}))
    return rows


def D_units(result: JsonMapping) -> str:
    """Return the unit of D for people, empty where it is unknown."""
    length, time = result.get("length_unit"), result.get("time_unit")
    return f"{unit_symbol(str(length))}²/{unit_symbol(str(time))}" if length and time else ""


def headline_of(result: JsonMapping) -> dict[str, str]:
    """Return D as text, and in cm²/s where the deck's units are real ones."""
    D = Gaps(result.get("D") or {})
    length, time = ANGSTROMS.get(str(result.get("length_unit")), 0.0), PICOSECONDS.get(str(result.get("time_unit")))
    factor = _PER_CM_SQ_S * length**2 / time if time else 0.0
    return {
        "value": number(D["value"], keep_zeros=True),
        "ci95": interval(D["ci95"]),
        "method": D["method"] or "",
        "metric": f"{number(float(D['value']) * factor, 3)} cm²/s" if factor and D["value"] else "",
    }


def _standard_error(estimate: JsonMapping) -> float | None:
    if isinstance(estimate.get("se"), int | float):
        return float(estimate["se"])
    bounds = estimate.get("ci95") or [None, None]
    return None if None in bounds else (bounds[1] - bounds[0]) / (2 * NORMAL)


def comparisons_of(result: JsonMapping) -> list[JsonObject]:
    """Return the rows of D by its several ways, with their distance from the headline in standard errors."""
    own = result.get("D") or {}
    ways = (
        (f"{surrogate_label(result)} fit (this result)", own),
        ("Generated trajectories", result.get("D_generated")),
        ("Full MD after the hand-off", result.get("D_full_md")),
    )
    rows = []
    for name, estimate in ways:
        if not estimate:
            continue
        row = {
            "name": name,
            **{key: estimate.get(key) for key in ("value", "ci95", "method")},
            "z": None,
            "ratio": None,
        }
        errors = (_standard_error(own), _standard_error(estimate))
        if estimate is not own and None not in errors and None not in (own.get("value"), estimate.get("value")):
            spread = math.hypot(*(e for e in errors if e is not None))
            row["z"] = (own["value"] - estimate["value"]) / spread if spread else None
            row["ratio"] = own["value"] / estimate["value"] if estimate["value"] else None
        rows.append(row)
    return rows


def _level(estimate: JsonMapping | None) -> Level | None:
    if not estimate or estimate.get("value") is None or None in (estimate.get("ci95") or [None]):
        return None
    return Level(estimate["value"], *estimate["ci95"])


def _diffusion(folder: Path, result: JsonObject, curves: RunCurves) -> Picture | None:
    online = [(e["frames"], level) for e in result.get("D_online") or [] if (level := _level(e)) is not None]
    if not online:
        return None
    named = {FULL_MD: _level(result.get("D_full_md")), "generated": _level(result.get("D_generated"))}
    levels = {name: level for name, level in named.items() if level is not None}
    png = plots.draw_diffusion(
        folder, online, levels, result["length_unit"], result["time_unit"], surrogate_label(result)
    )
    return _picture(png, result)


def _msd_curve(moments: Moments, dt: float, with_error: bool = True) -> Curve:
    """Return the MSD over all free directions with its error over chains, widened by how far they move together."""
    se = None
    if with_error and moments.n_chains > 1:
        per_chain = moments.msd_com_chain.std(axis=1, ddof=1) / np.sqrt(moments.n_chains)
        se = moments.n_dimensions * per_chain * np.sqrt(moments.design_effect)
    return Curve(moments.lags * dt, moments.n_dimensions * moments.msd_com, se)


def _msd(folder: Path, result: JsonObject, curves: RunCurves) -> Picture | None:
    dt = result["dt"]
    shown = {MD: _msd_curve(curves.moments, dt)}
    if curves.generated is not None:
        shown[surrogate_label(result)] = _msd_curve(curves.generated.moments, dt)
    if curves.full_md is not None:
        shown[FULL_MD] = _msd_curve(curves.full_md, dt)
    t_max = result["m"] * dt if result.get("m") else None
    png = plots.draw_msd(
        folder,
        shown,
        (result.get("D") or {}).get("value"),
        result["length_unit"],
        result["time_unit"],
        t_max,
        curves.moments.n_dimensions,
    )
    return _picture(png, result)


def _nacf(folder: Path, result: JsonObject, curves: RunCurves) -> Picture | None:
    dt = result["dt"]

    def by_mode(correlation: Autocorrelation | None, with_error: bool) -> dict[int, Curve]:
        if correlation is None or len(correlation.nacf) < 2:
            return {}
        lags = np.unique(np.geomspace(1, len(correlation.nacf) - 1, 400).astype(int))
        return {
            p: Curve(lags * dt, correlation.nacf[lags, p - 1], correlation.se[lags, p - 1] if with_error else None)
            for p in NACF_MODES
            if p <= correlation.nacf.shape[1]
        }

    md = by_mode(curves.correlation, with_error=True)
    generated = by_mode(curves.generated.correlation if curves.generated else None, with_error=False)
    if not md and not generated:
        return None
    png = plots.draw_nacf(folder, md, generated, result["time_unit"], surrogate_label(result))
    return _picture(png, result)


def _modes(folder: Path, result: JsonObject, curves: RunCurves) -> Picture | None:
    entries = result.get("modes") or []
    generated = {e["mode"]: e["relaxation_time"] for e in entries if e.get("relaxation_time")}
    ratio = {e["mode"]: e["stationary_variance_ratio"] for e in entries if e.get("stationary_variance_ratio")}
    md = {p: tau for p, tau in enumerate(curves.md_relaxation_times, start=1) if tau}
    if not generated and not ratio:
        return None
    png = plots.draw_modes(folder, md, generated, ratio, result["time_unit"], surrogate_label(result))
    return _picture(png, result)
