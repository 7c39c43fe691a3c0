"""Directions that a deck closes: two dimensions, walls on both sides, regions, indenters, tethers.

What is read here is what LAMMPS says of itself and the words of the deck's ``fix`` commands. A boundary that is merely
not periodic closes nothing, and one wall alone leaves the other side open; whether chains come by walls that are not
seen here (frozen atoms, forces of any kind, words behind variables) their motion tells (`observe.confinement`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlgle_lammps.acquire.fixes import Region, Setup, plain
from mlgle_lammps.acquire.lammps_handle import Lammps
from mlgle_lammps.directions import AXES, Directions
from mlgle_lammps.errors import UserError

FACES = tuple(axis + side for axis in AXES for side in ("lo", "hi"))
NO_WALLS = ("wall/srd", "wall/flow", "wall/flow/kk")
"""Fixes that act on other things than the chains' beads, or that turn none of them back."""
REGION_WALLS = ("wall/region", "wall/gran/region", "wall/region/ees")
FAR = 1e19
"""Bounds of a region beyond this are LAMMPS's INF."""


@dataclass(frozen=True)
class Box:
    """The box where production begins.

    Attributes:
        dimension: 2 or 3.
        low: lower bounds of x, y, z.
        high: upper bounds.
        periodic: of each direction.
    """

    dimension: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    periodic: tuple[bool, ...]


def read_box(lmp: Lammps) -> Box:
    """Return the box as LAMMPS has it now."""
    low, high, *_, periodic, _ = lmp.extract_box()
    return Box(lmp.extract_setting("dimension"), tuple(low), tuple(high), tuple(map(bool, periodic)))


def open_directions(
    setup: Setup,
    definitions: Sequence[tuple[str, ...]],
    later: Sequence[str],
    box: Box,
    holds_chains: Callable[[str], bool],
) -> Directions:
    """Return the directions that a deck leaves open.

    Args:
        setup: fixes and regions that there are where production begins.
        definitions: words of the deck's ``fix`` commands, from the id on; the last of an id counts.
        later: ids of those that production itself makes.
        box: of the system.
        holds_chains: tells whether a group holds all beads of the chains; walls for others close nothing.
    """
    words = {definition[0]: definition for definition in definitions}
    live = {name: words.get(name, (name, setup.groups.get(name, "all"), style)) for name, style in setup.fixes.items()}
    live |= {name: words[name] for name in later if name in words}
    faces: dict[str, str] = {}
    found = {"z": "the simulation has two dimensions"} if box.dimension == 2 else {}
    acting = [own for own in live.values() if len(own) > 2 and _may_close(plain(own[2])) and holds_chains(own[1])]
    for name, _, style, *rest in acting:
        said = f"fix {name} of style {style}"
        for face in _faces(plain(style), rest):
            faces.setdefault(face, said)
        for axis in _closed_at_once(plain(style), rest, setup.regions, box):
            found.setdefault(axis, said)
    for axis in AXES:
        sides = [faces.get(axis + side) for side in ("lo", "hi")]
        if None not in sides:
            found.setdefault(axis, "walls on both sides (" + ", ".join(dict.fromkeys(filter(None, sides))) + ")")
    return Directions.closed_by(found)


def _may_close(style: str) -> bool:
    return (style.startswith("wall/") and style not in NO_WALLS) or style in ("indent", "spring/self")


def _faces(style: str, words: Sequence[str]) -> Iterator[str]:
    """Yield the faces, such as "zlo", at which a fix puts a wall."""
    if style.startswith("wall/") and style not in REGION_WALLS:
        yield from (word for word in words if word in FACES)
        for axis in AXES:
            if (at := _after(words, f"{axis}plane", 2)) is not None:  # of wall/gran: NULL leaves a side open
                yield from (axis + side for side, word in zip(("lo", "hi"), at, strict=True) if word != "NULL")
    if style == "indent" and (plane := _after(words, "plane", 3)) is not None:
        axis, _, side = plane
        yield from (face for face in (axis + side,) if face in FACES)


def _closed_at_once(
    style: str, words: Sequence[str], regions: Mapping[str, Region], box: Box
) -> Iterator[str]:  # fmt: skip
    """Yield the directions that a fix closes by itself on both sides."""
    if style in REGION_WALLS and words:
        name = words[-1] if style == "wall/gran/region" else words[0]
        yield from _within(regions[name], box) if name in regions else ()
    elif style == "indent" and "in" in (_after(words, "side", 1) or ()):
        yield from AXES if "sphere" in words else ()
        yield from _across(_after(words, "cylinder", 1))
    elif style == "wall/gran":
        yield from _across(("z",) if "zcylinder" in words else None)
    elif style == "spring/self":
        tethered = words[1] if len(words) > 1 else AXES
        yield from (axis for axis in AXES if axis in tethered)


def _across(axis: Sequence[str] | None) -> tuple[str, ...]:
    """Return the directions across the axis of a cylinder; none without one."""
    return () if axis is None else tuple(other for other in AXES if other != axis[0])


def _within(region: Region, box: Box) -> Iterator[str]:
    """Yield the directions in which a region keeps what is in it; where the box is periodic it must be smaller."""
    for i, axis in enumerate(AXES):
        low, high = region.low[i], region.high[i]
        bounded = low > -FAR and high < FAR
        if bounded and (not box.periodic[i] or (low > box.low[i] and high < box.high[i])):
            yield axis


def _after(words: Sequence[str], keyword: str, count: int) -> Sequence[str] | None:
    """Return the words that follow a keyword; None where it is not there or they are not."""
    if keyword not in words:
        return None
    start = list(words).index(keyword) + 1
    return words[start : start + count] if len(words) >= start + count else None


def members_by_group(members: Callable[[str], set[int]], chain_ids: set[int]) -> Callable[[str], bool]:
    """Return what tells whether a group holds all beads of the chains; a group that is not there yet holds none.

    Args:
        members: returns the atom ids of a group, and raises UserError for one that is not there.
        chain_ids: ids of the chains' beads.
    """
    known: dict[str, bool] = {"all": True}

    def holds(group: str) -> bool:
        if group not in known:
            try:
                known[group] = chain_ids <= members(group)
            except UserError:
                known[group] = False
        return known[group]

    return holds
