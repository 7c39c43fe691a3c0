"""MSD and autocorrelation by FFT against tidynamics: the same data, the same numbers, the times in pairs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import tidynamics
from speed_records import Measurement, Settings, in_pairs, judged, ratio

from mlgle_lammps.statistics.correlation import lagged_products
from mlgle_lammps.statistics.displacements import mean_squared_displacements

AGREE = 1e-10


def their_msd(paths: np.ndarray) -> np.ndarray:
    """Return tidynamics' MSD of every path at all lags, (lag, chain)."""
    return np.stack([tidynamics.msd(paths[:, chain]) for chain in range(paths.shape[1])], axis=1)


def their_acf(modes: np.ndarray) -> np.ndarray:
    """Return tidynamics' autocorrelation z(0)·z(t), averaged over chains, (lag, mode)."""
    n_time, n_chains, n_modes, _ = modes.shape
    total = np.zeros((n_time, n_modes))
    for chain in range(n_chains):
        for mode in range(n_modes):
            total[:, mode] += tidynamics.acf(modes[:, chain, mode])
    return total / n_chains


def our_acf(modes: np.ndarray, n_lags: int) -> np.ndarray:
    """Return the same by the pipeline's own sums."""
    n_time, n_chains = modes.shape[:2]
    counts = (n_time - np.arange(n_lags)) * n_chains
    return lagged_products(modes, np.zeros(n_time, dtype=np.int64), n_lags) / counts[:, None]


def run(settings: Settings) -> list[Measurement]:
    """Compare at a recorded stream's size, and with one long walk."""
    sizes = ((256, 4, 3),) if settings.quick else ((1600, 100, 12), (20_000, 20, 3))
    lines: list[Measurement] = []
    for n_time, n_chains, n_modes in sizes:
        name = f"{n_time} frames, {n_chains} chains, {n_modes} modes"
        generator = np.random.default_rng(1)
        paths = generator.standard_normal((n_time, n_chains, 3)).cumsum(axis=0)
        modes = generator.standard_normal((n_time, n_chains, n_modes, 3))
        segments = np.zeros(n_time, dtype=np.int64)
        lines += compared(
            name, "MSD", settings,
            partial(their_msd, paths), partial(mean_squared_displacements, paths, segments, len(paths)),
        )  # fmt: skip
        lines += compared(name, "ACF", settings, partial(their_acf, modes), partial(our_acf, modes, n_time))
    return lines


def compared(
    name: str, quantity: str, settings: Settings, theirs: Callable[[], np.ndarray], ours: Callable[[], np.ndarray]
) -> list[Measurement]:
    """Return how far the numbers are apart, and how often faster ours is.

    The difference is relative to the largest value: at long lags of an ACF both are nothing but noise about zero.
    """
    one, other = theirs(), ours()
    apart = float(np.abs(one - other).max() / np.abs(one).max())
    slow, fast = in_pairs(theirs, ours, settings.repeats)
    return [
        judged(name, f"{quantity}: largest difference", "relative", (apart,), at_most=AGREE),
        Measurement(name, f"{quantity}: ours", "s", tuple(fast)),
        ratio(name, f"{quantity}: tidynamics' time over ours", slow, fast, note="all lags, float64"),
    ]
