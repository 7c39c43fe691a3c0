"""Bonds that pass through one another, which real chains cannot.

Between two snapshots beads move in straight lines. The bonds x_i + u a and x_j + v b, 0 ≤ u, v ≤ 1, can meet only
where all four beads lie in one plane, (a × b)·(x_j - x_i) = 0, a cubic in time. At each of its roots u and v tell
whether the bonds meet or only the lines through them. Snapshots must be so close that beads move much less than a
bond, a few steps apart: an encounter that begins and ends between them is not seen.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.spatial import cKDTree

from mlgle_lammps.records import Float64, Int64


def chain_bonds(n_chains: int, n_beads: int) -> Int64:
    """Return the bonds of linear chains whose beads follow one another, (bond, 2)."""
    first = (np.arange(n_chains)[:, None] * n_beads + np.arange(n_beads - 1)).ravel()
    return np.stack([first, first + 1], axis=1)


def bond_crossings(before: Float64, after: Float64, bonds: Int64, box: Float64) -> Int64:
    """Return the pairs of bonds that pass through one another between two snapshots.

    Args:
        before: (bead, 3), unwrapped, length.
        after: (bead, 3), unwrapped likewise; a pair that touches exactly here counts, one that does before does not.
        bonds: (bond, 2) indices of beads.
        box: (3,) edges of the periodic box, each longer than two bonds.

    Returns:
        (crossing, 2) indices of bonds, smaller first; a pair that goes there and back is in it twice. Bonds that
        share a bead never are.

    Limit: none where nothing moves.
    """
    pairs, shift = _near_pairs(before, after, bonds, box)
    start = before[bonds[:, 0]], after[bonds[:, 0]]
    along = [end[bonds[:, 1]] - end[bonds[:, 0]] for end in (before, after)]
    i, j = pairs.T
    a, b = along[0][i], along[0][j]
    c = start[0][j] - start[0][i] - shift
    da, db = along[1][i] - a, along[1][j] - b
    dc = start[1][j] - start[1][i] - shift - c
    cubic = _coplanarity(a, b, c, da, db, dc)
    possible = np.flatnonzero(_may_vanish(cubic))
    rows, time = _roots(cubic[possible])
    rows = possible[rows]
    at = time[:, None]
    u, v = _meeting_point(a[rows] + at * da[rows], b[rows] + at * db[rows], c[rows] + at * dc[rows])
    met = (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
    return pairs[rows[met]]


def _near_pairs(before: Float64, after: Float64, bonds: Int64, box: Float64) -> tuple[Int64, Float64]:
    """Return pairs of bonds that could meet and share no bead, and the shift of the second's nearest image."""
    middle = before[bonds].mean(axis=1)
    reach = 0.5 * np.linalg.norm(before[bonds[:, 1]] - before[bonds[:, 0]], axis=1)
    # Both ends of a bond may move; each bond's points then lie within its reach plus the longest way of any bead.
    reach += np.linalg.norm(after - before, axis=1)[bonds].max(axis=1)
    tree = cKDTree(middle % box % box, boxsize=box)  # twice: -1e-17 % box is box
    pairs = np.sort(tree.query_pairs(2 * float(reach.max()), output_type="ndarray"), axis=1).astype(np.int64)
    i, j = pairs.T
    apart = middle[j] - middle[i]
    shift = box * np.round(apart / box)
    first, second = bonds[i], bonds[j]
    shares = (first[:, :, None] == second[:, None, :]).any(axis=(1, 2))
    keep = ~shares & (np.linalg.norm(apart - shift, axis=1) <= reach[i] + reach[j])
    return pairs[keep], shift[keep]


def _coplanarity(a: Float64, b: Float64, c: Float64, da: Float64, db: Float64, dc: Float64) -> Float64:
    """Return (pair, 4) coefficients, constant first, of ((a + t da) × (b + t db))·(c + t dc)."""
    normal = np.stack([np.cross(a, b), np.cross(da, b) + np.cross(a, db), np.cross(da, db)])
    on_c, on_dc = np.einsum("npx,px->np", normal, c), np.einsum("npx,px->np", normal, dc)
    return np.stack([on_c[0], on_c[1] + on_dc[0], on_c[2] + on_dc[1], on_dc[2]], axis=1)


def _may_vanish(cubic: Float64) -> Float64:
    """Tell which cubics may have a root in [0, 1]: their Bernstein coefficients are not all of one sign."""
    to_bernstein = np.array([[1, 1, 1, 1], [0, 1 / 3, 2 / 3, 1], [0, 0, 1 / 3, 1], [0, 0, 0, 1]])
    bernstein = cubic @ to_bernstein
    result: Float64 = (bernstein.min(axis=1) <= 0) & (bernstein.max(axis=1) >= 0) & (cubic[:, 0] != 0)
    return result


def _roots(cubic: Float64) -> tuple[Int64, Float64]:
    """Return (row, time) of all roots in (0, 1]: 1/t are the eigenvalues of the companion matrix."""
    companion = np.zeros((len(cubic), 3, 3))
    companion[:, 0] = -cubic[:, 1:] / cubic[:, :1]
    companion[:, 1, 0] = companion[:, 2, 1] = 1.0
    inverse = np.linalg.eigvals(companion)
    real = (np.abs(inverse.imag) <= 1e-9 * np.abs(inverse)) & (inverse.real >= 1.0)
    rows, which = np.nonzero(real)
    return rows.astype(np.int64), np.asarray(1.0 / inverse.real[rows, which], dtype=np.float64)


def _meeting_point(a: Float64, b: Float64, c: Float64) -> tuple[Float64, Float64]:
    """Return u and v of u a = c + v b, for coplanar a, b, c; infinite where a and b are parallel."""
    normal = np.cross(a, b)
    square = np.einsum("px,px->p", normal, normal)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.einsum("px,px->p", np.cross(c, b), normal) / square
        v = np.einsum("px,px->p", np.cross(c, a), normal) / square
    return u, v


class CrossingCounter:
    """Counts crossings over a run, from snapshots that follow one another closely.

    Args:
        n_chains: chains.
        n_beads: beads per chain; beads of a chain follow one another.
        box: (3,) edges of the periodic box, length.

    Attributes:
        bonds: (bond, 2) the bonds, in the order of `chain_bonds`.
        between: crossings of bonds of different chains in each interval.
        distant: crossings of bonds of one chain in each interval, three bonds apart or more.
        neighbours: those of bonds with one bond between them: local folding, which ties no knot that matters.
    """

    def __init__(self, n_chains: int, n_beads: int, box: Float64) -> None:
        self.bonds = chain_bonds(n_chains, n_beads)
        self._chain = np.repeat(np.arange(n_chains), n_beads - 1)
        self._box = np.asarray(box, dtype=np.float64)
        self._last: Float64 | None = None
        self._times_crossed: Counter[tuple[int, int]] = Counter()
        self.between: list[int] = []
        self.distant: list[int] = []
        self.neighbours: list[int] = []

    def add(self, positions: Float64) -> None:
        """Add a snapshot, (chain, bead, 3) or (bead, 3), unwrapped; the first one only begins the count."""
        now = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
        if self._last is not None:
            i, j = bond_crossings(self._last, now, self.bonds, self._box).T
            same, near = self._chain[i] == self._chain[j], j - i == 2
            self.between.append(int(np.count_nonzero(~same)))
            self.neighbours.append(int(np.count_nonzero(same & near)))
            self.distant.append(int(np.count_nonzero(same & ~near)))
            self._times_crossed.update(zip(i[~same].tolist(), j[~same].tolist(), strict=True))
        self._last = now

    @property
    def lasting(self) -> int:
        """Pairs of bonds of different chains that have crossed an odd number of times, and so have not come back."""
        return sum(n % 2 for n in self._times_crossed.values())

    def rate(self, interval: float, n_blocks: int = 10) -> tuple[float, float]:
        """Return crossings with other chains per bond and time, and its standard error.

        A crossing involves two bonds, and counts for both. The error is that over blocks of time, or that of a
        Poisson process (of one event where there was none), whichever is larger.

        Args:
            interval: time between snapshots.
            n_blocks: blocks.
        """
        unit = 2.0 / (interval * len(self.bonds))
        blocks = np.array([np.mean(block) for block in np.array_split(self.between, n_blocks)])
        poisson = np.sqrt(max(sum(self.between), 1)) / len(self.between)
        return unit * float(np.mean(self.between)), unit * max(float(blocks.std(ddof=1) / np.sqrt(n_blocks)), poisson)
