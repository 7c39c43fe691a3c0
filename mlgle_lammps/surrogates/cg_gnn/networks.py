"""Networks of any preset: made anew, and made of what a file holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TypeVar

import torch

from mlgle_lammps.plain import JsonObject
from mlgle_lammps.surrogates.cg_gnn.energy import EnergyNetwork, EnergySize
from mlgle_lammps.surrogates.cg_gnn.equivariant import EquivariantNetwork, EquivariantSize
from mlgle_lammps.surrogates.cg_gnn.linear_core import LinearCore
from mlgle_lammps.surrogates.cg_gnn.options import ENERGY, EQUIVARIANT
from mlgle_lammps.surrogates.cg_gnn.published_network import PublishedNetwork, PublishedSize
from mlgle_lammps.surrogates.ml_gle import plain_values

Network = EnergyNetwork | EquivariantNetwork | PublishedNetwork
Size = EnergySize | EquivariantSize | PublishedSize
Member = TypeVar("Member", bound=torch.nn.Module)
WIDEST = 4096
MEMBER = "member "
"""Begins the names of a member's tensors in a file."""


def make_network(size: Size, n_types: int, core: LinearCore) -> Network:
    """Return a network before training."""
    if isinstance(size, EnergySize):
        return EnergyNetwork(n_types, size, core)
    if isinstance(size, EquivariantSize):
        return EquivariantNetwork(n_types, size, core)
    return PublishedNetwork(n_types, size)


def stored_size(preset: str, plain: JsonObject) -> Size:
    """Return a size in JSON values; raise ValueError where a number is none that a network has."""
    kind = {ENERGY: EnergySize, EQUIVARIANT: EquivariantSize}.get(preset, PublishedSize)
    size = kind(**plain)
    for name, value in asdict(size).items():
        if isinstance(value, bool) != isinstance(getattr(kind(), name), bool):
            raise ValueError(f"size {name} is {repr(value)[:40]}")
        if isinstance(value, bool):
            continue
        least = 0 if name in ("rounds", "layers", "floor", "radius") else 1
        if not isinstance(value, int | float) or not least <= value <= WIDEST:
            raise ValueError(f"size {name} is {repr(value)[:40]}")
    return size


def stored_networks(
    size: Size, n_members: int, tensors: Mapping[str, torch.Tensor], n_types: int,
    core: LinearCore, most_bytes: int,
) -> tuple[Network, ...]:  # fmt: skip
    """Return the networks whose tensors a file of so many bytes holds; raise ValueError where they are others."""
    return stored_members(lambda: make_network(size, n_types, core), n_members, tensors, most_bytes)


def stored_members(
    make: Callable[[], Member], n_members: int, tensors: Mapping[str, torch.Tensor], most_bytes: int, n_others: int = 0
) -> tuple[Member, ...]:
    """Return networks made empty and filled with what a file of so many bytes holds of each member.

    Args:
        make: makes an empty one.
        n_members: that there are.
        tensors: of the file.
        most_bytes: that it has.
        n_others: tensors of no member.

    Raises:
        ValueError: tensors missing, of other shapes, or of no member.
    """
    with torch.device("meta"):
        wanted = {name: tuple(own.shape) for name, own in make().state_dict().items()}
    networks = []
    for number in range(n_members):
        start = f"{MEMBER}{number} "
        found = {name.removeprefix(start): name for name in tensors if name.startswith(start)}
        own = {name: plain_values.tensor(tensors, full, most_bytes) for name, full in found.items()}
        plain_values.expect_tensors(own, wanted)
        network = make()
        network.load_state_dict(own)
        networks.append(network.requires_grad_(False).eval())
    if len(tensors) != n_members * len(wanted) + n_others:
        raise ValueError("tensors that no member has")
    return tuple(networks)
