"""Trajectories that advance together: steppers with rolling buffers and noise, and the centre that modes drive."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlgle_lammps.errors import RunFailure
from mlgle_lammps.resources.compute import on_device
from mlgle_lammps.surrogates.ml_gle.captured import Work, captured
from mlgle_lammps.surrogates.ml_gle.coupled_noise import NoiseOfModes
from mlgle_lammps.surrogates.ml_gle.dynamics import Stepper
from mlgle_lammps.surrogates.ml_gle.fast_modes import FastMotion

if TYPE_CHECKING:  # the model makes batches
    from mlgle_lammps.surrogates.ml_gle.model import MlGleModel

RUNAWAY = 20.0
BLOCK = 128


class _Share:
    """A stepper with its rolling buffer on its device: history, then the steps of one block."""

    def __init__(self, stepper: Stepper, places: list[int], start: torch.Tensor, noise: torch.Tensor) -> None:
        """Begin at ``start``, y (mode, m, d, trajectory) of all modes, on the device that is to have them.

        Args:
            stepper: of the modes.
            places: of them in their group.
            start: also says which device.
            noise: of the steppers' modes, (mode, block, d, trajectory), to be filled before each block.
        """
        self.stepper, self.places, self.noise = stepper, places, noise
        self._buffer = start.new_zeros(len(stepper.modes), stepper.reach + BLOCK, *start.shape[2:])
        self._buffer[:, : stepper.reach] = start[list(stepper.modes), start.shape[1] - stepper.reach :]
        self._fill_block: Work | None = None

    def advance(self, n_steps: int) -> torch.Tensor:
        """Return the next steps, y (mode, n, d, trajectory); a view until ``roll``."""
        reach = self.stepper.reach
        with on_device(self._buffer.device):
            if n_steps == BLOCK:
                self._fill_block = self._fill_block or captured(self._fill_whole, [self._buffer])
                self._fill_block()
            else:
                self.stepper.fill(self._buffer[:, : reach + n_steps], self.noise[:, :n_steps])
        return self._buffer[:, reach:][:, :n_steps]

    def _fill_whole(self) -> None:
        self.stepper.fill(self._buffer, self.noise)

    def roll(self, n_steps: int) -> None:
        """Make the last frames of the ``n_steps`` just advanced the history of the next."""
        reach = self.stepper.reach
        self._buffer[:, :reach] = self._buffer[:, n_steps : n_steps + reach].clone()


class _Group:
    """One stepper, dealt out by its modes where there are several devices; its noise is drawn on the first."""

    def __init__(
        self, stepper: Stepper, start: torch.Tensor, seed: int, remedy: str, devices: Sequence[torch.device] = ()
    ) -> None:
        self.stepper = stepper
        self._advice = f"train on more frames{remedy and ', or '}{remedy}"
        self._generator = torch.Generator(start.device).manual_seed(seed)
        self._noise = start.new_zeros(len(stepper.modes), BLOCK, *start.shape[2:])
        every = list(range(len(stepper.modes)))
        parts = [own.tolist() for own in torch.tensor(every).tensor_split(min(max(1, len(devices)), len(every)))]
        if len(parts) == 1:
            self._shares = [_Share(stepper, every, start, self._noise)]
            return
        self._shares = [
            _Share(stepper.part(places, device), places, start.to(device), self._noise[places].to(device, copy=True))
            for places, device in zip(parts, devices, strict=False)
        ]

    def advance(self, n_steps: int, first_step: int, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Return the next steps, y (mode, n, d, trajectory), at most a block of them; a view until ``roll``.

        Without ``noise`` (all modes, block, d, trajectory) its own is drawn.
        """
        if noise is None:
            self._noise.normal_(generator=self._generator)
        else:
            self._noise.copy_(noise[list(self.stepper.modes)])
        if len(self._shares) == 1:
            steps = self._shares[0].advance(n_steps)
        else:
            for share in self._shares:
                share.noise.copy_(self._noise[share.places])
            made = [share.advance(n_steps) for share in self._shares]  # all at work before the first is waited for
            steps = torch.cat([own.to(self._noise.device) for own in made])
        self._check(steps, first_step)
        return steps

    def roll(self, n_steps: int) -> None:
        """Make the last frames of the ``n_steps`` just advanced the history of the next."""
        for share in self._shares:
            share.roll(n_steps)

    def _check(self, steps: torch.Tensor, first_step: int) -> None:
        """Raise RunFailure where a mode is not finite or beyond 20 standard deviations."""
        if bool((steps.amax() < RUNAWAY) & (steps.amin() > -RUNAWAY)):
            return
        good = steps.abs().amax((2, 3)) < RUNAWAY
        row = int((~good.all(1)).nonzero()[0])
        raise RunFailure(
            f"generated mode {self.stepper.modes[row] + 1} left the range of {RUNAWAY:g} standard deviations at step "
            f"{first_step + int((~good[row]).nonzero()[0])}; {self._advice}"
        )


class Batch:
    """Trajectories that advance together, with noise of their own: modes and centre of mass."""

    def __init__(
        self, model: MlGleModel, steppers: list[Stepper], start: torch.Tensor, seeds: list[int],
        devices: Sequence[torch.device] = (),
    ) -> None:  # fmt: skip
        """Begin at ``start``, y (mode, m, d, trajectory); ``devices`` share the modes, where they are several."""
        pairs, remedy = zip(steppers, seeds[1:], strict=True), model.dynamics.remedy
        self._groups = [_Group(stepper, start, seed, remedy, devices) for stepper, seed in pairs]
        self._generator = torch.Generator(start.device).manual_seed(seeds[0])
        self.sigma = torch.as_tensor(model.dynamics.sigma, dtype=start.dtype, device=start.device)
        self.n_dimensions, self.n_trajectories = start.shape[2:]
        own, lent = model.drive()
        self._own = torch.as_tensor(own, dtype=start.dtype, device=start.device)
        lends = np.flatnonzero(lent).tolist()
        self._lent = {mode: (place, float(model.dynamics.sigma[mode] * lent[mode])) for place, mode in enumerate(lends)}
        self._origin = self._driven(start[:, -1:]).squeeze(0).double()
        self._walk = torch.zeros_like(self._origin)
        coupling = model.dynamics.coupling
        self._noise = None if coupling is None else NoiseOfModes(coupling, start, BLOCK, seeds[1])
        self._fast = None if model.fast is None else FastMotion(model.fast, start[0, 0], self._generator)
        self._step_size = model.alpha * math.sqrt(model.dt)
        self._beta = model.beta

    def advance(
        self, com: torch.Tensor, modes: torch.Tensor, first_step: int, given_up: Callable[[], bool] = lambda: False
    ) -> None:
        """Fill com (time, d, trajectory) and modes (mode, time, d, trajectory) with the next steps, unless given up."""
        with torch.inference_mode():
            for done in range(0, len(com), BLOCK):
                if given_up():
                    return
                stop = min(done + BLOCK, len(com))
                self._advance_block(com[done:stop], modes[:, done:stop], first_step + done)

    def _advance_block(self, com: torch.Tensor, modes: torch.Tensor, first_step: int) -> None:
        n_steps = len(com)
        displacement = -self._origin.expand(n_steps, *self._origin.shape)
        coupled = None if self._noise is None else self._noise.next_block()
        for group in self._groups:
            rows = list(group.stepper.modes)
            steps = group.advance(n_steps, first_step, coupled)
            displacement = displacement + self._driven(steps, rows)
            for row, mode in zip(steps, rows, strict=True):
                torch.mul(row, self.sigma[mode], out=modes[mode])
            group.roll(n_steps)
        if self._fast is not None:
            displacement = displacement + self._fast.advance(n_steps)
        noise = torch.randn(com.shape, generator=self._generator, dtype=torch.float64, device=com.device)
        walk = self._walk + self._step_size * noise.cumsum(0)
        self._walk = walk[-1].clone()
        torch.add(walk, displacement, alpha=self._beta, out=com)

    def _driven(self, steps: torch.Tensor, rows: list[int] | slice = slice(None)) -> torch.Tensor:
        """Return what modes add to the centre in units of β, (time, d, trajectory) of y (mode, time, d, trajectory).

        What a trajectory's centre takes of modes that are not its own are those of its neighbours, each mode another's
        while there are as many: as independent as processes of their own would be, and already there.
        """
        own = torch.einsum("j,jtxc->txc", (self.sigma * self._own)[rows], steps)
        for mode, values in zip(range(len(self.sigma))[rows] if isinstance(rows, slice) else rows, steps, strict=True):
            if mode in self._lent:
                place, weight = self._lent[mode]
                own = own + (weight * values).roll(1 + place % (values.shape[-1] - 1), -1)
        return own
