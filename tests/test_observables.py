"""Observables against plain sums, exact results and processes whose answer is known."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlgle_lammps.chains.mode_basis import linear_basis
from mlgle_lammps.chains.rouse import RouseSource, rouse_diffusion, rouse_mode_variance, rouse_relaxation_time
from mlgle_lammps.diffusion.slope import mean_over_time, normal_diffusion
from mlgle_lammps.evaluate.agreement import cost_at_equal_error, z_score
from mlgle_lammps.evaluate.observables import observe
from mlgle_lammps.evaluate.trajectories import read_trajectory
from mlgle_lammps.observe.chain_size import end_to_end, squared_gyration
from mlgle_lammps.observe.distributions import DistributionGatherer
from mlgle_lammps.observe.exponent import anomalous_exponent
from mlgle_lammps.observe.temperature import NotDetermined, fit_arrhenius, fit_vogel
from mlgle_lammps.records import Estimate, Frames, joined
from mlgle_lammps.statistics.correlation import autocorrelation
from mlgle_lammps.statistics.displacements import mean_squared_displacements
from mlgle_lammps.statistics.moments import MomentAccumulator
from mlgle_lammps.store.writer import FramesWriter


def plain_msd(path, segments, lag):
    pairs = segments[lag:] == segments[: len(segments) - lag]
    return ((path[lag:] - path[: len(path) - lag])[pairs] ** 2).sum(axis=2).mean(axis=0)


def walk(n_frames, n_chains, seed, drift=0.0, offset=0.0):
    steps = np.random.default_rng(seed).standard_normal((n_frames, n_chains, 3))
    return np.cumsum(steps + drift, axis=0) + offset


@pytest.mark.parametrize(("drift", "offset"), [(0.0, 0.0), (1.0, 0.0), (-0.3, 1e5), (30.0, 0.0)])
def test_fft_displacements_equal_the_plain_sum_over_long_and_drifting_walks(drift, offset):
    path, segments = walk(100_000, 2, 1, drift, offset), np.zeros(100_000, dtype=int)
    got = mean_squared_displacements(path, segments, 60_000)
    assert got.shape == (60_000, 2)
    for lag in (1, 2, 7, 100, 5_000, 59_999):
        np.testing.assert_allclose(got[lag], plain_msd(path, segments, lag), rtol=1e-10)
    assert np.all(got[0] == 0)


def test_fft_displacements_cross_no_seam():
    path, segments = walk(900, 5, 2), np.repeat([0, 3, 4], [500, 100, 300])
    path[500:600] += 1000.0  # a jump that any pair across the seam would show
    got = mean_squared_displacements(path, segments, 2000)
    assert len(got) == 500
    for lag in (1, 50, 99, 100, 250, 400, 499):
        np.testing.assert_allclose(got[lag], plain_msd(path, segments, lag), rtol=1e-10)


def test_fft_autocorrelation_equals_the_plain_sum_on_a_long_record():
    rng = np.random.default_rng(3)
    z = np.empty((50_000, 2, 2, 3))
    z[0] = rng.standard_normal((2, 2, 3))
    for t in range(1, len(z)):
        z[t] = 0.999 * z[t - 1] + rng.standard_normal((2, 2, 3))
    got = autocorrelation(z, np.zeros(len(z), dtype=int), 2000)
    for lag in (0, 1, 10, 100, 500):
        plain = np.einsum("tcmx,tcmx->m", z[lag:], z[: len(z) - lag]) / (6 * (len(z) - lag))
        np.testing.assert_allclose(got.nacf[lag] * got.variance, plain, rtol=1e-10)


def test_the_exponent_of_a_power_law_is_exact():
    lags = np.array([2, 3, 10, 100, 500])
    msd = 3.0 * np.arange(1000.0) ** 0.7
    found = anomalous_exponent(np.stack([msd, 2 * msd]), lags)
    np.testing.assert_allclose(found.value, 0.7, rtol=1e-12)
    np.testing.assert_allclose(found.se, 0.0, atol=1e-12)


def test_the_exponent_of_brownian_motion_is_one_within_its_error():
    lags = np.array([2, 4, 16, 64])
    found_scores = []
    for seed in range(8):
        msd = mean_squared_displacements(walk(3000, 20, seed), np.zeros(3000, dtype=int), 200)
        found = anomalous_exponent(msd.T, lags)
        found_scores.append((found.value - 1) / found.se)
        assert np.all(np.abs(found.value - 0.8) > 4 * found.se)
    scores = np.array(found_scores)
    assert np.all(np.abs(scores.mean(axis=0)) < 4 / np.sqrt(8))
    assert np.all((scores.std(axis=0, ddof=1) > 0.3) & (scores.std(axis=0, ddof=1) < 2.5))


def gathered(draw, n_groups=20, n=20_000):
    gatherer = DistributionGatherer()
    for _ in range(n_groups):
        gatherer.add(draw(n))
    return gatherer.distribution()


@pytest.mark.parametrize(
    ("draw", "std", "kurtosis"),
    [
        (lambda rng, n: rng.normal(0.3, 2.0, n), 2.0, 0.0),
        (lambda rng, n: rng.uniform(-1, 1, n), 1 / np.sqrt(3), -1.2),
        (lambda rng, n: rng.laplace(0, 1, n), np.sqrt(2), 3.0),
    ],
)
def test_distributions_have_the_width_and_kurtosis_of_what_was_drawn(draw, std, kurtosis):
    rng = np.random.default_rng(4)
    found = gathered(lambda n: draw(rng, n))
    value, se = found.excess_kurtosis
    assert found.std == pytest.approx(std, rel=0.01)
    assert abs(value - kurtosis) < 4 * se
    assert abs(value - (kurtosis + 0.5)) > 4 * se
    x, density, _ = found.density(std)
    assert (density * (x[1] - x[0])).sum() == pytest.approx(1.0, abs=1e-3)


def test_a_normal_probability_plot_is_straight_for_a_normal_only():
    rng = np.random.default_rng(5)
    normal, quantiles = gathered(lambda n: rng.normal(1.0, 3.0, n)).normal_probability()
    assert np.abs(quantiles - normal)[np.abs(normal) < 3].max() < 0.04
    normal, quantiles = gathered(lambda n: rng.uniform(-1, 1, n)).normal_probability()
    assert np.abs(quantiles - normal)[np.abs(normal) < 3].max() > 0.5


def test_all_modes_give_the_size_of_the_chain_exactly():
    beads = np.cumsum(np.random.default_rng(6).standard_normal((4, 9, 3)), axis=1)
    n, j = np.arange(9), np.arange(1, 9)
    modes = np.einsum("cnx,jn->cjx", beads, np.cos(np.pi * j[:, None] * (n + 0.5) / 9)) / 9
    np.testing.assert_allclose(end_to_end(modes, 9), beads[:, -1] - beads[:, 0], atol=1e-12)
    radius = ((beads - beads.mean(axis=1, keepdims=True)) ** 2).sum(axis=2).mean(axis=1)
    np.testing.assert_allclose(squared_gyration(modes), radius, rtol=1e-12)


def moments_of(path, lag):
    accumulator = MomentAccumulator(path.shape[1], 0, lag, 4)
    for step, com in enumerate(path):
        accumulator.add(Frames.single(step, 0, com, None))
    return accumulator.moments()


def test_equation_35_agrees_with_the_slope_for_brownian_motion():
    moments = moments_of(walk(2000, 30, 7), 500)
    mean, slope = mean_over_time(moments, 2.0), normal_diffusion(moments, 2.0)
    assert mean is not None
    assert slope is not None
    assert abs(mean.value - 0.25) < 4 * mean.se
    assert mean.se < 0.1 * 0.25
    assert mean.method.split("lags")[1] == slope.method.split("lags")[1]
    assert "eq. 35" in mean.method


def test_equation_35_is_too_large_after_subdiffusion_and_refused_before_diffusion():
    source = RouseSource(20, 20, 1, 3000, 1.0, 8, coupling=3.0)
    moments = moments_of(joined(list(source)).com, 750)
    mean, slope = mean_over_time(moments, 1.0, 14.0), normal_diffusion(moments, 1.0, 14.0)
    assert mean is not None
    assert slope is not None
    assert mean.value > slope.value
    assert mean_over_time(moments_of(walk(30, 5, 9), 7), 1.0) is None


T = np.array([300.0, 320.0, 340.0, 370.0, 400.0, 450.0])


def test_two_temperatures_give_the_activation_energy_in_closed_form():
    D, se = np.array([1e-6, 3e-6]), np.array([1e-7, 2e-7])
    fit = fit_arrhenius(np.array([300.0, 400.0]), D, se)
    slope = 1 / 300 - 1 / 400
    assert fit.activation == pytest.approx(np.log(3) / slope, rel=1e-10)
    assert fit.activation_se == pytest.approx(np.hypot(0.1, 2 / 30) / slope, rel=1e-10)
    value, error = fit.D(np.array([300.0, 400.0]))
    np.testing.assert_allclose(value, D, rtol=1e-10)
    np.testing.assert_allclose(error, se, rtol=1e-10)
    assert fit.dof == 0


def test_arrhenius_errors_are_the_scatter_of_repeated_fits():
    rng, truth = np.random.default_rng(10), 1e-3 * np.exp(-1500 / T)
    fits = [fit_arrhenius(T, truth * np.exp(0.05 * rng.standard_normal(6)), 0.05 * truth) for _ in range(400)]
    scores = np.array([(fit.activation - 1500) / fit.activation_se for fit in fits])
    assert abs(scores.mean()) < 4 / 20
    assert abs(scores.std(ddof=1) - 1) < 4 / np.sqrt(800)
    assert abs(np.mean([(fit.activation - 1650) / fit.activation_se for fit in fits])) > 4 / 20
    assert abs(np.mean([fit.chi2 for fit in fits]) - 4) < 4 * np.sqrt(8 / 400)


def test_vogel_finds_its_parameters_and_refuses_what_the_data_leave_open():
    truth = 1e-2 * np.exp(-600 / (T - 200))
    fit = fit_vogel(T, truth, 1e-3 * truth)
    np.testing.assert_allclose([fit.B, fit.T0], [600, 200], rtol=1e-4)
    np.testing.assert_allclose(fit.D(T), truth, rtol=1e-6)
    with pytest.raises(NotDetermined, match="4 temperatures; the fit needs 5"):
        fit_vogel(T[:4], truth[:4], 1e-3 * truth[:4])
    arrhenius = np.exp(-1500 / T)
    with pytest.raises(NotDetermined, match="open"):
        fit_vogel(T, arrhenius, 0.1 * arrhenius)
    with pytest.raises(NotDetermined, match="above 0"):
        fit_arrhenius(T, -truth, truth)


def test_cost_at_equal_error():
    fit, plain = Estimate(1.1, 0.1, (0.9, 1.3), ""), Estimate(1.0, 0.2, (0.6, 1.4), "")
    assert z_score(fit, plain) == pytest.approx(0.1 / np.hypot(0.1, 0.2))
    cost = cost_at_equal_error(fit, 500, plain, 1000, 2.0, 100.0)
    assert (cost.plain_frames, cost.speed_up) == (pytest.approx(4000), pytest.approx(8))
    assert cost.speed_up_with_learning == pytest.approx(8000 / 1100)
    assert cost_at_equal_error(plain, 1000, plain, 1000, None, 1.0).speed_up == 1
    assert cost_at_equal_error(plain, 1000, plain, 1000, None, 1.0).speed_up_with_learning is None


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    source = RouseSource(24, 20, 4, 300, 1.0, 11)
    frames = joined(list(source))
    path = tmp_path_factory.mktemp("trajectory") / "modes.h5"
    com, modes = frames.com, frames.modes
    drifting = Frames.of_chains(frames.steps, frames.segments, com + np.arange(300)[:, None, None] * 0.5, modes)
    with FramesWriter(path, source.system) as writer:
        writer.append(drifting[:200])
        writer.append(drifting[200:].first_modes(0))
    return path, com, modes


def test_a_trajectory_gives_all_chains_without_the_drift(recording):
    path, com, modes = recording
    whole = read_trajectory(path)
    assert (whole.n_frames, whole.n_mode_frames) == (300, 200)
    groups = list(whole.groups())
    own = com - com.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(np.concatenate([g.com for g in groups], axis=1), own, atol=1e-10)
    np.testing.assert_array_equal(np.concatenate([g.modes for g in groups], axis=1), modes[:200])
    assert len(groups) == 20
    part = read_trajectory(path, 150, 250)
    assert (part.n_frames, part.n_mode_frames, part.start) == (100, 50, 150)
    np.testing.assert_array_equal(part.window().modes, modes[150:200])
    assert [sum(len(block) for block in part.frames(k)) for k in (0, 4)] == [100, 50]


def test_reading_few_chains_at_a_time_changes_nothing(recording, monkeypatch):
    path = recording[0]
    at_once = observe(read_trajectory(path), (1, 8))
    monkeypatch.setattr("mlgle_lammps.evaluate.trajectories._BYTES_AT_ONCE", 1)
    one_by_one = observe(read_trajectory(path), (1, 8))
    np.testing.assert_array_equal(at_once.msd, one_by_one.msd)
    assert at_once.correlation is not None
    assert one_by_one.correlation is not None
    np.testing.assert_array_equal(at_once.correlation.nacf, one_by_one.correlation.nacf)
    assert at_once.displacements[8].excess_kurtosis == one_by_one.displacements[8].excess_kurtosis


def test_observables_of_rouse_chains(recording):
    path, com, _ = recording
    found = observe(read_trajectory(path), (1, 8, 10_000))
    own = com - com.mean(axis=1, keepdims=True)
    share = 24 / 23  # the centre of mass of Rouse chains diffuses
    assert found.msd[8] == pytest.approx(share * plain_msd(own, np.zeros(300), 8).mean(), rel=1e-9)
    assert set(found.displacements) == {1, 8}
    assert set(found.modes) == {1, 2}
    for p, distribution in found.modes.items():
        value, se = distribution.excess_kurtosis
        assert abs(value) < 4 * se
        assert distribution.std == pytest.approx(np.sqrt(rouse_mode_variance(p, 20)), rel=0.2)
    assert found.size is not None
    assert found.size.missing == pytest.approx(0.12, abs=0.02)
    expected = 6 * rouse_mode_variance(np.arange(1, 5), 20).sum()
    assert abs(found.size.gyration - expected) < 4 * found.size.gyration_se


def test_curves_of_rouse_chains_are_the_exact_ones(tmp_path):
    n_chains, n_beads, k, n_frames = 60, 20, 4, 1500
    source = RouseSource(n_chains, n_beads, k, n_frames, 4.0, 12)
    with FramesWriter(tmp_path / "modes.h5", source.system) as writer:
        writer.append(joined(list(source)))
    found = observe(read_trajectory(tmp_path / "modes.h5")).curves
    modes = np.arange(1, k + 1)
    assert found is not None
    variance = rouse_mode_variance(modes, n_beads)
    weights = np.where(modes % 2, np.cos(modes * np.pi / (2 * n_beads)) ** 2, 0.0) * variance
    basis = linear_basis(n_beads).vectors[:k, (n_beads - 5) // 2 :][:, :5]
    middle = 12 * n_beads * variance * (basis**2).mean(axis=1)

    def exact(friction):
        nacf = np.exp(-found.time[:, None] / rouse_relaxation_time(modes, n_beads, friction=friction))
        g2, g3 = (1 - nacf) @ middle, 6 * rouse_diffusion(n_beads, friction) * found.time
        gyration = nacf**2 @ variance**2 / np.sum(variance**2)
        return {"g1": g2 + g3, "g2": g2, "g3": g3, "ends": nacf @ weights / weights.sum(), "gyration": gyration}

    def distance(name, friction):
        curve = getattr(found, name)
        return np.abs(curve.value - exact(friction)[name])[1:] / curve.se[1:]

    assert found.time[-1] > 300 * 4.0
    for name in ("g1", "g2", "g3", "ends", "gyration"):
        assert np.max(distance(name, 1.0)) < 4, name
        if name != "gyration":
            assert np.max(distance(name, 1.1)) > 4, name


@pytest.mark.parametrize("kept", [0, 6])
def test_frames_without_modes_and_short_ones_have_no_curves(tmp_path, kept):
    source = RouseSource(10, 12, 3, 40, 1.0, 1)
    frames = joined(list(source))
    with FramesWriter(tmp_path / "modes.h5", source.system) as writer:
        if kept:
            writer.append(frames[:kept])
        writer.append(frames[kept:].first_modes(0))
    assert observe(read_trajectory(tmp_path / "modes.h5")).curves is None


@pytest.mark.slow
def test_memory_stays_bounded_for_a_hundred_thousand_frames(tmp_path):
    """10^5 frames x 100 chains x (centre of mass + 12 modes), 1.7 GB on disk, in less than 4 GiB."""
    script = """
import resource, sys
from pathlib import Path
import numpy as np
from mlgle_lammps.store.writer import FramesWriter
from mlgle_lammps.records import Frames, System
path, n, chains = Path(sys.argv[1]), 100_000, 100
if sys.argv[2] == "write":
    rng, com = np.random.default_rng(1), np.zeros((chains, 3))
    with FramesWriter(path, System(chains, 100, 12, 1.0), np.float32) as writer:
        for start in range(0, n, 500):
            path_piece = com + np.cumsum(rng.standard_normal((500, chains, 3)), axis=0)
            modes = rng.standard_normal((500, chains, 12, 3), dtype=np.float32)
            steps = np.arange(start, start + 500)
            writer.append(Frames.of_chains(steps, np.zeros(500, int), path_piece, modes))
            com = path_piece[-1]
else:
    from mlgle_lammps.evaluate.observables import observe
    from mlgle_lammps.evaluate.trajectories import read_trajectory
    found = observe(read_trajectory(path), (1, 128))
    assert abs(found.msd[1] / 3 - 1) < 0.01 and len(found.msd) == 25_001 and len(found.correlation.nacf) == 50_000
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    path = Path(tmp_path) / "modes.h5"
    subprocess.run([sys.executable, "-c", script, str(path), "write"], check=True)
    done = subprocess.run([sys.executable, "-c", script, str(path), "read"], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 4 * 2**20  # KiB
