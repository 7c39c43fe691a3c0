"""A run against plain MD: D by its several ways, observables side by side, and what each costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.diffusion.baselines import (
    GeneralizedRouseKernel,
    StretchedExponential,
    fit_generalized_rouse_kernel,
    fit_ornstein_uhlenbeck,
    fit_stretched_exponential,
    generalized_rouse_diffusion,
    msd_over_time,
)
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.diffusion.slope import mean_over_time, normal_diffusion
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.agreement import Cost, cost_at_equal_error, z_score
from mlgle_lammps.evaluate.fit_dependence import FitErrors, errors_over_frames, fits_over_modes, moments_of_parts
from mlgle_lammps.evaluate.observables import Observables, observe
from mlgle_lammps.evaluate.run_results import RunResult
from mlgle_lammps.evaluate.trajectories import Trajectory, read_trajectory
from mlgle_lammps.observe.cross_correlation import CrossCorrelation, cross_correlation
from mlgle_lammps.records import Estimate, Float64, Int64
from mlgle_lammps.statistics.correlation import ModeStatistics, autocorrelation, mode_statistics
from mlgle_lammps.statistics.moments import Moments
from mlgle_lammps.store.reader import FramesReader, require_generated_from

FITTED_LAGS = 1000  # of the NACFs, as in JCP fig. 6
REFERENCE = "full MD, slope"
KERNEL_TERMS = 100  # of the Generalized Rouse Kernel where the beads are not counted
LEAST_FRAMES = 8  # in one piece, of a trajectory that is worth a comparison


@dataclass(frozen=True)
class AgainstMd:
    """Everything that a comparison of a run with MD holds.

    Attributes:
        run: the run.
        streams: "MD" (the frames that D was fitted to), and where there are any "ML-GLE" and "full MD".
        reference_source: what the full MD is; "" without.
        estimates: way to D, the run's own first.
        reference: the way that is the independent reference; None without.
        z_scores: way to its distance from the reference in standard errors, for ways that do not use its frames.
        relaxations: label of the stream to its modes' variances and relaxation times.
        kernel: Generalized Rouse Kernel of the run's MD.
        exponential: mode to the Ornstein-Uhlenbeck fit of its NACF.
        stretched: mode to the Kohlrausch fit.
        cross: correlations between the modes of the run's MD.
        of_modes: frames to D over k = 1, 2, ..
        of_frames: preset to errors over frames.
        of_frames_source: what stream that was taken from, and what the error is against.
        of_frames_shared: whether that reference is taken from the same stream, which flatters long segments.
        cost: None without a reference.
        notes: lines for people.
    """

    run: RunResult
    streams: dict[str, Observables]
    reference_source: str
    estimates: dict[str, Estimate]
    reference: str | None
    z_scores: dict[str, float]
    relaxations: dict[str, ModeStatistics]
    kernel: GeneralizedRouseKernel
    exponential: dict[int, StretchedExponential]
    stretched: dict[int, StretchedExponential]
    cross: CrossCorrelation
    of_modes: dict[int, list[Estimate]]
    of_frames: dict[str, FitErrors]
    of_frames_source: str
    of_frames_shared: bool
    cost: Cost | None
    notes: tuple[str, ...]


def compare_with_md(run: RunResult, full: Path | None) -> AgainstMd:
    """Compare a run with longer MD: a run's folder or stream, or else the run's own frames after its hand-off.

    Raises:
        UserError: a stream that is missing, damaged, or of another melt.
    """
    md = read_trajectory(run.folder.path, 0, run.handoff_frames)
    plain, source, notes = _full_md(run, md, full)
    times = _displacement_times(run, md)
    streams = {"MD": _observe(md, times)}
    if run.folder.generated.is_file():
        with FramesReader(run.folder.generated) as reader:
            require_generated_from(run.system, reader)
        generated = read_trajectory(run.folder.generated)
        if generated.longest_segment >= LEAST_FRAMES:
            streams["ML-GLE"] = _observe(generated, times)
    if plain is not None:
        streams["full MD"] = _observe(plain, times)
    by_length = moments_of_parts(md, run)
    fitted = by_length[max(by_length)]
    relaxations = {
        label: mode_statistics(stream.correlation, stream.dt)
        for label, stream in streams.items()
        if stream.correlation is not None
    }
    slowest = _slowest(relaxations)
    n_terms = run.system.n_beads or KERNEL_TERMS
    estimates = _estimates(run, streams, fitted, slowest, n_terms)
    reference = REFERENCE if REFERENCE in estimates else None
    if plain is not None and reference is None:
        notes = (*notes, f"{plain.n_frames} frames of full MD show no normal diffusion long enough for a reference D")
    dt, lags = run.system.dt, fitted.lags.astype(np.float64)
    nacfs = _fitted_nacfs(streams["MD"])
    errors, errors_source, shared = errors_over_frames(run, md, plain, estimates.get(reference or ""))
    window = md.window()
    return AgainstMd(
        run=run,
        streams=streams,
        reference_source=source,
        estimates=estimates,
        reference=reference,
        z_scores=_z_scores(estimates, reference),
        relaxations=relaxations,
        kernel=fit_generalized_rouse_kernel(lags * dt, fitted.msd_com, n_terms),
        exponential={p: fit_ornstein_uhlenbeck(nacf, dt) for p, nacf in nacfs.items()},
        stretched={p: fit_stretched_exponential(nacf, dt) for p, nacf in nacfs.items()},
        cross=cross_correlation(window, autocorrelation(window.modes, window.segments, max(2, len(window.steps) // 2))),
        of_modes={n: fits_over_modes(moments, dt, run.system.n_beads) for n, moments in by_length.items()},
        of_frames=errors,
        of_frames_source=errors_source,
        of_frames_shared=shared,
        cost=_cost(run, estimates, reference, streams),
        notes=notes,
    )


def _full_md(run: RunResult, md: Trajectory, full: Path | None) -> tuple[Trajectory | None, str, tuple[str, ...]]:
    """Return the full MD, what it is, and notes; frames that the run's D was fitted to are left out of it."""
    if full is None:
        if int(run.result.get("n_frames") or 0) == 0:
            return None, "", ()
        try:
            own = read_trajectory(run.folder.path, run.handoff_frames)
        except UserError:
            return None, "", ()
        if own.longest_segment < LEAST_FRAMES:
            return None, "", (f"the {own.n_frames} frames after the hand-off are too few to compare with",)
        return own, f"{own.n_frames} frames of {run.name} after its hand-off", ()
    _require_md(full)
    whole = read_trajectory(full)
    if whole.longest_segment < LEAST_FRAMES:
        raise UserError(f"{full} has {whole.n_frames} frames; at least {LEAST_FRAMES} in one piece are needed")
    _require_same_melt(run, whole)
    shared = _shared_frames(whole, md)
    if len(shared) < 2:  # one is a start that independent runs may have in common
        return whole, f"{full}, {whole.n_frames} frames", ()
    rest, where = _longer_rest(full, whole.n_frames, int(shared[0]), int(shared[-1]) + 1)
    if rest is None or rest.longest_segment < LEAST_FRAMES:
        return None, "", (f"{full} holds hardly more than the frames that D was fitted to: nothing to compare with",)
    begins = "begins with" if shared[0] == 0 else "holds"
    note = f"{full} {begins} {len(shared)} frames that D was fitted to: they are left out of the reference"
    return rest, f"{full}, {rest.n_frames} frames {where}", (note,)


def _require_md(path: Path) -> None:
    """Raise UserError where a file holds generated chains, which are no reference."""
    if path.is_file() and path.suffix != ".npz":
        with FramesReader(path) as reader:
            if reader.generated:
                raise UserError(f"{path} holds generated trajectories, not MD: give a run's folder or its modes.h5")


def _shared_frames(whole: Trajectory, md: Trajectory) -> Int64:
    """Return the numbers of frames that are also in ``md``; centres of mass tell them, to single precision."""
    own = {com.tobytes() for block in md.frames() for com in block.com.astype(np.float32)}
    every = (com for block in whole.frames() for com in block.com.astype(np.float32))
    shared = [i for i, com in enumerate(every) if com.tobytes() in own]
    return np.array(shared, dtype=np.int64)


def _longer_rest(path: Path, n_frames: int, start: int, stop: int) -> tuple[Trajectory | None, str]:
    """Return the longer one of the stretches before frame ``start`` and from ``stop`` on, None where both are empty."""
    if n_frames - stop >= start:
        return read_trajectory(path, stop) if stop < n_frames else None, "after the hand-off"
    return read_trajectory(path, 0, start), "before those that D was fitted to"


def _require_same_melt(run: RunResult, full: Trajectory) -> None:
    unknown = {"n_beads": None, "time_unit": "time", "length_unit": "length"}
    for name, nothing in unknown.items():
        own, other = getattr(run.system, name), getattr(full.system, name)
        if nothing not in (own, other) and own != other:
            raise UserError(f"{full.system.source} has {name} {other}, {run.folder.path} has {own}: not the same melt")


def _displacement_times(run: RunResult, md: Trajectory) -> list[float]:
    """Return the times at which displacements are shown: a frame, the memory, and two between."""
    memory = min(int(run.result.get("m") or 128), md.longest_segment - 1)
    return [lag * run.system.dt for lag in sorted({1, max(1, memory // 16), max(1, memory // 4), memory})]


def _observe(trajectory: Trajectory, times: Iterable[float]) -> Observables:
    lags = [time / trajectory.system.dt for time in times]
    return observe(trajectory, [round(lag) for lag in lags if lag > 0.99 and abs(lag - round(lag)) < 0.01 * lag])


def _slowest(relaxations: dict[str, ModeStatistics]) -> float:
    """Return the relaxation time of mode 1 where any stream tells it, 0 otherwise."""
    times = [relaxations[label].relaxation_time[0] for label in ("full MD", "MD", "ML-GLE") if label in relaxations]
    return next((time for time in times if time is not None), 0.0)


def _z_scores(estimates: dict[str, Estimate], reference: str | None) -> dict[str, float]:
    if reference is None:
        return {}
    others = {way: estimate for way, estimate in estimates.items() if not way.startswith("full MD")}
    return {way: z_score(e, estimates[reference]) for way, e in others.items() if np.isfinite(e.se)}


def _estimates(
    run: RunResult, streams: dict[str, Observables], fitted: Moments, slowest: float, n_terms: int
) -> dict[str, Estimate]:
    dt = run.system.dt
    found: dict[str, Estimate | None] = {
        "ML-GLE fit": run.D,
        "ML-GLE generated": run.D_generated,
    }
    if (full := streams.get("full MD")) is not None:
        found[REFERENCE] = normal_diffusion(full.moments, full.dt, slowest / full.dt)
        found["full MD, eq. 35"] = mean_over_time(full.moments, full.dt, slowest / full.dt)
    found["same frames: slope"] = normal_diffusion(streams["MD"].moments, dt, slowest / dt)
    found["same frames: published fit"] = fit_gle(fitted, dt, "published").D
    found["same frames: Rouse Kernel"] = generalized_rouse_diffusion(fitted, dt, n_terms)
    found[f"same frames: MSD/2t at {fitted.lags[-1]}"] = msd_over_time(fitted, dt)
    return {way: estimate for way, estimate in found.items() if estimate is not None}


def _fitted_nacfs(md: Observables) -> dict[int, Float64]:
    """Return the NACFs that classical relaxations are fitted to."""
    if md.correlation is None:
        return {}
    return {p: md.correlation.nacf[: FITTED_LAGS + 1, p - 1] for p in md.modes}


def _cost(
    run: RunResult, estimates: dict[str, Estimate], reference: str | None, streams: dict[str, Observables]
) -> Cost | None:
    if reference is None or not run.D.se > 0:
        return None
    md_s, n_recorded = run.md_s, read_n_frames(run)
    per_frame = md_s / n_recorded if md_s and n_recorded else None
    full = streams["full MD"]
    frames = round(full.n_frames * full.dt / run.system.dt)
    return cost_at_equal_error(run.D, run.handoff_frames, estimates[reference], frames, per_frame, run.learning_s)


def read_n_frames(run: RunResult) -> int:
    """Return how many frames the run recorded, those after the hand-off among them."""
    return read_trajectory(run.folder.path).n_frames
