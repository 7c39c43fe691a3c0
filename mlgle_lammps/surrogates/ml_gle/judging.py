"""Which networks are kept: those that better the linear core's likelihood on frames that neither was trained on."""

from __future__ import annotations

import numpy as np
import torch

from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.residual_training import ResidualData, core_nll, over_targets, sample_nll
from mlgle_lammps.surrogates.ml_gle.training_frames import independent_units, mean_and_error

_LEAST_GAIN = 1e-4


def judge_networks(
    data: ResidualData, tensors: dict[str, torch.Tensor] | None, keep_at: float
) -> tuple[Float64, Float64, Float64, list[int]]:
    """Return gain in NLL over the core, its standard error, the core's NLL (units of s), and the modes to keep.

    The numbers are those of the ``judge`` targets, which had no part in training. A network is kept where it gains on
    them and where its gain on all validation targets is ``keep_at`` standard errors: early stopping flatters the
    ``stop`` targets by half a standard error at most, and they double the power to see a small gain.
    """
    targets = data.frames.targets
    core_values = over_targets(data, targets.judge, core_nll)
    core_mean = core_values.double().mean(1).cpu().numpy()
    if tensors is None:
        nothing = np.full(len(core_mean), np.nan)
        return nothing, nothing, core_mean, []
    samples = data.representatives(targets.train)
    with torch.no_grad():
        equivariant.conserve_second_moments(tensors, samples.basis, samples.activity)

    def gain_on(index: torch.Tensor, core: torch.Tensor) -> tuple[Float64, Float64]:
        values = over_targets(data, index, lambda s: sample_nll(tensors, s))
        return mean_and_error(core - values, independent_units(index, data.frames.n_chains))

    gain, error = gain_on(targets.judge, core_values)
    everything = torch.cat([targets.stop, targets.judge])
    pooled, pooled_error = gain_on(everything, over_targets(data, everything, core_nll))
    finite = np.isfinite(gain) & np.isfinite(pooled) & np.isfinite(pooled_error)
    wanted = np.maximum(keep_at * np.where(finite, pooled_error, 1), _LEAST_GAIN)
    kept = [int(j) for j in np.flatnonzero(finite & (gain > 0) & (pooled > wanted))]
    return gain, error, core_mean, kept


def conserved(data: ResidualData, tensors: dict[str, torch.Tensor], kept: list[int]) -> dict[str, torch.Tensor]:
    """Return the kept networks' tensors, their second moments conserved with respect to the final core."""
    targets = data.frames.targets
    samples = data.representatives(torch.cat([targets.train, targets.stop, targets.judge]))
    with torch.no_grad():
        equivariant.conserve_second_moments(tensors, samples.basis, samples.activity)
    return {name: t[kept].detach().cpu().contiguous() for name, t in tensors.items()}
