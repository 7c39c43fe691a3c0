"""Names of species that people can read and type: "linear 25", "star of 4 arms × 8", "ring 50", "type 3", "Na"."""

from __future__ import annotations

from collections.abc import Sequence

from mlgle_lammps.chains.main_species import NAMED_AT_MOST, Kind

LONGEST = 40
ALL_SAME = 6
"""Types along a chain that a name shows."""


def names_of(kinds: Sequence[Kind]) -> list[str]:
    """Return a name for each kind, no two alike; types, then sequences, then numbers tell apart what is else alike."""
    names = [_plain(kind) for kind in kinds]
    for tell in (_by_types, _by_sequence):
        shared = {name for name in names if names.count(name) > 1}
        names = [f"{name}{tell(kind)}" if name in shared else name for name, kind in zip(names, kinds, strict=True)]
    found: list[str] = []
    for name in names:
        clean = "".join("_" if c == "/" or not c.isprintable() else c for c in name)[:LONGEST].strip(". ") or "atoms"
        number, tried = 1, clean
        while tried in found or tried == "chains":
            number += 1
            tried = f"{clean[: LONGEST - 5]} #{number}"
        found.append(tried)
    return found


def _plain(kind: Kind) -> str:
    if kind.n_beads == 1:
        label = kind.types[0] if kind.types else ""
        return f"type {label}" if label.isdigit() else label or "atoms"
    if kind.shape:
        return kind.shape
    lengths = f"{kind.shortest}-{kind.n_beads}" if kind.shortest < kind.n_beads else f"{kind.n_beads}"
    return f"linear {lengths}"


def _by_types(kind: Kind) -> str:
    more = ",.." if len(kind.types) > NAMED_AT_MOST else ""
    listed = ",".join(kind.types[:NAMED_AT_MOST]) + more
    return f" (type{'s' * (len(kind.types) > 1)} {listed})" if kind.types else ""


def _by_sequence(kind: Kind) -> str:
    more = "-.." if len(kind.sequence) > ALL_SAME else ""
    return f" ({'-'.join(kind.sequence[:ALL_SAME])}{more})" if kind.sequence else ""
