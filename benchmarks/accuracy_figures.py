"""The skill curve: error of D against frames consumed, and whether the intervals hold on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullFormatter
from scipy import stats

LABELLED_FRAMES = (200, 400, 800, 1600, 3200, 6400, 12800)
COLORS = {
    "default": "#1b6ca8", "paper": "#d1495b", "GRK": "#66a182", "MSD(m)/2t": "#8d96a3", "slope m/2..m": "#edae49",
    "kinisi from m": "#7d4e9e",
}  # fmt: skip


def draw_skill(skills: dict[str, dict], path: Path) -> None:
    """Write one column per stream: relative RMSE above, coverage of the 95% intervals below.

    Args:
        skills: stream name -> frames -> method -> score as a dictionary.
        path: a .png.
    """
    figure = Figure(figsize=(4.2 * len(skills) + 0.8, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(skills), squeeze=False, sharex="col", sharey="row", height_ratios=[3, 2])
    for (error_axis, cover_axis), (name, skill) in zip(axes.T, skills.items(), strict=True):
        frames = np.array([int(n) for n in skill])
        for method, color in COLORS.items():
            rows = [(n, scores[method]) for n, scores in zip(frames, skill.values(), strict=True) if method in scores]
            if rows:
                _draw_method(error_axis, cover_axis, rows, method, color)
        error_axis.set(xscale="log", yscale="log", title=name)
        error_axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        error_axis.yaxis.set_minor_formatter(NullFormatter())
        error_axis.axhline(5, color="0.7", lw=0.8, ls=":")
        counts = np.array([scores["default"]["n"] for scores in skill.values()])
        low, high = stats.binom.ppf([[0.025], [0.975]], counts, 0.95) / counts * 100
        cover_axis.fill_between(frames, low, high, color="0.9", lw=0, label="95%, binomial scatter")
        cover_axis.axhline(95, color="0.5", lw=0.8)
        cover_axis.set(ylim=(0, 104), xlabel="frames consumed")
        labelled = [n for n in frames if n in LABELLED_FRAMES]
        cover_axis.set_xticks(labelled, [str(n) for n in labelled])
        cover_axis.minorticks_off()
    axes[0, 0].set_ylabel("relative RMSE of D, %")
    axes[1, 0].set_ylabel("intervals that hold D, %")
    axes[0, 0].legend(frameon=False, fontsize=8)
    axes[1, 0].legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path, dpi=85)


def _draw_method(
    error_axis: Axes, cover_axis: Axes, rows: list[tuple[int, dict]], method: str, color: str
) -> None:  # fmt: skip
    frames = np.array([n for n, _ in rows])
    rmse, error = (np.array([100 * score[key] for _, score in rows]) for key in ("rmse", "rmse_se"))
    width = 2.0 if method == "default" else 1.2
    error_axis.errorbar(
        frames, rmse, np.minimum(error, 0.9 * rmse), color=color, lw=width, marker="o", ms=3, label=method
    )
    if method == "default":
        claimed = [100 * score["mean_se"] for _, score in rows]
        error_axis.plot(frames, claimed, color=color, lw=1.0, ls="--", label="default, standard error it claims")
    cover = [100 * score["held"] / score["n"] for _, score in rows]
    cover_axis.plot(frames, cover, color=color, lw=width, marker="o", ms=3)
