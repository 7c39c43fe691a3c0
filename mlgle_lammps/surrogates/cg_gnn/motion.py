"""Generated molecules under way: a Motion of the contract, members of the ensemble side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from mlgle_lammps.records import CHAINS, Frames
from mlgle_lammps.surrogates.cg_gnn.walks import Steps, Walk

BLOCK = 64


class CgGnnMotion:
    """Molecules under way (a Motion): centres of mass from 0, groups about them, fine-grained Rg².

    Trajectory i is moved by member i modulo their number. Equal seeds, devices and calls give equal bits, whatever the
    threads: each thread moves whole walks.
    """

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
        self._walks, self._n, self._threads = list(walks), n_trajectories, threads
        self._places = [own.cpu().numpy() for own in places]
        self._centres = np.zeros((n_trajectories, 3))
        self._next_step, self._whole = 1, True

    def advance(self, n_steps: int) -> Iterator[Frames]:
        """Yield the next steps in blocks: com (time, trajectory, 3), beads (.., S, 3), rg2 (.., 1).

        Raises:
            RunFailure: a group is not finite or out of range.
            ValueError: blocks of an earlier call were not all taken.
        """
        if not self._whole:
            raise ValueError("the motion was given up: not all blocks of an earlier call were taken")
        with one_thread() as there, ThreadPoolExecutor(self._threads or there, "generate") as pool:
            for done in range(0, n_steps, BLOCK):
                n = min(BLOCK, n_steps - done)
                self._whole = False
                made = list(pool.map(lambda walk, n=n: walk.advance(n), self._walks))
                block = self._block(made, n)
                self._whole = done + n == n_steps
                yield block

    def _block(self, made: Sequence[Steps], n_steps: int) -> Frames:
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
        steps = np.arange(self._next_step, self._next_step + n_steps, dtype=np.int64)
        self._next_step += n_steps
        return Frames(steps, np.zeros(n_steps, np.int64), {CHAINS: {"com": com, "beads": beads, "rg2": radii}})


@contextlib.contextmanager
def one_thread() -> Iterator[int]:
    """Let torch use one thread per operation; yields how many it had."""
    there = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield there
    finally:
        torch.set_num_threads(there)
