"""What the integrator asks of the modes' dynamics, whichever preset learned them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Float64, ModeReport
from mlgle_lammps.surrogates.ml_gle.coupled_noise import CoupledNoise
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore


class Stepper(Protocol):
    """Advances some modes."""

    modes: tuple[int, ...]
    reach: int

    def fill(self, buffer: torch.Tensor, noise: torch.Tensor) -> None:
        """Fill ``buffer[:, reach:]`` from the history before it.

        Args:
            buffer: y, (mode, reach + n, 3, trajectory).
            noise: standard normals, (mode, n, 3, trajectory).
        """
        ...

    def part(self, places: Sequence[int], device: torch.device) -> Stepper:
        """Return a stepper of some of these modes, by their places among them, on another device."""
        ...


class ModeDynamics(Protocol):
    """The learned dynamics of all modes; frozen.

    Attributes:
        preset: that learned them.
        core: linear core of all modes; None as published, where modes drive their own chain's centre (see ``tie``).
        coupling: of the modes' noise; None where it is independent.
        remedy: what to do where they generate badly, beside training on more frames; empty for nothing.
        memory: m, frames of history.
        n_modes: k.
        sigma: σ_z per component of each mode, length units.
        reports: one per mode.
        notes: what went differently from the plan, one line each.
    """

    @property
    def preset(self) -> str: ...  # noqa: D102
    @property
    def core(self) -> LinearCore | None: ...  # noqa: D102
    @property
    def coupling(self) -> CoupledNoise | None: ...  # noqa: D102
    @property
    def remedy(self) -> str: ...  # noqa: D102
    @property
    def memory(self) -> int: ...  # noqa: D102
    @property
    def n_modes(self) -> int: ...  # noqa: D102
    @property
    def sigma(self) -> Float64: ...  # noqa: D102
    @property
    def reports(self) -> tuple[ModeReport, ...]: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102

    def steppers(self, device: torch.device, dtype: torch.dtype = torch.float32) -> list[Stepper]:
        """Return the steppers that together advance all modes."""
        ...

    def to_plain(self) -> JsonObject:
        """Return the dynamics as plain values and tensors by name, the networks' own under "tensors"."""
        ...
