"""Several devices share the modes: the same numbers as on one, and devices that are not there are refused by name."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import mlgle_lammps as ml
from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.commands.parsers import parse_generate
from mlgle_lammps.commands.replay import main as replay
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import joined
from mlgle_lammps.resources import compute
from mlgle_lammps.resources.compute import describe_device, resolve_device, resolve_devices
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.autoregressive import fit_core
from mlgle_lammps.surrogates.ml_gle.coupled_noise import CoupledNoise
from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions
from mlgle_lammps.surrogates.ml_gle.residual_training import ResidualData, ResidualTrainer
from mlgle_lammps.surrogates.ml_gle.shared_training import SharedTrainer, parts_of, residual_trainer
from mlgle_lammps.surrogates.ml_gle.stand_ins import stand_in
from mlgle_lammps.surrogates.ml_gle.training_frames import prepare_frames

pytestmark = pytest.mark.light

CPU, TWO = torch.device("cpu"), tuple(torch.device(name) for name in ("cpu:0", "cpu:1"))
MEMORY, MODES = 16, 5
ROUNDING = 2e-5
"""Batches of other sizes are summed in another order, in single precision."""


@pytest.fixture(scope="module")
def window():
    return joined(list(RouseSource(12, 20, MODES, 160, 0.4, seed=3)))


@pytest.fixture(scope="module")
def data(window):
    frames = prepare_frames(window, MEMORY, 100, 60, CPU, may_split_chains=False)
    y, segments = frames.y.numpy(), frames.segments
    core = fit_core(y, segments, (4, 4, 6, 4, 4), (0.2,) * MODES, 6)
    return ResidualData(frames, core, equivariant.Architecture.within(MEMORY))


def trained(trainer, data):
    trainer.measure(data)
    trainer.update(data, 7)
    best = trainer.train(data, 20, 5, 3, lambda: False)
    return best.weights() | trainer.scales, best.best


def test_networks_on_two_devices_are_those_of_one(data):
    alone = ResidualTrainer(data.architecture, MODES, CPU, 1, 2e-3, 10.0, 64)
    shared = residual_trainer(data.architecture, MODES, TWO, 1, 2e-3, 10.0, 64)
    assert isinstance(shared, SharedTrainer)
    (one, value), (two, other) = trained(alone, data), trained(shared, data)
    assert alone.n_updates == shared.n_updates == 27
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=ROUNDING, rtol=1e-4)
    torch.testing.assert_close(other, value, atol=ROUNDING, rtol=1e-4)


def test_another_seed_is_seen(data):
    one, _ = trained(ResidualTrainer(data.architecture, MODES, CPU, 1, 2e-3, 10.0, 64), data)
    two, _ = trained(SharedTrainer(data.architecture, MODES, TWO, 2, 2e-3, 10.0, 64), data)
    assert max(float((one[name] - two[name]).abs().max()) for name in one) > 100 * ROUNDING


def test_modes_are_dealt_out_evenly():
    assert parts_of(5, 2) == [[0, 1, 2], [3, 4]]
    assert parts_of(2, 3) == [[0], [1]]
    alone = residual_trainer(equivariant.Architecture.within(MEMORY), 1, TWO, 1, 2e-3, 10.0, 64)
    assert isinstance(alone, ResidualTrainer)


def test_a_whole_training_is_the_same(window):
    options = TrainOptions(memory=MEMORY, train_frames=100, val_frames=60, max_updates=25, evaluate_every=5)
    models = [ModeTrainer(replace(options, beside=beside)) for beside in ((), ("cpu:1",))]
    one, two = (model.finish(window) for model in models)
    np.testing.assert_array_equal(one.core.coefficients, two.core.coefficients)
    for first, second in zip(one.reports, two.reports, strict=True):
        assert first.model == second.model
        assert second.val_nll == pytest.approx(first.val_nll, abs=1e-4)


def generated(model, device, n_steps=300):
    start = ml.Frames.of_chains(
        np.arange(len(model.history)), np.zeros(len(model.history), np.int64),
        np.zeros((*model.history.shape[:2], 3)), model.history,
    )  # fmt: skip
    return joined(list(model.start(start, 5, n_trajectories=12, device=device).advance(n_steps)))


@pytest.mark.parametrize("networks", [True, False])
@pytest.mark.parametrize("coupled", [True, False])
def test_trajectories_of_two_devices_are_those_of_one(networks, coupled):
    model = stand_in(MODES, MEMORY, 12, networks)
    if coupled:
        correlation = np.eye(MODES)
        correlation[0, 2] = correlation[2, 0] = -0.2
        object.__setattr__(model.dynamics, "coupling", CoupledNoise(correlation, 4))
    one, two = generated(model, "cpu"), generated(model, "cpu:0,cpu:1")
    scale = one.modes.std()
    assert np.abs(two.modes - one.modes).max() < 1e-4 * scale
    assert np.abs(two.com - one.com).max() < 1e-4 * np.abs(one.com).max()
    assert np.abs(generated(model, "cpu:0,cpu:1").modes - two.modes).max() == 0


def test_the_published_networks_are_dealt_out_too(window, tmp_path):
    options = {
        "modes": 3, "memory": 8, "train_frames": 100, "val_frames": 40, "generate_steps": 0, "preset": "paper"
    }  # fmt: skip
    run = ml.learn(RouseSource(12, 20, 3, 140, 0.4, seed=3), tmp_path / "run", **options)
    one, two = (
        ml.generate_ensemble(run, steps=200, ensemble=8, device=device) for device in ("cpu", "cpu:0,cpu:1,cpu:2")
    )
    assert np.abs(two.modes - one.modes).max() < 1e-3 * one.modes.std()


def test_the_command_takes_them(tmp_path):
    source = RouseSource(12, 20, 3, 140, 0.4, seed=3)
    frames = joined(list(source))
    np.savez(tmp_path / "s.npz", com=frames.com, modes=frames.modes, dt=0.4)
    words = "--memory 8 --train-frames 100 --val-frames 40 --modes 3 --generate-steps 100 --ensemble 8".split()  # noqa: SIM905
    made = []
    for name in ("cpu", "cpu:0,cpu:1"):
        out = tmp_path / name.replace(",", "-")
        assert replay([str(tmp_path / "s.npz"), *words, "--device", name, "--out", str(out)]) == 0
        run = ml.open_run(out)
        made.append(run.generated().modes)
        assert run.result["device"] == ("cpu" if name == "cpu" else "cpu:0, cpu:1")
    assert np.abs(made[1] - made[0]).max() < 1e-2 * made[0].std()


@pytest.mark.parametrize(("name", "words"), [
    ("gpu", "choose from auto, cpu, cuda"), ("cuda:0,", "choose from"), ("", "choose from"), ("cuda:x", "choose from"),
    ("cuda,cuda:1", "by their numbers"), ("auto,cpu", "choose from"), ("cpu:0,cuda:0", "of one kind"),
    ("cuda:1,cuda:1", "named twice"), ("cuda:1,cuda:01", "named twice"),
])  # fmt: skip
def test_names_that_are_none(name, words, tmp_path):
    with pytest.raises(UserError, match=words):
        parse_generate([str(tmp_path), "--device", name])
    with pytest.raises(UserError, match=words):
        ml.learn(RouseSource(2, 4, 1, 9, 1.0, 1), tmp_path / "run", device=name)


def test_devices_that_are_not_there_are_refused_by_name(monkeypatch, tmp_path):
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2, get_device_name=lambda i: f"Card {i}")
    monkeypatch.setattr(compute.torch, "cuda", cuda)
    assert [str(device) for device in resolve_devices("cuda:0,cuda:1")] == ["cuda:0", "cuda:1"]
    assert str(resolve_device("auto")) == "cuda"
    assert describe_device(*resolve_devices("cuda:1,cuda:0")) == "Card cuda:1, Card cuda:0"
    with pytest.raises(UserError, match=r"cuda:2 was asked for, but torch finds cuda:0 \(Card 0\), cuda:1 \(Card 1\)"):
        resolve_devices("cuda:0,cuda:2")
    cuda.is_available = lambda: False
    with pytest.raises(UserError, match="cuda:0 was asked for, but torch finds no CUDA device"):
        resolve_devices("cuda:0,cuda:1")
    assert str(resolve_device("auto")) == "cpu"
