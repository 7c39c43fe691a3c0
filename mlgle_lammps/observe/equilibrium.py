"""Is the melt at equilibrium: trends of the chains' size and of the modes' variances over the frames.

| symbol | variable | meaning |
|---|---|---|
| N | n_beads | beads per chain |
| z_j | modes | mode j of a chain, x_n = z_0 + 2 Σ_j z_j cos[πj(n+1/2)/N] |
| R_ee | end-to-end vector | x_{N-1} - x_0 |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from mlgle_lammps.records import Float64, Window

LEVEL = 1e-3  # of all quantities together
LEAST_CHANGE = 0.1
CROWDING = 1.5  # variance over that of independent chains: room for chains that move together
NAMED_AT_MOST = 3


@dataclass(frozen=True)
class Trend:
    """Linear trend of the chains' size over the frames.

    Attributes:
        change: (quantity,) change over the longest segment relative to the mean; <R_ee²>, then z_1², z_2², ..
        se: (quantity,) its standard error over chains.
        p: (quantity,) two-sided probability of so large a change at equilibrium, before allowing for their number.
        n_frames: length of the longest segment.
    """

    change: Float64
    se: Float64
    p: Float64
    n_frames: int


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


def size_trend(window: Window, n_beads: int | None) -> Trend | None:
    """Return the linear trend in time of <R_ee²> and of every mode's <z_j²>.

    Each chain gives one slope per quantity, fitted within segments (least squares); their scatter over chains holds
    the chains' own correlation in time, whatever it is. At equilibrium a slope is as likely up as down, so that
    Student's t is safe also for the skewed squares. None for fewer than two chains, or no two frames in one segment.

    Args:
        window: frames.
        n_beads: N, None where unknown.

    Limit: changes of zero within their errors for a stationary melt.
    """
    n_chains = window.modes.shape[1]
    weight, longest = _slope_weights(window.segments)
    if n_chains < 2 or longest < 2:
        return None
    to_ends = end_to_end_weights(window.modes.shape[2], n_beads)
    ends = np.einsum("tcmx,m->tcx", window.modes, to_ends)
    squares = np.concatenate([
        np.einsum("tcx,tcx->tc", ends, ends)[:, :, None],
        np.einsum("tcmx,tcmx->tcm", window.modes, window.modes, dtype=np.float64),
    ], axis=2)  # fmt: skip
    mean = np.maximum(squares.mean(axis=(0, 1)), 1e-300)
    slopes = np.tensordot(weight, squares, axes=1) * longest / mean
    change = slopes.mean(axis=0)
    se = slopes.std(axis=0, ddof=1) * np.sqrt(CROWDING / n_chains)
    p = 2.0 * stats.t.sf(np.abs(change) / np.maximum(se, 1e-300), n_chains - 1)
    return Trend(change, se, p, longest)


def _slope_weights(segments: np.ndarray) -> tuple[Float64, int]:
    """Return weights that give the common slope within segments, (time,), and the longest segment's length."""
    _, inverse, lengths = np.unique(segments, return_inverse=True, return_counts=True)
    time = np.arange(len(segments), dtype=np.float64)
    centred = time - (np.bincount(inverse, time) / lengths)[inverse]
    return centred / max(float(centred @ centred), 1e-300), int(lengths.max())


def equilibrium_warnings(trend: Trend) -> list[str]:
    """Return a warning where the chains change their size: by 10% or more, beyond chance in all quantities together."""
    off = np.flatnonzero((trend.p * len(trend.p) < LEVEL) & (np.abs(trend.change) > LEAST_CHANGE))
    if not len(off):
        return []
    named = [_describe(trend, int(i)) for i in off[np.argsort(trend.p[off], kind="stable")][:NAMED_AT_MOST]]
    more = f" and {len(off) - NAMED_AT_MOST} more" if len(off) > NAMED_AT_MOST else ""
    return [
        f"the melt is not at equilibrium: over {trend.n_frames} frames {', '.join(named)}{more}; D is that of a "
        "changing melt: equilibrate longer before production"
    ]


def _describe(trend: Trend, i: int) -> str:
    name = "<R_ee^2>" if i == 0 else f"the variance of mode {i}"
    verb = "rose" if trend.change[i] > 0 else "fell"
    return f"{name} {verb} by {100 * abs(trend.change[i]):.0f} ± {100 * trend.se[i]:.0f}%"
