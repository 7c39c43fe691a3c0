"""The main species, the molecules whose D is asked for: one rule for live runs and for replays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Int64

LEAST_MOLECULES = 10
"""Molecules that a species needs before the length of its molecules decides."""
FEW_SEQUENCES = 3
"""Sequences of the same types that are species of their own also where they have fewer molecules."""
NAMED_AT_MOST = 3
"""Species that a line lists."""


@dataclass(frozen=True)
class Kind:
    """Molecules that are alike.

    Attributes:
        n_beads: of each; of the longest where lengths share a kind.
        types: of their beads, in no order; empty where they are not known.
        members: (molecule,) numbers.
        sequence: types along the chain, where these tell it from others of the same types; else empty.
        shape: what it is where it is no linear chain, such as "star of 4 arms × 8".
        n_shortest: beads of the shortest.
    """

    n_beads: int
    types: tuple[str, ...]
    members: Int64
    sequence: tuple[str, ...] = ()
    shape: str = ""
    n_shortest: int = field(default=0)

    @property
    def shortest(self) -> int:
        """Beads of the shortest of its molecules."""
        return self.n_shortest or self.n_beads


def kinds_of(sizes: Int64, sequences: Sequence[tuple[str, ...]] | None = None) -> list[Kind]:
    """Return the kinds of linear molecules that there are: of one length, and of the same types of beads.

    Molecules of the same types in another sequence are kinds of their own where each sequence has ten molecules or
    more, as blocks have, or there are few sequences; where sequences are random they are one kind.

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
    return grouped if apart([len(own) for own in grouped.values()]) else {(): members}


def apart(counts: Sequence[int]) -> bool:
    """Return whether molecules of the same types, so many of each sequence, are kinds of their own."""
    few = len(counts) <= FEW_SEQUENCES and min(counts) > 1
    return len(counts) > 1 and (few or min(counts) >= LEAST_MOLECULES)


def choose_main(kinds: Sequence[Kind]) -> Kind:
    """Return the kind with the most beads per molecule among those with ten molecules or more.

    Where none has ten it is the one with the most molecules, the longest of equals. Of kinds that are equal in both,
    the one that comes first.
    """
    many = [kind for kind in kinds if len(kind.members) >= LEAST_MOLECULES]
    if many:
        return max(many, key=lambda kind: (kind.n_beads, len(kind.members), -int(kind.members[0])))
    return max(kinds, key=lambda kind: (len(kind.members), kind.n_beads, -int(kind.members[0])))


def what_is_left_out(
    main: Kind, kinds: Sequence[Kind], strict: bool, beside: Sequence[Kind] = (), given: str | None = None
) -> tuple[str, ...]:
    """Return what was chosen, what stands beside it and what was left out, in one line; none where there is one kind.

    Args:
        main: the main species.
        kinds: all of them.
        strict: refuse molecules that are not alike.
        beside: those that have a D of their own in the list of species.
        given: name by which the main species was asked for, None where the rule chose it.

    Raises:
        UserError: molecules are not alike, where strict.
    """
    others = sorted((kind for kind in kinds if kind is not main), key=lambda kind: -len(kind.members))
    if not others:
        return ()
    chosen = _named(main, kinds)
    if strict:
        raise UserError(f"molecules differ: {chosen}, {_listed(others, kinds)}; without --strict D is of {chosen}")
    many = len(main.members) >= LEAST_MOLECULES
    why = f"the longest of {LEAST_MOLECULES} molecules or more" if many else "the most frequent, as all are few"
    line = f"D is of {chosen}, the main species ({why if given is None else f'--species {given}'})"
    listed = [kind for kind in others if any(kind is own for own in beside)]
    left = [kind for kind in others if not any(kind is own for own in beside)]
    if listed:
        line += f"; D of each other is in the list species: {_listed(listed, kinds)}"
    if left:
        line += f"; left out: {_listed(left, kinds)}"
    return (line,)


def _listed(others: Sequence[Kind], kinds: Sequence[Kind]) -> str:
    counted = [_named(kind, kinds) for kind in others[:NAMED_AT_MOST]]
    if more := others[NAMED_AT_MOST:]:
        counted.append(f"{sum(len(kind.members) for kind in more)} molecules of {len(more)} other kinds")
    return ", ".join(counted)


def _named(kind: Kind, kinds: Sequence[Kind]) -> str:
    """Return a kind in words, with its types or sequence where lengths alone do not tell it from others."""
    count = len(kind.members)
    lengths = f"{kind.shortest} to {kind.n_beads}" if kind.shortest < kind.n_beads else f"{kind.n_beads}"
    words = f"{count} molecule{'s' * (count != 1)} of {lengths} bead{'s' * (kind.n_beads != 1)}"
    alike = [other for other in kinds if other.n_beads == kind.n_beads and other is not kind]
    if kind.shape:
        words += f" ({kind.shape})"
    if any(other.types != kind.types for other in alike):
        words += f" (type{'s' * (len(kind.types) > 1)} {', '.join(kind.types[:NAMED_AT_MOST])})"
    elif kind.sequence and alike:
        words += f" ({'-'.join(kind.sequence[: 2 * NAMED_AT_MOST])}{'-..' * (kind.n_beads > 2 * NAMED_AT_MOST)})"
    return words
