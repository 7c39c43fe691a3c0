"""What moves molecules, of any preset: one step of places about the centre, and the centre's own step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from mlgle_lammps.surrogates.cg_gnn.energy import EnergyNetwork, Landscape
from mlgle_lammps.surrogates.cg_gnn.equivariant import EquivariantNetwork, Still
from mlgle_lammps.surrogates.cg_gnn.linear_core import LinearCore
from mlgle_lammps.surrogates.cg_gnn.molecules import MoleculeSet
from mlgle_lammps.surrogates.cg_gnn.published_network import Frozen, PublishedNetwork


@dataclass
class State:
    """Molecules under way.

    Attributes:
        history: (batch, memory, S, 3) places about the centre of the last frame.
        kick: (batch, 3) the centre's last random number, where it has a law of its own.
        before: (batch, S-1, 3) the modes' last random numbers, where a step takes them; None before the first.
    """

    history: torch.Tensor
    kick: torch.Tensor
    before: torch.Tensor | None = None


class Dynamics(Protocol):
    """What moves molecules."""

    memory: int

    def still(self, molecules: MoleculeSet, which: torch.Tensor) -> Any:
        """Return what does not move of molecules ``which`` (batch,) of a set."""
        ...

    def step(
        self, state: State, still: Any, molecules: MoleculeSet, which: torch.Tensor, noise: torch.Generator | None
    ) -> tuple[State, torch.Tensor, torch.Tensor]:
        """Return the state after, the centre's step (batch, 3) and the fine-grained Rg² (batch,).

        Without a generator there is no noise: the deterministic ablation.
        """
        ...


def _normals(shape: tuple[int, ...], like: torch.Tensor, noise: torch.Generator | None) -> torch.Tensor:
    if noise is None:
        return like.new_zeros(shape)
    return torch.randn(shape, generator=noise, dtype=like.dtype, device=like.device)


def _centre_weights(molecules: MoleculeSet, core: LinearCore) -> torch.Tensor:
    """Return θ_0 and θ_1 of the centre's steps of each molecule, (molecule, 2)."""
    beads = torch.bincount(molecules.group_of // molecules.n_groups, minlength=molecules.n_molecules)
    return molecules.modes.new_tensor([core.centre_weights(int(n)) for n in beads.tolist()])


class EnergyDynamics:
    """Steps of preset `default`: Langevin on an energy of the groups, the centre an MA(1) of its own."""

    memory = 1

    def __init__(self, network: EnergyNetwork, core: LinearCore) -> None:
        self.network, self.core = network, core

    def still(self, molecules: MoleculeSet, which: torch.Tensor) -> tuple[Landscape, torch.Tensor]:
        """See ``Dynamics.still``."""
        return self.network.still(molecules, which), _centre_weights(molecules, self.core)[which]

    def step(
        self, state: State, still: tuple[Landscape, torch.Tensor], molecules: MoleculeSet, which: torch.Tensor,
        noise: torch.Generator | None,
    ) -> tuple[State, torch.Tensor, torch.Tensor]:  # fmt: skip
        """See ``Dynamics.step``."""
        landscape, centre = still
        modes = landscape.modes @ state.history[:, -1]
        before = state.before
        if before is None:
            before = _normals(tuple(modes.shape), modes, noise)
        normals = _normals((self.network.size.substeps, *modes.shape), modes, noise)
        modes, before = self.network.step(modes, landscape, before, normals)
        places = molecules.to_positions(modes, which)
        kick = _normals(tuple(state.kick.shape), modes, noise)
        shift = centre[:, :1] * kick + centre[:, 1:] * state.kick
        square = molecules.square_radius(places, which) + landscape.inner
        return State(places.unsqueeze(1), kick, before), shift, square


class EquivariantDynamics:
    """Steps of preset `network`; Markov in places, the centre an MA(1) of its own."""

    memory = 1

    def __init__(self, network: EquivariantNetwork, core: LinearCore, noise_scale: float = 1.0) -> None:
        self.network, self.core, self.noise_scale = network, core, noise_scale

    def still(self, molecules: MoleculeSet, which: torch.Tensor) -> tuple[Still, torch.Tensor]:
        """See ``Dynamics.still``."""
        return self.network.still(molecules, which), _centre_weights(molecules, self.core)[which]

    def step(
        self, state: State, still: tuple[Still, torch.Tensor], molecules: MoleculeSet, which: torch.Tensor,
        noise: torch.Generator | None,
    ) -> tuple[State, torch.Tensor, torch.Tensor]:  # fmt: skip
        """See ``Dynamics.step``."""
        of_network, centre = still
        modes = of_network.modes @ state.history[:, -1]
        law = self.network(modes, of_network)
        normals = _normals((len(modes), modes.shape[1] + 1, 3), modes, noise)
        places = molecules.to_positions(law.draw(self.noise_scale * normals[:, 1:]), which)
        shift = centre[:, :1] * normals[:, 0] + centre[:, 1:] * state.kick
        square = molecules.square_radius(places, which)
        inner = (molecules.weights[which] * self.network.inner(law.latent)).sum(1)
        return State(places.unsqueeze(1), normals[:, 0]), shift, square + inner


class PublishedDynamics:
    """Steps of preset `published`: places with their centre, which is taken out after each."""

    def __init__(self, network: PublishedNetwork) -> None:
        self.network, self.memory = network, network.memory

    def still(self, molecules: MoleculeSet, which: torch.Tensor) -> Frozen:
        """See ``Dynamics.still``."""
        return self.network.still(molecules, which)

    def step(
        self, state: State, still: Frozen, molecules: MoleculeSet, which: torch.Tensor, noise: torch.Generator | None
    ) -> tuple[State, torch.Tensor, torch.Tensor]:
        """See ``Dynamics.step``."""
        history = state.history
        places, latent = self.network.step(history, still, _normals(tuple(history[:, -1].shape), history, noise))
        shift = (molecules.weights[which].unsqueeze(-1) * places).sum(1)
        after = torch.cat([history[:, 1:], places.unsqueeze(1)], 1) - shift[:, None, None]
        square = molecules.square_radius(places, which)
        rest = self.network.rest_of_radius(latent) * self.network.scales[0] ** 2
        return State(after, state.kick), shift, square + rest


def dynamics_of(
    network: EnergyNetwork | EquivariantNetwork | PublishedNetwork, core: LinearCore, scale: float
) -> Dynamics:
    """Return what moves molecules by a network; ``scale`` is that of the noise of preset `network`."""
    if isinstance(network, EnergyNetwork):
        return EnergyDynamics(network, core)
    if isinstance(network, EquivariantNetwork):
        return EquivariantDynamics(network, core, scale)
    return PublishedDynamics(network)
