"""Pictures of D: by its several ways, against the number of modes and of frames, and against temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    ScalarFormatter,
)

from mlgle_lammps.records import Float64
from mlgle_lammps.report.plots import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    STYLE,
    VERMILION,
    Curve,
    Level,
    look_of,
    save,
    unit_symbol,
)
from mlgle_lammps.statistics.errors import NORMAL

_COLOURS = (BLUE, VERMILION, GREEN, BLACK)
_MARKERS = "os^D"


def _D_label(length_unit: str, time_unit: str) -> str:
    return f"D per dimension / ({unit_symbol(length_unit)}²/{unit_symbol(time_unit)})"


def draw_estimates(
    folder: Path, levels: Mapping[str, Level], reference: str | None, length_unit: str, time_unit: str
) -> Path:
    """Draw D by each way with its 95% interval, one below the other.

    Args:
        folder: where estimates.png and .pdf go.
        levels: name of the way to D.
        reference: the way whose interval is drawn as a band through all; None for none.
        length_unit: of D.
        time_unit: of D.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.2 + 0.48 * len(levels)), layout="constrained")
        axes = figure.subplots()
        if reference is not None:
            band = levels[reference]
            axes.axvspan(band.low, band.high, color=GREY, alpha=0.15, linewidth=0)
            axes.axvline(band.value, color=GREY, linestyle=":", linewidth=1.4)
        for row, level in enumerate(levels.values()):
            axes.plot([level.low, level.high], [row, row], color=BLUE if row else VERMILION, linewidth=2.2)
            axes.plot(level.value, row, "o" if row else "s", color=BLUE if row else VERMILION, markersize=8)
        axes.set_yticks(range(len(levels)), list(levels))
        axes.set_ylim(len(levels) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
        axes.set_xlabel(_D_label(length_unit, time_unit))
        return save(figure, folder, "estimates")


def draw_against_modes(
    folder: Path, curves: Mapping[str, Curve], reference: Level | None, length_unit: str, time_unit: str
) -> Path:
    """Draw D against the number of modes k in the fit (JCP fig. 10).

    Args:
        folder: where D_of_k.png and .pdf go.
        curves: label, such as "900 frames", to D over k with its standard error.
        reference: D by other means, drawn as a band; None for none.
        length_unit: of D.
        time_unit: of D.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.subplots()
        if reference is not None:
            axes.axhspan(reference.low, reference.high, color=GREY, alpha=0.15, linewidth=0)
            axes.axhline(reference.value, color=GREY, linestyle=":", linewidth=1.5, label="reference")
        shift = 0.16
        for i, (label, curve) in enumerate(curves.items()):
            bar = None if curve.se is None else NORMAL * curve.se
            axes.errorbar(
                curve.x + shift * (i - (len(curves) - 1) / 2),
                curve.y,
                bar,
                fmt=_MARKERS[i % 4] + "-",
                color=_COLOURS[i % 4],
                markersize=5.5,
                linewidth=1.2,
                capsize=2,
                label=label,
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.set(xlabel="modes k in the fit", ylabel=_D_label(length_unit, time_unit))
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.25 * (high - low))
        axes.legend(loc="upper right", ncols=2)
        return save(figure, folder, "D_of_k")


def draw_against_frames(folder: Path, curves: Mapping[str, Curve], claimed: Curve | None) -> Path:
    """Draw the relative error of D against the frames it was fitted to (JCP fig. 11).

    Args:
        folder: where error_of_frames.png and .pdf go.
        curves: label to the relative error over frames, in per cent, with its standard error.
        claimed: standard error that the fit itself states, in per cent; None for none.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.subplots()
        for i, (label, curve) in enumerate(curves.items()):
            bar = None if curve.se is None else np.minimum(curve.se, 0.9 * curve.y)
            axes.errorbar(
                curve.x,
                curve.y,
                bar,
                fmt=_MARKERS[i % 4] + "-",
                color=_COLOURS[i % 4],
                markersize=6,
                linewidth=1.6,
                capsize=2,
                label=label,
            )
        if claimed is not None:
            axes.plot(
                claimed.x, claimed.y, "--", color=BLACK, linewidth=1.4, label="standard error that the fit states"
            )
        axes.set(xscale="log", yscale="log", xlabel="frames fitted, $T_{fit}/Δt$", ylabel="error of D / %")
        everything = np.concatenate([curve.x for curve in curves.values()])
        axes.set_xticks(np.unique(everything))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        figure.legend(loc="outside upper center", ncols=3)
        return save(figure, folder, "error_of_frames")


def draw_temperatures(
    folder: Path,
    temperatures: Float64,
    ways: Mapping[str, Sequence[Level | None]],
    length_unit: str,
    time_unit: str,
    T_label: str,
) -> Path:
    """Draw D against temperature with 95% intervals (JCP fig. 14).

    Args:
        folder: where D_of_T.png and .pdf go.
        temperatures: (run,).
        ways: "full MD", "fit", "generated" to D of each run; None where it is missing.
        length_unit: of D.
        time_unit: of D.
        T_label: of the x axis.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.subplots()
        spread = float(np.ptp(temperatures)) or 1.0
        looks = {"full MD": ("^", look_of("full MD")[0]), "fit": ("o", BLUE), "generated": ("s", VERMILION)}
        for i, (way, levels) in enumerate(ways.items()):
            marker, colour = looks.get(way, ("D", GREEN))
            shown = [(T, level) for T, level in zip(temperatures, levels, strict=True) if level is not None]
            if not shown:
                continue
            T = np.array([T for T, _ in shown]) + 0.015 * spread * (i - (len(ways) - 1) / 2)
            value, low, high = np.array([(lev.value, lev.low, lev.high) for _, lev in shown]).T
            axes.errorbar(
                T,
                value,
                [value - low, high - value],
                fmt=marker,
                color=colour,
                markersize=7,
                capsize=3,
                label=way,
                markerfacecolor="none" if way == "generated" else colour,
            )
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.set(xlabel=T_label, ylabel=_D_label(length_unit, time_unit))
        axes.legend(loc="upper left")
        return save(figure, folder, "D_of_T")


def draw_arrhenius(
    folder: Path,
    inverse: Float64,
    levels: Sequence[Level],
    lines: Mapping[str, Curve],
    length_unit: str,
    time_unit: str,
    T_label: str,
) -> Path:
    """Draw D on a logarithmic axis against the inverse temperature, with the laws fitted to it.

    Args:
        folder: where arrhenius.png and .pdf go.
        inverse: (run,) inverse temperatures as they are drawn.
        levels: D of each run.
        lines: name of the law to its D over inverse temperature, with the standard error of the line.
        length_unit: of D.
        time_unit: of D.
        T_label: of the x axis.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.subplots()
        for (name, line), colour, dash in zip(lines.items(), (VERMILION, GREEN), ("-", "--"), strict=False):
            axes.plot(line.x, line.y, dash, color=colour, label=name)
            if line.se is not None:
                width = np.exp(NORMAL * line.se / line.y)
                axes.fill_between(line.x, line.y / width, line.y * width, color=colour, alpha=0.18, linewidth=0)
        value, low, high = np.array([(level.value, level.low, level.high) for level in levels]).T
        axes.errorbar(
            inverse,
            value,
            [np.minimum(value - low, 0.95 * value), high - value],
            fmt="o",
            color=BLUE,
            markersize=7,
            capsize=3,
            label="fit, 95% interval",
        )
        axes.set(yscale="log", xlabel=T_label, ylabel=_D_label(length_unit, time_unit))
        axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 3.0, 5.0, 7.0)))
        axes.yaxis.set_minor_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(3, 3)))
        axes.legend(loc="upper right")
        return save(figure, folder, "arrhenius")
