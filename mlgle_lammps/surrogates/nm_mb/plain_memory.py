"""Memories and potentials as plain values and tensors, for a file and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from mlgle_lammps.plain import JsonMapping, JsonObject
from mlgle_lammps.surrogates.nm_mb.couplings import coupling_from
from mlgle_lammps.surrogates.nm_mb.memory import Memory, MemoryGroup
from mlgle_lammps.surrogates.nm_mb.potential import Potential, potential_from
from mlgle_lammps.surrogates.nm_mb.relaxations import Relaxations

OWNERS = ("molecule", "pair", "background")
MOST_FEATURES = 1000


def memory_to_plain(memory: Memory) -> tuple[JsonObject, dict[str, torch.Tensor]]:
    """Return JSON values and tensors by name."""
    groups: list[JsonObject] = []
    tensors: dict[str, torch.Tensor] = {}
    for number, group in enumerate(memory.groups):
        coupling = group.coupling
        if coupling is not None and not isinstance(coupling, nn.Module):
            raise TypeError("a coupling that is no module")
        groups.append(
            {
                "owner": group.owner,
                "matrix": group.relaxations.matrix.tolist(),
                "coupled": list(group.relaxations.coupled),
                "coupling": None if coupling is None else group.coupling.plain(),  # type: ignore[union-attr]
            }
        )
        if coupling is not None:
            tensors |= {f"group{number}.{name}": values for name, values in coupling.state_dict().items()}
        if group.strengths is not None:
            tensors[f"group{number}.strengths"] = group.strengths
    return {"name": memory.name, "groups": groups}, tensors


def memory_from_plain(plain: JsonMapping, tensors: Mapping[str, torch.Tensor]) -> Memory:
    """Return a memory as it was; raise ValueError and the like where anything is wrong with it."""
    groups = []
    for number, own in enumerate(plain["groups"]):
        if own["owner"] not in OWNERS:
            raise ValueError(f"features of {str(own['owner'])[:40]}")
        relaxations = _relaxations(own)
        mine = part_of(tensors, f"group{number}.")
        strengths = mine.pop("strengths", None)
        if (own["owner"] == "background") != (strengths is not None) or (strengths is None) != (
            own["coupling"] is not None
        ):
            raise ValueError("a background has strengths, and nothing else has")
        coupling = None
        if own["coupling"] is not None:
            coupling = coupling_from(own["coupling"])
            coupling.load_state_dict(mine)
            coupling.requires_grad_(False)
            if coupling.n != relaxations.n or not np.isfinite(coupling.cutoff) or coupling.cutoff <= 0:
                raise ValueError("a coupling of another number of features, or without a range")
        elif strengths is None or strengths.shape != (relaxations.n,):
            raise ValueError("strengths of another number of features")
        groups.append(MemoryGroup(own["owner"], coupling, relaxations, strengths))
    return Memory(tuple(groups), str(plain["name"]))


def _relaxations(own: JsonMapping) -> Relaxations:
    matrix = np.array(own["matrix"], dtype=np.float64)
    coupled = tuple(int(k) for k in own["coupled"])
    size = len(matrix)
    if matrix.shape != (size, size) or not 0 < size <= MOST_FEATURES or not np.isfinite(matrix).all():
        raise ValueError(f"relaxations of shape {matrix.shape}")
    if len(set(coupled)) != len(coupled) or not coupled or not set(coupled) <= set(range(size)):
        raise ValueError("coupled features that are not there")
    if np.linalg.eigvalsh(matrix + matrix.T).min() < -1e-9 * np.abs(matrix).max():
        raise ValueError("relaxations that grow")
    return Relaxations(matrix, coupled)


def part_of(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose name begins with a prefix, without it; raise ValueError where they are not finite."""
    mine = {name.removeprefix(prefix): values for name, values in tensors.items() if name.startswith(prefix)}
    if not all(bool(torch.isfinite(values).all()) for values in mine.values()):
        raise ValueError("values that are not finite")
    return mine


def potential_from_plain(plain: JsonMapping, tensors: Mapping[str, torch.Tensor]) -> Potential:
    """Return a potential as it was; raise ValueError and the like where anything is wrong with it."""
    made = potential_from(dict(plain))
    made.load_state_dict(part_of(tensors, "potential."))
    made.requires_grad_(False)
    return made
