"""How momenta and features couple: a symmetric 3x3 tensor W for each pair of molecules and each feature.

Forces are F_i += W_ij (ζ_j - ζ_i), from features that belong to molecules, or F_i += W_ij ζ_ij and F_j -= W_ij ζ_ij,
from features that belong to pairs. Either way they add up to zero, and so do the rows of the friction.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import torch
from torch import nn

from mlgle_lammps.plain import JsonObject
from mlgle_lammps.surrogates.nm_mb.neighbours import Pairs
from mlgle_lammps.surrogates.nm_mb.splines import spline_values


class Coupling(Protocol):
    """W of pairs; a torch module.

    Attributes:
        cutoff: distance beyond which W is 0.
        n: features.
    """

    cutoff: float
    n: int

    def __call__(self, pairs: Pairs) -> torch.Tensor:
        """Return (P, n, 3, 3), symmetric in the last two axes, of pairs within the cutoff."""
        ...

    def action(self, pairs: Pairs) -> PairAction:
        """Return W as something that is applied to vectors, with no gradient."""
        ...

    def plain(self) -> JsonObject:
        """Return what makes it again, but for its tensors."""
        ...


class PairAction(Protocol):
    """W of pairs, the pairs on the last axis of all."""

    def of_each(self, vector: torch.Tensor) -> torch.Tensor:
        """Return W v, (n, 3, P), of one vector (3, P) of each pair."""
        ...

    def total(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return Σ_a W_a v_a, (3, P), of vectors (n, 3, P)."""
        ...


class WholeAction:
    """W as it stands, (n, 3, 3, P)."""

    def __init__(self, w: torch.Tensor) -> None:
        self._w = w.permute(1, 2, 3, 0).contiguous()

    def of_each(self, vector: torch.Tensor) -> torch.Tensor:
        """Return W v, (n, 3, P), of one vector (3, P) of each pair."""
        return (self._w * vector).sum(2)

    def total(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return Σ_a W_a v_a, (3, P), of vectors (n, 3, P)."""
        return (self._w * vectors[:, None]).sum((0, 2))


class AxialAction:
    """A r̂ r̂ᵀ + B (1 - r̂ r̂ᵀ) by its two numbers, a third of the arithmetic of whole tensors."""

    def __init__(self, along: torch.Tensor, across: torch.Tensor, unit: torch.Tensor) -> None:
        self._across, self._unit = across.T.contiguous(), unit.T.contiguous()
        self._more = (along - across).T.contiguous()

    def of_each(self, vector: torch.Tensor) -> torch.Tensor:
        """Return W v, (n, 3, P), of one vector (3, P) of each pair."""
        result = self._across[:, None] * vector
        return result.addcmul_(self._more[:, None], self._unit * (self._unit * vector).sum(0))

    def total(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return Σ_a W_a v_a, (3, P), of vectors (n, 3, P)."""
        along = (self._more[:, None] * vectors).sum(0)
        return (self._across[:, None] * vectors).sum(0).addcmul_(self._unit, (self._unit * along).sum(0))


class RadialCoupling(nn.Module):
    """W = A(r) r̂ r̂ᵀ + B(r) (1 - r̂ r̂ᵀ) with splines A and B: of the pair alone.

    The splines' coefficients are ``radial`` times ``scale``, so that all that is learned is of size 1.

    Args:
        n: features.
        cutoff: length.
        n_knots: intervals of the splines.
    """

    def __init__(self, n: int, cutoff: float, n_knots: int = 12) -> None:
        super().__init__()
        self.n, self.cutoff, self.n_knots = n, cutoff, n_knots
        self.radial = nn.Parameter(torch.zeros(n_knots, 2 * n, dtype=torch.float64))
        self.scale = nn.Parameter(torch.ones(2 * n, dtype=torch.float64), requires_grad=False)

    def forward(self, pairs: Pairs) -> torch.Tensor:
        """Return (P, n, 3, 3)."""
        return along_and_across(*self._parts(pairs), pairs.unit)

    def action(self, pairs: Pairs) -> PairAction:
        """Return W as something that is applied to vectors."""
        with torch.no_grad():
            return AxialAction(*self._parts(pairs), pairs.unit)

    def _parts(self, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
        values = spline_values(self.radial * self.scale, pairs.distance, self.cutoff)
        return values[:, : self.n], values[:, self.n :]

    def plain(self) -> JsonObject:
        """Return what makes it again, but for its tensors."""
        return {"kind": "radial", "n": self.n, "cutoff": self.cutoff, "n_knots": self.n_knots}


def along_and_across(along: torch.Tensor, across: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """Return a r̂ r̂ᵀ + b (1 - r̂ r̂ᵀ), (P, n, 3, 3), of (P, n) values a and b and (P, 3) directions."""
    projector = unit[:, :, None] * unit[:, None, :]
    identity = torch.eye(3, dtype=unit.dtype, device=unit.device)
    result: torch.Tensor = (along - across)[..., None, None] * projector[:, None] + across[..., None, None] * identity
    return result


class EnvironmentCoupling(nn.Module):
    """W = Σ_k h_k q_k q_kᵀ + h_0 1 of the letter's eq. 3, q_k = q̂_ik - q̂_jk of what surrounds i and j.

    q̂_ik = Q_i + Σ_l f_k(Q_il) (Q_i - Q_l) over neighbours within the cutoff, and h are networks of the products
    q_k · q_l. Without an environment q = Q_i - Q_j, and W is of the pair alone.

    Args:
        n: features.
        cutoff: length; W and the encoders f vanish there.
        n_encoders: K.
        width: of the networks' two hidden layers.
        n_knots: of the encoders.
        environment: whether neighbours are looked at.
        generator: of initial weights.
    """

    def __init__(
        self, n: int, cutoff: float, n_encoders: int = 3, width: int = 24, n_knots: int = 8,
        environment: bool = True, generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n, self.cutoff, self.n_encoders, self.width, self.n_knots = n, cutoff, n_encoders, width, n_knots
        self.environment = environment
        scale = 0.05 if environment else 0.0
        self.encoders = nn.Parameter(scale * torch.randn(n_knots, n_encoders, generator=generator, dtype=torch.float64))
        n_products = n_encoders * (n_encoders + 1) // 2
        sizes = (n_products, width, width, n * (n_encoders + 1))
        self.weights = nn.ParameterList(
            torch.randn(below, above, generator=generator, dtype=torch.float64) / below**0.5
            for below, above in pairwise(sizes)
        )
        self.biases = nn.ParameterList(torch.zeros(size, dtype=torch.float64) for size in sizes[1:])

    def forward(self, pairs: Pairs) -> torch.Tensor:
        """Return (P, n, 3, 3)."""
        inverse = 1.0 / self.cutoff
        vector = pairs.unit * pairs.distance[:, None] * inverse  # Q_j - Q_i
        q = -vector[:, None, :].expand(-1, self.n_encoders, -1)
        if self.environment:
            pull = spline_values(self.encoders, pairs.distance, self.cutoff)[:, :, None] * vector[:, None, :]
            around = torch.zeros(pairs.n, self.n_encoders, 3, dtype=pull.dtype, device=pull.device)
            around = around.index_add(0, pairs.first, -pull).index_add(0, pairs.second, pull)
            q = q + around[pairs.first] - around[pairs.second]
        rows, columns = torch.triu_indices(self.n_encoders, self.n_encoders, device=q.device)
        hidden = 4.0 * (q[:, rows] * q[:, columns]).sum(-1) - 1.0
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = hidden @ weight + bias
            if k < len(self.weights) - 1:
                hidden = torch.tanh(hidden)
        smooth = (1.0 - (pairs.distance * inverse) ** 2) ** 2
        h = (hidden * smooth[:, None]).reshape(-1, self.n, self.n_encoders + 1)
        tensors = torch.einsum("pnk,pka,pkb->pnab", h[..., 1:], q, q)
        identity = torch.eye(3, dtype=q.dtype, device=q.device)
        result: torch.Tensor = tensors + h[..., :1, None] * identity
        return result

    def action(self, pairs: Pairs) -> PairAction:
        """Return W as something that is applied to vectors."""
        with torch.no_grad():
            return WholeAction(self(pairs))

    def plain(self) -> JsonObject:
        """Return what makes it again, but for its tensors."""
        return {
            "kind": "environment", "n": self.n, "cutoff": self.cutoff, "n_encoders": self.n_encoders,
            "width": self.width, "n_knots": self.n_knots, "environment": self.environment,
        }  # fmt: skip


class ModulatedCoupling(nn.Module):
    """A radial W times 1 + c·(s_i + s_j), s the crowding about each of the two: the simplest many-body one.

    Args:
        n: features.
        cutoff: length.
        n_knots: intervals of the splines.
        reach: cutoff of the crowding, a smooth number of neighbours less its mean.
    """

    def __init__(self, n: int, cutoff: float, n_knots: int = 12, reach: float = 0.0, usual: float = 0.0) -> None:
        super().__init__()
        self.n, self.cutoff, self.n_knots, self.reach, self.usual = n, cutoff, n_knots, reach or cutoff, usual
        self.radial = nn.Parameter(torch.zeros(n_knots, 2 * n, dtype=torch.float64))
        self.scale = nn.Parameter(torch.ones(2 * n, dtype=torch.float64), requires_grad=False)
        self.crowded = nn.Parameter(torch.zeros(n, dtype=torch.float64))

    def crowding(self, pairs: Pairs) -> torch.Tensor:
        """Return (molecule,) smooth numbers of neighbours, less the usual one."""
        near = torch.clamp(1.0 - (pairs.distance / self.reach) ** 2, min=0.0) ** 2
        count = torch.zeros(pairs.n, dtype=near.dtype, device=near.device)
        return count.index_add(0, pairs.first, near).index_add(0, pairs.second, near) - self.usual

    def forward(self, pairs: Pairs) -> torch.Tensor:
        """Return (P, n, 3, 3)."""
        return along_and_across(*self._parts(pairs), pairs.unit)

    def action(self, pairs: Pairs) -> PairAction:
        """Return W as something that is applied to vectors."""
        with torch.no_grad():
            return AxialAction(*self._parts(pairs), pairs.unit)

    def _parts(self, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
        values = spline_values(self.radial * self.scale, pairs.distance, self.cutoff)
        crowding = self.crowding(pairs)
        factor = 1.0 + self.crowded * (crowding[pairs.first] + crowding[pairs.second])[:, None]
        return values[:, : self.n] * factor, values[:, self.n :] * factor

    def plain(self) -> JsonObject:
        """Return what makes it again, but for its tensors."""
        return {
            "kind": "modulated", "n": self.n, "cutoff": self.cutoff, "n_knots": self.n_knots,
            "reach": self.reach, "usual": self.usual,
        }  # fmt: skip


COUPLINGS = {"radial": RadialCoupling, "environment": EnvironmentCoupling, "modulated": ModulatedCoupling}
"""By the name that a file gives them."""


def coupling_from(plain: JsonObject) -> RadialCoupling | EnvironmentCoupling | ModulatedCoupling:
    """Return a coupling as it was made; raise KeyError and the like for one that is not there."""
    arguments = dict(plain)
    return COUPLINGS[arguments.pop("kind")](**arguments)
