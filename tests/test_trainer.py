"""Training: silent on a linear process, better on a non-linear one, honest about few frames, reproducible."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Frames
from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions
from mlgle_lammps.surrogates.ml_gle.published.training import PublishedModeTrainer, PublishedOptions
from mlgle_lammps.surrogates.ml_gle.training_frames import (
    independent_units,
    mean_and_error,
    prepare_frames,
    split_targets,
)

DECAY = 0.9
HETEROSCEDASTICITY = 0.6


def window_of(modes, segments=None):
    n_times, n_chains = modes.shape[:2]
    segments = np.zeros(n_times, dtype=np.int64) if segments is None else segments
    com = np.zeros((n_times, n_chains, 3))
    return Frames.of_chains(np.arange(n_times), segments, com, modes.astype(np.float32))


def changing_variance(n_times, n_chains, strength, seed):
    """AR(1) whose noise variance follows the last increment, and its exact NLL per frame (nats, units of z).

    s_t² = s² [1 - b + b |z_{t-1} - z_{t-2}|²/(3 v)], v the increments' variance, so that <s_t²> = s² for every b: the
    autocorrelation is that of AR(1).
    """
    generator = np.random.default_rng(seed)
    s_sq = 1 - DECAY**2
    v = 2 * (1 - DECAY)
    z = np.zeros((n_times + 100, n_chains, 3))
    nll = np.zeros((n_times + 100, n_chains))
    z[:2] = generator.standard_normal((2, n_chains, 3)) * np.sqrt([[[1.0]], [[1.0]]])
    for t in range(2, len(z)):
        activity = np.square(z[t - 1] - z[t - 2]).sum(-1) / (3 * v)
        variance = s_sq * (1 - strength + strength * activity)
        noise = generator.standard_normal((n_chains, 3))
        z[t] = DECAY * z[t - 1] + np.sqrt(variance)[:, None] * noise
        nll[t] = 0.5 * np.square(noise).sum(-1) + 1.5 * np.log(2 * np.pi * variance)
    return z[100:], nll[100:]


def drift_to_a_shell(n_times, n_chains, seed):
    """z_t = [1 + 0.12 tanh(1 - |z_{t-1}|²/1.5²)] z_{t-1} + 0.25 ε: not Gaussian in z; and its exact NLL per frame."""
    generator = np.random.default_rng(seed)
    z = np.zeros((n_times + 200, n_chains, 3))
    noise = generator.standard_normal((len(z), n_chains, 3))
    for t in range(1, len(z)):
        pull = 0.12 * np.tanh(1 - np.square(z[t - 1]).sum(-1, keepdims=True) / 1.5**2)
        z[t] = (1 + pull) * z[t - 1] + 0.25 * noise[t]
    nll = 0.5 * np.square(noise).sum(-1) + 1.5 * np.log(2 * np.pi * 0.25**2)
    return z[200:], nll[200:]


OPTIONS = TrainOptions(memory=16, train_frames=400, val_frames=200, max_updates=300, seed=3)


@pytest.fixture(scope="module")
def both_processes():
    """A non-linear and a linear process as two modes, the trained model, and the exact NLL of the first."""
    non_linear, exact = changing_variance(600, 40, HETEROSCEDASTICITY, seed=1)
    linear, _ = changing_variance(600, 40, 0.0, seed=2)
    window = window_of(np.stack([non_linear, linear], axis=2))
    return window, ModeTrainer(OPTIONS).finish(window), exact


def test_network_is_kept_on_the_non_linear_process_and_gains_most_of_what_there_is(both_processes):
    _, model, exact = both_processes
    report = model.reports[0]
    assert report.model.endswith("+network")
    held_out = exact[400:, 1::2].mean() - 3 * math.log(model.sigma_increment[0])
    possible = report.core_nll - held_out
    assert possible > 0.05
    assert report.core_nll - report.val_nll > 0.6 * possible
    error = np.std(exact[400:, 1::2].mean(0), ddof=1) / math.sqrt(20)
    assert report.val_nll > held_out - 4 * error


def test_network_learns_a_drift_that_no_linear_model_has():
    modes, exact = drift_to_a_shell(600, 40, seed=4)
    report = ModeTrainer(OPTIONS).finish(window_of(modes[:, :, None])).reports[0]
    sigma_increment = np.sqrt(np.mean(np.diff(modes[:400].astype(np.float32), axis=0).astype(np.float64) ** 2))
    held_out = exact[400:, 1::2].mean() - 3 * math.log(sigma_increment)
    possible = report.core_nll - held_out
    assert possible > 0.02
    assert report.core_nll - report.val_nll > 0.6 * possible
    assert report.val_nll > held_out - 0.01


def test_modes_far_beyond_the_memory_are_named():
    slow, fast = (changing_variance(600, 20, 0.0, seed)[0] for seed in (6, 7))
    slow = slow.cumsum(axis=0) * 0.05
    window = window_of(np.stack([slow, fast], axis=2))
    options = TrainOptions(memory=4, train_frames=400, val_frames=200, networks=False)
    assert any(note.startswith("mode 1 lives more than 4 times") for note in ModeTrainer(options).finish(window).notes)
    options = TrainOptions(memory=128, train_frames=400, val_frames=200, networks=False)
    assert not any("memory of" in note for note in ModeTrainer(options).finish(window_of(fast[:, :, None])).notes)


def test_network_is_silent_on_the_linear_process(both_processes):
    _, model, _ = both_processes
    assert model.networks.modes == (0,)
    assert not model.reports[1].details["network"]
    assert model.reports[1].val_nll == model.reports[1].core_nll
    exact = 1.5 * math.log(2 * math.pi * (1 - DECAY**2)) + 1.5 - 3 * math.log(model.sigma_increment[1])
    assert abs(model.reports[1].core_nll - exact) < 4 * math.sqrt(1.5 / (200 * 20)) + 0.01


def test_equal_frames_and_seed_give_equal_bits_after_online_rounds(both_processes):
    window, _, _ = both_processes
    options = TrainOptions(memory=16, train_frames=400, val_frames=200, max_updates=25, keep_at=-100.0, seed=5)

    def train():
        trainer = ModeTrainer(options)
        for n in (17, 100, 300):
            cut = window[:n]
            trainer.partial_fit(cut)
        return trainer.finish(window)

    first, second = train(), train()
    np.testing.assert_array_equal(first.core.coefficients, second.core.coefficients)
    assert first.reports == second.reports
    assert 0 in first.networks.modes
    assert first.networks.modes == second.networks.modes
    for name, tensor in first.networks.tensors.items():
        assert torch.equal(tensor, second.networks.tensors[name])


@pytest.mark.parametrize("n_frames", [17, 20, 30, 120])
def test_few_frames_still_give_a_core(both_processes, n_frames):
    window, _, _ = both_processes
    cut = window[:n_frames]
    trainer = ModeTrainer(TrainOptions(memory=16, train_frames=400, val_frames=200, max_updates=25))
    trainer.partial_fit(cut)
    model = trainer.finish(cut)
    assert np.isfinite(model.core.coefficients).all()
    assert len(model.reports) == 2
    assert (n_frames < 30) == bool(model.notes)


def test_published_network_learns_and_stops(both_processes):
    window, default, _ = both_processes
    rounds: list[dict[str, Any]] = []
    options = PublishedOptions(
        memory=16, train_frames=400, val_frames=200, epochs=4, patience=2, learning_rate=1e-3
    )  # fmt: skip
    trainer = PublishedModeTrainer(options, on_round=rounds.append)
    model = trainer.finish(window)
    assert model.n_modes == 2
    assert rounds[-1]["stage"] == "done"
    for report, ours in zip(model.reports, default.reports, strict=True):
        assert ours.core_nll - 0.2 < report.val_nll < ours.core_nll + 0.1
        assert math.isnan(report.core_nll)


def test_published_network_splits_by_chains_where_frames_are_few(both_processes):
    window, _, _ = both_processes
    cut = window[:17]
    options = PublishedOptions(memory=16, train_frames=400, val_frames=200, epochs=2)
    model = PublishedModeTrainer(options).finish(cut)
    assert all(math.isfinite(report.val_nll) for report in model.reports)


def test_published_network_without_a_window_is_refused(both_processes):
    window, _, _ = both_processes
    options = PublishedOptions(memory=16, train_frames=400, val_frames=200)
    with pytest.raises(UserError, match="no window of memory 16"):
        PublishedModeTrainer(options).finish(window[:16])


def test_training_stops_when_asked(both_processes):
    window, _, _ = both_processes
    asked = []

    def stop():
        asked.append(1)
        return True

    model = ModeTrainer(OPTIONS, should_stop=stop).finish(window)
    assert asked
    assert model.networks is None


def test_a_mode_that_never_moves_does_no_harm(both_processes):
    window, _, _ = both_processes
    modes = window.modes.copy()
    modes[:, :, 1] = 0
    still = Frames.of_chains(window.steps, window.segments, window.com, modes)
    options = TrainOptions(memory=16, train_frames=400, val_frames=200, max_updates=25)
    model = ModeTrainer(options).finish(still)
    assert np.isfinite(model.core.coefficients).all()
    assert model.networks is None or 1 not in model.networks.modes


def test_targets_respect_segments_and_share_nothing():
    segments = np.repeat([0, 1, 2], [40, 5, 35])
    targets = split_targets(segments, 6, 50, 8, torch.device("cpu"), False)
    for index in (targets.train, targets.stop, targets.judge):
        times = (index // 6).numpy()
        assert np.all(segments[times] == segments[times - 8])
        assert len(index)
    assert not set(targets.stop.tolist()) & set(targets.judge.tolist())
    assert max(targets.train.tolist()) // 6 < 50 <= min(targets.stop.tolist()) // 6
    assert not {i % 6 for i in targets.stop.tolist()} & {i % 6 for i in targets.judge.tolist()}


def test_windows_are_gathered_as_they_were(both_processes):
    window, _, _ = both_processes
    frames = prepare_frames(window, 16, 400, 200, torch.device("cpu"), False)
    index = frames.targets.train[123:126]
    found = frames.rows(index[None] - frames.n_chains * torch.tensor([[2], [1]]))
    time, chain = int(index[1]) // 40, int(index[1]) % 40
    expected = window.modes[time - 2 : time, chain] / frames.sigma[:, None]
    np.testing.assert_allclose(found[:, :, 1].numpy(), expected.transpose(1, 0, 2), rtol=1e-6)


def test_standard_error_is_over_units():
    targets = torch.arange(400)
    units = independent_units(targets, 20)
    assert len(torch.unique(units)) == 20
    assert len(torch.unique(independent_units(targets, 2))) == 8
    values = (targets % 20).double().expand(1, -1)
    mean, error = mean_and_error(values, units)
    assert mean[0] == pytest.approx(9.5)
    assert error[0] == pytest.approx(np.std(np.arange(20), ddof=1) / math.sqrt(20))
