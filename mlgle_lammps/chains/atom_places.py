"""The place of each atom in its molecule, whatever the ids are: up to 2^63, and in any order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlgle_lammps.records import Int64

DENSE = 16
"""Ids up to so many times the number of beads are looked up in a table, larger ones by bisection."""


class AtomPlaces:
    """From atom ids to slots: places in a list of ids.

    Args:
        listed: (slot,) atom ids; of chains position along the chain · chains + chain, then side atoms in their order.
    """

    def __init__(self, listed: Int64) -> None:
        self._slots = np.argsort(listed)
        self._ids = listed[self._slots]
        self._table: Int64 | None = None
        if self._ids[0] >= 0 and self._ids[-1] < DENSE * len(listed) + 2**20:
            self._table = np.full(int(self._ids[-1]) + 1, -1, dtype=np.int64)
            self._table[self._ids] = self._slots

    def __call__(self, ids: NDArray[np.integer]) -> Int64:
        """Return (atom,) slots, -1 for atoms that are not listed."""
        if self._table is not None:
            inside = (ids >= 0) & (ids < len(self._table))
            if inside.all():
                return self._table[ids]
            return np.where(inside, self._table[np.where(inside, ids, 0)], -1)
        nearest = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.where(self._ids[nearest] == ids, self._slots[nearest], -1)
