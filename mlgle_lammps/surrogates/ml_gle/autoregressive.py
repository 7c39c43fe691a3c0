"""Fit of the linear core: Burg's recursion pooled over chains, its reflection coefficients smoothed over log lag.

The biased autocorrelation of n frames, r_t (1 - t/n), makes a mode that lives τ frames relax in τ/(1 + τ/n); Burg's
estimate has no such bias and is as stable. Single coefficients at long lags are mostly noise, yet their sum sets the
relaxation time of a slow mode, so that truncation at the order of best likelihood shortens it; smoothing removes the
noise and keeps the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore, autocovariance, core_from_reflection, step_up

SMOOTHING_WIDTHS = (0.1, 0.2, 0.3, 0.5, 1.0)
UNSMOOTHED = 4
LIFETIMES = 6.0
_LEAST_VARIANCE = 1e-12
ORDER_LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True)
class CoreChoice:
    """How orders and smoothing were chosen on held-out frames.

    Attributes:
        orders: order per mode.
        widths: smoothing width in log lag per mode, 0 for none.
        nll: held-out negative log-likelihood per chain, nats per frame of d components in units of σ_z, (chain, mode).
    """

    orders: tuple[int, ...]
    widths: tuple[float, ...]
    nll: Float64


def segment_slices(segments: Int64) -> list[slice]:
    """Return one slice of time per uninterrupted segment."""
    edges = [0, *(np.flatnonzero(np.diff(segments)) + 1).tolist(), len(segments)]
    return [slice(a, b) for a, b in pairwise(edges) if b > a]


def _lag_products(y: Float64, max_order: int) -> tuple[Float64, Float64]:
    """Return Σ_{t ≥ max(i,j)} y_{t-i} y_{t-j} of (time, n), and the products of the first frames, (p + 1, p + 1)."""
    n_times, size = len(y), max_order + 1
    n_fft = next_fast_len(n_times + size, real=True)
    spectrum = rfft(y, n_fft, axis=0)
    lagged = irfft((spectrum.real**2 + spectrum.imag**2).sum(axis=1), n_fft)[:size]
    tail = y[::-1][:size]
    lost = np.zeros((size, size))
    products = tail @ tail.T
    for i in range(1, size):
        lost[i, 1:] = lost[i - 1, :-1] + products[i - 1, :-1]
    index = np.arange(size)
    return lagged[np.abs(index[:, None] - index[None])] - lost, y[:size] @ y[:size].T


def burg_reflection(modes: Float64, segments: Int64, max_order: int) -> Float64:
    """Return Burg's reflection coefficients κ_1..κ_p of every mode, pooled over chains, components and segments.

    κ_p = 2 Σ f_t b_{t-1} / Σ (f_t² + b_{t-1}²) with the forward and backward residuals of order p - 1; evaluated from
    the matrix of lag products, so the cost hardly grows with the order. For AR(1): κ_1 = a, the others 0.

    Args:
        modes: (time, chain, mode, 3); segments not longer than ``max_order`` are left out.
        segments: (time,).
        max_order: p.

    Returns:
        (mode, p), each within ±1.
    """
    n_modes = modes.shape[2]
    reflection = np.empty((n_modes, max_order))
    for mode in range(n_modes):
        products = np.zeros((max_order + 1, max_order + 1))
        head = np.zeros_like(products)
        for piece in segment_slices(segments):
            if piece.stop - piece.start > max_order:
                y = modes[piece, :, mode].reshape(piece.stop - piece.start, -1).astype(np.float64)
                inner, first = _lag_products(y, max_order)
                products += inner
                head += first
        reflection[mode] = _burg_recursion(products, head)
    return reflection


def _burg_recursion(products: Float64, head: Float64) -> Float64:
    """Return κ_1..κ_p from the lag products; ``products`` is used up."""
    max_order = len(products) - 1
    reflection = np.zeros(max_order)
    coefficients = np.zeros(0)
    for p in range(1, max_order + 1):
        products[:p, :p] -= head[:p, :p][::-1, ::-1]
        forward = np.concatenate([[1.0], -coefficients, [0.0]])
        backward = forward[::-1]
        inner = products[: p + 1, : p + 1]
        both = forward @ inner @ forward + backward @ inner @ backward
        last = 2 * (forward @ inner @ backward) / both if both > 0 else 0.0
        reflection[p - 1] = np.clip(last, -1 + 1e-9, 1 - 1e-9)
        coefficients = np.append(coefficients - reflection[p - 1] * coefficients[::-1], reflection[p - 1])
    return reflection


def smooth_reflection(reflection: Float64, width: float) -> Float64:
    """Return κ smoothed over log lag: p κ_p is fitted by a local line in log p with a Gaussian kernel of ``width``.

    The first ``UNSMOOTHED`` coefficients are large and well known and stay as they are. κ_p = c/p is left as it is.
    """
    order = reflection.shape[1]
    if width <= 0 or order <= UNSMOOTHED + 2:
        return reflection
    lag = np.arange(UNSMOOTHED, order + 1.0)
    scaled = reflection[:, UNSMOOTHED - 1 :] * lag
    smoothed = reflection.copy()
    for i, p in enumerate(lag[1:], start=1):
        distance = np.log(lag / p)
        weight = np.exp(-0.5 * (distance / width) ** 2)
        moments = [np.sum(weight * distance**n) for n in range(3)]
        determinant = moments[0] * moments[2] - moments[1] ** 2
        line = (moments[2] - moments[1] * distance) * weight
        kernel = line / determinant if determinant > 1e-12 else weight / moments[0]
        smoothed[:, UNSMOOTHED - 1 + i] = np.clip(scaled @ kernel / p, -1 + 1e-9, 1 - 1e-9)
    return smoothed


def estimable_order(segments: Int64, memory: int) -> int:
    """Return the greatest order fitted: the memory, but at most a third of the longest segment."""
    longest = max(piece.stop - piece.start for piece in segment_slices(segments))
    return max(1, min(memory, longest // 3))


def fit_core(
    modes: Float64, segments: Int64, orders: tuple[int, ...], widths: tuple[float, ...], max_order: int
) -> LinearCore:
    """Return the core of given orders and smoothing widths; its stationary variance is that of the frames.

    Args:
        modes: y, (time, chain, mode, 3), in units of σ_z.
        segments: (time,).
        orders: per mode; those above ``max_order`` are lowered to it.
        widths: per mode.
        max_order: order of the recursion (smoothing sees all of it).
    """
    raw = burg_reflection(modes, segments, max_order)
    reflection = np.concatenate([smooth_reflection(raw[mode : mode + 1], w) for mode, w in enumerate(widths)])
    variance = _mean_square(modes)
    return core_from_reflection(reflection, tuple(min(p, max_order) for p in orders), variance)


def _mean_square(modes: Float64) -> Float64:
    """Return <y²> per component, (mode,), at least 1e-12 so that a mode that does not move is no special case."""
    total = np.einsum("tckx,tckx->k", modes, modes, dtype=np.float64)
    return np.maximum(total / (modes.shape[0] * modes.shape[1] * modes.shape[3]), _LEAST_VARIANCE)


def ladder_up_to(max_order: int) -> tuple[int, ...]:
    """Return the orders tried: a ladder of about two steps per octave, and ``max_order``."""
    return (*(p for p in ORDER_LADDER if p < max_order), max_order)


def choose_core(
    modes: Float64, segments: Int64, n_train: int, memory: int, widths: tuple[float, ...] = SMOOTHING_WIDTHS
) -> CoreChoice:
    """Choose order and smoothing of every mode by held-out Gaussian likelihood.

    Fitted on the first ``n_train`` frames, judged on those after. Every order gets the width of its best likelihood.
    Orders whose likelihood is worse than the best by no more than two standard errors (chains as independent units)
    count as equal; of those the greatest within six relaxation times of the mode is taken, since long lags cost next
    to nothing in one-step likelihood and carry the relaxation time, else the least beyond: a fast mode gains nothing
    from a long memory, whose noise costs it likelihood.

    Args:
        modes: y, (time, chain, mode, 3), in units of σ_z.
        segments: (time,).
        n_train: frames for the fit.
        memory: m, the greatest order.
        widths: smoothing widths tried.
    """
    max_order = estimable_order(segments[:n_train], memory)
    raw = burg_reflection(modes[:n_train], segments[:n_train], max_order)
    variance = _mean_square(modes[:n_train])
    ladder = ladder_up_to(max_order)
    smoothed = [smooth_reflection(raw, w) for w in widths]
    middle = core_from_reflection(smoothed[len(widths) // 2], (max_order,) * modes.shape[2], variance)
    longest = LIFETIMES * relaxation_lags(middle, max_order)
    orders, chosen, nll = [], [], []
    for mode in range(modes.shape[2]):
        products, n_targets = held_out_products(modes[:, :, mode], segments, n_train, max_order)
        table = np.stack(
            [
                _ladder_nll(products, n_targets, kappa[mode], variance[mode], ladder, modes.shape[3])
                for kappa in smoothed
            ]
        )  # (width, order, chain)
        order, width = _memory_within_error(table, ladder, float(longest[mode]))
        orders.append(ladder[order])
        chosen.append(widths[width])
        nll.append(table[width, order])
    return CoreChoice(tuple(orders), tuple(chosen), np.stack(nll, axis=1))


def _memory_within_error(table: Float64, ladder: tuple[int, ...], longest: float) -> tuple[int, int]:
    """Return (order, width) indices of the choice in a table of NLL (width, order, chain); see ``choose_core``."""
    mean = table.mean(axis=2)
    widths = mean.argmin(axis=0)
    by_order = table[widths, np.arange(len(ladder))]
    difference = by_order - by_order[mean.min(axis=0).argmin()]
    n_chains = table.shape[2]
    error = difference.std(axis=1, ddof=1) / np.sqrt(n_chains) if n_chains > 1 else np.zeros(len(ladder))
    equal = np.flatnonzero(difference.mean(axis=1) <= 2 * error + 1e-12)
    within = equal[np.asarray(ladder)[equal] <= longest]
    order = within.max() if len(within) else equal.min()
    return int(order), int(widths[order])


def relaxation_lags(core: LinearCore, longest: int) -> Int64:
    """Return each mode's 1/e lag in frames, between 1 and ``longest``."""
    covariance = autocovariance(core, longest + 1)
    below = covariance < covariance[:, :1] / np.e
    return np.where(below.any(axis=1), below.argmax(axis=1), longest).clip(min=1)


def held_out_products(mode: Float64, segments: Int64, first: int, order: int) -> tuple[Float64, int]:
    """Return Σ_t y_{t-i}·y_{t-j} of every chain over held-out targets t ≥ ``first``, and the number of targets.

    Args:
        mode: y, (time, chain, 3).
        segments: (time,).
        first: first target; histories may reach back before it, but not across a segment's start.
        order: p.

    Returns:
        (chain, p + 1, p + 1) and the targets per chain.
    """
    n_chains = mode.shape[1]
    products = np.zeros((n_chains, order + 1, order + 1))
    n_targets = 0
    for piece in segment_slices(segments):
        start = max(piece.start, first - order)
        if piece.stop - start <= order:
            continue
        products += _target_products(mode[start : piece.stop].astype(np.float64), order)
        n_targets += piece.stop - start - order
    return products, n_targets


def _target_products(y: Float64, order: int) -> Float64:
    """Return Σ_{t ≥ order} y_{t-i}·y_{t-j} of (time, chain, 3), (chain, order + 1, order + 1), without any windows.

    The first row is a correlation, by FFT; every other entry is its upper left neighbour's with one product more at the
    beginning and one less at the end, since i and j both move on by one frame.
    """
    n_times, n_chains, _ = y.shape
    n_fft = next_fast_len(n_times + order, real=True)
    targets = np.concatenate([np.zeros_like(y[:order]), y[order:]])
    cross = rfft(targets, n_fft, axis=0) * rfft(y, n_fft, axis=0).conj()
    first_row = irfft(cross.sum(axis=2), n_fft, axis=0)[: order + 1].T
    products = np.empty((n_chains, order + 1, order + 1))
    products[:, 0], products[:, :, 0] = first_row, first_row
    begun, ended = (part[::-1].transpose(1, 0, 2) for part in (y[:order], y[n_times - order :]))
    gained = begun @ begun.transpose(0, 2, 1) - ended @ ended.transpose(0, 2, 1)
    for i in range(order):
        products[:, i + 1, 1:] = products[:, i, :-1] + gained[:, i]
    return products


def _ladder_nll(
    products: Float64, n_targets: int, reflection: Float64, variance: float, ladder: tuple[int, ...], n_dimensions: int
) -> Float64:
    """Return NLL per frame of d components of each order, (order, chain)."""
    if n_targets == 0:
        raise ValueError("no held-out frame has a history of the order asked for")
    nll = []
    for order in ladder:
        weight = np.concatenate([[1.0], -step_up(reflection[None, :order])[0]])
        innovation = variance * np.prod(1 - reflection[:order] ** 2)
        square = weight @ products[:, : order + 1, : order + 1] @ weight / n_targets
        nll.append(0.5 * square / innovation + n_dimensions / 2 * np.log(2 * np.pi * innovation))
    return np.array(nll)
