"""Pictures of distributions: densities against the normal one, probability plots, chain sizes, correlated modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from mlgle_lammps.records import Float64
from mlgle_lammps.report.plots import BLACK, GREEN, GREY, STYLE, Curve, look_of, save
from mlgle_lammps.statistics.errors import NORMAL

_MARKERS = {"MD": "o", "full MD": "^", "other MD": "^"}


@dataclass(frozen=True)
class Panel:
    """One panel of a picture.

    Attributes:
        title: above it.
        curves: label ("MD", "full MD", a surrogate's) to what is drawn.
        notes: label to a few words, written under the middle of a density.
    """

    title: str
    curves: Mapping[str, Curve]
    notes: Mapping[str, str]


def draw_densities(folder: Path, name: str, panels: Sequence[Panel], quantity: str) -> Path:
    """Draw probability densities in units of the standard deviation, on a logarithmic axis, with the normal one.

    Args:
        folder: where ``name``.png and .pdf go.
        name: of the files.
        panels: at most four.
        quantity: label of the x axis.
    """
    x = np.linspace(-5, 5, 201)
    with rc_context(STYLE):
        figure, axes_of = _panels(len(panels))
        for panel, axes in zip(panels, axes_of, strict=True):
            axes.plot(x, stats.norm.pdf(x), "--", color=GREY, linewidth=1.5, label="normal")
            for label, curve in panel.curves.items():
                seen = (curve.y > 0) & (np.abs(curve.x) < 5.05)
                se = None if curve.se is None else np.minimum(NORMAL * curve.se[seen], 0.9 * curve.y[seen])
                axes.errorbar(
                    curve.x[seen],
                    curve.y[seen],
                    se,
                    linestyle="none",
                    markersize=3.6,
                    linewidth=0.8,
                    **_points(label),
                )
            axes.set(yscale="log", xlim=(-5.05, 5.05), ylim=(3e-6, 1.5), xlabel=quantity)
            axes.set_title(panel.title, fontsize=11)
            _notes_below(axes, panel)
        _legend_above(figure, axes_of[0])
        figure.supylabel("probability density", fontsize=11.5)
        return save(figure, folder, name)


def draw_normal_probability(folder: Path, panels: Sequence[Panel]) -> Path:
    """Draw quantiles, less their normal ones, against normal quantiles: zero for a normal distribution.

    Args:
        folder: where normal_probability.png and .pdf go.
        panels: at most four; x normal quantiles, y those found, both in standard deviations.
    """
    with rc_context(STYLE):
        figure, axes_of = _panels(len(panels))
        for panel, axes in zip(panels, axes_of, strict=True):
            axes.plot([-4, 4], [-4, 4], color=GREY, linewidth=1.2)
            for label, curve in panel.curves.items():
                axes.plot(curve.x, curve.y, linestyle="none", markersize=3.8, **_points(label))
            axes.set(xlim=(-4.2, 4.2), ylim=(-4.8, 4.8), xlabel="quantile of the normal distribution")
            axes.set_title(panel.title, fontsize=11)
        _legend_above(figure, axes_of[0])
        figure.supylabel("quantile found / standard deviation", fontsize=11.5)
        return save(figure, folder, "normal_probability")


def _points(label: str) -> dict[str, Any]:
    """Return how the points of a trajectory look: MD's are filled."""
    colour = look_of(label)[0]
    return {
        "marker": _MARKERS.get(label, "s"), "color": colour, "label": label,
        "markerfacecolor": colour if label == "MD" else "none",
    }  # fmt: skip


def _panels(n_panels: int) -> tuple[Figure, list[Axes]]:
    n_columns = min(2, n_panels)
    n_rows = -(-n_panels // n_columns)
    figure = Figure(figsize=(7.2, 0.6 + 3.0 * n_rows), layout="constrained")
    axes = list(figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel())
    for unused in axes[n_panels:]:
        unused.remove()
    return figure, axes[:n_panels]


def _legend_above(figure: Figure, axes: Axes) -> None:
    """Put the legend of one panel above all of them, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def _notes_below(axes: Axes, panel: Panel) -> None:
    """Write the panel's notes under the curve's middle."""
    for i, (label, note) in enumerate(reversed(list(panel.notes.items()))):
        colour = look_of(label)[0]
        axes.annotate(note, (0.5, 0.03 + 0.075 * i), xycoords="axes fraction", ha="center", color=colour, fontsize=8.5)


def draw_cross_correlation(folder: Path, value: Float64, se: Float64) -> Path:
    """Draw the matrix of correlations between modes at equal times.

    Args:
        folder: where cross_correlation.png and .pdf go.
        value: (mode, mode), 1 on the diagonal.
        se: (mode, mode) standard errors; entries beyond four of them are ringed.
    """
    n_modes = len(value)
    off = value - np.eye(n_modes)
    reach = max(0.1, float(np.abs(off).max()))
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(6.2, 5.2), layout="constrained")
        axes = figure.subplots()
        shown = np.where(np.eye(n_modes) > 0, np.nan, value)
        image = axes.imshow(
            shown, cmap="PuOr", vmin=-reach, vmax=reach, extent=(0.5, n_modes + 0.5, n_modes + 0.5, 0.5)
        )
        with np.errstate(invalid="ignore"):
            beyond = np.argwhere((np.abs(off) > 4 * se) & (np.eye(n_modes) == 0))
        axes.plot(beyond[:, 1] + 1, beyond[:, 0] + 1, "o", color=BLACK, markerfacecolor="none", markersize=9)
        axes.plot(np.arange(1, n_modes + 1), np.arange(1, n_modes + 1), "x", color=GREY, markersize=6)
        ticks = [1, *range(2, n_modes + 1, 2)]
        axes.set(xticks=ticks, yticks=ticks, xlabel="mode i", ylabel="mode j")
        figure.colorbar(image, label="⟨z$_i$·z$_j$⟩ / sqrt(⟨z$_i$²⟩⟨z$_j$²⟩)", shrink=0.9)
        return save(figure, folder, "cross_correlation")


def draw_chain_sizes(folder: Path, ends: Mapping[str, Curve], gyration: Mapping[str, Curve]) -> Path:
    """Draw the distributions of the end-to-end distance and the radius of gyration.

    Args:
        folder: where chain_sizes.png and .pdf go.
        ends: label to the density of R over its root mean square.
        gyration: label to that of R_g over its root mean square.
    """
    x = np.linspace(0, 2.6, 200)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        gaussian = np.sqrt(2 / np.pi) * 27**0.5 * x**2 * np.exp(-1.5 * x**2)
        left.plot(x, gaussian, "--", color=GREEN, linewidth=1.6, label="Gaussian chain")
        for axes, curves in ((left, ends), (right, gyration)):
            for label, curve in curves.items():
                seen = (curve.x > 0) & (curve.x < 2.6)
                se = None if curve.se is None else NORMAL * curve.se[seen]
                axes.errorbar(
                    curve.x[seen],
                    curve.y[seen],
                    se,
                    linestyle="none",
                    markersize=4.2,
                    linewidth=0.9,
                    **_points(label),
                )
            axes.set(xlim=(0, 2.6), ylim=(0, None))
        left.set(xlabel="$R$ / ⟨$R$²⟩$^{1/2}$", ylabel="probability density")
        right.set_xlabel("$R_g$ / ⟨$R_g$²⟩$^{1/2}$")
        left.legend(loc="upper right", fontsize=9)
        return save(figure, folder, "chain_sizes")
