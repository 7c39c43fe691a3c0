"""The linear core and its fit against exact processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlgle_lammps.surrogates.ml_gle.autoregressive import (
    burg_reflection,
    choose_core,
    estimable_order,
    fit_core,
    held_out_products,
    ladder_up_to,
    smooth_reflection,
)
from mlgle_lammps.surrogates.ml_gle.linear_core import (
    BlockedCore,
    autocovariance,
    core_from_reflection,
    impulse_response,
    predict,
    step_up,
)


def exponential_modes(decay, n_times, n_chains, seed):
    """Stationary AR(1) of unit variance per component, (time, chain, mode, 3)."""
    generator = np.random.default_rng(seed)
    decay = np.asarray(decay)[:, None]
    y = np.empty((n_times, n_chains, len(decay), 3))
    y[0] = generator.standard_normal(y.shape[1:])
    for t in range(1, n_times):
        y[t] = decay * y[t - 1] + np.sqrt(1 - decay**2) * generator.standard_normal(y.shape[1:])
    return y


def one_segment(n_times):
    return np.zeros(n_times, dtype=np.int64)


def naive_burg(pieces, order):
    forward = [p[1:].copy() for p in pieces]
    backward = [p[:-1].copy() for p in pieces]
    reflection = []
    for _ in range(order):
        cross = sum((f * b).sum() for f, b in zip(forward, backward, strict=True))
        power = sum((f**2).sum() + (b**2).sum() for f, b in zip(forward, backward, strict=True))
        k = 2 * cross / power
        reflection.append(k)
        pairs = [((f - k * b)[1:], (b - k * f)[:-1]) for f, b in zip(forward, backward, strict=True)]
        forward, backward = [p[0] for p in pairs], [p[1] for p in pairs]
    return np.array(reflection)


def test_exponential_process_is_recovered_and_a_wrong_friction_is_not():
    times = np.array([2.0, 10.0, 50.0])
    decay = np.exp(-1 / times)
    y = exponential_modes(decay, 1200, 60, seed=1)
    reflection = burg_reflection(y, one_segment(1200), 8)
    n = 1200 * 60 * 3
    error = np.sqrt((1 - decay**2) / n)
    assert np.all(np.abs(reflection[:, 0] - decay) < 4 * error)
    assert np.all(np.abs(reflection[:, 1:]) < 4.5 / np.sqrt(n))
    wrong = np.exp(-1.1 / times)
    assert np.all(np.abs(reflection[:, 0] - wrong) > 4 * error)
    core = fit_core(y, one_segment(1200), (1, 1, 1), (0.0, 0.0, 0.0), 1)
    variance_error = np.sqrt(2 / n * (1 + decay**2) / (1 - decay**2))
    innovation = 1 - decay**2
    relative = np.hypot(variance_error, 2 * decay * error / innovation)
    assert np.all(np.abs(core.innovation_variance / innovation - 1) < 4 * relative)


def test_burg_from_lag_products_equals_burg_on_residuals_and_respects_segments():
    generator = np.random.default_rng(2)
    pieces = [generator.standard_normal((n, 2, 1, 3)).cumsum(0) * 0.3 + 5 * i for i, n in enumerate((40, 25, 4))]
    segments = np.repeat([0, 3, 7], [40, 25, 4])
    found = burg_reflection(np.concatenate(pieces), segments, 6)[0]
    expected = naive_burg([p.reshape(len(p), -1) for p in pieces[:2]], 6)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    across = burg_reflection(np.concatenate(pieces), one_segment(69), 6)[0]
    assert np.abs(across - expected).max() > 1e-3


def test_core_is_stationary_and_has_the_frames_variance():
    y = np.random.default_rng(3).standard_normal((60, 3, 4, 3)).cumsum(0)
    core = fit_core(y, one_segment(60), (20, 8, 1, 3), (0.2, 0.0, 0.0, 0.1), 20)
    for row in core.coefficients:
        assert np.abs(np.roots(np.concatenate([[1.0], -row]))).max() < 1
    stable = fit_core(exponential_modes([0.9, 0.5], 300, 5, 4), one_segment(300), (20, 3), (0.2, 0.0), 20)
    variance = (exponential_modes([0.9, 0.5], 300, 5, 4) ** 2).mean((0, 1, 3))
    np.testing.assert_allclose(autocovariance(stable, 5)[:, 0], variance, rtol=1e-9)


def test_autocovariance_of_an_exponential_process():
    core = core_from_reflection(np.array([[0.95], [0.3]]), (1, 1), np.array([2.0, 1.0]))
    lags = np.arange(50)
    expected = np.array([2.0 * 0.95**lags, 0.3**lags])
    np.testing.assert_allclose(autocovariance(core, 50), expected, atol=1e-8)
    np.testing.assert_allclose(impulse_response(core.coefficients, 50)[0], 0.95**lags)


def test_relaxation_time_is_unbiased_where_the_biased_autocorrelation_is_not():
    tau, n_times = 60.0, 300
    found, biased = [], []
    for seed in range(12):
        y = exponential_modes([np.exp(-1 / tau)], n_times, 20, 10 + seed)
        found.append(burg_reflection(y, one_segment(n_times), 1)[0, 0])
        biased.append((y[1:] * y[:-1]).sum() / (y**2).sum())
    mean, error = np.mean(found), np.std(found, ddof=1) / np.sqrt(12)
    assert abs(mean - np.exp(-1 / tau)) < 4 * error
    assert abs(np.mean(biased) - np.exp(-1 / tau)) > 4 * error


def test_blocks_equal_single_steps():
    generator = np.random.default_rng(5)
    reflection = 0.4 * generator.uniform(-1, 1, (3, 70)) / np.arange(1, 71)
    core = core_from_reflection(reflection, (70, 12, 1), np.array([1.0, 2.0, 0.5]))
    blocked = BlockedCore(core, torch.device("cpu"), torch.float64)
    past, noise = generator.standard_normal((3, 70, 4)), generator.standard_normal((3, 50, 4))
    y = np.concatenate([past, np.zeros_like(noise)], axis=1)
    for t in range(70, 120):
        mean = np.einsum("kp,kpc->kc", core.coefficients, y[:, t - 70 : t][:, ::-1])
        y[:, t] = mean + np.sqrt(core.innovation_variance)[:, None] * noise[:, t - 70]
    found = blocked.advance(torch.tensor(past), torch.tensor(noise)).numpy()
    np.testing.assert_allclose(found, y[:, 70:], atol=1e-10)


def test_prediction_equals_the_plain_sum():
    generator = np.random.default_rng(6)
    core = core_from_reflection(generator.uniform(-0.5, 0.5, (2, 9)), (9, 4), np.ones(2))
    y = generator.standard_normal((200, 3, 2, 3))
    found = predict(core, torch.tensor(y)).numpy()
    for t in (9, 63, 64, 130, 199):
        plain = np.einsum("kp,pckx->ckx", core.coefficients, y[t - 9 : t][::-1])
        np.testing.assert_allclose(found[t], plain, atol=1e-12)


def test_smoothing_keeps_a_power_law_and_removes_noise():
    lag = np.arange(1, 129.0)
    power = (0.2 / lag)[None]
    np.testing.assert_allclose(smooth_reflection(power, 0.2), power, rtol=1e-9)
    noisy = power + 0.002 * np.random.default_rng(7).standard_normal(power.shape)
    smoothed = smooth_reflection(noisy, 0.2)
    assert np.square(smoothed - power)[:, 32:].mean() < 0.2 * np.square(noisy - power)[:, 32:].mean()
    np.testing.assert_array_equal(smoothed[:, :4], noisy[:, :4])


def test_levinson_of_one_coefficient_is_itself_and_orders_cut():
    np.testing.assert_allclose(step_up(np.array([[0.7]])), [[0.7]])
    core = core_from_reflection(np.full((2, 5), 0.3), (2, 5), np.ones(2))
    assert np.all(core.coefficients[0, 2:] == 0)
    assert np.all(core.coefficients[1] != 0)


def test_long_memory_is_chosen_where_there_is_one():
    core = core_from_reflection(np.array([[0.9, *(0.3 / np.arange(2, 33))]]), (32,), np.ones(1))
    blocked = BlockedCore(core, torch.device("cpu"), torch.float64)
    generator = torch.Generator().manual_seed(8)
    y = torch.zeros(1, 32, 60, dtype=torch.float64)
    for _ in range(16):
        noise = torch.randn(1, 64, 60, generator=generator, dtype=torch.float64)
        y = torch.cat([y, blocked.advance(y[:, -32:], noise)], dim=1)
    frames = y[0, 288:].reshape(-1, 20, 1, 3).numpy()
    choice = choose_core(frames, one_segment(len(frames)), 500, 32)
    assert choice.orders[0] >= 16
    short = exponential_modes([0.9], 768, 20, 9)
    chosen = choose_core(short, one_segment(768), 500, 32)
    exact = 1.5 * np.log(2 * np.pi * (1 - 0.81)) + 1.5
    excess = chosen.nll.mean() - exact
    assert excess < 4 * chosen.nll.std(ddof=1) / np.sqrt(20)


def test_memory_follows_the_mode_not_the_window():
    lifetimes = np.array([2.0, 200.0])
    y = exponential_modes(np.exp(-1 / lifetimes), 800, 30, seed=12)
    choice = choose_core(y, one_segment(800), 500, 64)
    assert choice.orders[0] <= 6 * 2 + 1
    assert choice.orders[1] == 64


def test_order_is_limited_by_the_frames():
    assert estimable_order(one_segment(129), 128) == 43
    assert estimable_order(np.repeat([0, 1], 20), 128) == 6
    assert ladder_up_to(43)[-1] == 43
    assert ladder_up_to(1) == (1,)


@pytest.mark.parametrize("n_times", [2, 5])
def test_hardly_any_frames_still_give_a_core(n_times):
    y = np.random.default_rng(11).standard_normal((n_times, 2, 1, 3))
    core = fit_core(y, one_segment(n_times), (4,), (0.2,), estimable_order(one_segment(n_times), 4))
    assert np.isfinite(core.coefficients).all()
    assert core.innovation_variance[0] > 0


def test_held_out_products_are_plain_sums_over_targets():
    y, order, first = np.random.default_rng(12).standard_normal((60, 3, 3)), 7, 25
    segments = np.repeat([0, 1, 2], [30, 5, 25])
    expected, n_expected = np.zeros((3, order + 1, order + 1)), 0
    for begin, end in ((0, 30), (35, 60)):  # the piece between is shorter than a history
        for t in range(max(first, begin + order), end):
            history = y[t - order : t + 1][::-1]
            expected += np.einsum("icx,jcx->cij", history, history)
            n_expected += 1
    found, n_targets = held_out_products(y, segments, first, order)
    assert n_targets == n_expected
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
