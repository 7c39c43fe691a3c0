"""The dynamics of the modes that preset ``default`` learns: a linear core, and networks where they are worth it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from mlgle_lammps.plain import JsonMapping, JsonObject
from mlgle_lammps.records import Float64, ModeReport
from mlgle_lammps.surrogates.ml_gle import equivariant, plain_values
from mlgle_lammps.surrogates.ml_gle.coupled_noise import CoupledNoise
from mlgle_lammps.surrogates.ml_gle.dynamics import Stepper
from mlgle_lammps.surrogates.ml_gle.equivariant import Networks
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore
from mlgle_lammps.surrogates.ml_gle.steppers import LinearStepper, NetworkStepper

_ORDERS = ((-1, 32), (32, math.inf))  # modes of low order are not padded to the highest


@dataclass(frozen=True)
class ModeModel:
    """What training yields (a ModeDynamics).

    Attributes:
        memory: m, frames of history.
        sigma: σ_z per component of each mode, length units.
        sigma_increment: σ_Δz, likewise.
        core: linear core of all modes.
        networks: None where no mode has one.
        reports: one per mode.
        notes: what went differently from the plan, one line each.
        coupling: of the modes' noise; None where it is independent.
    """

    preset: ClassVar[str] = "default"
    remedy: ClassVar[str] = ""

    memory: int
    sigma: Float64
    sigma_increment: Float64
    core: LinearCore
    networks: Networks | None
    reports: tuple[ModeReport, ...] = ()
    notes: tuple[str, ...] = ()
    coupling: CoupledNoise | None = None

    @property
    def n_modes(self) -> int:
        """Number k of modes."""
        return self.core.n_modes

    def steppers(self, device: torch.device, dtype: torch.dtype = torch.float32) -> list[Stepper]:
        """Return the steppers that together advance all modes; where no network was kept, none runs."""
        with_network = self.networks.modes if self.networks else ()
        steppers: list[Stepper] = []
        for least, most in _ORDERS:
            orders = enumerate(self.core.orders)
            linear = tuple(j for j, order in orders if least < order <= most and j not in with_network)
            if linear:
                steppers.append(LinearStepper(self.core, linear, device, dtype))
        if self.networks:
            steppers.append(NetworkStepper(self.core, self.networks, device, dtype))
        return steppers

    def to_plain(self) -> JsonObject:
        """Return the dynamics as plain values and tensors by name."""
        networks, coupling = self.networks, self.coupling
        coupled = {} if coupling is None else {
            "noise_correlation": torch.tensor(coupling.correlation), "noise_half_width": coupling.half_width,
        }  # fmt: skip
        return coupled | {
            "memory": self.memory, "sigma": torch.tensor(self.sigma),
            "sigma_increment": torch.tensor(self.sigma_increment),
            "coefficients": torch.tensor(self.core.coefficients), "orders": list(self.core.orders),
            "innovation_variance": torch.tensor(self.core.innovation_variance),
            "network_modes": list(networks.modes) if networks else [],
            "lags": list(networks.architecture.lags) if networks else [],
            "windows": list(networks.architecture.windows) if networks else [],
            "tensors": dict(networks.tensors) if networks else {},
            "reports": plain_values.plain_reports(self.reports), "notes": list(self.notes),
        }  # fmt: skip

    @staticmethod
    def from_plain(plain: JsonMapping, most_bytes: int) -> ModeModel:
        """Return the dynamics in a file of ``most_bytes``.

        Raises:
            ValueError, KeyError, TypeError: values that are missing, not what they should be, or do not fit together.
        """
        networks = None
        tensors = plain_values.tensors(plain, "tensors", most_bytes)
        if modes := plain_values.whole_numbers(plain, "network_modes"):
            lags, windows = (plain_values.whole_numbers(plain, name, 1) for name in ("lags", "windows"))
            networks = Networks(modes, equivariant.Architecture(lags, windows), tensors)
        elif tensors:
            raise ValueError("networks of no mode")
        core = LinearCore(
            plain_values.array(plain, "coefficients", most_bytes), plain_values.whole_numbers(plain, "orders", 1),
            plain_values.array(plain, "innovation_variance", most_bytes),
        )  # fmt: skip
        sigma, sigma_increment = (plain_values.array(plain, name, most_bytes) for name in ("sigma", "sigma_increment"))
        model = ModeModel(
            plain_values.whole(plain["memory"], "memory", 1), sigma, sigma_increment, core, networks,
            plain_values.reports(plain, "reports"), plain_values.lines(plain, "notes"),
            CoupledNoise.from_plain(plain, core.n_modes, most_bytes),
        )  # fmt: skip
        _check(model)
        return model


def _check(model: ModeModel) -> None:
    """Raise ValueError where shapes or values do not fit together."""
    k, core = model.n_modes, model.core
    if k < 1:
        raise ValueError("no modes")
    if any(not 1 <= order <= model.memory for order in core.orders):
        raise ValueError(f"orders {core.orders} are not within the memory of {model.memory}")
    plain_values.expect_shape("coefficients", core.coefficients.shape, (k, max(core.orders)))
    plain_values.expect_shape("innovation_variance", core.innovation_variance.shape, (k,))
    plain_values.check_sigmas(model.sigma, model.sigma_increment, k)
    if not (core.innovation_variance >= 0).all():
        raise ValueError("a variance that is not positive")
    if model.networks is not None:
        _check_networks(model.networks, model.memory, k)


def _check_networks(networks: Networks, memory: int, k: int) -> None:
    if len(set(networks.modes)) != len(networks.modes) or not all(0 <= j < k for j in networks.modes):
        raise ValueError(f"networks for modes {networks.modes} of {k}")
    n, architecture = len(networks.modes), networks.architecture
    seen = architecture.lags, architecture.windows
    if architecture.reach > memory or any(len(set(lags)) < len(lags) for lags in seen):
        raise ValueError("the network looks further back than the memory, or twice at the same frames")
    wanted = equivariant.weight_shapes(architecture, n) | equivariant.scale_shapes(architecture, n)
    plain_values.expect_tensors(networks.tensors, wanted)
    for name in equivariant.POSITIVE:
        if not bool((networks.tensors[name] > plain_values.SMALLEST).all()):
            raise ValueError(f"{name} is not positive")
