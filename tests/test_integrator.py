"""The integrator against exact moments and plain loops."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
import torch

from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.records import Frames, joined
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.batch import BLOCK, Batch
from mlgle_lammps.surrogates.ml_gle.equivariant import Networks
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion, starting_histories
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore, autocovariance, core_from_reflection
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.published import network
from mlgle_lammps.surrogates.ml_gle.published.model import PublishedModes
from mlgle_lammps.surrogates.ml_gle.published.stepper import PublishedStepper
from mlgle_lammps.surrogates.ml_gle.steppers import LinearStepper, NetworkStepper

MEMORY = 20
CPU = torch.device("cpu")


def core_of(n_modes=3):
    reflection = np.zeros((n_modes, MEMORY))
    reflection[:, 0] = [0.95, 0.8, 0.3][:n_modes]
    reflection[:, 1:] = 0.2 / np.arange(2, MEMORY + 1)
    return core_from_reflection(reflection, (MEMORY, 5, 1)[:n_modes], np.ones(n_modes))


def model_of(alpha=0.3, beta_sq=0.25, networks=None, core=None):
    sigma = np.array([2.0, 1.0, 0.5])
    dynamics = ModeModel(MEMORY, sigma, 0.4 * sigma, core or core_of(), networks)
    history = np.random.default_rng(1).standard_normal((MEMORY, 10, 3, 3)) * sigma[:, None]
    return MlGleModel(dynamics, alpha, beta_sq, 2.0, "tau", "sigma", history.astype(np.float32))


def generate(model, n_steps, n_trajectories, seed, **options):
    return MlGleMotion(model, model.history, seed, n_trajectories, **options).advance(n_steps)


def network_of(seed=0, size=0.3, modes=(0, 1, 2)):
    generator = torch.Generator().manual_seed(seed)
    architecture = equivariant.Architecture.within(MEMORY)
    weights = equivariant.initial_weights(architecture, len(modes), generator)
    weights = {n: w + size * torch.randn(w.shape, generator=generator) for n, w in weights.items()}
    return Networks(modes, architecture, weights | equivariant.neutral_scales(architecture, len(modes)))


def collect(chunks):
    whole = joined(list(chunks))
    assert whole.steps.tolist() == list(range(1, len(whole) + 1))
    return whole.com, whole.modes


def test_brownian_motion_has_its_variance_and_a_wrong_one_fails():
    com, _ = collect(generate(model_of(alpha=0.3, beta_sq=-0.5), 400, 500, seed=1))
    for step in (1, 20, 400):
        square = np.square(com[step - 1])
        expected = 0.3**2 * 2.0 * step
        error = expected * math.sqrt(2 / square.size)
        assert abs(square.mean() - expected) < 4 * error
    assert abs(square.mean() - 1.3 * expected) > 4 * error


def test_modes_enter_as_displacements_from_the_last_recorded_frame():
    model = model_of(alpha=0.0, beta_sq=0.25)
    com, modes = collect(generate(model, 300, 10, seed=2))
    expected = 0.5 * (modes.astype(float) - model.history[-1].astype(float)).sum(2)
    np.testing.assert_allclose(com, expected, atol=1e-5)


def test_generated_modes_have_the_cores_variance_and_autocorrelation():
    model = model_of()
    n_trajectories = 400
    _, modes = collect(generate(model, 500, n_trajectories, seed=3))
    y = modes[200:].astype(float) / model.dynamics.sigma[:, None]
    exact = autocovariance(model.dynamics.core, 31)
    for lag in (0, 1, 7, 30):
        products = (y[: len(y) - lag] * y[lag:]).mean((0, 3))
        mean, error = products.mean(0), products.std(0, ddof=1) / math.sqrt(n_trajectories)
        assert np.all(np.abs(mean - exact[:, lag]) < 4 * error)
        if lag == 0:
            assert np.all(np.abs(mean - 1.1 * exact[:, lag]) > 4 * error)


def test_chunks_and_repeats_do_not_matter_and_seeds_do():
    model = model_of(networks=network_of(size=0.05, modes=(1,)))
    com, modes = collect(generate(model, 300, 12, seed=4, chunk=128))
    for chunk in (256, 0):
        same_com, same_modes = collect(generate(model, 300, 12, seed=4, chunk=chunk))
        np.testing.assert_array_equal(modes, same_modes)
        np.testing.assert_allclose(com, same_com, rtol=1e-12, atol=1e-12)
    assert np.abs(modes - collect(generate(model, 300, 12, seed=5))[1]).max() > 0.1


def test_threads_do_not_matter():
    model = model_of(networks=network_of(size=0.05, modes=(1,)))
    first, second = (collect(generate(model, 200, 310, seed=4, chunk=128, threads=n)) for n in (1, 3))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert len(np.unique(first[0][0, :, 0])) == 310


def test_a_generation_that_is_given_up_ends_with_the_block_at_work():
    model = model_of()
    start = torch.as_tensor(model.history / model.dynamics.sigma[:, None].astype(np.float32)).permute(2, 0, 3, 1)
    steppers = model.dynamics.steppers(CPU)
    batch = Batch(model, steppers, start, list(range(1 + len(steppers))))
    com, modes = torch.full((5 * BLOCK, 3, 10), torch.nan, dtype=torch.float64), torch.empty(3, 5 * BLOCK, 3, 10)
    answers = iter([False, False, True])
    batch.advance(com, modes, 1, lambda: next(answers))
    assert com[: 2 * BLOCK].isfinite().all()
    assert com[2 * BLOCK :].isnan().all()
    chunks = generate(model, 10**7, 10, seed=1, chunk=256)
    next(chunks)
    chunks.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("generate")]


def test_single_precision_follows_double():
    core, noise = core_of(), torch.randn(3, 500, 3, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    results = []
    for dtype in (torch.float64, torch.float32):
        stepper = LinearStepper(core, (0, 1, 2), CPU, dtype)
        buffer = torch.zeros(3, stepper.reach + 500, 3, 4, dtype=dtype)
        stepper.fill(buffer, noise.to(dtype))
        results.append(buffer.double())
    assert (results[0] - results[1]).abs().max() < 1e-4


@pytest.mark.parametrize("size", [0.0, 0.3])
def test_network_steps_equal_a_plain_loop(size):
    core, networks = core_of(), network_of(size=size)
    stepper = NetworkStepper(core, networks, CPU, torch.float64)
    generator = torch.Generator().manual_seed(7)
    reach, noise = stepper.reach, torch.randn(3, 45, 3, 2, generator=generator, dtype=torch.float64)
    buffer = torch.randn(3, reach + 45, 3, 2, generator=generator, dtype=torch.float64)
    plain = buffer.clone()
    tensors = {name: t.double() for name, t in networks.tensors.items()}
    scale = torch.tensor(core.innovation_variance).sqrt()[:, None, None]
    for t in range(reach, reach + 45):
        past = plain[:, t - MEMORY : t].flip(1)
        mean = torch.einsum("kp,kpxc->kxc", torch.tensor(core.coefficients), past)
        basis = equivariant.make_basis(
            plain[:, t - 1], torch.stack([plain[:, t - 1 - lag] for lag in networks.architecture.lags], 1), mean
        )
        squares = plain[:, :t].diff(dim=1).square().sum(2)
        activity = torch.stack([squares[:, -w:].mean(1) for w in networks.architecture.windows], 1)
        residual, log_variance = equivariant.evaluate(tensors, basis, activity)
        spread = (0.5 * log_variance).exp().unsqueeze(1)
        plain[:, t] = mean + scale * (residual + spread * noise[:, t - reach])
    stepper.fill(buffer, noise)
    torch.testing.assert_close(buffer, plain, atol=1e-9, rtol=1e-9)
    if size == 0.0:
        linear = LinearStepper(core, (0, 1, 2), CPU, torch.float64)
        start = plain[:, reach - linear.reach :].clone()
        linear.fill(start, noise)
        torch.testing.assert_close(start[:, linear.reach :], plain[:, reach:], atol=1e-10, rtol=1e-10)


def test_published_steps_equal_a_plain_transcription():
    weights = network.initial_weights(MEMORY, 3, torch.Generator().manual_seed(8))
    sigma = np.array([2.0, 1.0, 0.5])
    (stepper,) = PublishedModes(MEMORY, sigma, 0.4 * sigma, weights).steppers(CPU, torch.float64)
    assert isinstance(stepper, PublishedStepper)
    generator = torch.Generator().manual_seed(9)
    buffer = torch.randn(3, MEMORY + 5, 3, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(3, 5, 3, 2, generator=generator, dtype=torch.float64)
    plain = buffer.numpy().copy()
    w = {name: t.double().numpy() for name, t in weights.items()}
    for mode in range(3):
        for trajectory in range(2):
            for t in range(MEMORY, MEMORY + 5):
                history = plain[mode, t - MEMORY : t, :, trajectory]
                e1 = history[-1] / np.linalg.norm(history[-1])
                e2 = history[-2] - history[-2] @ e1 * e1
                e2 /= np.linalg.norm(e2)
                e3 = np.cross(e1, e2)
                e3 *= 1 if history[-3] @ e3 >= 0 else -1
                turn = np.array([e1, e2, e3])
                hidden = (history @ turn.T).reshape(-1)
                for layer in "12":
                    hidden = np.maximum(hidden @ w["w" + layer][mode] + w["b" + layer][mode, 0], 0)
                latent = hidden @ w["w3"][mode] + w["b3"][mode, 0]
                mean = latent @ w["wmean"][mode] + w["bmean"][mode, 0]
                c = latent @ w["wcovariance"][mode] + w["bcovariance"][mode, 0]
                lower = np.array([[1, 0, 0], [c[0], 1, 0], [c[1], c[2], 1]])
                increment = mean + lower @ (np.exp(c[3:] / 2) * noise[mode, t - MEMORY, :, trajectory].numpy())
                plain[mode, t, :, trajectory] = history[-1] + 0.4 * turn.T @ increment
    stepper.fill(buffer, noise)
    np.testing.assert_allclose(buffer.numpy(), plain, atol=1e-6)


def test_more_trajectories_than_chains_start_apart():
    history = np.random.default_rng(10).standard_normal((60, 4, 3, 3)).astype(np.float32)
    starts = starting_histories(history, MEMORY, 14, np.random.default_rng(0))
    assert starts.shape == (MEMORY, 14, 3, 3)
    np.testing.assert_array_equal(starts[:, :4], history[-MEMORY:])
    lengths = np.square(starts).sum(-1)
    np.testing.assert_allclose(lengths[:, 4:8], np.square(history[27:47]).sum(-1), rtol=1e-4)
    ends = starts[-1].reshape(14, -1)
    distance = np.linalg.norm(ends[:, None] - ends[None], axis=-1) + 100 * np.eye(14)
    assert distance.min() > 0.1
    only_memory = starting_histories(history[:MEMORY], MEMORY, 8, np.random.default_rng(0))
    assert np.abs(only_memory[:, :4] - only_memory[:, 4:]).max() > 0.1


def test_runaway_names_mode_and_step():
    core = core_of()
    explosive = LinearCore(np.array([[0.9], [1.2], [0.5]]), (1, 1, 1), core.innovation_variance)
    with pytest.raises(RunFailure, match=r"mode 2 .* step \d+"):
        collect(generate(model_of(core=explosive), 200, 5, seed=1))


@pytest.mark.parametrize("shape", [(3, 5, 3, 3), (MEMORY, 5, 2, 3), (MEMORY, 0, 3, 3)])
def test_a_history_of_another_shape_is_refused(shape):
    numbers, com = np.zeros(shape[0], dtype=np.int64), np.zeros((*shape[:2], 3))
    frames = Frames.of_chains(np.arange(shape[0]), numbers, com, np.zeros(shape, dtype=np.float32))
    with pytest.raises(UserError, match="history"):
        model_of().start(frames, 1, n_trajectories=5)


def test_calls_of_whole_blocks_are_as_one_call():
    model = model_of(networks=network_of(size=0.05, modes=(1,)))
    com, modes = collect(generate(model, 4 * BLOCK, 12, seed=4))
    motion = MlGleMotion(model, model.history, 4, 12)
    again = joined([block for n in (1, 2, 1) for block in motion.advance(n * BLOCK)])
    np.testing.assert_array_equal(modes, again.modes)
    np.testing.assert_allclose(com, again.com, rtol=1e-12, atol=1e-12)


def test_a_call_goes_on_from_within_a_block():
    """Odd calls have the same law as one call: the core's autocovariance over their seams; a restart would not."""
    model, n_trajectories = model_of(), 300
    motion = MlGleMotion(model, model.history, 5, n_trajectories)
    whole = joined([block for n in [400, *[37] * 30] for block in motion.advance(n)])
    y = whole.modes.astype(float) / model.dynamics.sigma[:, None]
    last = np.arange(399, len(y) - 37, 37)  # of a call
    products = (y[last] * y[last + 7]).mean((0, 3))
    exact = autocovariance(model.dynamics.core, 8)[:, 7]
    mean, error = products.mean(0), products.std(0, ddof=1) / math.sqrt(n_trajectories)
    assert np.all(np.abs(mean - exact) < 4 * error)
    assert np.all(np.abs(0.9 * mean - exact)[:2] > 4 * error[:2])
    steps = np.diff(whole.com[last[:, None] + np.arange(2)], axis=1)
    anywhere = np.diff(whole.com[400:], axis=0)
    assert np.square(steps).mean() == pytest.approx(np.square(anywhere).mean(), rel=0.1)


def test_a_motion_that_was_left_does_not_go_on():
    motion = MlGleMotion(model_of(), model_of().history, 1, 5, chunk=BLOCK)
    blocks = motion.advance(5 * BLOCK)
    next(blocks)
    blocks.close()
    with pytest.raises(ValueError, match="given up"):
        next(motion.advance(10))


def test_wild_networks_stay_bounded():
    chunks = generate(model_of(networks=network_of(size=0.5)), 2000, 20, seed=11)
    assert all(np.isfinite(chunk.modes).all() for chunk in chunks)
