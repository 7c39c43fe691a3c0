"""Running mean squared displacements of centres of mass and modes: all that the GLE fit needs of a stream.

Memory is fixed by the longest lag, not by the length of the stream: the sums over time are kept, the frames
are not. Every frame costs the same, and sums run in the order of the frames, so that a replay gives the same bits.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from mlgle_lammps.records import Float32, Float64, Frames, Int64

BLOCKS_PER_LAG = 2  # length of a time block in units of its lag, for the design effect
MIN_BLOCKS = 8


def logarithmic_lags(longest: int, per_octave: int = 2) -> tuple[int, ...]:
    """Return lags 1, 2, 3, 4, 6, 8, 12, 16, .. ``longest``: evenly spread in each octave, the last always there."""
    octaves = [2**i for i in range(longest.bit_length())]
    lags = {octave * (per_octave + part) // per_octave for octave in octaves for part in range(per_octave)}
    return tuple(sorted({lag for lag in lags if lag <= longest} | {longest}))


@dataclass(frozen=True)
class Moments:
    """What the frames so far say about displacements; drift removed, of every source alike.

    Attributes:
        lags: (lag,) in frames.
        counts: (lag,) pairs of frames summed.
        msd_com: (lag,) MSD of the centres of mass per dimension, mean over chains, length²; the system's own
            motion removed, and made good by P/(P-1) where the system's centre itself diffuses, or would.
        msd_com_chain: (lag, chain) the same per chain.
        msd_modes: (lag, mode) MSD of the modes per dimension, mean over chains, length².
        mode_variance: (mode,) stationary variance per component, length².
        design_effect: variance of the box average over a single chain's over P: of independent ones 1, and P/(P-1)
            where their own centre was removed.
        design_dof: degrees of freedom with which that is known.
        center_diffuses: whether the system's centre of mass itself diffuses (momentum not conserved).
        n_chains: P.
        n_frames: frames so far.
        segment_lengths: frames in each uninterrupted piece.
        center_held: it would, but is held in place; the factor P/(P-1) is due all the same.
        n_dimensions: d, directions that were averaged over.
        apart: centres of mass are not the means of the beads that the modes are of (`System.whole_molecules`).
        lag_factors: (lag,) by which displacements against the centre of a system of several species were multiplied;
            None where the centre of these molecules themselves was removed.
    """

    lags: Int64
    counts: Int64
    msd_com: Float64
    msd_com_chain: Float64
    msd_modes: Float64
    mode_variance: Float64
    design_effect: float
    design_dof: float
    center_diffuses: bool
    n_chains: int
    n_frames: int
    segment_lengths: tuple[int, ...]
    center_held: bool = False
    n_dimensions: int = 3
    apart: bool = False
    lag_factors: Float64 | None = None

    def made_good(self, lags: Int64) -> Float64:
        """Return (lag,) by what squared displacements about the centre that was removed are multiplied; 1 at rest."""
        if self.lag_factors is not None:
            return np.interp(np.log(np.maximum(lags, 1)), np.log(self.lags), self.lag_factors)
        diffuses = self.center_diffuses and self.n_chains > 1
        return np.full(len(lags), self.n_chains / (self.n_chains - 1) if diffuses else 1.0)

    def at_lags(self, kept: NDArray[np.bool_]) -> Moments:
        """Return what is said of some of the lags, (lag,) true for those."""
        cut = {name: getattr(self, name)[kept] for name in ("lags", "counts", "msd_com", "msd_com_chain", "msd_modes")}
        return replace(self, **cut, lag_factors=None if self.lag_factors is None else self.lag_factors[kept])


class MomentAccumulator:
    """Adds frames one by one; ``moments()`` gives the record of what has been added so far."""

    def __init__(
        self,
        n_chains: int,
        n_modes: int,
        longest_lag: int,
        lags_per_octave: int = 2,
        center_held: bool = False,
        n_dimensions: int = 3,
        apart: bool = False,
        own_center: bool = True,
    ) -> None:
        """Make room for lags up to ``longest_lag`` frames of ``n_dimensions`` columns; the others as in Moments.

        Without ``own_center`` nothing is removed: whoever adds frames has done so.
        """
        self._center_held, self._d, self._apart = center_held, n_dimensions, apart
        self._own_center = own_center
        self.lags = np.array(logarithmic_lags(longest_lag, lags_per_octave), dtype=np.int64)
        n_lags, depth = len(self.lags), longest_lag + 1
        self._com = np.zeros((depth, n_chains, n_dimensions))
        self._modes = np.zeros((depth, n_chains, n_modes, n_dimensions), dtype=np.float32)
        self._counts = np.zeros(n_lags, dtype=np.int64)
        self._sum_com = np.zeros((n_lags, n_chains))
        self._sum_modes = np.zeros((n_lags, n_modes))
        self._sum_square = np.zeros(n_modes)
        self._blocks = [_BlockVariance(n_chains, BLOCKS_PER_LAG * int(lag)) for lag in self.lags]
        self._center = np.zeros(n_dimensions)
        self._center_steps = IncrementVariance(n_dimensions)
        self._chain_steps = 0.0
        self._segment: int | None = None
        self._segment_lengths: list[int] = []

    @property
    def n_frames(self) -> int:
        """Frames added so far."""
        return sum(self._segment_lengths)

    def add(self, frames: Frames) -> None:
        """Add frames; a new segment number starts afresh, no pair of frames crosses it."""
        modes = frames.modes[:, :, : self._modes.shape[2]]
        for i, segment in enumerate(frames.segments.tolist()):
            self._add_frame(segment, frames.com[i], modes[i])

    def _add_frame(self, segment: int, raw: Float64, modes: Float32) -> None:
        self._enter(segment)
        center = raw.mean(axis=0) if self._own_center else self._center
        com = raw - center if self._own_center else raw
        depth, age = len(self._com), self._segment_lengths[-1]
        reach = int(np.searchsorted(self.lags, age, side="right"))
        if reach:
            rows = (age - self.lags[:reach]) % depth
            self._add_pairs(com - self._com[rows], modes - self._modes[rows])
            previous = (age - 1) % depth
            self._center_steps.add(center - self._center)
            self._chain_steps += float(((com - self._com[previous]) ** 2).mean())
        self._com[age % depth], self._modes[age % depth], self._center = com, modes, center
        self._sum_square += np.einsum("cmx,cmx->m", modes, modes, dtype=np.float64) / (self._d * len(com))
        self._segment_lengths[-1] += 1

    def _enter(self, segment: int) -> None:
        """Start afresh where a new uninterrupted piece begins."""
        if segment != self._segment:
            self._segment = segment
            self._segment_lengths.append(0)
            for block in self._blocks:
                block.restart()

    def add_centers(self, com: Float64, at_once: int = 128, segment: int = 0) -> None:
        """Add consecutive frames of one uninterrupted piece without modes: the sums of `add`, in another order.

        Args:
            com: (time, chain, d).
            at_once: frames taken together, few enough for the processor's cache.
            segment: the piece's number; a new one starts afresh.
        """
        self._enter(segment)
        for start in range(0, len(com), at_once):
            self._add_block(com[start : start + at_once])

    def _add_block(self, raw: Float64) -> None:
        centers = raw.mean(axis=1)
        com = np.ascontiguousarray(raw - centers[:, None])
        n_frames, depth, age = len(com), len(self._com), self._segment_lengths[-1]
        for i, lag in enumerate(self.lags[: np.searchsorted(self.lags, age + n_frames)]):
            earlier = self._com[np.arange(age - lag, min(age - lag + n_frames, age))[max(lag - age, 0) :] % depth]
            partners = np.concatenate([earlier, com[: max(n_frames - lag, 0)]])
            difference = com[n_frames - len(partners) :] - partners
            difference *= difference
            squares = reduce(operator.add, (difference[..., x] for x in range(self._d))) / self._d
            self._counts[i] += len(squares)
            self._sum_com[i] += squares.sum(axis=0)
            self._blocks[i].add_many(squares)
            if lag == 1:
                self._chain_steps += float(squares.mean(axis=1).sum())
        path = np.concatenate([self._center[None], centers]) if age else centers
        self._center_steps.add_many(np.diff(path, axis=0))
        self._com[np.arange(age, age + n_frames)[-depth:] % depth] = com[-depth:]
        self._center = centers[-1]
        self._segment_lengths[-1] += n_frames

    def _add_pairs(self, com: Float64, modes: np.ndarray) -> None:
        reach, n_chains = com.shape[0], com.shape[1]
        squares = np.einsum("lcx,lcx->lc", com, com) / self._d
        self._counts[:reach] += 1
        self._sum_com[:reach] += squares
        self._sum_modes[:reach] += np.einsum("lcmx,lcmx->lm", modes, modes) / (self._d * n_chains)
        for block, square in zip(self._blocks, squares, strict=False):
            block.add(square)

    def mean_squares(self) -> Float64:
        """Return (lag,) the mean squared displacements as they were added, of lags that have been reached."""
        seen = self._counts > 0
        result: Float64 = (self._sum_com[seen] / self._counts[seen, None]).mean(axis=1)
        return result

    def step_variance(self) -> float:
        """Return the mean squared displacement from frame to frame, per dimension."""
        return self._chain_steps / max(self._center_steps.count, 1)

    def moments(self) -> Moments:
        """Return the averages so far; lags no pair of frames has reached are left out."""
        seen = self._counts > 0
        n_chains = self._com.shape[1]
        counts = self._counts[seen]
        n_steps = max(self._center_steps.count, 1)
        share = n_chains * self._center_steps.variance() / max(self._chain_steps / n_steps, 1e-300)
        diffuses = (share > 0.5 or self._center_held) and n_chains > 1
        per_chain = self._sum_com[seen] / counts[:, None] * (n_chains / (n_chains - 1) if diffuses else 1.0)
        effect, dof = self._design_effect()
        return Moments(
            lags=self.lags[seen],
            counts=counts,
            msd_com=per_chain.mean(axis=1),
            msd_com_chain=per_chain,
            msd_modes=self._sum_modes[seen] / counts[:, None],
            mode_variance=self._sum_square / max(self.n_frames, 1),
            design_effect=effect,
            design_dof=dof,
            center_diffuses=diffuses,
            n_chains=n_chains,
            n_frames=self.n_frames,
            segment_lengths=tuple(self._segment_lengths),
            center_held=self._center_held,
            n_dimensions=self._d,
            apart=self._apart,
        )

    def _design_effect(self) -> tuple[float, float]:
        """Average the variance ratio over lags, each weighted by its number of blocks.

        Squares about the chains' own centre are anticorrelated: of independent chains it is P/(P-1), and at least that.
        """
        n_chains = self._com.shape[1]
        least = n_chains / (n_chains - 1) if self._own_center and n_chains > 1 else 1.0
        blocks = [block for lag, block in zip(self.lags, self._blocks, strict=True) if lag >= 4]
        blocks = [block for block in blocks if block.count >= MIN_BLOCKS]
        if not blocks:
            blocks = [block for block in self._blocks if block.count >= MIN_BLOCKS][-1:]
        if not blocks or n_chains < 2:
            return least, 5.0
        weights = np.array([block.count - 1.0 for block in blocks])
        ratios = np.array([block.ratio() for block in blocks])
        return max(least, float(weights @ ratios / weights.sum())), float(weights.max())


class _BlockVariance:
    """Variance over time blocks of the box average, against that of single chains."""

    def __init__(self, n_chains: int, length: int) -> None:
        self.length = length
        self.count = 0
        self._open = np.zeros(n_chains)
        self._filled = 0
        self._sum = np.zeros(n_chains)
        self._sum_square = np.zeros(n_chains)
        self._box_square = 0.0

    def restart(self) -> None:
        """Drop the open block."""
        self._open[:] = 0.0
        self._filled = 0

    def add(self, squares: Float64) -> None:
        """Add one frame's squared displacements, (chain,)."""
        self._open += squares
        self._filled += 1
        self._close_if_full()

    def _close_if_full(self) -> None:
        if self._filled == self.length:
            mean = self._open / self.length
            self.count += 1
            self._sum += mean
            self._sum_square += mean**2
            self._box_square += float(mean.mean()) ** 2
            self.restart()

    def add_many(self, squares: Float64) -> None:
        """Add consecutive frames' squared displacements, (time, chain)."""
        done = 0
        while done < len(squares):
            taken = squares[done : done + self.length - self._filled]
            self._open += taken.sum(axis=0)
            self._filled += len(taken)
            done += len(taken)
            self._close_if_full()

    def ratio(self) -> float:
        """Return P Var(box average) / mean Var(chain), 1 for independent chains."""
        mean = self._sum / self.count
        chain_variance = float((self._sum_square / self.count - mean**2).mean())
        box_variance = self._box_square / self.count - float(mean.mean()) ** 2
        return len(mean) * box_variance / max(chain_variance, 1e-300)


class IncrementVariance:
    """Variance of the system centre's steps about their mean: zero for a steady drift, however fast."""

    def __init__(self, n_dimensions: int) -> None:
        self.count = 0
        self._mean = np.zeros(n_dimensions)
        self._sum_square = np.zeros(n_dimensions)

    def add(self, step: Float64) -> None:
        """Add one step, (d,) (Welford's update)."""
        self.count += 1
        delta = step - self._mean
        self._mean += delta / self.count
        self._sum_square += delta * (step - self._mean)

    def add_many(self, steps: Float64) -> None:
        """Add consecutive steps, (time, d) (Chan's update)."""
        if len(steps):
            count, mean = self.count + len(steps), steps.mean(axis=0)
            delta = mean - self._mean
            self._sum_square += ((steps - mean) ** 2).sum(axis=0) + delta**2 * self.count * len(steps) / count
            self._mean += delta * len(steps) / count
            self.count = count

    def variance(self) -> float:
        """Return the variance per dimension."""
        return float(self._sum_square.mean()) / max(self.count, 1)
