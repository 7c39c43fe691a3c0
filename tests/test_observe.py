"""Autocorrelation and normal diffusion against plain sums, Rouse chains and Brownian motion."""

import numpy as np
import pytest

from mlgle_lammps.chains.rouse import RouseSource, rouse_diffusion, rouse_mode_variance, rouse_relaxation_time
from mlgle_lammps.diffusion.slope import normal_diffusion
from mlgle_lammps.evaluate.diagnosis import memory_warnings
from mlgle_lammps.records import Frames, joined
from mlgle_lammps.statistics.correlation import autocorrelation, mode_statistics, relaxation_times
from mlgle_lammps.statistics.moments import MomentAccumulator


def test_fft_equals_the_plain_sum():
    rng = np.random.default_rng(1)
    modes = rng.standard_normal((50, 4, 3, 3))
    segments = np.repeat([0, 2], [30, 20])
    got = autocorrelation(modes, segments, 10)
    for lag in range(10):
        pairs = [t for t in range(50 - lag) if segments[t] == segments[t + lag]]
        plain = np.mean([modes[t] * modes[t + lag] for t in pairs], axis=(0, 1, 3))
        np.testing.assert_allclose(got.nacf[lag] * got.variance, plain, rtol=1e-10, atol=1e-12)


def test_rouse_relaxation_times_and_their_errors():
    dt, n_beads, found = 0.5, 20, []
    for seed in range(12):
        modes = joined(list(RouseSource(20, n_beads, 3, 800, dt, seed))).modes
        found.append(relaxation_times(autocorrelation(modes, np.zeros(800, dtype=np.int64), 400).nacf, dt))
    times = np.array(found, dtype=float)
    known = np.array([rouse_relaxation_time(p, n_beads) for p in (1, 2, 3)]).ravel()
    se = times.std(axis=0, ddof=1) / np.sqrt(len(times))
    assert np.all(np.abs(times.mean(axis=0) - known) < 4 * se)
    assert not np.all(np.abs(times.mean(axis=0) - 1.2 * known) < 4 * se)


def test_relaxation_beyond_the_lags_is_none():
    assert relaxation_times(np.ones((5, 1)), 1.0) == [None]


def long_run(n_frames, seed):
    source = RouseSource(20, 20, 1, n_frames, 1.0, seed, coupling=1.0)
    accumulator = MomentAccumulator(20, 0, n_frames // 4)
    for frame in source:
        accumulator.add(frame)
    return accumulator.moments()


def test_normal_diffusion_after_subdiffusion():
    estimates = [normal_diffusion(long_run(1500, seed), 1.0, 14.0) for seed in range(12)]
    assert all(estimate is not None for estimate in estimates)
    scores = np.array([(e.value - rouse_diffusion(20)) / e.se for e in estimates if e is not None])
    assert abs(scores.mean()) < 4 / np.sqrt(12)
    assert 0.4 < scores.std(ddof=1) < 2.0


def test_no_diffusive_window_yet_is_refused():
    assert normal_diffusion(long_run(40, 1), 1.0, 14.0) is None


def test_brownian_limit():
    rng = np.random.default_rng(3)
    accumulator = MomentAccumulator(30, 0, 250)
    path = np.cumsum(rng.standard_normal((1000, 30, 3)), axis=0)
    for step, com in enumerate(path):
        accumulator.add(Frames.single(step, 0, com, None))
    estimate = normal_diffusion(accumulator.moments(), 2.0)
    assert estimate is not None
    assert abs(estimate.value - 0.25) < 4 * estimate.se
    assert estimate.se < 0.1 * 0.25
    assert estimate.value == pytest.approx(0.25, rel=0.2)


def test_mode_statistics_hold_the_rouse_values_within_their_errors():
    frames = joined(list(RouseSource(30, 20, 4, 1200, 0.5, seed=2))).modes
    found = mode_statistics(autocorrelation(frames, np.zeros(1200, dtype=np.int64), 400), 0.5)
    p = np.arange(1, 5)
    times, variances = rouse_relaxation_time(p, 20), rouse_mode_variance(p, 20)
    time_scores = (np.array(found.relaxation_time) - times) / np.array(found.relaxation_time_se)
    variance_scores = (np.array(found.variance) - variances) / np.array(found.variance_se)
    assert np.abs(np.concatenate([time_scores, variance_scores])).max() < 4
    assert np.abs((np.array(found.relaxation_time) - 1.2 * times) / np.array(found.relaxation_time_se)).max() > 4
    assert np.abs((np.array(found.variance) - 1.2 * variances) / np.array(found.variance_se)).max() > 4


def test_fast_exponential_is_read_exactly_between_lags():
    tau = 1.23
    nacf = np.exp(-np.arange(20.0) / tau)[:, None]
    assert relaxation_times(nacf, 0.5)[0] == pytest.approx(0.5 * tau, rel=1e-12)


def test_relaxation_within_a_frame_does_not_hang_on_the_sign_of_noise():
    above, below = (relaxation_times(np.array([[1.0], [noise]]), 1.0)[0] for noise in (0.002, -0.002))
    assert above == below == pytest.approx(1 / np.log(100))


@pytest.mark.parametrize(("dt", "warned"), [(0.05, True), (1.0, False)])
def test_memory_too_short_for_mode_1_is_warned_of_even_at_m_plus_1_frames(dt, warned):
    accumulator = MomentAccumulator(30, 2, 16)
    for frame in RouseSource(30, 20, 2, 17, dt, seed=1):
        accumulator.add(frame)
    assert bool(memory_warnings(accumulator.moments())) == warned


@pytest.mark.parametrize("longest", [5, 40, 300])
def test_frames_added_together_give_the_moments_of_frames_added_one_by_one(longest):
    path = np.random.default_rng(9).standard_normal((437, 6, 3)).cumsum(axis=0) + 50.0
    single, together = MomentAccumulator(6, 0, longest, 4), MomentAccumulator(6, 0, longest, 4)
    for step, com in enumerate(path):
        single.add(Frames.single(step, 0, com, None))
    for piece in (path[:1], path[1:60], path[60:61], path[61:]):
        together.add_centers(piece, at_once=50)
    for name, value in vars(single.moments()).items():
        if value is None:
            assert getattr(together.moments(), name) is None
            continue
        np.testing.assert_allclose(getattr(together.moments(), name), value, rtol=1e-10, err_msg=name)
