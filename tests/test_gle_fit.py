"""The GLE fit against Rouse melts whose D is known, and against the published equations written out plainly."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, signal, stats

from mlgle_lammps.chains.rouse import RouseSource, rouse_diffusion
from mlgle_lammps.chains.spectrum import Spectrum, linear_spectrum
from mlgle_lammps.diffusion.gle_fit import _points, _rough_fit, fit_gle
from mlgle_lammps.records import Estimate, Frames, GleFit, joined
from mlgle_lammps.statistics.moments import MomentAccumulator
from mlgle_lammps.statistics.msd_covariance import msd_covariance

DT = 0.135
N_BEADS = 20
UNLIKE = linear_spectrum(N_BEADS, ends_alike=False)
"""Of chains whose centre all modes may move, as the coupled Rouse melt's does."""
SIX = Spectrum(UNLIKE.eigenvalues[:6], (True,) * 6)
"""The same without modes beyond the six that are streamed."""


def moments_of(source, memory=64):
    accumulator = MomentAccumulator(source.system.n_chains, source.system.n_modes, memory)
    for frame in source:
        accumulator.add(frame)
    return accumulator.moments()


@pytest.fixture(scope="module")
def rouse_moments():
    return [moments_of(RouseSource(20, N_BEADS, 6, 300, DT, seed)) for seed in range(40)]


@pytest.mark.parametrize("form", ["default", "published"])
def test_D_of_rouse_melts_is_unbiased(rouse_moments, form):
    values = np.array([fit_gle(moments, DT, form).D.value for moments in rouse_moments])
    se = values.std(ddof=1) / np.sqrt(len(values))
    known = rouse_diffusion(N_BEADS)
    low = 0.0 if form == "default" else 0.02  # beta >= 0 biases the published fit low
    assert -4 * se - low * known < values.mean() - known < 4 * se
    wrong = rouse_diffusion(N_BEADS, friction=1.2)
    assert abs(values.mean() - wrong) > 4 * se


def test_intervals_hold_the_true_D(rouse_moments):
    fits = [fit_gle(moments, DT) for moments in rouse_moments]
    known = rouse_diffusion(N_BEADS)
    held = sum(fit.D.ci95[0] < known < fit.D.ci95[1] for fit in fits)
    assert held >= stats.binom.ppf(0.001, len(fits), 0.95)
    too_narrow = sum(abs(fit.D.value - known) < 0.5 * (fit.D.ci95[1] - fit.D.ci95[0]) / 2 for fit in fits)
    assert too_narrow < stats.binom.ppf(0.001, len(fits), 0.95)
    scores = np.array([(fit.D.value - known) / fit.D.se for fit in fits])
    assert stats.kstest(scores, "norm").pvalue > 0.01


def test_coupled_melt_gives_back_beta_and_D():
    melts = [moments_of(RouseSource(30, N_BEADS, 6, 500, DT, seed, coupling=0.8)) for seed in range(12)]
    fits = [fit_gle(melt, DT, spectrum=SIX) for melt in melts]
    assert all(fit.modes == (1, 2, 3, 4, 5, 6) for fit in fits)
    beta_sq = np.array([fit.beta_sq for fit in fits])
    assert abs(beta_sq.mean() - 0.64) < 4 * beta_sq.std(ddof=1) / np.sqrt(len(fits))
    D = np.array([fit.D.value for fit in fits])
    assert abs(D.mean() - rouse_diffusion(N_BEADS)) < 4 * D.std(ddof=1) / np.sqrt(len(fits))
    even = [fit_gle(melt, DT) for melt in melts]
    assert all(fit.modes == (2, 4, 6) for fit in even)
    wrong = np.array([fit.D.value for fit in even])  # such a melt's slowest modes are then taken for diffusion
    assert wrong.mean() - rouse_diffusion(N_BEADS) > 4 * wrong.std(ddof=1) / np.sqrt(len(even))


def test_frames_closer_than_velocities_are_forgotten_do_not_make_D_larger():
    """Centres are Langevin particles that forget their velocities in 1.5 frames, each frame 16 steps of an AR(1)."""
    n, steps, known = 1000, 16, rouse_diffusion(N_BEADS)
    decay = np.exp(-1 / (1.5 * steps))
    size = np.sqrt(2 * known * DT / steps) * (1 - decay)  # so that D of the sum of velocities is what is known
    fits = []
    for seed in range(16):
        frames = joined(list(RouseSource(20, N_BEADS, 6, n, DT, seed)))
        kicks = size * np.random.default_rng(seed).standard_normal(((n + 20) * steps, 20, 3))
        path = np.cumsum(signal.lfilter([1.0], [1.0, -decay], kicks, axis=0), axis=0)[20 * steps :: steps]
        accumulator = MomentAccumulator(20, 6, 64)
        accumulator.add(Frames.of_chains(frames.steps, frames.segments, path, frames.modes))
        fits.append(fit_gle(accumulator.moments(), DT))
    assert all(fit.lags[0] > 1 for fit in fits)
    ratio = np.array([fit.D.value for fit in fits]) / known
    assert abs(ratio.mean() - 1) < 4 * ratio.std(ddof=1) / np.sqrt(len(ratio))
    assert sum(abs(fit.D.value - known) < 2 * fit.D.se for fit in fits) >= stats.binom.ppf(0.001, len(fits), 0.95)


def test_a_melt_moved_by_even_modes_is_fitted_by_them_alone():
    """The centre is made to follow the even modes of another chain, as symmetry has it."""
    known = rouse_diffusion(N_BEADS)
    fits: dict[str, list[GleFit]] = {"even": [], "all": []}
    for seed in range(12):
        frames = joined(list(RouseSource(30, N_BEADS, 6, 500, DT, seed)))
        moved = frames.com + 0.8 * np.roll(frames.modes[:, :, 1::2].sum(axis=2, dtype=np.float64), 1, axis=1)
        accumulator = MomentAccumulator(30, 6, 64)
        accumulator.add(Frames.of_chains(frames.steps, frames.segments, moved, frames.modes))
        fits["even"].append(fit_gle(accumulator.moments(), DT))
        fits["all"].append(fit_gle(accumulator.moments(), DT, spectrum=SIX))
    D = {name: np.array([fit.D.value for fit in own]) for name, own in fits.items()}
    beta_sq = np.array([fit.beta_sq for fit in fits["even"]])
    error = {name: values.std(ddof=1) / np.sqrt(len(values)) for name, values in D.items()}
    assert abs(beta_sq.mean() - 0.64) < 4 * beta_sq.std(ddof=1) / np.sqrt(len(beta_sq))
    assert abs(D["even"].mean() - known) < 4 * error["even"]
    assert D["even"].mean() - D["all"].mean() > 4 * (D["even"] - D["all"]).std(ddof=1) / np.sqrt(12)


def test_where_no_mode_is_allowed_the_shape_of_all_is_taken():
    moments = moments_of(RouseSource(30, N_BEADS, 6, 500, DT, 1, coupling=0.8))
    ring = replace(SIX, invariant=(False,) * 6)
    assert fit_gle(moments, DT, spectrum=ring) == fit_gle(moments, DT, spectrum=SIX)
    alone = replace(moments, msd_modes=moments.msd_modes[:, :1], mode_variance=moments.mode_variance[:1])
    assert fit_gle(alone, DT).modes == (1,)


def test_a_branched_melt_may_move_by_all_modes_or_by_those_of_its_symmetry():
    """Which of the two it does is not known beforehand: D lies between the fits of both, and its error says so."""
    known, rng = rouse_diffusion(N_BEADS), range(8)
    few = (False, True, False, True, False, True)
    for moving in ((1, 2, 3, 4, 5, 6), (2, 4, 6)):
        held = []
        for seed in rng:
            frames = joined(list(RouseSource(30, N_BEADS, 6, 500, DT, seed)))
            columns = [p - 1 for p in moving]
            moved = frames.com + 0.8 * np.roll(frames.modes[:, :, columns].sum(axis=2, dtype=np.float64), 1, axis=1)
            accumulator = MomentAccumulator(30, 6, 64)
            accumulator.add(Frames.of_chains(frames.steps, frames.segments, moved, frames.modes))
            moments = accumulator.moments()
            alone = fit_gle(moments, DT, spectrum=replace(SIX, invariant=few)).D
            both = fit_gle(moments, DT, spectrum=replace(SIX, invariant=few, linear=False)).D
            of_all = fit_gle(moments, DT, spectrum=SIX).D
            assert both.value == pytest.approx((alone.value + of_all.value) / 2)
            assert both.se > max(alone.se, of_all.se)
            held.append(both.ci95[0] < known < both.ci95[1])
        assert np.mean(held) > 0.8


def test_a_ring_may_move_by_all_modes_or_by_all_but_its_slowest_pair():
    moments = moments_of(RouseSource(30, N_BEADS, 6, 500, DT, 1, coupling=0.8))
    pairs = np.repeat(SIX.eigenvalues[::2], 2)
    ring = fit_gle(moments, DT, spectrum=Spectrum(pairs, (False,) * 6, linear=False))
    fast = fit_gle(moments, DT, spectrum=Spectrum(pairs, (False, False, True, True, True, True)))
    of_all = fit_gle(moments, DT, spectrum=Spectrum(pairs, (True,) * 6))
    assert ring.modes == (3, 4, 5, 6)
    assert ring.D.value == pytest.approx((fast.D.value + of_all.D.value) / 2)
    assert ring.D.ci95[0] < min(fast.D.value, of_all.D.value)
    assert ring.D.ci95[1] > max(fast.D.value, of_all.D.value)
    reached = 2 * ring.D.value * moments.lags * DT + ring.beta_sq * moments.msd_modes[:, 2:].sum(axis=1)
    assert np.allclose(reached, moments.msd_com, rtol=0.1)


def test_modes_beyond_k_are_added_where_the_beads_are_known():
    """The melt moves by modes 1..10 = N/2 and the fit sees 3 of them."""
    known, added, missed = rouse_diffusion(N_BEADS), [], []
    for seed in range(16):
        moments = moments_of(RouseSource(30, N_BEADS, 10, 500, DT, seed, coupling=0.8))
        few = replace(moments, msd_modes=moments.msd_modes[:, :3], mode_variance=moments.mode_variance[:3])
        added.append(fit_gle(few, DT, spectrum=UNLIKE).D.value)
        missed.append(fit_gle(few, DT, spectrum=Spectrum(UNLIKE.eigenvalues[:3], (True,) * 3)).D.value)
    error = np.std(added, ddof=1) / np.sqrt(len(added))
    assert abs(np.mean(added) - known) < 4 * error
    assert abs(np.mean(missed) - known) > 4 * error


def test_D_does_not_jump_where_the_shortest_lag_comes_and_goes():
    """Mode k's time crosses a lag at which the MSD is 3% off: D follows without a step."""
    melt = moments_of(RouseSource(30, N_BEADS, 6, 500, DT, 2, coupling=0.8))
    melt.msd_com[4] *= 0.97
    shorter = melt.msd_modes.copy()
    fits = []
    for times in (0.98, 1.02):
        shorter[:, -1] = 2 * melt.mode_variance[-1] * (1 - np.exp(-melt.lags / (times * melt.lags[4])))
        fits.append(fit_gle(replace(melt, msd_modes=shorter), DT, spectrum=SIX))
    assert fits[0].lags[0] < fits[1].lags[0]
    assert abs(fits[0].D.value - fits[1].D.value) < 0.1 * fits[0].D.se


def test_interval_shrinks_with_frames():
    wide = fit_gle(moments_of(RouseSource(20, N_BEADS, 6, 100, DT, 3)), DT).D
    narrow = fit_gle(moments_of(RouseSource(20, N_BEADS, 6, 1600, DT, 3)), DT).D
    assert narrow.se < 0.5 * wide.se


def test_published_form_is_equation_27(rouse_moments):
    """Independent transcription: minimize the sum of squares of eq. 27 over alpha, beta >= 0 on lags 1, m/2, m."""
    for moments in rouse_moments[:5]:
        keep = [int(np.flatnonzero(moments.lags == lag)[0]) for lag in (1, 32, 64)]
        t, msd_x = moments.lags[keep] * DT, moments.msd_com[keep]
        msd_z = [sum(moments.msd_modes[i, j] for j in range(6)) for i in keep]

        def loss(p, t=t, msd_x=msd_x, msd_z=msd_z):
            return 1e4 * sum((x - p[0] ** 2 * s - p[1] ** 2 * z) ** 2 for s, x, z in zip(t, msd_x, msd_z, strict=True))

        tight = {"xatol": 1e-9, "fatol": 1e-14}
        starts = ([0.3, 0.01], [0.3, 0.5])
        minima = [optimize.minimize(loss, start, method="Nelder-Mead", options=tight) for start in starts]
        best = min(minima, key=lambda result: result.fun)
        assert fit_gle(moments, DT, "published").D.value == pytest.approx(best.x[0] ** 2 / 2, rel=1e-4)


def chi2_with_raw_covariance(moments, fit):
    """What the residuals of the published form are not distributed as: weighed with the covariance of the points."""
    points = _points(moments, *_rough_fit(moments))
    keep = [int(np.flatnonzero(moments.lags == lag)[0]) for lag in fit.lags]
    predicted = fit.alpha_sq * DT * points.lags[keep] + fit.beta_sq * points.s[keep]
    residual = points.y[keep] - predicted
    return float(residual @ np.linalg.solve(points.covariance[np.ix_(keep, keep)], residual))


def test_p_of_the_published_form_is_a_probability(rouse_moments):
    """Uniform over exact melts; the points' own covariance, as a control, finds many of them impossible."""
    fits = [fit_gle(moments, DT, "published") for moments in rouse_moments]
    assert all(fit.dof == (1 if fit.beta_sq > 0 else 2) for fit in fits)
    assert {fit.dof for fit in fits} == {1, 2}
    p = np.array([fit.p for fit in fits])
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert (p < 0.01).sum() <= stats.binom.ppf(0.999, len(p), 0.01)
    raw = [chi2_with_raw_covariance(m, fit) for m, fit in zip(rouse_moments, fits, strict=True)]
    assert (stats.chi2.sf(raw, 1) < 0.01).sum() > 10


def altered(change):
    """Moments of a Rouse melt whose centres of mass (time, chain, 3) went through ``change``."""
    source = RouseSource(40, N_BEADS, 6, 800, DT, 5)
    recorded = list(source)
    com = change(joined(recorded).com, np.random.default_rng(5))
    accumulator = MomentAccumulator(40, 6, 64)
    for frame, position in zip(recorded, com, strict=False):
        accumulator.add(Frames.single(frame.last_step, frame.last_segment, position, frame.modes[0]))
    return accumulator.moments()


def smear_and_shake(com, rng):
    """Average over 4 frames and add noise so that the MSD is wrong at lags 1 to 3 and right from 4 on."""
    step_variance = 2 * rouse_diffusion(N_BEADS) * DT
    smeared = np.mean([com[i : len(com) - 3 + i] for i in range(4)], axis=0)
    return smeared + np.sqrt(1.25 * step_variance / 2) * rng.standard_normal(smeared.shape)


def test_short_lags_that_break_the_ansatz_are_left_out():
    fit = fit_gle(altered(smear_and_shake), DT)
    assert fit.lags[0] >= 3
    assert abs(fit.D.value - rouse_diffusion(N_BEADS)) < 4 * fit.D.se


def test_a_motion_that_the_modes_cannot_explain_is_reported():
    shaken = fit_gle(altered(lambda com, rng: com + 0.3 * rng.standard_normal(com.shape)), DT)
    assert shaken.p < 1e-6
    assert fit_gle(altered(lambda com, rng: com), DT).p > 0.01


def test_a_centre_apart_from_the_beads_takes_a_constant_and_no_diffusion():
    """An Ornstein-Uhlenbeck distance between the two, relaxed within two frames, of a size as in combs."""
    known = rouse_diffusion(N_BEADS)
    fits: dict[bool, list[Estimate]] = {}
    for apart in (True, False):
        fits[apart] = []
        for seed in range(14):
            recorded, rng = joined(list(RouseSource(30, N_BEADS, 6, 400, DT, seed))), np.random.default_rng(seed)
            distance = np.sqrt(2 * known * DT) * rng.standard_normal(recorded.com.shape)
            for t in range(1, len(distance)):
                distance[t] = 0.6 * distance[t - 1] + 0.8 * distance[t]
            accumulator = MomentAccumulator(30, 6, 64, apart=apart)
            accumulator.add(
                Frames.of_chains(recorded.steps, recorded.segments, recorded.com + distance, recorded.modes)
            )
            fits[apart].append(fit_gle(accumulator.moments(), DT).D)
    z = {
        apart: (np.mean([D.value for D in own]) - known) / np.std([D.value for D in own]) * np.sqrt(len(own))
        for apart, own in fits.items()
    }
    assert abs(z[True]) < 3.5
    assert z[False] < -4  # the modes take part of the diffusion
    held = sum(D.ci95[0] < known < D.ci95[1] for D in fits[True])
    assert held >= stats.binom.ppf(0.001, len(fits[True]), 0.95)


def test_covariance_is_that_of_simulated_brownian_paths():
    rng = np.random.default_rng(7)
    lags, n_time = np.array([1, 4, 16]), 120
    paths = np.cumsum(rng.standard_normal((4000, n_time)), axis=1)
    averages = np.array([((paths[:, lag:] - paths[:, :-lag]) ** 2).mean(axis=1) for lag in lags])
    (theory,) = msd_covariance([np.arange(60.0)], lags, (n_time,))
    measured = np.cov(averages)
    error = np.sqrt((np.outer(np.diag(theory), np.diag(theory)) + theory**2) / 4000) * 2
    assert np.all(np.abs(measured - theory) < 4 * error)
    assert not np.all(np.abs(measured - 1.2 * theory) < 4 * error)


def test_too_few_lags_is_an_error():
    accumulator = MomentAccumulator(2, 1, 8)
    for step in range(3):
        accumulator.add(Frames.single(step, 0, np.zeros((2, 3)), np.zeros((2, 1, 3), np.float32)))
    with pytest.raises(ValueError, match="3 frames"):
        fit_gle(accumulator.moments(), 1.0)


def test_three_lags_make_the_published_form_with_three_points():
    fit = fit_gle(moments_of(RouseSource(20, 20, 4, 50, 0.5, 1), 3), 0.5, "published")
    assert fit.lags == (1, 2, 3)
    assert fit.D.value > 0


@pytest.mark.parametrize("form", ["default", "published"])
def test_one_chain_alone_or_chains_that_stand_still_are_an_error(form):
    one = moments_of(RouseSource(1, 20, 4, 60, 0.5, 1), 16)
    still = moments_of(RouseSource(5, 20, 4, 60, 0.5, 1), 16)
    for moments in (one, replace(still, msd_com=np.zeros_like(still.msd_com))):
        with pytest.raises(ValueError, match=f"{moments.n_chains} chains? without motion"):
            fit_gle(moments, 0.5, form)


def test_an_interval_does_not_narrow_where_its_mode_outlives_the_memory():
    """Mode 1 alone, of a relaxation time about the longest lag: what cannot be seen to relax is trusted no more."""
    com = np.cumsum(np.random.default_rng(3).normal(size=(400, 30, 3)), axis=0)
    accumulator = MomentAccumulator(30, 1, 64)
    for i, centres in enumerate(com):
        accumulator.add(Frames.single(i, 0, centres, np.ones((30, 1, 3), dtype=np.float32)))
    moments = accumulator.moments()
    lags = moments.lags.astype(float)
    errors = []
    for tau in (62.0, 66.0, 130.0):
        curve = 2.0 * (1 - np.exp(-lags / tau))[:, None]
        fit = fit_gle(replace(moments, msd_modes=curve, mode_variance=np.ones(1)), DT, spectrum=linear_spectrum(3))
        errors.append(fit.D.se)
    assert errors[1] == pytest.approx(errors[0], rel=0.2)
    assert errors[2] > 0.8 * errors[0]


def test_a_mode_of_no_symmetry_is_summed_where_it_is_the_only_one():
    moments = moments_of(RouseSource(30, 3, 1, 300, DT, 5))
    fit = fit_gle(moments, DT, spectrum=linear_spectrum(3))
    assert fit.modes == (1,)
    assert fit.D.value == pytest.approx(rouse_diffusion(3), rel=0.5)
