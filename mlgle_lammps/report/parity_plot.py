"""Parity plots: what models and baselines say of molecules, against long MD of each, with errors in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from mlgle_lammps.records import Estimate, Float64
from mlgle_lammps.report.plots import BLACK, BLUE, GREY, STYLE, VERMILION, save, unit_symbol
from mlgle_lammps.statistics.errors import NORMAL

PANEL = 3.1
MOST_COLUMNS = 4


@dataclass(frozen=True)
class ParityRow:
    """One way to the molecules' values.

    Attributes:
        name: of it.
        values: (molecule,).
        errors: (molecule,) standard errors; None where they are not known.
        score: r².
    """

    name: str
    values: Float64
    errors: Float64 | None
    score: float


def draw_parity(
    folder: Path, name: str, reference: Sequence[Estimate], rows: Sequence[ParityRow], quantity: str, unit: str,
    squared: bool = True,
) -> Path:  # fmt: skip
    """Draw a panel for each way, with 95% intervals across and along, and the line on which both agree.

    What is further off than the reference is wide is an arrow at the edge.

    Args:
        folder: where the PNG and PDF go.
        name: of the files.
        reference: of each molecule.
        rows: the ways.
        quantity: that is compared.
        unit: of it, or of its square root.
        squared: whether the unit is that of its square root.
    """
    x = np.array([own.value for own in reference])
    dx = NORMAL * np.array([own.se for own in reference])
    wide = float(np.ptp(x) or 1.0)
    shown = x.min() - wide, x.max() + wide
    everything = np.concatenate([x, *(np.clip(row.values, *shown) for row in rows)])
    margin = 0.08 * float(np.ptp(everything) or 1.0)
    limits = float(everything.min()) - margin, float(everything.max()) + margin
    columns = max(1, min(MOST_COLUMNS, len(rows)))
    lines = -(-max(1, len(rows)) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(PANEL * columns + 0.4, PANEL * lines + 0.5), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axes in panels[len(rows) :]:
            axes.set_visible(False)
        for axes, row in zip(panels, rows, strict=False):
            axes.plot(limits, limits, color=GREY, linestyle=":", linewidth=1.4)
            dy = None if row.errors is None else NORMAL * np.nan_to_num(row.errors)
            axes.errorbar(x, row.values, xerr=np.nan_to_num(dx), yerr=dy, fmt="o", color=BLUE, ecolor=BLACK,
                          elinewidth=0.8, markersize=4.5)  # fmt: skip
            for beyond, edge, arrow in ((row.values > shown[1], 0.97, "^"), (row.values < shown[0], 0.03, "v")):
                places = np.full(int(beyond.sum()), limits[0] + edge * (limits[1] - limits[0]))
                axes.plot(x[beyond], places, arrow, color=VERMILION, markersize=7)
            axes.set_title(f"{row.name}\nr² = {row.score:.2f}", fontsize=10)
            axes.set_xlim(limits)
            axes.set_ylim(limits)
            axes.set_aspect("equal")
        label = f"{quantity} / {unit_symbol(unit)}{'²' if squared else ''}"
        figure.supxlabel(f"long MD: {label}", fontsize=11)
        figure.supylabel(label, fontsize=11)
        return save(figure, folder, name)
