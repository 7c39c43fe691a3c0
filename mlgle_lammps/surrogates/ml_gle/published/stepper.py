"""How the modes advance as published; the buffer is its own window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.ml_gle.published import network


class PublishedStepper:
    """Rotate the history, sample the increment, rotate back (JCP eq. 23-25, Algorithm 1); a Stepper."""

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor],
        memory: int,
        ratio: Float64,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        modes: tuple[int, ...] = (),
    ) -> None:
        """Take the networks of all modes.

        Args:
            weights: of ``network.initial_weights``.
            memory: m.
            ratio: σ_Δz/σ_z, (mode,).
            device: where the buffers are.
            dtype: of the arithmetic.
            modes: whose networks these are; none for all.
        """
        self.modes = modes or tuple(range(len(ratio)))
        self._whole, self._dtype = (weights, ratio), dtype
        self.reach = memory
        self._tensors = {name: t.to(device, dtype) for name, t in weights.items()}
        self._ratio = torch.as_tensor(ratio, dtype=dtype, device=device)[:, None, None]

    def part(self, places: Sequence[int], device: torch.device) -> PublishedStepper:
        """See ``Stepper.part``."""
        rows, (weights, ratio) = list(places), self._whole
        own = {name: tensor[rows] for name, tensor in weights.items()}
        modes = tuple(self.modes[row] for row in rows)
        return PublishedStepper(own, self.reach, ratio[rows], device, self._dtype, modes)

    def fill(self, buffer: torch.Tensor, noise: torch.Tensor) -> None:
        """See ``Stepper.fill``."""
        for s in range(noise.shape[1]):
            now = self.reach + s
            rotated, frame = network.rotate_history(buffer[:, s:now].mT)
            mean, lower, log_d = network.evaluate(self._tensors, rotated)
            increment = network.sample(mean, lower, log_d, noise[:, s].mT)
            turned_back = (increment.unsqueeze(-2) @ frame).squeeze(-2)
            buffer[:, now] = buffer[:, now - 1] + self._ratio * turned_back.mT
