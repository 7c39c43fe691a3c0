"""Pictures of how centres move together, all models beside MD: the letter's figures 1 to 4, g(r) and MSDs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlgle_lammps.report.page import Picture
from mlgle_lammps.report.plots import STYLE, save, unit_symbol

if TYPE_CHECKING:  # records of the evaluation, for their types only
    from mlgle_lammps.evaluate.centres import CentreCurves

COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
DASHES = ("-.", "--", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), ":")
MD = "MD"


def draw_centres(
    folder: Path, md: CentreCurves, models: Mapping[str, CentreCurves], length_unit: str, time_unit: str
) -> list[Picture]:
    """Draw all pictures into a folder.

    Args:
        folder: where PNGs and PDFs go.
        md: what MD shows.
        models: what each model shows.
        length_unit: as in the deck.
        time_unit: as in the deck.

    Raises:
        RunFailure: a file cannot be written.
    """
    time, length = unit_symbol(time_unit), unit_symbol(length_unit)
    with rc_context(STYLE):
        return [
            _velocities(folder, md, models, time),
            _cross(folder, md, models, time),
            _modes(folder, md, models, time),
            _maps(folder, md, models, time, length),
            _structure(folder, md, models, time, length),
        ]


def _velocities(folder: Path, md: CentreCurves, models: Mapping[str, CentreCurves], time: str) -> Picture:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        _lines(axes, md, models, "vacf", time)
        axes.set_ylabel("⟨V(0)·V(t)⟩ / ⟨V²⟩")
    left.set(yscale="log", ylim=(1e-3, 1.1), xlim=(0, md.times[-1] / 2))
    right.axhline(0, color="#888888", linewidth=0.8)
    left.legend()
    png = save(figure, folder, "centres_vacf")
    return Picture(png, "Velocity autocorrelation", "On a logarithmic axis (where it is positive) and as it is.")


def _cross(folder: Path, md: CentreCurves, models: Mapping[str, CentreCurves], time: str) -> Picture:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, name, where in zip(
        figure.subplots(1, 2), ("vccf_inner", "vccf_outer"), ("first neighbours", "beyond"), strict=True
    ):
        _lines(axes, md, models, name, time)
        axes.axhline(0, color="#888888", linewidth=0.8)
        axes.set(ylabel="⟨V_i(0)·V_j(t)⟩ / ⟨V²⟩", title=where)
    figure.axes[0].legend()
    caption = "How a molecule's velocity is passed on to others that were at a given distance, by distance."
    return Picture(save(figure, folder, "centres_vccf"), "Velocity cross-correlations", caption)


def _modes(folder: Path, md: CentreCurves, models: Mapping[str, CentreCurves], time: str) -> Picture:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, name, where in zip(figure.subplots(1, 2), ("C_L", "C_T"), ("longitudinal", "transverse"), strict=True):
        _lines(axes, md, models, name, time)
        axes.axhline(0, color="#888888", linewidth=0.8)
        axes.set(ylabel=f"{name}(t) / {name}(0)", title=f"{where}, k = {md.wave_number:.3g}")
    figure.axes[0].legend()
    caption = "Currents at the smallest wave vectors of the box: sound, and the decay of shear, which is viscosity."
    return Picture(save(figure, folder, "centres_modes"), "Hydrodynamic modes", caption)


def _maps(folder: Path, md: CentreCurves, models: Mapping[str, CentreCurves], time: str, length: str) -> Picture:
    shown = {MD: md, **models}
    figure = Figure(figsize=(2.6 * len(shown) + 0.8, 3.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0])
    mesh = None
    for axes, (name, own) in zip(panels, shown.items(), strict=True):
        rows = np.arange(len(own.maps) + 1)
        edges = np.append(own.r - (own.r[1] - own.r[0]) / 2, own.r[-1] + (own.r[1] - own.r[0]) / 2)
        mesh = axes.pcolormesh(edges, rows, own.van_hove.mean(0), vmin=0, vmax=1.6, cmap="viridis", rasterized=True)
        axes.set(title=name, xlabel=f"r / {length}")
        axes.set_yticks(rows[:-1] + 0.5, [f"{t:g}" for t in own.maps])
        axes.grid(False)
    panels[0].set_ylabel(f"t / {time}")
    if mesh is not None:
        figure.colorbar(mesh, ax=list(panels), label="G(r, t)")
    caption = "Where others are, seen from where a molecule was: rings that fade as the melt forgets its structure."
    return Picture(save(figure, folder, "centres_van_hove"), "Distinct van Hove function", caption)


def _structure(folder: Path, md: CentreCurves, models: Mapping[str, CentreCurves], time: str, length: str) -> Picture:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (name, own) in enumerate({MD: md, **models}.items()):
        look = _look(number)
        left.plot(own.r, own.van_hove[:, 0].mean(0), label=name, **look)
        right.plot(own.msd_times[1:], own.msd.mean(0)[1:], label=name, **look)
    left.set(xlabel=f"r / {length}", ylabel="g(r)")
    right.set(xscale="log", yscale="log", xlabel=f"t / {time}", ylabel=f"⟨|Q(t) - Q(0)|²⟩ / {length}²")
    left.legend()
    caption = "Left, the structure that the mean potential makes; right, the way from free flight to diffusion."
    return Picture(save(figure, folder, "centres_structure"), "g(r) and mean squared displacement", caption)


def _lines(axes: Axes, md: CentreCurves, models: Mapping[str, CentreCurves], name: str, time: str) -> None:
    for number, (label, own) in enumerate({MD: md, **models}.items()):
        mean, se = own.mean(name)
        look = _look(number)
        axes.plot(own.times, mean, label=label, **look)
        if number == 0 and own.n_pieces > 1:
            axes.fill_between(own.times, mean - 2 * se, mean + 2 * se, color=look["color"], alpha=0.2, linewidth=0)
    axes.set_xlabel(f"t / {time}")


def _look(number: int) -> dict:  # type: ignore[type-arg]
    if number == 0:
        return {"color": "#0072B2", "linewidth": 2.6}
    number -= 1
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)], "linewidth": 1.7}
