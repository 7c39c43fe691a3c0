"""Every warning: silent on sound Rouse melts, there with the right number on a melt made unsound on purpose."""

import json

import numpy as np
import pytest

from mlgle_lammps.chains.rouse import RouseSource, rouse_mode_variance, rouse_relaxation_time
from mlgle_lammps.commands.replay import Journalled
from mlgle_lammps.evaluate.diagnosis import convergence_warnings, fit_notes, fit_warnings, stream_warnings
from mlgle_lammps.evaluate.judgement import judge_against_window, judgement_warnings
from mlgle_lammps.evaluate.stream_statistics import StreamStatistics, kurtosis, power_sums
from mlgle_lammps.observe.cross_correlation import cross_correlation, cross_correlation_warnings
from mlgle_lammps.observe.equilibrium import end_to_end_weights, equilibrium_warnings, size_trend
from mlgle_lammps.observe.sampling import ballistic_warnings, drift_warnings, short_time_exponent, system_drift
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.pipeline.learning import learn
from mlgle_lammps.records import Ending, Estimate, Frames, GleFit, joined
from mlgle_lammps.statistics.correlation import autocorrelation
from mlgle_lammps.store.run_folder import RunFolder

pytestmark = pytest.mark.light

N_BEADS, N_MODES, DT = 20, 6, 0.5


def window_of(com, modes, segments=None):
    n = len(com)
    return Frames.of_chains(np.arange(n), np.zeros(n, dtype=np.int64) if segments is None else segments, com, modes)


def rouse(seed, n_chains=20, n_frames=600, n_modes=N_MODES, dt=DT):
    return joined(list(RouseSource(n_chains, N_BEADS, n_modes, n_frames, dt, seed)))


def lines_about(window):
    correlation = autocorrelation(window.modes, window.segments, len(window.steps) // 2)
    return stream_warnings(window, correlation, N_BEADS, 64)


def exponent_of(window):
    found = short_time_exponent(window)
    assert found is not None
    return found


def drift_of(window, longest_lag):
    found = system_drift(window, longest_lag)
    assert found is not None
    return found


def trend_of(window, n_beads):
    found = size_trend(window, n_beads)
    assert found is not None
    return found


def started_off(window, scale):
    """Return the melt as it would be had its chains started ``scale`` times as large (exact for linear dynamics)."""
    decay = np.exp(-DT / rouse_relaxation_time(np.arange(1, N_MODES + 1), N_BEADS))
    left = decay ** np.arange(len(window.steps))[:, None]
    modes = window.modes + (scale - 1.0) * left[:, None, :, None] * window.modes[:1]
    return window_of(window.com, modes.astype(np.float32))


def flying(n_frames, persistence, seed, n_chains=30):
    """Return centres of mass whose velocity lasts ``persistence`` frames, as an exact Ornstein-Uhlenbeck process."""
    rng = np.random.default_rng(seed)
    fine, decay = 10, np.exp(-0.1 / persistence)
    velocity = rng.standard_normal((n_chains, 3))
    place, path = np.zeros((n_chains, 3)), []
    for _ in range(n_frames):
        for _ in range(fine):
            place = place + 0.1 * velocity
            velocity = decay * velocity + np.sqrt(1 - decay**2) * rng.standard_normal((n_chains, 3))
        path.append(place)
    return window_of(np.array(path), np.zeros((n_frames, n_chains, 0, 3), np.float32))


@pytest.mark.parametrize("n_chains", [8, 30])
def test_sound_melts_get_no_line(n_chains):
    assert [lines_about(rouse(seed, n_chains, 300)) for seed in range(12)] == [[]] * 12


@pytest.mark.slow
def test_fewer_than_one_sound_melt_in_a_hundred_gets_a_line():
    assert sum(bool(lines_about(rouse(seed))) for seed in range(200)) <= 1


# ---------------------------------------------------------------------- spacing of frames


def test_exponent_is_that_of_persistent_velocities():
    persistence = 2.0
    found = [exponent_of(flying(300, persistence, seed)) for seed in range(8)]

    def msd(t):
        return t - persistence * (1 - np.exp(-t / persistence))

    exact = np.log2(msd(2) / msd(1))
    mean = np.mean([e.value for e in found])
    se = np.sqrt(sum(e.se**2 for e in found)) / len(found)
    assert abs(mean - exact) < 4 * se
    assert abs(mean - 2.0) > 4 * se
    assert abs(mean - 1.0) > 4 * se


def test_brownian_exponent_is_one_within_its_error():
    found = [exponent_of(rouse(seed)) for seed in range(20)]
    scores = np.array([(e.value - 1.0) / e.se for e in found])
    assert abs(scores.mean()) < 4 / np.sqrt(20)
    assert 0.6 < scores.std(ddof=1) < 1.6


@pytest.mark.parametrize(("persistence", "warned"), [(2.0, True), (0.5, True), (0.03, False)])
def test_frames_closer_than_velocities_last_are_warned_of(persistence, warned):
    lines = ballistic_warnings(exponent_of(flying(300, persistence, 1)))
    assert bool(lines) == warned
    assert not warned or "raise --every" in lines[0]


def test_no_displacement_crosses_a_seam():
    window = rouse(1, n_frames=200)
    jumped = window.com + np.where(np.arange(200) >= 100, 50.0, 0.0)[:, None, None] * np.arange(20)[:, None]
    seam = np.repeat([0, 1], 100)
    without = exponent_of(window_of(window.com, window.modes, seam))
    seen, unseen = (exponent_of(window_of(jumped, window.modes, s)) for s in (np.zeros(200), seam))
    assert (unseen.value, unseen.se) == pytest.approx((without.value, without.se))
    assert seen.se < 0.1 * without.se  # negative control: the jump outweighs all else where it is seen
    assert short_time_exponent(window_of(window.com[:2], window.modes[:2])) is None


# ---------------------------------------------------------------------- drift


def test_drift_is_measured_and_named():
    window = rouse(3)
    speed = 0.05
    moving = window_of(window.com + speed * np.arange(600)[:, None, None] * np.array([0.6, 0.8, 0.0]), window.modes)
    found = drift_of(moving, 64)
    still = drift_of(window, 64)
    center = np.diff(window.com.mean(axis=1), axis=0)
    assert abs(found.speed - speed) < 4 * np.sqrt(center.var(axis=0).sum() / len(center))
    expected = (found.speed * 64) ** 2 / np.mean(
        np.sum(np.diff((window.com - window.com.mean(axis=1, keepdims=True))[::64], axis=0) ** 2, axis=-1)
    )
    assert found.share == pytest.approx(expected, rel=0.2)
    assert "fix momentum" in drift_warnings(found)[0]
    assert f"{found.speed:.3g} per frame" in drift_warnings(found)[0]
    assert drift_warnings(still) == []


def test_a_drift_too_slow_to_matter_is_not_named():
    window = rouse(3)
    centred = window.com - window.com.mean(axis=1, keepdims=True)
    moving = window_of(centred + 1e-4 * np.arange(600)[:, None, None], window.modes)
    assert drift_of(moving, 64).p < 1e-10
    assert drift_warnings(drift_of(moving, 64)) == []


# ---------------------------------------------------------------------- modes that move together


def test_cross_correlation_is_measured_and_warned_of():
    window = rouse(5, n_frames=1500)
    sigma = np.sqrt(rouse_mode_variance(np.arange(1, N_MODES + 1), N_BEADS))
    mixed = (window.modes / sigma[:, None]).copy()
    mixed[:, :, 4] = 0.4 * mixed[:, :, 2] + np.sqrt(1 - 0.4**2) * mixed[:, :, 4]
    mixed = window_of(window.com, (mixed * sigma[:, None]).astype(np.float32))
    found = cross_correlation(mixed, autocorrelation(mixed.modes, mixed.segments, 750))
    assert abs(found.value[2, 4] - 0.4) < 4 * found.se[2, 4]
    assert abs(found.value[2, 4]) > 6 * found.se[2, 4]
    (line,) = cross_correlation_warnings(found)
    assert line.startswith("1 pair of modes is correlated, most of all modes 3 and 5 (0.")


def test_errors_of_cross_correlations_hold():
    scores = []
    for seed in range(20):
        window = rouse(seed)
        found = cross_correlation(window, autocorrelation(window.modes, window.segments, 300))
        scores.append((found.value / found.se)[np.triu_indices(N_MODES, 1)])
    assert 0.8 < np.std(scores) < 1.1
    assert np.abs(scores).max() < 5


# ---------------------------------------------------------------------- equilibrium


def test_end_to_end_vector_is_that_of_the_beads():
    rng = np.random.default_rng(1)
    beads = rng.standard_normal((N_BEADS, 3))
    n, j = np.arange(N_BEADS), np.arange(1, N_BEADS)
    modes = np.cos(np.pi * j[:, None] * (n + 0.5) / N_BEADS) @ beads / N_BEADS
    np.testing.assert_allclose(end_to_end_weights(N_BEADS - 1, N_BEADS) @ modes, beads[-1] - beads[0], atol=1e-12)
    assert end_to_end_weights(3, None).tolist() == [-4.0, 0.0, -4.0]


@pytest.mark.parametrize("scale", [0.2, 2.0])
def test_chains_that_start_collapsed_or_stretched_are_warned_of(scale):
    for seed in range(8):
        window = rouse(seed, n_frames=150)
        assert equilibrium_warnings(trend_of(window, N_BEADS)) == []
        trend = trend_of(started_off(window, scale), N_BEADS)
        assert (trend.start[1] > 0) == (scale > 1)
        (line,) = equilibrium_warnings(trend)
        assert "<R_ee^2> began at" in line or "mode 1 began at" in line
        assert "equilibrate longer" in line


def test_trend_is_that_put_in_whatever_shape_shows_it_best():
    time = np.arange(600) / 600
    shapes = [np.exp(-16 * time), np.exp(-4 * time), 1 - time]
    ramp = np.exp(0.5 * time)[:, None, None, None]  # ln of squared sizes grows by 1
    off = []
    for seed in range(10):
        window = rouse(seed)
        trend = trend_of(window_of(window.com, (ramp * window.modes).astype(np.float32)), N_BEADS)
        (shape,) = (s for s in shapes if trend.shift[1] / trend.start[1] == pytest.approx(s.mean(), rel=1e-6))
        off.append(trend.start - np.polyfit(shape, time, 1)[0])
        assert len(equilibrium_warnings(trend)) == 1
    se = np.std(off, axis=0, ddof=1) / np.sqrt(10)
    assert np.all(np.abs(np.mean(off, axis=0)) < 4 * se)
    assert np.all(np.abs(np.mean(off, axis=0) - 1.0) > 4 * se)


def test_probability_of_a_trend_is_uniform_at_equilibrium_or_larger():
    joint = np.array([trend_of(rouse(seed, n_frames=200), N_BEADS).joint_p for seed in range(40)])
    assert np.count_nonzero(joint < 0.1) <= 4 + 4 * np.sqrt(4)
    assert joint.min() < 0.9
    assert joint.min() > 1e-3


def test_trend_is_taken_within_segments():
    window = rouse(2)
    sizes = np.repeat([1.0, 1.5], 300)[:, None, None, None]
    steps = window_of(window.com, (sizes * window.modes).astype(np.float32), np.repeat([0, 1], 300))
    assert equilibrium_warnings(trend_of(steps, N_BEADS)) == []
    assert equilibrium_warnings(trend_of(window_of(steps.com, steps.modes), N_BEADS)) != []


# ---------------------------------------------------------------------- the fit


def fit(value, se, n_frames, beta_sq=0.1):
    estimate = Estimate(value, se, (value - 2 * se, value + 2 * se), "")
    return GleFit(2 * value, beta_sq, estimate, (4, 8, 16), 3.0, 3, 0.4, n_frames)


@pytest.mark.parametrize(("early", "warned"), [(1.0, False), (1.1, False), (1.3, True), (0.7, True)])
def test_D_that_moved_since_half_of_the_frames_is_warned_of(early, warned):
    fits = [fit(5.0, 1.0, 100), fit(early, 0.05 * np.sqrt(2), 810), fit(1.0, 0.05, 1600)]
    assert bool(convergence_warnings(fits)) == warned
    assert convergence_warnings(fits[2:]) == convergence_warnings([]) == []


@pytest.mark.parametrize("factor", [1.1, 1.3, 1.4, 1.6, 2.0])
def test_D_that_grew_is_warned_of_where_one_that_fell_by_the_same_factor_is(factor):
    fell, grew = (
        convergence_warnings([fit(early, 0.15 * early, 800), fit(1.0, 0.1, 1600)]) for early in (factor, 1 / factor)
    )
    assert bool(fell) == bool(grew) == (factor > 1.4)


class TellsItsNotes(RouseSource):
    """A melt with a line of mere information of the system's and one of the ending's."""

    def ending(self):
        return Ending(notes=("the rest of the deck's run is skipped",))


@pytest.fixture(scope="module")
def sound_result(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "sound"
    folder = RunFolder.create(path)
    options = LearnOptions(
        path, memory=24, train_frames=300, val_frames=100, modes=3, generate_steps=1500, ensemble=60, threads=1
    )
    assert learn(Journalled(TellsItsNotes(30, N_BEADS, 3, 400, DT, 1), folder), options, folder) == 0
    return json.loads((path / "result.json").read_text())


def test_a_sound_run_has_no_warnings_and_its_information_lies_in_notes(sound_result):
    assert sound_result["warnings"] == []
    notes = " ".join(sound_result["notes"])
    assert "skipped" in notes
    assert "centre of mass diffuses" in notes


def test_the_result_says_that_the_generated_ensemble_was_checked(sound_result):
    check = sound_result["generated_check"]
    assert check["passed"]
    assert check["modes_off"] == []
    for mode in sound_result["modes"]:
        assert abs(mode["stationary_variance_ratio"] - 1) < max(0.15, 4.5 * mode["stationary_variance_ratio_se"])
        assert 0 < mode["nacf_error"] < max(0.1, 4.5 * mode["nacf_error_se"])
        assert abs(mode["kurtosis"] - 3.0) < max(0.3, 4 * mode["kurtosis_se"])
        assert abs(mode["md_kurtosis"] - 3.0) < 4 * mode["md_kurtosis_se"]


# ---------------------------------------------------------------------- the generated ensemble


def generated(seed, scale=1.0, dt=DT, tails=None, n_frames=800):
    """Return the summary of an ensemble drawn from a Rouse melt, spoiled where asked; ``tails``: (time,) factors."""
    window = rouse(seed, n_chains=60, n_frames=n_frames, dt=dt)
    modes = window.modes * np.float32(scale)
    if tails is not None:
        modes[:, :, 1] *= tails[:, None, None]
    statistics = StreamStatistics(60, N_MODES, n_frames)
    for start in range(0, n_frames, 300):
        statistics.add(window_of(window.com, modes)[start : start + 300])
    return statistics.summary()


def check_against(window, summary):
    return judge_against_window(summary, window, autocorrelation(window.modes, window.segments, len(window.steps) // 2))


def test_kurtosis_is_the_plain_one_and_3_for_a_normal_mode():
    window = rouse(7)
    second, fourth = (sums / (3 * 600) for sums in power_sums(window.modes))
    value, se = kurtosis(second, fourth)
    x = np.moveaxis(window.modes.astype(float), 2, 0).reshape(N_MODES, -1)
    np.testing.assert_allclose(value, (x**4).mean(axis=1) / (x**2).mean(axis=1) ** 2, rtol=1e-5)
    assert np.all(np.abs(value - 3.0) < 4 * se)
    assert np.any(np.abs(value - 3.3) > 4 * se)
    summary = generated(7)
    assert np.all(np.abs(summary.modes.kurtosis - 3.0) < 4 * summary.modes.kurtosis_se)


def test_an_ensemble_of_the_same_law_passes():
    summary = generated(100)
    for n_chains, n_frames in ((20, 600), (8, 150)):
        checks = [check_against(rouse(seed, n_chains, n_frames), summary) for seed in range(10)]
        assert [check.modes_off for check in checks] == [()] * 10
        assert [judgement_warnings(check) for check in checks] == [[]] * 10


def test_errors_of_the_comparison_hold():
    summary = generated(100)
    checks = [check_against(rouse(seed), summary) for seed in range(20)]
    for name in ("variance", "kurtosis"):
        scores = np.array([getattr(check, name).deviation / getattr(check, name).se for check in checks])
        assert 0.7 < scores.std() < 1.2
        assert np.abs(scores).max() < 4.5


@pytest.mark.parametrize(
    ("spoiled", "quantity", "modes"),
    [
        ({"scale": 1.25}, "variance", (1, 2, 3, 4, 5, 6)),
        ({"scale": 0.75}, "variance", (1, 2, 3, 4, 5, 6)),
        ({"dt": 2 * DT}, "nacf", (1, 2, 3)),
        ({"tails": np.tile(np.repeat([0.25, 1.4], 40), 10).astype(np.float32)}, "kurtosis", (2,)),
    ],
)
def test_a_spoiled_ensemble_is_named(spoiled, quantity, modes):
    check = check_against(rouse(1, n_chains=40, n_frames=1200), generated(100, **spoiled))
    assert {i + 1 for i in np.flatnonzero(getattr(check, quantity).off)} >= set(modes)
    assert not check.summary()["passed"]
    assert set(check.summary()["off"][quantity]) <= set(check.modes_off)
    (line,) = judgement_warnings(check, "use --preset default")
    name = "NACF" if quantity == "nacf" else quantity
    assert f"{name} of mode" in line
    assert "does not: use --preset default, give more frames" in line
    assert "does not: give more frames" in judgement_warnings(check)[0]


def test_what_is_no_fault_is_a_note_and_no_warning():
    class Diffusing:
        n_chains, center_diffuses, center_held, lag_factors = 20, True, False, None

    assert fit_warnings(fit(1.0, 0.05, 100, beta_sq=-0.1), Diffusing) == []  # type: ignore[arg-type]
    assert len(fit_notes(fit(1.0, 0.05, 100, beta_sq=-0.1), Diffusing)) == 2  # type: ignore[arg-type]


def test_chains_that_stand_still_are_told_from_nothing():
    window = rouse(1, n_frames=50)
    still = window_of(np.zeros_like(window.com), window.modes)
    assert short_time_exponent(still) is None
    assert drift_warnings(drift_of(still, 16)) == []
