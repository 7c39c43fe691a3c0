"""Modes of one chain are pushed together: their innovations are correlated at short times, and static modes are not.

Beads near the ends of a chain meet another friction than inner ones, so a push on one bead is felt by all modes of one
parity, with <e_p e_q> of -0.03 to -0.1 between innovations of one frame; from the next frames on a small positive
correlation makes good for it, so that over long times nothing is left, and modes are statically uncorrelated (measured
on Kremer-Grest and cis-polybutadiene melts, docs/method.md). With independent noise the ends of a chain move up to 13%
too far at short lags. So the fast part of the noise, what is left of it after a running mean, is mixed:
e = mean(w) + A (w - mean(w)), A the root of the correlation. Every e_p stays white, each mode's law as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.surrogates.ml_gle import plain_values
from mlgle_lammps.surrogates.ml_gle.autoregressive import segment_slices
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore, predict

SIGNIFICANT = 4.0
"""Standard errors that a correlation must be off zero to be kept."""
WIDEST = 32
"""Frames on either side over which the running mean goes, at most."""
MADE_GOOD = 0.9
"""Share of the correlation of one frame that those within the width must make good for."""

CHAINS = 128
"""Chains that correlations are taken from, evenly spaced: more would say the same."""


@dataclass(frozen=True)
class CoupledNoise:
    """How the innovations of modes go together.

    Attributes:
        correlation: (mode, mode) of one frame's innovations, 1 on the diagonal.
        half_width: frames on either side of the running mean.
    """

    correlation: Float64
    half_width: int

    def mixing(self) -> Float64:
        """Return A with A Aᵀ = correlation, symmetric, (mode, mode)."""
        values, vectors = np.linalg.eigh(self.correlation)
        result: Float64 = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        return result

    @staticmethod
    def from_plain(plain: JsonMapping, n_modes: int, most_bytes: int) -> CoupledNoise | None:
        """Return what a model file holds, None for nothing; raise ValueError where it cannot be."""
        if "noise_correlation" not in plain:
            return None
        correlation = plain_values.array(plain, "noise_correlation", most_bytes)
        plain_values.expect_shape("noise_correlation", correlation.shape, (n_modes, n_modes))
        if not np.allclose(correlation, correlation.T) or not np.allclose(np.diag(correlation), 1.0):
            raise ValueError("noise_correlation is no correlation")
        if np.linalg.eigvalsh(correlation).min() < -1e-6:
            raise ValueError("noise_correlation is not positive")
        half_width = plain_values.whole(plain["noise_half_width"], "noise_half_width", 1, WIDEST)
        return CoupledNoise(correlation, half_width)


def find_coupling(y: torch.Tensor, segments: Int64, core: LinearCore) -> CoupledNoise | None:
    """Return how the innovations of a linear core go together; None where they do not, or too little is known.

    Args:
        y: (time, chain, mode, d) in units of σ_z.
        segments: (time,).
        core: fitted to these frames.
    """
    y = y[:, :: -(-y.shape[1] // CHAINS)]
    pieces = [own for own in segment_slices(segments) if own.stop - own.start > core.max_order + 2 * WIDEST]
    if not pieces or core.n_modes < 2:
        return None
    lagged, count = np.zeros((2 * WIDEST + 1, core.n_modes, core.n_modes)), 0
    scale = torch.as_tensor(np.sqrt(core.innovation_variance), dtype=y.dtype, device=y.device)[:, None]
    for own in pieces:
        piece = y[own]
        noise = ((piece - predict(core, piece)) / scale)[core.max_order :]
        flat = noise.permute(0, 2, 1, 3).reshape(len(noise), core.n_modes, -1)  # (time, mode, chain · d)
        middle = flat[WIDEST : len(flat) - WIDEST]
        for shift in range(2 * WIDEST + 1):
            moved = flat[shift : shift + len(middle)]
            lagged[shift] += torch.einsum("tpn,tqn->pq", moved, middle).double().cpu().numpy()
        count += len(middle) * flat.shape[2]
    size = np.sqrt(np.diag(lagged[WIDEST]))
    size = np.where(size > 0, size, np.inf)  # a mode that does not move goes with none
    lagged /= size[:, None] * size
    correlation = np.where(np.abs(lagged[WIDEST]) > SIGNIFICANT / np.sqrt(count), lagged[WIDEST], 0.0)
    np.fill_diagonal(correlation, 1.0)
    apart = correlation - np.eye(core.n_modes)
    if not apart.any() or np.linalg.eigvalsh(correlation).min() <= 0:
        return None
    made_good = -np.einsum("spq,pq->s", lagged, apart) / np.sum(apart**2)
    within = np.cumsum(made_good[WIDEST + 1 :] + made_good[:WIDEST][::-1])
    enough = np.flatnonzero(within >= MADE_GOOD)
    return CoupledNoise(correlation, int(enough[0]) + 1 if len(enough) else WIDEST)


class NoiseOfModes:
    """Standard normals of all modes, block after block, coupled as told."""

    def __init__(self, coupling: CoupledNoise, like: torch.Tensor, block: int, seed: int) -> None:
        """Make room for blocks of ``block`` steps of y like (mode, time, d, trajectory)."""
        self._generator = torch.Generator(like.device).manual_seed(seed)
        self._mixing = torch.as_tensor(coupling.mixing(), dtype=like.dtype, device=like.device)
        self._width, self._block = 2 * coupling.half_width + 1, block
        self._white = like.new_empty(like.shape[0], block + self._width - 1, *like.shape[2:])
        self._white.normal_(generator=self._generator)

    def next_block(self) -> torch.Tensor:
        """Return (mode, block, d, trajectory)."""
        half, width, block = self._width // 2, self._width, self._block
        total = torch.cat([torch.zeros_like(self._white[:, :1]), self._white], dim=1).cumsum(1)
        mean = (total[:, width:] - total[:, :block]) / width
        fast = self._white[:, half : half + block] - mean
        noise = mean + torch.einsum("pq,qtxc->ptxc", self._mixing, fast)
        kept = self._white[:, block:].clone()
        self._white[:, : width - 1] = kept
        self._white[:, width - 1 :].normal_(generator=self._generator)
        return noise
