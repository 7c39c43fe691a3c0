"""Is the melt at equilibrium: trends of the chains' size and of the modes' variances over the frames.

| symbol | variable | meaning |
|---|---|---|
| N | n_beads | beads per chain |
| z_j | modes | mode j of a chain, x_n = z_0 + 2 Σ_j z_j cos[πj(n+1/2)/N] |
| R_ee | end-to-end vector | x_{N-1} - x_0 |
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from mlgle_lammps.records import Float64, Frames
from mlgle_lammps.statistics.pieces import longest_piece

LEVEL = 1e-3  # of all quantities together
NAMED_LEVEL = 0.01  # of one quantity, to be named once all together are beyond chance
LEAST_SHIFT = 0.03  # of the average over all frames, relative
CROWDING = 1.25  # variance over that of independent chains: room for chains that move together
RELAXATIONS = (1 / 16, 1 / 4, None)  # of the frames: decay times that are looked for; None for a straight line
NAMED_AT_MOST = 3
_SIZES_AT_ONCE = 2**22


@dataclass(frozen=True)
class Trend:
    """How the chains' size moves over the frames, in the shape that shows it best.

    Attributes:
        start: (quantity,) ln of the size at the start over that at the end; of <R_ee²>, then of z_1², z_2², ..
        se: (quantity,) its standard error over chains.
        p: (quantity,) two-sided probability of so much at equilibrium, each by itself.
        shift: (quantity,) by how much, relatively, that moves the average over all frames.
        joint_p: probability of so much in any of the quantities and shapes.
        n_frames: length of the longest segment.
        size: name of the first quantity.
    """

    start: Float64
    se: Float64
    p: Float64
    shift: Float64
    joint_p: float
    n_frames: int
    size: str = "<R_ee^2>"


def end_to_end_weights(n_modes: int, n_beads: int | None) -> Float64:
    """Return w_j with R_ee = Σ_j w_j z_j, (mode,): -4 cos(πj/2N) for odd modes, 0 for even ones.

    It follows from x_n above, since cos[πj(N-1/2)/N] = (-1)^j cos(πj/2N). Modes beyond those given are left out; they
    hold little of <R_ee²>, whose modes fall off as 1/j².

    Args:
        n_modes: k.
        n_beads: N; None for chains so long that the cosine is 1.
    """
    mode = np.arange(1, n_modes + 1)
    cosine = np.ones(n_modes) if n_beads is None else np.cos(np.pi * mode / (2 * n_beads))
    weights: Float64 = np.where(mode % 2 == 1, -4.0 * cosine, 0.0)
    return weights


def size_trend(window: Frames, n_beads: int | None, linear: bool = True) -> Trend | None:
    """Return the trend of <R_ee²> and of every mode's <z_j²>, or None for fewer than two chains or frames in a piece.

    Molecules that are not linear have no ends: of them it is the trend of <Rg²>.

    The chains' ln z_j² and ln R_ee² are regressed on a straight line and on two decays from the start of each segment,
    chain by chain; the coefficients' scatter over chains is their error, and holds the correlation in time, whatever it
    is. Logarithms are nearly normal where squares are skewed, and see collapsed chains as well as stretched ones.

    Args:
        window: frames.
        n_beads: N, None where unknown.
        linear: whether the molecules are linear chains.

    Limit: starts of zero within their errors for a stationary melt.
    """
    n_chains, longest = window.modes.shape[1], longest_piece(window.segments)
    if n_chains < 2 or longest < 3:
        return None
    shapes = [_shape(window.segments, decay, longest) for decay in RELAXATIONS]
    ends = end_to_end_weights(window.modes.shape[2], n_beads) if linear else None
    coefficients = _coefficients(window.modes, ends, np.stack([weights for weights, _ in shapes]))
    trends = [_shaped_trend(of, mean, longest) for of, (_, mean) in zip(coefficients, shapes, strict=True)]
    best = min(trends, key=lambda trend: trend.joint_p)
    size = "<R_ee^2>" if linear else "<Rg^2>"
    return replace(best, joint_p=min(1.0, best.joint_p * len(trends)), size=size)


def _coefficients(modes: np.ndarray, ends: Float64 | None, weights: Float64) -> Float64:
    """Return each chain's regression of ln R_ee² (or ln Rg²) and ln z_j² on shapes, (shape, chain, 1 + mode).

    Some chains at a time, to bound the memory.

    Args:
        modes: (time, chain, mode, 3).
        ends: weights of the end-to-end vector, None where there are no ends.
        weights: (shape, time).
    """
    n_time, n_chains, n_modes, _ = modes.shape
    at_once = max(1, _SIZES_AT_ONCE // (n_time * (n_modes + 1)))
    blocks = [modes[:, first : first + at_once] for first in range(0, n_chains, at_once)]
    means = np.array([_sizes(block, ends).mean(axis=(0, 1)) for block in blocks])
    least = 1e-12 * np.average(means, axis=0, weights=[block.shape[1] for block in blocks]) + 1e-300
    logarithms = (np.log(np.maximum(_sizes(block, ends), least)) for block in blocks)
    return np.concatenate([np.tensordot(weights, of, axes=1) for of in logarithms], axis=1)


def _sizes(modes: np.ndarray, ends: Float64 | None) -> Float64:
    """Return R_ee², or Rg² where there are no ends, and z_j², (time, chain, 1 + mode)."""
    squares = np.einsum("tcmx,tcmx->tcm", modes, modes, dtype=np.float64)
    if ends is None:
        return np.concatenate([2.0 * squares.sum(axis=2, keepdims=True), squares], axis=2)
    vectors = np.einsum("tcmx,m->tcx", modes, ends)
    return np.concatenate([np.einsum("tcx,tcx->tc", vectors, vectors)[:, :, None], squares], axis=2)


def _shape(segments: np.ndarray, decay: float | None, longest: int) -> tuple[Float64, float]:
    """Return weights that give the coefficient of a shape falling from 1 at each segment's start, and its mean."""
    _, first, inverse, lengths = np.unique(segments, return_index=True, return_inverse=True, return_counts=True)
    time = (np.arange(len(segments)) - first[inverse]) / longest
    shape = 1.0 - time if decay is None else np.exp(-time / decay)
    centred = shape - (np.bincount(inverse, shape) / lengths)[inverse]
    return centred / float(centred @ centred), float(shape.mean())


def _shaped_trend(coefficients: Float64, mean: float, longest: int) -> Trend:
    """Return the trend in one shape from the chains' coefficients, (chain, quantity)."""
    n_chains = len(coefficients)
    start = coefficients.mean(axis=0)
    se = coefficients.std(axis=0, ddof=1) * np.sqrt(CROWDING / n_chains)
    p = 2.0 * stats.t.sf(np.abs(start) / np.maximum(se, 1e-300), n_chains - 1)
    return Trend(start, se, p, mean * start, _joint(p), longest)


def _joint(p: Float64) -> float:
    """Join the quantities: the likelier of one strong change (Bonferroni) and many weak ones (Fisher, modes alone)."""
    strongest = float(p.min()) * len(p)
    together = float(stats.combine_pvalues(np.maximum(p[1:], 1e-300), method="fisher").pvalue)
    return min(1.0, 2.0 * min(strongest, together))


def equilibrium_warnings(trend: Trend) -> list[str]:
    """Return a warning where the chains' size moves beyond chance, and the average over the frames by 3% or more."""
    off = np.flatnonzero((trend.p < NAMED_LEVEL) & (np.abs(trend.shift) > LEAST_SHIFT))
    if trend.joint_p > LEVEL or not len(off):
        return []
    named = [_describe(trend, int(i)) for i in off[np.argsort(trend.p[off], kind="stable")][:NAMED_AT_MOST]]
    more = f" and {len(off) - NAMED_AT_MOST} more" if len(off) > NAMED_AT_MOST else ""
    return [
        f"the melt is not at equilibrium: over {trend.n_frames} frames {', '.join(named)}{more}; D is that of a "
        "changing melt: equilibrate longer before production"
    ]


def _describe(trend: Trend, i: int) -> str:
    name = trend.size if i == 0 else f"the variance of mode {i}"
    ratio = float(np.exp(trend.start[i]))
    return f"{name} began at {ratio:.2f} ± {ratio * trend.se[i]:.2f} times its last value"
