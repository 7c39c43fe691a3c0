"""The network (JCP 3.1-3.4, as mended): a frame by Gram-Schmidt, an MLP, a Gaussian with Σ = L D Lᵀ.

Standardized history (3m) -> 256 -> 256 -> 12 -> μ (3) and L, log D (3 + 3), ReLU; the target is the standardized
increment u = (z_t - z_{t-Δt})/σ_Δz in the history's frame. All networks are one batch with a leading network axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

Tensors = Mapping[str, torch.Tensor]

HIDDEN = 256
LATENT = 12
_DEGENERATE = 1e-6
LOG_D_LIMIT = 20.0


def weight_shapes(memory: int, n_networks: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights by name, in the order in which they are drawn."""
    sizes = {
        "1": (3 * memory, HIDDEN), "2": (HIDDEN, HIDDEN), "3": (HIDDEN, LATENT),
        "mean": (LATENT, 3), "covariance": (LATENT, 6),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (n_in, n_out) in sizes.items():
        shapes |= {"w" + layer: (n_networks, n_in, n_out), "b" + layer: (n_networks, 1, n_out)}
    return shapes


def initial_weights(memory: int, n_networks: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Return weights uniform in ±1/√n_in, torch's own default for linear layers.

    Args:
        memory: m.
        n_networks: leading axis.
        generator: a CPU generator.
    """
    shapes = weight_shapes(memory, n_networks)
    weights: dict[str, torch.Tensor] = {}
    for name, shape in shapes.items():
        bound = 1 / math.sqrt(shapes["w" + name[1:]][1])
        weights[name] = (2 * torch.rand(*shape, generator=generator) - 1) * bound
    return weights


def _normalize_or(vector: torch.Tensor, size: torch.Tensor, fallback: torch.Tensor) -> torch.Tensor:
    """Return the unit vector, or ``fallback`` where the length is below a millionth of ``size`` or zero."""
    length = vector.square().sum(-1, keepdim=True).sqrt()
    degenerate = length <= _DEGENERATE * size.clamp_min(1e-20)
    return torch.where(degenerate, fallback, vector / torch.where(degenerate, torch.ones_like(length), length))


def _any_perpendicular(unit: torch.Tensor) -> torch.Tensor:
    """Return a unit vector perpendicular to each ``unit``, built from the axis it is least along."""
    axis = (unit.abs().argmin(-1, keepdim=True) == torch.arange(3, device=unit.device)).to(unit.dtype)
    vector = axis - (axis * unit).sum(-1, keepdim=True) * unit
    return vector / vector.square().sum(-1, keepdim=True).sqrt()


def frame_of(last: torch.Tensor, second: torch.Tensor, third: torch.Tensor) -> torch.Tensor:
    """Return R (JCP 3.2), rows e1 along z_{t-Δt}, e2 in the plane of z_{t-2Δt}, e3 signed by z_{t-3Δt}.

    Where points coincide, vanish or are collinear, any perpendicular direction stands in; R is always orthogonal.
    R turns with the points: R(Q z) = R(z) Qᵀ for every rotation or reflection Q.

    Args:
        last: z_{t-Δt}, (.., 3).
        second: z_{t-2Δt}.
        third: z_{t-3Δt}.

    Returns:
        (.., 3, 3); R v is v in the history's frame.
    """
    length = last.square().sum(-1, keepdim=True).sqrt()
    x_axis = torch.zeros_like(last)
    x_axis[..., 0] = 1.0
    first = _normalize_or(last, length.clamp_min(1e-12), x_axis)
    in_plane = second - (second * first).sum(-1, keepdim=True) * first
    size = second.square().sum(-1, keepdim=True).sqrt()
    e2 = _normalize_or(in_plane, size, _any_perpendicular(first))
    e3 = torch.linalg.cross(first, e2)
    e3 = torch.where((third * e3).sum(-1, keepdim=True) < 0, -e3, e3)
    return torch.stack([first, e2, e3], dim=-2)


def evaluate(weights: Tensors, rotated: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return μ (network, sample, 3), L's entries (l21, l31, l32) and log D, each (network, sample, 3).

    Args:
        weights: of ``initial_weights``.
        rotated: history in its frame, (network, sample, 3m), flattened from (m, 3), oldest first.
    """
    hidden = torch.relu(torch.baddbmm(weights["b1"], rotated, weights["w1"]))
    hidden = torch.relu(torch.baddbmm(weights["b2"], hidden, weights["w2"]))
    latent = torch.baddbmm(weights["b3"], hidden, weights["w3"])
    mean = torch.baddbmm(weights["bmean"], latent, weights["wmean"])
    covariance = torch.baddbmm(weights["bcovariance"], latent, weights["wcovariance"])
    return mean, covariance[..., :3], covariance[..., 3:].clamp(-LOG_D_LIMIT, LOG_D_LIMIT)


def loss(target: torch.Tensor, mean: torch.Tensor, lower: torch.Tensor, log_d: torch.Tensor) -> torch.Tensor:
    """Return Tr log D + (u - μ)ᵀ Σ⁻¹ (u - μ) per sample, JCP eq. 21; 2·NLL - 3 log 2π of a Gaussian.

    (u - μ)ᵀ Σ⁻¹ (u - μ) = Σ_i w_i²/D_i with L w = u - μ, by forward substitution.

    Args:
        target: u in the history's frame, (.., 3).
        mean: μ.
        lower: (l21, l31, l32) of the unit lower-triangular L.
        log_d: log of the diagonal D.
    """
    difference = target - mean
    first = difference[..., 0]
    second = difference[..., 1] - lower[..., 0] * first
    third = difference[..., 2] - lower[..., 1] * first - lower[..., 2] * second
    white = torch.stack([first, second, third], dim=-1)
    return log_d.sum(-1) + (white.square() * torch.exp(-log_d)).sum(-1)


def sample(mean: torch.Tensor, lower: torch.Tensor, log_d: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return μ + L D^{1/2} ε, JCP eq. 23; all arguments (.., 3), ``noise`` standard normal."""
    white = noise * torch.exp(0.5 * log_d)
    second = white[..., 1] + lower[..., 0] * white[..., 0]
    third = white[..., 2] + lower[..., 1] * white[..., 0] + lower[..., 2] * white[..., 1]
    return mean + torch.stack([white[..., 0], second, third], dim=-1)


def rotate_history(history: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the history in its own frame, flattened, and the frame (JCP eq. 18).

    Args:
        history: (network, m, sample, 3), oldest first.

    Returns:
        (network, sample, 3m) and R, (network, sample, 3, 3).
    """
    n_networks, memory, n_samples, _ = history.shape
    frame = frame_of(history[:, -1], history[:, -2], history[:, -3])
    rotated = history.permute(0, 2, 1, 3) @ frame.transpose(-1, -2)
    return rotated.reshape(n_networks, n_samples, 3 * memory), frame
