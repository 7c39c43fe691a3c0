"""Networks: exact symmetry, the core as their start, the published equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.published import network

ARCHITECTURE = equivariant.Architecture.within(16)


def rotation(seed, reflect=False):
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    q *= np.sign(np.linalg.det(q)) * (-1 if reflect else 1)
    return torch.tensor(q)


def random_network(n_networks=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = equivariant.initial_weights(ARCHITECTURE, n_networks, generator)
    weights = {n: w + 0.5 * torch.randn(w.shape, generator=generator) for n, w in weights.items()}
    tensors = weights | equivariant.neutral_scales(ARCHITECTURE, n_networks)
    return {name: t.double() for name, t in tensors.items()}


def random_samples(n=50, seed=1, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    y = size * torch.randn(2, 17, 3, n, generator=generator, dtype=torch.float64)
    earlier = y[:, [15 - lag for lag in ARCHITECTURE.lags]]
    basis = equivariant.make_basis(y[:, 15], earlier, 0.9 * y[:, 15] + 0.05 * y[:, 14])
    squares = y.diff(dim=1).square().sum(2)
    activity = torch.stack([squares[:, -w - 1 : -1].mean(1) for w in ARCHITECTURE.windows], 1)
    return basis, activity


@pytest.mark.parametrize("reflect", [False, True])
def test_network_turns_with_its_history(reflect):
    tensors, (basis, activity) = random_network(), random_samples()
    turn = rotation(3, reflect)
    residual, log_variance = equivariant.evaluate(tensors, basis, activity)
    turned, same = equivariant.evaluate(tensors, turn @ basis, activity)
    assert residual.abs().max() > 0.1
    torch.testing.assert_close(turned, turn @ residual, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(same, log_variance, atol=1e-10, rtol=1e-10)


def test_new_network_is_the_core():
    generator = torch.Generator().manual_seed(1)
    tensors = equivariant.initial_weights(ARCHITECTURE, 2, generator) | equivariant.neutral_scales(ARCHITECTURE, 2)
    basis, activity = (x.float() for x in random_samples())
    residual, log_variance = equivariant.evaluate(tensors, basis, activity)
    assert torch.all(residual == 0)
    assert torch.all(log_variance == 0)


def test_network_is_bounded_and_leaves_the_far_field_to_the_core():
    tensors = {name: 30 * t if name.startswith("w") else t for name, t in random_network().items()}
    residual, log_variance = equivariant.evaluate(tensors, *random_samples(size=1.0))
    assert residual.square().sum(1).sqrt().max() <= equivariant.RESIDUAL_BOUND
    assert log_variance.abs().max() <= equivariant.LOG_VARIANCE_BOUND
    basis, activity = random_samples(size=1.0)
    basis[:, 0] *= 7 / basis[:, 0].square().sum(1, keepdim=True).sqrt()
    residual, log_variance = equivariant.evaluate(tensors, basis, activity)
    assert torch.all(residual == 0)
    assert torch.all(log_variance == 0)


def test_second_moments_are_conserved():
    tensors, (basis, activity) = random_network(), random_samples(4000)
    tensors["w3"] *= 0.005
    tensors["b3"] *= 0.005
    equivariant.conserve_second_moments(tensors, basis, activity)
    residual, log_variance = equivariant.evaluate(tensors, basis, activity)
    power = log_variance.exp().mean(1) + residual.square().sum(1).mean(1) / 3
    torch.testing.assert_close(power, torch.ones(2, dtype=torch.float64), atol=0.02, rtol=0)
    unit = basis / basis.square().mean((2, 3), keepdim=True).sqrt()
    correlation = (unit * residual.unsqueeze(1)).mean((2, 3)) / residual.square().mean((1, 2)).sqrt()[:, None]
    assert correlation.abs().max() < 0.05


def test_published_frame_is_orthogonal_and_turns_even_where_points_degenerate():
    generator = torch.Generator().manual_seed(2)
    a, b, c = torch.randn(3, 40, 3, generator=generator, dtype=torch.float64)
    frame, turn = network.frame_of(a, b, c), rotation(4)
    torch.testing.assert_close(network.frame_of(a @ turn.T, b @ turn.T, c @ turn.T), frame @ turn.T)
    rotated = frame @ a.unsqueeze(-1)
    assert rotated[:, 1:].abs().max() < 1e-12
    assert rotated[:, 0].min() > 0
    assert (frame @ b.unsqueeze(-1))[:, 2].abs().max() < 1e-12
    assert (frame @ c.unsqueeze(-1))[:, 2].min() >= 0
    zero = torch.zeros_like(a)
    for points in [(zero, zero, zero), (a, a, a), (a, -2 * a, c), (a, zero, c), (zero, b, c), (a, b, zero)]:
        eye = torch.eye(3, dtype=torch.float64).expand(40, 3, 3)
        found = network.frame_of(*points)
        torch.testing.assert_close(found @ found.transpose(1, 2), eye, atol=1e-9, rtol=0)


def test_published_loss_is_twice_the_gaussian_nll_up_to_its_constant():
    generator = torch.Generator().manual_seed(3)
    target, mean, lower, log_d = torch.randn(4, 30, 3, generator=generator, dtype=torch.float64)
    unit = torch.eye(3, dtype=torch.float64).repeat(30, 1, 1)
    unit[:, 1, 0], unit[:, 2, 0], unit[:, 2, 1] = lower.T
    covariance = unit @ torch.diag_embed(log_d.exp()) @ unit.transpose(1, 2)
    exact = torch.distributions.MultivariateNormal(mean, covariance_matrix=covariance).log_prob(target)
    found = network.loss(target, mean, lower, log_d)
    torch.testing.assert_close(found + 3 * np.log(2 * np.pi), -2 * exact)
    wrong = network.loss(target, mean, lower, log_d.exp())
    assert (wrong + 3 * np.log(2 * np.pi) + 2 * exact).abs().max() > 0.1
    noise = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    plain = mean + (unit @ (noise * (0.5 * log_d).exp()).unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(network.sample(mean, lower, log_d, noise), plain)


def test_published_network_has_the_published_size():
    weights = network.initial_weights(128, 1, torch.Generator().manual_seed(0))
    shapes = {name: tuple(w.shape[1:]) for name, w in weights.items() if name.startswith("w")}
    assert shapes == {
        "w1": (384, 256), "w2": (256, 256), "w3": (256, 12), "wmean": (12, 3), "wcovariance": (12, 6),
    }  # fmt: skip
