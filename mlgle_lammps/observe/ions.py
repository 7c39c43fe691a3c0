"""Ions and beads in a periodic box: who is near whom, who collides, and how charge moves.

| symbol | name | meaning |
|---|---|---|
| L_ab | onsager | lim <ΔR_a·ΔR_b>/(6 V kT t); R_a sums the positions of all ions a, the box's centre at rest |
| σ | conductivity | Σ_ab q_a q_b L_ab |
| σ_NE | nernst_einstein | Σ_a q_a² N_a D_a/(V kT): without correlations between ions |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from mlgle_lammps.errors import UserError
from mlgle_lammps.observe.pair_distribution import PairDistribution
from mlgle_lammps.records import Estimate, Float64
from mlgle_lammps.statistics.errors import jackknife_error, left_out_means, student_estimate

LATE = 0.5
"""Share of the longest lag from which on displacements are taken for diffusive."""


def edges_of(box: tuple[float, ...] | None) -> Float64:
    """Return the edges of a rectangular periodic box; raise UserError where it is none."""
    if box is None or any(box[3:]):
        raise UserError("distances between ions need a rectangular box that is periodic in all directions")
    return np.array(box[:3], dtype=np.float64)


def species_distribution(
    one: np.ndarray, other: np.ndarray | None, box: Float64, furthest: float, n_bins: int = 100, n_blocks: int = 10
) -> PairDistribution:
    """Return g(r) between two sets of points, or within one.

    Args:
        one: (time, point, 3), length; need not be wrapped.
        other: (time, point, 3) of another set; None for pairs within ``one``.
        box: (3,) edges of the periodic box.
        furthest: largest r, below half the box.
        n_bins: bins between 0 and ``furthest``.
        n_blocks: blocks of frames for the error.

    Limit: 1 for points without correlation.
    """
    if furthest >= 0.5 * box.min():
        raise ValueError(f"g(r) up to {furthest} in a box of {box.min()}: half of it is the most")
    edges = np.linspace(0.0, furthest, n_bins + 1)
    n_one, n_other = one.shape[1], one.shape[1] if other is None else other.shape[1]
    pairs = n_one * (n_one - 1) if other is None else n_one * n_other
    ideal = pairs * 4 / 3 * np.pi * np.diff(edges**3) / np.prod(box)
    counts = np.empty((len(one), n_bins))
    for t in range(len(one)):
        first = _tree(one[t], box)
        second = first if other is None else _tree(other[t], box)
        found = np.asarray(first.count_neighbors(second, edges), dtype=np.float64)
        counts[t] = np.diff(found - (n_one if other is None else 0))
    blocks = np.array([own.mean(axis=0) for own in np.array_split(counts, min(n_blocks, len(one)))]) / ideal
    se = blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks)) if len(blocks) > 1 else np.full(n_bins, np.nan)
    return PairDistribution(0.5 * (edges[1:] + edges[:-1]), counts.mean(axis=0) / ideal, se)


def collisions(one: np.ndarray, other: np.ndarray | None, box: Float64, closest: float) -> Float64:
    """Return the pairs that are closer than ``closest``, per point of ``one``, in each frame, (time,).

    Args:
        one: (time, point, 3), length.
        other: (time, point, 3) of another set; None for pairs within ``one``, each counted once.
        box: (3,) edges of the periodic box.
        closest: distance that MD does not go below.
    """
    found, below = np.empty(len(one)), closest * (1.0 - 1e-12)
    for t in range(len(one)):
        first = _tree(one[t], box)
        if other is None:
            found[t] = len(first.query_pairs(below))
        else:
            found[t] = first.count_neighbors(_tree(other[t], box), below)
    return found / one.shape[1]


def closest_distance(one: np.ndarray, other: np.ndarray | None, box: Float64) -> float:
    """Return the smallest distance between two points in any frame, length."""
    least = np.inf
    for t in range(len(one)):
        first = _tree(one[t], box)
        second = first if other is None else _tree(other[t], box)
        distances = second.query(first.data, k=2 if other is None else 1)[0]
        least = min(least, float(distances[:, 1].min() if other is None else distances.min()))
    return least


def _tree(points: np.ndarray, box: Float64) -> cKDTree:
    wrapped = np.asarray(points, dtype=np.float64) % box % box
    return cKDTree(wrapped, boxsize=box)


@dataclass(frozen=True)
class Conduction:
    """How charge moves.

    Attributes:
        onsager: L_ab by pairs of names in alphabetical order, 1/(length · energy · time) · length².
        conductivity: σ.
        nernst_einstein: σ_NE from the same displacements.
    """

    onsager: Mapping[tuple[str, str], Estimate]
    conductivity: Estimate
    nernst_einstein: Estimate

    @property
    def haven_ratio(self) -> float:
        """σ_NE/σ; 1 where ions move independently."""
        return self.nernst_einstein.value / self.conductivity.value


def conduction(
    positions: Mapping[str, np.ndarray], charges: Mapping[str, float], box: Float64, kT: float, dt: float,
    drift: np.ndarray | None = None, longest: float | None = None, n_blocks: int = 10,
    segments: np.ndarray | None = None,
) -> Conduction:  # fmt: skip
    """Return Onsager coefficients and conductivity from collective displacements, Δ over lags up to ``longest``.

    L_ab is half the slope of <ΔR_a·ΔR_b>/(3 V kT) between half the longest lag and all of it. Errors: jackknife over
    blocks of time that are twice as long as the longest lag or more.

    Args:
        positions: unwrapped (time, ion, 3) of each species by its name, length.
        charges: of one ion of each species.
        box: (3,) edges.
        kT: energy.
        dt: time between frames.
        drift: (time, 3) the system's centre of mass, taken off; None where it rests.
        longest: lag; None for a tenth of the recording.
        n_blocks: blocks for the error, fewer where they would be too short.
        segments: (time,) numbers of uninterrupted pieces, across which nothing is compared; None for one.

    Raises:
        ValueError: fewer than two blocks.
    """
    names = sorted(positions)
    moved = {name: np.asarray(positions[name], np.float64) - (0 if drift is None else drift[:, None]) for name in names}
    n_frames = len(next(iter(moved.values())))
    last = max(2, round((n_frames * dt / 10 if longest is None else longest) / dt))
    first = max(1, round(LATE * last))
    n_blocks = min(n_blocks, n_frames // (2 * last))
    if n_blocks < 2:
        raise ValueError(f"{n_frames} frames are too few for displacements over {last} of them")
    sums = {name: own.sum(axis=1) for name, own in moved.items()}
    scale = 1.0 / (6.0 * float(np.prod(box)) * kT * (last - first) * dt)
    starts = np.arange(n_frames - last)
    if segments is not None:
        starts = starts[segments[starts] == segments[starts + last]]
    if len(starts) < n_blocks:
        raise ValueError(f"pieces too short for displacements over {last} frames")
    blocks = np.array_split(starts, n_blocks)

    def slopes(one: Float64, other: Float64) -> Float64:
        """Return (block,) scaled slopes of <Δone·Δother>, points summed where there are several."""
        found = []
        for start in blocks:
            late, early = (
                float(np.mean(np.sum((one[start + lag] - one[start]) * (other[start + lag] - other[start]), axis=-1)))
                for lag in (last, first)
            )
            found.append(scale * (late - early))
        return np.array(found)

    pairs = {(a, b): slopes(sums[a], sums[b]) for i, a in enumerate(names) for b in names[i:]}
    total = sum((charges[a] * charges[b] * (1 if a == b else 2) * own for (a, b), own in pairs.items()), np.zeros(1))
    alone = sum(
        (charges[a] ** 2 * slopes(moved[a], moved[a]) * moved[a].shape[1] for a in names), np.zeros(len(blocks))
    )
    estimates = {pair: _over_blocks(own, "Onsager coefficient") for pair, own in pairs.items()}
    return Conduction(
        estimates, _over_blocks(total, "collective displacements"), _over_blocks(alone, "Nernst-Einstein")
    )


def _over_blocks(values: Float64, method: str) -> Estimate:
    se = float(jackknife_error(left_out_means(values)))
    return student_estimate(float(values.mean()), se, len(values) - 1, f"{method}, {len(values)} blocks")
