"""Modes beyond k in the generated centre: Rouse's scaling, MD's displacements at short lags, from the first step on."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.chains.spectrum import linear_spectrum
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Estimate, GleFit, joined
from mlgle_lammps.statistics.moments import MomentAccumulator
from mlgle_lammps.surrogates.ml_gle.fast_modes import LONGEST, FastModes, FastMotion, find_fast
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore, autocovariance, core_from_reflection
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.tie import Tie

SIGMA = np.array([2.0, 1.5])
CORE = core_from_reflection(np.array([[0.95], [0.9]]), (1, 1), np.ones(2))
RATIOS = (1 / 2, 1 / 3)
LAGS = np.arange(1 + LONGEST)
EXACT = 1.5**2 * (0.9 ** (2 * LAGS) / 2 + 0.9 ** (3 * LAGS) / 3)
ALPHA, BETA = 0.3, 0.6


def fit_of(beyond, short=(), beta_sq=BETA**2):
    D = Estimate(ALPHA**2 / 2, 0.001, (0.0, 1.0), "")
    return GleFit(ALPHA**2, beta_sq, D, (4, 8, 16), 1.0, 1, 0.5, 400, (2,), beyond, short)


def model_of(fast):
    history = np.random.default_rng(1).standard_normal((8, 200, 2, 3)).astype(np.float32)
    dynamics = ModeModel(8, SIGMA, 0.4 * SIGMA, CORE, None)
    return MlGleModel(dynamics, ALPHA, BETA**2, 1.0, "tau", "sigma", history, tie=Tie((2,), (0.0,)), fast=fast)


def generate(model, n_steps):
    return joined(list(MlGleMotion(model, model.history, 3, 200).advance(n_steps)))


def test_the_sum_has_the_covariance_of_smaller_and_faster_copies_of_the_last_mode():
    fast = find_fast(fit_of(RATIOS), CORE, SIGMA)
    assert fast is not None
    np.testing.assert_allclose(fast.covariance, EXACT, rtol=1e-9)
    np.testing.assert_allclose(autocovariance(fast.core(), 1 + LONGEST)[0], EXACT, rtol=1e-6, atol=1e-9)
    assert find_fast(fit_of(()), CORE, SIGMA) is None
    assert find_fast(fit_of(RATIOS), None, SIGMA) is None
    assert find_fast(fit_of(RATIOS), LinearCore(CORE.coefficients, (1, 1), np.zeros(2)), SIGMA) is None


def test_at_short_lags_the_covariance_is_what_md_needs_and_beyond_twice_the_first_used_that_of_the_copies():
    slower = EXACT[0] * 0.83**LAGS  # less fast motion than the copies', to the same plateau
    short = tuple((lag, BETA**2 * 2 * (EXACT[lag] - slower[lag])) for lag in (1, 2, 3, 4))
    fast = find_fast(fit_of(RATIOS, short), CORE, SIGMA)
    assert fast is not None
    covariance = np.array(fast.covariance)
    np.testing.assert_allclose(covariance[:5], slower[:5], rtol=1e-9)
    np.testing.assert_allclose(covariance[8:], EXACT[8:], rtol=1e-9)
    middle = EXACT[6] + (slower[4] - EXACT[4]) / 2
    assert covariance[6] == pytest.approx(middle)


@pytest.mark.parametrize(
    ("excess", "beta_sq", "copies"),
    [(BETA**2 * 5 * EXACT[0], BETA**2, True), (0.1 * EXACT[0], 0.0, True), (0.01 * EXACT[0], BETA**2, False)],
)
def test_what_no_process_could_have_missed_leaves_the_copies(excess, beta_sq, copies):
    fast = find_fast(fit_of(RATIOS, ((1, excess), (2, 0.0)), beta_sq), CORE, SIGMA)
    assert fast is not None
    assert np.allclose(fast.covariance, EXACT, rtol=1e-9) == copies


@pytest.mark.parametrize("ratios", [(0.9, 0.37), (0.07,), (0.51, 0.5)])
def test_a_swinging_mode_too_has_copies_that_are_a_process(ratios):
    swinging = core_from_reflection(np.array([[0.9, -0.99]]), (2,), np.ones(1))
    fast = find_fast(fit_of(ratios), swinging, np.ones(1))
    assert fast is not None
    assert fast.covariance[0] == pytest.approx(sum(ratios), rel=1e-6)
    assert fast.core().innovation_variance[0] > 0


def test_it_is_stationary_from_its_first_step_on_and_the_same_in_one_call_or_two():
    fast = FastModes(tuple(EXACT))
    whole, parts = (FastMotion(fast, torch.zeros(3, 4000), torch.Generator().manual_seed(5)) for _ in range(2))
    moved = whole.advance(256).double().numpy()
    twice = torch.cat([parts.advance(128), parts.advance(128)]).double().numpy()
    assert moved.shape == (256, 3, 4000)
    for lag, steps in ((1, moved[0]), (9, moved[8]), (1, moved[200] - moved[199]), (9, moved[200] - moved[191])):
        squared = np.mean(steps**2, axis=0)
        assert abs(squared.mean() - 2 * (EXACT[0] - EXACT[lag])) < 4 * squared.std() / math.sqrt(4000)
    for lag, steps in ((1, twice[128] - twice[127]), (9, twice[132] - twice[123])):  # across two calls
        squared = np.mean(steps**2, axis=0)
        assert abs(squared.mean() - 2 * (EXACT[0] - EXACT[lag])) < 4 * squared.std() / math.sqrt(4000)


@pytest.mark.parametrize("lag", [1, 12])
def test_the_centre_moves_with_them_and_the_modes_as_without(lag):
    with_them, without = generate(model_of(FastModes(tuple(EXACT))), 300), generate(model_of(None), 300)
    np.testing.assert_array_equal(with_them.modes, without.modes)
    own = np.mean((with_them.com[lag:] - with_them.com[:-lag]) ** 2, axis=(0, 2))
    bare = np.mean((without.com[lag:] - without.com[:-lag]) ** 2, axis=(0, 2))
    added = BETA**2 * 2 * (EXACT[0] - EXACT[lag])
    assert abs(own.mean() - bare.mean() - added) < 4 * math.hypot(own.std(), bare.std()) / math.sqrt(200) < added


def test_calls_of_whole_blocks_are_as_one_call():
    model = model_of(FastModes(tuple(EXACT)))
    motion = MlGleMotion(model, model.history, 3, 200)
    parts = np.concatenate([frames.com for _ in range(2) for frames in motion.advance(128)])
    np.testing.assert_array_equal(parts, generate(model, 256).com)


def test_a_model_file_keeps_them(tmp_path):
    path = tmp_path / "model.safetensors"
    for fast in (FastModes(tuple(EXACT)), None):
        model_of(fast).save(path)
        assert MlGleModel.load(path).fast == fast
    for wrong in ((1.0,), (1.0, 1.1), (1.0, 0.9, -0.9), (-1.0, 0.0), (1.0,) + (0.0,) * 33):
        model_of(FastModes(wrong)).save(path)
        with pytest.raises(UserError, match="damaged"):
            MlGleModel.load(path)


def moments_of_rouse(n_modes, apart=False, coupling=0.0):
    accumulator = MomentAccumulator(30, n_modes, 64, apart=apart)
    for frame in RouseSource(30, 20, n_modes, 400, 0.5, 2, coupling=coupling):
        accumulator.add(frame)
    return accumulator.moments()


def test_a_fit_says_which_modes_it_added_and_what_it_misses_at_short_lags():
    moments, spectrum = moments_of_rouse(4), linear_spectrum(20)
    eigenvalues = 4 * np.sin(np.pi * np.arange(1, 20) / 40) ** 2
    fit = fit_gle(moments, 0.5, spectrum=spectrum)
    assert fit.beyond == pytest.approx(eigenvalues[3] / eigenvalues[[5, 7, 9]])
    other = fit_gle(moments, 0.5), fit_gle(moments, 0.5, form="published", spectrum=spectrum)
    whole = fit_gle(moments_of_rouse(10), 0.5, spectrum=spectrum)
    still = fit_gle(replace(moments, mode_variance=np.zeros(4)), 0.5, spectrum=spectrum)
    assert all(fit.beyond == fit.short == () for fit in (*other, whole, still))
    with_constant = fit_gle(moments_of_rouse(4, apart=True), 0.5, spectrum=spectrum)
    assert with_constant.beyond == fit.beyond
    assert with_constant.short == ()


def test_what_the_curve_misses_of_md_at_short_lags_is_told():
    """Modes 1 to 4 alone move the centre; the fit adds 6, 8 and 10, which do not."""
    moments, spectrum = moments_of_rouse(4, coupling=0.8), linear_spectrum(20)
    fit = fit_gle(moments, 0.5, spectrum=spectrum)
    assert fit.beta_sq > 0.1
    lags, missed = np.array(fit.short).T
    assert lags.tolist() == [lag for lag in moments.lags if lag <= fit.lags[0]] != []
    known = np.concatenate([[0], moments.lags])
    of_last = np.concatenate([[0], moments.msd_modes[:, 3]])
    copies = np.sum([r * np.interp(lags / r, known, of_last) for r in fit.beyond], axis=0)
    of_modes = moments.msd_modes[: len(lags), [1, 3]].sum(axis=1) + copies
    curve = fit.alpha_sq * 0.5 * lags + fit.beta_sq * of_modes
    np.testing.assert_allclose(missed, moments.msd_com[: len(lags)] - curve, atol=0.02 * moments.msd_com[0])
    assert np.abs(missed).max() > 0.05 * moments.msd_com[0]
