"""Pictures of rheology, scattering and motion, from tables of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.report.plots import BLACK, BLUE, GREEN, GREY, STYLE, VERMILION, save, unit_symbol
from mlgle_lammps.statistics.errors import NORMAL

Columns = JsonMapping
_SIZE = (7.2, 4.6)
MODULUS = {"epsilon/sigma^3": "ε/σ³"}


def draw_relaxation(folder: Path, modes: Columns, green_kubo: Columns | None, at: float | None, time: str,
                    unit: str) -> Path:  # fmt: skip
    """Draw G(t) of both routes with 95% bands, and where they were joined."""
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        shown = [own for own in (modes, green_kubo) if own is not None]
        lowest = 0.2 * _smallest(modes)
        if green_kubo is not None:
            _band(axes, green_kubo, BLACK, "-", "Green-Kubo, 95% band")
        _band(axes, modes, VERMILION, "-.", "modes, 95% band")
        if at is not None:
            axes.axvline(at, color=GREY, lw=1, ls=":", label="joined here")
        axes.set(
            xscale="log", yscale="log", xlabel=f"t / {unit_symbol(time)}", ylabel=f"G(t) / ({MODULUS.get(unit, unit)})"
        )
        axes.set_ylim(lowest, 2 * max(float(np.max(np.asarray(own["value"])[1:])) for own in shown))
        axes.legend()
        return save(figure, folder, "relaxation")


def _smallest(columns: Columns) -> float:
    value, se = np.asarray(columns["value"]), np.asarray(columns["se"])
    good = value[(value > 2 * se) & (value > 0)]
    return float(good.min()) if len(good) else 1e-12


def _band(axes: Axes, columns: Columns, colour: str, dash: str, label: str) -> None:
    t, value, se = (np.asarray(columns[name], dtype=float) for name in ("t", "value", "se"))
    keep = t > 0
    axes.plot(t[keep], np.where(value > 0, value, np.nan)[keep], dash, color=colour, label=label)
    low = np.maximum(value - NORMAL * se, 1e-300)
    axes.fill_between(t[keep], low[keep], np.maximum(value + NORMAL * se, 1e-300)[keep], color=colour, alpha=0.2, lw=0)


def draw_moduli(folder: Path, columns: Columns, frequency: str, unit: str) -> Path:
    """Draw G'(ω) and G''(ω)."""
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        x = np.asarray(columns["omega"])
        for name, label, colour, dash in (("G_storage", "G′", BLUE, "-"), ("G_loss", "G″", VERMILION, "--")):
            value, se = np.asarray(columns[name]), np.asarray(columns[f"{name}_se"])
            axes.plot(x, value, dash, color=colour, label=label)
            axes.fill_between(
                x, np.maximum(value - NORMAL * se, value * 1e-3), value + NORMAL * se, color=colour, alpha=0.2, lw=0
            )
        axes.set(
            xscale="log",
            yscale="log",
            xlabel=f"ω / (1/{unit_symbol(frequency)})",
            ylabel=f"G′, G″ / ({MODULUS.get(unit, unit)})",
        )
        top = float(np.max(columns["G_loss"]))
        axes.set_ylim(top * 1e-4, max(float(np.max(columns["G_storage"])), top) * 2)
        axes.legend()
        return save(figure, folder, "moduli")


def draw_scattering(
    folder: Path, tables: Mapping[str, Columns], time: str, length: str, in_nanoseconds: float | None
) -> Path:
    """Draw S(q,t)/S(q,0) against t as spin-echo people do: linear in S, logarithmic in t.

    Args:
        folder: where scattering.png and .pdf go.
        tables: "modes" and, where there are, sums over beads.
        time: unit.
        length: unit.
        in_nanoseconds: a unit of time in ns; None leaves the deck's.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        factor = in_nanoseconds or 1.0
        looks = {"modes": ("-", ""), "beads of MD": ("", "o"), "generated beads": ("", "x")}
        q_all = np.unique(np.asarray(tables["modes"]["q"]))
        colours = colormaps["viridis"](np.linspace(0, 0.85, len(q_all)))
        for label, columns in tables.items():
            dash, marker = looks[label]
            q, t = np.asarray(columns["q"]), np.asarray(columns["t"])
            for value, colour in zip(q_all, colours, strict=True):
                own = (q == value) & (t > 0)
                y, se = np.asarray(columns["S_over_S0"])[own], np.asarray(columns["S_over_S0_se"])[own]
                named = f"q = {value:.3g}" if label == "modes" else None
                if dash:
                    axes.plot(t[own] * factor, y, dash, color=colour, label=named)
                    axes.fill_between(t[own] * factor, y - NORMAL * se, y + NORMAL * se, color=colour, alpha=0.2, lw=0)
                else:
                    axes.plot(t[own] * factor, y, marker, color=colour, ms=4, mfc="none")
        unit = "ns" if in_nanoseconds else unit_symbol(time)
        axes.set(xscale="log", xlabel=f"t / {unit}", ylabel="S(q,t)/S(q,0), coherent, single chain", ylim=(-0.03, 1.03))
        others = [f"{looks[label][1]}: {label}" for label in tables if label != "modes"]
        axes.legend(title=f"q in 1/{unit_symbol(length)}" + "".join(f"\n{line}" for line in others), fontsize=9)
        return save(figure, folder, "scattering")


def draw_form_factor(folder: Path, columns: Columns, length: str) -> Path:
    """Draw q² P(q) beside Debye's function, Kratky's way."""
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        q, P, se, line = (np.asarray(columns[name]) for name in ("q", "value", "se", "debye"))
        axes.errorbar(q, q**2 * P, NORMAL * q**2 * se, fmt="o", color=BLUE, capsize=3, label="chains, 95%")
        axes.plot(
            q, q**2 * np.asarray(columns["gaussian"]), "-.", color=VERMILION, label="Gaussian chains of these modes"
        )
        axes.plot(q, q**2 * line, "--", color=BLACK, label="Debye, same ⟨Rg²⟩")
        symbol = unit_symbol(length)
        axes.set(xlabel=f"q / (1/{symbol})", ylabel=f"q² P(q) / (1/{symbol}²)")
        axes.legend()
        return save(figure, folder, "form_factor")


def draw_motion(
    folder: Path, curves: Sequence[tuple[str, Columns]], generated: Sequence[Columns], time: str, length: str
) -> Path:
    """Draw g_1, g_2, g_3 with 95% bands, and those of generated chains as marks."""
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        colours = (BLUE, GREEN, VERMILION)
        for (label, columns), colour, dash in zip(curves, colours, ("-", "--", "-."), strict=True):
            _band(axes, columns, colour, dash, label)
        for columns, colour in zip(generated, colours, strict=False):
            axes.plot(columns["t"][1:], columns["value"][1:], "x", color=colour, ms=5)
        axes.set(xscale="log", yscale="log", xlabel=f"t / {unit_symbol(time)}", ylabel=f"g(t) / {unit_symbol(length)}²")
        axes.legend()
        return save(figure, folder, "motion")


def draw_chain_relaxation(folder: Path, curves: Mapping[str, Columns], time: str) -> Path:
    """Draw the correlations of the end-to-end vector and of Rg²."""
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        for (label, columns), colour, dash in zip(curves.items(), (BLUE, VERMILION), ("-", "--"), strict=True):
            t, value, se = (np.asarray(columns[name]) for name in ("t", "value", "se"))
            keep = t > 0
            axes.plot(t[keep], value[keep], dash, color=colour, label=label)
            axes.fill_between(
                t[keep], (value - NORMAL * se)[keep], (value + NORMAL * se)[keep], color=colour, alpha=0.2, lw=0
            )
        axes.axhline(0, color=GREY, lw=0.8)
        axes.set(xscale="log", xlabel=f"t / {unit_symbol(time)}", ylabel="normalized correlation")
        axes.legend()
        return save(figure, folder, "chain_relaxation")
