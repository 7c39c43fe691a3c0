"""Standard errors by leaving out: one jackknife, for equal groups and others, against errors that are known."""

import numpy as np
import pytest
from scipy import stats

from mlgle_lammps.diffusion.slope import normal_diffusion
from mlgle_lammps.evaluate.judgement import judge
from mlgle_lammps.evaluate.mode_differences import mode_differences
from mlgle_lammps.evaluate.stream_statistics import power_sums, summarize_modes
from mlgle_lammps.observe.exponent import anomalous_exponent
from mlgle_lammps.records import Estimate, Frames
from mlgle_lammps.statistics.correlation import autocorrelation, chain_groups, mode_statistics, relaxation_times
from mlgle_lammps.statistics.errors import (
    freedom_of,
    half_width,
    interval_factor,
    jackknife_error,
    joint_freedom,
    left_out_means,
    student_estimate,
)
from mlgle_lammps.statistics.moments import MomentAccumulator

UNEQUAL = np.array([1, 1, 1, 9])


def group_means(x, sizes):
    ends = np.cumsum(sizes)
    return np.array([x[end - n : end].mean(axis=0) for n, end in zip(sizes, ends, strict=True)])


def test_the_jackknife_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(1).normal(size=(30, 4))
    known = x.std(axis=0, ddof=1) / np.sqrt(30)
    np.testing.assert_allclose(jackknife_error(left_out_means(x)), known, rtol=1e-12)
    np.testing.assert_allclose(jackknife_error(left_out_means(x), np.full(30, 7), x.mean(axis=0)), known, rtol=1e-12)


def test_means_without_a_group_are_those_of_all_other_units():
    x = np.random.default_rng(2).normal(size=(12, 3))
    found = left_out_means(group_means(x, UNEQUAL), UNEQUAL)
    ends = np.cumsum(UNEQUAL)
    for i, end in enumerate(ends):
        np.testing.assert_allclose(found[i], np.delete(x, np.s_[end - UNEQUAL[i] : end], axis=0).mean(axis=0))


@pytest.mark.parametrize("sizes", [np.array([3, 3, 3, 3]), UNEQUAL, np.array([3, 3, 2, 2, 2])])
def test_the_squared_error_is_the_variance_whatever_the_groups(sizes):
    """Of 4000 means of normal numbers; the formula for equal groups is far off where groups are not."""
    x = np.random.default_rng(3).normal(size=(int(sizes.sum()), 4000))
    means = group_means(x, sizes)
    left = left_out_means(means, sizes)
    squares = jackknife_error(left, sizes, x.mean(axis=0)) ** 2
    known = 1.0 / sizes.sum()
    assert abs(squares.mean() - known) < 4 * squares.std() / np.sqrt(4000) + 0.02 * known
    if np.ptp(sizes) > 5:
        plain = jackknife_error(left) ** 2
        assert abs(plain.mean() - known) > 0.5 * known


def test_groups_of_different_sizes_need_the_whole():
    with pytest.raises(ValueError, match="needs the statistic of them all"):
        jackknife_error(np.ones(4), UNEQUAL)


def test_one_group_has_no_error():
    assert np.isnan(jackknife_error(left_out_means(np.ones(1))))
    assert np.isnan(jackknife_error(left_out_means(np.ones((1, 3))))).all()


def test_students_factor_comes_back():
    estimate = student_estimate(2.0, 0.5, 7, "")
    assert interval_factor(estimate) == pytest.approx(stats.t.ppf(0.975, 7))
    assert half_width(estimate) == pytest.approx(0.5 * stats.t.ppf(0.975, 7))
    assert interval_factor(Estimate(1.0, 0.0, (1.0, 1.0), "")) == 1.96


def relaxing(n_chains, seed, n_time=400, a=0.8):
    """Return stationary AR(1) modes, (time, chain, 2, 3), of variances 1 and 4."""
    rng = np.random.default_rng(seed)
    x = np.empty((n_time, n_chains, 2, 3))
    x[0] = rng.normal(size=x.shape[1:])
    for t in range(1, n_time):
        x[t] = a * x[t - 1] + np.sqrt(1 - a * a) * rng.normal(size=x.shape[1:])
    return x * np.array([1.0, 2.0])[:, None]


@pytest.mark.parametrize("n_chains", [40, 50])
def test_modes_of_unequal_groups_have_the_errors_that_their_scatter_shows(n_chains):
    """50 chains are ten groups of three and ten of two."""
    assert len({len(chains) for chains in chain_groups(n_chains)}) == (1 if n_chains == 40 else 2)
    segments = np.zeros(400, dtype=np.int64)
    found = [mode_statistics(autocorrelation(relaxing(n_chains, seed), segments, 40), 1.0) for seed in range(60)]
    for value, error, known in (
        ("variance", "variance_se", np.array([1.0, 4.0])),
        ("relaxation_time", "relaxation_time_se", np.full(2, -1 / np.log(0.8))),
    ):
        z = (np.array([getattr(f, value) for f in found]) - known) / np.array([getattr(f, error) for f in found])
        assert 60 * 2 * 0.5 < (z**2).sum() < 60 * 2 * 1.8, value


def test_a_mode_that_does_not_move_has_no_relaxation_time():
    modes = relaxing(12, 1, n_time=60)
    modes[:, :, 1] = 0.0
    with np.errstate(all="raise"):
        correlation = autocorrelation(modes, np.zeros(60, dtype=np.int64), 20)
        found = mode_statistics(correlation, 0.5)
        alone = mode_statistics(autocorrelation(modes[:, :1], np.zeros(60, dtype=np.int64), 20), 0.5)
    first, error = found.relaxation_time[0], found.relaxation_time_se[0]
    assert first is not None
    assert first > 0
    assert error is not None
    assert error > 0
    assert found.relaxation_time[1] is None
    assert found.relaxation_time_se[1] is None
    assert found.variance[1] == found.variance_se[1] == 0
    assert alone.relaxation_time[1] is None
    assert alone.relaxation_time_se == (None, None)
    assert relaxation_times(np.array([[1.0, 0.0], [0.1, 0.0]]), 1.0)[1] is None


def test_the_exponent_weighs_chains_and_not_groups():
    """One chain that flies beside eight that diffuse, in groups of one and of eight."""
    t = np.arange(40.0)
    curves = np.stack([t**2, t])
    lags = np.array([8])
    weighted = anomalous_exponent(curves, lags, sizes=np.array([1, 8])).value[0]
    single = anomalous_exponent(np.stack([t**2, *[t] * 8]), lags).value[0]
    assert weighted == pytest.approx(single, rel=1e-12)
    assert abs(anomalous_exponent(curves, lags).value[0] - single) > 0.1


def test_a_trajectory_too_rough_for_a_covariance_has_no_slope():
    """One short trajectory, whose MSD is that of no Gaussian process; a long one has a D."""
    step = np.random.default_rng(7).normal(size=(200, 1, 3))
    step[::2] = -step[1::2]  # back and forth: the MSD jumps between even and odd lags
    accumulator = MomentAccumulator(1, 0, 50, 4, True)
    for t, com in enumerate(np.cumsum(step, axis=0)):
        accumulator.add(Frames.single(t, 0, com, None))
    assert normal_diffusion(accumulator.moments(), 1.0) is None


def test_a_mode_at_rest_is_nothing_to_hold_another_against():
    def summary(scale):
        modes = relaxing(12, 3, n_time=100) * np.array([1.0, scale])[:, None]
        segments = np.zeros(100, dtype=np.int64)
        return summarize_modes(power_sums(modes), autocorrelation(modes, segments, 30), segments)

    with np.errstate(all="raise"):
        found = judge(mode_differences(summary(1e-6), summary(0.0)))
        rest = summary(0.0)
    assert not found.variance.off[1]
    assert not found.nacf.off[1]
    assert not found.kurtosis.off[1]
    assert np.isnan([found.variance.deviation[1], found.nacf.deviation[1], found.kurtosis.deviation[1]]).all()
    assert np.isfinite([found.variance.deviation[0], found.nacf.deviation[0], found.kurtosis.deviation[0]]).all()
    assert np.isnan(rest.kurtosis[1])
    assert rest.kurtosis[0] == pytest.approx(3.0, abs=0.5)


@pytest.mark.parametrize("dof", [2.0, 5.0, 19.0])
def test_degrees_of_freedom_come_back_and_add_up(dof):
    assert freedom_of(student_estimate(3.0, 0.2, dof, "")) == pytest.approx(dof, rel=1e-3)
    assert joint_freedom(np.array([0.3]), np.array([dof])) == pytest.approx(dof)
    assert joint_freedom(np.full(4, 0.3), np.full(4, dof)) == pytest.approx(4 * dof)
    assert joint_freedom(np.array([1.0, 1e-3]), np.array([dof, 2.0])) == pytest.approx(dof, rel=1e-3)


def test_normal_and_broken_intervals_have_freedom_too():
    assert freedom_of(Estimate(1.0, 0.1, (1 - 0.196, 1 + 0.196), "")) > 1e4
    assert freedom_of(Estimate(1.0, 0.1, (-9.0, 11.0), "")) == 1.0
    assert joint_freedom(np.ones(2), np.full(2, np.inf)) > 1e9
