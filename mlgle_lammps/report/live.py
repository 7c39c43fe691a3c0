"""The page of a run that goes on: what result.json knows, and a curve of D drawn without any drawing library.

It is rewritten at every milestone by the process that learns, so it has to be cheap: text alone, no matplotlib. A
browser that shows it reads it again and again; the final report takes its place and no longer asks for that.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlgle_lammps.evaluate.labels import surrogate_label
from mlgle_lammps.plain import JsonMapping, JsonObject
from mlgle_lammps.report.page import Gaps, number, write_page
from mlgle_lammps.report.report import D_units, direction_lines, headline_of, species_rows

REFRESH = 5
"""Seconds after which a browser reads the page again."""
WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 74, 14, 12, 34
SHOWN = 3.0
"""Half-widths of the last interval that the curve shows on either side of D, more only where D itself was there."""


def write_live_page(folder: Path, result: JsonMapping, stage: str, refresh: bool = True) -> Path:
    """Write ``folder``/report.html as far as a run has come; return it.

    Args:
        folder: of the run.
        result: content of result.json so far, plain.
        stage: what is going on, a few words.
        refresh: a browser is to read it again soon; False where the run has ended without a report of its own.

    Raises:
        RunFailure: it cannot be written.
    """
    return write_page(
        folder / "report.html",
        "live.html",
        [],
        result.get("versions") or {},
        None,
        result=Gaps(result),
        surrogate=surrogate_label(result),
        headline=headline_of(result),
        units=D_units(result),
        directions=direction_lines(result),
        species=species_rows(result),
        curve=curve_of(result.get("D_online") or []),
        stage=stage,
        refresh=REFRESH if refresh else None,
        written=time.strftime("%Y-%m-%d %H:%M:%S"),
    )


def curve_of(online: Sequence[JsonMapping]) -> JsonObject | None:
    """Return D against frames as coordinates of an SVG picture; None where there are fewer than two points.

    Args:
        online: entries of result.json's ``D_online``.

    Returns:
        points of the line, of the band's outline, and labelled ticks.
    """
    known = [entry for entry in online if entry.get("value") is not None and None not in (entry.get("ci95") or [None])]
    if len(known) < 2:
        return None
    frames = [float(entry["frames"]) for entry in known]
    values = [float(entry["value"]) for entry in known]
    low, high = zip(*((float(a), float(b)) for a, b in (entry["ci95"] for entry in known)), strict=True)
    reach = SHOWN * max((high[-1] - low[-1]) / 2, 1e-300)
    bottom, top = min(min(values), values[-1] - reach), max(max(values), values[-1] + reach)
    if not top > bottom:
        return None

    def x(frame: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (frame - frames[0]) / max(frames[-1] - frames[0], 1.0)

    def y(value: float) -> float:
        inside = min(max(value, bottom), top)
        return TOP + (HEIGHT - TOP - BOTTOM) * (top - inside) / (top - bottom)

    outline = [*zip(frames, high, strict=True), *reversed(list(zip(frames, low, strict=True)))]
    return {
        "size": (WIDTH, HEIGHT), "box": (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM),
        "line": _points((x(frame), y(value)) for frame, value in zip(frames, values, strict=True)),
        "band": _points((x(frame), y(value)) for frame, value in outline),
        "last": (round(x(frames[-1]), 1), round(y(values[-1]), 1)),
        "ticks_y": [(round(y(value), 1), number(value, 3)) for value in (bottom, (bottom + top) / 2, top)],
        "ticks_x": [(round(x(frame), 1), number(int(frame))) for frame in (frames[0], frames[-1])],
    }  # fmt: skip


def _points(pairs: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
