"""Generated centres: as mobile as the fit says, and tied to their own modes only as far as MD's are."""

import math
from dataclasses import replace

import numpy as np
import pytest

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.chains.spectrum import ends_alike, linear_spectrum
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Estimate, Frames, GleFit, joined
from mlgle_lammps.statistics.centre_tie import CentreTie, centre_tie
from mlgle_lammps.statistics.moments import MomentAccumulator
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.linear_core import core_from_reflection
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.tie import Tie, find_tie

ALPHA, BETA, DT, DECAY = 0.3, 0.6, 2.0, np.array([0.97, 0.9, 0.8, 0.5])
SIGMA = np.array([2.0, 1.0, 0.7, 0.5])
EVEN = Tie((2, 4), (-0.12, 0.0))


def model_of(tie):
    reflection = np.zeros((4, 8))
    reflection[:, 0] = DECAY
    dynamics = ModeModel(8, SIGMA, 0.4 * SIGMA, core_from_reflection(reflection, (1, 1, 1, 1), np.ones(4)), None)
    rng, shape = np.random.default_rng(1), (8, 200, 4, 3)
    history = np.empty(shape)
    history[0] = rng.standard_normal(shape[1:])
    for t in range(1, 8):
        history[t] = DECAY[:, None] * history[t - 1] + np.sqrt(1 - DECAY**2)[:, None] * rng.standard_normal(shape[1:])
    history = (history * SIGMA[:, None]).astype(np.float32)
    return MlGleModel(dynamics, ALPHA, BETA**2, DT, "tau", "sigma", history, tie=tie)


def generate(model, n_steps=600, n_trajectories=200, seed=3):
    return joined(list(MlGleMotion(model, model.history, seed, n_trajectories).advance(n_steps)))


def averages(values):
    """Mean and standard error over trajectories of (time, trajectory, ..) values, the last axis of directions."""
    own = values.mean(axis=(0, -1))
    return own.mean(axis=0), own.std(axis=0, ddof=1) / math.sqrt(len(own))


@pytest.mark.parametrize("lag", [1, 8, 40])
def test_the_centre_moves_as_fitted_and_with_its_own_modes_only_as_told(lag):
    made = generate(model_of(EVEN))
    dx = made.com[lag:] - made.com[:-lag]
    dz = (made.modes[lag:] - made.modes[:-lag]).astype(np.float64)
    of_modes = 2 * SIGMA**2 * (1 - DECAY**lag)
    mean, error = averages(dx**2)
    wanted = ALPHA**2 * DT * lag + BETA**2 * of_modes[[1, 3]].sum()
    assert abs(mean - wanted) < 4 * error
    assert abs(mean - (wanted + BETA**2 * of_modes[[0, 2]].sum())) > 4 * error  # not of all modes
    cross, error = averages(dx[:, :, None] * dz)
    assert np.all(np.abs(cross - np.array([0.0, -0.12, 0.0, 0.0]) * of_modes) < 4 * error)
    assert abs(cross[1] - BETA * of_modes[1]) > 10 * error[1]


def test_as_published_every_mode_moves_its_own_centre():
    made = generate(model_of(None), 300, 50)
    start = model_of(None).history[-1, :50]
    np.testing.assert_allclose((made.com - BETA * (made.modes - start).sum(axis=2))[0].std(), ALPHA * DT**0.5, rtol=0.2)
    dx, dz = made.com[8:] - made.com[:-8], (made.modes[8:] - made.modes[:-8]).astype(np.float64)
    cross, error = averages(dx[:, :, None] * dz)
    assert np.all(np.abs(cross - BETA * 2 * SIGMA**2 * (1 - DECAY**8)) < 4 * error)


def test_modes_are_the_same_with_and_without_a_tie_and_one_trajectory_has_a_neighbour_too():
    tied, free = (generate(model_of(tie), 200, 20) for tie in (EVEN, None))
    np.testing.assert_array_equal(tied.modes, free.modes)
    single = generate(model_of(EVEN), 200, 1)
    assert single.com.shape == (200, 1, 3)
    own = BETA * (single.modes[:, :, [1, 3]] - single.modes[:1, :, [1, 3]]).sum(axis=2)
    assert abs(np.corrcoef(np.diff(single.com[:, 0, 0]), np.diff(own[:, 0, 0]))[0, 1]) < 0.3


def test_more_tied_modes_than_trajectories_of_a_batch_are_lent_to_others_all_the_same():
    k, lender = 82, 79  # of two batches of 80, whose place-th mode comes from the (place + 1)-th neighbour
    sigma = np.where(np.arange(k) == lender, 1.0, 1e-6)
    reflection = np.full((k, 1), 0.5)
    dynamics = ModeModel(4, sigma, sigma, core_from_reflection(reflection, (1,) * k, np.ones(k)), None)
    history = (np.random.default_rng(1).standard_normal((4, 160, k, 3)) * sigma[:, None]).astype(np.float32)
    tie = Tie(tuple(range(1, k + 1)), (0.0,) * k)
    made = generate(MlGleModel(dynamics, 0.0, BETA**2, DT, "tau", "sigma", history, tie=tie), 40, 160)
    own = made.modes[:, :, lender]
    assert made.com.std() > 0.1
    assert abs(np.corrcoef(np.diff(made.com, axis=0).ravel(), np.diff(own, axis=0).ravel())[0, 1]) < 0.1


def test_a_model_file_keeps_the_tie(tmp_path):
    for tie in (EVEN, None):
        model_of(tie).save(tmp_path / "model.safetensors")
        assert MlGleModel.load(tmp_path / "model.safetensors").tie == tie
    for wrong in (Tie((2, 5), (0.0, 0.0)), Tie((2, 2), (0.0, 0.0)), Tie((2,), (0.0, 0.0)), Tie((0,), (0.0,))):
        model_of(wrong).save(tmp_path / "model.safetensors")
        with pytest.raises(UserError, match="damaged"):
            MlGleModel.load(tmp_path / "model.safetensors")


def test_ties_of_coupled_chains_are_found_and_those_of_free_ones_are_not():
    coupled, free = (joined(list(RouseSource(40, 20, 4, 400, 0.5, 4, coupling=c))) for c in (0.5, 0.0))
    found = centre_tie(coupled)
    assert found is not None
    assert np.all(np.abs(found.value - 0.5) < 4 * found.se)
    assert np.all(found.se < 0.1)
    none = centre_tie(free)
    assert none is not None
    assert np.all(np.abs(none.value) < 4 * none.se)
    assert centre_tie(coupled[:3]) is None


def test_a_tie_that_changes_its_sign_with_the_lag_is_none():
    rng = np.random.default_rng(4)
    decay = np.array([0.99, 0.3])[:, None, None]
    slow, fast = (np.empty((400, 60, 3)) for _ in range(2))
    state = rng.standard_normal((2, 60, 3))
    for t in range(400):
        slow[t], fast[t] = state
        state = decay * state + np.sqrt(1 - decay**2) * rng.standard_normal((2, 60, 3))
    walk = 0.3 * rng.standard_normal((400, 60, 3)).cumsum(axis=0)
    frames = joined(list(RouseSource(60, 20, 4, 400, 0.5, 4)))
    modes = frames.modes.copy()
    modes[:, :, 1] = slow + 0.3 * fast
    turning = Frames.of_chains(frames.steps, frames.segments, walk + slow - 0.5 * fast, modes)
    found = centre_tie(turning)
    assert found is not None
    assert found.value[1] > 5 * found.se[1]
    assert found.early[1] < -0.5
    fit = GleFit(0.1, 1.0, Estimate(0.05, 0.01, (0.03, 0.07), ""), (1, 2, 4), 1.0, 1, 0.5, 400, (2, 4))
    assert find_tie(fit, found, None).own == (0.0, 0.0)
    assert find_tie(fit, replace(found, early=found.value), None).own == (found.value[1], 0.0)


def test_only_modes_that_symmetry_allows_are_tied():
    accumulator = MomentAccumulator(30, 4, 32)
    for frame in RouseSource(30, 20, 4, 200, 0.5, 2, coupling=0.5):
        accumulator.add(frame)
    value = np.array([0.4, -0.2, 0.3, 0.01])
    found = CentreTie(value, np.full(4, 0.02), (1, 1, 1, 1), value)
    even = fit_gle(accumulator.moments(), 0.5)
    assert find_tie(even, found, None) == Tie((2, 4), (-0.2, 0.0))  # of mode 4 nothing is known
    block = linear_spectrum(20, ends_alike=False)
    every = fit_gle(accumulator.moments(), 0.5, spectrum=block)
    assert find_tie(every, found, block) == Tie((1, 2, 3, 4), (0.4, -0.2, 0.3, 0.0))
    ring = replace(block, invariant=(False,) * 19)
    assert find_tie(fit_gle(accumulator.moments(), 0.5, spectrum=ring), found, ring).own == (0.0,) * 4
    assert find_tie(even, None, None).own == (0.0, 0.0)


def test_a_tie_beyond_beta_is_cut():
    own, lent = model_of(Tie((2,), (-9.0,))).drive()
    assert (own[1], lent[1]) == (-1.0, 0.0)
    assert not own[[0, 2, 3]].any()
    own, lent = replace(model_of(EVEN), beta_sq=-0.1).drive()
    assert not own.any()


def test_ends_are_alike_where_the_chain_reads_the_same_backwards():
    assert ends_alike(["1111", "1111"])
    assert ends_alike(["1221", "1221"])
    assert not ends_alike(["1122", "2211"])
    assert ends_alike(["1122", "1212", "1112"])  # random sequences: on average
    assert ends_alike([])
