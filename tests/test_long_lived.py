"""Modes that outlive the memory: stretched ones come out too short without further orders, exponential ones do not."""

import numpy as np

from mlgle_lammps.records import Frames
from mlgle_lammps.surrogates.ml_gle.autoregressive import choose_core, fit_core, relaxation_lags
from mlgle_lammps.surrogates.ml_gle.linear_core import autocovariance
from mlgle_lammps.surrogates.ml_gle.long_lived import LONG_LIVED, reach_beyond
from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions

MEMORY, FRAMES, TRAIN = 12, 900, 600


def sums_of_ou(weights, times, n_chains, seed):
    """Return (time, chain, 1, 3) of unit variance, C(t) = Σ w e^{-t/τ}, and C."""
    rng, weights, decay = np.random.default_rng(seed), np.asarray(weights), np.exp(-1 / np.asarray(times))
    state = rng.standard_normal((len(weights), n_chains, 3))
    y = np.empty((FRAMES, n_chains, 1, 3))
    for t in range(FRAMES):
        y[t, :, 0] = np.einsum("w,wcx->cx", np.sqrt(weights), state)
        kick = rng.standard_normal(state.shape)
        state = decay[:, None, None] * state + np.sqrt(1 - decay**2)[:, None, None] * kick
    return y, lambda lag: float(weights @ decay**lag)


STRETCHED = [0.15, 0.25, 0.6], [4.0, 40.0, 300.0]
SEGMENT = np.zeros(FRAMES, dtype=np.int64)


def cores(y, segments=SEGMENT):
    choice = choose_core(y, segments, TRAIN, MEMORY)
    short = fit_core(y, segments, choice.orders, choice.widths, MEMORY)
    return short, reach_beyond(short, choice.widths, y, segments, TRAIN, MEMORY)


def test_a_stretched_mode_relaxes_as_it_should_with_further_orders_and_too_soon_without():
    lag = 60
    errors: dict[str, list[float]] = {"short": [], "long": []}
    for seed in range(8):
        y, exact = sums_of_ou(*STRETCHED, 60, seed)
        short, (longer, _, notes) = cores(y)
        assert longer.max_order > MEMORY
        assert "look back 36 frames" in notes[0]
        for name, core in (("short", short), ("long", longer)):
            covariance = autocovariance(core, lag + 1)[0]
            errors[name].append(covariance[lag] / covariance[0] - exact(lag))
    mean = {name: np.mean(own) for name, own in errors.items()}
    assert mean["short"] < -3 * np.std(errors["short"], ddof=1) / np.sqrt(8)
    assert abs(mean["long"]) < 0.5 * abs(mean["short"])


def test_a_mode_that_relaxes_in_time_keeps_its_core():
    y, _ = sums_of_ou([1.0], [MEMORY * LONG_LIVED / 2], 40, 1)
    short, (same, _, notes) = cores(y)
    assert same is short
    assert notes == []


def test_only_the_slow_mode_looks_further_back():
    slow, fast = sums_of_ou(*STRETCHED, 40, 2)[0], sums_of_ou([1.0], [3.0], 40, 3)[0]
    short, (longer, widths, _) = cores(np.concatenate([slow, fast], axis=2))
    assert longer.orders[0] > MEMORY >= longer.orders[1]
    assert len(widths) == 2
    np.testing.assert_array_equal(longer.coefficients[1, :MEMORY], short.coefficients[1])
    assert not longer.coefficients[1, MEMORY:].any()
    assert relaxation_lags(longer, 2000)[0] > relaxation_lags(short, 2000)[0]


def test_pieces_too_short_to_look_back_leave_the_core_and_say_so():
    y, _ = sums_of_ou(*STRETCHED, 40, 2)
    short, (same, _, notes) = cores(y, np.arange(FRAMES) // (3 * MEMORY))
    assert same is short
    assert "too few" in notes[0]


def test_the_model_asks_for_as_long_a_history_as_its_core_needs():
    y, _ = sums_of_ou(*STRETCHED, 30, 4)
    steps = np.arange(FRAMES, dtype=np.int64)
    window = Frames.of_chains(steps, np.zeros_like(steps), np.zeros((FRAMES, 30, 3)), y.astype(np.float32))
    options = TrainOptions(memory=MEMORY, train_frames=TRAIN, val_frames=FRAMES - TRAIN, networks=False)
    model = ModeTrainer(options).finish(window)
    assert model.memory == max(model.core.orders) > MEMORY
