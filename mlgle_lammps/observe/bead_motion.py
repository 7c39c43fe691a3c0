"""How the beads of a chain move, rebuilt from centre and streamed modes, and how far the centre moves with each mode.

The mean squared displacement of bead n over a lag is aᵀCa with C the covariance of the displacements of centre and
modes and a_n = (1, 2 cos[πp(n+1/2)/N]) of a chain, (1, √(2N) u_p(n)) of other molecules; fast modes that are not
streamed are in none of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mlgle_lammps.chains.beads import bead_matrix
from mlgle_lammps.chains.laplacian import Edges, bead_columns
from mlgle_lammps.records import Float64, Frames
from mlgle_lammps.statistics.errors import ratio_of_means
from mlgle_lammps.statistics.moments import MomentAccumulator

STARTS = 32
"""Displacements of one lag taken of each block of generated frames, of which there are many."""
BLOCK = 512
"""Recorded frames that are looked at together, each with its own displacement."""


@dataclass(frozen=True)
class BeadMotion:
    """What displacements of centre and modes say together; chains are the independent units.

    Attributes:
        lags: (lag,) in frames.
        products: (lag, chain, 1 + mode, 1 + mode) mean product of displacements per direction, the centre's first.
    """

    lags: tuple[int, ...]
    products: Float64

    def ties(self) -> tuple[Float64, Float64]:
        """Return <ΔX·Δz_p>/<Δz_p²> and its standard error, (lag, mode) both."""
        cross, square = self.products[:, :, 0, 1:], np.diagonal(self.products, axis1=2, axis2=3)[:, :, 1:]
        return ratio_of_means(cross, square, axis=1)

    def beads(self, n_beads: int, edges: Edges = ()) -> tuple[Float64, Float64]:
        """Return the mean squared displacement of each bead per direction and its standard error, (lag, bead) both.

        A chain's two ends are alike on average, not in one chain; nothing is averaged over them.
        """
        n_modes = self.products.shape[2] - 1
        a = bead_columns(n_beads, edges, n_modes) if edges else bead_matrix(n_beads, n_modes)
        own = np.einsum("np,lcpq,nq->lcn", a, self.products, a, optimize=True)
        return own.mean(axis=1), own.std(axis=1, ddof=1) / math.sqrt(own.shape[1])


class BeadMotionGatherer:
    """Adds blocks of frames; displacements do not reach across blocks."""

    def __init__(self, n_chains: int, n_modes: int, lags: tuple[int, ...], starts: int = STARTS) -> None:
        """Make room for ``lags`` in frames; of each block and lag ``starts`` displacements are taken."""
        self._lags, self._starts = lags, starts
        self._sums = np.zeros((len(lags), n_chains, 1 + n_modes, 1 + n_modes))
        self._counts = np.zeros(len(lags))

    def add(self, frames: Frames) -> None:
        """Add consecutive frames; the centres' common motion should be gone."""
        for i, lag in enumerate(self._lags):
            starts = np.flatnonzero(frames.segments[lag:] == frames.segments[:-lag])
            starts = starts[:: max(1, len(starts) // self._starts)]
            if not len(starts):
                continue
            moved = [frames.com[starts + lag] - frames.com[starts]]
            moved += list(np.moveaxis(frames.modes[starts + lag] - frames.modes[starts], 2, 0))
            both = np.stack(moved, axis=-2).astype(np.float32)  # (time, chain, 1 + mode, d)
            flat = both.transpose(1, 2, 0, 3).reshape(both.shape[1], both.shape[2], -1)
            self._sums[i] += flat @ flat.transpose(0, 2, 1) / both.shape[3]
            self._counts[i] += len(starts)

    def motion(self) -> BeadMotion | None:
        """Return what was gathered, of lags that were reached; None where none was or of a single chain."""
        reached = np.flatnonzero(self._counts)
        if not len(reached) or self._sums.shape[1] < 2:
            return None
        products = self._sums[reached] / self._counts[reached, None, None, None]
        return BeadMotion(tuple(self._lags[i] for i in reached), products)


def bead_motion_of(frames: Frames, lags: tuple[int, ...], center_held: bool = False) -> BeadMotion | None:
    """Return the motion of recorded chains, the motion of the system as a whole removed.

    Where the system's centre itself diffuses, or would but is held, what that takes from each chain is made good, as in
    ``Moments``.
    """
    n_chains, n_modes = frames.modes.shape[1:3]
    gatherer = BeadMotionGatherer(n_chains, n_modes, lags, BLOCK)
    com = frames.com - frames.com.mean(axis=1, keepdims=True)
    com *= math.sqrt(_made_good(frames, center_held))
    for first in range(0, len(frames), BLOCK):
        own = slice(first, first + BLOCK + max(lags))
        gatherer.add(Frames.of_chains(frames.steps[own], frames.segments[own], com[own], frames.modes[own]))
    return gatherer.motion()


def _made_good(frames: Frames, center_held: bool) -> float:
    accumulator = MomentAccumulator(
        frames.com.shape[1], 0, 1, center_held=center_held, n_dimensions=frames.com.shape[2]
    )
    starts = np.flatnonzero(np.diff(frames.segments, prepend=frames.segments[0] - 1)).tolist()
    for first, after in pairwise([*starts, len(frames)]):
        accumulator.add_centers(frames.com[first:after], segment=int(frames.segments[first]))
    return float(accumulator.moments().made_good(np.ones(1, dtype=np.int64))[0])
