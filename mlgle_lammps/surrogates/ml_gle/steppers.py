"""How modes advance: the linear core in whole blocks, networks step by step; each in a buffer that is its own window.

A buffer is (mode, time, 3, trajectory), standardized; its first frames are the history, the rest is filled in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.equivariant import Networks
from mlgle_lammps.surrogates.ml_gle.linear_core import BlockedCore, LinearCore, history_matrix

_FAR_BLOCK = 16


def subset(core: LinearCore, modes: tuple[int, ...]) -> LinearCore:
    """Return the core of some modes, its padding cut to their greatest order."""
    rows = list(modes)
    orders = tuple(core.orders[j] for j in rows)
    return LinearCore(core.coefficients[rows, : max(orders)], orders, core.innovation_variance[rows])


class LinearStepper:
    """Linear core alone (a Stepper): one matrix product per block, no loop over steps."""

    def __init__(
        self, core: LinearCore, modes: tuple[int, ...], device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.modes = modes
        self._whole, self._dtype = core, dtype
        self._core = BlockedCore(subset(core, modes), device, dtype)
        self.reach = self._core.order

    def fill(self, buffer: torch.Tensor, noise: torch.Tensor) -> None:
        """See ``Stepper.fill``."""
        flat, normals = buffer.flatten(2), noise.flatten(2)
        n_steps = normals.shape[1]
        for start in range(0, n_steps, self._core.block):
            stop = min(start + self._core.block, n_steps)
            past = flat[:, start : start + self.reach]
            flat[:, self.reach + start : self.reach + stop] = self._core.advance(past, normals[:, start:stop])

    def part(self, places: Sequence[int], device: torch.device) -> LinearStepper:
        """See ``Stepper.part``."""
        return LinearStepper(self._whole, tuple(self.modes[place] for place in places), device, self._dtype)


class NetworkStepper:
    """Linear core and equivariant network (a Stepper): y_t = core + s r + s exp(v/2) ε.

    The core's sum over the past is one matrix product per 16 steps plus the few terms inside them.
    """

    def __init__(
        self, core: LinearCore, networks: Networks, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.modes = networks.modes
        self._whole, self._networks, self._dtype = core, networks, dtype
        own = subset(core, networks.modes)
        self._order, self._architecture = own.max_order, networks.architecture
        self.reach = max(self._order, self._architecture.reach)
        self._tensors = {name: t.to(device, dtype) for name, t in networks.tensors.items()}
        self._far = torch.as_tensor(history_matrix(own.coefficients, _FAR_BLOCK), dtype=dtype, device=device)
        near = np.zeros((own.n_modes, _FAR_BLOCK, _FAR_BLOCK))
        for s in range(1, _FAR_BLOCK):
            n = min(s, self._order)
            near[:, s, s - n : s] = own.coefficients[:, :n][:, ::-1]
        self._near = torch.as_tensor(near, dtype=dtype, device=device)
        scale = np.sqrt(own.innovation_variance)[:, None, None]
        self._scale = torch.as_tensor(scale, dtype=dtype, device=device)
        self._widths = torch.tensor(self._architecture.windows, dtype=dtype, device=device)[:, None]

    def fill(self, buffer: torch.Tensor, noise: torch.Tensor) -> None:
        """See ``Stepper.fill``."""
        n_steps = noise.shape[1]
        for start in range(0, n_steps, _FAR_BLOCK):
            stop = min(start + _FAR_BLOCK, n_steps)
            self._fill_block(buffer[:, start : self.reach + stop], noise[:, start:stop])

    def part(self, places: Sequence[int], device: torch.device) -> NetworkStepper:
        """See ``Stepper.part``."""
        rows, own = list(places), self._networks
        tensors = {name: tensor[rows] for name, tensor in own.tensors.items()}
        networks = Networks(tuple(own.modes[row] for row in rows), own.architecture, tensors)
        return NetworkStepper(self._whole, networks, device, self._dtype)

    def _fill_block(self, buffer: torch.Tensor, noise: torch.Tensor) -> None:
        """Advance at most ``_FAR_BLOCK`` steps; ``buffer`` begins ``reach`` frames before the first."""
        n_steps, reach = noise.shape[1], self.reach
        flat = buffer.flatten(2)
        far = self._far[:, :n_steps] @ flat[:, reach - self._order : reach]
        lags, windows = self._architecture.lags, self._architecture.windows
        longest = max(windows, default=0)
        squares = buffer.new_empty(len(buffer), longest + n_steps, buffer.shape[3])
        squares[:, :longest] = buffer[:, reach - longest - 1 : reach].diff(dim=1).square().sum(2)
        sums = squares.new_empty(len(buffer), len(windows), buffer.shape[3])
        for i, w in enumerate(windows):
            sums[:, i] = squares[:, longest - w : longest].sum(1)
        for s in range(n_steps):
            now = reach + s
            mean = far[:, s]
            if s:
                mean = torch.baddbmm(mean.unsqueeze(1), self._near[:, s : s + 1, :s], flat[:, reach:now]).squeeze(1)
            mean = mean.reshape(len(buffer), *buffer.shape[2:])
            last = buffer[:, now - 1]
            earlier = torch.stack([buffer[:, now - 1 - lag] for lag in lags], 1) if lags else buffer[:, :0]
            basis = equivariant.make_basis(last, earlier, mean)
            residual, log_variance = equivariant.evaluate(self._tensors, basis, sums / self._widths)
            spread = torch.exp(0.5 * log_variance).unsqueeze(1)
            new = mean + self._scale * (residual + spread * noise[:, s])
            buffer[:, now] = new
            if windows:
                square = (new - last).square().sum(1)
                squares[:, longest + s] = square
                leaving = torch.stack([squares[:, longest + s - w] for w in windows], 1)
                sums = (sums + square.unsqueeze(1) - leaving).clamp_(min=0)
