"""Constrained runs as matrices that kernels are fitted to and judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.force_correlation import collective_motions
from mlgle_lammps.store.constrained_file import ConstrainedRun
from mlgle_lammps.surrogates.nm_mb.neighbours import Pairs, pairs_within


@dataclass(frozen=True)
class Configuration:
    """A configuration of M held centres and the kernel measured there.

    Attributes:
        centres: (1, M, 3).
        box: (3,).
        pairs: all pairs of nearest images.
        times: (L,) lags.
        duration: of the run.
        pair: (2, L, P, 3, 3) float32, β<δF_i δF_jᵀ> of the two halves, of ``known``.
        own: (2, L, M, 3, 3) float32.
        known: (P, 2) pairs that were measured, i < j.
        mean_force: (M, 3) of the whole run.
        mean_halves: (2, M, 3).
        motions: (2, L, 18) of the collective motions, β<G(t) G(0)>; None where they were not measured.
    """

    centres: torch.Tensor
    box: torch.Tensor
    pairs: Pairs
    times: Float64
    duration: float
    pair: np.ndarray
    own: np.ndarray
    known: np.ndarray
    mean_force: Float64
    mean_halves: Float64
    motions: Float64 | None = None

    @property
    def n(self) -> int:
        """Number M of molecules."""
        return self.centres.shape[1]

    def distances(self) -> tuple[Float64, Float64]:
        """Return distances (P,) and directions (P, 3) of the pairs that were measured."""
        at, box = self.centres[0].numpy(), self.box.numpy()
        vector = at[self.known[:, 1]] - at[self.known[:, 0]]
        vector -= box * np.round(vector / box)
        distance = np.linalg.norm(vector, axis=1)
        return distance, vector / distance[:, None]

    def matrices(self, rows: Float64, halves: Sequence[int] = (0, 1)) -> tuple[Float64, Float64]:
        """Return sums over lags of the kernel with weights, diagonal and other blocks, (row, 3M, 3M) both.

        Args:
            rows: (row, L) weights of the sums.
            halves: of the run, whose mean is taken.
        """
        n, count = self.n, len(rows)
        pair = np.einsum("rl,hlpab->rpab", rows, self.pair[list(halves)].astype(np.float64)) / len(halves)
        own = np.einsum("rl,hliab->riab", rows, self.own[list(halves)].astype(np.float64)) / len(halves)
        beside, diagonal = np.zeros((2, count, n, n, 3, 3))
        i, j = self.known.T
        beside[:, i, j], beside[:, j, i] = pair, pair.transpose(0, 1, 3, 2)
        diagonal[:, range(n), range(n)] = own
        shape = (count, 3 * n, 3 * n)
        return diagonal.transpose(0, 1, 3, 2, 4).reshape(shape), beside.transpose(0, 1, 3, 2, 4).reshape(shape)

    def collective(self) -> torch.Tensor:
        """Return the motions of the smallest wave vectors, cosines and sines along all axes, (3M, 18), of length 1."""
        return torch.as_tensor(collective_motions(self.centres[0].numpy(), self.box.numpy()))

    def collective_kernel(self) -> Float64:
        """Return uᵀ K(t) u of these motions, (L, 18), mean over the halves; raise ValueError where it is not known."""
        if self.motions is None:
            raise ValueError("forces of collective motions were not measured")
        result: Float64 = self.motions.mean(0)
        return result

    def mask(self) -> torch.Tensor:
        """Return 1 where blocks beside the diagonal were measured, (3M, 3M)."""
        there = np.zeros((self.n, self.n))
        i, j = self.known.T
        there[i, j] = there[j, i] = 1.0
        return torch.as_tensor(np.kron(there, np.ones((3, 3))))


def configuration_of(run: ConstrainedRun) -> Configuration:
    """Return a constrained run as what kernels are fitted to."""
    centres = torch.as_tensor(run.centres, dtype=torch.float64)[None]
    box = torch.as_tensor(run.box, dtype=torch.float64)
    beta = np.float32(1.0 / run.kT)
    return Configuration(
        centres, box, pairs_within(centres, box, float(box.max())), run.times, run.n_samples * run.dt,
        run.pair * beta, run.own * beta, run.pairs, run.mean_force.mean(0), run.mean_force,
        None if run.motions is None else run.motions / run.kT,
    )  # fmt: skip


def own_curve(found: Sequence[Configuration]) -> Float64:
    """Return (L,) the molecules' own kernel, mean over directions, halves, molecules and configurations."""
    curve: Float64 = np.mean([one.own.mean((0, 2))[:, range(3), range(3)].mean(1) for one in found], axis=0)
    return curve


def decay_of(found: Sequence[Configuration]) -> float:
    """Return the time in which the molecules' own kernel falls to 1/e; raise UserError where it never does."""
    return time_to_fall(own_curve(found), found[0].times, 1 / np.e)


def time_to_fall(curve: Float64, times: Float64, share: float) -> float:
    """Return the first time at which a curve is below a share of its start; raise UserError where it never is."""
    below = np.flatnonzero(curve < share * curve[0])
    if not len(below):
        raise UserError(
            f"the memory of held molecules does not decay within {times[-1]:.4g}, the longest lag of the constrained "
            "runs: make them longer (`constrained_steps`, `longest_lag`)"
        )
    return float(times[below[0]])
