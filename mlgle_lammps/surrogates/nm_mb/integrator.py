"""Motion of centres with memory: Q̇ = V, Ṗ = -∇U + Ξζ, ζ̇ = -Ξᵀ V - Λζ + ξ, for many boxes at once.

A long step is half a kick by -∇U, a number of short steps, and the other half. A short step is half a drift; half of
Ξζ on P, half of -Ξᵀ V on ζ; exact Ornstein-Uhlenbeck for ζ, whose noise has covariance β⁻¹(I - e^{-Λdt} e^{-Λᵀdt}); the
other halves in reverse; half a drift. -∇U and Ξ are computed once a long step, at its end. For fixed Ξ each part
leaves exp(-β(U + Pᵀ M⁻¹ P/2 + ζᵀζ/2)), or that of a shadow Hamiltonian, as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mlgle_lammps.errors import RunFailure
from mlgle_lammps.surrogates.nm_mb.features import Features, Relaxing, features_of
from mlgle_lammps.surrogates.nm_mb.memory import Memory
from mlgle_lammps.surrogates.nm_mb.neighbours import pairs_within

Force = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Forces (box, M, 3) at centres (box, M, 3) in a box (3,)."""


@dataclass(frozen=True)
class MotionSettings:
    """How time goes on.

    Attributes:
        dt: short time step.
        kT: temperature.
        inner: short steps in a long one.
    """

    dt: float
    kT: float
    inner: int = 4


class CentreMotion:
    """Centres, momenta and features of many boxes under way; mutable.

    Args:
        memory: of the model.
        force: -∇U.
        centres: (box, M, 3), unwrapped.
        momenta: (box, M, 3).
        masses: (M,).
        box: (3,) edges.
        settings: of the steps.
        generator: of features at the start and of noise, on the device of the centres.

    Attributes:
        steps: long steps made.
    """

    def __init__(
        self, memory: Memory, force: Force, centres: torch.Tensor, momenta: torch.Tensor, masses: torch.Tensor,
        box: torch.Tensor, settings: MotionSettings, generator: torch.Generator,
    ) -> None:  # fmt: skip
        self.centres, self.momenta = centres.clone(), momenta.clone()
        self.settings, self.box, self.steps = settings, box, 0
        self._memory, self._force = memory, force
        self._masses = masses[None, :, None].to(centres)
        self._features: list[tuple[Features, Relaxing]] = []
        for group in memory.groups:
            relaxing = Relaxing(group, settings.dt, settings.kT, self.centres, generator)
            self._features.append((features_of(group, centres.shape, relaxing), relaxing))
        self._felt = self._now = torch.zeros_like(self.centres)
        self._renew()

    @property
    def features(self) -> list[torch.Tensor]:
        """ζ of each group, D features on the first axis."""
        return [found.values for found, _ in self._features]

    @property
    def long_step(self) -> float:
        """Time of a long step."""
        return self.settings.dt * self.settings.inner

    def kinetic_kT(self) -> torch.Tensor:
        """Return the temperature of each box by its momenta, (box,)."""
        n = self.centres.shape[1]
        free = n - 1 if self._memory.conserves_momentum else n
        return (self.momenta.square() / self._masses).sum((1, 2)) / (3 * max(free, 1))

    @torch.no_grad()
    def advance(self, n_steps: int) -> None:
        """Make long steps; raise RunFailure where the motion is no longer finite."""
        half = 0.5 * self.long_step
        for _ in range(n_steps):
            self.momenta += half * self._now
            for _ in range(self.settings.inner):
                self._short_step(self.settings.dt)
            self.steps += 1
            self._renew()
            self.momenta += half * self._now
        if not bool(torch.isfinite(self.momenta).all()):
            raise RunFailure(
                f"the motion of the centres is no longer finite at step {self.steps}: take a shorter time step"
            )

    def _short_step(self, dt: float) -> None:
        """Drift, and let momenta and features act on one another and features relax."""
        self.centres += 0.5 * dt * self.momenta / self._masses
        self.momenta += 0.5 * dt * self._felt
        velocity = self.momenta / self._masses
        for found, relaxing in self._features:
            half = 0.5 * dt * found.drive(velocity)
            found.values[: len(half)] -= half
            found.values = relaxing(found.values)
            found.values[: len(half)] -= half
        self._felt = self._forces()
        self.momenta += 0.5 * dt * self._felt
        self.centres += 0.5 * dt * self.momenta / self._masses

    def _forces(self) -> torch.Tensor:
        """Return Ξζ, which stays as it is until features or Ξ change."""
        first, *others = (found.forces() for found, _ in self._features)
        for other in others:
            first = first + other
        return first

    @torch.no_grad()
    def _renew(self) -> None:
        """Compute Ξ and -∇U where the centres are now."""
        pairs = pairs_within(self.centres, self.box, self._memory.cutoff) if self._memory.cutoff > 0 else None
        for found, _ in self._features:
            found.renew(pairs)
        self._felt = self._forces()
        self._now = self._force(self.centres, self.box).detach()
