"""One giant step of a box: noise of each kind of node's own size, then taken out again level by level.

    y_0 = x + s ξ,    y_{k+1} = y_k + (σ_k² - σ_{k+1}²) S_k(y_k) + σ_{k+1} √(1 - σ_{k+1}²/σ_k²) ξ_k,    x' = y_K

with σ_k = s t_k, t_0 = 1, σ_K = 0. Were S the exact score at every level and the levels many, x' would be a draw from
p(x' | y_0), and frames would stay distributed as MD's whatever s is (Gibbs sampling of x and y_0). Where nothing is
near, x' - x has variance 2 s². So structure comes from S and mobility from s² = c_a <exp(α_a + v_a)>: what the network
says of surroundings, the mean over a box's nodes of one kind a, so that no place is favoured for being slow, times one
number.

With one level there is no refinement: x' = y + s² S(y) + s ξ_0, a Gaussian about a mean that sees its pairs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.cg_gnn.box_mobility import Mobility, node_tensors
from mlgle_lammps.surrogates.cg_gnn.box_nodes import Box, Letters
from mlgle_lammps.surrogates.cg_gnn.box_score import BoxScore, ScoreTables

LAST_LEVEL = 0.08


def levels_of(n_levels: int) -> Float64:
    """Return t of so many levels, from 1 down in equal ratios."""
    return np.geomspace(1.0, LAST_LEVEL, n_levels) if n_levels > 1 else np.ones(1)


@dataclass(frozen=True)
class BoxLaw:
    """What moves boxes.

    Attributes:
        letters: that nodes are described by.
        tables: of the score.
        levels: (level,) t, descending from 1.
        scales: (kind,) c.
        networks: of the ensemble.
    """

    letters: Letters
    tables: ScoreTables
    levels: Float64
    scales: Float64
    networks: tuple[Mobility, ...]


class BoxDynamics:
    """Steps of several boxes of one composition side by side, moved by one member of the ensemble."""

    def __init__(
        self, law: BoxLaw, member: int, box: Box, device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        """Prepare for a box whose species the law knows."""
        device = torch.device(device)
        box.require_known(law.letters)
        self._score = BoxScore(law.tables, box, law.letters, device, dtype)
        self._network = copy.deepcopy(law.networks[member]).to(device=device, dtype=dtype)
        self._shares, self._kinds, self._box = node_tensors(box, law.letters, device, dtype)
        self._levels = [float(t) for t in law.levels]
        counts = torch.bincount(self._kinds, minlength=len(law.letters.kinds)).to(dtype)
        of_kind = torch.nn.functional.one_hot(self._kinds, len(law.letters.kinds)).to(dtype)
        self._mean = of_kind / counts.clamp(min=1)
        self._scales = torch.tensor(law.scales, dtype=dtype, device=device)

    @property
    def n_normals(self) -> int:
        """Arrays of normal numbers that a step takes."""
        return max(len(self._levels), 2)

    def noises(self, positions: torch.Tensor) -> torch.Tensor:
        """Return s (box, node, 1) of positions (box, node, 3)."""
        seen = self._network.surroundings(positions, self._shares, self._box)
        squares = torch.exp(self._network(seen, self._shares, self._kinds))
        own = (squares @ self._mean) * self._scales
        return own[:, self._kinds].sqrt().unsqueeze(-1)

    def step(self, positions: torch.Tensor, normals: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return positions (box, node, 3) one step on; ``normals`` are ``n_normals`` arrays of their shape."""
        s, levels = self.noises(positions), self._levels
        y = positions + s * normals[0]
        if len(levels) == 1:
            return y + s.square() * self._score(y, 0) + s * normals[1]
        for k, t in enumerate(levels):
            after = levels[k + 1] if k + 1 < len(levels) else 0.0
            y = y + (t * t - after * after) * s.square() * self._score(y, k)
            if after:
                y = y + s * (after * (1 - (after / t) ** 2) ** 0.5) * normals[k + 1]
        return y


def draw(dynamics: BoxDynamics, like: torch.Tensor, generator: torch.Generator) -> list[torch.Tensor]:
    """Return the normal numbers of a step."""
    return [
        torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        for _ in range(dynamics.n_normals)
    ]
