"""Correlations of long series in little memory: a multiple-tau correlator that keeps blocks of time apart.

Level l holds averages of 2^l samples and correlates them at lags 0..p-1 of its own (Likhtman, Sukumaran and Ramirez
2007; Ramirez et al. 2010). Sums are kept for blocks of time, whose scatter gives errors; where there are too many
blocks, neighbours are joined.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlgle_lammps.plain import AnyArray
from mlgle_lammps.records import Float64, Int64

LAGS = 32
"""p, lags of a level; from the second on those from p/2 are used."""
MOST_BLOCKS = 32
FIRST_BLOCK = 1024
"""Samples of a block before the first joining."""


@dataclass(frozen=True)
class BlockCorrelation:
    """Correlation of series at all lags, by blocks of time.

    Attributes:
        lags: (lag,) in samples, increasing from 0.
        sums: (block, lag, series) sums of products.
        counts: (block, lag) products in each.
    """

    lags: Int64
    sums: Float64
    counts: Int64

    @property
    def mean(self) -> Float64:
        """Correlation from all blocks, (lag, series)."""
        result: Float64 = self.sums.sum(axis=0) / self.counts.sum(axis=0)[:, None]
        return result

    def left_out(self) -> Float64:
        """Return the correlation without each block in turn, (block, lag, series)."""
        total, counts = self.sums.sum(axis=0) - self.sums, self.counts.sum(axis=0) - self.counts
        result: Float64 = total / np.maximum(counts, 1)[..., None]
        return result


class MultipleTau:
    """Correlates series as their samples come; memory grows with the logarithm of their number.

    Args:
        n_series: series, each correlated with itself.
    """

    def __init__(self, n_series: int) -> None:
        self._n_series = n_series
        self._sums = np.zeros((MOST_BLOCKS, 0, LAGS, n_series))
        self._counts = np.zeros((MOST_BLOCKS, 0, LAGS), dtype=np.int64)
        self._tails: list[Float64] = []  # the last p - 1 values of each level, and one that waits for its partner
        self._waiting: list[Float64] = []
        self.block_samples = FIRST_BLOCK
        self.block, self._filled = 0, 0

    @property
    def n_samples(self) -> int:
        """Samples so far."""
        return self.block * self.block_samples + self._filled

    def add(self, samples: Float64) -> None:
        """Add consecutive samples, (time, series)."""
        done = 0
        while done < len(samples):
            if self._filled == self.block_samples:
                self._next_block()
            taken = samples[done : done + self.block_samples - self._filled]
            self._add_level(0, np.asarray(taken, dtype=np.float64))
            self._filled += len(taken)
            done += len(taken)

    def interrupt(self) -> None:
        """Let the next sample follow none: no product reaches across."""
        self._tails = [np.zeros((0, self._n_series)) for _ in self._tails]
        self._waiting = [np.zeros((0, self._n_series)) for _ in self._waiting]

    def _next_block(self) -> None:
        self._filled = 0
        self.block += 1
        if self.block < MOST_BLOCKS:
            return
        half = MOST_BLOCKS // 2
        for values in (self._sums, self._counts):
            values[:half] = values[0::2] + values[1::2]
            values[half:] = 0
        self.block, self.block_samples = half, 2 * self.block_samples

    def _add_level(self, level: int, new: Float64) -> None:
        """Correlate new values of a level with those before, and hand averages of two on to the next."""
        while len(new):
            if level == len(self._tails):
                self._grow()
            tail, n = self._tails[level], len(new)
            values = np.concatenate([tail, new])
            for lag in range(min(LAGS, len(values))):
                own = values[max(len(tail), lag) :]
                before = values[max(len(tail), lag) - lag : len(values) - lag]
                self._sums[self.block, level, lag] += np.einsum("ts,ts->s", own, before)
                self._counts[self.block, level, lag] += len(own)
            self._tails[level] = values[-(LAGS - 1) :].copy()
            pairs = np.concatenate([self._waiting[level], new])
            n = len(pairs) // 2
            self._waiting[level] = pairs[2 * n :].copy()
            level, new = level + 1, pairs[: 2 * n].reshape(n, 2, self._n_series).mean(axis=1)

    def _grow(self) -> None:
        self._tails.append(np.zeros((0, self._n_series)))
        self._waiting.append(np.zeros((0, self._n_series)))
        self._sums = np.concatenate([self._sums, np.zeros((MOST_BLOCKS, 1, LAGS, self._n_series))], axis=1)
        self._counts = np.concatenate([self._counts, np.zeros((MOST_BLOCKS, 1, LAGS), dtype=np.int64)], axis=1)

    def correlation(self) -> BlockCorrelation | None:
        """Return the correlation at all lags that each block but the last reaches; None before two blocks."""
        n_blocks = self.block + (self._filled > self.block_samples // 2)
        if n_blocks < 2:
            return None
        lags, sums, counts = [], [], []
        for level in range(len(self._tails)):
            for lag in range(0 if level == 0 else LAGS // 2, LAGS):
                own = self._counts[:n_blocks, level, lag]
                if np.count_nonzero(own) >= min(n_blocks - 1, 2) and own.sum() >= 2:
                    lags.append(lag << level)
                    sums.append(self._sums[:n_blocks, level, lag])
                    counts.append(own)
        reach = max(int(self.n_samples // 4), 1)
        kept = [i for i, lag in enumerate(lags) if lag <= reach]
        return BlockCorrelation(
            np.array([lags[i] for i in kept], dtype=np.int64),
            np.stack([sums[i] for i in kept], axis=1),
            np.stack([counts[i] for i in kept], axis=1),
        )

    def state(self) -> dict[str, AnyArray]:
        """Return all that goes on from here, as arrays by name."""
        counts = np.array([[len(values) for values in kept] for kept in (self._tails, self._waiting)], dtype=np.int64)
        return {
            "sums": self._sums, "counts": self._counts, "kept": counts.reshape(2, -1),
            "values": np.concatenate([*self._tails, *self._waiting, np.zeros((0, self._n_series))]),
            "place": np.array([self.block, self.block_samples, self._filled], dtype=np.int64),
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: dict[str, AnyArray]) -> MultipleTau:
        """Return the correlator that ``state`` was taken from; raise ValueError where the arrays do not fit."""
        sums, counts, values, kept = (state[name] for name in ("sums", "counts", "values", "kept"))
        new = cls(int(sums.shape[-1]))
        n_levels = sums.shape[1] if sums.ndim == 4 else -1
        fits = sums.shape == (MOST_BLOCKS, n_levels, LAGS, new._n_series) and counts.shape == sums.shape[:3]
        fits = fits and kept.shape == (2, n_levels) and values.shape == (kept.sum(), new._n_series)
        block, samples, filled = (int(value) for value in state["place"])
        if not (fits and 0 <= block < MOST_BLOCKS and 0 <= filled <= samples and kept.min(initial=0) >= 0):
            raise ValueError("the arrays do not fit together")
        new._sums, new._counts = sums.astype(np.float64), counts.astype(np.int64)
        parts = np.split(values.astype(np.float64), np.cumsum(kept.ravel())[:-1]) if n_levels else []
        new._tails, new._waiting = parts[:n_levels], parts[n_levels:]
        new.block, new.block_samples, new._filled = block, samples, filled
        return new
