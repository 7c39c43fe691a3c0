"""Bonds from bead to bead, in an order in which every bead comes after one that it is bonded to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlgle_lammps.chains.laplacian import Edges
from mlgle_lammps.plain import AnyArray


class BondWalk:
    """The walk through a molecule's beads: along a chain, else to each bead from the last one before it.

    Args:
        n_beads: N.
        edges: in the canonical order; empty for linear chains and single atoms.
    """

    def __init__(self, n_beads: int, edges: Edges = ()) -> None:
        self._before: NDArray[np.int64] | None = None
        if edges:
            before = np.full(n_beads, -1, dtype=np.int64)
            for one, other in edges:
                low, high = min(one, other), max(one, other)
                before[high] = max(before[high], low)
            self._before = before[1:]

    def bonds(self, beads: AnyArray) -> AnyArray:
        """Return the vector to each bead from the one before it, (bead - 1, ..) of (bead, ..)."""
        if self._before is None:
            return np.diff(beads, axis=0)
        result: AnyArray = beads[1:] - beads[self._before]
        return result

    def along(self, steps: AnyArray) -> AnyArray:
        """Return the sums of steps up to each bead, (bead - 1, ..) of (bead - 1, ..)."""
        if self._before is None:
            return np.cumsum(steps, axis=0)
        sums = np.zeros((len(steps) + 1, *steps.shape[1:]), dtype=steps.dtype)
        for bead, before in enumerate(self._before.tolist(), start=1):
            sums[bead] = sums[before] + steps[bead - 1]
        return sums[1:]
