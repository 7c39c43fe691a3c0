"""A run against plain MD: D by its several ways, observables side by side, and what each costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.spectrum import spectrum_of
from mlgle_lammps.diffusion.baselines import (
    StretchedExponential,
    fit_generalized_rouse_kernel,
    fit_ornstein_uhlenbeck,
    fit_stretched_exponential,
    generalized_rouse_diffusion,
    msd_over_time,
)
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.diffusion.slope import mean_over_time, normal_diffusion
from mlgle_lammps.evaluate.agreement import Cost, cost_at_equal_error
from mlgle_lammps.evaluate.fit_dependence import FitErrors, errors_over_frames, fits_over_modes, moments_of_parts
from mlgle_lammps.evaluate.full_md import LEAST_FRAMES, find_full_md
from mlgle_lammps.evaluate.labels import FULL_MD, MD
from mlgle_lammps.evaluate.observables import Observables
from mlgle_lammps.evaluate.run_results import RunResult
from mlgle_lammps.evaluate.side_by_side import (
    SideBySide,
    displacement_times,
    observe_at,
    relaxations_of,
    slowest_time,
    z_scores_of,
)
from mlgle_lammps.evaluate.trajectories import Trajectory, read_trajectory, require_directions
from mlgle_lammps.observe.cross_correlation import CrossCorrelation, cross_correlation
from mlgle_lammps.records import Estimate, Float64
from mlgle_lammps.statistics.correlation import autocorrelation
from mlgle_lammps.statistics.moments import Moments
from mlgle_lammps.store.reader import FramesReader, require_generated_from

FITTED_LAGS = 1000  # of the NACFs, as in JCP fig. 6
REFERENCE = f"{FULL_MD}, slope"
KERNEL_TERMS = 100  # of the Generalized Rouse Kernel where the beads are not counted


@dataclass(frozen=True)
class RunAgainstMd(SideBySide):
    """Everything that a comparison of a run with MD holds.

    Its base is "MD" (the frames that D was fitted to), its subject the run's generated ensemble, and "full MD" its
    reference where there is any; the run's own way to D comes first.

    Attributes:
        run: the run.
        reference_source: what the full MD is; "" without.
        exponential: mode to the Ornstein-Uhlenbeck fit of its NACF.
        stretched: mode to the Kohlrausch fit.
        cross: correlations between the modes of the run's MD.
        of_modes: frames to D over k = 1, 2, ..
        of_frames: preset to errors over frames.
        of_frames_source: what stream that was taken from, and what the error is against.
        of_frames_shared: whether that reference is taken from the same stream, which flatters long segments.
        cost: None without a reference.
    """

    run: RunResult
    reference_source: str
    exponential: dict[int, StretchedExponential]
    stretched: dict[int, StretchedExponential]
    cross: CrossCorrelation
    of_modes: dict[int, list[Estimate]]
    of_frames: dict[str, FitErrors]
    of_frames_source: str
    of_frames_shared: bool
    cost: Cost | None


def compare_with_md(run: RunResult, full: Path | None) -> RunAgainstMd:
    """Compare a run with longer MD: a run's folder or stream, or else the run's own frames after its hand-off.

    Raises:
        UserError: a stream that is missing, damaged, or of another melt.
    """
    md = read_trajectory(run.folder.path, 0, run.handoff_frames, directions=run.directions)
    plain = find_full_md(run, md, full)
    streams = _observed(run, md, plain.trajectory)
    by_length = moments_of_parts(md, run)
    fitted = by_length[max(by_length)]
    relaxations = relaxations_of(streams)
    n_terms = run.system.n_beads or KERNEL_TERMS
    estimates = _estimates(run, streams, fitted, slowest_time(relaxations, (FULL_MD, MD, run.label)), n_terms)
    reference = REFERENCE if REFERENCE in estimates else None
    notes = plain.notes if run.directions.n == 3 else (*plain.notes, run.directions.sentence())
    if plain.trajectory is not None and reference is None:
        n_frames = plain.trajectory.n_frames
        notes = (*notes, f"{n_frames} frames of full MD show no normal diffusion long enough for a reference D")
    dt, lags = run.system.dt, fitted.lags.astype(np.float64)
    nacfs = _fitted_nacfs(streams[MD])
    errors, errors_source, shared = errors_over_frames(run, md, plain.trajectory, estimates.get(reference or ""))
    window = md.window()
    return RunAgainstMd(
        streams=streams,
        system=run.system,
        base=MD,
        subject=run.label,
        kernel=fit_generalized_rouse_kernel(lags * dt, fitted.msd_com, n_terms),
        relaxations=relaxations,
        estimates=estimates,
        reference=reference,
        z_scores=z_scores_of(estimates, reference, FULL_MD),
        notes=notes,
        run=run,
        reference_source=plain.source,
        exponential={p: fit_ornstein_uhlenbeck(nacf, dt) for p, nacf in nacfs.items()},
        stretched={p: fit_stretched_exponential(nacf, dt) for p, nacf in nacfs.items()},
        cross=cross_correlation(window, autocorrelation(window.modes, window.segments, max(2, len(window.steps) // 2))),
        of_modes={n: fits_over_modes(moments, dt, spectrum_of(run.system)) for n, moments in by_length.items()},
        of_frames=errors,
        of_frames_source=errors_source,
        of_frames_shared=shared,
        cost=_cost(run, estimates, reference, streams),
    )


def _observed(run: RunResult, md: Trajectory, plain: Trajectory | None) -> dict[str, Observables]:
    """Return the observables of the run's frames, of its generated ensemble and of full MD, those that there are."""
    times = displacement_times(run.system, min(int(run.result.get("m") or 128), md.longest_segment - 1))
    streams = {MD: observe_at(md, times)}
    if run.folder.generated.is_file():
        with FramesReader(run.folder.generated) as reader:
            require_generated_from(run.system, reader)
            require_directions(reader.system.directions, run.folder.generated, run.directions)
        generated = read_trajectory(run.folder.generated, directions=run.directions)
        if generated.longest_segment >= LEAST_FRAMES:
            streams[run.label] = observe_at(generated, times)
    if plain is not None:
        streams[FULL_MD] = observe_at(plain, times)
    return streams


def _estimates(
    run: RunResult, streams: Mapping[str, Observables], fitted: Moments, slowest: float, n_terms: int
) -> dict[str, Estimate]:
    dt = run.system.dt
    found: dict[str, Estimate | None] = {
        run.fit_name: run.D,
        f"{run.label} generated": run.D_generated,
    }
    if (full := streams.get(FULL_MD)) is not None:
        found[REFERENCE] = normal_diffusion(full.moments, full.dt, slowest / full.dt)
        found[f"{FULL_MD}, eq. 35"] = mean_over_time(full.moments, full.dt, slowest / full.dt)
    found["same frames: slope"] = normal_diffusion(streams[MD].moments, dt, slowest / dt)
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
    run: RunResult, estimates: Mapping[str, Estimate], reference: str | None, streams: Mapping[str, Observables]
) -> Cost | None:
    if reference is None or not run.D.se > 0:
        return None
    md_s, n_recorded = run.md_s, read_trajectory(run.folder.path, directions=run.directions).n_frames
    per_frame = md_s / n_recorded if md_s and n_recorded else None
    full = streams[FULL_MD]
    frames = round(full.n_frames * full.dt / run.system.dt)
    return cost_at_equal_error(run.D, run.handoff_frames, estimates[reference], frames, per_frame, run.learning_s)
