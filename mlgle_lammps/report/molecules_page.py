"""The page, the pictures and the numbers of generated molecules held against MD."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from mlgle_lammps.plain import JsonMapping, JsonObject
from mlgle_lammps.report.page import Picture, write_page
from mlgle_lammps.report.plots import STYLE, look_of, save, unit_symbol

if TYPE_CHECKING:  # a record of the comparison, for its type only
    from mlgle_lammps.evaluate.molecules_against_md import Groups, MoleculeComparison

BINS = 60
SHOWN_TIMES = 5.0
"""Autocorrelations are drawn up to so many of their 1/e times."""


def numbers_of_molecules(found: MoleculeComparison, sizes: JsonMapping) -> JsonObject:
    """Return what comparison.json says; ``sizes`` are the differences by name."""
    groups = None
    if found.groups is not None and found.md_groups is not None:
        groups = {
            "segments": found.groups.segments, "md_segments": found.md_groups.segments,
            "contacts": found.groups.contacts, "md_contacts": found.md_groups.contacts,
        }  # fmt: skip
    return {
        "schema": 1, "kind": "molecules against MD", "stream": str(found.path), "reference": str(found.reference),
        "length_unit": found.system.length_unit, "time_unit": found.system.time_unit, "rg2": dict(sizes),
        "groups": groups, "notes": list(found.notes),
    }  # fmt: skip


def write_molecules(folder: Path, found: MoleculeComparison, sizes: JsonMapping, versions: Mapping[str, str]) -> Path:
    """Draw the pictures into ``folder``/figures and write report.html; return the page.

    Raises:
        RunFailure: a file cannot be written.
    """
    unit = unit_symbol(found.system.length_unit)
    pictures = [_distribution(folder / "figures", found), _autocorrelation(folder / "figures", found)]
    if found.groups is not None and found.md_groups is not None:
        pictures += [
            _segments(folder / "figures", found.groups, found.md_groups, unit),
            _contacts(folder / "figures", found.groups, found.md_groups),
        ]
    return write_page(
        folder / "report.html", "molecules.html", pictures, versions, None,
        title="Generated molecules against MD", subtitle=f"{found.path} · {found.reference}",
        headline=_headline(sizes, unit), verdict=[], notes=found.notes, rows=_rows(sizes, unit),
    )  # fmt: skip


def _headline(sizes: JsonMapping, unit: str) -> str:
    ratio = sizes["mean"] / sizes["md_mean"] - 1.0
    return f"⟨Rg²⟩ is {sizes['mean']:.3g} {unit}², {100 * ratio:+.0f}% against MD's {sizes['md_mean']:.3g}"


def _rows(sizes: JsonMapping, unit: str) -> list[tuple[str, str]]:
    def shown(name: str, what: str = "") -> str:
        value, se = sizes.get(name), sizes.get(f"{name}_se")
        return "–" if value is None else f"{value:.4g}" + ("" if se is None else f" ± {se:.2g}") + what

    return [
        ("⟨Rg²⟩", shown("mean", f" {unit}²")),
        ("⟨Rg²⟩ of MD", shown("md_mean", f" {unit}²")),
        ("fluctuation of Rg² over MD's", shown("fluctuation_ratio")),
        ("relaxation time of Rg² over MD's", shown("relaxation_ratio")),
        ("earth mover's distance of the distributions", shown("distance", f" {unit}²")),
        ("the same of MD's two halves", shown("md_distance", f" {unit}²")),
    ]


def _distribution(folder: Path, found: MoleculeComparison) -> Picture:
    unit = unit_symbol(found.system.length_unit)
    values = {"MD": found.md.all, "generated": found.generated.all}
    edges = np.linspace(0.0, max(np.quantile(own, 0.999) for own in values.values()), BINS + 1)
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for label, own in values.items():
            colour, dash, width = look_of(label)
            density = np.histogram(own, edges, density=True)[0]
            axes.plot((edges[1:] + edges[:-1]) / 2, density, color=colour, linestyle=dash, linewidth=width, label=label)
        axes.set_xlabel(f"Rg² / {unit}²")
        axes.set_ylabel(f"density / {unit}⁻²")
        axes.legend()
        return Picture(save(figure, folder, "rg2_distribution"), "Sizes", "How often a molecule has which Rg².")


def _autocorrelation(folder: Path, found: MoleculeComparison) -> Picture:
    series = {"MD": found.md, "generated": found.generated}
    times = [time.value for own in series.values() if (time := own.relaxation()) is not None]
    longest = SHOWN_TIMES * max(times) if times else found.md.total_time / 20
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for label, own in series.items():
            colour, dash, width = look_of(label)
            covariance = own.autocovariance(max(2, int(longest / own.dt) + 1))
            axes.plot(np.arange(len(covariance)) * own.dt, covariance / max(covariance[0], 1e-300), color=colour,
                      linestyle=dash, linewidth=width, label=label)  # fmt: skip
        axes.set_xlabel(f"time / {unit_symbol(found.system.time_unit)}")
        axes.set_ylabel("autocorrelation of Rg²")
        axes.legend()
        return Picture(save(figure, folder, "rg2_autocorrelation"), "Relaxation", "How long a size lasts.")


def _segments(folder: Path, groups: Groups, md: Groups, unit: str) -> Picture:
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for label, own in (("MD", md), ("generated", groups)):
            colour, dash, width = look_of(label)
            axes.plot(np.arange(1, len(own.segments) + 1), own.segments, "o", color=colour, linestyle=dash,
                      linewidth=width, label=label)  # fmt: skip
        axes.set_xlabel("groups apart along the chain")
        axes.set_ylabel(f"mean squared distance / {unit}²")
        axes.legend()
        return Picture(save(figure, folder, "inner_distances"), "Inner distances", "Between centres of groups.")


def _contacts(folder: Path, groups: Groups, md: Groups) -> Picture:
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(8.0, 3.8), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        most = max(float((own.contacts - np.eye(len(own.contacts))).max()) for own in (md, groups)) or 1.0
        for axes, (label, own) in zip(panels, (("MD", md), ("generated", groups)), strict=True):
            shown = axes.imshow(own.contacts - np.eye(len(own.contacts)), origin="lower", vmin=0.0, vmax=most)
            axes.set_title(label)
            axes.set_xlabel("group")
        panels[0].set_ylabel("group")
        figure.colorbar(shown, ax=panels, label="how often they touch")
        caption = "Groups touch within half the root mean squared distance of neighbours along the chain in MD."
        return Picture(save(figure, folder, "contacts"), "Contacts", caption)
