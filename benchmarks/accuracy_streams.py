"""Streams cut into disjoint segments, and what their full records say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.rouse import RouseSource, rouse_diffusion, rouse_relaxation_time
from mlgle_lammps.chains.spectrum import Spectrum, linear_spectrum
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.diffusion.slope import LAGS_PER_OCTAVE, normal_diffusion
from mlgle_lammps.records import Estimate, Float32, Float64, Frames, FrameSource, Int64, joined
from mlgle_lammps.statistics.correlation import autocorrelation, relaxation_times
from mlgle_lammps.statistics.moments import MomentAccumulator, Moments
from mlgle_lammps.store.recorded import RecordedSource

LONGEST_REFERENCE_LAG = 1024
REFERENCE_TIMES = 4.0  # shortest lag of the reference fit in relaxation times of mode k: more than the estimators keep
NACF_LAGS = 1001
TIME_LAGS = 4001


@dataclass(frozen=True)
class Stream:
    """Frames of one melt as arrays.

    Attributes:
        name: for tables.
        dt: time between frames.
        n_beads: per chain, None where the recording does not say.
        segments: (time,) uninterrupted pieces.
        com: (time, chain, 3) float64.
        modes: (time, chain, mode, 3) float32.
    """

    name: str
    dt: float
    n_beads: int | None
    segments: Int64
    com: Float64
    modes: Float32

    @property
    def spectrum(self) -> Spectrum | None:
        """Of the chains, None where their beads are not counted."""
        return None if self.n_beads is None else linear_spectrum(self.n_beads)

    @property
    def n_frames(self) -> int:
        """Frames in all."""
        return len(self.com)

    def pieces(self, n_frames: int) -> list[slice]:
        """Return disjoint slices of ``n_frames``, none across two segments of the recording."""
        edges = [0, *(np.flatnonzero(np.diff(self.segments)) + 1).tolist(), self.n_frames]
        return [
            slice(start, start + n_frames) for a, b in pairwise(edges) for start in range(a, b - n_frames + 1, n_frames)
        ]

    def window(self, piece: slice, modes: list[int] | None = None) -> Frames:
        """Return a piece as a training window, of some modes (0-based) or all."""
        picked = self.modes[piece] if modes is None else self.modes[piece][:, :, modes]
        return Frames.of_chains(np.arange(len(picked)), self.segments[piece], self.com[piece], picked)

    def moments(self, piece: slice, memory: int, lags_per_octave: int = 2) -> Moments:
        """Return the running moments after a piece, lags up to ``memory``."""
        length = piece.stop - piece.start
        return self.moments_on_the_way(piece, memory, (length,), lags_per_octave)[length]

    def moments_on_the_way(
        self, piece: slice, memory: int, checkpoints: tuple[int, ...], lags_per_octave: int = 2
    ) -> dict[int, Moments]:
        """Return the running moments after each number of frames in ``checkpoints``."""
        accumulator = MomentAccumulator(self.com.shape[1], self.modes.shape[2], memory, lags_per_octave)
        result = {}
        for n, t in enumerate(range(*piece.indices(self.n_frames)), start=1):
            accumulator.add(Frames.single(t, int(self.segments[t]), self.com[t], self.modes[t]))
            if n in checkpoints:
                result[n] = accumulator.moments()
        return result


def collect(source: FrameSource, name: str) -> Stream:
    """Take all frames of a source into memory."""
    frames, system = joined(list(source)), source.system
    return Stream(name, system.dt, system.n_beads, frames.segments, frames.com, frames.modes)


def recorded_stream(path: Path, n_modes: int) -> Stream:
    """Read a modes.h5, a run's folder or an .npz."""
    name = path.parent.name if path.name == "modes.h5" else path.stem
    return collect(RecordedSource([path], n_modes), name or str(path))


@dataclass(frozen=True)
class RouseMelt:
    """Rouse melts whose answers are exact: 20 chains × 20 beads, slowest mode about 100 frames."""

    n_chains: int = 20
    n_beads: int = 20
    dt: float = 0.135

    def streams(self, seeds: int, n_frames: int, n_modes: int) -> Iterator[Stream]:
        """Yield one independent melt per seed."""
        for seed in range(seeds):
            source = RouseSource(self.n_chains, self.n_beads, n_modes, n_frames, self.dt, seed)
            yield collect(source, f"rouse seed {seed}")

    @property
    def D(self) -> float:
        """Exact diffusion coefficient."""
        return rouse_diffusion(self.n_beads)

    def relaxation_times(self, n_modes: int) -> Float64:
        """Exact τ_1..τ_k."""
        return rouse_relaxation_time(np.arange(1, n_modes + 1), self.n_beads)


@dataclass(frozen=True)
class Reference:
    """What the full record says.

    Attributes:
        fit: GLE fit over the whole record, long lags.
        slope: model-free MSD slope; None without a diffusive window.
        value: D taken for true.
        se: its standard error.
        nacf: (lag, mode) of the full record.
        variance: (mode,).
        times: (mode,) 1/e times, NaN beyond the lags.
    """

    fit: Estimate
    slope: Estimate | None
    value: float
    se: float
    nacf: Float64
    variance: Float64
    times: Float64


def reference_of(stream: Stream, choice: str) -> Reference:
    """Return the reference; ``choice`` is "fit", "slope" or a number."""
    everything = slice(0, stream.n_frames)
    full = autocorrelation(stream.modes, stream.segments, min(TIME_LAGS, stream.n_frames // 3))
    times = np.array([np.nan if t is None else t for t in relaxation_times(full.nacf, stream.dt)])
    longest = int(np.unique(stream.segments, return_counts=True)[1].max())
    moments = stream.moments(everything, min(LONGEST_REFERENCE_LAG, longest // 8))
    shortest = REFERENCE_TIMES * (np.nan_to_num(times[-1]) / stream.dt)
    fit = fit_gle(moments.at_lags(moments.lags >= shortest), stream.dt, "default", stream.spectrum).D
    slowest = 0.0 if np.isnan(times[0]) else times[0] / stream.dt
    com_only = Stream(stream.name, stream.dt, None, stream.segments, stream.com, stream.modes[:, :, :0])
    slope = normal_diffusion(com_only.moments(everything, longest // 4, LAGS_PER_OCTAVE), stream.dt, slowest)
    if choice == "slope":
        if slope is None:
            raise SystemExit(f"{stream.name}: no diffusive window in the record; use --reference fit")
        value, se = slope.value, slope.se
    elif choice == "fit":
        value, se = fit.value, fit.se
    else:
        value, se = float(choice), 0.0
    return Reference(fit, slope, value, se, full.nacf[:NACF_LAGS], full.variance, times)
