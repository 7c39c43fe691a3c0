"""The law of preset `default`: an energy of groups, which says where molecules are in equilibrium, and steps on it.

With y = z/√C the modes of the super-bead graph in units of their variances in the linear core,

    E(y) = ½ Σ_p (1 + k_p) y_p² + Σ_{i<j} u_ij(r_ij),    u_ij(r) = Σ_fk θ_fk X_f(i, j) ψ_k(r),

X_f as in `pair_shares`, ψ bumps along the distance, k linear in what the whole molecule is made up of. θ and k come
from `score_matching`. Molecules move by the overdamped Langevin scheme of Leimkuhler and Matthews (2013),

    y(t+δ) = y - h ∂E/∂y + √(2h) (ε(t) + ε(t+δ))/2,    h_p = 1 - a_p^{δ/Δt}, at most 0.3,

which is exact for a harmonic E at any h and errs in h² for others: what is stationary is E, not what a fit of one step
happens to add up to. a_p is the linear core's decay, sped up so that modes forget as recorded ones do (`tempo`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mlgle_lammps.surrogates.cg_gnn.layers import parted_pairs
from mlgle_lammps.surrogates.cg_gnn.linear_core import LinearCore
from mlgle_lammps.surrogates.cg_gnn.molecules import MoleculeSet
from mlgle_lammps.surrogates.cg_gnn.pair_shares import (
    group_make_up,
    make_up,
    n_features,
    n_springs,
    pair_features,
    slowness,
)

CENTRES = (0.2, 0.5, 0.8, 1.1, 1.4, 1.8, 2.3, 3.0, 4.0)
WIDTHS = (0.25, 0.25, 0.25, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)
"""Of the bumps, in units of the root mean square distance of bonded groups."""
SOFTEST = 0.3
"""No mode's spring is softer than this share of the linear core's, so that molecules stay together."""
FASTEST = 0.3
"""h of no mode is larger: steps on a rough energy would miss what they pass, and modes forget soon enough with it."""
_LEAST = 1e-9


@dataclass(frozen=True)
class EnergySize:
    """How the energy moves molecules.

    Attributes:
        substeps: of the Langevin scheme in one step of the model.
        by_types: whether the energy sees the beads' types at all (an ablation).
        by_mode: whether noise differs from mode to mode; else groups have equal independent noise of the same total
            variance and no energy (an ablation).
    """

    substeps: int = 4
    by_types: bool = True
    by_mode: bool = True


@dataclass
class Landscape:
    """What does not move, of a batch of molecules.

    Attributes:
        modes: (batch, S-1, S) u_p.
        scales: (batch, S-1, 1) √C.
        springs: (batch, S-1, 1) k.
        heights: (batch, P, K) of the bumps, Σ_f θ_fk X_f.
        along: (batch, S-1, P) ∂r_ij/∂y_p, in units of the bond.
        rates: (batch, S-1, 1) h.
        kicks: (batch, S-1, 1) √(2h).
        inner: (batch,) the groups' own Rg².
    """

    modes: torch.Tensor
    scales: torch.Tensor
    springs: torch.Tensor
    heights: torch.Tensor
    along: torch.Tensor
    rates: torch.Tensor
    kicks: torch.Tensor
    inner: torch.Tensor


def bumps(distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ψ, ψ' and ψ'' (.., K) of distances in units of the bond."""
    centres, widths = distances.new_tensor(CENTRES), distances.new_tensor(WIDTHS)
    apart = (distances.unsqueeze(-1) - centres) / widths
    height = torch.exp(-0.5 * apart.square())
    return height, -apart / widths * height, (apart.square() - 1) / widths.square() * height


class EnergyNetwork(nn.Module):
    """The numbers of the energy, of the groups' own Rg² and of the tempo, all of them fitted in closed form."""

    def __init__(self, n_types: int, size: EnergySize, core: LinearCore) -> None:
        super().__init__()
        self.size, self.core, self.n_types = size, core, n_types
        self.pairs = nn.Parameter(torch.zeros(n_features(n_types), len(CENTRES)))
        self.springs = nn.Parameter(torch.zeros(n_springs(n_types), 2))
        self.inner = nn.Parameter(torch.zeros(n_springs(n_types)))
        self.log_tempo = nn.Parameter(torch.zeros(len(core.log_eigenvalues)))

    def still(self, molecules: MoleculeSet, which: torch.Tensor) -> Landscape:
        """Return what does not move of molecules ``which`` (batch,) of a set."""
        decays, variances = self.core.of(molecules.eigenvalues)
        scales = variances.sqrt().unsqueeze(-1)
        if not self.size.by_mode:
            scales = _equal(scales, decays)
        heights = pair_features(molecules, self.n_types) @ self.pairs
        springs = mode_springs(molecules, self.n_types, self.springs).unsqueeze(-1).clamp(min=SOFTEST - 1)
        _, differences = parted_pairs(molecules.pairs, molecules.n_groups, molecules.modes.dtype)
        along = (molecules.modes @ differences) * scales / self.core.bond
        rates = -torch.expm1(decays.log() * self._tempo(molecules.eigenvalues) / self.size.substeps).unsqueeze(-1)
        rates = rates.clamp(max=FASTEST)
        inner = (group_make_up(molecules, self.n_types) @ self.inner * molecules.weights).sum(1).clamp(min=0.0)
        return Landscape(
            molecules.modes[which], scales[which], springs[which], heights[which], along[which], rates[which],
            (2 * rates).sqrt()[which], inner[which],
        )  # fmt: skip

    def _tempo(self, eigenvalues: torch.Tensor) -> torch.Tensor:
        """Return by how much modes are sped up, (..); that of the nearest eigenvalue learned from."""
        knots = torch.as_tensor(self.core.log_eigenvalues, dtype=eigenvalues.dtype, device=eigenvalues.device)
        nearest = (eigenvalues.log().unsqueeze(-1) - knots).abs().argmin(-1)
        return self.log_tempo.to(eigenvalues.dtype)[nearest].exp()

    def forces(self, scaled: torch.Tensor, landscape: Landscape) -> torch.Tensor:
        """Return ∂E/∂y at y (batch, S-1, 3)."""
        apart = landscape.along.mT @ scaled
        distances = (apart.square().sum(-1) + _LEAST).sqrt()
        slopes = (landscape.heights * bumps(distances)[1]).sum(-1) / distances
        return (1 + landscape.springs) * scaled + landscape.along @ (slopes.unsqueeze(-1) * apart)

    def step(
        self, modes: torch.Tensor, landscape: Landscape, before: torch.Tensor, normals: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the modes (batch, S-1, 3) one step of the model on, and the last of the random numbers.

        Args:
            modes: z now.
            landscape: of these molecules.
            before: (batch, S-1, 3) the last random numbers of the step before.
            normals: (substep, batch, S-1, 3) fresh ones.
        """
        scaled = modes / landscape.scales
        for fresh in normals:
            kick = landscape.kicks * (0.5 * (before + fresh))
            scaled = scaled - landscape.rates * self.forces(scaled, landscape) + kick
            before = fresh
        return scaled * landscape.scales, before


def mode_springs(molecules: MoleculeSet, n_types: int, springs: torch.Tensor) -> torch.Tensor:
    """Return k of all modes, (molecule, S-1), of ``springs`` (`n_springs`, 2)."""
    shares = make_up(molecules, n_types) @ springs
    return (slowness(molecules.eigenvalues) * shares.unsqueeze(1)).sum(-1)


def _equal(scales: torch.Tensor, decays: torch.Tensor) -> torch.Tensor:
    """Return √C of modes whose steps have noise of one size, of the same total: C_p (1 - a_p²) alike."""
    rest = 1 - decays.square().unsqueeze(-1)
    noise = (scales.square() * rest).mean(1, keepdim=True)
    return (noise / rest).sqrt()
