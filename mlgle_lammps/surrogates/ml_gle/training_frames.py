"""Recorded modes as training data: standardized once, split once, windows gathered on the fly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from mlgle_lammps.records import Float64, Frames, Int64
from mlgle_lammps.surrogates.ml_gle.autoregressive import segment_slices

LEAST_TARGETS = 256
"""Fewer training targets are not learned from online."""


@dataclass(frozen=True)
class Targets:
    """Flat indices time·n_chains + chain of the frames to be predicted, each with m frames of history.

    Attributes:
        train: for the weights.
        stop: for early stopping.
        judge: for keeping or dropping a network, and for the reported likelihood; shares nothing with ``stop``.
    """

    train: torch.Tensor
    stop: torch.Tensor
    judge: torch.Tensor


@dataclass(frozen=True)
class TrainingFrames:
    """Standardized frames and what they are used for.

    Attributes:
        y: z/σ_z, (time, chain, mode, d) float32 on the training device.
        segments: (time,).
        sigma: σ_z per component from the training frames, (mode,), length units.
        sigma_increment: σ_Δz, likewise.
        n_train: frames 0..n_train - 1 are for training.
        targets: their split.
    """

    y: torch.Tensor
    segments: Int64
    sigma: Float64
    sigma_increment: Float64
    n_train: int
    targets: Targets

    @property
    def n_chains(self) -> int:
        """Chains."""
        return int(self.y.shape[1])

    @property
    def n_modes(self) -> int:
        """Modes k."""
        return int(self.y.shape[2])

    @cached_property
    def increment_ratio(self) -> torch.Tensor:
        """σ_z/σ_Δz, (mode,), type and device of ``y``; kept, since a captured step may copy nothing to a GPU."""
        return torch.as_tensor(self.sigma / self.sigma_increment, device=self.y.device).to(self.y.dtype)

    def rows(self, index: torch.Tensor) -> torch.Tensor:
        """Return y at flat indices of any shape, (mode, *index, d)."""
        flat = self.y.reshape(-1, self.n_modes * self.y.shape[3])
        picked = flat.index_select(0, index.reshape(-1)).reshape(*index.shape, self.n_modes, self.y.shape[3])
        return picked.movedim(-2, 0)


def prepare_frames(
    window: Frames, memory: int, train_frames: int, val_frames: int, device: torch.device, may_split_chains: bool
) -> TrainingFrames:
    """Return a window's modes standardized by the training frames' σ, with its targets split.

    The first T_train + T_val frames are used; of fewer, the share T_train/(T_train + T_val) is for training.

    Args:
        window: frames so far.
        memory: m.
        train_frames: T_train.
        val_frames: T_val.
        device: where ``y`` goes.
        may_split_chains: hold out chains where the training frames are too few for one window.
    """
    modes = window.modes[: train_frames + val_frames]
    segments = window.segments[: len(modes)]
    share = train_frames / (train_frames + val_frames)
    n_train = train_frames if len(modes) == train_frames + val_frames else max(2, round(share * len(modes)))
    train = modes[:n_train].astype(np.float64)
    sigma = _positive(np.sqrt(np.mean(train**2, axis=(0, 1, 3))))
    inside = np.diff(segments[:n_train]) == 0
    increments = np.diff(train, axis=0)[inside] if inside.any() else np.diff(train, axis=0)
    sigma_increment = _positive(np.sqrt(np.mean(increments**2, axis=(0, 1, 3))))
    y = torch.as_tensor((modes / sigma[:, None]).astype(np.float32), device=device)
    targets = split_targets(segments, modes.shape[1], n_train, memory, device, may_split_chains)
    return TrainingFrames(y, segments, sigma, sigma_increment, n_train, targets)


def _positive(value: Float64) -> Float64:
    """Return ``value`` with zeros (modes that do not move) replaced by one."""
    return np.where(value > 0, value, 1.0)


def split_targets(
    segments: Int64, n_chains: int, n_train: int, memory: int, device: torch.device, may_split_chains: bool
) -> Targets:
    """Return the targets: training in the first ``n_train`` frames, the rest halved between stopping and judging.

    The halves are even and odd chains, or earlier and later frames where chains are fewer than four. Histories may
    reach back into the training frames, but not across a segment's start.
    """
    age = np.concatenate([np.arange(piece.stop - piece.start) for piece in segment_slices(segments)])
    times = np.flatnonzero(age >= memory)
    chains = np.arange(n_chains)
    train, held_out = times[times < n_train], times[times >= n_train]
    if len(train) == 0 and may_split_chains and n_chains >= 2 and len(times):
        held = chains % 4 == 3 if n_chains >= 4 else chains == n_chains - 1
        validation = chains[held]
        halves = (validation[::2], validation[1::2]) if len(validation) >= 2 else (validation, validation)
        picks = [(times, chains[~held]), (times, halves[0]), (times, halves[1])]
    elif n_chains >= 4:
        picks = [(train, chains), (held_out, chains[::2]), (held_out, chains[1::2])]
    else:
        middle = len(held_out) // 2
        picks = [(train, chains), (held_out[:middle], chains), (held_out[middle:], chains)]
    flat = [torch.as_tensor((t[:, None] * n_chains + c[None]).reshape(-1), device=device) for t, c in picks]
    return Targets(*flat)


def independent_units(targets: torch.Tensor, n_chains: int, least: int = 8) -> torch.Tensor:
    """Return a unit number for every target: its chain, cut into time blocks where chains are fewer than ``least``."""
    chains, unit = torch.unique(targets % n_chains, return_inverse=True)
    n_units = max(1, len(chains))
    n_blocks = -(-least // n_units) if n_units < least else 1
    times = torch.div(targets, n_chains, rounding_mode="floor")
    span = (times.max() - times.min() + 1) if len(times) else 1
    block = torch.div((times - times.min()) * n_blocks, span, rounding_mode="floor") if len(times) else unit
    return unit * n_blocks + block


def mean_and_error(values: torch.Tensor, units: torch.Tensor) -> tuple[Float64, Float64]:
    """Return mean over units and its standard error of (network, sample) values, each (network,).

    The error is the scatter of the units' means over √n; infinite for a single unit.
    """
    present, inverse = torch.unique(units.cpu(), return_inverse=True)
    n_units = len(present)
    sums = torch.zeros(len(values), n_units, dtype=torch.float64)
    sums.index_add_(1, inverse, values.double().cpu())  # on a GPU the order of the additions would differ every time
    counts = torch.bincount(inverse, minlength=n_units).double()
    means = (sums / counts).numpy()
    if n_units < 2:
        return means.mean(axis=1), np.full(len(means), np.inf)
    return means.mean(axis=1), means.std(axis=1, ddof=1) / np.sqrt(n_units)
