"""What a GPU must do as a CPU does: training, generation, files, graphs. Without one a CPU shows what it can."""

from __future__ import annotations

import gc
import logging
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.chains.spectrum import linear_spectrum
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.options.learn import TRAINED_CHAINS, LearnOptions
from mlgle_lammps.pipeline.generation import generate_to_file
from mlgle_lammps.records import Frames, joined
from mlgle_lammps.statistics.moments import MomentAccumulator
from mlgle_lammps.surrogates.catalogue import find_preset, load_model, make_trainer
from mlgle_lammps.surrogates.ml_gle import batch, captured, equivariant
from mlgle_lammps.surrogates.ml_gle.autoregressive import fit_core
from mlgle_lammps.surrogates.ml_gle.calibration import calibrate
from mlgle_lammps.surrogates.ml_gle.equivariant import Networks
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.linear_core import autocovariance
from mlgle_lammps.surrogates.ml_gle.published import network
from mlgle_lammps.surrogates.ml_gle.published.model import PublishedModes
from mlgle_lammps.surrogates.ml_gle.published.rehearsal import stand_in as published_stand_in
from mlgle_lammps.surrogates.ml_gle.published.training import PublishedTrainer
from mlgle_lammps.surrogates.ml_gle.residual_training import ResidualData, ResidualTrainer
from mlgle_lammps.surrogates.ml_gle.stand_ins import joined_up, made_up_frames, stand_in, stand_in_core
from mlgle_lammps.surrogates.ml_gle.trainer import some_chains

ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
DEVICES = ["cpu", pytest.param("cuda", marks=ON_GPU)]
PRESETS = ("default", "paper")
KINDS = ("core", "networks", "paper")
N_CHAINS, BEADS, MODES, MEMORY, DT = 12, 8, 3, 12, 0.5
SOURCE = RouseSource(N_CHAINS, BEADS, MODES, 120, DT, seed=4)


@lru_cache
def window():
    return joined(list(SOURCE))


def trained(preset, device, frames=None, system=SOURCE.system):
    frames = window() if frames is None else frames
    options = LearnOptions(
        Path("nowhere"),
        preset=preset,
        modes=MODES,
        memory=MEMORY,
        train_frames=80,
        val_frames=40,
        device=device,
        seed=3,
    )
    moments = MomentAccumulator(system.n_chains, MODES, MEMORY)
    for frame in frames:
        moments.add(frame)
    fit = fit_gle(moments.moments(), DT, find_preset(options).fit_form, linear_spectrum(BEADS))
    trainer = make_trainer(options, system, lambda: fit)
    for n in (MEMORY + 1, 70, 110):
        trainer.partial_fit(frames[:n])
    return trainer.finish(frames)


@lru_cache
def model_of(preset, device):
    return trained(preset, device)


def bytes_of(model, path):
    model.save(path)
    return path.read_bytes()


def made_up(kind, n_modes=MODES, memory=MEMORY, n_trajectories=10):
    if kind == "paper":
        return published_stand_in(n_modes, memory, n_trajectories)
    return stand_in(n_modes, memory, n_trajectories, networks=kind == "networks")


def moved(model, device, n_steps, n_trajectories=10, seed=5):
    return joined(list(MlGleMotion(model, model.history, seed, n_trajectories, device=device).advance(n_steps)))


def filled(kind, device, dtype, n_steps, n_trajectories=4):
    """Return what the steppers make of one and the same start and noise, by mode."""
    result: dict[int, torch.Tensor] = {}
    for stepper in made_up(kind).dynamics.steppers(torch.device(device), dtype):
        generator = torch.Generator().manual_seed(2)
        rows, shape = len(stepper.modes), (3, n_trajectories)
        noise = torch.randn(rows, n_steps, *shape, generator=generator, dtype=torch.float64)
        start = 0.3 * torch.randn(rows, stepper.reach, *shape, generator=generator, dtype=torch.float64)
        buffer = torch.zeros(rows, stepper.reach + n_steps, *shape, dtype=dtype, device=device)
        buffer[:, : stepper.reach] = start.to(device, dtype)
        with torch.inference_mode():
            stepper.fill(buffer, noise.to(device, dtype))
        result |= dict(zip(stepper.modes, buffer[:, stepper.reach :].double().cpu(), strict=True))
    return torch.stack([result[mode] for mode in sorted(result)])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_learns_and_generates(preset, device):
    model = model_of(preset, device)
    assert model.preset == preset
    assert all(math.isfinite(report.val_nll) for report in model.reports)
    whole = moved(model, device, 300)
    assert np.isfinite(whole.com).all()
    ratio = np.var(whole.modes, axis=(0, 1, 3)) / np.var(window().modes, axis=(0, 1, 3))
    assert np.all((ratio > 0.1) & (ratio < 10))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("preset", PRESETS)
def test_equal_seeds_give_equal_bits(preset, device, tmp_path):
    model = model_of(preset, device)
    assert bytes_of(model, tmp_path / "a") == bytes_of(trained(preset, device), tmp_path / "b")
    first = moved(model, device, 200)
    assert first.same_bits(moved(model, device, 200))
    assert np.abs(first.modes[-1] - moved(model, device, 200, seed=6).modes[-1]).max() > 0.01


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("preset", PRESETS)
def test_models_go_from_one_device_to_the_other(preset, device, tmp_path):
    path = tmp_path / "model.safetensors"
    model_of(preset, device).save(path)
    found = load_model(path)
    assert bytes_of(found, tmp_path / "again") == path.read_bytes()
    assert moved(found, device, 130).same_bits(moved(model_of(preset, device), device, 130))
    for other in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        assert np.isfinite(moved(found, other, 130).modes).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_generation_goes_on_where_it_was(kind, device):
    model = made_up(kind)
    whole = moved(model, device, 4 * batch.BLOCK)
    motion = MlGleMotion(model, model.history, 5, 10, device=device)
    again = joined([block for n in (1, 2, 1) for block in motion.advance(n * batch.BLOCK)])
    np.testing.assert_array_equal(whole.modes, again.modes)
    np.testing.assert_allclose(whole.com, again.com, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_follows_double(kind, device):
    single, double = (filled(kind, device, dtype, 150) for dtype in (torch.float32, torch.float64))
    assert float((single - double).abs().max()) < (1e-4 if kind == "core" else 1e-2)
    assert float(double.std()) > 0.05


@pytest.mark.parametrize("device", DEVICES)
def test_the_generated_core_has_its_exact_autocovariance(device):
    """Over independent trajectories; a variance that is off by a tenth must not pass."""
    model, n_trajectories = made_up("core"), 2000 if device == "cuda" else 300
    whole = moved(model, device, 1536, n_trajectories)
    y = whole.modes[-512:].astype(np.float64)
    exact = autocovariance(model.dynamics.core, 9)
    for lag in (0, 1, 8):
        products = (y[: len(y) - lag] * y[lag:]).mean((0, 3))
        mean, error = products.mean(0), products.std(0, ddof=1) / math.sqrt(n_trajectories)
        assert np.all(np.abs(mean - exact[:, lag]) < 4 * error)
        assert np.any(np.abs(0.9 * mean - exact[:, lag]) > 4 * error)


@pytest.mark.parametrize("device", DEVICES)
def test_very_many_trajectories(device):
    n = 10_000 if device == "cuda" else 500
    for kind in KINDS if device == "cuda" else ("core",):
        model = made_up(kind, memory=64, n_trajectories=100)
        whole = moved(model, device, 140, n)
        assert whole.com.shape == (140, n, 3)
        assert len(np.unique(whole.com[-1, :, 0])) == n
        assert np.isfinite(whole.modes).all()


@pytest.mark.parametrize("device", DEVICES)
def test_a_file_of_generated_trajectories(device, tmp_path):
    model = model_of("default", device)
    summary = generate_to_file(
        model, window(), SOURCE.system, tmp_path / "generated.h5", steps=400, ensemble=30, save_every=10, seed=1,
        device=device, threads=1,
    )  # fmt: skip
    assert summary.n_frames == 400
    assert (tmp_path / "generated.h5").is_file()
    assert np.isfinite(summary.correlation.nacf).all()


@pytest.mark.parametrize("device", DEVICES[1:])
def test_calibration_brings_networks_to_the_core(device):
    core, architecture = stand_in_core(2, MEMORY), equivariant.Architecture.within(MEMORY)
    weights = equivariant.initial_weights(architecture, 2, torch.Generator().manual_seed(1))
    tensors = weights | equivariant.neutral_scales(architecture, 2)
    tensors["log_variance_offset"] = torch.full_like(tensors["log_variance_offset"], 0.1)
    y = torch.randn(40, 5, 2, 3, generator=torch.Generator().manual_seed(3)).to(device)
    found = calibrate(core, Networks((0, 1), architecture, tensors), y, seed=1)
    assert found.networks is not None
    assert all(abs(ratio - 1) < 0.05 for ratio in found.variance_ratio.values())
    assert all(tensor.device.type == "cpu" for tensor in found.networks.tensors.values())


def trainer_of(preset, frames):
    if preset == "paper":
        return PublishedTrainer(MEMORY, MODES, frames.y.device, 1, 1e-3, 32), frames
    y, segments = frames.y.cpu().numpy(), frames.segments
    architecture = equivariant.Architecture.within(MEMORY)
    data = ResidualData(frames, fit_core(y, segments, (4,) * MODES, (0.2,) * MODES, 4), architecture)
    trainer = ResidualTrainer(architecture, MODES, frames.y.device, 1, 2e-3, 10.0, 64)
    trainer.measure(data)
    return trainer, data


def learned_weights(preset, device, n_updates, capture=None):
    """Return weights after updates on the same frames, with the step captured by ``capture`` where one is given."""
    trainer, data = trainer_of(preset, made_up_frames(6, MODES, MEMORY, torch.device(device)))
    trainer._step._capture = capture
    (trainer.round if preset == "paper" else trainer.update)(data, n_updates)
    kept = trainer.weights if preset == "paper" else trainer.mean
    return {name: weight.detach().cpu().clone() for name, weight in kept.items()}, trainer, data


def run_four_times(work):
    for _ in range(4):
        work()
    return work


@pytest.mark.parametrize("preset", PRESETS)
def test_capturing_a_gradient_step_changes_nothing(preset):
    """With a stand-in for CUDA's capture that does the work, as warming up does; then its replays go on."""
    plain, *_ = learned_weights(preset, "cpu", 30)
    seen, trainer, data = learned_weights(preset, "cpu", 30, run_four_times)
    assert trainer._step._replay is not None
    assert all(torch.equal(plain[name], seen[name]) for name in plain)
    start, *_ = learned_weights(preset, "cpu", 0)
    assert any(not torch.equal(plain[name], start[name]) for name in plain)
    index = (data if preset == "paper" else data.frames).targets.train
    trainer._step(data, index[:5])  # another length: taken as it is
    assert trainer._step._index is not None
    trainer._step(trainer_of(preset, made_up_frames(6, MODES, MEMORY, torch.device("cpu")))[1], index[:32])
    assert trainer._step._replay is None  # other data


@pytest.mark.parametrize("preset", PRESETS)
def test_a_gradient_step_that_cannot_be_captured_goes_on(preset, caplog):
    def fail(work):
        work()
        raise RuntimeError("operation not permitted")

    plain, *_ = learned_weights(preset, "cpu", 30)
    failed, *_ = learned_weights(preset, "cpu", 30, fail)
    assert caplog.text.count("could not be captured") == 1
    assert all(torch.equal(plain[name], failed[name]) for name in plain)


def test_scalar_products_at_once_are_those_by_rows():
    basis = torch.randn(2, 9, 3, 40, generator=torch.Generator().manual_seed(1))
    at_once, by_rows = equivariant._gram_at_once(basis), equivariant._gram_by_rows(basis)
    assert at_once.shape == (2, 45, 40)
    torch.testing.assert_close(at_once, by_rows, rtol=0, atol=0)


def without_graphs(monkeypatch):
    monkeypatch.setattr(batch, "captured", lambda work, changed: work)
    monkeypatch.setattr(captured, "captured", lambda work, changed, capture=None: work)


def refuse_a_failed_capture(caplog):
    assert "could not be captured" not in caplog.text


class TestOnAGpu:
    pytestmark = ON_GPU

    @pytest.mark.parametrize("kind", KINDS)
    def test_steps_are_those_of_a_cpu(self, kind):
        """From the same start and noise, in double precision."""
        here, there = (filled(kind, device, torch.float64, 150) for device in ("cuda", "cpu"))
        torch.testing.assert_close(here, there, atol=1e-7, rtol=1e-7)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_graph_gives_the_bits_of_its_operations(self, kind, monkeypatch, caplog):
        model = made_up(kind, memory=40)
        with_graph = moved(model, "cuda", 3 * batch.BLOCK, 300)
        refuse_a_failed_capture(caplog)
        without_graphs(monkeypatch)
        np.testing.assert_array_equal(with_graph.modes, moved(model, "cuda", 3 * batch.BLOCK, 300).modes)

    @pytest.mark.parametrize("preset", PRESETS)
    def test_a_captured_gradient_step_gives_the_bits_of_its_operations(self, preset, monkeypatch, caplog):
        with_graph, trainer, _ = learned_weights(preset, "cuda", 40)
        assert trainer._step._replay is not None
        refuse_a_failed_capture(caplog)
        without_graphs(monkeypatch)
        without, *_ = learned_weights(preset, "cuda", 40)
        for name, weight in without.items():
            torch.testing.assert_close(with_graph[name], weight, rtol=0, atol=0)

    @pytest.mark.parametrize("preset", PRESETS)
    def test_a_few_updates_teach_what_they_teach_on_a_cpu(self, preset):
        """By likelihood: Adam divides by the gradient's size, so where that is next to nothing weights go their way."""
        values = []
        for device, n_updates in (("cpu", 0), ("cpu", 20), ("cuda", 20)):
            weights, *_ = learned_weights(preset, device, n_updates)
            trainer, data = trainer_of(preset, made_up_frames(6, MODES, MEMORY, torch.device("cpu")))
            if preset == "paper":
                trainer.weights = weights
                values.append(float(trainer.nll(data, data.targets.train).mean()))
            else:
                trainer.mean = weights
                values.append(float(trainer._evaluate(data).mean()))
        start, there, here = values
        assert abs(here - there) < 1e-4 + 0.01 * abs(there - start)
        assert abs(there - start) > 1e-3

    @pytest.mark.parametrize("preset", PRESETS)
    def test_held_out_likelihoods_are_those_of_a_cpu(self, preset):
        """Of the same weights, on the same frames."""
        values = []
        _, trainer, _ = learned_weights(preset, "cpu", 20)
        for device in ("cpu", "cuda"):
            other, data = trainer_of(preset, made_up_frames(6, MODES, MEMORY, torch.device(device)))
            if preset == "paper":
                other.weights = {name: w.detach().to(device) for name, w in trainer.weights.items()}
                values.append(other.nll(data, data.targets.train).mean(1).cpu())
            else:
                other.mean = {name: w.to(device) for name, w in trainer.mean.items()}
                values.append(other._evaluate(data).cpu())
        assert float((values[0] - values[1]).abs().max()) < 1e-4

    def test_linear_cores_have_the_likelihood_that_they_have_on_a_cpu(self):
        here, there = (model_of("default", device).reports for device in ("cuda", "cpu"))
        for one, other in zip(here, there, strict=True):
            assert one.core_nll == pytest.approx(other.core_nll, abs=1e-4)
            assert one.details["order"] == other.details["order"]

    def test_a_failed_capture_leaves_stream_and_tensors_as_they_were(self, caplog):
        tensor = torch.ones(3, device="cuda")
        before = torch.cuda.current_stream()

        def work():
            tensor.mul_(2)
            if torch.cuda.is_current_stream_capturing():
                raise RuntimeError("not this")

        again = captured.captured(work, [tensor])
        assert again is work
        assert "could not be captured" in caplog.text
        assert torch.cuda.current_stream() == before
        assert tensor.tolist() == [1, 1, 1]
        doubled = captured.captured(lambda: tensor.mul_(2), [tensor])  # and the next capture succeeds
        doubled()
        assert tensor.tolist() == [2, 2, 2]
        assert gc.isenabled()

    def test_nothing_waits_for_the_host_inside_a_block(self):
        """A synchronisation would cost more than the block's work, and forbid its capture."""
        for kind in KINDS:
            for stepper in made_up(kind).dynamics.steppers(torch.device("cuda")):
                shape = (len(stepper.modes), stepper.reach + 20, 3, 10)
                buffer, noise = torch.zeros(shape, device="cuda"), torch.zeros(shape, device="cuda")[:, :20]
                stepper.fill(buffer, noise)
                torch.cuda.set_sync_debug_mode("error")
                try:
                    stepper.fill(buffer, noise)
                finally:
                    torch.cuda.set_sync_debug_mode("default")

    def test_memory_is_given_back(self):
        model, n_trajectories = made_up("networks"), 5000
        for _ in range(2):
            moved(model, "cuda", batch.BLOCK, n_trajectories)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        for _ in range(5):  # of 60 MiB and a graph each
            moved(model, "cuda", batch.BLOCK, n_trajectories)
        assert torch.cuda.memory_allocated() <= before + 100 * 2**20

    def test_learning_from_very_many_chains(self):
        source = RouseSource(10_000, BEADS, MODES, 60, DT, seed=2)
        frames = joined(list(source))
        assert some_chains(frames).modes.shape[1] <= TRAINED_CHAINS
        model = trained("default", "cuda", frames, source.system)
        assert np.isfinite(moved(model, "cuda", 140, 10_000).com).all()

    def test_a_stream_becomes_d_on_the_gpu(self, tmp_path, unrendered):
        from mlgle_lammps.replay import main

        frames: Frames = window()
        path = tmp_path / "stream.npz"
        np.savez(path, com=frames.com, modes=frames.modes, dt=DT)
        arguments = [
            str(path), "--device", "cuda", "--modes", str(MODES), "--memory", str(MEMORY), "--train-frames", "80",
            "--val-frames", "40", "--generate-steps", "300", "--ensemble", "20", "--out", str(tmp_path / "run"),
        ]  # fmt: skip
        logging.getLogger("mlgle").setLevel(logging.INFO)
        assert main(arguments) == 0
        assert (tmp_path / "run" / "result.json").is_file()
        assert (tmp_path / "run" / "generated.h5").is_file()


def test_the_published_stand_in_has_the_published_networks():
    """What the comparisons above call "paper" are networks of every mode."""
    dynamics = made_up("paper").dynamics
    assert isinstance(dynamics, PublishedModes)
    assert {name: tuple(t.shape) for name, t in dynamics.tensors.items()} == network.weight_shapes(MEMORY, MODES)
    assert joined_up(dynamics, 4).history.shape == (MEMORY, 4, MODES, 3)
