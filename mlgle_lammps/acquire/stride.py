"""How many steps may lie between two frames of centres and momenta, found from the momenta themselves."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mlgle_lammps.acquire.lammps_handle import Lammps, Pointer
from mlgle_lammps.acquire.snapshot import Snapshots
from mlgle_lammps.chains.topology import Chains
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.force_correlation import correlation_time
from mlgle_lammps.stream.communicator import Communicator

FIX_ID = "mlgle_trial"
NEVER = 2_000_000_000
FRAMES_PER_DECAY = 7
"""Frames while the velocities' autocorrelation falls to 1/e."""
FIRST_STEPS, MOST_STEPS = 250, 16_000
ROUND = (1, 2, 5)


class MotionTrial:
    """Runs a little of production and looks at the momenta of each step; made on every MD rank.

    Args:
        lmp: the LAMMPS instance, between runs.
        comm: communicator of the MD ranks.
        chains: the molecules.
        execute: has LAMMPS execute commands.
    """

    def __init__(self, lmp: Lammps, comm: Communicator, chains: Chains, execute: Callable[[str], None]) -> None:
        assert chains.main is not None
        self._lmp, self._comm, self._execute = lmp, comm, execute
        self._snapshots = Snapshots(lmp, comm, chains.blocks, len(chains.main.blocks), momenta=True)
        self._momenta: list[Float64] = []
        self._last = -1
        self._error: BaseException | None = None

    def stride(self) -> int:
        """Return steps between two frames: a seventh of the decay of the velocities' autocorrelation, a round number.

        Raises:
            UserError: momenta do not decay, or nothing moves.
        """
        self._execute(f"fix {FIX_ID} all external pf/callback 1 {NEVER}")
        callback = self._lmp.FIX_EXTERNAL_CALLBACK_FUNC(self._on_step)
        self._lmp.lib.lammps_set_fix_external_callback(self._lmp.lmp, FIX_ID.encode(), callback, self._lmp)
        steps, decay = FIRST_STEPS, math.inf
        while steps <= MOST_STEPS and math.isinf(decay):
            self._execute(f"run {steps} post no")
            decay = self._decay()
            steps *= 2
        self._execute(f"unfix {FIX_ID}")
        if math.isinf(decay):
            raise UserError(
                f"the centres' momenta do not decay within {steps} steps, so that `every` cannot be found: give it; or "
                "does nothing move yet where production begins, because its integrator comes after the marker?"
            )
        return nearest_round(decay / FRAMES_PER_DECAY)

    def _decay(self) -> float:
        """Return the steps in which the autocorrelation falls to 1/e, infinite where it has not; on every rank."""
        decay, said = math.inf, None
        if self._error is not None:
            said = f"{type(self._error).__name__}: {self._error}"
        if self._comm.rank == 0 and len(self._momenta) > 2:
            decay = correlation_time(np.array(self._momenta))
        told = self._comm.allgather((decay, said))
        if error := next((line for _, line in told if line), None):
            raise UserError(f"while the centres' motion was looked at: {error}")
        return float(told[0][0])

    def _on_step(
        self, caller: object, step: int, n_local: int, ids: Pointer, positions: Pointer, forces: Pointer
    ) -> None:
        """Be called by LAMMPS; whatever goes wrong is kept."""
        if step <= self._last or self._error is not None:
            return
        self._last = step
        try:
            view = self._lmp.numpy
            here, there = np.empty(0, dtype=np.int64), np.empty((0, 3))
            if n_local:
                here, there = view.iarray(self._lmp.c_tagint, ids, n_local, 1), view.darray(positions, n_local, 3)
            part, _ = self._snapshots.local(here, there)
            if self._snapshots.total(part) is not None:
                self._momenta.append(np.concatenate([own[:, 0] for own in self._snapshots.velocities]))
        except BaseException as error:
            self._error = error


def nearest_round(number: float) -> int:
    """Return that of 1, 2, 5, 10, 20, 50 .. which is nearest to a number above 0 in ratio."""
    power = math.floor(math.log10(number))
    near: list[float] = [own * 10.0**e for e in (power - 1, power, power + 1) for own in ROUND]
    distances = [abs(math.log(own / number)) for own in near]
    return max(1, round(near[distances.index(min(distances))]))
