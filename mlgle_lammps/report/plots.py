"""Pictures of a run, each written as PNG and PDF; plain arrays in, no state kept between calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogFormatterSciNotation, LogLocator, NullFormatter, ScalarFormatter

from mlgle_lammps.errors import RunFailure, one_line
from mlgle_lammps.plain import AnyArray
from mlgle_lammps.statistics.errors import NORMAL

DPI = 150
# Okabe and Ito's palette: told apart by readers of every colour vision, and in grey by dash and marker
BLUE, VERMILION, BLACK, GREY, GREEN = "#0072B2", "#D55E00", "#000000", "#6E6E6E", "#007A5A"
STYLE: Any = {  # matplotlib names its keys one by one
    "font.size": 11,
    "axes.labelsize": 11.5,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "axes.formatter.use_mathtext": True,
}
_BLACK_LOOK = (BLACK, "--", 1.8)
_LOOKS = {"full MD": _BLACK_LOOK, "other MD": _BLACK_LOOK, "MD": (BLUE, "-", 2.6)}
_GENERATED_LOOK = (VERMILION, "-.", 2.2)
_SYMBOLS = {"Angstrom": "Å", "sigma": "σ", "tau": "τ", "micrometer": "µm", "microsecond": "µs"}
_POINTS = 300


def look_of(label: str) -> tuple[str, str, float]:
    """Return colour, dash and width that a trajectory has in every picture; what is not MD was generated."""
    return _LOOKS.get(label, _GENERATED_LOOK)


@dataclass(frozen=True)
class Curve:
    """A line with its error.

    Attributes:
        x: (point,) increasing.
        y: (point,).
        se: (point,) standard error of y, None where unknown.
    """

    x: AnyArray
    y: AnyArray
    se: AnyArray | None = None

    def positive(self) -> Curve:
        """Return the points that logarithmic axes can show."""
        keep = (np.asarray(self.x) > 0) & (np.asarray(self.y) > 0)
        return Curve(self.x[keep], self.y[keep], None if self.se is None else self.se[keep])

    def thinned(self) -> Curve:
        """Return at most some hundred points, evenly spaced in log x; short curves come back as they are."""
        n = len(self.x)
        if n <= _POINTS:
            return self
        keep = np.unique(np.geomspace(1, n, _POINTS).astype(int) - 1)
        return Curve(self.x[keep], self.y[keep], None if self.se is None else self.se[keep])


@dataclass(frozen=True)
class Level:
    """A number with its 95% interval, drawn as a horizontal band."""

    value: float
    low: float
    high: float


def unit_symbol(unit: str) -> str:
    """Return how a unit is printed, e.g. "Å" for "Angstrom"; unknown ones as they are, without mathematics."""
    return _SYMBOLS.get(unit, unit).replace("$", "")


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write ``name``.png and ``name``.pdf into ``folder``; return the PNG.

    Raises:
        RunFailure: they cannot be written.
    """
    FigureCanvasAgg(figure)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{name}.pdf")
        figure.set_layout_engine("none")  # it is laid out; doing it again takes as long as drawing
        figure.savefig(folder / f"{name}.png", dpi=DPI)
    except OSError as error:
        raise RunFailure(f"cannot write {folder / name}.png: {error.strerror or one_line(error)}") from None
    return folder / f"{name}.png"


def draw_diffusion(
    folder: Path,
    online: Sequence[tuple[int, Level]],
    levels: Mapping[str, Level],
    length_unit: str,
    time_unit: str,
    surrogate: str,
) -> Path:
    """Draw D against the frames it was estimated from.

    Args:
        folder: where diffusion.png and .pdf go.
        online: (frames, D with interval), in order.
        levels: label to reference with interval, such as "full MD" or "generated", at most three.
        length_unit: of D, as in the deck.
        time_unit: of D.
        surrogate: how it is called.
    """
    with rc_context(STYLE):
        figure, axes = _figure()
        frames = [n for n, _ in online]
        values = np.array([(level.value, level.low, level.high) for _, level in online]).reshape(-1, 3)
        for (label, level), colour, dash in zip(
            levels.items(), (BLACK, VERMILION, GREEN), ("--", "-.", ":"), strict=False
        ):
            axes.axhspan(level.low, level.high, color=colour, alpha=0.10, linewidth=0)
            axes.axhline(level.value, color=colour, linestyle=dash, linewidth=1.5, label=label)
        axes.fill_between(frames, values[:, 1], values[:, 2], color=BLUE, alpha=0.22, linewidth=0, label="95% interval")
        axes.plot(frames, values[:, 0], color=BLUE, marker="o", markersize=4.5, label=f"{surrogate} fit, online")
        _limit_to_late(axes, values, levels)
        axes.set_xlabel("MD frames used")
        axes.set_ylabel(f"D per dimension / ({unit_symbol(length_unit)}²/{unit_symbol(time_unit)})")
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.margins(x=0.02)
        axes.legend(loc="upper right", ncols=2)
        return save(figure, folder, "diffusion")


def _limit_to_late(axes: Axes, values: AnyArray, levels: Mapping[str, Level]) -> None:
    """Choose the y range by every value and by the intervals of the later half, not by the first wide ones."""
    late = values[len(values) // 2 :]
    shown = np.concatenate([values[:, 0], late.ravel(), [x for e in levels.values() for x in (e.low, e.high)]])
    shown = shown[np.isfinite(shown)]
    if len(shown):
        low, high = float(shown.min()), float(shown.max())
        room = (high - low) or abs(high) or 1.0
        axes.set_ylim(low - 0.1 * room, high + 0.35 * room)


def draw_msd(
    folder: Path,
    curves: Mapping[str, Curve],
    D: float | None,
    length_unit: str,
    time_unit: str,
    t_max: float | None = None,
    n_dimensions: int = 3,
) -> Path:
    """Draw the MSD of the chains' centres of mass, and below it MSD/(2dt) in d dimensions, which tends to D.

    Args:
        folder: where msd.png and .pdf go.
        curves: label ("MD", "full MD", a surrogate's) to MSD over time, length² against time_unit, summed over
            the free directions.
        D: per dimension, for the line 2dDt; None for none.
        length_unit: as in the deck.
        time_unit: as in the deck.
        t_max: end of the memory, marked; None for none.
        n_dimensions: d, free directions.
    """
    slope = 2 * n_dimensions
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 6.4), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        visible = {label: curve.positive().thinned() for label, curve in curves.items()}
        if any(len(shown.x) for shown in visible.values()):
            upper.set_xscale("log")
            upper.set_yscale("log")
        for label, shown in visible.items():
            _draw_with_band(upper, label, shown, np.ones_like(shown.x))
            _draw_with_band(lower, label, shown, slope * shown.x)
        x_range, y_range = np.array(upper.get_xlim()), upper.get_ylim()
        if D is not None and D > 0:
            upper.plot(x_range, slope * D * x_range, ":", color=GREY, linewidth=1.8, label=f"{slope} D t (slope 1)")
            lower.axhline(D, linestyle=":", color=GREY, linewidth=1.8)
            lower.annotate("D", (0.995, D), xycoords=("axes fraction", "data"), va="bottom", ha="right", color=GREY)
        if t_max is not None:
            for axes in (upper, lower):
                axes.axvline(t_max, color=GREY, linewidth=1)
            upper.annotate(r" $t_{max}$", (t_max, 0.97), xycoords=("data", "axes fraction"), va="top", color=GREY)
        upper.set_xlim(*x_range)
        upper.set_ylim(*y_range)
        length, time = unit_symbol(length_unit), unit_symbol(time_unit)
        upper.set_ylabel(f"MSD of centres of mass ({n_dimensions}D) / {length}²")
        lower.set_ylabel(f"MSD/({slope}t) / ({length}²/{time})")
        lower.set_ylim(bottom=0)
        lower.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        lower.set_xlabel(f"t / {time}")
        upper.legend(loc="lower right")
        figure.align_ylabels()
        return save(figure, folder, "msd")


def _draw_with_band(axes: Axes, label: str, curve: Curve, divisor: AnyArray) -> None:
    """Draw a curve over ``divisor``, in the look that its label has in every picture, with its 95% band."""
    colour, dash, width = look_of(label)
    y = curve.y / divisor
    axes.plot(curve.x, y, dash, color=colour, linewidth=width, label=label,
              marker="o" if label == "MD" else None, markersize=4)  # fmt: skip
    if curve.se is not None:
        band = NORMAL * curve.se / divisor
        axes.fill_between(curve.x, np.maximum(y - band, y * 1e-2), y + band, color=colour, alpha=0.2, linewidth=0)


def draw_nacf(
    folder: Path,
    md: Mapping[int, Curve],
    generated: Mapping[int, Curve],
    time_unit: str,
    surrogate: str,
    full: Mapping[int, Curve] | None = None,
) -> Path:
    """Draw normalized autocorrelations, one panel per mode.

    Args:
        folder: where nacf.png and .pdf go.
        md: mode to NACF from MD, with its standard error, against time_unit.
        generated: mode to NACF of the generated trajectories.
        time_unit: as in the deck.
        surrogate: label of the generated ones.
        full: mode to NACF of a longer MD; None without.
    """
    modes = sorted(set(md) | set(generated))
    n_columns = min(2, len(modes))
    n_rows = -(-len(modes) // n_columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.9 + 2.5 * n_rows), layout="constrained")
        panels = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel()
        for panel in panels[len(modes) :]:
            panel.remove()
        for mode, axes in zip(modes, panels, strict=False):
            axes.axhline(np.exp(-1), color=GREY, linestyle=":", linewidth=1.2)
            axes.axhline(0, color=GREY, linewidth=0.8)
            if mode in md:
                curve = md[mode].thinned()
                axes.plot(curve.x, curve.y, color=BLUE, label="MD", linewidth=2.4)
                if curve.se is not None:
                    band = NORMAL * curve.se
                    axes.fill_between(curve.x, curve.y - band, curve.y + band, color=BLUE, alpha=0.22, linewidth=0)
            if full and mode in full:
                curve = full[mode].thinned()
                axes.plot(curve.x, curve.y, ":", color=BLACK, label="full MD")
            if mode in generated:
                curve = generated[mode].thinned()
                axes.plot(curve.x, curve.y, "--", color=look_of(surrogate)[0], label=surrogate)
            axes.set_xscale("log")
            axes.set_ylim(-0.35, 1.08)
            axes.set_title(f"mode {mode}", fontsize=11)
            axes.set_xlabel(f"t / {unit_symbol(time_unit)}")
        panels[0].annotate("1/e", (0.01, np.exp(-1)), xycoords=("axes fraction", "data"), va="bottom", color=GREY)
        panels[0].legend(loc="lower left")
        figure.supylabel("normalized autocorrelation", fontsize=11.5)
        return save(figure, folder, "nacf")


def draw_modes(
    folder: Path,
    md_times: Mapping[int, float],
    generated_times: Mapping[int, float],
    variance_ratio: Mapping[int, float],
    time_unit: str,
    surrogate: str,
) -> Path:
    """Draw relaxation times (1/e of the NACF) and the ratio of stationary variances, mode by mode.

    Args:
        folder: where modes.png and .pdf go.
        md_times: mode to relaxation time from MD; may be empty.
        generated_times: the same from generated trajectories.
        variance_ratio: mode to generated over MD variance.
        time_unit: of the times.
        surrogate: how what was generated is called.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        looks = (("MD", md_times, BLUE, "o"), (surrogate, generated_times, VERMILION, "s"))
        for label, times, colour, marker in looks:
            if times:
                left.plot(list(times), list(times.values()), marker, color=colour, label=label,
                          markerfacecolor="none" if marker == "s" else colour, markersize=7)  # fmt: skip
        left.set_xscale("log")
        if md_times or generated_times:
            left.set_yscale("log")
            left.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
            left.yaxis.set_minor_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(3, 3)))
            left.legend(loc="lower left")
        left.set_ylabel(f"relaxation time $τ_p$ / {unit_symbol(time_unit)}")
        right.axhline(1, color=GREY, linestyle=":", linewidth=1.4)
        right.axhspan(0.95, 1.05, color=GREY, alpha=0.12, linewidth=0)
        right.plot(list(variance_ratio), list(variance_ratio.values()), "s", color=VERMILION, markersize=7)
        furthest = max([abs(ratio - 1) for ratio in variance_ratio.values()], default=0.0)
        right.set_ylim(1 - 1.3 * max(furthest, 0.1), 1 + 1.3 * max(furthest, 0.1))
        right.set_ylabel(f"stationary variance, {surrogate} / MD")
        modes = sorted({*md_times, *generated_times, *variance_ratio}) or [1]
        left.xaxis.set_major_locator(FixedLocator([p for p in (1, 2, 3, 5, 10, 20, 50) if p <= modes[-1]]))
        left.xaxis.set_major_formatter(ScalarFormatter())
        left.xaxis.set_minor_formatter(NullFormatter())
        right.xaxis.set_major_locator(FixedLocator([1, *range(5, modes[-1] + 1, 5)] if modes[-1] > 6 else modes))
        for axes in (left, right):
            axes.set_xlabel("mode p")
        return save(figure, folder, "modes")


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    return figure, figure.subplots()
