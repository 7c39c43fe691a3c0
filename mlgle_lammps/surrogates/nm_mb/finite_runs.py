"""What a constrained run of finite length shows of a kernel: its own mean force is taken away, and with it some tail.

With δF = F - mean of a run of length T, an average over a half of it has expectation
c(t) - <g(s) + g(s + t)> + m, where g(s) = (1/T)∫₀ᵀ c(s - u) du and m = (1/T)∫₀ᵀ g: for friction ∫c = I about -2 I/T at
every lag. A tail of some 10 τ after runs of 300 τ loses a third of itself. Whatever is fitted to such runs has to be
seen through the same window.
"""

from __future__ import annotations

import numpy as np

from mlgle_lammps.records import Float64


def fine_times(times: Float64, duration: float) -> Float64:
    """Return times of a whole run at which kernels are known well enough for ``seen``."""
    return np.concatenate([[0.0], np.geomspace(times[1] / 20, duration, 1200)])


def seen(times: Float64, decay: Float64, at: Float64, duration: float, n_grid: int = 600) -> Float64:
    """Return the expectation of the estimate of a kernel from a run, at its lags, (L, curve).

    Args:
        times: (L,) lags of the estimate; none above half of the duration.
        decay: (time, curve) values of kernels.
        at: (time,) where these are known, from 0 to the duration.
        duration: T of the whole run; products of each half are averaged.
        n_grid: points for the integrals over the run.

    Limit: a run that is much longer than the kernel's memory shows the kernel itself.
    """
    curves = decay.reshape(len(at), -1)
    running = np.concatenate([np.zeros((1, curves.shape[1])), np.cumsum(_trapezoids(at, curves), axis=0)])
    grid = np.linspace(0.0, duration, n_grid)
    own = (_at(grid, at, running) + _at(duration - grid, at, running)) / duration
    mean = np.trapezoid(own, grid, axis=0) / duration
    sums = np.concatenate([np.zeros((1, curves.shape[1])), np.cumsum(_trapezoids(grid, own), axis=0)])
    found = np.empty((len(times), curves.shape[1]))
    for k, t in enumerate(times):
        length = duration / 2 - t
        both = 0.0
        for start in (0.0, duration / 2):
            for shift in (0.0, t):
                ends = _at(np.array([start + shift, start + shift + length]), grid, sums)
                both = both + (ends[1] - ends[0]) / length / 2
        found[k] = _at(np.array([t]), at, curves)[0] - both + mean
    return found


def _trapezoids(at: Float64, values: Float64) -> Float64:
    result: Float64 = 0.5 * (values[1:] + values[:-1]) * np.diff(at)[:, None]
    return result


def _at(where: Float64, at: Float64, values: Float64) -> Float64:
    return np.stack([np.interp(where, at, column) for column in values.T], axis=1)
