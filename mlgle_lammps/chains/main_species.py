"""The main species, the molecules whose D is asked for: one rule for live runs and for replays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Int64

LEAST_MOLECULES = 10
"""Molecules that a species needs before the length of its molecules decides."""
NAMED_AT_MOST = 3
"""Species that a line lists."""


@dataclass(frozen=True)
class Kind:
    """Molecules that are alike.

    Attributes:
        n_beads: of each.
        types: of their beads, in no order; empty where they are not known.
        members: (molecule,) numbers.
        sequence: types along the chain, where these tell it from others of the same types; else empty.
    """

    n_beads: int
    types: tuple[str, ...]
    members: Int64
    sequence: tuple[str, ...] = ()


def kinds_of(sizes: Int64, sequences: Sequence[tuple[str, ...]] | None = None) -> list[Kind]:
    """Return the kinds of molecules that there are: of one length, and of the same types of beads.

    Molecules of the same types in another sequence are kinds of their own where each sequence has ten molecules or
    more, as blocks have; where sequences are random they are one kind.

    Args:
        sizes: (molecule,) beads of each.
        sequences: of each molecule the types along it, from either end; None where types are not known.
    """
    grouped: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for molecule, size in enumerate(sizes.tolist()):
        types = () if sequences is None else tuple(sorted(set(sequences[molecule])))
        grouped.setdefault((size, types), []).append(molecule)
    found = []
    for (size, types), members in grouped.items():
        found += [
            Kind(size, types, np.array(own, dtype=np.int64), sequence)
            for sequence, own in _by_sequence(members, sequences).items()
        ]
    return found


def _by_sequence(members: list[int], sequences: Sequence[tuple[str, ...]] | None) -> dict[tuple[str, ...], list[int]]:
    if sequences is None:
        return {(): members}
    grouped: dict[tuple[str, ...], list[int]] = {}
    for molecule in members:
        forth = sequences[molecule]
        grouped.setdefault(min(forth, forth[::-1]), []).append(molecule)
    several = len(grouped) > 1 and min(map(len, grouped.values())) >= LEAST_MOLECULES
    return grouped if several else {(): members}


def choose_main(kinds: Sequence[Kind]) -> Kind:
    """Return the kind with the most beads per molecule among those with ten molecules or more.

    Where none has ten it is the one with the most molecules, the longest of equals. Of kinds that are equal in both,
    the one that comes first.
    """
    many = [kind for kind in kinds if len(kind.members) >= LEAST_MOLECULES]
    if many:
        return max(many, key=lambda kind: (kind.n_beads, len(kind.members), -int(kind.members[0])))
    return max(kinds, key=lambda kind: (len(kind.members), kind.n_beads, -int(kind.members[0])))


def what_is_left_out(main: Kind, kinds: Sequence[Kind], strict: bool) -> tuple[str, ...]:
    """Return a line that says what was chosen and what was left out; none where there is one kind.

    Raises:
        UserError: something would be left out, where strict.
    """
    others = sorted((kind for kind in kinds if kind is not main), key=lambda kind: -len(kind.members))
    if not others:
        return ()
    counted = [_named(kind, kinds) for kind in others[:NAMED_AT_MOST]]
    if more := others[NAMED_AT_MOST:]:
        counted.append(f"{sum(len(kind.members) for kind in more)} molecules of {len(more)} other kinds")
    chosen = _named(main, kinds)
    if strict:
        raise UserError(f"molecules differ: {chosen}, {', '.join(counted)}; without `strict` D is of {chosen}")
    many = len(main.members) >= LEAST_MOLECULES
    why = f"the longest of {LEAST_MOLECULES} molecules or more" if many else "the most frequent, as all are few"
    return (f"D is of {chosen}, the main species ({why}); left out: {', '.join(counted)}",)


def _named(kind: Kind, kinds: Sequence[Kind]) -> str:
    """Return a kind in words, with its types or sequence where lengths alone do not tell it from others."""
    count = len(kind.members)
    words = f"{count} molecule{'s' * (count != 1)} of {kind.n_beads} beads"
    alike = [other for other in kinds if other.n_beads == kind.n_beads and other is not kind]
    if any(other.types != kind.types for other in alike):
        words += f" (type{'s' * (len(kind.types) > 1)} {', '.join(kind.types[:NAMED_AT_MOST])})"
    elif alike:
        words += f" ({'-'.join(kind.sequence[: 2 * NAMED_AT_MOST])}{'-..' * (kind.n_beads > 2 * NAMED_AT_MOST)})"
    return words
