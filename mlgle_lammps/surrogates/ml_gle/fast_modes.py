"""Modes beyond k: nobody records them, but the fit's sum holds them, and the centre moves with them at short times.

Mode p > k is mode k, smaller and faster by r = λ_k/λ_p (`diffusion/gle_fit.py`), so its covariance is r C_k(t/r). The
shortest waves do less than that, and the fit leaves their lags out: there the covariance is changed by what the fitted
curve misses of MD's MSD. Their sum is generated as one Gaussian process, an autoregression with this covariance.
Without it chains of 100 beads with twelve modes move a third too little from one frame to the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solve_toeplitz, toeplitz

from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.records import Float64, GleFit, Int64
from mlgle_lammps.surrogates.ml_gle import plain_values
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore, autocovariance
from mlgle_lammps.surrogates.ml_gle.steppers import LinearStepper, subset

LONGEST = 32
"""Frames over which the covariance is kept, several relaxation times of modes beyond k."""
SHARES = (1.0, 0.5, 0.25, 0.0)
"""Of what the curve misses at short lags, of which the first is taken that leaves the covariance of a process."""


@dataclass(frozen=True)
class FastModes:
    """The sum of the modes beyond k.

    Attributes:
        covariance: (1 + order,) per component at lags 0, 1, .. frames, length²; positive definite.
    """

    covariance: tuple[float, ...]

    def core(self) -> LinearCore:
        """Return the autoregression that has this covariance, as a linear core of one mode, in units of length."""
        covariance = np.array(self.covariance)
        coefficients = solve_toeplitz(covariance[:-1], covariance[1:])
        innovation = max(float(covariance[0] - coefficients @ covariance[1:]), 0.0)
        return LinearCore(coefficients[None], (len(coefficients),), np.array([innovation]))

    @staticmethod
    def from_plain(plain: JsonMapping) -> FastModes:
        """Return what a model file holds; raise ValueError where it is no covariance."""
        values = plain["covariance"]
        if not isinstance(values, list) or not 2 <= len(values) <= 1 + LONGEST:
            raise ValueError(f"a covariance of {repr(values)[:40]}")
        covariance = tuple(plain_values.number({"covariance": value}, "covariance") for value in values)
        if not _positive(np.array(covariance)):
            raise ValueError("a covariance that is not positive definite")
        return FastModes(covariance)


def find_fast(fit: GleFit, core: LinearCore | None, sigma: Float64) -> FastModes | None:
    """Return the modes beyond k that a fit added; None where it added none or mode k does not move.

    A covariance interpolated between whole lags is one again: of the process whose values lines join, begun at random.

    Args:
        fit: that added them.
        core: of the streamed modes, the last of which is mode k; None where there is none.
        sigma: (mode,) σ_z of these.
    """
    if core is None or not fit.beyond or not core.innovation_variance[-1] > 0:
        return None
    r = np.array(fit.beyond)
    longest = math.ceil(LONGEST / r.min()) + 1
    of_k = autocovariance(subset(core, (core.n_modes - 1,)), longest + 1)[0] * sigma[-1] ** 2
    lags = np.arange(1 + LONGEST)
    of_copies = np.sum([own * np.interp(lags / own, np.arange(longest + 1), of_k) for own in r], axis=0)
    for share in SHARES:
        covariance = of_copies + share * _missed(fit, lags)
        if _positive(covariance):
            return FastModes(tuple(float(value) for value in covariance))
    return None


def _missed(fit: GleFit, lags: Int64) -> Float64:
    """Return (lag,) by how much the covariance must be larger for β² 2 [C(0) - C] to give MD's MSD at short lags.

    From the first lag that was fitted to twice that it fades to nothing.
    """
    if not fit.short or not fit.beta_sq > 0:
        return np.zeros(len(lags))
    known, excess = np.array(fit.short).T
    return np.interp(lags, [0, *known, 2 * known[-1]], [0, *(-excess / (2 * fit.beta_sq)), 0])


def _positive(covariance: Float64) -> bool:
    """Return whether this is the covariance of a process."""
    return bool(covariance[0] > 0 and np.linalg.eigvalsh(toeplitz(covariance / covariance[0]))[0] > 1e-9)


class FastMotion:
    """The sum under way, in trajectories that advance together; it begins as it goes on, stationary."""

    def __init__(self, fast: FastModes, like: torch.Tensor, generator: torch.Generator) -> None:
        """Begin trajectories like those of (d, trajectory), on its device."""
        self._stepper = LinearStepper(fast.core(), (0,), like.device, like.dtype)
        self._generator = generator
        root = np.linalg.cholesky(toeplitz(fast.covariance[: self._stepper.reach]))
        start = torch.as_tensor(root, dtype=like.dtype, device=like.device)
        normals = self._normals(like.expand(1, self._stepper.reach, *like.shape))
        self._past = torch.einsum("st,ptxc->psxc", start, normals)
        self._origin = self._past[0, -1].clone()

    def advance(self, n_steps: int) -> torch.Tensor:
        """Return how far it has moved from its start after each of the next steps, (n, d, trajectory)."""
        reach = self._stepper.reach
        buffer = torch.cat([self._past, self._past.new_empty(1, n_steps, *self._past.shape[2:])], dim=1)
        self._stepper.fill(buffer, self._normals(buffer[:, reach:]))
        self._past = buffer[:, n_steps:].clone()
        return buffer[0, reach:] - self._origin

    def _normals(self, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=self._generator, dtype=like.dtype, device=like.device)
