"""Networks checked by generating with them: variance and relaxation are brought to the core's, or they are dropped.

One-step likelihood says next to nothing about a slow mode's stationary variance and relaxation time, which the linear
core has from the recorded autocovariance. Networks and core run from the same starts with the same noise, so that
their ratios are known far better than either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.ml_gle.autoregressive import relaxation_lags
from mlgle_lammps.surrogates.ml_gle.dynamics import Stepper
from mlgle_lammps.surrogates.ml_gle.equivariant import Networks
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore
from mlgle_lammps.surrogates.ml_gle.steppers import LinearStepper, NetworkStepper

_TRAJECTORIES = 200
_ROUNDS = 5
_BLOCK = 128
_LEAST_STEPS, _MOST_STEPS = 1024, 4096
_LEAST_LAG = 4
_LONGEST_LAG = _MOST_STEPS // 12
MOST_TRAJECTORY_STEPS = _ROUNDS * _MOST_STEPS * _TRAJECTORIES
"""Steps × trajectories that a calibration generates at most, with the networks and with the core alone."""
_NOISE = 0.02
_VARIANCE_TOLERANCE = 0.05
_RATE_TOLERANCE = 0.15


@dataclass(frozen=True)
class Calibration:
    """Outcome.

    Attributes:
        networks: those that hold, None where none does.
        variance_ratio: generated variance over the core's after calibration, by 0-based mode.
        rate_ratio: relaxation rate over the core's after calibration, by 0-based mode.
        notes: one line for each network dropped.
    """

    networks: Networks | None
    variance_ratio: dict[int, float]
    rate_ratio: dict[int, float]
    notes: tuple[str, ...]


def calibrate(core: LinearCore, networks: Networks, y: torch.Tensor, seed: int) -> Calibration:
    """Return networks whose generated variance and relaxation time are the core's (which are the recorded ones).

    The log-variance is shifted, and a term linear in the last position added to the residual, by secant steps; the
    first state within 2% is kept (a finer one would follow the noise of the check), else that of the smallest misfit.
    A term ε y_{t-1} lowers the relaxation rate by ε / Σ_i i a_i.

    Args:
        core: of all modes.
        networks: of some modes.
        y: recorded standardized frames, (time, chain, mode, d).
        seed: of the noise.
    """
    lags = relaxation_lags(core, _LONGEST_LAG)[list(networks.modes)]
    n_steps = int(np.clip(12 * lags.max(), _LEAST_STEPS, _MOST_STEPS))
    tensors = dict(networks.tensors)
    offset = np.zeros((2, len(lags)))
    previous: tuple[Float64, Float64] | None = None
    best, best_misfit, best_offset = np.ones((2, len(lags))), np.full(len(lags), np.inf), offset.copy()
    for _ in range(_ROUNDS):
        candidate = Networks(networks.modes, networks.architecture, _shifted(core, networks, offset))
        found = generated_over_core(core, candidate, y, lags, n_steps, seed)
        error = np.where(np.isfinite(found), np.log(np.clip(found, 1e-3, 1e3)), 3.0)
        misfit = np.abs(error).max(axis=0)
        better = (misfit < best_misfit) & (best_misfit > _NOISE)
        best_misfit = np.where(better, misfit, best_misfit)
        best, best_offset = np.where(better, found, best), np.where(better, offset, best_offset)
        if (best_misfit <= _NOISE).all():
            break
        slope = np.full_like(error, 1.5)
        if previous is not None:
            moved = offset - previous[0]
            safe = np.where(np.abs(moved) > 1e-4, moved, 1.0)
            slope = np.where(np.abs(moved) > 1e-4, np.clip((error - previous[1]) / safe, 0.7, 6.0), slope)
        previous = (offset, error)
        offset = np.clip(offset - np.clip(error / slope, -0.3, 0.3), -1.0, 1.0)
    tensors = _shifted(core, networks, best_offset)
    return _outcome(networks, tensors, best)


def _shifted(core: LinearCore, networks: Networks, offset: Float64) -> dict[str, torch.Tensor]:
    """Return tensors with log-variance plus ``offset[0]`` and relaxation rate times about exp(offset[1])."""
    tensors = dict(networks.tensors)
    rows = list(networks.modes)
    coefficients = core.coefficients[rows]
    inertia = coefficients @ np.arange(1, coefficients.shape[1] + 1)
    rate = 1 / relaxation_lags(core, _LONGEST_LAG)[rows]
    scale = tensors["basis_scale"][:, 0, 0, 0].double().cpu().numpy() / np.sqrt(core.innovation_variance[rows])
    pull = rate * np.expm1(offset[1]) * inertia * scale
    linear = tensors["linear_part"].clone()
    linear[:, 0, 0, 0] += torch.as_tensor(pull, dtype=linear.dtype, device=linear.device)
    shift = torch.as_tensor(offset[0], dtype=linear.dtype, device=linear.device)[:, None]
    return tensors | {"linear_part": linear, "log_variance_offset": tensors["log_variance_offset"] + shift}


def _outcome(networks: Networks, tensors: dict[str, torch.Tensor], found: Float64) -> Calibration:
    """Return the networks that hold, with a note for each that does not."""
    error = np.abs(np.log(np.where(np.isfinite(found) & (found > 0), found, np.inf)))
    holds = (error[0] < _VARIANCE_TOLERANCE) & (error[1] < _RATE_TOLERANCE)
    notes = tuple(
        f"mode {mode + 1}: its network was dropped; it generated {found[0, i]:.2f} of the recorded variance at "
        f"{found[1, i]:.2f} of the recorded relaxation rate"
        for i, mode in enumerate(networks.modes)
        if not holds[i]
    )
    kept = np.flatnonzero(holds)
    remaining = None
    if len(kept):
        modes = tuple(networks.modes[i] for i in kept)
        index = torch.as_tensor(kept)
        remaining = Networks(modes, networks.architecture, {n: t[index].contiguous() for n, t in tensors.items()})
    ratios = [dict(zip(networks.modes, map(float, row), strict=True)) for row in found]
    return Calibration(remaining, ratios[0], ratios[1], notes)


def generated_over_core(
    core: LinearCore, networks: Networks, y: torch.Tensor, lags: np.ndarray, n_steps: int, seed: int
) -> Float64:
    """Return variance and relaxation rate with the networks over those of the core alone, (2, network).

    The rate is -log NACF at the mode's ``lag``; one for modes that relax within four frames. Common noise.
    """
    device, modes = y.device, networks.modes
    steppers: list[Stepper] = [NetworkStepper(core, networks, device), LinearStepper(core, modes, device)]
    reach = max(stepper.reach for stepper in steppers)
    chains = torch.arange(_TRAJECTORIES, device=device) % y.shape[1]
    start = y[-reach:][:, chains][:, :, list(modes)].permute(2, 0, 3, 1)
    shape = (len(modes), reach + n_steps, start.shape[2], _TRAJECTORIES)
    variance, rate = np.empty((2, len(modes))), np.ones((2, len(modes)))
    with torch.inference_mode():
        for i, stepper in enumerate(steppers):
            generator = torch.Generator(device).manual_seed(seed)
            path = torch.empty(shape, dtype=y.dtype, device=device)
            path[:, :reach] = start
            for done in range(0, n_steps, _BLOCK):
                n = min(_BLOCK, n_steps - done)
                noise = torch.randn((len(modes), n, *shape[2:]), generator=generator, device=device)
                stepper.fill(path[:, reach - stepper.reach + done : reach + done + n], noise)
            late = path[:, reach + n_steps // 4 :]
            for j, lag in enumerate(lags):
                square = float(late[j].double().square().mean())
                variance[i, j] = square
                if lag >= _LEAST_LAG:
                    product = float((late[j, :-lag].double() * late[j, lag:].double()).mean())
                    rate[i, j] = -np.log(max(product / square, 1e-3)) if square > 0 else 1.0
    return np.stack([variance[0] / variance[1], rate[0] / rate[1]])
