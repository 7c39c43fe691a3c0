"""Generated molecules under way: a Motion of the contract, members of the ensemble side by side."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch

from mlgle_lammps.plain import AnyArray
from mlgle_lammps.records import CHAINS, Frames
from mlgle_lammps.surrogates.cg_gnn.walks import Steps, Walk

Made = TypeVar("Made", covariant=True)


@contextlib.contextmanager
def one_thread() -> Iterator[int]:
    """Let torch use one thread per operation; yields how many it had."""
    there = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield there
    finally:
        torch.set_num_threads(there)


class Moving(Protocol[Made]):
    """What moves on by itself and has a state: a walk."""

    def advance(self, n_steps: int, /) -> Made:
        """Return the next steps."""
        ...


class SideBySide(ABC, Generic[Made]):
    """Walks moved on in threads, block by block (a Motion); what a block holds is the subclass's."""

    block: ClassVar[int]

    def __init__(self, walks: Sequence[Moving[Made]], threads: int) -> None:
        """Begin with walks that ``threads`` threads move; 0 takes as many as torch has."""
        self._walks, self._threads = list(walks), threads
        self._next_step, self._whole = 1, True

    def advance(self, n_steps: int) -> Iterator[Frames]:
        """Yield the next steps in blocks.

        Raises:
            RunFailure: a walk is given up.
            ValueError: blocks of an earlier call were not all taken.
        """
        if not self._whole:
            raise ValueError("the motion was given up: not all blocks of an earlier call were taken")
        with one_thread() as there, ThreadPoolExecutor(self._threads or there, "generate") as pool:
            for done in range(0, n_steps, self.block):
                n = min(self.block, n_steps - done)
                self._whole = False
                channels = self._channels(list(pool.map(lambda walk, n=n: walk.advance(n), self._walks)), n)
                steps = np.arange(self._next_step, self._next_step + n, dtype=np.int64)
                self._next_step += n
                self._whole = done + n == n_steps
                yield Frames(steps, np.zeros(n, np.int64), channels)

    @abstractmethod
    def _channels(self, made: Sequence[Made], n_steps: int) -> dict[str, dict[str, AnyArray]]:
        """Return the channels of the next steps of all walks."""


class CgGnnMotion(SideBySide[Steps]):
    """Molecules under way (a Motion): centres of mass from 0, groups about them, fine-grained Rg².

    Trajectory i is moved by member i modulo their number. Equal seeds, devices and calls give equal bits, whatever the
    threads: each thread moves whole walks. Frames hold com (time, trajectory, 3), beads (.., S, 3), rg2 (.., 1).
    """

    block = 64

    def __init__(
        self, walks: Sequence[Walk], places: Sequence[torch.Tensor], n_trajectories: int, threads: int
    ) -> None:
        """Begin.

        Args:
            walks: each of some trajectories.
            places: of each walk, the numbers of its trajectories.
            n_trajectories: in all.
            threads: that walks are moved by; 0 takes as many as torch has.
        """
        super().__init__(walks, threads)
        self._n = n_trajectories
        self._places = [own.cpu().numpy() for own in places]
        self._centres = np.zeros((n_trajectories, 3))

    def _channels(self, made: Sequence[Steps], n_steps: int) -> dict[str, dict[str, AnyArray]]:
        n_groups = made[0].places.shape[2]
        com = np.empty((n_steps, self._n, 3))
        beads = np.empty((n_steps, self._n, n_groups, 3), dtype=np.float32)
        radii = np.empty((n_steps, self._n, 1), dtype=np.float32)
        for own, places in zip(made, self._places, strict=True):
            shifts = own.shifts.double().cpu().numpy()
            com[:, places] = self._centres[places] + np.cumsum(shifts, axis=0)
            beads[:, places] = own.places.cpu().numpy()
            radii[:, places, 0] = own.square_radii.cpu().numpy()
        self._centres = com[-1].copy()
        return {CHAINS: {"com": com, "beads": beads, "rg2": radii}}
