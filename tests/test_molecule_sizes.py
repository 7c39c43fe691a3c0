"""Series of one number with errors, sizes of molecules from beads, and scores against a reference."""

import numpy as np
import pytest

from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.molecule_sizes import emd, geometric_mean, size_difference, squared_radii
from mlgle_lammps.evaluate.parity import best_r2, composition_fit, composition_predictions, mean_scores, scores
from mlgle_lammps.observe.bead_structure import along_the_chain, contact_map, inner_distances, squared_gyration_of
from mlgle_lammps.records import CHAINS, Estimate, Frames
from mlgle_lammps.statistics.series import Series, relaxation_time

pytestmark = pytest.mark.light


def autoregressive(n, n_series, tau, seed, mean=10.0, std=2.0):
    """Exact: mean, standard deviation, and a relaxation to 1/e in ``tau`` frames."""
    random, a = np.random.default_rng(seed), np.exp(-1.0 / tau)
    x = np.empty((n, n_series))
    x[0] = random.standard_normal(n_series)
    for t in range(1, n):
        x[t] = a * x[t - 1] + np.sqrt(1 - a**2) * random.standard_normal(n_series)
    return mean + std * x


def known(value, se):
    return Estimate(value, se, (value - 1.96 * se, value + 1.96 * se), "")


def test_means_errors_and_times_are_those_of_the_process():
    tau, n = 25.0, 4000
    found = [Series.of(x[:, None], 0.5) for x in autoregressive(n, 60, tau, 3).T]
    means = np.array([own.mean().value for own in found])
    errors = np.array([own.mean().se for own in found])
    exact = 2.0 * np.sqrt(2 * tau / n)  # for tau of many frames
    assert abs(means.mean() - 10.0) < 4 * exact / np.sqrt(60)
    assert 0.85 < errors.mean() / exact < 1.1
    assert 0.75 < np.std(means) / errors.mean() < 1.3  # the error is that of the scatter
    times = [time for own in found if (time := own.relaxation()) is not None]
    assert len(times) == len(found)
    values = np.array([own.value for own in times])
    assert abs(values.mean() - tau * 0.5) < 4 * values.std() / np.sqrt(60) + 0.06 * tau * 0.5
    assert 0.5 < np.median([own.se for own in times]) / values.std() < 1.7
    fluctuations = np.array([own.fluctuation().value for own in found])
    assert abs(fluctuations.mean() - 2.0) < 0.05
    assert 0.6 < np.median([own.fluctuation().se for own in found]) / fluctuations.std() < 1.5


def test_errors_of_white_noise_and_of_trajectories_together():
    x = autoregressive(500, 8, 0.01, 4)
    whole = Series.of(x, 1.0)
    assert whole.mean().se == pytest.approx(2.0 / np.sqrt(4000), rel=0.15)
    slow = Series.of(autoregressive(500, 8, 20.0, 4), 1.0)
    assert slow.mean().se > 4 * whole.mean().se  # which errors of uncorrelated frames would not see


def test_segments_are_not_joined():
    x = autoregressive(400, 1, 30.0, 5)
    parts = Series.of(np.concatenate([x, x + 100.0]), 1.0, np.repeat([0, 7], 400))
    assert [len(piece) for piece in parts.pieces] == [400, 400]
    assert relaxation_time(np.exp(-np.arange(50) / 8.0), 0.5) == pytest.approx(4.0, rel=0.01)
    assert relaxation_time(np.ones(50), 0.5) is None


def test_a_motionless_quantity_has_a_mean_and_no_time():
    still = Series.of(np.full((100, 2), 3.0), 1.0)
    assert still.mean().value == 3.0
    assert still.mean().se == 0.0
    assert still.relaxation() is None


def test_sizes_and_distances_of_ideal_chains():
    random = np.random.default_rng(6)
    beads = np.cumsum(random.standard_normal((3000, 2, 20, 3)) / np.sqrt(3), axis=2)  # b = 1
    gyration = squared_gyration_of(beads)
    exact = (20**2 - 1) / (6 * 20)  # (N² - 1) b²/(6 N)
    assert abs(gyration.mean() - exact) < 4 * gyration.std() / np.sqrt(gyration.size)
    np.testing.assert_allclose(along_the_chain(inner_distances(beads)).mean(axis=0), np.arange(1, 20), rtol=0.08)
    pair = np.zeros((1, 1, 2, 3))
    pair[0, 0, 1, 2] = 3.0
    assert squared_gyration_of(pair)[0, 0] == pytest.approx(9.0 / 4)
    assert squared_gyration_of(pair, [3.0, 1.0])[0, 0] == pytest.approx(9.0 * 3 / 16)
    np.testing.assert_array_equal(contact_map(pair, 3.1), np.ones((1, 2, 2)))
    np.testing.assert_array_equal(contact_map(pair, 2.9)[0], np.eye(2))
    moved = beads + random.standard_normal((3000, 2, 1, 3)) * 50
    np.testing.assert_allclose(squared_gyration_of(moved), gyration, rtol=1e-6)


def test_frames_say_their_sizes_or_have_beads():
    steps = np.arange(2)
    beads = np.random.default_rng(7).standard_normal((2, 3, 5, 3)).astype(np.float32)
    com = np.zeros((2, 3, 3))
    frames = Frames(steps, steps * 0, {CHAINS: {"com": com, "beads": beads}})
    np.testing.assert_allclose(squared_radii(frames), squared_gyration_of(beads))
    told = Frames(steps, steps * 0, {CHAINS: {"com": com, "beads": beads, "rg2": np.full((2, 3, 1), 5.0)}})
    np.testing.assert_array_equal(squared_radii(told), np.full((2, 3), 5.0))
    with pytest.raises(UserError, match="neither beads nor Rg2"):
        squared_radii(Frames(steps, steps * 0, {CHAINS: {"com": com}}))


def test_alike_series_agree_and_others_do_not():
    md, same = (Series.of(autoregressive(8000, 1, 20.0, seed), 1.0) for seed in (1, 2))
    found = size_difference(same, md)
    assert abs(found.fluctuation_ratio.value - 1) < 4 * found.fluctuation_ratio.se
    assert found.relaxation_ratio is not None
    assert abs(found.relaxation_ratio.value - 1) < 4 * found.relaxation_ratio.se
    narrow = size_difference(Series.of(autoregressive(8000, 1, 60.0, 3, 12.0, 1.0), 1.0), md)
    assert narrow.fluctuation_ratio.value < 0.6
    assert narrow.relaxation_ratio is not None
    assert narrow.relaxation_ratio.value > 2
    assert narrow.distance > 1.8
    assert emd(md, md) == 0.0
    assert geometric_mean([known(0.5, 0.1), known(2.0, 0.1), None]) == pytest.approx((1.0, np.log(2.0)), rel=1e-6)


def test_scores_about_the_line_of_parity():
    random = np.random.default_rng(8)
    truth = random.uniform(10, 50, 40)
    reference = [known(value + random.normal(0, 2.0), 2.0) for value in truth]
    exact = scores(reference, truth)
    limit = best_r2(reference)
    assert abs(exact.r2 - limit) < 4 * exact.r2_se
    assert exact.r2 < exact.r2_corrected <= 1.0
    assert abs(exact.bias) < 4 * exact.bias_se
    low = scores(reference, 0.5 * truth)
    assert low.bias == pytest.approx(-0.5, abs=0.03)
    assert low.r2 < 0  # though the correlation is perfect
    assert low.mae == pytest.approx(truth.mean() / 2, rel=0.05)
    both = mean_scores([exact, low])
    assert both.r2 == pytest.approx((exact.r2 + low.r2) / 2)
    assert both.r2_se > exact.r2_se
    with pytest.raises(ValueError, match="three or more"):
        scores(reference[:2], truth[:2])


def test_a_composition_fit_explains_what_it_can_and_no_more():
    random = np.random.default_rng(9)
    shares = random.dirichlet(np.full(4, 8.0), 30)
    table = [dict(zip("ABCD", row, strict=True)) for row in shares]
    values = np.exp(shares @ np.array([3.0, 2.5, 3.5, 4.0]))
    np.testing.assert_allclose(composition_fit(table, values), values, rtol=1e-9)
    np.testing.assert_allclose(composition_predictions(table[:10], values[:10], table[10:]), values[10:], rtol=1e-9)
    other = np.exp(random.normal(3.0, 0.3, 30))  # nothing to do with composition
    assert scores([known(value, 0.1) for value in other], composition_fit(table, other.tolist())).r2 < 0.3


def test_a_piece_that_a_restart_tore_off_does_not_shorten_the_blocks():
    x = autoregressive(6000, 1, 40.0, 6)
    whole = Series.of(x, 1.0)
    torn = Series.of(x, 1.0, np.repeat([0, 1], [5996, 4]))
    assert min(map(len, torn.blocks())) > 100
    assert torn.fluctuation().se == pytest.approx(whole.fluctuation().se, rel=0.1)
    assert torn.relaxation() is not None
