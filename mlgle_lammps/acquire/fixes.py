"""Fixes by what they do to a run's production, and those that LAMMPS has at a moment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgle_lammps.acquire.lammps_handle import Lammps
from mlgle_lammps.errors import UserError
from mlgle_lammps.stream.communicator import Communicator

ACCELERATED = re.compile(r"/(omp|opt|gpu|kk|intel)$")
BOX_CHANGING = re.compile(r"^(npt|nph|deform|box/relax|press/|msst|nphug|qbmsst|append/atoms)")
BOND_CHANGING = re.compile(r"^bond/(break|swap|react|create(/angle)?)$")
NOISE = {
    "langevin", "langevin/drude", "langevin/eff", "brownian", "brownian/sphere", "brownian/asphere", "gld", "gle",
    "ffl", "temp/csld", "ttm", "ttm/grid", "ttm/mod",
}  # fmt: skip
"""Fixes that push each bead by itself, so that momentum is not conserved."""
INTEGRATORS = re.compile(
    r"^(nv[ekt]|np[ht]|msst|qbmsst|rigid|poems|brownian|gjf|gl[de]|ffl|pimd|move|meso/move|mvv|rheo|sph|bocs|tfmc|hmc|"
    r"pafi|smd/integrate|tgn[vp]t|lb/|python/move)"
)
"""Fixes that move beads."""
ONLOOKERS = re.compile(r"^(print|vector|halt|balance|ave/.*|store/.*|property/atom|external|[A-Z].*)$")
"""Fixes that MD goes on without as with them; those in capitals are LAMMPS's own."""
INTERNAL = re.compile(r"(_(COMPUTE|FIX|DUMP)_STORE\d*|^GROUP_.*|^mlgle_.*)$")
"""Ids of fixes that no deck made."""
YES = {"yes", "on", "true"}
LISTED = re.compile(r"^Fix\[[\s\d]+\]:\s+(\S+),\s+style = (\S+),\s+group = (\S+)", re.MULTILINE)
REGIONS = re.compile(
    r"^Region\[[\s\d]+\]:\s+(\S+),\s+style = \S+,\s+side = in\s*\n(?:[^\n]*\n)??"
    r"\s+Boundary:\s+lo (\S+) (\S+) (\S+)\s+hi (\S+) (\S+) (\S+)",
    re.MULTILINE,
)
MOLECULES = re.compile(r"^Molecule type\s*=\s*(\S+)", re.MULTILINE)


def plain(style: str) -> str:
    """Return a style without the suffix of an accelerated version."""
    return ACCELERATED.sub("", style)


def moves(styles: Iterable[str]) -> bool:
    """Return whether one of the styles moves beads."""
    return any(INTEGRATORS.match(plain(style)) for style in styles)


def lost(before: Iterable[str], now: Mapping[str, str], known: Mapping[str, str], made: Iterable[Sequence[str]]) -> str:
    """Return which fixes are gone without which MD would not go on as before, "" where none.

    Args:
        before: ids of those at work when the last frame was taken, none where that is not known.
        now: id -> style of those that are left.
        known: id -> style of those that production began with.
        made: words of the deck's ``fix`` commands, from the id on.
    """
    styles = _styles(known, made)
    gone = [name for name in before if name not in now and not INTERNAL.search(name)]
    gone = [name for name in gone if not all(ONLOOKERS.match(plain(style)) for style in styles.get(name, {"?"}))]
    if gone:
        return f"fix {', '.join(gone)} with which frames were taken"
    stand = moves(set().union(*styles.values())) and not moves(now.values())
    return "all fixes that move beads" if stand else ""


def _styles(known: Mapping[str, str], made: Iterable[Sequence[str]]) -> dict[str, set[str]]:
    """Return id -> styles that a fix of this id has, or had."""
    styles = {name: {style} for name, style in known.items()}
    for name, _, style in (words[:3] for words in made if len(words) > 2):
        styles.setdefault(name, set()).add(style)
    return styles


def stands(now: Iterable[str], known: Mapping[str, str], made: Iterable[Sequence[str]]) -> bool:
    """Return whether nothing moves beads any longer that did, as far as ids tell: what is not known may move them.

    Args:
        now: ids of the fixes that are left.
        known: id -> style of those that production began with.
        made: words of the deck's ``fix`` commands, from the id on.
    """
    styles = _styles(known, made)
    left = [name for name in now if not INTERNAL.search(name)]
    if any(name not in styles for name in left):
        return False
    return moves(set().union(*styles.values())) and not moves(set().union(*(styles[name] for name in left)))


def only_balances(styles: Iterable[str]) -> bool:
    """Return whether `fix balance` is there, which moves the ranks' borders, and no fix that changes the box."""
    names = [plain(style) for style in styles]
    return "balance" in names and not any(BOX_CHANGING.match(name) for name in names)


def changes_bonds(style: str) -> bool:
    """Return whether a fix of that style makes, breaks or swaps bonds."""
    return bool(BOND_CHANGING.match(plain(style)))


def moves_without_momenta(styles: dict[str, str]) -> bool:
    """Return whether fixes move beads by Brownian dynamics, where velocities are no momenta.

    Args:
        styles: id -> style of the fixes at work.
    """
    return any(plain(style).partition("/")[0] == "brownian" for style in styles.values())


def holds_center(styles: dict[str, str], definitions: tuple[tuple[str, ...], ...]) -> bool:
    """Return whether fixes keep the system's centre of mass in place that their noise would let diffuse.

    The centre's share, 1/P of each of P chains' motion, is then missing from what the chains do. Where momentum is
    conserved (NVE, Nosé-Hoover, DPD) the centre has none, and such fixes take nothing away.

    Args:
        styles: id -> style of the fixes at work.
        definitions: words of ``fix`` commands, from the id on; the last of an id counts.
    """
    words = {definition[0]: definition[3:] for definition in definitions}
    found = [(plain(style), words.get(name, ())) for name, style in styles.items()]
    noisy = any(style in NOISE or (style.startswith("rigid") and "langevin" in rest) for style, rest in found)
    return noisy and any(_holds(style, rest) for style, rest in found)


def _holds(style: str, words: tuple[str, ...]) -> bool:
    """Return whether a fix takes the motion of a group's centre away; ``words`` follow its style."""
    if style == "recenter":
        return True
    if style == "momentum":
        at = words.index("linear") + 1 if "linear" in words else 0
        return at > 0 and set(words[at : at + 3]) != {"0"}
    return style in NOISE and any(a == "zero" and b in YES for a, b in pairwise(words))


@dataclass(frozen=True)
class Region:
    """A region that keeps what is in it.

    Attributes:
        low: lower bounds of x, y, z; -1e20 where there is none.
        high: upper bounds.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Setup:
    """What LAMMPS says of itself.

    Attributes:
        molecules: how atoms know their bonds: "atomic", "molecular" or "template".
        fixes: id -> style of those there are.
        groups: id of a fix -> the group that it acts on.
        regions: name -> bounds of regions with an inside.
    """

    molecules: str
    fixes: dict[str, str]
    groups: dict[str, str] = field(default_factory=dict)
    regions: dict[str, Region] = field(default_factory=dict)


def read_setup(lmp: Lammps, comm: Communicator) -> Setup:
    """Return what LAMMPS says of itself by ``info``; collective over the MD ranks.

    Raises:
        UserError: its answer cannot be written.
    """
    text = ""
    with TemporaryDirectory(prefix="mlgle-") as folder:
        path = comm.bcast(str(Path(folder) / "info"), root=0)
        lmp.command(f'info system fixes regions out overwrite "{path}"')
        if comm.rank == 0:
            try:
                text = Path(path).read_text(encoding="utf-8", errors="replace")
            except OSError:
                text = ""
        text = comm.bcast(text, root=0)
    if not text:
        raise UserError(f"LAMMPS could not write to {path}: set TMPDIR to a folder that it can write to")
    found = MOLECULES.search(text)
    listed = LISTED.findall(text)
    regions = {name: Region(_numbers(bounds[:3]), _numbers(bounds[3:])) for name, *bounds in REGIONS.findall(text)}
    styles, groups = ({entry[0]: entry[i] for entry in listed} for i in (1, 2))
    return Setup(found[1] if found else "", styles, groups, regions)


def _numbers(words: list[str]) -> tuple[float, ...]:
    return tuple(map(float, words))
