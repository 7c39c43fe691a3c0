"""The dynamics of the modes as published: a network for every mode, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mlgle_lammps.plain import JsonMapping, JsonObject
from mlgle_lammps.records import Float64, ModeReport
from mlgle_lammps.surrogates.ml_gle import plain_values
from mlgle_lammps.surrogates.ml_gle.dynamics import Stepper
from mlgle_lammps.surrogates.ml_gle.published import REMEDY, network
from mlgle_lammps.surrogates.ml_gle.published.stepper import PublishedStepper

LEAST_MEMORY = 3
"""Frames from which a history's frame of reference is made."""


@dataclass(frozen=True)
class PublishedModes:
    """What training yields (a ModeDynamics).

    Attributes:
        memory: m, frames of history.
        sigma: σ_z per component of each mode, length units.
        sigma_increment: σ_Δz, likewise.
        tensors: weights by name, mode axis first, on the CPU.
        reports: one per mode.
        notes: what went differently from the plan, one line each.
    """

    preset: ClassVar[str] = "paper"
    core: ClassVar[None] = None
    coupling: ClassVar[None] = None
    remedy: ClassVar[str] = REMEDY

    memory: int
    sigma: Float64
    sigma_increment: Float64
    tensors: dict[str, torch.Tensor]
    reports: tuple[ModeReport, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def n_modes(self) -> int:
        """Number k of modes."""
        return len(self.sigma)

    def steppers(self, device: torch.device, dtype: torch.dtype = torch.float32) -> list[Stepper]:
        """Return the one stepper that advances all modes."""
        return [PublishedStepper(self.tensors, self.memory, self.sigma_increment / self.sigma, device, dtype)]

    def to_plain(self) -> JsonObject:
        """Return the dynamics as plain values and tensors by name."""
        return {
            "memory": self.memory, "sigma": torch.tensor(self.sigma),
            "sigma_increment": torch.tensor(self.sigma_increment), "tensors": dict(self.tensors),
            "reports": plain_values.plain_reports(self.reports), "notes": list(self.notes),
        }  # fmt: skip

    @staticmethod
    def from_plain(plain: JsonMapping, most_bytes: int) -> PublishedModes:
        """Return the dynamics in a file of ``most_bytes``.

        Raises:
            ValueError, KeyError, TypeError: values that are missing, not what they should be, or do not fit together.
        """
        sigma, sigma_increment = (plain_values.array(plain, name, most_bytes) for name in ("sigma", "sigma_increment"))
        memory, k = plain_values.whole(plain["memory"], "memory", LEAST_MEMORY), len(sigma)
        if k < 1:
            raise ValueError("no modes")
        plain_values.check_sigmas(sigma, sigma_increment, k)
        tensors = plain_values.tensors(plain, "tensors", most_bytes)
        plain_values.expect_tensors(tensors, network.weight_shapes(memory, k))
        return PublishedModes(
            memory, sigma, sigma_increment, tensors, plain_values.reports(plain, "reports"),
            plain_values.lines(plain, "notes"),
        )  # fmt: skip
