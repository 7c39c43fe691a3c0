"""Whether a molecule reaches itself through the periodic box: bonds that lead around it and back to their start."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order

from mlgle_lammps.chains.laplacian import Edges
from mlgle_lammps.records import Float64


def percolates(positions: Float64, edges: Edges, cell: Float64, periodic: NDArray[np.bool_]) -> bool:
    """Return whether a molecule's bonds, each along its nearest image, lead around the box.

    Args:
        positions: (bead, 3), in any image.
        edges: its bonds.
        cell: rows are the box vectors.
        periodic: (3,) whether the box is periodic along each.
    """
    one, other = np.array(edges).T
    to_fractions = np.linalg.inv(cell)
    bonds = (positions[other] - positions[one]) @ to_fractions
    wraps = np.where(periodic, np.rint(bonds), 0.0).astype(np.int64)
    n = len(positions)
    number = csr_matrix((np.arange(1, len(edges) + 1), (one, other)), shape=(n, n))
    order, before = breadth_first_order(number + number.T, 0, directed=False)
    images = np.zeros((n, 3), dtype=np.int64)
    place = {pair: i for i, pair in enumerate(zip(one.tolist(), other.tolist(), strict=True))}
    for bead in order[1:].tolist():
        parent = int(before[bead])
        bond = place.get((parent, bead))
        step = wraps[bond] if bond is not None else -wraps[place[bead, parent]]
        images[bead] = images[parent] - step
    return bool((images[other] - images[one] + wraps).any())
