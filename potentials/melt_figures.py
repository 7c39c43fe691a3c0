"""The figures of the melt's report: g(r), distances along chains, and how centres of mass move."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from mlgle_lammps.records import Float64
from mlgle_lammps.report.plots import save
from mlgle_lammps.statistics.errors import NORMAL

COLOURS = {300: "C0", 400: "C3"}
LONGEST_SHOWN = 40  # s of the intramolecular distances
HUNDRED_PS_PER_NS = 10.0


def draw_pair_distribution(folder: Path, melts: dict[int, dict[str, Any]]) -> Path:
    """Draw g(r) between chains at both temperatures."""
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axes = figure.subplots()
    for T, melt in melts.items():
        g = melt["g"]
        r, y, se = (np.array(g[key]) for key in ("r", "value", "se"))
        axes.plot(r, y, color=COLOURS[T], label=f"{T} K, peak at {melt['g_peak'][0]:.1f} Å")
        axes.fill_between(r, y - se, y + se, color=COLOURS[T], alpha=0.25, linewidth=0)
    axes.axhline(1.0, color="0.7", linewidth=0.8)
    axes.set(xlabel="r / Å", ylabel="g(r) between chains", xlim=(0, 12), ylim=(0, None))
    axes.legend(frameon=False)
    return save(figure, folder, "pair_distribution")


def draw_segments(folder: Path, prepared: dict[str, Any], long_runs: dict[str, dict[str, Any]]) -> Path:
    """Draw <R²(s)>/s of a built melt, after its push-off, and of long runs of shorter chains."""
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axes = figure.subplots()
    s = np.array(prepared["s"])
    shown = s <= LONGEST_SHOWN
    for name, label, style in (("built", "as built", ":"), ("after", "after the push-off", "-")):
        y, se = np.array(prepared[name]), np.array(prepared[f"{name}_se"])
        axes.plot(s[shown], y[shown], style, color="k", label=f"{len(s) + 1} beads, {label}")
        axes.fill_between(s[shown], (y - se)[shown], (y + se)[shown], color="k", alpha=0.12, linewidth=0)
    for i, (label, run) in enumerate(long_runs.items()):
        segments = run["segments"]
        axes.errorbar(
            segments["s"], segments["value"], segments["se"], fmt="o", markersize=3, color=f"C{i}", linewidth=0.8,
            label=f"{label}, {run['ns']:.0f} ns",
        )  # fmt: skip
    axes.set(xlabel="s / bonds", ylabel=r"$\langle R^2(s)\rangle/s$ / Å$^2$", xscale="log")
    axes.set_xticks([1, 2, 3, 5, 10, 20, 40], labels=["1", "2", "3", "5", "10", "20", "40"])
    title = "bands, bars: standard error over chains"
    axes.legend(frameon=False, fontsize="small", title=title, title_fontsize="small", alignment="left")
    return save(figure, folder, "internal_distances")


def draw_motion(folder: Path, melts: dict[int, dict[str, Any]]) -> Path:
    """Draw the MSD of the centres of mass and its local exponent against time."""
    figure = Figure(figsize=(5.5, 6.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for T, melt in melts.items():
        colour = COLOURS[T]
        for name in ("msd_fine", "msd"):
            curve = melt[name]
            fine = name == "msd_fine"
            t, y, se = (np.array(curve[key]) for key in ("t", "msd", "se"))
            above.plot(t, y, ":" if fine else "-", color=colour, label=None if fine else f"{T} K")
            above.fill_between(t, y - se, y + se, color=colour, alpha=0.2, linewidth=0)
            below.errorbar(
                curve["t_exponent"], curve["exponent"], curve["exponent_se"], fmt="." if fine else "o", color=colour,
                markersize=3, linewidth=0.8,
            )  # fmt: skip
        if melt["D"] is not None:
            t = np.array(melt["msd"]["t"])
            above.plot(t, 2 * melt["D"][0] * 10 * t, "--", color=colour, linewidth=0.8)
        if melt["tau_1_ns"] is not None:
            for axes in (above, below):
                axes.axvline(melt["tau_1_ns"], color=colour, linewidth=0.8, alpha=0.5)
    below.axhline(1.0, color="0.7", linewidth=0.8)
    above.set(xscale="log", yscale="log", ylabel="MSD of centres of mass / Å² per dimension")
    explained = "dashed: $2Dt$; dotted: a run with finer frames;\nvertical: $\\tau_1$ of mode 1"
    above.legend(frameon=False, title=explained, title_fontsize="small", alignment="left")
    below.set(xlabel="t / ns", ylabel="d ln MSD / d ln t", ylim=(0.6, 1.3))
    return save(figure, folder, "centre_of_mass_motion")


def draw_long(folder: Path, long: Sequence[dict[str, Any]]) -> Path | None:
    """Draw MSD/(2t) of runs of long chains, of what ML-GLE generated from them, and D with its 95% interval.

    Returns:
        The picture; None where no run left a stream.
    """
    shown = [run for run in long if run["motion"] is not None]
    if not shown:
        return None
    figure = Figure(figsize=(6.2, 4.2), layout="constrained")
    axes = figure.subplots()
    temperatures = sorted({run["T"] for run in shown})
    colours = dict(zip(temperatures, colormaps["coolwarm"](np.linspace(0, 1, len(temperatures))), strict=True))
    curves = [run.get(name) for run in shown for name in ("motion", "generated")]  # reports of before have no second
    furthest = 2 * max(curve["t"][-1] for curve in curves if curve is not None)
    for number, run in enumerate(shown):
        colour = colours[run["T"]]
        t, y, half = _over_2t(run["motion"])
        label = f"MD, {run['T']} K, seed {run['seed']}, {run['ns']:.0f} ns"
        axes.errorbar(t, y, half, fmt="o", color=colour, markersize=3, linewidth=1, label=label)
        if run.get("generated") is not None:
            t, y, half = _over_2t(run["generated"])
            axes.plot(t, y, color=colour, linewidth=1, label=f"ML-GLE from it, {t[-1]:.0f} ns")
            axes.fill_between(t, y - half, y + half, color=colour, alpha=0.2, linewidth=0)
        D, (low, high) = run["D"][0], run["ci95"]
        place = furthest * 1.15**number
        axes.errorbar([place], [D], [[D - low], [high - D]], fmt="D", color=colour, markersize=5, capsize=3)
    axes.set(xscale="log", xlabel="t / ns", ylabel="MSD/(2t) / Å² per 100 ps", ylim=(0, None))
    title = "bars, bands: 95%; diamonds: D of the GLE fit"
    axes.legend(frameon=False, title=title, fontsize="small", title_fontsize="small", alignment="left")
    return save(figure, folder, "long_chains")


def _over_2t(motion: dict[str, Any]) -> tuple[Float64, Float64, Float64]:
    """Return t in ns, MSD/(2t) in Å² per 100 ps and half of its 95% interval."""
    t, msd, se = (np.array(motion[key]) for key in ("t", "msd", "se"))
    per = 2 * t * HUNDRED_PS_PER_NS
    return t, msd / per, NORMAL * se / per
