"""One scalar against time, of one or more independent trajectories: its mean, fluctuation and relaxation, with errors.

| symbol | variable | meaning |
|---|---|---|
| τ_int | integrated | Σ of the normalized autocorrelation from lag 0 on, half of lag 0 not counted, in frames |
| g | | statistical inefficiency 2 τ_int: n frames are worth n/g independent ones |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from mlgle_lammps.records import Estimate, Float64
from mlgle_lammps.statistics.errors import jackknife_error, student_estimate

WINDOW = 5.0
"""The sum of an autocorrelation ends at so many times what it has come to (Sokal's window)."""
LEAST_BLOCKS, MOST_BLOCKS = 4, 20
BLOCK_TIMES = 4.0
"""Length of a block in integrated times, where the series is long enough for so long ones."""


@dataclass(frozen=True)
class Series:
    """What one quantity did.

    Attributes:
        pieces: uninterrupted pieces (time,) of independent trajectories; equally spaced frames.
        dt: time between two frames.
    """

    pieces: tuple[Float64, ...]
    dt: float

    @classmethod
    def of(cls, values: Float64, dt: float, segments: np.ndarray | None = None) -> Series:
        """Return the series of trajectories.

        Args:
            values: (time, trajectory).
            dt: time between two frames.
            segments: (time,) number of the uninterrupted piece; None for one piece.
        """
        table = np.asarray(values, dtype=np.float64)
        cuts = [] if segments is None else (np.flatnonzero(np.diff(segments)) + 1).tolist()
        pieces = [piece[:, i] for piece in np.split(table, cuts) for i in range(table.shape[1]) if len(piece) > 1]
        if not pieces:
            raise ValueError("a series needs two frames at least")
        return cls(tuple(pieces), dt)

    @property
    def n_frames(self) -> int:
        """Of all pieces."""
        return sum(map(len, self.pieces))

    @property
    def total_time(self) -> float:
        """Of all pieces."""
        return self.n_frames * self.dt

    @property
    def all(self) -> Float64:
        """All values, (frame,)."""
        return np.concatenate(self.pieces)

    def first(self, time: float) -> Series:
        """Return the beginning of each piece, up to so long."""
        n = max(2, round(time / self.dt))
        return Series(tuple(piece[:n] for piece in self.pieces), self.dt)

    def halves(self) -> tuple[Series, Series]:
        """Return the first and the second half of each piece."""
        return (
            Series(tuple(piece[: len(piece) // 2] for piece in self.pieces), self.dt),
            Series(tuple(piece[len(piece) // 2 :] for piece in self.pieces), self.dt),
        )

    def thinned(self, every: int) -> Series:
        """Return each n-th frame."""
        return Series(tuple(piece[::every] for piece in self.pieces if len(piece) > every), self.dt * every)

    def blocks(self) -> list[Float64]:
        """Return pieces of equal length that count as independent: long against the integrated time, four or more.

        Pieces shorter than a block are left out: one torn off by a restart tells nothing of the others' errors.
        """
        longest = max(map(len, self.pieces))
        wanted = BLOCK_TIMES * max(self.integrated(), 0.5)
        total = sum(map(len, self.pieces))
        length = int(np.clip(wanted, total / MOST_BLOCKS, max(total / LEAST_BLOCKS, 1)))
        length = max(min(length, longest), 1)
        return [piece[i * length : (i + 1) * length] for piece in self.pieces for i in range(len(piece) // length)]

    def autocovariance(self, n_lags: int) -> Float64:
        """Return <δx(t) δx(t+lag)> about the mean of all frames, (lag,); lags beyond the longest piece are left out."""
        mean = self.all.mean()
        n_lags = min(n_lags, max(map(len, self.pieces)))
        total, counts = np.zeros(n_lags), np.zeros(n_lags)
        for piece in self.pieces:
            n = min(n_lags, len(piece))
            total[:n] += _products(piece - mean, n)
            counts[:n] += len(piece) - np.arange(n)
        result: Float64 = total / counts
        return result

    def integrated(self) -> float:
        """Return τ_int in frames, ½ at least; half a piece where it has not decayed by then."""
        covariance = self.autocovariance(max(map(len, self.pieces)) // 2 + 1)
        if not covariance[0] > 0:
            return 0.5
        summed = np.cumsum(covariance / covariance[0]) - 0.5
        done = np.flatnonzero(np.arange(len(summed)) >= WINDOW * summed)
        return float(max(summed[done[0] if len(done) else int(np.argmax(summed))], 0.5))

    def mean(self) -> Estimate:
        """Return the mean; its error is √(var · 2 τ_int/n), with as many degrees of freedom as independent frames."""
        values = self.all
        inefficiency = 2.0 * self.integrated()
        n = max(len(values) / inefficiency, 1.0)
        spread = float(values.var()) * n / max(n - 1.0, 0.5)
        se = float(np.sqrt(spread / n))
        return student_estimate(float(values.mean()), se, max(n - 1.0, 1.0), f"mean of {n:.0f} independent frames")

    def fluctuation(self) -> Estimate:
        """Return the standard deviation about the mean, with its error over blocks."""
        value, se, dof = self._over_blocks(lambda pieces: float(np.concatenate(pieces).std()))
        return student_estimate(value, se, dof, "standard deviation")

    def relaxation(self) -> Estimate | None:
        """Return the time after which the autocorrelation about the mean has fallen to 1/e; None where it has not.

        The error is that of the jackknife over blocks' own autocorrelations about the mean of all.
        """
        blocks = self.blocks()
        n_lags = max(2, min(map(len, blocks)) // 2 if len(blocks) > 1 else len(blocks[0]))
        mean = self.all.mean()
        whole = relaxation_time(self.autocovariance(n_lags), self.dt)
        if whole is None:
            return None
        rows = np.array([_products(own - mean, n_lags) / (len(own) - np.arange(n_lags)) for own in blocks])
        found = [relaxation_time(row, self.dt) for row in (rows.sum(axis=0) - rows) / max(len(rows) - 1, 1)]
        times = np.array([time for time in found if time is not None])
        se = float(jackknife_error(times)) if len(times) > 1 else float("nan")
        return student_estimate(whole, se, max(len(times) - 1, 0), "1/e time of the autocorrelation")

    def _over_blocks(self, statistic: Callable[[Sequence[Float64]], float]) -> tuple[float, float, int]:
        """Return a statistic of all pieces, its jackknife error over blocks, and degrees of freedom."""
        blocks = self.blocks()
        if len(blocks) < 2:
            return statistic(self.pieces), float("nan"), 0
        left_out = np.array([statistic(blocks[:i] + blocks[i + 1 :]) for i in range(len(blocks))])
        return statistic(self.pieces), float(jackknife_error(left_out)), len(blocks) - 1


def relaxation_time(autocovariance: Float64, dt: float) -> float | None:
    """Return when an autocorrelation first falls to 1/e, between two lags on a straight line; None where it does not.

    Args:
        autocovariance: (lag,) from lag 0 on.
        dt: time between two lags.
    """
    if not autocovariance[0] > 0:
        return None
    normalized = autocovariance / autocovariance[0]
    below = np.flatnonzero(normalized < np.exp(-1.0))
    if not len(below):
        return None
    i = int(below[0])
    before, after = normalized[i - 1], normalized[i]
    return float((i - 1 + (before - np.exp(-1.0)) / (before - after)) * dt)


def _products(values: Float64, n_lags: int) -> Float64:
    """Return Σ_t x(t) x(t+lag) for lags 0..n_lags-1."""
    size = fft.next_fast_len(len(values) + n_lags, real=True)
    spectrum = fft.rfft(values, size)
    result: Float64 = fft.irfft(spectrum.real**2 + spectrum.imag**2, size)[:n_lags]
    return result
