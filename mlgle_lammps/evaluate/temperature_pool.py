"""Runs at several temperatures as one: shift factors of the modes, D of each from all, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.properties import ChainSums, gather, kept_lags
from mlgle_lammps.evaluate.run_results import RunResult
from mlgle_lammps.evaluate.trajectories import read_trajectory
from mlgle_lammps.observe.mode_relaxation import MOST_BEYOND, ModeCorrelations
from mlgle_lammps.observe.superposition import ShiftLaw, Shifts, fit_shifts, forgetting_times, shift_law
from mlgle_lammps.records import Estimate, Float64
from mlgle_lammps.statistics.correlation import relaxation_times
from mlgle_lammps.statistics.errors import freedom_of, joint_freedom, student_factor
from mlgle_lammps.statistics.replicas import Replicas
from mlgle_lammps.statistics.shift_law import require_above_end

LEAST_MODES = 1


@dataclass(frozen=True)
class PooledRun:
    """What one run brings.

    Attributes:
        T: its temperature.
        D: by itself.
        correlations: of its modes.
        variances: (mode,) per component with replicas.
        slowest: 1/e time of mode 1 with replicas, its logarithm; None where it is not reached.
        relaxation: ∫ Σ C_p² dt with replicas; None where modes have not relaxed.
        curve: times and Σ C_p² there, up to three τ_1.
    """

    T: float
    D: Estimate
    correlations: ModeCorrelations
    variances: Replicas
    slowest: Replicas | None
    relaxation: Replicas | None
    curve: tuple[Float64, Replicas]


@dataclass(frozen=True)
class TemperaturePool:
    """All runs together.

    Attributes:
        runs: in the order of temperatures.
        reference: index of the temperature where a_T is 1.
        modes: numbers of the modes that are seen to forget in every run.
        shifts: of the temperatures.
        law: ln a over T.
        log_scales: (run,) ln of D a/v, the same at all temperatures within errors.
        D: of each temperature from all runs.
        D_chi2: of D_i a_i/v_i against being one.
        D_dof: its degrees of freedom.
        sizes: ln v over T: value at the reference and slope, from all modes that are used.
        mode_sizes: (mode, 2) the same of each streamed mode's variance.
    """

    runs: tuple[PooledRun, ...]
    reference: int
    modes: tuple[int, ...]
    shifts: Shifts
    law: ShiftLaw
    log_scales: Float64
    D: tuple[Estimate, ...]
    D_chi2: float
    D_dof: int
    sizes: Float64
    mode_sizes: Float64

    @property
    def temperatures(self) -> Float64:
        """In the order of the runs."""
        return np.array([run.T for run in self.runs])

    @property
    def dt(self) -> float:
        """Time between frames at the reference."""
        return self.runs[self.reference].correlations.dt

    @property
    def misfit(self) -> float:
        """By how much the variance of the law's parameters is widened where the law does not describe the shifts."""
        return max(1.0, self.law.chi2 / self.law.dof) if self.law.dof > 0 else 1.0

    @property
    def chain_freedom(self) -> int:
        """Degrees of freedom of errors that come from the chains: those of the run with the fewest groups of them."""
        return _chain_freedom(self.runs)

    def log_size(self, T: float) -> float:
        """Return ln v at a temperature."""
        return float(self.sizes[1] * (T - self.runs[self.reference].T))

    def extrapolates(self, T: float) -> bool:
        """Return whether a temperature lies outside those that were run."""
        return not self.temperatures.min() <= T <= self.temperatures.max()


def pooled_run(run: RunResult, T: float) -> PooledRun:
    """Return what a run brings; raise UserError where its modes cannot be read."""
    trajectory = read_trajectory(
        run.folder.path, 0, run.handoff_frames or None, like=(run.system, run.folder.path), directions=run.directions
    )
    return pooled_sums(gather(trajectory), run.D, T)


def pooled_sums(sums: ChainSums, D: Estimate, T: float) -> PooledRun:
    """Return what a stretch of a run brings whose sums and D are known."""
    correlations = sums.correlations
    mean = correlations.mean()

    def slowest(own: Float64) -> float:
        time = relaxation_times(own[:, :1] / own[0, :1], sums.dt)[0]
        return np.nan if time is None else float(np.log(time))

    first = mean.map(slowest)
    usable = np.isfinite(first.value) and np.isfinite(first.left_out).all()
    relaxed = sums.relaxation.beyond <= MOST_BEYOND
    return PooledRun(
        T, D, correlations, mean.map(lambda own: own[0]), first if usable else None,
        sums.relaxation.integral if relaxed else None, _curve(sums),
    )  # fmt: skip


def _curve(sums: ChainSums) -> tuple[Float64, Replicas]:
    kept = kept_lags(sums.relaxation, sums.dt)
    return sums.relaxation.times[kept], sums.relaxation.sum.map(lambda own: own[kept])


def pool_of(runs: Sequence[RunResult], temperatures: Sequence[float]) -> tuple[TemperaturePool | None, str]:
    """Return the pool of runs in the order of their temperatures, or None and why there is none."""
    if len(runs) < 2 or len(set(temperatures)) < 2:
        return None, "no pool: it takes two temperatures that differ"
    if len({run.system.n_beads for run in runs}) > 1:
        return None, "no pool: the runs are of chains of different lengths"
    try:
        return pool_temperatures([pooled_run(run, T) for run, T in zip(runs, temperatures, strict=True)]), ""
    except UserError as error:
        return None, f"no pool: {error}"
    except np.linalg.LinAlgError:
        return None, "no pool: too few chains or frames for errors of the modes' times"


def pool_temperatures(runs: Sequence[PooledRun]) -> TemperaturePool:
    """Return all runs as one; raise UserError where their modes do not allow it.

    Args:
        runs: at least two, of one melt, in the order of temperatures.
    """
    for run in runs:
        if not run.D.value > 0:
            raise UserError(
                f"D = {run.D.value:.3g} of the run at {run.T:g} is not above 0: record longer, or leave it out"
            )
    if len({run.correlations.by_group.shape[2] for run in runs}) > 1:
        raise UserError("the runs stream different numbers of modes: they cannot be pooled")
    logs = [_log_times(run.correlations) for run in runs]
    usable = np.all([np.isfinite(own.value) & np.isfinite(own.left_out).all(axis=0) for own in logs], axis=0)
    modes = np.flatnonzero(usable.any(axis=1))
    if len(modes) < LEAST_MODES:
        raise UserError("no mode is seen to forget in every run: record longer, or more often")
    times = [own.map(lambda y: np.array([y[p][usable[p]].mean() for p in modes])) for own in logs]
    reference = len(runs) // 2
    shifts = fit_shifts(times, reference)
    T = np.array([run.T for run in runs])
    law = shift_law(T, shifts.shifts, shifts.variances, reference)
    mode_sizes = np.array([_sizes_of(p, runs, T - T[reference]) for p in range(len(runs[0].variances.value))])
    sizes = mode_sizes[modes].mean(axis=0)
    D, log_scales, chi2 = _pooled_D(runs, shifts, sizes[1] * (T - T[reference]))
    return TemperaturePool(
        tuple(runs), reference, tuple(int(p) + 1 for p in modes), shifts, law, log_scales, D, chi2, len(runs) - 1,
        sizes, mode_sizes,
    )  # fmt: skip


def _log_times(correlations: ModeCorrelations) -> Replicas:
    found = correlations.mean().map(lambda own: forgetting_times(own / np.maximum(own[0], 1e-300)))
    return found.map(lambda own: own + np.log(correlations.dt))


def _sizes_of(mode: int, runs: Sequence[PooledRun], x: Float64) -> Float64:
    return _line(x, [run.variances.map(lambda v: float(np.log(v[mode]))) for run in runs])


def _line(x: Float64, points: list[Replicas]) -> Float64:
    """Return value at x = 0 and slope of a weighted straight line."""
    y, weight = np.array([float(p.value) for p in points]), np.array([1.0 / max(float(p.se), 1e-9) for p in points])
    slope, offset = np.polyfit(x, y, 1, w=weight)
    return np.array([offset, slope])


def _pooled_D(runs: Sequence[PooledRun], shifts: Shifts, log_v: Float64) -> tuple[tuple[Estimate, ...], Float64, float]:
    """Return D of each temperature, ln of D a/v of each run, and chi-square of these being one."""
    n = len(runs)
    log_scales = np.array([np.log(run.D.value) for run in runs]) - log_v + shifts.shifts
    method = f"pool of {n} temperatures: D a_T/v from all of them, a_T from the modes"
    result = []
    for i in range(n):
        weights, parts = _scale_weights(runs, shifts.variances, np.eye(n)[i])
        result.append(_log_estimate(weights @ log_scales + log_v[i] - shifts.shifts[i], parts, method))
    variances = np.array([(run.D.se / run.D.value) ** 2 for run in runs]) + shifts.variances
    mean = float(np.average(log_scales, weights=1.0 / variances))
    return tuple(result), log_scales, float(np.sum((log_scales - mean) ** 2 / variances))


def _scale_weights(
    runs: Sequence[PooledRun], variances: Float64, influence: Float64
) -> tuple[Float64, list[tuple[float, float]]]:
    """Return weights of the runs' D a/v, in sum 1, for D where times are told by all, and the parts of its error.

    ln D = Σ_i w_i (ln D_i/v_i + y_i) - Σ_i u_i y_i with y_i = ln of run i's times and u its influence on those there.
    Errors of D_i and of y_i are independent; w makes that of ln D least: w_i (δ_i² + s_i) = s_i u_i + λ.

    Args:
        runs: with D_i ± δ_i D_i.
        variances: (run,) s_i, of the y_i.
        influence: (run,) u_i, in sum 1.
    """
    both = np.array([(run.D.se / run.D.value) ** 2 for run in runs]) + variances
    own, alike = variances * influence / both, 1.0 / both
    weights: Float64 = own + alike * (1.0 - own.sum()) / alike.sum()
    of_times = float(np.sqrt(np.sum((weights - influence) ** 2 * variances)))
    return weights, [*_of_own_D(runs, weights), (of_times, float(_chain_freedom(runs)))]


def _chain_freedom(runs: Sequence[PooledRun]) -> int:
    return min(len(run.correlations.by_group) for run in runs) - 1


def _of_own_D(runs: Sequence[PooledRun], weights: Float64) -> list[tuple[float, float]]:
    """Return what each run's own D adds to a pooled ln D: its standard error and the degrees of freedom of that."""
    return [(abs(float(w)) * run.D.se / run.D.value, freedom_of(run.D)) for run, w in zip(runs, weights, strict=True)]


@dataclass(frozen=True)
class Prediction:
    """What the pool says of a temperature.

    Attributes:
        T: the temperature.
        log_a: ln a_T and its standard error.
        D: there.
        relaxation_time: 1/e time of mode 1; None where no run reaches it.
        relaxation: ∫ Σ C_p² dt, what the viscosity of modes is proportional to; None where no run has relaxed.
        extrapolated: the temperature lies outside those that were run.
    """

    T: float
    log_a: tuple[float, float]
    D: Estimate
    relaxation_time: Estimate | None
    relaxation: Estimate | None
    extrapolated: bool


def predict(pool: TemperaturePool, T: float) -> Prediction:
    """Return D, τ_1 and the modes' relaxation at a temperature that nobody need have run.

    D is that of the runs times v/a, times are a times those of the runs, each brought there from its own a. a is the
    law's, and what the run at the reference has of an error of its own, which the other runs tell: which of the runs of
    one T is the reference changes nothing. Errors are those of the law, widened where it does not describe the
    shifts, and of the factors in front.
    """
    require_above_end(pool.law.name, T, pool.law.parameters)
    gradient, influence = pool.law.gradient(T), pool.law.influence_at(T)
    of_a = float(np.sqrt(pool.misfit * gradient @ pool.law.covariance @ gradient))
    how = f"pool of {len(pool.runs)} temperatures, a_T by {pool.law.name}"
    weights, parts = _scale_weights(pool.runs, pool.misfit * pool.shifts.variances, influence)
    log_D = float(weights @ pool.log_scales) + pool.log_size(T) - pool.law.through_shifts(T)
    return Prediction(
        T, (pool.law.log_a(T), of_a), _log_estimate(log_D, parts, how),
        _from_runs(pool, [run.slowest for run in pool.runs], T, how),
        _from_runs(pool, [run.relaxation and run.relaxation.map(np.log) for run in pool.runs], T, how),
        pool.extrapolates(T),
    )  # fmt: skip


def _from_runs(pool: TemperaturePool, logs: Sequence[Replicas | None], T: float, how: str) -> Estimate | None:
    """Return a time at a temperature from ln of it in those runs that have it."""
    seen = np.array([own is not None for own in logs])
    if not seen.any():
        return None
    points = [(float(own.value), max(float(own.se), 1e-6)) for own in logs if own is not None]
    y, se = np.array(points).T
    share = np.zeros(len(seen))
    share[seen] = se**-2 / np.sum(se**-2)
    value = float(share[seen] @ (y - pool.shifts.shifts[seen])) + pool.law.through_shifts(T)
    of_times = (share - pool.law.influence_at(T)) ** 2 @ (pool.misfit * pool.shifts.variances)
    error = float(np.sqrt(of_times + np.sum((share[seen] * se) ** 2)))
    return _log_estimate(value, [(error, float(pool.chain_freedom))], how)


def _log_estimate(log_value: float, parts: Sequence[tuple[float, float]], method: str) -> Estimate:
    """Return the estimate of a logarithm's exponential.

    Args:
        log_value: the logarithm.
        parts: independent contributions to its error, each with its degrees of freedom.
        method: how it was obtained.
    """
    each, dof = np.array(parts, dtype=float).T
    se = float(np.sqrt(np.sum(each**2)))
    half = student_factor(joint_freedom(each, dof)) * se
    value = float(np.exp(log_value))
    ends = float(np.exp(log_value - half)), float(np.exp(log_value + half))
    return Estimate(value, value * se, ends, method)


def leave_one_out(runs: Sequence[PooledRun]) -> list[tuple[float, Prediction, float]]:
    """Return T, what the other runs predict there, and z against the run's own D, for each run; empty below three.

    Left away is a run without which no two temperatures would differ.
    """
    result = []
    for i, run in enumerate(runs):
        others = [other for j, other in enumerate(runs) if j != i]
        if len({other.T for other in others}) < 2:
            continue
        told = predict(pool_temperatures(others), run.T)
        z = (np.log(told.D.value) - np.log(run.D.value)) / np.hypot(told.D.se / told.D.value, run.D.se / run.D.value)
        result.append((run.T, told, float(z)))
    return result
