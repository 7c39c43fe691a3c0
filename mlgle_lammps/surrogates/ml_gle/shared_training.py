"""Training shared by several devices: each has the networks of its part of the modes, on the same targets."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from mlgle_lammps.resources.compute import on_device
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.best_weights import BestWeights
from mlgle_lammps.surrogates.ml_gle.residual_training import ResidualData, ResidualTrainer, drawn
from mlgle_lammps.surrogates.ml_gle.steppers import subset
from mlgle_lammps.surrogates.ml_gle.training_frames import Targets


def residual_trainer(
    architecture: equivariant.Architecture, n_modes: int, devices: Sequence[torch.device], seed: int,
    learning_rate: float, weight_decay: float, batch: int,
) -> ResidualTrainer | SharedTrainer:  # fmt: skip
    """Return a trainer of all modes' networks on one device, or on several that share the modes."""
    shared = devices[: max(1, n_modes)]
    if len(shared) == 1:
        return ResidualTrainer(architecture, n_modes, shared[0], seed, learning_rate, weight_decay, batch)
    return SharedTrainer(architecture, n_modes, shared, seed, learning_rate, weight_decay, batch)


def parts_of(n_modes: int, n_devices: int) -> list[list[int]]:
    """Return which of the modes each device has, as even shares as can be; none has none."""
    return [part.tolist() for part in torch.arange(n_modes).tensor_split(min(n_devices, n_modes))]


@dataclass(frozen=True)
class _Part:
    """A device's share: modes, and the trainer of their networks."""

    modes: list[int]
    device: torch.device
    trainer: ResidualTrainer


class SharedTrainer:
    """What ResidualTrainer is, its networks on several devices; weights and updates are those of one device.

    Networks of different modes share nothing but the targets of a step, so that the modes can be dealt out. Tensors
    that are asked for are those of all modes, on the first device.
    """

    def __init__(
        self, architecture: equivariant.Architecture, n_modes: int, devices: Sequence[torch.device], seed: int,
        learning_rate: float, weight_decay: float, batch: int,
    ) -> None:  # fmt: skip
        self.architecture, self._batch = architecture, batch
        self._generator = torch.Generator().manual_seed(seed)
        weights = equivariant.initial_weights(architecture, n_modes, self._generator)
        self._parts = []
        for modes, device in zip(parts_of(n_modes, len(devices)), devices, strict=True):
            own = {name: weight[modes] for name, weight in weights.items()}
            trainer = ResidualTrainer(
                architecture, len(modes), device, seed, learning_rate, weight_decay, batch, weights=own
            )  # fmt: skip
            self._parts.append(_Part(modes, device, trainer))
        self._of: weakref.ref[ResidualData] | None = None
        self._shares: list[ResidualData] = []

    @property
    def n_updates(self) -> int:
        """Gradient steps so far."""
        return self._parts[0].trainer.n_updates

    @property
    def mean(self) -> dict[str, torch.Tensor]:
        """Running means of the weights."""
        return self._joined([part.trainer.mean for part in self._parts])

    @property
    def scales(self) -> dict[str, torch.Tensor]:
        """Scales of the invariants."""
        return self._joined([part.trainer.scales for part in self._parts])

    def measure(self, data: ResidualData) -> None:
        """See ``ResidualTrainer.measure``."""
        for part, own in self._with_shares(data):
            with on_device(part.device):
                part.trainer.measure(own)

    def update(self, data: ResidualData, n_updates: int) -> None:
        """See ``ResidualTrainer.update``; steps are launched on one device after the other, and run side by side."""
        places = drawn(data.frames.targets.train, n_updates, self._batch, self._generator)
        shares = [
            (part, own, own.frames.targets.train[places.to(part.device)]) for part, own in self._with_shares(data)
        ]
        for update in range(n_updates):
            for part, own, picks in shares:
                with on_device(part.device):
                    part.trainer.step(own, picks[update])

    def train(
        self, data: ResidualData, max_updates: int, every: int, patience: int, should_stop: Callable[[], bool],
        on_updates: Callable[[int], None] = lambda n: None,
    ) -> BestWeights:  # fmt: skip
        """See ``ResidualTrainer.train``."""
        best = BestWeights(self.mean, self._evaluate(data))
        for _ in range(0, max_updates, every):
            if should_stop() or best.exhausted(patience):
                break
            self.update(data, every)
            best.offer(self.mean, self._evaluate(data))
            on_updates(every)
        for part in self._parts:
            part.trainer.release()
        self._of, self._shares = None, []
        return best

    def _evaluate(self, data: ResidualData) -> torch.Tensor:
        values = []
        for part, own in self._with_shares(data):
            with on_device(part.device):
                values.append(part.trainer.evaluate(own))
        return torch.cat([value.to(self._parts[0].device) for value in values])

    def _joined(self, tensors: Sequence[equivariant.Tensors]) -> dict[str, torch.Tensor]:
        lead = self._parts[0].device
        return {name: torch.cat([own[name].detach().to(lead) for own in tensors]) for name in tensors[0]}

    def _with_shares(self, data: ResidualData) -> list[tuple[_Part, ResidualData]]:
        """Return the parts with their modes' frames on their devices, kept as long as the data are the same."""
        if self._of is None or self._of() is not data:
            self._of = weakref.ref(data)
            self._shares = [_share(data, part) for part in self._parts]
        return list(zip(self._parts, self._shares, strict=True))


def _share(data: ResidualData, part: _Part) -> ResidualData:
    frames, modes = data.frames, part.modes
    targets = frames.targets
    moved = Targets(*(own.to(part.device) for own in (targets.train, targets.stop, targets.judge)))
    own = replace(
        frames, y=frames.y[:, :, modes].to(part.device).contiguous(), sigma=frames.sigma[modes],
        sigma_increment=frames.sigma_increment[modes], targets=moved,
    )  # fmt: skip
    return ResidualData(own, subset(data.core, tuple(modes)), data.architecture)
