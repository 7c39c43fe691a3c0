"""Isotropic vector processes whose likelihood is exact: what networks can gain, and where they must stay silent.

Each step is Gaussian given the past, so that log p(y_t | past) is a closed form: the best that any model can reach.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlgle_lammps.records import Float64

_WARM_UP = 400
_WINDOW = 16

Step = Callable[[Float64, int], tuple[Float64, Float64]]


def simulate(step: Step, n_frames: int, n_chains: int, generator: np.random.Generator) -> tuple[Float64, Float64]:
    """Return y (time, chain, 3) and its exact negative log-likelihood (time, chain), nats in units of y.

    Args:
        step: from all frames and the time t, the mean (chain, 3) and the variance (chain,) per component of y_t.
        n_frames: after a warm-up.
        n_chains: independent.
        generator: of the noise.
    """
    y = np.zeros((_WARM_UP + n_frames, n_chains, 3))
    nll = np.zeros(y.shape[:2])
    y[: _WINDOW + 2] = 0.3 * generator.standard_normal((_WINDOW + 2, n_chains, 3)).cumsum(axis=0)
    for t in range(_WINDOW + 2, len(y)):
        mean, variance = step(y, t)
        noise = generator.standard_normal((n_chains, 3))
        y[t] = mean + np.sqrt(variance)[:, None] * noise
        nll[t] = 0.5 * np.square(noise).sum(axis=1) + 1.5 * np.log(2 * np.pi * variance)
    return y[_WARM_UP:], nll[_WARM_UP:]


def changing_variance(decay: float = 0.95, strength: float = 0.7) -> Step:
    """Return AR(1) of unit variance whose noise grows with the mean squared increment A of the last 16 frames.

    s_t² = (1 - a²) [1 - b + b A_t / <A>]: its autocorrelation is that of AR(1), a^t, for every strength b.
    """
    innovation, activity = 1 - decay**2, 6 * (1 - decay)

    def step(y: Float64, t: int) -> tuple[Float64, Float64]:
        steps = np.diff(y[t - _WINDOW - 1 : t], axis=0)
        relative = np.square(steps).sum(axis=2).mean(axis=0) / activity
        return decay * y[t - 1], innovation * (1 - strength + strength * relative)

    return step


def shell(pull: float = 0.12, radius: float = 1.5, noise: float = 0.25) -> Step:
    """Return a drift towards a shell: y_t = [1 + c tanh(1 - |y_{t-1}|²/R²)] y_{t-1} + s ε, not Gaussian in y."""

    def step(y: Float64, t: int) -> tuple[Float64, Float64]:
        last = y[t - 1]
        factor = 1 + pull * np.tanh(1 - np.square(last).sum(axis=1) / radius**2)
        return factor[:, None] * last, np.full(len(last), noise**2)

    return step


def linear(decay: float = 0.95) -> Step:
    """Return AR(1) of unit variance: Gaussian, nothing to learn for a network."""
    return changing_variance(decay, 0.0)
