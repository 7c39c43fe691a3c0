"""The pair score fitted in closed form, by score matching at each level of noise.

Of places y with Gaussian noise of s_i t on each component, the S that is nearest to ∇ log p(y) minimises
E Σ_i s_i² (|S_i|² + 2 ∇_i·S_i) (Hyvärinen 2005): quadratic in T, with div f(r) r̂ = f' + 2 f/r, so that the noise drawn
need not be guessed from y. What holds T back is the square of its second differences along r, relative to the
matrix's own size, the share chosen by leaving runs out: where pairs never come T goes on along a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.surrogates.cg_gnn.box_nodes import HOPS, Box, BoxRun, Letters
from mlgle_lammps.surrogates.cg_gnn.box_score import ScoreTables, hats, knots_up_to, products

FRAMES = 100
"""Of each run that are looked at, for each level."""
STIFFNESSES = (1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
MOST_CUTOFF = 4.0
"""In units of the contact distance."""
ALONE = 3
"""Parts of a run that is the only one."""
_RIDGE = 1e-7


@dataclass(frozen=True)
class Basis:
    """What T is made of; see ``ScoreTables``."""

    knots: Float64
    bonded_knots: Float64
    letters: Letters

    @property
    def n_pairs(self) -> int:
        """Numbers of pairs that are not bonded."""
        return len(self.letters.pairs[0]) * (len(self.knots) - 1)

    @property
    def size(self) -> int:
        """Numbers of one level."""
        return self.n_pairs + HOPS * len(self.letters.bonded_pairs[0]) * len(self.bonded_knots)


def basis_of(runs: Sequence[BoxRun], letters: Letters) -> Basis:
    """Return knots for the boxes of all runs."""
    contact = contact_distance(runs)
    cutoff = min(MOST_CUTOFF * contact, 0.5 * min(float(run.box.edges.min()) for run in runs))
    longest = 2.0 * contact
    for run in runs:
        pairs, _ = run.box.bonded()
        if len(pairs):
            own = run.positions[::10]
            longest = max(longest, float(np.linalg.norm(own[:, pairs[:, 0]] - own[:, pairs[:, 1]], axis=-1).max()))
    return Basis(knots_up_to(cutoff, contact), np.linspace(0.0, longest, 14), letters)


def contact_distance(runs: Sequence[BoxRun]) -> float:
    """Return how near ions come: the distance of which 5% of ions have another nearer; of all nodes without ions."""
    found = []
    for run in runs:
        first = run.box.n_groups if run.box.ions else 0
        for points in run.positions[:: max(1, len(run.positions) // 50), first:]:
            tree = cKDTree(points % run.box.edges % run.box.edges, boxsize=run.box.edges)
            if len(points) > 1:
                found.append(tree.query(tree.data, k=2)[0][:, 1])
    return float(np.quantile(np.concatenate(found), 0.05)) if found else 1.0


@dataclass
class Sums:
    """θᵀ square θ + 2 θ·product is what is to be least."""

    square: Float64
    product: Float64


def fit_score(
    runs: Sequence[BoxRun], basis: Basis, noises: Float64, levels: Float64, rng: np.random.Generator,
    n_frames: int = FRAMES,
) -> tuple[ScoreTables, list[float]]:  # fmt: skip
    """Return T of all levels, and the stiffness chosen for each.

    Args:
        runs: to learn from.
        basis: what T is made of.
        noises: (kind,) s, noise of each kind of node at level 1.
        levels: (level,) t, descending.
        rng: of frames and noise.
        n_frames: of each run, for each level.
    """
    runs = _parts(runs)
    sums = [[_sums(run, basis, noises, float(t), rng, n_frames) for run in runs] for t in levels]
    smooth = _smoothness(basis)
    chosen = [_chosen(own, smooth) for own in sums]
    theta = [_solved(own, smooth, stiffness) for own, stiffness in zip(sums, chosen, strict=True)]
    return _tables(np.stack(theta), basis), chosen


def _parts(runs: Sequence[BoxRun]) -> Sequence[BoxRun]:
    """Return the runs; thirds of one alone, to leave out in turn."""
    if len(runs) > 1 or len(runs[0].positions) < ALONE:
        return runs
    thirds = np.array_split(np.arange(len(runs[0].positions)), ALONE)
    return [replace(runs[0], positions=runs[0].positions[own], segments=runs[0].segments[own]) for own in thirds]


def _tables(theta: Float64, basis: Basis) -> ScoreTables:
    n_levels = len(theta)
    n_products, n_bonded = len(basis.letters.pairs[0]), len(basis.letters.bonded_pairs[0])
    pairs = theta[:, : basis.n_pairs].reshape(n_levels, n_products, -1)
    pairs = np.concatenate([pairs, np.zeros_like(pairs[..., :1])], -1)
    bonded = theta[:, basis.n_pairs :].reshape(n_levels, HOPS, n_bonded, len(basis.bonded_knots))
    return ScoreTables(basis.knots, basis.bonded_knots, pairs, bonded)


def _smoothness(basis: Basis) -> Float64:
    """Return the square of second differences along r of each function, and a little of itself."""
    found = np.zeros((basis.size, basis.size))
    first = 0
    for knots, count, ended in (
        (basis.knots, len(basis.letters.pairs[0]), True),
        (basis.bonded_knots, HOPS * len(basis.letters.bonded_pairs[0]), False),
    ):
        rows = np.zeros((len(knots) - 2, len(knots)))
        for k in range(1, len(knots) - 1):
            left, right = knots[k] - knots[k - 1], knots[k + 1] - knots[k]
            rows[k - 1, k - 1 : k + 2] = 1 / left, -1 / left - 1 / right, 1 / right
        rows *= knots[1]
        own = (rows[:, :-1] if ended else rows).T
        own = own @ own.T + _RIDGE * np.eye(len(own))
        for _ in range(count):
            found[first : first + len(own), first : first + len(own)] = own
            first += len(own)
    return found


def _solved(sums: Sequence[Sums], smooth: Float64, stiffness: float) -> Float64:
    square = sum((own.square for own in sums), np.zeros_like(smooth))
    product = sum((own.product for own in sums), np.zeros(len(smooth)))
    scale = np.trace(square) / len(square)
    result: Float64 = np.linalg.solve(square + stiffness * scale * smooth, -product)
    return result


def _chosen(sums: Sequence[Sums], smooth: Float64) -> float:
    """Return the stiffness that says most of runs left out."""
    losses = []
    for stiffness in STIFFNESSES:
        loss = 0.0
        for left in range(len(sums)):
            theta = _solved([own for i, own in enumerate(sums) if i != left], smooth, stiffness)
            loss += float(theta @ sums[left].square @ theta + 2 * theta @ sums[left].product)
        losses.append(loss)
    return STIFFNESSES[int(np.argmin(losses))]


def _sums(
    run: BoxRun, basis: Basis, noises: Float64, level: float, rng: np.random.Generator, n_frames: int
) -> Sums:  # fmt: skip
    """Return a run's sums at one level of noise."""
    box, letters = run.box, basis.letters
    own_noise = noises[box.kinds(letters)]
    weights = (own_noise / noises.mean()) ** 2
    shares = box.shares(letters)
    sums = Sums(np.zeros((basis.size, basis.size)), np.zeros(basis.size))
    chosen = np.sort(rng.permutation(len(run.positions))[:n_frames])
    for frame in chosen:
        points = run.positions[frame] + level * own_noise[:, None] * rng.standard_normal((box.n_nodes, 3))
        _add_frame(sums, points, box, shares, weights, basis)
    for own in (sums.square, sums.product):
        own /= len(chosen) * box.n_nodes
    return sums


def _add_frame(
    sums: Sums, points: Float64, box: Box, shares: Float64, weights: Float64, basis: Basis
) -> None:  # fmt: skip
    tree = cKDTree(points % box.edges % box.edges, boxsize=box.edges)
    pairs = tree.query_pairs(float(basis.knots[-1]), output_type="ndarray")
    apart = points[pairs[:, 0]] - points[pairs[:, 1]]
    apart -= box.edges * np.round(apart / box.edges)
    ends, bonds, hops = pairs, *box.bonded()
    bonded = points[bonds[:, 0]] - points[bonds[:, 1]]
    features = products(shares[ends[:, 0]], shares[ends[:, 1]], basis.letters.pairs)
    chain = shares[:, : len(basis.letters.beads)]
    of_bonds = products(chain[bonds[:, 0]], chain[bonds[:, 1]], basis.letters.bonded_pairs)
    matrix = np.zeros(3 * len(points) * basis.size)
    start = np.zeros(len(pairs), np.int64)
    _add_pairs(matrix, sums.product, ends, apart, features, start, basis.knots, True, weights)
    start = basis.n_pairs + (hops - 1) * of_bonds.shape[1] * len(basis.bonded_knots)
    _add_pairs(matrix, sums.product, bonds, bonded, of_bonds, start, basis.bonded_knots, False, weights)
    rows = matrix.reshape(len(points), 3, basis.size) * np.sqrt(weights)[:, None, None]
    rows = rows.reshape(-1, basis.size)
    sums.square += rows.T @ rows


def _add_pairs(
    matrix: Float64, product: Float64, ends: Int64, apart: Float64, features: Float64, start: Int64, knots: Float64,
    ended: bool, weights: Float64,
) -> None:  # fmt: skip
    """Add pairs to the matrix (node·3·size, flat) of forces by each number, and to the sums of divergences."""
    size, n_knots = len(product), len(knots) - ended
    distance = np.linalg.norm(apart, axis=1).clip(1e-6)
    unit = apart / distance[:, None]
    below, hat, slope = hats(distance, knots)
    both = weights[ends].sum(1)
    which, feature = np.nonzero(features)
    for shift in (0, 1):
        knot = below[which] + shift
        inside = knot < n_knots
        w, f = which[inside], feature[inside]
        column = start[w] + f * n_knots + knot[inside]
        amount = features[w, f]
        divergence = amount * both[w] * (slope[w, shift] + 2 * hat[w, shift] / distance[w])
        product += np.bincount(column, divergence, minlength=size)
        value = (amount * hat[w, shift])[:, None] * unit[w]
        for end, sign in ((0, 1.0), (1, -1.0)):
            index = ((3 * ends[w, end])[:, None] + np.arange(3)) * size + column[:, None]
            matrix += np.bincount(index.ravel(), sign * value.ravel(), minlength=len(matrix))
