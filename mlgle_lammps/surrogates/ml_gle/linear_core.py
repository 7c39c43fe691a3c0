"""Linear autoregression of every mode: scalar coefficients on past vectors, so exactly rotation-equivariant.

In standardized units y = z/σ_z: y_t = Σ_i a_i y_{t-i} + s ε_t with ε of d independent standard normals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import irfft, rfft
from scipy.signal import lfilter

from mlgle_lammps.records import Float64

BLOCK = 64


@dataclass(frozen=True)
class LinearCore:
    """Autoregressions of all modes, stationary by construction (every reflection coefficient is inside ±1).

    Attributes:
        coefficients: a_1..a_p, (mode, p) float64, zero beyond a mode's own order.
        orders: the order of each mode.
        innovation_variance: s² per component, (mode,) float64, in units of σ_z².
    """

    coefficients: Float64
    orders: tuple[int, ...]
    innovation_variance: Float64

    @property
    def n_modes(self) -> int:
        """Number of modes."""
        return len(self.orders)

    @property
    def max_order(self) -> int:
        """The greatest order, which is the length of the padded coefficients."""
        return int(self.coefficients.shape[1])


def step_up(reflection: Float64) -> Float64:
    """Return a_1..a_p of reflection coefficients κ_1..κ_p by Levinson's recursion.

    a^(p)_i = a^(p-1)_i - κ_p a^(p-1)_{p-i}, a^(p)_p = κ_p. For |κ| < 1 the process is stationary.

    Args:
        reflection: (mode, p).

    Returns:
        (mode, p); for p = 1 it is κ_1 itself.
    """
    coefficients = np.zeros_like(reflection)
    for p in range(reflection.shape[1]):
        last = reflection[:, p : p + 1]
        coefficients[:, :p] -= last * coefficients[:, :p][:, ::-1].copy()
        coefficients[:, p : p + 1] = last
    return coefficients


def core_from_reflection(reflection: Float64, orders: tuple[int, ...], variance: Float64) -> LinearCore:
    """Return the core whose stationary variance per component is ``variance``: s² = variance Π_p (1 - κ_p²).

    Args:
        reflection: κ_1..κ_p, (mode, p).
        orders: κ beyond a mode's order count as zero.
        variance: (mode,), in units of σ_z².
    """
    longest = max(1, *orders)
    kept = np.where(np.arange(longest)[None] < np.asarray(orders)[:, None], reflection[:, :longest], 0.0)
    return LinearCore(step_up(kept), tuple(orders), variance * np.prod(1 - kept**2, axis=1))


def impulse_response(coefficients: Float64, n_steps: int) -> Float64:
    """Return h_0..h_{n-1} with h_0 = 1 and h_t = Σ_i a_i h_{t-i}; a^t for AR(1).

    Args:
        coefficients: (mode, p).
        n_steps: n.

    Returns:
        (mode, n) float64.
    """
    impulse = np.zeros(n_steps)
    impulse[:1] = 1.0
    return np.array([lfilter([1.0], [1.0, *-row], impulse) for row in coefficients])


def autocovariance(core: LinearCore, n_lags: int) -> Float64:
    """Return the exact stationary autocovariance per component at lags 0..n_lags - 1, in units of σ_z².

    s² Σ_u h_u h_{u+t}, from an impulse response long enough for its tail to be below 1e-8. For AR(1): a^t.

    Returns:
        (mode, n_lags) float64; column 0 is the stationary variance.
    """
    length = max(1024, 4 * n_lags)
    while True:
        response = impulse_response(core.coefficients, length)
        if np.abs(response[:, -length // 8 :]).max() < 1e-8 or length > 2**18:
            break
        length *= 2
    spectrum = np.abs(rfft(response, 2 * length, axis=1)) ** 2
    return core.innovation_variance[:, None] * irfft(spectrum, axis=1)[:, :n_lags]


def history_matrix(coefficients: Float64, n_steps: int) -> Float64:
    """Return C with (C y)_s = Σ_{i>s} a_i y_{s-i}: what the known past gives to the next steps s = 0..n-1.

    Args:
        coefficients: (mode, p).
        n_steps: n.

    Returns:
        (mode, n, p); the past's axis runs from oldest to newest.
    """
    n_modes, order = coefficients.shape
    matrix = np.zeros((n_modes, n_steps, order))
    for s in range(min(n_steps, order)):
        matrix[:, s, s:] = coefficients[:, s:][:, ::-1]
    return matrix


def lower_toeplitz(first_column: Float64) -> Float64:
    """Return lower-triangular Toeplitz matrices, (mode, n, n), of first columns (mode, n)."""
    n = first_column.shape[1]
    difference = np.arange(n)[:, None] - np.arange(n)[None]
    return np.where(difference >= 0, first_column[:, np.abs(difference)], 0.0)


class BlockedCore:
    """Whole blocks of a linear process as two matrix products: y_block = G y_past + H ε_block.

    H is the lower-triangular Toeplitz matrix of the impulse response times s, G = H C / s with ``history_matrix``.
    """

    def __init__(self, core: LinearCore, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.order, self.block = core.max_order, BLOCK
        response = lower_toeplitz(impulse_response(core.coefficients, self.block))
        past = response @ history_matrix(core.coefficients, self.block)
        noise = response * np.sqrt(core.innovation_variance)[:, None, None]
        self._past = torch.as_tensor(past, dtype=dtype, device=device)
        self._noise = torch.as_tensor(noise, dtype=dtype, device=device)

    def advance(self, past: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return the next steps.

        Args:
            past: y, (mode, order, channel), oldest first.
            noise: standard normals, (mode, n, channel), n at most ``block``.

        Returns:
            y, (mode, n, channel).
        """
        n = noise.shape[1]
        return torch.baddbmm(self._past[:, :n] @ past, self._noise[:, :n, :n], noise)


def predict(core: LinearCore, frames: torch.Tensor) -> torch.Tensor:
    """Return the core's mean of each frame given those before it, Σ_i a_i y_{t-i}, zeros standing before the first.

    Args:
        core: of the modes.
        frames: y, (time, chain, mode, d).

    Returns:
        The same shape; exact only from the order-th frame of a segment on.
    """
    n_times, n_chains, n_modes, d = frames.shape
    order = core.max_order
    block = max(BLOCK, order)
    taps = np.zeros((n_modes, block, block + order))
    for s in range(block):
        taps[:, s, s : s + order] = core.coefficients[:, ::-1]
    matrix = torch.as_tensor(taps, dtype=frames.dtype, device=frames.device)
    prediction = torch.empty_like(frames)
    padded = torch.cat([frames.new_zeros(order, n_chains, n_modes, d), frames])
    for start in range(0, n_times, block):
        n = min(block, n_times - start)
        source = padded[start : start + n + order].permute(2, 0, 1, 3).reshape(n_modes, n + order, n_chains * d)
        mean = torch.bmm(matrix[:, :n, : n + order], source)
        prediction[start : start + n] = mean.reshape(n_modes, n, n_chains, d).permute(1, 2, 0, 3)
    return prediction
