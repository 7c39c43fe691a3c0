"""Networks checked by generating with them: their stationary variance is brought to the core's, or they are dropped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.model.linear_core import LinearCore, autocovariance
from mlgle_lammps.model.steppers import LinearStepper, NetworkStepper, Stepper
from mlgle_lammps.model.surrogate import Networks

_TRAJECTORIES = 200
_ROUNDS = 3
_BLOCK = 128
_LEAST_STEPS, _MOST_STEPS = 1024, 4096
_TOLERANCE = 0.05


@dataclass(frozen=True)
class Calibration:
    """Outcome.

    Attributes:
        networks: those that hold, None where none does.
        variance_ratio: generated variance over the core's after calibration, per network that went in.
        notes: one line for each network dropped.
    """

    networks: Networks | None
    variance_ratio: tuple[float, ...]
    notes: tuple[str, ...]


def calibrate(core: LinearCore, networks: Networks, y: torch.Tensor, seed: int) -> Calibration:
    """Return networks whose generated stationary variance is that of the core (which is the recorded one).

    Networks and core run from the same starts with the same noise, so that the ratio of their variances is known far
    better than either; the innovation's log-variance is shifted by minus its logarithm, three times over.

    Args:
        core: of all modes.
        networks: of some modes.
        y: recorded standardized frames, (time, chain, mode, 3).
        seed: of the noise.
    """
    tensors = dict(networks.tensors)
    n_steps = _steps_for(core, networks.modes)
    ratio = np.ones(len(networks.modes))
    for attempt in range(_ROUNDS):
        candidate = Networks(networks.modes, networks.architecture, tensors)
        ratio = variance_ratio(core, candidate, y, n_steps, seed)
        if attempt + 1 < _ROUNDS:
            shift = torch.as_tensor(np.log(np.nan_to_num(ratio, nan=1.0, posinf=1.0)), dtype=torch.float32)
            tensors["log_variance_offset"] = tensors["log_variance_offset"] - shift.clamp(-0.3, 0.3)[:, None]
    holds = np.isfinite(ratio) & (np.abs(ratio - 1) < _TOLERANCE)
    notes = tuple(
        f"mode {mode + 1}: its network was dropped, the variance that it generated was {found:.2f} of the recorded one"
        for mode, found, good in zip(networks.modes, ratio, holds, strict=True)
        if not good
    )
    kept = np.flatnonzero(holds)
    remaining = None
    if len(kept):
        modes = tuple(networks.modes[i] for i in kept)
        remaining = Networks(modes, networks.architecture, {n: t[kept].contiguous() for n, t in tensors.items()})
    return Calibration(remaining, tuple(float(r) for r in ratio), notes)


def _steps_for(core: LinearCore, modes: tuple[int, ...]) -> int:
    """Return about ten times the slowest of the modes' relaxation times, within limits."""
    covariance = autocovariance(core, _MOST_STEPS // 8)[list(modes)]
    below = covariance < covariance[:, :1] / np.e
    slowest = int(np.where(below.any(axis=1), below.argmax(axis=1), covariance.shape[1]).max())
    return int(np.clip(10 * slowest, _LEAST_STEPS, _MOST_STEPS))


def variance_ratio(core: LinearCore, networks: Networks, y: torch.Tensor, n_steps: int, seed: int) -> np.ndarray:
    """Return generated variance with the networks over that of the core alone, (network,), by common noise."""
    device = y.device
    steppers: list[Stepper] = [NetworkStepper(core, networks, device), LinearStepper(core, networks.modes, device)]
    reach = max(stepper.reach for stepper in steppers)
    chains = torch.arange(_TRAJECTORIES, device=device) % y.shape[1]
    start = y[-reach:][:, chains][:, :, list(networks.modes)].permute(2, 0, 1, 3)
    squares = torch.zeros(len(steppers), len(networks.modes), dtype=torch.float64, device=device)
    generator = torch.Generator(device).manual_seed(seed)
    histories = [start.clone() for _ in steppers]
    with torch.inference_mode():
        for done in range(0, n_steps, _BLOCK):
            shape = (len(networks.modes), _BLOCK, _TRAJECTORIES, 3)
            noise = torch.randn(shape, generator=generator, device=device)
            for i, stepper in enumerate(steppers):
                buffer = torch.cat([histories[i][:, -stepper.reach :], torch.empty_like(noise)], dim=1)
                stepper.fill(buffer, noise)
                histories[i] = torch.cat([histories[i], buffer[:, stepper.reach :]], dim=1)[:, -reach:]
                if done >= n_steps // 4:
                    squares[i] += buffer[:, stepper.reach :].double().square().sum((1, 2, 3))
    return (squares[0] / squares[1]).cpu().numpy()
