"""Shift factors, pooled D and what lies between temperatures, on Rouse chains whose friction is known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.temperature_pool import PooledRun, leave_one_out, pool_temperatures, predict
from mlgle_lammps.observe.mode_relaxation import ModeCorrelations
from mlgle_lammps.observe.superposition import LEVELS, VOGEL, fit_shifts, forgetting_times, shift_law
from mlgle_lammps.records import CHAINS, Estimate, Frames, joined
from mlgle_lammps.statistics.correlation import autocorrelation, relaxation_times
from mlgle_lammps.statistics.replicas import Replicas
from mlgle_lammps.surrogates.shifted import shift_to, shifted_model, shifted_system

N, P, DT = 12, 20, 0.35
ACTIVATION, T0 = 700.0, 350.0


def friction(T):
    return float(np.exp(ACTIVATION * (1 / T - 1 / T0)))


def run_at(T, seed, error=0.08, slow_mode=1.0):
    """Return a run at T; friction times the modes' relaxation gives D within the stated error."""
    frames = joined(list(RouseSource(P, N, 6, 400, DT, seed, friction=friction(T))))
    modes = frames.modes
    if slow_mode != 1.0:
        other = joined(list(RouseSource(P, N, 6, 400, DT, seed + 77, friction=friction(T) * slow_mode)))
        modes = np.concatenate([modes[:, :, :2], other.modes[:, :, 2:]], axis=2)
    found = autocorrelation(modes, frames.segments, 200)
    correlations = ModeCorrelations(found.by_group, np.ones(len(found.by_group), dtype=np.int64), DT)
    noise = np.random.default_rng(seed).standard_normal() * error
    D = float(np.exp(np.log(1 / (N * friction(T))) + noise))
    estimate = Estimate(D, error * D, (D * (1 - 2 * error), D * (1 + 2 * error)), "given")
    mean = correlations.mean()

    def slowest_of(own):
        (time,) = relaxation_times(own[:, :1] / own[0, :1], DT)
        assert time is not None
        return float(np.log(time))

    slowest = mean.map(slowest_of)
    return PooledRun(T, estimate, correlations, mean.map(lambda own: own[0]), slowest, None, (np.zeros(1), mean))


TEMPERATURES = (300.0, 325.0, 350.0, 375.0, 400.0)


@pytest.fixture(scope="module")
def runs():
    return [run_at(T, seed=4000 + i) for i, T in enumerate(TEMPERATURES)]


@pytest.fixture(scope="module")
def pool(runs):
    return pool_temperatures(runs)


def exact_shifts():
    return np.log([friction(T) / friction(T0) for T in TEMPERATURES])


def test_shift_factors_are_those_of_the_friction_and_others_are_not(pool):
    se = np.sqrt(np.diag(pool.shifts.covariance))
    others = [0, 1, 3, 4]
    z = (pool.shifts.shifts - exact_shifts())[others] / se[others]
    wrong = (pool.shifts.shifts - 1.3 * exact_shifts())[others] / se[others]
    assert np.abs(z).max() < 3.5
    assert np.abs(wrong).max() > 4
    assert se.max() < 0.03
    assert pool.shifts.p > 0.01


def test_one_slow_mode_is_noticed(runs):
    odd = run_at(300.0, seed=4000, slow_mode=1.5)
    assert pool_temperatures([odd, *runs[1:]]).shifts.p < 1e-4


def test_pooled_D_is_sharper_than_each_and_right(pool, runs):
    for run, D in zip(runs, pool.D, strict=True):
        exact = 1 / (N * friction(run.T))
        assert abs(D.value - exact) < 3.5 * D.se
        assert D.se < 0.7 * run.D.se
    assert pool.D_chi2 < 15


def test_the_law_is_arrhenius_with_its_energy(pool):
    assert pool.law.name == "Arrhenius"
    error = np.sqrt(pool.law.covariance[0, 0])
    assert abs(pool.law.parameters[0] - ACTIVATION) < 3.5 * error
    assert pool.law.wlf() is None


def test_a_temperature_that_nobody_ran_is_foretold(pool):
    told = predict(pool, 362.0)
    assert abs(told.D.value - 1 / (N * friction(362.0))) < 3 * told.D.se
    assert told.relaxation_time is not None
    assert not told.extrapolated
    assert predict(pool, 450.0).extrapolated
    assert predict(pool, 450.0).D.se / predict(pool, 450.0).D.value > told.D.se / told.D.value


def test_leaving_one_out_foretells_it(runs):
    left = leave_one_out(runs)
    assert [T for T, _, _ in left] == list(TEMPERATURES)
    assert max(abs(z) for _, _, z in left) < 3.5
    assert leave_one_out(runs[:2]) == []


def test_vogel_s_law_is_found_where_shifts_bend():
    T = np.linspace(300, 420, 7)
    B, zero = 600.0, 200.0
    shifts = B / (T - zero) - B / (T[3] - zero)
    law = shift_law(T, shifts, np.full(7, 0.01**2), 3)
    assert law.name == VOGEL
    assert law.parameters[1] == pytest.approx(zero, abs=5)
    constants = law.wlf()
    assert constants is not None
    first, second = constants
    assert second == pytest.approx(T[3] - zero, abs=5)
    assert first == pytest.approx(B / (np.log(10) * (T[3] - zero)), rel=0.05)
    assert law.influence.shape == (2, 7)
    assert law.offset == pytest.approx(0, abs=1e-3)


def test_two_temperatures_are_no_vogel_s_law_however_many_runs():
    T = np.array([300.0, 300.0, 300.0, 400.0, 400.0])
    law = shift_law(T, np.array([0.6, 0.1, 0.4, 0.0, -0.3]), np.full(5, 0.01**2), 3)
    assert law.name == "Arrhenius"
    assert law.p < 1e-6


def test_the_law_does_not_pass_through_a_run_but_between_those_of_one_temperature():
    T = np.array([300.0, 300.0, 400.0])
    law = shift_law(T, np.array([-0.2, 0.0, -0.8]), np.array([0.01, 0.01, 0.01]), 1)
    assert law.through_shifts(300.0) == pytest.approx(-0.1)
    assert law.through_shifts(400.0) == pytest.approx(-0.8)
    assert law.log_a(300.0) == 0
    # each measured shift alone, by finite differences
    other = shift_law(T, np.array([-0.2 + 1e-6, 0.0, -0.8]), np.array([0.01, 0.01, 0.01]), 1)
    change = (other.through_shifts(330.0) - law.through_shifts(330.0)) / 1e-6
    assert law.influence_at(330.0)[0] == pytest.approx(change, rel=1e-4)


def test_it_is_the_same_whichever_run_of_a_temperature_comes_first(runs):
    again = run_at(300.0, seed=4100, slow_mode=1.4)
    one, other = (pool_temperatures([*pair, runs[4]]) for pair in ((runs[0], again), (again, runs[0])))
    assert one.law.offset * other.law.offset < -1e-4  # the two differ
    for T in (300.0, 330.0, 400.0):
        told, same = predict(one, T), predict(other, T)
        assert told.D.value == pytest.approx(same.D.value)
        assert told.D.se == pytest.approx(same.D.se)
        assert told.relaxation_time is not None
        assert same.relaxation_time is not None
        assert told.relaxation_time.value == pytest.approx(same.relaxation_time.value)
        assert told.relaxation_time.se == pytest.approx(same.relaxation_time.se)
    assert [T for T, _, _ in leave_one_out([runs[0], again, runs[4]])] == [300.0, 300.0]


def test_below_the_end_of_vogel_s_law_there_is_no_answer(pool):
    law = replace(pool.law, name=VOGEL, parameters=np.array([600.0, 200.0]), covariance=np.eye(2),
                  influence=np.zeros((2, 5)))  # fmt: skip
    bent = replace(pool, law=law)
    assert np.isfinite(predict(bent, 210.0).D.value)
    with pytest.raises(UserError, match="T = 190 is not above the T0 = 200"):
        predict(bent, 190.0)


def test_a_run_whose_D_is_not_positive_is_named(runs):
    lost = replace(runs[1], D=replace(runs[1].D, value=-1e-3))
    with pytest.raises(UserError, match="run at 325 is not above 0"):
        pool_temperatures([runs[0], lost, *runs[2:]])


def test_times_are_exact_for_exponentials_and_open_where_unseen():
    lag = np.arange(60)[:, None]
    times = np.array([12.0, 1.5, 400.0])
    found = forgetting_times(np.exp(-lag / times))
    assert np.allclose(found[0], np.log(-12.0 * np.log(LEVELS)))
    assert np.isnan(found[1, 0])
    assert np.isnan(found[2]).all()


def test_shifts_of_exact_times():
    generator = np.random.default_rng(1)

    def run(shift):
        y = np.array([1.0, 0.2, -0.5]) + shift
        return Replicas(y, y + 0.01 * generator.standard_normal((20, 3)))

    found = fit_shifts([run(0.4), run(0.0), run(-0.3)], 1)
    assert np.allclose(found.shifts, [0.4, 0.0, -0.3])
    assert found.chi2 < 1e-18


def test_runs_with_other_modes_are_not_pooled(runs):
    fewer = replace(
        runs[0], correlations=replace(runs[0].correlations, by_group=runs[0].correlations.by_group[:, :, :3])
    )
    with pytest.raises(UserError, match="different numbers of modes"):
        pool_temperatures([fewer, *runs[1:]])


def comparison(folder, **changes):
    pool = {
        "reference_T": 350.0, "law": {"name": "Arrhenius", "parameters": [ACTIVATION]},
        "a_T": [{"T": 300.0, "ln_a": 0.3}, {"T": 400.0, "ln_a": -0.3}],
        "ln_variance_of_modes": [[0.0, -0.002], [0.0, -0.001]], "ln_size_slope": -0.0015,
    } | changes  # fmt: skip
    runs = [{"run": str(folder / "a"), "T": 300.0}, {"run": str(folder / "b"), "T": 400.0}]
    (folder / "comparison.json").write_text(json.dumps({"runs": runs, "pool": pool}))
    return folder


class StillModel:
    n_modes, dt, memory, notes = 2, 2.0, 4, ()

    def start(self, frames, seed, *, n_trajectories, device="cpu", threads=0):
        return self

    def advance(self, n_steps):
        ones = np.ones((n_steps, 3, 2, 3), dtype=np.float32)
        steps = np.arange(1, n_steps + 1)
        yield Frames(
            steps, np.zeros(n_steps, dtype=np.int64), {CHAINS: {"com": np.ones((n_steps, 3, 3)), "modes": ones}}
        )


def test_a_surrogate_is_scaled_in_time_and_length(tmp_path):
    shift = shift_to(comparison(tmp_path), 320.0)
    assert shift.run.name == "a"
    assert shift.time == pytest.approx(friction(320.0) / friction(300.0))
    assert shift.lengths == pytest.approx(np.exp(0.5 * 20 * np.array([-0.002, -0.001])))
    started = joined(list(RouseSource(3, N, 2, 4, DT, 1)))
    model = shifted_model(StillModel(), shift)  # type: ignore[arg-type]
    assert model.dt == pytest.approx(2.0 * shift.time)
    (block,) = model.start(started, 1, n_trajectories=3).advance(5)
    assert np.allclose(block.modes[0, 0, :, 0], shift.lengths)
    assert np.allclose(block.com, np.exp(0.5 * 20 * -0.0015))
    system = RouseSource(P, N, 2, 4, DT, 1).system
    assert shifted_system(system, shift).dt == pytest.approx(DT * shift.time)
    same = shift_to(tmp_path, 300.0)
    assert (same.time, same.centre) == (1.0, 1.0)
    assert shift_to(tmp_path, 420.0).extrapolated


def test_runs_of_a_comparison_are_found_from_everywhere(tmp_path, monkeypatch):
    (tmp_path / "side").mkdir()
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    path = comparison(tmp_path / "side") / "comparison.json"
    told = json.loads(path.read_text())
    for run, name in zip(told["runs"], "ab", strict=True):
        run |= {"run": f"../{name}", "run_from_here": f"../{name}"}
    path.write_text(json.dumps(told))
    monkeypatch.chdir("/")
    assert shift_to(tmp_path / "side", 320.0).run.resolve() == tmp_path / "a"
    assert shift_to(tmp_path / "side", 380.0).run == Path("../b")  # gone: as it was given


def test_what_is_no_comparison_of_temperatures_is_refused(tmp_path):
    with pytest.raises(UserError, match="no comparison of temperatures"):
        shift_to(tmp_path, 320.0)
    (tmp_path / "comparison.json").write_text(json.dumps({"pool": {"reason": "no pool: too short"}}))
    with pytest.raises(UserError, match="too short"):
        shift_to(tmp_path, 320.0)
    with pytest.raises(UserError, match="is damaged"):
        shift_to(comparison(tmp_path, ln_size_slope="x"), 320.0)
