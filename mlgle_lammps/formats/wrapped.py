"""Whether positions are wrapped, whatever is said of them: bonds and steps that reach across the box tell.

Of wrapped positions, a share of about |b|/L of the bonds seems to span nearly the whole box, all others being short.
Components that are longer than half the box, far more of them than a normal distribution as wide as the middle ones
has, are no bonds, and no steps of chains.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erfc
from scipy.stats import poisson

from mlgle_lammps.records import Float64

HALF = 0.5
IMPROBABLE = 1e-9
MEDIAN_TO_DEVIATION = 1.4826


def reaching_across(fractions: Float64) -> tuple[int, float] | None:
    """Return the vector that reaches across the box, and how far, where that tells that positions are wrapped.

    Args:
        fractions: (vector, 3) bonds of one frame, or steps of all chains, as fractions of the box.

    Returns:
        (number of the vector, fraction of the box), or None. Vectors of a normal distribution of whatever width give
        None but for one frame in 10^9.
    """
    sizes = np.abs(fractions)
    beyond = sizes > HALF
    if not beyond.any():
        return None
    width = MEDIAN_TO_DEVIATION * float(np.median(sizes[:, sizes.any(axis=0)]))
    expected = sizes.size * float(erfc(HALF / (np.sqrt(2.0) * max(width, 1e-300))))
    if poisson.sf(np.count_nonzero(beyond) - 1, expected) >= IMPROBABLE:
        return None
    vector = int(np.argmax(sizes.max(axis=1)))
    return vector, float(sizes[vector].max())


def extent_cell(positions: Float64) -> Float64:
    """Return a straight cell as large as what is in it, for files without a box: wrapped atoms fill theirs."""
    cell: Float64 = np.diag(np.maximum(np.ptp(positions, axis=0), 1e-300))
    return cell
