"""Frames of all runs as tensors, and batches of steps drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.surrogates.cg_gnn.coarse_runs import CoarseRun
from mlgle_lammps.surrogates.cg_gnn.molecules import MoleculeSet


@dataclass
class Examples:
    """Frames of runs whose molecules have equally many groups.

    Attributes:
        molecules: one per run.
        places: (frame, S, 3) groups about the centre of mass.
        centres: (frame, 3) from where each run began.
        square_radii: (frame,) fine-grained Rg².
        frames: (start,) frames from which steps can be learned.
        strides: (start,) frames from one model step to the next.
        runs: (start,) the run of each.
        tracks: (start,) numbers of molecules, all runs' counted through.
        names: of the runs.
    """

    molecules: MoleculeSet
    places: torch.Tensor
    centres: torch.Tensor
    square_radii: torch.Tensor
    frames: torch.Tensor
    strides: torch.Tensor
    runs: torch.Tensor
    tracks: torch.Tensor
    names: tuple[str, ...]

    @classmethod
    def of(
        cls, runs: Sequence[CoarseRun], types: Sequence[str], dt: float, before: int, after: int,
        device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32,
    ) -> Examples:  # fmt: skip
        """Return steps with ``before`` steps of history and ``after`` of future, of runs of equal S."""
        places, centres, radii, frames, strides, numbers, tracks = [], [], [], [], [], [], []
        base = n_tracks = 0
        for number, run in enumerate(runs):
            lag, n_molecules = run.lag(dt), run.positions.shape[1]
            first = _whole(run, lag, before, after)
            own = (base + first[:, None] * n_molecules + np.arange(n_molecules)).ravel()
            frames.append(own)
            strides.append(np.full(len(own), lag * n_molecules))
            numbers.append(np.full(len(own), number))
            tracks.append(np.tile(n_tracks + np.arange(n_molecules), len(first)))
            n_tracks += n_molecules
            places.append(run.positions.reshape(-1, *run.positions.shape[2:]))
            centres.append((run.centres - run.centres[:1]).reshape(-1, 3))
            radii.append(run.square_radii.ravel())
            base += places[-1].shape[0]
        whole = [torch.tensor(np.concatenate(own), device=device) for own in (frames, strides, numbers, tracks)]
        real = [torch.tensor(np.concatenate(own), dtype=dtype, device=device) for own in (places, centres, radii)]
        molecules = MoleculeSet.of([run.molecule for run in runs], types, device, dtype)
        names = tuple(run.name for run in runs)
        return cls(molecules, real[0], real[1], real[2], whole[0], whole[1], whole[2], whole[3], names)

    def __len__(self) -> int:
        """Return the number of starts."""
        return len(self.frames)

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return the numbers of ``n`` starts, each equally often whatever its run."""
        return torch.randint(len(self), (n,), generator=generator).to(self.frames.device)

    def at(self, starts: torch.Tensor, step: int) -> torch.Tensor:
        """Return the places (batch, S, 3) some model steps after the starts."""
        return self.places[self.frames[starts] + step * self.strides[starts]]

    def history(self, starts: torch.Tensor, memory: int, centre_at: int = 0) -> torch.Tensor:
        """Return places (batch, memory, S, 3) up to ``centre_at`` steps after, with the centre of start as origin."""
        frames = self.frames[starts].unsqueeze(1)
        back = torch.arange(1 - memory, 1, device=frames.device) + centre_at
        chosen = frames + back * self.strides[starts].unsqueeze(1)
        moved = self.centres[chosen] - self.centres[frames]
        return self.places[chosen] + moved.unsqueeze(2)

    def radii(self, starts: torch.Tensor) -> torch.Tensor:
        """Return the fine-grained Rg² at the starts."""
        return self.square_radii[self.frames[starts]]


def _whole(run: CoarseRun, lag: int, before: int, after: int) -> np.ndarray:
    """Return the frames with so many steps before and after them in one piece."""
    first = np.arange(before * lag, max(len(run.segments) - after * lag, before * lag))
    return first[run.segments[first - before * lag] == run.segments[first + after * lag]]


def by_groups(runs: Sequence[CoarseRun]) -> list[list[CoarseRun]]:
    """Return the runs by the number of groups of their molecules, ascending."""
    sizes = sorted({run.molecule.n_groups for run in runs})
    return [[run for run in runs if run.molecule.n_groups == size] for size in sizes]
