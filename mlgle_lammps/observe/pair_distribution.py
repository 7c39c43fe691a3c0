"""The radial distribution function between beads of different chains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import find_peaks
from scipy.spatial import cKDTree

from mlgle_lammps.records import Float64


@dataclass(frozen=True)
class PairDistribution:
    """g(r) between beads of different chains.

    Attributes:
        r: (bin,) centres of the bins, length.
        g: (bin,) pairs found over pairs of an ideal gas of as many chains; 1 far away.
        se: (bin,) standard error over blocks of frames; NaN for one block.
    """

    r: Float64
    g: Float64
    se: Float64

    def first_peak(self) -> tuple[float, float]:
        """Return place and height of the first peak, by a parabola through the seven bins about it.

        Only a peak that stands out by a tenth of the highest g counts; the highest point where there is none.
        """
        peaks, _ = find_peaks(self.g, prominence=0.1 * self.g.max())
        first = peaks[0] if len(peaks) else np.argmax(self.g)
        top = int(np.clip(first, 3, len(self.g) - 4))
        window = slice(top - 3, top + 4)
        a, b, c = np.polyfit(self.r[window] - self.r[top], self.g[window], 2)
        return float(self.r[top] - b / (2 * a)), float(c - b**2 / (4 * a))


def intermolecular_distribution(
    positions: np.ndarray, box: Float64, furthest: float, n_bins: int = 120, n_blocks: int = 10
) -> PairDistribution:
    """Return g(r) between beads of different chains.

    Args:
        positions: (time, chain, bead, 3), length.
        box: (3,) edges of the periodic box.
        furthest: largest r; below half the box.
        n_bins: bins between 0 and ``furthest``.
        n_blocks: blocks of frames for the error.

    Limit: 1 for points without correlation.
    """
    n_time, n_chains, n_beads, _ = positions.shape
    edges = np.linspace(0.0, furthest, n_bins + 1)
    counts = np.array([np.diff(_pairs_closer_than(frame, box, edges)) for frame in positions])
    ideal = n_chains * (n_chains - 1) * n_beads**2 * 4 / 3 * np.pi * np.diff(edges**3) / np.prod(box)
    blocks = np.array([block.mean(axis=0) for block in np.array_split(counts, min(n_blocks, n_time))]) / ideal
    se = blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks)) if len(blocks) > 1 else np.full(n_bins, np.nan)
    return PairDistribution(0.5 * (edges[1:] + edges[:-1]), counts.mean(axis=0) / ideal, se)


def _pairs_closer_than(frame: np.ndarray, box: Float64, radii: Float64) -> Float64:
    """Return the number of ordered pairs of beads of different chains within each radius."""
    chains = frame.astype(np.float64)
    wrapped = chains.reshape(-1, 3) % box % box
    tree = cKDTree(wrapped, boxsize=box)
    found = tree.count_neighbors(tree, radii).astype(np.float64)
    apart = chains[:, :, None] - chains[:, None]
    apart -= box * np.round(apart / box)
    own = np.sort(np.linalg.norm(apart, axis=-1).ravel())
    result: Float64 = found - np.searchsorted(own, radii, side="right")
    return result
