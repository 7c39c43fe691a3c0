"""What features do in a step: forces Ξζ on momenta, -Ξᵀ V on themselves, and exact relaxation."""

from __future__ import annotations

from typing import Protocol

import torch

from mlgle_lammps.surrogates.nm_mb.couplings import EnvironmentCoupling, PairAction
from mlgle_lammps.surrogates.nm_mb.memory import MemoryGroup, laplacian
from mlgle_lammps.surrogates.nm_mb.neighbours import Pairs

DENSE_UP_TO = 300
"""Molecules of a box up to which Ξ of the letter's couplings is kept as whole matrices: faster than tensors of pairs,
not than the two numbers that a radial one has."""


class Features(Protocol):
    """Features of a group and how they act now; mutable.

    Attributes:
        group: whose they are.
        values: ζ, the D features of an owner on the first axis, coupled ones first.
    """

    group: MemoryGroup
    values: torch.Tensor

    def renew(self, pairs: Pairs | None) -> None:
        """Compute Ξ of the pairs there are now."""
        ...

    def forces(self) -> torch.Tensor:
        """Return Ξζ, (box, M, 3)."""
        ...

    def drive(self, velocity: torch.Tensor) -> torch.Tensor:
        """Return Ξᵀ V of velocities (box, M, 3), as the coupled ones of ``values``."""
        ...


class Relaxing:
    """The exact Ornstein-Uhlenbeck step of features.

    Args:
        group: whose features they are.
        dt: time step.
        kT: temperature.
        like: a tensor on the device and of the type to compute in.
        generator: of noise.
    """

    def __init__(
        self, group: MemoryGroup, dt: float, kT: float, like: torch.Tensor, generator: torch.Generator
    ) -> None:
        step, noise = group.relaxations.coupled_first().propagator(dt)
        self.root_kT, self.generator, self.like = kT**0.5, generator, like
        self._step = torch.as_tensor(step).to(like)
        self._noise = self.root_kT * torch.as_tensor(noise).to(like)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Return features a step later, (D, ..)."""
        flat = values.reshape(len(values), -1)
        return (self._step @ flat + self._noise @ self.drawn(flat.shape)).reshape(values.shape)

    def drawn(self, shape: torch.Size | tuple[int, ...]) -> torch.Tensor:
        """Return standard normal numbers, drawn in single precision, which takes a quarter of the time."""
        numbers = torch.randn(shape, generator=self.generator, dtype=torch.float32, device=self.like.device)
        return numbers.to(self.like)


class OfMolecules:
    """Features of molecules (or a background), Ξ as one symmetric matrix for each box and feature."""

    def __init__(self, group: MemoryGroup, shape: torch.Size, relaxing: Relaxing) -> None:
        self.group, self._shape = group, shape
        n_boxes, n_molecules, _ = shape
        drawn = relaxing.drawn((group.relaxations.size, n_boxes, 3 * n_molecules))
        self.values = relaxing.root_kT * drawn
        self._matrix = torch.empty(0)

    def renew(self, pairs: Pairs | None) -> None:
        """Compute Ξ (box, n 3M, 3M)."""
        n_boxes, n_molecules, _ = self._shape
        if self.group.coupling is None or pairs is None:
            return
        near = pairs.within(self.group.coupling.cutoff)
        blocks = -self.group.tensors(near).detach()
        self._matrix = laplacian(blocks, near, n_boxes).reshape(n_boxes, -1, 3 * n_molecules)

    def forces(self) -> torch.Tensor:
        """Return Ξζ, (box, M, 3)."""
        felt = self.values[: self.group.relaxations.n].transpose(0, 1)
        if self.group.strengths is not None:
            return torch.einsum("a,rax->rx", self.group.strengths.to(felt), felt).reshape(self._shape)
        felt = felt.reshape(self._shape[0], 1, -1)
        return torch.bmm(felt, self._matrix).reshape(self._shape)

    def drive(self, velocity: torch.Tensor) -> torch.Tensor:
        """Return Ξᵀ V, (n, box, 3M)."""
        flat = velocity.reshape(self._shape[0], -1)
        if self.group.strengths is not None:
            return self.group.strengths.to(flat)[:, None, None] * flat
        found = torch.bmm(self._matrix, flat[:, :, None])
        return found.reshape(self._shape[0], -1, flat.shape[1]).transpose(0, 1)


class ByPairs:
    """Features of molecules or of pairs, Ξ pair by pair; the pairs are on the last axis."""

    def __init__(self, group: MemoryGroup, shape: torch.Size, relaxing: Relaxing) -> None:
        self.group, self._shape, self._relaxing = group, shape, relaxing
        self._n = shape[0] * shape[1]
        owners = 0 if group.owner == "pair" else self._n
        self.values = relaxing.root_kT * relaxing.drawn((group.relaxations.size, 3, owners))
        self._names = torch.empty(0, dtype=torch.long, device=relaxing.like.device)
        self._now: tuple[Pairs, PairAction] | None = None

    def renew(self, pairs: Pairs | None) -> None:
        """Compute W (n, 3, 3, P); pairs that come into reach bring features in equilibrium."""
        if self.group.coupling is None or pairs is None:
            raise ValueError("features of pairs without pairs")
        near = pairs.within(self.group.coupling.cutoff)
        if self.group.owner == "pair":
            near = self._follow(near)
        self._now = near, self.group.coupling.action(near)

    def _follow(self, near: Pairs) -> Pairs:
        """Return pairs in the order of their names, the features of those that were there before kept."""
        near = near.sorted()
        names, known_names = near.names, self._names
        values = self._relaxing.root_kT * self._relaxing.drawn((len(self.values), 3, len(names)))
        if len(known_names):
            where = torch.searchsorted(known_names, names).clamp(max=len(known_names) - 1)
            known = known_names[where] == names
            values[:, :, known] = self.values[:, :, where[known]]
        self.values, self._names = values, names
        return near

    def forces(self) -> torch.Tensor:
        """Return Ξζ, (box, M, 3)."""
        pairs, w = self._known()
        felt = self.values[: self.group.relaxations.n]
        if self.group.owner != "pair":
            felt = felt[..., pairs.second] - felt[..., pairs.first]
        on_pair = w.total(felt).T
        flat = on_pair.new_zeros(self._n, 3).index_add(0, pairs.first, on_pair)
        return flat.index_add(0, pairs.second, -on_pair).reshape(self._shape)

    def drive(self, velocity: torch.Tensor) -> torch.Tensor:
        """Return Ξᵀ V, (n, 3, owner)."""
        pairs, w = self._known()
        flat = velocity.reshape(-1, 3)
        across = (flat[pairs.first] - flat[pairs.second]).T.contiguous()
        on_pair = w.of_each(across)
        if self.group.owner == "pair":
            return on_pair
        on_owner = on_pair.new_zeros(*on_pair.shape[:2], self._n)
        return on_owner.index_add(2, pairs.second, on_pair).index_add(2, pairs.first, -on_pair)

    def _known(self) -> tuple[Pairs, PairAction]:
        if self._now is None:
            raise ValueError("features whose pairs are not known yet")
        return self._now


def features_of(group: MemoryGroup, shape: torch.Size, relaxing: Relaxing) -> Features:
    """Return the features of a group in equilibrium, for centres of shape (box, M, 3)."""
    dense = isinstance(group.coupling, EnvironmentCoupling) and shape[1] <= DENSE_UP_TO
    whole = group.owner == "background" or (group.owner == "molecule" and dense)
    return OfMolecules(group, shape, relaxing) if whole else ByPairs(group, shape, relaxing)
