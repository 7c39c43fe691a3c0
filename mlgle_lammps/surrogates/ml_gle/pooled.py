"""Modes that are copies of one another, as those of a ring or a star, are learned as one: one model from all copies.

The copies of a mode stand beside the molecules as more of them. Modes of one multiplicity are learned together; how
their noise goes together is found from all modes as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from mlgle_lammps.records import Frames, ModeReport
from mlgle_lammps.surrogates.ml_gle.coupled_noise import find_coupling
from mlgle_lammps.surrogates.ml_gle.equivariant import Networks
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions


class PooledTrainer:
    """Learn all modes' dynamics from a growing window, copies of a mode together (a DynamicsTrainer).

    Args:
        options: how.
        groups: places of the modes that are copies of one another, in order; all modes are in one.
        should_stop: asked between updates; True ends training with the best weights so far.
    """

    def __init__(
        self, options: TrainOptions, groups: Sequence[range], should_stop: Callable[[], bool] | None = None
    ) -> None:
        sizes = sorted({len(group) for group in groups})
        self._groups = {size: [group for group in groups if len(group) == size] for size in sizes}
        own = replace(options, coupled=False)
        self._trainers = {size: ModeTrainer(own, should_stop=should_stop) for size in sizes}

    def partial_fit(self, window: Frames) -> None:
        """Make one online round on the frames so far."""
        for size, trainer in self._trainers.items():
            trainer.partial_fit(pooled(window, self._groups[size]))

    def finish(self, window: Frames) -> ModeModel:
        """Train to the end on the frames there are and return the model of all modes."""
        models = {size: trainer.finish(pooled(window, self._groups[size])) for size, trainer in self._trainers.items()}
        model = _of_all_modes(self._groups, models)
        y = torch.as_tensor((window.modes / model.sigma[:, None]).astype(np.float32))
        return replace(model, coupling=find_coupling(y, window.segments, model.core))


def pooled(window: Frames, groups: Sequence[range]) -> Frames:
    """Return frames of groups of one size, (time, copy · molecules + molecule, group, d): copies as more molecules."""
    places = np.array([list(group) for group in groups])
    modes = window.modes[:, :, places.ravel()]
    n_time, n_molecules, _, d = modes.shape
    apart = modes.reshape(n_time, n_molecules, *places.shape, d)  # (time, molecule, group, copy, d)
    copies = apart.transpose(0, 3, 1, 2, 4).reshape(n_time, places.shape[1] * n_molecules, len(groups), d)
    com = np.tile(window.com, (1, places.shape[1], 1))
    return Frames.of_chains(window.steps, window.segments, com, np.ascontiguousarray(copies))


def _of_all_modes(groups: dict[int, list[range]], models: dict[int, ModeModel]) -> ModeModel:
    """Return the model of all modes from those of each multiplicity; every copy has its group's."""
    k = max(group.stop for own in groups.values() for group in own)
    place: list[tuple[int, int]] = [(0, 0)] * k
    for size, own in groups.items():
        for number, group in enumerate(own):
            for mode in group:
                place[mode] = size, number
    longest = max(model.core.max_order for model in models.values())
    coefficients = np.zeros((k, longest))
    for mode, (size, number) in enumerate(place):
        row = models[size].core.coefficients[number]
        coefficients[mode, : len(row)] = row
    core = LinearCore(
        coefficients, tuple(models[size].core.orders[number] for size, number in place),
        np.array([models[size].core.innovation_variance[number] for size, number in place]),
    )  # fmt: skip
    sigma, sigma_increment = (
        np.array([getattr(models[size], name)[number] for size, number in place])
        for name in ("sigma", "sigma_increment")
    )
    notes = [_counted(line, size) for size, model in models.items() for line in model.notes]
    memory = max(model.memory for model in models.values())
    return ModeModel(
        memory, sigma, sigma_increment, core, _networks(place, models), _reports(place, models),
        tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _networks(place: Sequence[tuple[int, int]], models: dict[int, ModeModel]) -> Networks | None:
    """Return the networks of all modes that have one, in the order of the modes."""
    modes, rows = [], []
    for mode, (size, number) in enumerate(place):
        own = models[size].networks
        if own is not None and number in own.modes:
            modes.append(mode)
            rows.append((own, own.modes.index(number)))
    if not rows:
        return None
    first = rows[0][0]
    tensors = {name: torch.stack([own.tensors[name][row] for own, row in rows]) for name in first.tensors}
    return Networks(tuple(modes), first.architecture, tensors)


def _reports(place: Sequence[tuple[int, int]], models: dict[int, ModeModel]) -> tuple[ModeReport, ...]:
    found = []
    for mode, (size, number) in enumerate(place):
        report = models[size].reports[number]
        details = {**report.details, "copies": size} if size > 1 else report.details
        found.append(replace(report, mode=mode + 1, details=details))
    return tuple(found)


def _counted(line: str, size: int) -> str:
    """Return a note that says what its numbers of modes count."""
    return f"{line} (counting the modes with {size} copies)" if line.startswith("mode") and size > 1 else line
