"""The classical models against Ornstein-Uhlenbeck processes, Rouse melts and curves that are known exactly."""

from dataclasses import replace

import numpy as np
import pytest

from mlgle_lammps.chains.rouse import RouseSource, rouse_diffusion, rouse_mode_variance, rouse_relaxation_time
from mlgle_lammps.diffusion.baselines import (
    GeneralizedRouseKernel,
    StretchedExponential,
    fit_generalized_rouse_kernel,
    fit_ornstein_uhlenbeck,
    fit_stretched_exponential,
    fit_yule_walker,
    generalized_rouse_diffusion,
    msd_over_time,
    msd_slope,
)
from mlgle_lammps.records import joined
from mlgle_lammps.statistics.correlation import autocorrelation
from mlgle_lammps.statistics.moments import MomentAccumulator

DT, N_BEADS, N_CHAINS, MEMORY = 0.135, 20, 20, 64


@pytest.fixture(scope="module")
def melts():
    """(modes, moments) of independent Rouse melts."""
    result = []
    for seed in range(16):
        frames = list(RouseSource(N_CHAINS, N_BEADS, 3, 600, DT, seed))
        accumulator = MomentAccumulator(N_CHAINS, 3, MEMORY)
        for frame in frames:
            accumulator.add(frame)
        result.append((joined(frames).modes, accumulator.moments()))
    return result


def assert_mean_is(values, known, wrong):
    """Within four standard errors of the known value; the wrong one is not."""
    values = np.asarray(values)
    se = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    assert np.all(np.abs(values.mean(axis=0) - known) < 4 * se)
    assert np.any(np.abs(values.mean(axis=0) - wrong) > 4 * se)


def test_relaxations_are_recovered_from_their_own_curves():
    time = np.arange(200, dtype=np.float64) * 0.5
    assert fit_ornstein_uhlenbeck(StretchedExponential(17.0).nacf(time), 0.5).relaxation_time == pytest.approx(17.0)
    got = fit_stretched_exponential(StretchedExponential(17.0, 0.7).nacf(time), 0.5)
    assert (got.relaxation_time, got.exponent) == pytest.approx((17.0, 0.7), rel=1e-5)
    assert StretchedExponential(17.0, 0.7).nacf(np.array([0.0, 17.0])) == pytest.approx([1.0, np.exp(-1)])
    one_rate = fit_ornstein_uhlenbeck(StretchedExponential(17.0, 0.7).nacf(time), 0.5)
    assert np.abs(one_rate.nacf(time) - StretchedExponential(17.0, 0.7).nacf(time)).max() > 0.05


def test_a_mode_slower_than_the_lags_is_extrapolated():
    curve = StretchedExponential(400.0).nacf(np.arange(100.0))
    assert fit_ornstein_uhlenbeck(curve, 1.0).relaxation_time == pytest.approx(400.0, rel=1e-5)


@pytest.mark.parametrize("fit", [fit_ornstein_uhlenbeck, fit_stretched_exponential])
def test_rouse_relaxation_times(melts, fit):
    known = rouse_relaxation_time([2, 3], N_BEADS)
    times, exponents = [], []
    for modes, _ in melts:
        nacf = autocorrelation(modes, np.zeros(len(modes), int), 100).nacf
        fits = [fit(nacf[:, mode], DT) for mode in (1, 2)]
        times.append([f.relaxation_time for f in fits])
        exponents.append([f.exponent for f in fits])
    assert_mean_is(times, known, 1.2 * known)
    assert np.all(np.abs(np.mean(exponents, axis=0) - 1.0) < 0.1)


def test_yule_walker_gives_back_an_autoregression():
    rng, a = np.random.default_rng(4), np.array([0.5, 0.3])
    path = np.zeros((1200, 40, 1, 3))
    for t in range(2, len(path)):
        path[t] = a[0] * path[t - 1] + a[1] * path[t - 2] + rng.standard_normal((40, 1, 3))
    halves = [path[200:, 5 * i : 5 * i + 5] for i in range(8)]
    fits = [fit_yule_walker(half, np.zeros(1000, int), 2)[0] for half in halves]
    assert_mean_is([f.coefficients for f in fits], a, 1.1 * a)
    assert_mean_is([f.innovation_variance for f in fits], 1.0, 1.1)


def test_yule_walker_correlation_is_that_of_its_coefficients(melts):
    modes, _ = melts[0]
    model = fit_yule_walker(modes, np.zeros(len(modes), int), 8)[0]
    response = np.zeros(6000)
    response[0] = 1.0
    for t in range(1, len(response)):
        reach = min(t, 8)
        response[t] = model.coefficients[:reach] @ response[t - reach : t][::-1]
    covariance = model.innovation_variance * np.array([response[: 6000 - lag] @ response[lag:] for lag in range(300)])
    np.testing.assert_allclose(model.nacf(300), covariance / model.variance, atol=1e-6)


def test_yule_walker_never_runs_away():
    rng = np.random.default_rng(2)
    walk = np.cumsum(rng.standard_normal((300, 2, 1, 3)), axis=0)
    for segments in (np.zeros(300, int), np.repeat([0, 1], 150)):
        model = fit_yule_walker(walk, segments, 100)[0]
        companion = np.eye(100, k=-1)
        companion[0] = model.coefficients
        assert np.abs(np.linalg.eigvals(companion)).max() < 1.0
        assert model.innovation_variance > 0


def test_generalized_rouse_kernel_of_simulated_processes():
    """Eq. 8 simulated by exact Ornstein-Uhlenbeck steps has the MSD of the record."""
    kernel = GeneralizedRouseKernel(0.3, 0.8, 1.7, 0.4, 6)
    rates = (np.arange(1, 6) / 6) ** 1.7 / 0.4
    rng, dt = np.random.default_rng(5), 1.5
    n_paths = 4000
    z = rng.standard_normal((n_paths, 5)) * np.sqrt(1 / (2 * rates))
    path = np.zeros((9, n_paths))
    start, brownian = z.sum(axis=1), np.zeros(n_paths)
    for step in range(1, 9):
        decay = np.exp(-rates * dt)
        z = decay * z + np.sqrt((1 - decay**2) / (2 * rates)) * rng.standard_normal(z.shape)
        brownian += np.sqrt(2 * 0.3 * dt) * rng.standard_normal(n_paths)
        path[step] = brownian + np.sqrt(0.8) * (z.sum(axis=1) - start)
    squares = path[1:] ** 2
    msd, se = squares.mean(axis=1), squares.std(axis=1) / np.sqrt(n_paths)
    theory = kernel.msd(np.arange(1, 9, dtype=np.float64) * dt)
    assert np.all(np.abs(msd - theory) < 4 * se)
    assert not np.all(np.abs(msd - 1.1 * theory) < 4 * se)


def test_generalized_rouse_kernel_has_its_exponent_and_its_limit():
    for power in (1.5, 2.0, 3.0):
        kernel = GeneralizedRouseKernel(0.0, 1.0, power, 1.0, 4000)
        time = np.geomspace(3e2, 3e3, 5)
        slope = np.polyfit(np.log(time), np.log(kernel.msd(time)), 1)[0]
        assert slope == pytest.approx(kernel.subdiffusive_power, abs=0.04)
    late = GeneralizedRouseKernel(0.2, 1.0, 2.0, 0.1, 10).msd(np.array([1e4, 2e4]))
    assert late[1] - late[0] == pytest.approx(0.4 * 1e4)


def test_generalized_rouse_kernel_is_recovered_from_its_curve():
    time = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128.0])
    kernel = GeneralizedRouseKernel(0.02, 0.05, 2.2, 0.5, 10)
    got = fit_generalized_rouse_kernel(time, kernel.msd(time), 10)
    assert abs(got.D - 0.02) < 2e-5
    assert got.power == pytest.approx(2.2, rel=1e-2)
    free = fit_generalized_rouse_kernel(time, 2 * 0.3 * time, 10)
    assert free.msd(time) == pytest.approx(0.6 * time, rel=1e-6)


def test_msd_estimates_of_rouse_melts(melts):
    known = rouse_diffusion(N_BEADS)
    for estimate in (msd_over_time, msd_slope):
        results = [estimate(moments, DT) for _, moments in melts]
        assert_mean_is([r.value for r in results], known, 1.2 * known)
        scores = np.array([(r.value - known) / r.se for r in results])
        assert 0.5 < np.sqrt((scores**2).mean()) < 1.7


def test_msd_over_time_keeps_what_subdiffusion_left():
    """MSD = 2 D t + c at late times: MSD/(2t) is high by c/(2t), the slope is not."""
    values = []
    for seed in range(12):
        accumulator = MomentAccumulator(N_CHAINS, 0, 128)
        for frame in RouseSource(N_CHAINS, N_BEADS, 1, 800, 1.0, seed, coupling=1.0):
            accumulator.add(frame)
        moments = accumulator.moments()
        values.append([msd_over_time(moments, 1.0).value, msd_slope(moments, 1.0).value])
    known = rouse_diffusion(N_BEADS)
    excess = float(rouse_mode_variance(1, N_BEADS)) / 128
    assert_mean_is(values, [known + excess, known], [known, known])


def test_generalized_rouse_diffusion_of_rouse_melts(melts):
    results = [generalized_rouse_diffusion(moments, DT, N_BEADS) for _, moments in melts]
    values = np.array([r.value for r in results])
    known = rouse_diffusion(N_BEADS)
    se = values.std(ddof=1) / np.sqrt(len(values))
    assert -4 * se - 0.1 * known < values.mean() - known < 4 * se  # A >= 0 biases D low where there is no A
    assert all(r.ci95[0] < r.value < r.ci95[1] for r in results)


@pytest.mark.parametrize("estimator", [msd_over_time, msd_slope])
def test_two_chains_about_their_common_centre_tell_no_error(melts, estimator):
    """Seen from the centre of two, both move alike; of more, errors hold how much chains move together."""
    accumulator = MomentAccumulator(2, 3, MEMORY)
    for frame in RouseSource(2, N_BEADS, 3, 300, DT, 1):
        accumulator.add(frame)
    assert np.isnan(estimator(accumulator.moments(), DT).se)
    moments = melts[0][1]
    alone, together = (estimator(replace(moments, design_effect=effect), DT).se for effect in (1.0, 1.8))
    assert together == pytest.approx(np.sqrt(1.8) * alone)
