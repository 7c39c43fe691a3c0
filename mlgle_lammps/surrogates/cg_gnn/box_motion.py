"""Generated boxes under way: a Motion of the contract, of chains' groups and of ions that see one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mlgle_lammps.errors import RunFailure
from mlgle_lammps.plain import AnyArray
from mlgle_lammps.records import CHAINS, Float64
from mlgle_lammps.surrogates.cg_gnn.box_nodes import Box
from mlgle_lammps.surrogates.cg_gnn.box_step import BoxDynamics, draw
from mlgle_lammps.surrogates.cg_gnn.motion import SideBySide


class BoxWalk:
    """Boxes of one member under way; mutable, with random numbers of its own.

    Places are kept near the box, molecule by molecule, and how often each was moved back by an edge is counted: so
    single precision is as good after a million steps as after one.
    """

    def __init__(
        self, dynamics: BoxDynamics, box: Box, positions: torch.Tensor, seed: int, extent: float = float("inf")
    ) -> None:
        """Begin at positions (box, node, 3); ``extent`` is the length of a bond beyond which the walk is given up."""
        self._dynamics, self._box, self._extent = dynamics, box, extent
        self._generator = torch.Generator(positions.device).manual_seed(seed)
        self._places, self.n_steps = positions, 0
        self._edges = torch.tensor(box.edges, dtype=positions.dtype, device=positions.device)
        first = [chain * box.molecule.n_groups for chain in range(box.n_chains)]
        sizes = [box.molecule.n_groups] * box.n_chains + [1] * (box.n_nodes - box.n_groups)
        first += range(box.n_groups, box.n_nodes)
        self._first = torch.tensor(np.repeat(first, sizes), device=positions.device)
        self._bonds = torch.tensor(box.bonded()[0].T.copy(), device=positions.device)
        self._images = np.zeros(positions.shape)

    def advance(self, n_steps: int) -> Float64:
        """Return the next steps, unwrapped (time, box, node, 3); raise RunFailure where a chain comes apart."""
        found = np.empty((n_steps, *self._places.shape))
        with torch.inference_mode():
            for step in range(n_steps):
                x = self._places
                x = self._dynamics.step(x, draw(self._dynamics, x, self._generator))
                self.n_steps += 1
                self._check(x)
                found[step] = x.double().cpu().numpy() + self._images
                turns = torch.floor(x[:, self._first] / self._edges)
                self._places = x - turns * self._edges
                self._images += turns.double().cpu().numpy() * self._box.edges
        return found

    def _check(self, places: torch.Tensor) -> None:
        bonds = places[:, self._bonds[0]] - places[:, self._bonds[1]]
        if not bool(torch.isfinite(places).all() & (bonds.abs() < self._extent).all()):
            raise RunFailure(
                f"a generated box came apart by step {self.n_steps}: places are not finite, or a bond is longer than "
                f"{self._extent:g}; train on more frames or more runs, or with a smaller `step`"
            )


class BoxMotion(SideBySide[Float64]):
    """Boxes under way (a Motion): all species, box after box; box b is moved by member b modulo their number.

    Frames hold of chains com, beads (groups about com) and rg2, of other species com.
    """

    block = 32

    def __init__(self, walks: Sequence[BoxWalk], numbers: Sequence[Sequence[int]], box: Box, inner: float,
                 threads: int) -> None:  # fmt: skip
        """Begin.

        Args:
            walks: each of some boxes.
            numbers: of each walk's boxes.
            box: their nodes.
            inner: Rg² of beads about their groups' centres.
            threads: that walks are moved by; 0 takes as many as torch has.
        """
        super().__init__(walks, threads)
        self._numbers, self._box, self._inner = list(numbers), box, inner

    def _channels(self, made: Sequence[Float64], n_steps: int) -> dict[str, dict[str, AnyArray]]:
        n_boxes = sum(len(own) for own in self._numbers)
        nodes = np.empty((n_steps, n_boxes, self._box.n_nodes, 3))
        for own, numbers in zip(made, self._numbers, strict=True):
            nodes[:, list(numbers)] = own
        return channels_of(self._box, nodes, self._inner)


def channels_of(box: Box, nodes: Float64, inner: float) -> dict[str, dict[str, AnyArray]]:
    """Return the channels of frames of nodes (time, box, node, 3), box after box."""
    n_steps, n_boxes = nodes.shape[:2]
    grouping = box.molecule.grouping
    groups = nodes[:, :, : box.n_groups].reshape(n_steps, n_boxes * box.n_chains, grouping.n_groups, 3)
    weights = (grouping.sizes / len(grouping.groups))[:, None]
    com = (weights * groups).sum(2)
    about = groups - com[:, :, None]
    square = (weights * np.square(about)).sum((2, 3)) + inner
    found: dict[str, dict[str, AnyArray]] = {
        CHAINS: {"com": com, "beads": about.astype(np.float32), "rg2": square[..., None].astype(np.float32)}
    }
    for name, where in box.places().items():
        found[name] = {"com": nodes[:, :, where].reshape(n_steps, -1, 3).copy()}
    return found
