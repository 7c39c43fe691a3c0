"""What the mean potential does to the longest waves of density, beyond the reach of pairs within half the box.

U = Σ_k A exp(-(kσ)²/2) |ρ_k|²/M over half of the wave vectors of the box, ρ_k = Σ_i exp(ik·Q_i): a Gaussian of every
pair and all its images. It adds A exp(-(kσ)²/2)/kT to 1/S(k). Melts are hardly compressible, so that 1/S(k) is largest
at the smallest wave vectors, and a potential that ends at half the box makes S(k) there twice too large, and sound
slow. A and σ do not hang on the box; in another one of the same density the sum is over its own wave vectors.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Float64

LEAST = 1e-3
"""Share of A below which a wave vector is left out."""
MOST_ENTRIES = 2**22
"""Molecules times wave vectors that are looked at together."""


class LongWaves(nn.Module):
    """The potential of the longest waves.

    Args:
        width: σ.
    """

    def __init__(self, width: float) -> None:
        super().__init__()
        if not 0 < width < math.inf:
            raise ValueError(f"a width of {width}")
        self.width = width
        self.strength = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self._known: tuple[tuple[float, ...], torch.Tensor] = ((), torch.zeros(0, 3))

    def share(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return exp(-(kσ)²/2) of wave vectors (wave, 3)."""
        return torch.exp(-0.5 * self.width**2 * vectors.square().sum(-1))

    def vectors(self, box: torch.Tensor) -> torch.Tensor:
        """Return the wave vectors (wave, 3) of a box that count."""
        key = (*box.tolist(), str(box.device))
        if self._known[0] != key:
            longest = (2 * math.log(1 / LEAST)) ** 0.5 / self.width
            self._known = key, torch.as_tensor(half_of_vectors(box.cpu().numpy(), longest)).to(box)
        return self._known[1]

    def energy(self, centres: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """Return U of all boxes together."""
        vectors = self.vectors(box)
        phases = centres @ vectors.T
        waves = phases.cos().sum(1).square() + phases.sin().sum(1).square()
        return self.strength * (waves @ self.share(vectors)).sum() / centres.shape[1]

    def forces(self, centres: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """Return -∇U, (box, M, 3), at centres (box, M, 3)."""
        vectors, total = self.vectors(box), torch.zeros_like(centres)
        together = max(1, MOST_ENTRIES // max(centres[..., 0].numel(), 1))
        for some in vectors.split(together):
            total = total + wave_pulls(centres, some) @ (some * self.share(some)[:, None])
        return self.strength * total


def half_of_vectors(box: Float64, longest: float) -> Float64:
    """Return one of each pair ±k of a box's wave vectors up to a length, (wave, 3), shorter ones first."""
    unit = 2 * np.pi / box
    most = np.floor(longest / unit).astype(int)
    whole = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), -1).reshape(-1, 3)
    first = whole[:, 0] * (2 * most[1] + 1) * (2 * most[2] + 1) + whole[:, 1] * (2 * most[2] + 1) + whole[:, 2]
    vectors = whole[first > 0] * unit
    lengths = np.linalg.norm(vectors, axis=1)
    order = np.argsort(lengths, kind="stable")
    result: Float64 = vectors[order][lengths[order] <= longest]
    return result


def wave_pulls(centres: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Return (2/M) Im(ρ_k* exp(ik·Q_i)), (box, M, wave): times k the force of |ρ_k|²/M."""
    phases = centres @ vectors.T
    cosine, sine = phases.cos(), phases.sin()
    return (sine * cosine.sum(1, keepdim=True) - cosine * sine.sum(1, keepdim=True)) * (2 / centres.shape[1])


class WithLongWaves(nn.Module):
    """A potential of neighbours and that of the longest waves together.

    Args:
        short: of neighbours; it has ``forces`` and ``plain``.
        width: of the waves'.
    """

    def __init__(self, short: nn.Module, width: float) -> None:
        super().__init__()
        self.short, self.waves = short, LongWaves(width)

    @property
    def cutoff(self) -> float:
        """Range of the neighbours' part; waves fit any box."""
        return float(self.short.cutoff)  # type: ignore[arg-type]

    def forces(self, centres: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """Return -∇U, (box, M, 3), at centres (box, M, 3)."""
        own: torch.Tensor = self.short.forces(centres, box)  # type: ignore[operator]
        return own + self.waves.forces(centres, box)

    def plain(self) -> JsonObject:
        """Return what makes it again, but for its tensors."""
        short: JsonObject = self.short.plain()  # type: ignore[operator]
        return {"kind": "long-waves", "width": self.waves.width, "short": short}
