"""One number for each kind of node that ties its diffusion in roll-outs to the recorded runs.

Noise and refinement move nodes by more, and forces hold them back to less, than what the network says of one step:
c is changed until the mean squared displacement over some steps is the recorded one, in the geometric mean over runs;
displacements are about the box's centre of mass, as D is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.cg_gnn.box_nodes import BoxRun
from mlgle_lammps.surrogates.cg_gnn.box_step import BoxDynamics, BoxLaw, draw

LAG, BURN, STEPS, BOXES = 10, 10, 40, 4
"""Steps of the lag, before the first displacement, and after; starts of each run."""
LARGEST_CHANGE = 0.7
"""Of log c at a time."""
POWERS = 0.5, 3.0
"""Of c that motion may grow with."""
LEAST_SEEN = 0.03
"""Change of log c from which the power is taken."""


@dataclass(frozen=True)
class Tie:
    """What roll-outs say.

    Attributes:
        ratios: (run, kind) mean squared displacement over the recorded one; NaN where a run has no such nodes.
    """

    ratios: Float64

    @property
    def means(self) -> Float64:
        """(kind,) geometric means over runs."""
        result: Float64 = np.exp(np.nanmean(np.log(self.ratios), axis=0))
        return result


def compare(law: BoxLaw, runs: Sequence[BoxRun], dt: float, seed: int) -> Tie:
    """Return the motion of each kind of node in short roll-outs of each run over what was recorded.

    Over ``LAG`` steps, or as many as the longest uninterrupted piece of a run holds.
    """
    n_kinds = len(law.letters.kinds)
    ratios = np.full((len(runs), n_kinds), np.nan)
    for number, run in enumerate(runs):
        kinds, step = run.box.kinds(law.letters), run.lag(dt)
        n_steps = min(LAG, (run.longest - 1) // step)
        lag = n_steps * step
        first = np.arange(len(run.positions) - lag)
        first = first[run.segments[first] == run.segments[first + lag]]
        moved = _about_centre(run.positions[first + lag] - run.positions[first], run)
        recorded = np.square(moved).mean(axis=(0, 2))
        made = _displacements(law, run, n_steps, seed + number)
        for kind in np.unique(kinds):
            ratios[number, kind] = made[kinds == kind].mean() / recorded[kinds == kind].mean()
    return Tie(ratios)


def _displacements(law: BoxLaw, run: BoxRun, lag: int, seed: int) -> Float64:
    """Return the mean squared displacement of each node, per component, over ``lag`` steps."""
    dynamics = BoxDynamics(law, 0, run.box)
    generator = torch.Generator().manual_seed(seed)
    starts = np.linspace(0, len(run.positions) - 1, BOXES).round().astype(int)
    x = torch.tensor(run.positions[starts], dtype=torch.float32)
    kept = []
    with torch.inference_mode():
        for step in range(BURN + STEPS + lag):
            x = dynamics.step(x, draw(dynamics, x, generator))
            if step >= BURN - 1:
                kept.append(x)
    track = torch.stack(kept).double().numpy()
    result: Float64 = np.square(_about_centre(track[lag:] - track[:-lag], run)).mean(axis=(0, 1, 3))
    return result


def _about_centre(moved: Float64, run: BoxRun) -> Float64:
    """Return displacements (.., node, 3) less that of the box's centre of mass, all beads weighing the same."""
    weights = run.box.masses() / run.box.masses().sum()
    return moved - (weights[:, None] * moved).sum(-2, keepdims=True)


def next_scales(scales: Float64, found: Tie, before: tuple[Float64, Tie] | None) -> Float64:
    """Return c for which motion should be the recorded one, (kind,).

    Args:
        scales: c that roll-outs were made with.
        found: their motion.
        before: c and motion of an earlier attempt, whose difference says how motion grows with c; None for none, and
            motion is taken to be proportional to c.
    """
    off = np.nan_to_num(np.log(found.means))
    power = np.ones(len(scales))
    if before is not None:
        change, answer = np.log(scales / before[0]), off - np.nan_to_num(np.log(before[1].means))
        seen = np.abs(change) > LEAST_SEEN
        power[seen] = np.clip(answer[seen] / change[seen], *POWERS)
    result: Float64 = scales * np.exp(np.clip(-off / power, -LARGEST_CHANGE, LARGEST_CHANGE))
    return result
