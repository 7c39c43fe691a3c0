"""The page and the pictures of a stream held against MD."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlgle_lammps.plain import JsonObject
from mlgle_lammps.report import comparison_distributions as distributions
from mlgle_lammps.report import comparison_dynamics as dynamics
from mlgle_lammps.report.comparison import estimate_rows, size_rows, sizes_note
from mlgle_lammps.report.page import Picture, number, write_page
from mlgle_lammps.report.plots import unit_symbol

if TYPE_CHECKING:  # records of the comparison, for their types only
    from mlgle_lammps.evaluate.judgement import Judgement
    from mlgle_lammps.evaluate.side_by_side import SideBySide
    from mlgle_lammps.evaluate.two_streams import TwoStreams

_PICTURES: tuple[Callable[[Path, SideBySide], Picture | None], ...] = (
    dynamics.msd_picture,
    dynamics.exponent_picture,
    dynamics.nacf_picture,
    dynamics.relaxation_times_picture,
    dynamics.bead_motion_picture,
    dynamics.chain_memory_picture,
    distributions.modes_pdf_picture,
    distributions.increments_pdf_picture,
    distributions.displacements_pdf_picture,
    distributions.normal_probability_picture,
    distributions.chain_sizes_picture,
)


def write_streams(folder: Path, found: TwoStreams, versions: Mapping[str, str]) -> Path:
    """Draw the pictures of two streams into ``folder``/figures and write report.html; return the page.

    Raises:
        RunFailure: a file cannot be written.
    """
    system, judgement = found.system, found.judgement
    pictures = [draw(folder / "figures", found) for draw in _PICTURES]
    limits = {} if judgement is None else judgement.summary()["limits"]
    return write_page(
        folder / "report.html",
        "streams.html",
        [picture for picture in pictures if picture is not None],
        versions,
        None,
        title=f"{found.subject} against {found.base}",
        subtitle=" · ".join(found.sources.values()),
        headline=_headline(found),
        verdict=_verdict(found),
        notes=found.notes,
        sources=list(found.sources.items()),
        units=f"{unit_symbol(system.length_unit)}²/{unit_symbol(system.time_unit)}",
        length_unit=unit_symbol(system.length_unit),
        rows=estimate_rows(found, found.estimates[found.reference] if found.reference else None),
        modes=[] if judgement is None else _mode_rows(judgement),
        limits=", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in limits.items()),
        sizes=size_rows(found),
        sizes_note=sizes_note(found),
    )


def _headline(found: TwoStreams) -> str:
    if found.judgement is None:
        return "Without modes there is nothing to judge"
    off = found.judgement.modes_off
    if not off:
        return f"{found.subject} agrees with {found.base} in every mode"
    return f"{found.subject} is off in {'mode' if len(off) == 1 else 'modes'} {', '.join(map(str, off))}"


def _verdict(found: TwoStreams) -> list[str]:
    lines = [] if found.judgement is None else [f"Off: {words}." for words in found.judgement.words()]
    lines += [f"D, {way}: z = {z:+.1f}." for way, z in found.z_scores.items()]
    names = {"end_to_end": "⟨R²⟩", "gyration": "⟨Rg²⟩"}
    return lines + [f"{names[name]}: z = {z:+.1f}." for name, z in found.size_z_scores.items()]


def _mode_rows(found: Judgement) -> list[JsonObject]:
    named = {"variance": found.variance, "NACF": found.nacf, "kurtosis": found.kurtosis}
    (value, value_se), (md, md_se) = found.stream_kurtosis, found.md_kurtosis
    return [
        {
            "mode": i + 1,
            "variance": f"{1 + found.variance.deviation[i]:.3f} ± {found.variance.se[i]:.3f}",
            "nacf": f"{found.nacf.deviation[i]:+.3f} ± {found.nacf.se[i]:.3f}",
            "lag": int(found.nacf_lag[i]),
            "kurtosis": f"{value[i]:.2f} ± {value_se[i]:.2f}",
            "md_kurtosis": f"{md[i]:.2f} ± {md_se[i]:.2f}",
            "off": ", ".join(name for name, judged in named.items() if judged.off[i]),
        }
        for i in range(len(found.nacf_lag))
    ]
