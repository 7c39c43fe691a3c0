"""Pictures of how chains move: MSDs side by side, the anomalous exponent, relaxations with their classical fits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from mlgle_lammps.report.plots import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    STYLE,
    VERMILION,
    Curve,
    look_of,
    save,
    unit_symbol,
)
from mlgle_lammps.statistics.errors import NORMAL


def draw_msd_ratio(
    folder: Path,
    curves: Mapping[str, Curve],
    model: Curve | None,
    reference: str,
    length_unit: str,
    time_unit: str,
    n_dimensions: int = 3,
) -> Path:
    """Draw the MSDs of several trajectories, and below it each over the reference.

    Args:
        folder: where msd_ratio.png and .pdf go.
        curves: label ("MD", "full MD", a surrogate's) to the MSD over time, summed over the free directions.
        model: MSD of the Generalized Rouse Kernel, None for none.
        reference: label of the curve that the others are divided by.
        length_unit: as in the deck.
        time_unit: as in the deck.
        n_dimensions: d, free directions.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 6.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        base = curves[reference].positive()
        shown = {label: curve.positive().thinned() for label, curve in curves.items()}
        for label, curve in shown.items():
            _line_with_band(upper, label, curve)
            inside = (curve.x >= base.x[0]) & (curve.x <= base.x[-1])
            below = np.exp(np.interp(np.log(curve.x[inside]), np.log(base.x), np.log(base.y)))
            se = None if curve.se is None else curve.se[inside] / below
            _line_with_band(lower, label, Curve(curve.x[inside], curve.y[inside] / below, se))
        if model is not None:
            model = model.thinned()
            upper.plot(model.x, model.y, ":", color=GREEN, linewidth=2.2, label="Generalized Rouse Kernel")
            inside = (model.x >= base.x[0]) & (model.x <= base.x[-1])
            below = np.exp(np.interp(np.log(model.x[inside]), np.log(base.x), np.log(base.y)))
            lower.plot(model.x[inside], model.y[inside] / below, ":", color=GREEN, linewidth=2.2)
        upper.set(xscale="log", yscale="log")
        lower.set_ylim(*_about_one(lower))
        time = unit_symbol(time_unit)
        upper.set_ylabel(f"MSD of centres of mass ({n_dimensions}D) / {unit_symbol(length_unit)}²")
        lower.set_ylabel(f"MSD / MSD of {reference}")
        lower.set_xlabel(f"t / {time}")
        upper.legend(loc="lower right")
        figure.align_ylabels()
        return save(figure, folder, "msd_ratio")


def _line_with_band(axes: Axes, label: str, curve: Curve) -> None:
    colour, dash, width = look_of(label)
    axes.plot(curve.x, curve.y, dash, color=colour, linewidth=width, label=label)
    if curve.se is not None:
        band = NORMAL * curve.se
        low = np.maximum(curve.y - band, 1e-2 * np.abs(curve.y))
        axes.fill_between(curve.x, low, curve.y + band, color=colour, alpha=0.18, linewidth=0)


def _about_one(axes: Axes) -> tuple[float, float]:
    """Return y limits that show every line, at least 0.8 to 1.2 and at most 0.4 to 2."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines] or [np.ones(1)])
    values = values[np.isfinite(values)]
    return max(min(0.8, 0.95 * values.min()), 0.4), min(max(1.2, 1.05 * values.max()), 2.0)


def draw_bead_motion(
    folder: Path,
    names: Mapping[str, str],
    curves: Mapping[str, Mapping[str, Curve]],
    length_unit: str,
    time_unit: str,
) -> Path:
    """Draw mean squared displacements of beads and centres of several streams.

    Args:
        folder: where bead_motion.png and .pdf go.
        names: of the curves, to their words.
        curves: name to label of the stream to the curve.
        length_unit: as in the deck.
        time_unit: as in the deck.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.8), layout="constrained")
        axes = figure.subplots()
        for (name, words), marker in zip(names.items(), "osd", strict=False):
            _stream_curves(axes, words, {label: curve.positive() for label, curve in curves[name].items()}, marker)
        axes.set(xscale="log", yscale="log", xlabel=f"t / {unit_symbol(time_unit)}")
        axes.set_ylabel(f"g(t) / {unit_symbol(length_unit)}²")
        axes.legend(fontsize=9)
        return save(figure, folder, "bead_motion")


def draw_chain_memory(
    folder: Path, names: Mapping[str, str], curves: Mapping[str, Mapping[str, Curve]], time_unit: str
) -> Path:
    """Draw how the end-to-end vector and Rg² forget; arguments as in ``draw_bead_motion``, chain_memory.png."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.subplots()
        for (name, words), marker in zip(names.items(), "os", strict=False):
            own = {label: Curve(c.x[1:], c.y[1:], None if c.se is None else c.se[1:]) for label, c in
                   curves[name].items()}  # fmt: skip
            _stream_curves(axes, words, own, marker)
        axes.axhline(0, color=GREY, linewidth=1)
        axes.set(xscale="log", xlabel=f"t / {unit_symbol(time_unit)}", ylabel="autocorrelation")
        axes.legend(fontsize=9)
        return save(figure, folder, "chain_memory")


def _stream_curves(axes: Axes, words: str, curves: Mapping[str, Curve], marker: str) -> None:
    """Draw one quantity of several streams: the same mark in each stream's own colour."""
    for label, curve in curves.items():
        colour, dash, _ = look_of(label)
        axes.plot(curve.x, curve.y, dash, color=colour, marker=marker, markersize=4, label=f"{words}, {label}")
        if curve.se is not None:
            low, high = curve.y - NORMAL * curve.se, curve.y + NORMAL * curve.se
            axes.fill_between(curve.x, low, high, color=colour, alpha=0.15, linewidth=0)


def draw_exponent(folder: Path, curves: Mapping[str, Curve], model: Curve | None, time_unit: str) -> Path:
    """Draw ν(t) = d ln MSD/d ln t.

    Args:
        folder: where exponent.png and .pdf go.
        curves: label to ν over time.
        model: ν of the Generalized Rouse Kernel, None for none.
        time_unit: as in the deck.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.axhline(1, color=GREY, linestyle=":", linewidth=1.4)
        axes.axhline(0.5, color=GREY, linestyle=":", linewidth=1.4)
        for label, curve in curves.items():
            _line_with_band(axes, label, curve)
        if model is not None:
            axes.plot(model.x, model.y, ":", color=GREEN, linewidth=2.2, label="Generalized Rouse Kernel")
        axes.set_xscale("log")
        values = np.concatenate([curve.y for curve in curves.values()])
        axes.set_ylim(min(0.45, values.min() - 0.05), min(max(1.25, values.max() + 0.05), 2.1))
        axes.annotate("normal diffusion", (0.01, 1), xycoords=("axes fraction", "data"), va="bottom", color=GREY)
        axes.annotate("Rouse, within a chain", (0.01, 0.5), xycoords=("axes fraction", "data"), va="bottom", color=GREY)
        axes.set_ylabel("ν(t) = d ln MSD / d ln t")
        axes.set_xlabel(f"t / {unit_symbol(time_unit)}")
        axes.legend(loc="upper left", bbox_to_anchor=(0.25, 1.0), ncols=2)
        return save(figure, folder, "exponent")


def draw_relaxation_fits(
    folder: Path,
    md: Mapping[int, Curve],
    exponential: Mapping[int, Curve],
    stretched: Mapping[int, Curve],
    exponents: Mapping[int, float],
    time_unit: str,
) -> Path:
    """Draw NACFs with the exponential and the stretched exponential fitted to them (JCP fig. 6).

    Args:
        folder: where relaxation_fits.png and .pdf go.
        md: mode to NACF with its standard error (JCP eq. 34).
        exponential: mode to the Ornstein-Uhlenbeck fit.
        stretched: mode to the Kohlrausch fit.
        exponents: mode to its exponent a.
        time_unit: as in the deck.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 5.9), layout="constrained")
        panels = figure.subplots(2, 2, sharey=True, squeeze=False).ravel()
        for panel in panels[len(md) :]:
            panel.remove()
        for (mode, curve), axes in zip(md.items(), panels, strict=False):
            axes.axhline(0, color=GREY, linewidth=0.8)
            axes.plot(curve.x, curve.y, color=BLUE, linewidth=2.6, label="MD")
            if curve.se is not None:
                band = NORMAL * curve.se
                axes.fill_between(curve.x, curve.y - band, curve.y + band, color=BLUE, alpha=0.2, linewidth=0)
            axes.plot(exponential[mode].x, exponential[mode].y, ":", color=BLACK, label="exp(-t/τ)")
            axes.plot(stretched[mode].x, stretched[mode].y, "--", color=VERMILION, label="exp(-(t/τ)$^a$)")
            axes.set(xscale="log", ylim=(-0.35, 1.08), xlabel=f"t / {unit_symbol(time_unit)}")
            axes.set_title(f"mode {mode}, a = {exponents[mode]:.2f}", fontsize=11)
        panels[0].legend(loc="lower left")
        figure.supylabel("normalized autocorrelation", fontsize=11.5)
        return save(figure, folder, "relaxation_fits")


def draw_relaxation_times(
    folder: Path, times: Mapping[str, Mapping[int, tuple[float, float | None]]], time_unit: str
) -> Path:
    """Draw each mode's relaxation time (1/e of its NACF), and a line of slope -2 for Rouse chains.

    Args:
        folder: where relaxation_times.png and .pdf go.
        times: label to mode to (time, standard error or None).
        time_unit: as in the deck.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.subplots()
        for (label, by_mode), marker in zip(times.items(), "os^", strict=False):
            colour = look_of(label)[0]
            p, tau = np.array(list(by_mode)), np.array([value for value, _ in by_mode.values()])
            bar = np.array([NORMAL * (se or 0.0) for _, se in by_mode.values()])
            axes.errorbar(
                p,
                tau,
                np.minimum(bar, 0.9 * tau),
                fmt=marker,
                color=colour,
                markersize=7,
                capsize=3,
                label=label,
                markerfacecolor=colour if marker == "o" else "none",
            )
        first = next((by_mode for by_mode in times.values() if by_mode), {1: (1.0, None)})
        p = np.array(sorted(first))
        axes.plot(p, first[int(p[0])][0] * (p[0] / p) ** 2.0, ":", color=GREY, label="slope -2 (Rouse)")
        axes.set(
            xscale="log", yscale="log", xlabel="mode p", ylabel=f"relaxation time $τ_p$ / {unit_symbol(time_unit)}"
        )
        axes.set_xticks([q for q in (1, 2, 3, 5, 10, 20, 50) if q <= p[-1]])
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(loc="lower left")
        return save(figure, folder, "relaxation_times")
