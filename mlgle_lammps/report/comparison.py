"""The page and the pictures of a run compared with MD."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.plain import JsonObject
from mlgle_lammps.report import comparison_distributions as distributions
from mlgle_lammps.report import comparison_dynamics as dynamics
from mlgle_lammps.report.page import Picture, duration, number, traffic_light, write_page
from mlgle_lammps.report.plots import unit_symbol
from mlgle_lammps.report.reconstruction import reconstruction_of
from mlgle_lammps.report.report import D_units, headline_of

if TYPE_CHECKING:  # records of the comparison, for their types only
    from mlgle_lammps.evaluate.run_against_md import RunAgainstMd
    from mlgle_lammps.evaluate.side_by_side import SideBySide
    from mlgle_lammps.records import Estimate


_PICTURES: tuple[Callable[[Path, RunAgainstMd], Picture | None], ...] = (
    dynamics.estimates_picture,
    dynamics.msd_picture,
    dynamics.exponent_picture,
    dynamics.nacf_picture,
    dynamics.relaxation_fits_picture,
    dynamics.relaxation_times_picture,
    dynamics.bead_motion_picture,
    dynamics.chain_memory_picture,
    distributions.modes_pdf_picture,
    distributions.increments_pdf_picture,
    distributions.displacements_pdf_picture,
    distributions.normal_probability_picture,
    distributions.cross_picture,
    distributions.chain_sizes_picture,
    dynamics.of_modes_picture,
    dynamics.of_frames_picture,
)


def write_comparison(folder: Path, found: RunAgainstMd, versions: Mapping[str, str]) -> Path:
    """Draw every picture of a comparison into ``folder``/figures and write report.html; return the page.

    Raises:
        RunFailure: a file cannot be written.
    """
    result, system = found.run.result, found.run.system
    pictures = [draw(folder / "figures", found) for draw in _PICTURES]
    units = f"{unit_symbol(system.length_unit)}²/{unit_symbol(system.time_unit)}"
    against = "full MD" if found.reference else "its own MD"
    base = found.estimates[found.reference] if found.reference else found.run.D
    return write_page(
        folder / "report.html",
        "comparison.html",
        [picture for picture in pictures if picture is not None],
        versions,
        traffic_light(result),
        title=f"{found.run.name} against {against}",
        subtitle=f"{result.get('source') or ''} · {system.n_chains} chains"
        + (f" × {system.n_beads} beads" if system.n_beads else ""),
        headline=headline_of(result),
        units=D_units(result) or units,
        verdict=_verdict(found),
        warnings=result.get("warnings") or [],
        notes=[*found.notes, *(result.get("notes") or [])],
        fit_name=found.run.fit_name,
        surrogate=found.run.label,
        rows=estimate_rows(found, base),
        has_reference=found.reference is not None,
        reference_source=found.reference_source,
        cost=_cost(found),
        sizes=size_rows(found),
        sizes_note=sizes_note(found),
        reconstruction=reconstruction_of(found.run.folder.read_reconstruction()),
        length_unit=unit_symbol(system.length_unit),
        time_unit=unit_symbol(system.time_unit),
        relaxations=[
            {
                "mode": p,
                "tau": found.exponential[p].relaxation_time,
                "stretched": law.relaxation_time,
                "a": law.exponent,
            }
            for p, law in found.stretched.items()
        ],
        kernel=_kernel(found),
        options=_options(found),
    )


def _verdict(found: RunAgainstMd) -> list[str]:
    if found.reference is None:
        return ["There is no full MD to hold it against; give FULL_RUN, or run with --full-md."]
    full = found.estimates[found.reference]
    D = found.run.D
    lines = [
        f"Full MD says {number(full.value, 4, True)} ± {number(full.se, 2)}: the fit is "
        f"{100 * (D.value / full.value - 1):+.1f}% from it, z = {found.z_scores[found.run.fit_name]:+.1f}."
    ]
    if found.cost is not None:
        lines.append(f"At equal interval plain MD takes {number(found.cost.speed_up, 2)} times the MD frames.")
    return lines


def estimate_rows(found: SideBySide, base: Estimate | None) -> list[JsonObject]:
    """Return the rows of D by its several ways, over ``base`` where there is one."""
    return [
        {
            "name": way,
            "value": estimate.value,
            "ci95": estimate.ci95 if np.isfinite(estimate.se) else None,
            "method": estimate.method,
            "ratio": estimate.value / base.value if base is not None and base.value else None,
            "z": found.z_scores.get(way),
        }
        for way, estimate in found.estimates.items()
    ]


def _cost(found: RunAgainstMd) -> list[tuple[str, str]]:
    cost = found.cost
    if cost is None:
        return []
    rows = [
        ("MD frames that the fit used", str(cost.frames)),
        ("MD frames for as sharp an MSD slope", f"{cost.plain_frames:.0f}"),
        ("Speed-up at equal interval, MD alone", f"{number(cost.speed_up, 3)} times"),
        ("MD time of the fit", duration(cost.md_s)),
        ("MD time of plain MD at equal interval", duration(cost.plain_s)),
        ("Training and generation", duration(cost.learning_s)),
    ]
    if cost.speed_up_with_learning is not None:
        rows.append(("Speed-up with learning", f"{number(cost.speed_up_with_learning, 3)} times"))
    return rows


def size_rows(found: SideBySide) -> list[JsonObject]:
    """Return the rows of chain sizes; dashes where a stream has no modes."""
    rows = []
    for label, stream in found.streams.items():
        size = stream.size
        row = {"name": label, "frames": stream.n_frames, "chains": stream.n_chains}
        if size is None:
            row |= dict.fromkeys(("ends", "gyration", "ratio"), "–")
        else:
            ends = not math.isnan(size.end_to_end)  # molecules that are not linear have none
            row["ends"] = f"{number(size.end_to_end)} ± {number(size.end_to_end_se, 2)}" if ends else "–"
            row["gyration"] = f"{number(size.gyration)} ± {number(size.gyration_se, 2)}"
            row["ratio"] = number(size.end_to_end / size.gyration, 3, True) if ends else "–"
        rows.append(row)
    return rows


def sizes_note(found: SideBySide) -> str:
    """Return what the sizes are from, and what they lack."""
    size = found.streams[found.base].size
    lost = (
        ""
        if size is None or size.missing is None
        else f": about {100 * size.missing:.1f}% of ⟨Rg²⟩ is missing for an ideal chain"
    )
    d = found.streams[found.base].moments.n_dimensions
    which = {1: " Sizes are of one component, the free one.", 2: " Sizes are of two components, the free ones."}
    seen = which.get(d, "")
    return f"From modes 1 to {found.system.n_modes} alone{lost}.{seen} The ratio ⟨R²⟩/⟨Rg²⟩ is 6 for long ideal chains."


def _kernel(found: RunAgainstMd) -> str:
    kernel, system = found.kernel, found.run.system
    return (
        f"Generalized Rouse Kernel fitted to the MSD up to t_max: ρ = {kernel.power:.2f}, ν = 1 − 1/ρ = "
        f"{kernel.subdiffusive_power:.2f}, τ₁ = {number(kernel.shortest_time, 3)} {unit_symbol(system.time_unit)}, D "
        f"= {number(kernel.D, 4)}, {kernel.n_terms} terms. τ of the exponentials is their 1/e time; each is an "
        "unweighted least-squares fit to at most 1000 lags."
    )


def _options(found: RunAgainstMd) -> list[tuple[str, str]]:
    result, run = found.run.result, found.run
    timing = result.get("timing") or {}
    return [
        ("Folder", str(run.folder.path)),
        ("Preset", str(result.get("preset") or "–")),
        ("Modes k", number(result.get("k"))),
        ("Memory m / frames", number(result.get("m"))),
        ("Δt", f"{number(result.get('dt'))} {unit_symbol(run.system.time_unit)}"),
        ("Hand-off at frame", number((result.get("handoff") or {}).get("frames"))),
        ("Seed", number(result.get("seed"))),
        ("MD", duration(timing.get("md_s"))),
        ("Training", duration(timing.get("train_s"))),
        ("Generation", duration(timing.get("generate_s"))),
    ]
