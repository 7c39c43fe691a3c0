"""Laws of a temperature's shift factor: ln a(T), 0 at the reference."""

from __future__ import annotations

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Float64

ARRHENIUS, VOGEL, QUADRATIC = "Arrhenius", "Vogel-Fulcher-Tammann", "quadratic in 1/T"


def require_above_end(name: str, T: float, parameters: Float64) -> None:
    """Raise UserError at and below the temperature where Vogel's law ends."""
    if name == VOGEL and parameters[1] >= T:
        raise UserError(f"T = {T:g} is not above the T0 = {parameters[1]:.4g} where Vogel's law ends")


def log_shift(name: str, T: Float64 | float, parameters: Float64, reference: float) -> Float64 | float:
    """Return ln a at each T: B/(T - T_0) - B/(T_ref - T_0) for Vogel's law, else Σ_i c_i (1/T - 1/T_ref)^i, i >= 1.

    Args:
        name: of the law.
        T: temperature, any shape.
        parameters: B and T_0, or c_1, c_2, ..
        reference: T_ref.
    """
    x = 1.0 / np.asarray(T) - 1.0 / reference
    if name == VOGEL:
        B, T_v = parameters
        result: Float64 = B / (np.asarray(T) - T_v) - B / (reference - T_v)
        return result
    powers = [x ** (i + 1) for i in range(len(parameters))]
    return sum(c * power for c, power in zip(parameters, powers, strict=True))
