"""How the fitted D depends on the number of modes and of frames (JCP fig. 10 and 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlgle_lammps.chains.spectrum import Spectrum, spectrum_of
from mlgle_lammps.diffusion.forms import FitForm
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.evaluate.run_results import RunResult
from mlgle_lammps.evaluate.trajectories import Trajectory
from mlgle_lammps.records import CHAINS, Estimate, System
from mlgle_lammps.statistics.moments import Moments
from mlgle_lammps.statistics.species_moments import SpeciesMoments

MOST_SEGMENTS = 12
FORMS: dict[str, FitForm] = {"default": "default", "paper": "published"}
"""Forms of the fit whose errors are told, by the name that they have there."""


@dataclass(frozen=True)
class FitErrors:
    """Relative errors of D fitted to disjoint segments of a stream, for one form of the fit.

    Attributes:
        frames: (length,) frames in a segment.
        rmse: (length,) root mean squared relative error.
        rmse_se: (length,) its standard error, rmse/sqrt(2 n) over n segments.
        claimed: (length,) mean of the relative standard errors that the fits state.
        n_segments: (length,).
    """

    frames: Sequence[int]
    rmse: Sequence[float]
    rmse_se: Sequence[float]
    claimed: Sequence[float]
    n_segments: Sequence[int]


def moments_of_parts(md: Trajectory, run: RunResult) -> dict[int, Moments]:
    """Return the displacements of the first quarter, half and all of the frames that D was fitted to."""
    k, memory, n = _fit_size(run, md.n_mode_frames)
    wanted = {max(n // 4, memory + 1), max(n // 2, memory + 1), n}
    accumulator = _accumulator(md, k, memory)
    found = {}
    for i, frame in enumerate((frame for block in md.frames(k) for frame in block), start=1):
        accumulator.add(frame)
        if i in wanted:
            found[i] = accumulator.moments()
    return found


def _accumulator(stream: Trajectory, k: int, memory: int) -> SpeciesMoments:
    system = stream.system
    n_modes = {own.name: k if own.name == CHAINS else 0 for own in system.species}
    return SpeciesMoments(system.species, n_modes, memory, system.center_held, stream.directions.n)


def _fit_size(run: RunResult, n_frames: int) -> tuple[int, int, int]:
    """Return k, m and the frames there are."""
    k = min(int(run.result.get("k") or run.system.n_modes), run.system.n_modes)
    return k, min(int(run.result.get("m") or 128), n_frames - 1), n_frames


def fits_over_modes(moments: Moments, dt: float, spectrum: Spectrum | None) -> list[Estimate]:
    """Return D fitted with modes 1..k for every k (JCP fig. 10), the missing ones added where N is known."""
    estimates = []
    for k in range(1, moments.msd_modes.shape[1] + 1):
        fewer = replace(moments, msd_modes=moments.msd_modes[:, :k], mode_variance=moments.mode_variance[:k])
        estimates.append(fit_gle(fewer, dt, "default", spectrum).D)
    return estimates


def errors_over_frames(
    run: RunResult, md: Trajectory, plain: Trajectory | None, reference: Estimate | None
) -> tuple[dict[str, FitErrors], str, bool]:
    """Return the errors of both forms over frames from the longest stream with modes, what it is, if it is shared."""
    stream = plain if plain is not None and plain.n_mode_frames > md.n_mode_frames else md
    k, memory, n = _fit_size(run, stream.n_mode_frames)
    k = min(k, stream.system.n_modes)
    lengths = [length for length in (memory + 1, 200, 400, 800, 1600, 3200) if memory < length <= n // 2]
    if not lengths:
        return {}, "", False
    moments, whole = _segment_moments(stream, k, memory, lengths)
    system = stream.system
    base = fit_gle(whole, system.dt, "default", spectrum_of(system)).D.value if reference is None else reference.value
    errors = {name: _errors(moments, system, form, base) for name, form in FORMS.items()}
    against = f"the fit to all {n} of them" if reference is None else "full MD"
    shared = reference is None or stream is not md
    return errors, f"{stream.system.source}, {n} frames, error against {against}", shared


def _segment_moments(
    stream: Trajectory, k: int, memory: int, lengths: Sequence[int]
) -> tuple[dict[int, list[Moments]], Moments]:
    """Return the displacements of disjoint segments of each length, and of all frames, in one pass."""

    def fresh() -> SpeciesMoments:
        return _accumulator(stream, k, memory)

    whole, running = fresh(), {length: fresh() for length in lengths}
    found: dict[int, list[Moments]] = {length: [] for length in lengths}
    for frame in (frame for block in stream.frames(k) for frame in block):
        whole.add(frame)
        for length, accumulator in running.items():
            if len(found[length]) == MOST_SEGMENTS:
                continue
            accumulator.add(frame)
            if accumulator.n_frames == length:
                found[length].append(accumulator.moments())
                running[length] = fresh()
    return found, whole.moments()


def _errors(moments: dict[int, list[Moments]], system: System, form: FitForm, base: float) -> FitErrors:
    rows = []
    for length, segments in moments.items():
        fits = [fit_gle(segment, system.dt, form, spectrum_of(system)).D for segment in segments]
        rmse = float(np.sqrt(np.mean([(D.value / base - 1) ** 2 for D in fits])))
        claimed = float(np.mean([D.se for D in fits])) / abs(base)
        rows.append((length, rmse, rmse / np.sqrt(2 * len(fits)), claimed, len(fits)))
    return FitErrors(*(list(column) for column in zip(*rows, strict=True)))
