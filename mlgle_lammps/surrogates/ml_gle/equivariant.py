"""Equivariant network on top of the linear core: y_t = core + s r + s exp(v/2) ε.

The residual r is a sum of history vectors with invariant coefficients, the log-variance v an invariant, so that a
rotation of the history rotates the prediction exactly. Invariants are the Gram matrix of the basis vectors and the
mean squared increments of the recent past, whose slow change is most of what a linear model leaves. |r| and |v| are
bounded and vanish for |y| beyond ``FADE_END``: the generator is a stable filter driven by bounded-variance noise.

Vectors have d components, those of the free directions: 3, 2 or 1, where it is reflections that turn the prediction.
All networks are evaluated as one batch: every tensor has a leading network axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch

Tensors = Mapping[str, torch.Tensor]

INCREMENT_LAGS = (1, 2, 4, 8, 16, 32, 64)
ACTIVITY_WINDOWS = (4, 16, 64)
HIDDEN = 64
FADE_START, FADE_END = 4.0, 6.0
COEFFICIENT_BOUND = 1.0
RESIDUAL_BOUND = 3.0
LOG_VARIANCE_BOUND = 1.5
FEATURE_BOUND = 5.0
WEIGHTS = ("w1", "b1", "w2", "b2", "w3", "b3")
POSITIVE = ("basis_scale", "activity_scale", "feature_sd")


@dataclass(frozen=True)
class Architecture:
    """What a network sees.

    Attributes:
        lags: increments y_{t-1} - y_{t-1-l} in the basis, in frames.
        windows: mean squared increments over the last w frames, in frames.
    """

    lags: tuple[int, ...]
    windows: tuple[int, ...]

    @staticmethod
    def within(memory: int) -> Architecture:
        """Return the architecture whose reach is within a memory of m frames."""
        return Architecture(
            tuple(lag for lag in INCREMENT_LAGS if lag < memory), tuple(w for w in ACTIVITY_WINDOWS if w < memory)
        )

    @property
    def n_basis(self) -> int:
        """Basis vectors: last position, increments, and the core's predicted increment."""
        return len(self.lags) + 2

    @property
    def n_features(self) -> int:
        """Invariants that enter the network."""
        return self.n_basis * (self.n_basis + 1) // 2 + len(self.windows)

    @property
    def reach(self) -> int:
        """Frames of history that are looked at."""
        return max((*self.lags, *self.windows), default=0) + 1


@dataclass(frozen=True)
class Networks:
    """Networks of some modes, one batch.

    Attributes:
        modes: 0-based indices of the modes that have one.
        architecture: lags and windows.
        tensors: weights and scales by name, network axis first, on the CPU.
    """

    modes: tuple[int, ...]
    architecture: Architecture
    tensors: dict[str, torch.Tensor]


def weight_shapes(architecture: Architecture, n_networks: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights by name."""
    sizes = (architecture.n_features, HIDDEN, HIDDEN, architecture.n_basis + 1)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (n_in, n_out) in enumerate(pairwise(sizes), start=1):
        shapes |= {f"w{layer}": (n_networks, n_in, n_out), f"b{layer}": (n_networks, 1, n_out)}
    return shapes


def scale_shapes(architecture: Architecture, n_networks: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the scales by name."""
    return {
        "basis_scale": (n_networks, architecture.n_basis, 1, 1),
        "activity_scale": (n_networks, len(architecture.windows), 1),
        "feature_mean": (n_networks, 1, architecture.n_features),
        "feature_sd": (n_networks, 1, architecture.n_features),
        "linear_part": (n_networks, architecture.n_basis, 1, 1),
        "log_variance_offset": (n_networks, 1),
    }


def initial_weights(architecture: Architecture, n_networks: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Return weights with a last layer of zeros: r = 0 and v = 0, the core itself.

    Args:
        architecture: what the network sees.
        n_networks: leading axis.
        generator: a CPU generator.
    """
    weights: dict[str, torch.Tensor] = {}
    for name, shape in weight_shapes(architecture, n_networks).items():
        drawn = torch.randn(shape, generator=generator) / shape[1] ** 0.5 if name[0] == "w" else torch.zeros(shape)
        weights[name] = torch.zeros(shape) if name == "w3" else drawn
    return weights


def neutral_scales(architecture: Architecture, n_networks: int) -> dict[str, torch.Tensor]:
    """Return scales that change nothing, to be replaced by ``measure_scales``."""
    shapes = scale_shapes(architecture, n_networks).items()
    return {name: torch.ones(shape) if name in POSITIVE else torch.zeros(shape) for name, shape in shapes}


def make_basis(last: torch.Tensor, earlier: torch.Tensor, core: torch.Tensor) -> torch.Tensor:
    """Return the basis vectors, (network, basis, d, sample).

    Args:
        last: y_{t-1}, (network, d, sample).
        earlier: y_{t-1-l} of each lag, (network, lag, d, sample).
        core: the core's mean of y_t, (network, d, sample).
    """
    last = last.unsqueeze(1)
    return torch.cat([last, last - earlier, core.unsqueeze(1) - last], dim=1)


def invariants(scales: Tensors, basis: torch.Tensor, activity: torch.Tensor) -> torch.Tensor:
    """Return compressed invariants before standardization, (network, feature, sample).

    Args:
        scales: of the networks.
        basis: (network, basis, d, sample), divided by its scale.
        activity: mean |y_t - y_{t-1}|² over each window, (network, window, sample).
    """
    gram = (_gram_at_once(basis) if basis.device.type == "cuda" else _gram_by_rows(basis)) / basis.shape[2]
    calm = torch.log(activity / scales["activity_scale"] + 1e-6)
    return torch.cat([torch.sign(gram) * torch.log1p(gram.abs()), calm], dim=1)


def evaluate(
    tensors: Tensors, basis: torch.Tensor, activity: torch.Tensor, learned_only: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the residual r (network, d, sample) and the log-variance v (network, sample), in units of the core's s.

    The sample axis is the last everywhere, so that every operation runs over contiguous samples.

    Args:
        tensors: weights and scales.
        basis: of ``make_basis``, (network, basis, d, sample).
        activity: mean squared increments, (network, window, sample).
        learned_only: leave out the corrections ``linear_part`` and ``log_variance_offset``.
    """
    radius = basis[:, 0].square().sum(1).sqrt()
    fade = ((FADE_END - radius) / (FADE_END - FADE_START)).clamp(0, 1)
    fade = fade * fade * (3 - 2 * fade)
    scaled = basis / tensors["basis_scale"]
    raw = invariants(tensors, scaled, activity)
    hidden = (raw - tensors["feature_mean"].mT) / tensors["feature_sd"].mT
    hidden = hidden.clamp(-FEATURE_BOUND, FEATURE_BOUND)
    hidden = torch.nn.functional.silu(_layer(tensors, "1", hidden))
    hidden = torch.nn.functional.silu(_layer(tensors, "2", hidden))
    outputs = _layer(tensors, "3", hidden)
    coefficients = COEFFICIENT_BOUND * torch.tanh(outputs[:, :-1] / COEFFICIENT_BOUND)
    log_variance = LOG_VARIANCE_BOUND * torch.tanh(outputs[:, -1] / LOG_VARIANCE_BOUND)
    if not learned_only:
        coefficients = coefficients - tensors["linear_part"].squeeze(-1)
        log_variance = log_variance + tensors["log_variance_offset"]
    residual = (coefficients.unsqueeze(2) * scaled).sum(1)
    shrink = torch.rsqrt(1 + residual.square().sum(1) / RESIDUAL_BOUND**2)
    return residual * (fade * shrink).unsqueeze(1), log_variance * fade


def _gram_by_rows(basis: torch.Tensor) -> torch.Tensor:
    """Return the scalar products of vectors i <= j, (network, pair, sample): no more arithmetic than there must be."""
    return torch.cat([_products(basis[:, i : i + 1], basis[:, i:]) for i in range(basis.shape[1])], dim=1)


def _gram_at_once(basis: torch.Tensor) -> torch.Tensor:
    """Return the same by fewer launches: all pairs, of which half are kept."""
    pairs = _products(basis.unsqueeze(2), basis.unsqueeze(1)).flatten(1, 2)
    return pairs.index_select(1, _upper_triangle(basis.shape[1], basis.device))


@lru_cache
def _upper_triangle(n: int, device: torch.device) -> torch.Tensor:
    """Return the flat indices of i <= j in a matrix of n × n; kept, since nothing may be copied during a capture."""
    with torch.inference_mode(False):
        rows, columns = torch.triu_indices(n, n)
        return (rows * n + columns).to(device)


def _products(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return scalar products over the axis before the last; fused operations instead of one with a sum over d."""
    product = first[..., 0, :] * second[..., 0, :]
    for component in range(1, first.shape[-2]):
        product = torch.addcmul(product, first[..., component, :], second[..., component, :])
    return product


def _layer(tensors: Tensors, number: str, inputs: torch.Tensor) -> torch.Tensor:
    """Return W x + b of one layer, (network, out, sample); weights are stored as (network, in, out)."""
    return torch.baddbmm(tensors["b" + number].mT, tensors["w" + number].mT, inputs)


def measure_scales(tensors: dict[str, torch.Tensor], basis: torch.Tensor, activity: torch.Tensor) -> None:
    """Set the scales of basis vectors and invariants to those of the samples given (in place)."""
    tiny = 1e-12
    tensors["basis_scale"] = basis.square().mean((2, 3), keepdim=True).sqrt().clamp_min(tiny)
    tensors["activity_scale"] = activity.mean(2, keepdim=True).clamp_min(tiny)
    raw = invariants(tensors, basis / tensors["basis_scale"], activity)
    tensors["feature_mean"] = raw.mean(2, keepdim=True).mT
    tensors["feature_sd"] = raw.std(2, keepdim=True).clamp_min(1e-4).mT


def conserve_second_moments(tensors: dict[str, torch.Tensor], basis: torch.Tensor, activity: torch.Tensor) -> None:
    """Set the corrections such that the network leaves variance and NACF to the core (in place).

    The part of r that is linear in the basis is projected out, so that r is uncorrelated with the past, and v is
    shifted such that <exp v> + <|r|²>/d = 1: core innovations keep their covariance, and with it, to first
    order, the stationary variance and autocorrelation of y. One-step likelihood says next to nothing about these.

    Args:
        tensors: weights and scales.
        basis: of representative samples, (network, basis, d, sample).
        activity: (network, window, sample).
    """
    n_networks, n_basis = basis.shape[:2]
    tensors["linear_part"] = torch.zeros_like(tensors["linear_part"])
    residual, log_variance = evaluate(tensors, basis, activity, learned_only=True)
    scaled = (basis / tensors["basis_scale"]).double()
    gram = torch.einsum("nbxs,ncxs->nbc", scaled, scaled) / scaled.shape[3]
    ridge = 1e-8 * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1e-12
    gram = gram + ridge * torch.eye(n_basis, dtype=gram.dtype, device=gram.device)
    projection = torch.einsum("nbxs,nxs->nb", scaled, residual.double()) / scaled.shape[3]
    linear = torch.linalg.solve(gram, projection.unsqueeze(-1)).reshape(n_networks, n_basis, 1, 1)
    tensors["linear_part"] = linear.to(basis.dtype)
    tensors["log_variance_offset"] = torch.zeros_like(tensors["log_variance_offset"])
    residual, log_variance = evaluate(tensors, basis, activity)
    explained = residual.square().sum(1).mean(1) / basis.shape[2]
    target = (1 - explained).clamp_min(0.05)
    tensors["log_variance_offset"] = (target / log_variance.exp().mean(1)).log().clamp(-1, 1).unsqueeze(1)
