"""The integrator: X(t) = α B(t) + β Σ_j [z_j(t) - z_j(0)] (JCP eq. 13), streamed in chunks of steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.compute import resolve_device
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.model.steppers import Stepper, make_steppers
from mlgle_lammps.model.surrogate import Surrogate
from mlgle_lammps.records import Float32, Float64

RUNAWAY = 20.0
_NOISE_BLOCK = 128
_CHUNK_BYTES = 2**26


@dataclass(frozen=True)
class Chunk:
    """Consecutive generated steps of all trajectories, in deck units.

    Attributes:
        first_step: number of the first step here; the history's last frame is step 0, where X = 0.
        com: X, (time, trajectory, 3) float64.
        modes: z, (time, trajectory, mode, 3) float32.
    """

    first_step: int
    com: Float64
    modes: Float32


def random_rotations(n: int, generator: np.random.Generator) -> Float64:
    """Return ``n`` rotations uniform in SO(3), (n, 3, 3), by normalized quaternions."""
    w, x, y, z = (q := generator.standard_normal((n, 4))).T / np.linalg.norm(q, axis=1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def starting_histories(history: Float32, memory: int, n_trajectories: int, generator: np.random.Generator) -> Float32:
    """Return a history of m frames for every trajectory, distinct even where chains are fewer.

    The first trajectories take the chains' last frames; further rounds over the chains end at earlier, evenly spaced
    times of the record, and each is turned by a random rotation (the dynamics are isotropic).

    Args:
        history: (time >= m, chain, mode, 3).
        memory: m.
        n_trajectories: trajectories wanted.
        generator: of the rotations.

    Returns:
        (m, trajectory, mode, 3) float32.
    """
    n_times, n_chains = history.shape[:2]
    n_rounds = -(-n_trajectories // n_chains)
    ends = np.linspace(n_times, memory, max(2, n_rounds)).round().astype(int)[:n_rounds]
    rounds = []
    for number, end in enumerate(ends):
        piece = history[end - memory : end]
        if number:
            piece = np.einsum("cxy,tcky->tckx", random_rotations(n_chains, generator), piece)
        rounds.append(piece.astype(np.float32))
    return np.concatenate(rounds, axis=1)[:, :n_trajectories]


class _Group:
    """One stepper with its buffer and noise."""

    def __init__(self, stepper: Stepper, start: torch.Tensor, chunk: int) -> None:
        self.stepper = stepper
        shape = (len(stepper.modes), stepper.reach + chunk, *start.shape[2:])
        self._buffer = torch.empty(shape, dtype=start.dtype, device=start.device)
        self._buffer[:, : stepper.reach] = start[list(stepper.modes), start.shape[1] - stepper.reach :]

    def advance(self, n_steps: int, generator: torch.Generator) -> torch.Tensor:
        """Return the next steps, y (mode, n, trajectory, 3), a view that lasts until the next call."""
        reach, buffer = self.stepper.reach, self._buffer
        for done in range(0, n_steps, _NOISE_BLOCK):
            n = min(_NOISE_BLOCK, n_steps - done)
            shape = (len(buffer), n, *buffer.shape[2:])
            noise = torch.randn(shape, generator=generator, dtype=buffer.dtype, device=buffer.device)
            self.stepper.fill(buffer[:, done : done + reach + n], noise)
        return buffer[:, reach : reach + n_steps]

    def roll(self, n_steps: int) -> None:
        """Make the last frames the history of the next call."""
        reach = self.stepper.reach
        self._buffer[:, :reach] = self._buffer[:, n_steps : n_steps + reach].clone()

    def check(self, steps: torch.Tensor, first_step: int) -> None:
        """Raise RunFailure where a mode is not finite or beyond 20 standard deviations."""
        good = steps.abs().amax((1, 2, 3)) < RUNAWAY
        if bool(good.all()):
            return
        row = int((~good).nonzero()[0])
        bad = ~(steps[row].abs().amax((1, 2)) < RUNAWAY)
        raise RunFailure(
            f"generated mode {self.stepper.modes[row] + 1} left the range of {RUNAWAY:g} standard deviations at step "
            f"{first_step + int(bad.nonzero()[0])}; train on more frames, or use --preset default"
        )


def automatic_chunk(n_trajectories: int, n_modes: int) -> int:
    """Return steps per chunk such that its modes take about 64 MB, a multiple of the noise block."""
    steps = _CHUNK_BYTES // (n_trajectories * n_modes * 3 * 4)
    return int(np.clip(steps // _NOISE_BLOCK, 1, 64)) * _NOISE_BLOCK


def generate(
    surrogate: Surrogate,
    n_steps: int,
    n_trajectories: int,
    seed: int,
    device: str = "cpu",
    history: Float32 | None = None,
    chunk: int = 0,
    threads: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Chunk]:
    """Yield generated steps 1..n in chunks; equal seeds, threads and devices give equal bits, whatever the chunk.

    X(t) = α B(t) + β Σ_j [z_j(t) - z_j(0)] per dimension, X(0) = 0 (JCP eq. 13), B a standard Brownian motion of
    variance t, t = step·dt, β = √max(β², 0). With no modes' share (β = 0) <X²> = α² t.

    Args:
        surrogate: the model.
        n_steps: steps to generate.
        n_trajectories: independent trajectories.
        seed: of starts and noise.
        device: "auto", "cpu" or "cuda".
        history: recorded modes to start from, (time >= m, chain, mode, 3), deck units; the surrogate's own if None.
        chunk: steps per chunk, rounded up to a multiple of 128; 0 chooses.
        threads: torch threads while generating; 0 leaves them.
        dtype: of the modes' arithmetic.

    Raises:
        UserError: the history is too short or of other modes.
        RunFailure: a mode is not finite or runs away; names mode and step.
    """
    history = surrogate.history if history is None else history
    memory, n_modes = surrogate.model.memory, surrogate.n_modes
    if history.ndim != 4 or history.shape[0] < memory or history.shape[2:] != (n_modes, 3):
        raise UserError(
            f"starting history has shape {tuple(history.shape)}; {memory} frames or more of {n_modes} modes are needed"
        )
    chunk = -(-chunk // _NOISE_BLOCK) * _NOISE_BLOCK if chunk else automatic_chunk(n_trajectories, n_modes)
    threads_before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        yield from _generate(surrogate, n_steps, n_trajectories, seed, resolve_device(device), history, chunk, dtype)
    finally:
        if threads:
            torch.set_num_threads(threads_before)


def _generate(
    surrogate: Surrogate,
    n_steps: int,
    n_trajectories: int,
    seed: int,
    device: torch.device,
    history: Float32,
    chunk: int,
    dtype: torch.dtype,
) -> Iterator[Chunk]:
    """See ``generate``; arguments are checked."""
    model = surrogate.model
    rotations, streams = np.random.default_rng(seed), np.random.SeedSequence(seed)
    start = starting_histories(history, model.memory, n_trajectories, rotations)
    sigma = torch.as_tensor(model.sigma, dtype=dtype, device=device)
    y = torch.as_tensor(start, dtype=dtype, device=device) / sigma[:, None]
    y = y.permute(2, 0, 1, 3)
    groups = [_Group(stepper, y, min(chunk, n_steps)) for stepper in make_steppers(model, device, dtype)]
    origin = torch.as_tensor(start[-1].astype(np.float64).sum(1), device=device)
    brownian = torch.zeros(n_trajectories, 3, dtype=torch.float64, device=device)
    states = streams.generate_state(len(groups) + 1, np.uint64) >> np.uint64(1)
    generators = [torch.Generator(device).manual_seed(int(state)) for state in states]
    step_size = surrogate.alpha * math.sqrt(surrogate.dt)
    beta = math.sqrt(max(surrogate.beta_sq, 0.0))
    for done in range(0, n_steps, chunk):
        n = min(chunk, n_steps - done)
        with torch.inference_mode():
            modes = torch.empty(n, n_trajectories, len(sigma), 3, dtype=torch.float32, device=device)
            for group, generator in zip(groups, generators[1:], strict=True):
                rows = list(group.stepper.modes)
                steps = group.advance(n, generator)
                group.check(steps, done + 1)
                modes[:, :, rows] = (steps * sigma[rows, None, None, None]).permute(1, 2, 0, 3).to(torch.float32)
                group.roll(n)
            noise = torch.randn(n, n_trajectories, 3, generator=generators[0], dtype=torch.float64, device=device)
            walk = brownian + step_size * noise.cumsum(0)
            brownian = walk[-1].clone()
            com = walk + beta * (modes.sum(2, dtype=torch.float64) - origin)
            yield_com, yield_modes = com.cpu().numpy(), modes.cpu().numpy()
        yield Chunk(done + 1, yield_com, yield_modes)
