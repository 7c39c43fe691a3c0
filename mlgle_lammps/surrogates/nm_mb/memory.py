"""A memory model: groups of features, each with its coupling to momenta and its relaxation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.nm_mb.couplings import Coupling
from mlgle_lammps.surrogates.nm_mb.neighbours import Pairs
from mlgle_lammps.surrogates.nm_mb.relaxations import Relaxations

Owner = Literal["molecule", "pair", "background"]


@dataclass(frozen=True)
class MemoryGroup:
    """Features of one kind of owner.

    Attributes:
        owner: "molecule" (the letter's), "pair" (non-Markovian DPD), or "background": a friction of each molecule by
            itself, which conserves no momentum (the GLE).
        coupling: W of pairs; None for a background.
        relaxations: of the features of each owner.
        strengths: (n,) of a background, force; the root of β⁻¹-free friction at t = 0.
    """

    owner: Owner
    coupling: Coupling | None
    relaxations: Relaxations
    strengths: torch.Tensor | None = None

    def tensors(self, pairs: Pairs) -> torch.Tensor:
        """Return W, (P, n, 3, 3), of the pairs within the coupling's cutoff."""
        if self.coupling is None:
            raise ValueError("a background has no pairs")
        return self.coupling(pairs)

    def dense(self, pairs: Pairs) -> torch.Tensor:
        """Return Γ_ab = Ξ_a Ξ_bᵀ of coupled features, (n, n, 3N, 3N); ``products`` has the diagonal alone."""
        roots = self.roots(pairs)
        return torch.einsum("aij,bkj->abik", roots, roots)

    def products(self, pairs: Pairs) -> torch.Tensor:
        """Return Γ_aa = Ξ_a Ξ_aᵀ, (n, 3N, 3N)."""
        if self.owner == "pair":
            w = self.tensors(pairs)
            return laplacian(torch.einsum("pnab,pncb->pnac", w, w), pairs)
        roots = self.roots(pairs)
        return roots @ roots.transpose(-1, -2)

    def roots(self, pairs: Pairs) -> torch.Tensor:
        """Return Ξ of each coupled feature, (n, 3N, 3 owners)."""
        if self.owner == "background":
            if self.strengths is None:
                raise ValueError("a background has strengths")
            return self.strengths[:, None, None] * torch.eye(3 * pairs.n, dtype=self.strengths.dtype)
        w = self.tensors(pairs)
        if self.owner == "molecule":
            return -laplacian(w, pairs)
        n_pairs, n = w.shape[:2]
        roots = w.new_zeros(n, pairs.n, 3, n_pairs, 3)
        where = torch.arange(n_pairs, device=w.device)
        roots[:, pairs.first, :, where] = w
        roots[:, pairs.second, :, where] = -w
        return roots.reshape(n, 3 * pairs.n, 3 * n_pairs)


def laplacian(blocks: torch.Tensor, pairs: Pairs, n_boxes: int = 1) -> torch.Tensor:
    """Return matrices with -W_ij beside the diagonal and rows that add up to zero, (box n, 3M, 3M), box by box.

    Args:
        blocks: (P, n, 3, 3), symmetric.
        pairs: of M molecules in each box.
        n_boxes: boxes.
    """
    i, j, size = pairs.first, pairs.second, pairs.n // n_boxes
    n = blocks.shape[1]
    own = blocks.new_zeros(pairs.n, n, 3, 3).index_add(0, i, blocks).index_add(0, j, blocks)
    everyone = torch.arange(pairs.n, device=i.device)
    rows, columns = torch.cat([i, j, everyone]), torch.cat([j, i, everyone])
    feature = torch.arange(n, device=i.device)
    where = ((rows // size)[:, None] * n + feature) * size**2 + (rows % size * size + columns % size)[:, None]
    flat = blocks.new_zeros(n_boxes * n * size**2, 9)
    flat = flat.index_copy(0, where.reshape(-1), torch.cat([-blocks, -blocks, own]).reshape(-1, 9))
    return flat.reshape(-1, size, size, 3, 3).transpose(2, 3).reshape(-1, 3 * size, 3 * size)


@dataclass(frozen=True)
class Memory:
    """All groups together.

    Attributes:
        groups: of features.
        name: of the model.
    """

    groups: tuple[MemoryGroup, ...]
    name: str = ""

    @property
    def cutoff(self) -> float:
        """Largest distance at which molecules feel one another's features."""
        return max((group.coupling.cutoff for group in self.groups if group.coupling is not None), default=0.0)

    @property
    def conserves_momentum(self) -> bool:
        """Whether forces add up to zero."""
        return all(group.owner != "background" for group in self.groups)

    def kernel(self, pairs: Pairs, times: Float64) -> torch.Tensor:
        """Return -K(Q, t) = Ξ e^{-Λt} Ξᵀ, (time, 3N, 3N): what β<δF(t) δF(0)ᵀ> of constrained runs is compared with."""
        total: torch.Tensor | float = 0.0
        for group in self.groups:
            near = pairs if group.coupling is None else pairs.within(group.coupling.cutoff)
            decay = torch.as_tensor(group.relaxations.decay(times), dtype=pairs.distance.dtype)
            total = total + torch.einsum("tab,abij->tij", decay, group.dense(near))
        if isinstance(total, float):
            raise ValueError("a memory without groups")
        return total
