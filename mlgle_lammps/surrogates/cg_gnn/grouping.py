"""Beads into groups (super-beads): contiguous blocks of linear chains, or a partition of the bond graph by METIS.

The super-bead graph has an edge where a bond joins two groups; its Laplacian's modes are what noise is drawn in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlgle_lammps.chains.laplacian import Edges, laplacian_modes
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Float64, Int64

METHODS = ("blocks", "metis")


@dataclass(frozen=True)
class Grouping:
    """How the beads of a molecule form groups.

    Attributes:
        method: one of ``METHODS``.
        beads_per_group: that was aimed at.
        groups: the group of each bead, numbered in the order of their first beads.
        edges: between groups, each once.
    """

    method: str
    beads_per_group: int
    groups: tuple[int, ...]
    edges: Edges

    @property
    def n_groups(self) -> int:
        """S."""
        return max(self.groups) + 1

    @property
    def sizes(self) -> Int64:
        """(group,) beads."""
        return np.bincount(self.groups)

    @property
    def eigenvalues(self) -> Float64:
        """λ_1..λ_{S-1} of the super-bead graph's Laplacian."""
        return laplacian_modes(self.n_groups, self.edges)[0][1:]

    @property
    def modes(self) -> Float64:
        """u_1..u_{S-1}, orthonormal rows (mode, group)."""
        return laplacian_modes(self.n_groups, self.edges)[1][1:]

    def centres(self, beads: Float64) -> Float64:
        """Return the centres of groups (.., group, 3) of beads (.., bead, 3) that are not wrapped into a box."""
        weights = np.zeros((self.n_groups, len(self.groups)))
        weights[list(self.groups), np.arange(len(self.groups))] = 1.0
        result: Float64 = (weights / self.sizes[:, None]) @ np.asarray(beads, dtype=np.float64)
        return result

    def hops(self) -> Int64:
        """Return the bonds between groups on the shortest path, (group, group)."""
        n = self.n_groups
        far = np.full((n, n), n, dtype=np.int64)
        np.fill_diagonal(far, 0)
        for one, other in self.edges:
            far[one, other] = far[other, one] = 1
        for middle in range(n):
            np.minimum(far, far[:, middle, None] + far[None, middle], out=far)
        return far


def group_beads(n_beads: int, edges: Edges, beads_per_group: int, method: str) -> Grouping:
    """Return the groups of a molecule.

    Args:
        n_beads: N.
        edges: its bonds; the molecule is connected.
        beads_per_group: wanted mean size of a group; 1 leaves the beads as they are.
        method: "blocks" for linear chains in their order, "metis" for any molecule.

    Raises:
        UserError: fewer than two groups, blocks of a molecule that is no linear chain, or METIS is not installed.
    """
    n_groups = round(n_beads / beads_per_group)
    if n_groups < 2:
        raise UserError(
            f"`beads_per_group` {beads_per_group} leaves {max(n_groups, 1)} group of a molecule of {n_beads} beads; "
            f"give {max(n_beads // 2, 1)} or fewer"
        )
    if method == "blocks":
        if set(edges) != {(n, n + 1) for n in range(n_beads - 1)}:
            raise UserError("`grouping` blocks is for linear chains, and the molecule is none: use `grouping` metis")
        labels = [bead * n_groups // n_beads for bead in range(n_beads)]
    elif method == "metis":
        labels = _partition(n_beads, edges, n_groups)
    else:
        raise UserError(f"`grouping` {method}: there are {', '.join(METHODS)}")
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    groups = tuple(numbers[label] for label in labels)
    pairs = {(min(groups[a], groups[b]), max(groups[a], groups[b])) for a, b in edges}
    return Grouping(method, beads_per_group, groups, tuple(sorted(pair for pair in pairs if pair[0] != pair[1])))


def _partition(n_beads: int, edges: Edges, n_groups: int) -> list[int]:
    """Return the part of each bead in a METIS partition (Karypis and Kumar 1998)."""
    if n_groups == n_beads:
        return list(range(n_beads))
    try:
        import pymetis  # of no use to linear chains
    except ImportError as error:
        raise UserError("`grouping` metis needs pymetis: pip install mlgle_lammps[partition]") from error
    near: list[list[int]] = [[] for _ in range(n_beads)]
    for one, other in edges:
        near[one].append(other)
        near[other].append(one)
    return list(pymetis.part_graph(n_groups, adjacency=near)[1])
