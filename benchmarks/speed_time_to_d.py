"""Wall time until D's 95% interval is ±10%: with the service, and with full MD until its own is.

No long MD is run. A recorded melt (``--record``; without one a Rouse melt of the same size, whose answer is exact) is
read frame by frame, and its frames are given the time that `lammps_inputs/in.kg` takes for them on one core. The
service's D is the GLE fit, looked at as often as the pipeline does; full MD's is the slope of the MSD beyond 1.5
relaxation times of mode 1, with two errors: our generalized least squares, and a plain straight line with its scatter
over chains. Learning goes on beside MD on another core, so that D costs no time but that of its frames.

For 100 × 100 beads the same is done with frames of a Rouse melt of that size, whose slowest mode lives `TAU_1` frames
and whose modes 1..12 have a share in the centres of mass (coupling 0.5). So the statistics are those of such a melt,
and only they: model errors are not in it.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accuracy_streams import Stream, collect, recorded_stream
from scipy import stats
from speed_coupling import BIN, ENVIRONMENT, ROOT, last_loop
from speed_records import Measurement, Settings, judged

from mlgle_lammps.chains.rouse import RouseSource, rouse_diffusion, rouse_relaxation_time
from mlgle_lammps.chains.spectrum import Spectrum
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.diffusion.slope import LAGS_PER_OCTAVE, RELAXATIONS, normal_diffusion
from mlgle_lammps.records import Frames
from mlgle_lammps.statistics.correlation import autocorrelation, relaxation_times
from mlgle_lammps.statistics.moments import MomentAccumulator, Moments

TARGET = 0.1
MEMORY, MODES = 128, 12
GROWTH = 1.05
STEPS_PER_FRAME = 200  # of in.kg
TAU_1 = 1370.0
"""Frames of 100 ps that mode 1 of 100 beads lives at 300 K: 5.5 ns of 20 beads (lammps_inputs/README.md) times 25."""
PAPER_STEPS_PER_FRAME = 2000


@dataclass(frozen=True)
class Reached:
    """When an interval was narrow enough.

    Attributes:
        frames: needed; None where the frames did not suffice.
        value: D then.
    """

    frames: int | None
    value: float = math.nan


Interval = Callable[[Moments], tuple[float, float] | None]
"""From moments to D and the half-width of its 95% interval, None where there is none yet."""


def by_fit(dt: float, spectrum: Spectrum | None) -> Interval:
    """Return the service's own: the GLE fit."""

    def interval(moments: Moments) -> tuple[float, float] | None:
        try:
            D = fit_gle(moments, dt, "default", spectrum).D
        except (ValueError, np.linalg.LinAlgError):
            return None
        return D.value, (D.ci95[1] - D.ci95[0]) / 2

    return interval


def by_slope(dt: float, slowest: float) -> Interval:
    """Return that of the MSD's slope by generalized least squares, as the service takes it from full MD."""

    def interval(moments: Moments) -> tuple[float, float] | None:
        D = normal_diffusion(moments, dt, slowest)
        return None if D is None else (D.value, (D.ci95[1] - D.ci95[0]) / 2)

    return interval


def by_line(dt: float, slowest: float) -> Interval:
    """Return that of a straight line through every chain's MSD from 1.5 relaxation times to a quarter of the record."""

    def interval(moments: Moments) -> tuple[float, float] | None:
        keep = (moments.lags >= RELAXATIONS * slowest) & (4 * moments.lags <= moments.n_frames)
        if keep.sum() < 3:
            return None
        lags = moments.lags[keep] - moments.lags[keep].mean()
        D = lags @ moments.msd_com_chain[keep] / (lags @ lags) / (2 * dt)
        error = D.std(ddof=1) / math.sqrt(len(D))
        return float(D.mean()), float(stats.t.ppf(0.975, len(D) - 1) * error)

    return interval


def first_within(frames: Iterator[Frames], accumulator: MomentAccumulator, intervals: list[Interval]) -> list[Reached]:
    """Return for each interval after how many frames it was first within ±10%; looked at after each 5% more frames."""
    reached: list[Reached | None] = [None] * len(intervals)
    look = MEMORY + 1
    for n, frame in enumerate(frames, start=1):
        accumulator.add(frame)
        if n < look:
            continue
        look = math.ceil(n * GROWTH)
        moments = accumulator.moments()
        for i, interval in enumerate(intervals):
            if reached[i] is None and (found := interval(moments)) and 0 < found[1] <= TARGET * found[0]:
                reached[i] = Reached(n, found[0])
        if None not in reached:
            break
    return [r or Reached(None) for r in reached]


def frames_of(stream: Stream, start: int, modes: bool) -> Iterator[Frames]:
    """Yield a stream's frames from ``start`` on, with modes or without."""
    for t in range(start, stream.n_frames):
        yield Frames.single(t, int(stream.segments[t]), stream.com[t], stream.modes[t] if modes else None)


def until_narrow(stream: Stream, slowest: float, starts_fit: list[int], starts_md: list[int]) -> list[list[Reached]]:
    """Return when the intervals of fit, slope and line were narrow enough, one list each, from several starts."""
    n_chains, n_modes = stream.modes.shape[1:3]
    fits = [
        first_within(
            frames_of(stream, start, True), MomentAccumulator(n_chains, n_modes, MEMORY),
            [by_fit(stream.dt, stream.spectrum)],
        )[0]
        for start in starts_fit
    ]  # fmt: skip
    longest = stream.n_frames // 4
    both = [
        first_within(
            frames_of(stream, start, False), MomentAccumulator(n_chains, 0, longest, LAGS_PER_OCTAVE),
            [by_slope(stream.dt, slowest), by_line(stream.dt, slowest)],
        )
        for start in starts_md
    ]  # fmt: skip
    return [fits, [pair[0] for pair in both], [pair[1] for pair in both]]


def run(settings: Settings) -> list[Measurement]:
    """Measure on the recorded melt, or its twin, and project."""
    stream, about = recorded_or_twin(settings)
    kg = seconds_per_step(settings.scratch, 1000 if settings.quick else 20_000) * STEPS_PER_FRAME
    n_lags = min(stream.n_frames // 3, 4001)
    times = relaxation_times(autocorrelation(stream.modes[:, :, :1], stream.segments, n_lags).nacf, stream.dt)
    slowest = (times[0] or n_lags * stream.dt) / stream.dt
    n = stream.n_frames
    found = until_narrow(
        stream, slowest, list(range(0, 1 if settings.quick else n - n // 6, n // 8)), [0, n // 5, 2 * n // 5]
    )
    lines = described(about, found, kg, f"in.kg on one core: {STEPS_PER_FRAME / kg:.0f} steps/s")
    if settings.quick:
        return lines
    paper, note = projected(settings)
    return lines + described("projected: 100 × 100 beads", paper, paper_seconds(settings), note)


def described(about: str, found: list[list[Reached]], frame_s: float, note: str) -> list[Measurement]:
    """Return frames and wall time of each method, and the ratio of their medians."""
    names = ("service (GLE fit)", "full MD, slope by least squares", "full MD, plain line and scatter over chains")
    lines, medians = [], []
    for name, reached in zip(names, found, strict=True):
        frames = [math.inf if r.frames is None else float(r.frames) for r in reached]
        medians.append(float(np.median(frames)))
        known = tuple(f for f in frames if math.isfinite(f))
        missed = f"; {len(frames) - len(known)} of {len(frames)} starts not within the record" * (
            known != tuple(frames)
        )
        lines.append(
            Measurement(about, f"{name}: frames", "frames", known, note=f"until the 95% interval is ±10%{missed}")
        )
        if known:
            lines += [
                Measurement(about, f"{name}: wall time", "s", tuple(f * frame_s for f in known), note=note + missed),
                Measurement(about, f"{name}: D found", "", tuple(r.value for r in reached if r.frames is not None)),
            ]
    for name, median in zip(names[1:], medians[1:], strict=True):
        if math.isfinite(median) and math.isfinite(medians[0]):
            lines.append(judged(about, f"{name} over service", "×", (median / medians[0],), note="of median times"))
    return lines


def recorded_or_twin(settings: Settings) -> tuple[Stream, str]:
    """Return the recorded melt, or frames of a Rouse melt in its place."""
    if settings.record is not None:
        stream = recorded_stream(settings.record, MODES)
        if settings.quick:
            first = slice(1500)
            stream = replace(stream, segments=stream.segments[first], com=stream.com[first], modes=stream.modes[first])
        return stream, f"recorded melt {stream.name}, {stream.modes.shape[1]} chains"
    dt = float(rouse_relaxation_time(1, 20)) / 170
    n_frames = 1200 if settings.quick else 12_000
    return collect(RouseSource(50, 20, 6 if settings.quick else MODES, n_frames, dt, 1, coupling=0.5), "rouse"), (
        "Rouse melt, 50 × 20 beads (no --record)"
    )


def projected(settings: Settings) -> tuple[list[list[Reached]], str]:
    """Return when the intervals would be narrow for 100 chains of 100 beads, by frames of a Rouse melt."""
    dt = float(rouse_relaxation_time(1, 100)) / TAU_1
    n_frames = 60_000
    source = RouseSource(100, 100, MODES, n_frames, dt, 1, coupling=0.5)
    fit = first_within(iter(source), MomentAccumulator(100, MODES, MEMORY), [by_fit(dt, None)])
    accumulator = MomentAccumulator(100, 0, n_frames // 4, LAGS_PER_OCTAVE)
    slope, line = first_within(iter(source), accumulator, [by_slope(dt, TAU_1), by_line(dt, TAU_1)])
    exact = rouse_diffusion(100)
    note = (
        f"frames of a Rouse melt, tau_1 = {TAU_1:.0f} frames, exact D {exact:g}; time per frame of the paper-size deck"
    )
    return [fit, [slope], [line]], note


def seconds_per_step(folder: Path, steps: int) -> float:
    """Return what a step of in.kg takes on one core."""
    log = folder / "kg.log"
    words = ["-in", "lammps_inputs/in.kg", "-var", "relax", str(steps), "-log", str(log), "-screen", "none"]
    subprocess.run([BIN / "mpirun", "-n", "1", BIN / "lmp", *words], check=True, cwd=ROOT, env=ENVIRONMENT)
    return last_loop(log, steps) / steps


def paper_seconds(settings: Settings) -> float:
    """Return what a frame of the paper-size deck takes on one core."""
    from speed_coupling import Deck, make_deck, paper_melt, plain_run

    folder = settings.scratch.parent / "coupling"
    folder.mkdir(parents=True, exist_ok=True)
    deck = Deck("paper", paper_melt(folder), 1, 1, 20, 200, 1.0)
    return plain_run(deck, make_deck(folder), folder) / deck.steps * PAPER_STEPS_PER_FRAME
