"""Self-contained pages: a template, its pictures embedded, numbers written for people, a traffic light."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mlgle_lammps.errors import RunFailure, one_line
from mlgle_lammps.plain import JsonMapping, JsonObject
from mlgle_lammps.store.atomic import write_bytes_atomically

ANSATZ_LEVEL = 0.01


@dataclass(frozen=True)
class Picture:
    """A picture of the report.

    Attributes:
        png: the file that is embedded.
        title: a few words.
        caption: what one should see in it.
    """

    png: Path
    title: str
    caption: str


@dataclass(frozen=True)
class TrafficLight:
    """What the diagnoses of a run come to.

    Attributes:
        colour: "green", "amber" or "red".
        words: one line.
        reasons: what makes it red, one line each.
    """

    colour: str
    words: str
    reasons: tuple[str, ...] = ()


def traffic_light(result: JsonMapping) -> TrafficLight:
    """Return green without warnings, amber with some, red where D should not be used as it stands.

    Args:
        result: content of result.json.
    """
    reasons = []
    if result.get("status") != "complete":
        reasons.append(f"the run is {result.get('status') or 'partial'}")
    D = (result.get("D") or {}).get("value")
    if D is None:
        reasons.append("there is no D yet")
    elif isinstance(D, int | float) and not D > 0:
        reasons.append(f"D is {D:.3g}, which is not above 0")
    p = (result.get("fit") or {}).get("p")
    if isinstance(p, int | float) and p < ANSATZ_LEVEL:
        reasons.append(f"the ansatz does not describe the MSD (p = {p:.2g})")
    if (result.get("generated_check") or {}).get("passed") is False:
        reasons.append("generated trajectories differ from the MD they were learned from")
    n_warnings = len(result.get("warnings") or [])
    if reasons:
        return TrafficLight("red", "Red: look into this before the numbers are used", tuple(reasons))
    if n_warnings:
        counted = "1 warning" if n_warnings == 1 else f"{n_warnings} warnings"
        return TrafficLight("amber", f"Amber: {counted}, below, to be weighed")
    return TrafficLight("green", "Green: no diagnosis objects")


def write_page(
    path: Path,
    template: str,
    pictures: Sequence[Picture],
    versions: Mapping[str, str],
    light: TrafficLight | None,
    **content: Any,
) -> Path:
    """Write a page that needs no other file and no network; return it.

    Args:
        path: the page.
        template: name of the template, which extends page.html.
        pictures: embedded in this order.
        versions: of programs.
        light: None for none.
        content: what the template shows.

    Raises:
        RunFailure: a picture cannot be read or the page not written.
    """
    try:
        embedded = [(p.title, p.caption, base64.b64encode(p.png.read_bytes()).decode()) for p in pictures]
    except OSError as error:
        raise RunFailure(f"cannot read a picture: {error.strerror or one_line(error)}") from None
    page = _environment().get_template(template).render(pictures=embedded, versions=versions, light=light, **content)
    write_bytes_atomically(path, page.encode(errors="xmlcharrefreplace"))  # paths may not be UTF-8
    return path


@lru_cache
def _environment() -> Environment:
    """Return where templates come from; kept, since compiling them takes longer than filling them in."""
    environment = Environment(
        loader=PackageLoader("mlgle_lammps", "report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    environment.filters |= {"number": number, "interval": interval, "duration": duration}
    return environment


class Gaps(JsonObject):
    """A mapping whose absent keys are None, all the way down, as null in result.json is."""

    def __missing__(self, key: str) -> None:
        return None

    def part(self, key: str) -> Gaps:
        """Return the object under ``key``, empty where it is null."""
        value = self.get(key)
        return Gaps(value) if isinstance(value, dict) else Gaps()


def number(value: str | float | None, digits: int = 4, keep_zeros: bool = False) -> str:
    """Return a number for people, "–" for None: 0.001234 for 1.234e-3, 1.234·10⁻⁷ for 1.234e-7.

    Args:
        value: a number, text (returned as it is) or None.
        digits: significant digits.
        keep_zeros: show them all, 0.5000 rather than 0.5.
    """
    if value is None or isinstance(value, str) or not math.isfinite(value):
        return str(value) if isinstance(value, str) else "–"
    if isinstance(value, int):
        return str(value)
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        text = f"{value:#.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
        return text.rstrip(".") if keep_zeros or "." not in text else text.rstrip("0").rstrip(".")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    superscript = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}·10{superscript}"


def interval(bounds: Sequence[float | None] | None, digits: int = 3) -> str:
    """Return "low to high", or "–" where there is no interval."""
    known = [float(bound) for bound in bounds or () if bound is not None]
    if not bounds or len(known) < len(bounds):
        return "–"
    return " to ".join(number(bound, digits, keep_zeros=True) for bound in known)


def duration(seconds: object) -> str:
    """Return seconds as people say them: "2 h 05 min", "3 min 10 s", "4.2 s"; "–" for None."""
    if not isinstance(seconds, int | float):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        minutes, left = divmod(int(seconds), 60)
        return f"{minutes} min {left:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"
