"""Curves of a run to zoom into: one page beside the report, which needs no network. By plotly, which is optional."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.evaluate.labels import FULL_MD, MD, surrogate_label
from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.records import Float64
from mlgle_lammps.report.page import write_page
from mlgle_lammps.report.plots import BLUE, Curve, look_of, unit_symbol
from mlgle_lammps.statistics.errors import NORMAL

if TYPE_CHECKING:  # what the report draws, for its type only
    from plotly.graph_objects import Figure, Scatter

    from mlgle_lammps.report.report import RunCurves
    from mlgle_lammps.statistics.correlation import Autocorrelation
    from mlgle_lammps.statistics.moments import Moments

PAGE = "interactive.html"
_SHADES = 0.15


def import_plotly() -> ModuleType:
    """Return plotly.graph_objects; raise UserError that says how to get it."""
    try:
        import plotly.graph_objects
    except ImportError as error:
        raise UserError(
            f"`interactive` needs plotly, which is not there ({one_line(error)}): "
            "pip install 'mlgle_lammps[interactive]', or leave the option out"
        ) from None
    return plotly.graph_objects


def write_interactive(folder: Path, result: JsonMapping, curves: RunCurves) -> Path:
    """Write ``folder``/interactive.html: D against frames, displacements, correlations of all modes; return it.

    The page is some 5 MB, nearly all of it plotly itself, so that it needs no network.

    Raises:
        UserError: plotly is not there.
        RunFailure: the page cannot be written.
    """
    go = import_plotly()
    figures = [
        ("D as frames come in", _diffusion(go, result)),
        ("Mean squared displacement of the chains", _displacements(go, result, curves)),
        ("Relaxation of the modes", _correlations(go, result, curves)),
    ]
    drawn: list[tuple[str, str]] = []
    for title, figure in figures:
        if figure is not None:
            figure.update_layout(template="plotly_white", height=520, margin={"t": 20, "l": 70, "r": 20})
            drawn.append((title, figure.to_html(full_html=False, include_plotlyjs=not drawn)))
    return write_page(
        folder / PAGE, "interactive.html", [], result.get("versions") or {}, None, figures=drawn,
        source=str(result.get("source") or ""),
    )  # fmt: skip


def _traces(
    go: ModuleType, curve: Curve, name: str, colour: str, *, dash: str = "solid", hidden: bool = False
) -> list[Scatter]:
    """Return a line and, where its error is known, its 95% band; both answer to one click on the legend."""
    common = {"legendgroup": name, "visible": "legendonly" if hidden else True}
    x, y = np.asarray(curve.x, float), np.asarray(curve.y, float)
    line = go.Scatter(x=x, y=y, name=name, mode="lines", line={"color": colour, "dash": dash}, **common)
    if curve.se is None:
        return [line]
    half = NORMAL * np.asarray(curve.se, float)
    return [_band(go, x, y - half, y + half, colour, common), line]


def _band(go: ModuleType, x: Float64, low: Float64, high: Float64, colour: str, common: JsonMapping) -> Scatter:
    return go.Scatter(
        x=np.concatenate([x, x[::-1]]), y=np.concatenate([high, low[::-1]]), fill="toself", fillcolor=colour,
        opacity=_SHADES, line={"width": 0}, hoverinfo="skip", showlegend=False, **common,
    )  # fmt: skip


def _diffusion(go: ModuleType, result: JsonMapping) -> Figure | None:
    online = [e for e in result.get("D_online") or [] if e.get("value") is not None and None not in e["ci95"]]
    if not online:
        return None
    frames, values = (np.array([entry[key] for entry in online], float) for key in ("frames", "value"))
    low, high = np.array([entry["ci95"] for entry in online], float).T
    figure = go.Figure([
        _band(go, frames, low, high, BLUE, {}),
        go.Scatter(x=frames, y=values, name="fit", mode="lines+markers", line={"color": BLUE}),
    ])  # fmt: skip
    length, time = (unit_symbol(str(result.get(key) or "")) for key in ("length_unit", "time_unit"))
    figure.update_layout(xaxis_title="frames", yaxis_title=f"D / {length}²/{time}")
    figure.update_yaxes(range=[min(values.min(), low[-1]), max(values.max(), high[-1])])
    return figure


def _displacements(go: ModuleType, result: JsonMapping, curves: RunCurves) -> Figure | None:
    dt, label = float(result["dt"]), surrogate_label(result)
    shown: dict[str, Moments | None] = {
        MD: curves.moments, label: curves.generated.moments if curves.generated else None, FULL_MD: curves.full_md,
    }  # fmt: skip
    figure = go.Figure()
    for name, moments in shown.items():
        if moments is not None:
            curve = Curve(moments.lags * dt, moments.n_dimensions * moments.msd_com).positive().thinned()
            colour, dash, _ = look_of(name)
            figure.add_traces(_traces(go, curve, name, colour, dash=_DASHES[dash]))
    length, time = (unit_symbol(str(result.get(key) or "")) for key in ("length_unit", "time_unit"))
    figure.update_layout(xaxis_title=f"t / {time}", yaxis_title=f"MSD / {length}²")
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    return figure


_DASHES = {"-": "solid", "--": "dash", "-.": "dashdot"}
_COLOURS = ("#0072B2", "#D55E00", "#007A5A", "#CC79A7", "#56B4E9", "#E69F00", "#6E6E6E", "#000000")
_AT_FIRST = 4
"""Modes that are shown before anything is clicked."""


def _correlations(go: ModuleType, result: JsonMapping, curves: RunCurves) -> Figure | None:
    dt = float(result["dt"])
    if curves.correlation is None:
        return None
    figure = go.Figure()
    made = curves.generated.correlation if curves.generated else None
    for place in range(curves.correlation.nacf.shape[1]):
        colour, hidden = _COLOURS[place % len(_COLOURS)], place >= _AT_FIRST
        name = f"mode {place + 1}"
        figure.add_traces(_traces(go, _curve(curves.correlation, place, dt), name, colour, hidden=hidden))
        if made is not None and place < made.nacf.shape[1]:
            own = _curve(made, place, dt)
            figure.add_traces(
                _traces(go, Curve(own.x, own.y), f"{name}, generated", colour, dash="dash", hidden=hidden)
            )
    figure.update_layout(xaxis_title=f"t / {unit_symbol(str(result.get('time_unit') or ''))}", yaxis_title="NACF")
    figure.update_xaxes(type="log")
    return figure


def _curve(correlation: Autocorrelation, place: int, dt: float) -> Curve:
    lags = np.unique(np.geomspace(1, max(len(correlation.nacf) - 1, 1), 200).astype(int))
    lags = lags[lags < len(correlation.nacf)]
    return Curve(lags * dt, correlation.nacf[lags, place], correlation.se[lags, place])
