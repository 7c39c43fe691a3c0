"""The mean potential U of centres: of pairs by splines, of many bodies by a small network, and of long waves."""

from __future__ import annotations

import torch
from torch import nn

from mlgle_lammps.plain import JsonObject
from mlgle_lammps.surrogates.nm_mb.long_waves import WithLongWaves
from mlgle_lammps.surrogates.nm_mb.neighbours import Pairs, pairs_within
from mlgle_lammps.surrogates.nm_mb.splines import spline_values, spline_weights


class PairPotential(nn.Module):
    """U = Σ_{i<j} φ(Q_ij), φ a spline that vanishes at the cutoff with slope and curvature.

    Args:
        cutoff: length.
        n_knots: intervals of the spline.
    """

    def __init__(self, cutoff: float, n_knots: int = 40) -> None:
        super().__init__()
        self.cutoff, self.n_knots = cutoff, n_knots
        self.values = nn.Parameter(torch.zeros(n_knots, dtype=torch.float64))

    def energy(self, pairs: Pairs) -> torch.Tensor:
        """Return U of all boxes together."""
        return spline_values(self.values[:, None], pairs.distance, self.cutoff).sum()

    def slopes(self, pairs: Pairs) -> torch.Tensor:
        """Return φ'(r) of pairs, (P,)."""
        index, weights = slope_weights(pairs.distance, self.cutoff, self.n_knots)
        whole = torch.cat([self.values, self.values.new_zeros(3)])
        return (weights * whole[index[:, None] + torch.arange(4, device=index.device)]).sum(-1)

    def forces(self, centres: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """Return -∇U, (box, M, 3), at centres (box, M, 3)."""
        pairs = pairs_within(centres, box, self.cutoff)
        on_first = self.slopes(pairs)[:, None] * pairs.unit
        flat = centres.new_zeros(pairs.n, 3).index_add(0, pairs.first, on_first)
        return flat.index_add(0, pairs.second, -on_first).reshape(centres.shape)

    def plain(self) -> JsonObject:
        """Return what makes it again, but for its tensors."""
        return {"kind": "pair", "cutoff": self.cutoff, "n_knots": self.n_knots}


def slope_weights(distance: torch.Tensor, cutoff: float, n_knots: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return first coefficients and weights as ``spline_weights``, of the splines' slopes."""
    index, _ = spline_weights(distance, cutoff, n_knots)
    u = (distance * (n_knots / cutoff) - index).clamp(0.0, 1.0)
    weights = torch.stack([-((1 - u) ** 2), 3 * u * u - 4 * u, -3 * u * u + 2 * u + 1, u * u], dim=-1) / 2
    return index, weights * (n_knots / cutoff)


class ManyBodyPotential(nn.Module):
    """U = Σ_{i<j} φ(Q_ij) + Σ_i E(a_i), a_i the invariants of a_i^{kl} = Σ_j R_k(Q_ij) Y_l(Q̂_ij), l = 0, 1, 2.

    Invariants are a^{k0} and |a^{kl}|² for l = 1, 2, the squares summed over the components of vector and traceless
    tensor; E is a network with one hidden layer. Energies do not change when the box is shifted, turned or mirrored or
    molecules are renumbered, so forces turn with the box.

    Args:
        cutoff: length.
        n_knots: intervals of φ.
        n_radial: k.
        width: of the network.
        generator: of initial weights.
    """

    def __init__(
        self, cutoff: float, n_knots: int = 40, n_radial: int = 5, width: int = 16, radial_knots: int = 10,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.cutoff, self.n_radial, self.width, self.radial_knots = cutoff, n_radial, width, radial_knots
        self.pair = PairPotential(cutoff, n_knots)

        def drawn(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.radial = nn.Parameter(0.3 * drawn(radial_knots, n_radial))
        self.usual = nn.Parameter(torch.zeros(3 * n_radial, dtype=torch.float64), requires_grad=False)
        self.spread = nn.Parameter(torch.ones(3 * n_radial, dtype=torch.float64), requires_grad=False)
        self.hidden = nn.Parameter(drawn(3 * n_radial, width) / (3 * n_radial) ** 0.5)
        self.offset = nn.Parameter(0.5 * drawn(width))
        self.outer = nn.Parameter(0.01 * drawn(width))

    def invariants(self, pairs: Pairs) -> torch.Tensor:
        """Return (molecule, 3 n_radial) invariants of what surrounds each molecule."""
        radial = spline_values(self.radial, pairs.distance, self.cutoff)
        x, y, z = pairs.unit.unbind(-1)
        vectors = torch.stack([x, y, z], -1)
        tensors = torch.stack(
            [x * y * 3**0.5, y * z * 3**0.5, z * x * 3**0.5, (3 * z * z - 1) / 2, (x * x - y * y) * 3**0.5 / 2], -1
        )
        even = torch.cat([torch.ones_like(x)[:, None], tensors], -1)
        to_first = radial[:, :, None] * torch.cat([even, vectors], -1)[:, None, :]
        to_second = radial[:, :, None] * torch.cat([even, -vectors], -1)[:, None, :]
        around = radial.new_zeros(pairs.n, self.n_radial, 9)
        around = around.index_add(0, pairs.first, to_first).index_add(0, pairs.second, to_second)
        squares = around.square()
        return torch.cat([around[..., 0], squares[..., 1:6].sum(-1), squares[..., 6:].sum(-1)], -1)

    @torch.no_grad()
    def standardize(self, pairs: Pairs) -> None:
        """Let invariants of these molecules have mean 0 and variance 1 where the network sees them."""
        found = self.invariants(pairs)
        self.usual.copy_(found.mean(0))
        self.spread.copy_(found.std(0).clamp(min=1e-9))

    def energy(self, pairs: Pairs) -> torch.Tensor:
        """Return U of all boxes together."""
        standard = (self.invariants(pairs) - self.usual) / self.spread
        own = torch.tanh(standard @ self.hidden + self.offset) @ self.outer
        return self.pair.energy(pairs) + own.sum()

    def forces(self, centres: torch.Tensor, box: torch.Tensor, keep: bool = False) -> torch.Tensor:
        """Return -∇U, (box, M, 3), at centres (box, M, 3); with ``keep`` gradients of parameters pass."""
        with torch.enable_grad():
            at = centres.detach().requires_grad_(True)
            energy = self.energy(pairs_within(at, box, self.cutoff))
            (slope,) = torch.autograd.grad(energy, at, create_graph=keep)
        return -slope

    def plain(self) -> JsonObject:
        """Return what makes it again, but for its tensors."""
        return {
            "kind": "many-body", "cutoff": self.cutoff, "n_knots": self.pair.n_knots, "n_radial": self.n_radial,
            "width": self.width, "radial_knots": self.radial_knots,
        }  # fmt: skip


Short = PairPotential | ManyBodyPotential
Potential = Short | WithLongWaves
SHORT = {"pair": PairPotential, "many-body": ManyBodyPotential}
"""By the name that a file gives them."""


def potential_from(plain: JsonObject) -> Potential:
    """Return a potential as it was made; raise KeyError and the like for one that is not there."""
    arguments = dict(plain)
    kind = arguments.pop("kind")
    if kind == "long-waves":
        return WithLongWaves(_short_from(arguments["short"]), float(arguments["width"]))
    return _short_from(plain)


def _short_from(plain: JsonObject) -> Short:
    arguments = dict(plain)
    made: Short = SHORT[arguments.pop("kind")](**arguments)
    return made
