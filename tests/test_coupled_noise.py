"""Correlated innovations: found where there are some, white and statically uncorrelated when generated."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Frames
from mlgle_lammps.surrogates.ml_gle.coupled_noise import WIDEST, CoupledNoise, NoiseOfModes, find_coupling
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.linear_core import core_from_reflection
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.pooled import PooledTrainer
from mlgle_lammps.surrogates.ml_gle.tie import Tie

DECAY = np.array([0.97, 0.9, 0.8])
APART = np.array([[1.0, 0.0, -0.3], [0.0, 1.0, 0.0], [-0.3, 0.0, 1.0]])


def core():
    reflection = np.zeros((3, 4))
    reflection[:, 0] = DECAY
    return core_from_reflection(reflection, (1, 1, 1), np.ones(3))


def model_of(coupling, tie=None):
    dynamics = ModeModel(4, np.ones(3), 0.3 * np.ones(3), core(), None, coupling=coupling)
    history = np.random.default_rng(1).standard_normal((4, 100, 3, 3)).astype(np.float32)
    return MlGleModel(dynamics, 0.2, 0.3, 1.0, "tau", "sigma", history, tie=tie)


def noise_of(coupling, n_blocks=12, seed=1):
    source = NoiseOfModes(coupling, torch.zeros(3, 1, 3, 60), 128, seed)
    return torch.cat([source.next_block() for _ in range(n_blocks)], dim=1).double().numpy()


def correlations(noise, lag):
    first, second = noise[:, lag:], noise[:, : noise.shape[1] - lag]
    return np.einsum("ptxc,qtxc->pq", first, second) / first[0].size


def test_noise_is_white_in_every_mode_and_correlated_between_them_in_one_frame_alone():
    noise, error = noise_of(CoupledNoise(APART, 6)), 1 / np.sqrt(12 * 128 * 180)
    fast = 1 - 1 / 13  # what the running mean of 13 frames leaves of it
    assert np.all(np.abs(correlations(noise, 0) - np.where(APART == 1, 1, APART * fast)) < 5 * error + 0.01)
    for lag in (1, 3, 6):
        found = correlations(noise, lag)
        assert np.all(np.abs(np.diag(found)) < 5 * error + 0.004)
        assert 0.3 / 13 / 2 < found[0, 2] < 0.3 / 13 * 2
    assert np.all(np.abs(correlations(noise, 20)) < 5 * error)
    slow = noise.reshape(3, -1, 128, 3, 60).mean(axis=2)  # over long times nothing is left
    assert abs(np.corrcoef(slow[0].ravel(), slow[2].ravel())[0, 1]) < 0.3 * 0.2 + 4 / np.sqrt(slow[0].size)


def test_a_coupling_is_found_again_and_independent_modes_have_none():
    kept = {}
    for name, coupling in (("coupled", CoupledNoise(APART, 6)), ("free", CoupledNoise(np.eye(3), 6))):
        noise = noise_of(coupling, 8, seed=3)
        y = np.zeros_like(noise)
        for t in range(1, noise.shape[1]):
            y[:, t] = DECAY[:, None, None] * y[:, t - 1] + np.sqrt(1 - DECAY**2)[:, None, None] * noise[:, t]
        frames = torch.as_tensor(y.transpose(1, 3, 0, 2))
        kept[name] = find_coupling(frames, np.zeros(len(frames), dtype=np.int64), core())
    assert kept["free"] is None
    coupled = kept["coupled"]
    assert coupled is not None
    assert abs(coupled.correlation[0, 2] + 0.3 * (1 - 1 / 13)) < 0.02
    assert coupled.correlation[0, 1] == 0.0
    assert 3 <= coupled.half_width <= 10
    short = np.arange(len(frames)) // (2 * WIDEST)
    assert find_coupling(frames, short, core()) is None


def test_modes_of_which_some_are_copies_are_coupled_as_others_are():
    correlation, decay = np.eye(4), np.array([0.95, 0.95, 0.95, 0.85])[:, None, None]
    correlation[1, 3] = correlation[3, 1] = -0.3
    source = NoiseOfModes(CoupledNoise(correlation, 6), torch.zeros(4, 1, 3, 40), 128, 7)
    noise = torch.cat([source.next_block() for _ in range(8)], dim=1).double().numpy()
    y = np.zeros_like(noise)
    for t in range(1, noise.shape[1]):
        y[:, t] = decay * y[:, t - 1] + np.sqrt(1 - decay**2) * noise[:, t]
    modes = y.transpose(1, 3, 0, 2).astype(np.float32)
    steps = np.arange(len(modes))
    frames = Frames.of_chains(steps, np.zeros_like(steps), np.zeros((len(modes), 40, 3)), modes)
    how = TrainOptions(16, 700, 300, networks=False)
    coupling = PooledTrainer(how, [range(3), range(3, 4)]).finish(frames).coupling
    assert coupling is not None
    expected = np.where(correlation == -0.3, -0.3 * (1 - 1 / 13), correlation)
    assert np.all(np.abs(coupling.correlation - expected) < 5 / np.sqrt(len(modes) * 120) + 0.01)
    assert ModeTrainer(how).finish(frames).coupling is not None
    assert ModeTrainer(replace(how, coupled=False)).finish(frames).coupling is None


def test_generated_modes_keep_their_own_law_and_move_together():
    made = {}
    for name, coupling in (("coupled", CoupledNoise(APART, 6)), ("free", None)):
        model = model_of(coupling, Tie((2,), (0.0,)))
        blocks = list(MlGleMotion(model, model.history, 5, 100).advance(1500))
        made[name] = np.concatenate([block.modes for block in blocks])[200:].astype(float)
    for lag in (0, 1, 10):
        for y in made.values():
            products = (y[lag:] * y[: len(y) - lag]).mean(axis=(0, 3))
            mean, error = products.mean(axis=0), products.std(axis=0, ddof=1) / 10
            assert np.all(np.abs(mean - DECAY**lag) < 4 * error + 0.01)
    steps = np.diff(made["coupled"], axis=0)
    assert np.mean(steps[:, :, 0] * steps[:, :, 2]) / steps[:, :, 0].std() / steps[:, :, 2].std() < -0.2
    y = made["coupled"]
    assert abs(np.mean(y[:, :, 0] * y[:, :, 2])) < 0.06  # with noise coupled at all times -0.19
    free = np.diff(made["free"], axis=0)
    assert abs(np.mean(free[:, :, 0] * free[:, :, 2])) / free[:, :, 0].std() / free[:, :, 2].std() < 0.02


def test_chunks_do_not_matter_with_coupled_noise():
    model = model_of(CoupledNoise(APART, 4), Tie((2,), (0.1,)))
    one, other = (
        np.concatenate([block.com for block in MlGleMotion(model, model.history, 2, 20, chunk=chunk).advance(384)])
        for chunk in (128, 384)
    )
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_a_model_file_keeps_the_coupling_and_refuses_what_is_none(tmp_path):
    path = tmp_path / "model.safetensors"
    model_of(CoupledNoise(APART, 6)).save(path)
    found = MlGleModel.load(path).dynamics.coupling
    assert found is not None
    np.testing.assert_allclose(found.correlation, APART)
    assert found.half_width == 6
    model_of(None).save(path)
    assert MlGleModel.load(path).dynamics.coupling is None
    for wrong in (np.array(APART) * 2, np.where(APART < 0, -1.5, APART), APART + np.triu(np.full((3, 3), 0.1), 1)):
        model_of(CoupledNoise(wrong, 6)).save(path)
        with pytest.raises(UserError, match="damaged"):
            MlGleModel.load(path)
