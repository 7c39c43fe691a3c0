"""Short roll-outs against the recorded runs: what models are chosen by, and what ties the size of the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.errors import RunFailure
from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.cg_gnn.dynamics import Dynamics, EquivariantDynamics
from mlgle_lammps.surrogates.cg_gnn.examples import Examples
from mlgle_lammps.surrogates.cg_gnn.walks import Walk

MOST_STEPS = 250
N_WALKS = 4
_SETTLING = 0.2
_CALIBRATIONS = 2
_NEAR = 0.003
_SCALE_BOUNDS = (0.8, 1.25)
_SPREAD_WEIGHT = 0.5


@dataclass(frozen=True)
class Judgement:
    """How roll-outs compare with the runs that they began in.

    Attributes:
        names: of the runs.
        made: (run,) mean Rg² of the roll-outs.
        recorded: (run,) of the recording.
        spread: logarithm of the spread of Rg² within a roll-out over that of the recordings, mean over runs.
        finite: whether all roll-outs stayed in range.
    """

    names: tuple[str, ...]
    made: Float64
    recorded: Float64
    spread: float
    finite: bool

    @property
    def bias(self) -> float:
        """Mean logarithm of made over recorded Rg²."""
        return float(np.mean(np.log(self.made / self.recorded))) if self.finite else float("inf")

    def score(self, *, calibrated: bool = False) -> float:
        """Return the root mean square logarithm of Rg² over runs, and of its spread: the less the better.

        With ``calibrated`` its mean is left out, which one number takes care of.
        """
        if not self.finite:
            return float("inf")
        mean = float(np.mean((np.log(self.made / self.recorded) - calibrated * self.bias) ** 2))
        return float(np.sqrt(mean + (_SPREAD_WEIGHT * self.spread) ** 2))


def judge(
    dynamics: Dynamics, sets: Sequence[Examples], extent: float, seed: int, *, n_walks: int = N_WALKS,
    n_steps: int = MOST_STEPS, noiseless: bool = False,
) -> Judgement:  # fmt: skip
    """Return how roll-outs from recorded frames compare with the recordings; both as long as the recordings are.

    Args:
        dynamics: what is judged.
        sets: examples with the history that it takes.
        extent: distance from the centre that no group should reach.
        seed: of starts and noise.
        n_walks: roll-outs of each run.
        n_steps: at most.
        noiseless: without noise.
    """
    names: list[str] = []
    made, recorded, spreads = [], [], []
    for examples in sets:
        generator = torch.Generator().manual_seed(seed)
        starts = [torch.nonzero(examples.runs == run).squeeze(1) for run in range(len(examples.names))]
        chosen = torch.cat([own[torch.randint(len(own), (n_walks,), generator=generator)] for own in starts])
        which = examples.runs[chosen]
        lengths = [_steps_recorded(examples, own) for own in starts]
        length = min(n_steps, max(lengths))
        walk = Walk(
            dynamics, examples.molecules, which, examples.history(chosen, dynamics.memory),
            None if noiseless else seed, extent,
        )  # fmt: skip
        names += examples.names
        try:
            radii = walk.advance(length, keep_places=False).square_radii.double().cpu().numpy()
        except RunFailure:
            return Judgement(tuple(names), np.ones(len(names)), np.ones(len(names)), 0.0, False)
        radii = radii[int(_SETTLING * length) :].reshape(-1, len(starts), n_walks)
        for run, own in enumerate(starts):
            there = examples.square_radii[examples.frames[own]].double().cpu().numpy()
            made.append(radii[:, run].mean())
            recorded.append(there.mean())
            within = radii[:, run].std(axis=0).mean()
            spreads.append(np.log(max(within, 1e-12) / max(_spread(there, examples.tracks[own]), 1e-12)))
    return Judgement(tuple(names), np.array(made), np.array(recorded), float(np.mean(spreads)), True)


def _steps_recorded(examples: Examples, own: torch.Tensor) -> int:
    frames = examples.frames[own]
    return max(int((frames.max() - frames.min()) // examples.strides[own[0]]), 1)


def _spread(radii: Float64, tracks: torch.Tensor) -> float:
    """Return the standard deviation of Rg² in the recording of one molecule, mean over a run's molecules."""
    number = tracks.cpu().numpy()
    return float(np.mean([radii[number == own].std() for own in np.unique(number)]))


def calibrate(
    dynamics: EquivariantDynamics, sets: Sequence[Examples], extent: float, seed: int, found: Judgement
) -> Judgement:
    """Scale the noise so that Rg² of roll-outs is right on the mean over the recorded runs; return the judgement.

    Args:
        dynamics: whose ``noise_scale`` is set.
        sets: as in `judge`, likewise ``extent`` and ``seed``.
        extent: likewise.
        seed: likewise.
        found: the judgement of the dynamics as they are.
    """
    for _ in range(_CALIBRATIONS):
        if not found.finite or abs(found.bias) < _NEAR:
            break
        scale = dynamics.noise_scale * float(np.exp(-found.bias / 2))
        dynamics.noise_scale = float(np.clip(scale, *_SCALE_BOUNDS))
        found = judge(dynamics, sets, extent, seed)
    return found
