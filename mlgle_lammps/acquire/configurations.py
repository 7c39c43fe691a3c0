"""Constrained runs: from the state of a melt to the correlations of the forces on its centres while they are held."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.acquire.constraint import CentreConstraint
from mlgle_lammps.acquire.lammps_handle import Lammps
from mlgle_lammps.acquire.melt_state import put_back
from mlgle_lammps.acquire.snapshot import image_flags, masses_here
from mlgle_lammps.errors import RunFailure
from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.statistics.force_correlation import (
    collective_motions,
    correlate_forces,
    correlation_time,
    pairs_within,
    spread_lags,
)
from mlgle_lammps.store.constrained_file import ConstrainedRun
from mlgle_lammps.stream.communicator import Communicator

TRIAL_STEPS = 2000
"""In which every step's forces are kept, to find how often they are worth keeping."""
SAMPLES_PER_DECAY = 4
"""Of the forces, while their correlation falls to 1/e."""
MOST_DRIFT = 1e-8
"""Of a held centre, in box edges, beyond which it was not held."""


@dataclass(frozen=True)
class ConstrainedPlan:
    """How constrained runs are made.

    Attributes:
        steps: of MD, each.
        every: steps between two samples of the forces.
        longest_lag: of the correlations, in steps.
        reach: distance up to which pairs are correlated; at most half the shortest edge of the box.
    """

    steps: int
    every: int
    longest_lag: int
    reach: float

    @property
    def n_samples(self) -> int:
        """Samples of a run, an even number."""
        return self.steps // self.every // 2 * 2

    @property
    def lags(self) -> Int64:
        """The lags that are kept, in samples: they end within half of a run."""
        return spread_lags(min(self.longest_lag // self.every, self.n_samples // 2 - 1))


class HeldMelt:
    """Makes constrained runs of one melt; made on every MD rank, all methods collective.

    Args:
        lmp: the LAMMPS instance, between runs, with nothing left in it that ends or disturbs a run.
        comm: communicator of the MD ranks.
        molecules: atom ids of each molecule; all atoms of the system belong to one.
        masses: of the atoms, in the order of the ids of the molecules in turn.
        execute: has LAMMPS execute commands, and translates its errors.
        stop_requested: tells whether a signal asked this rank to end.
    """

    def __init__(
        self,
        lmp: Lammps,
        comm: Communicator,
        molecules: Sequence[Int64],
        masses: Float64,
        execute: Callable[[str], None],
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        self._lmp, self._comm, self._execute, self._stop = lmp, comm, execute, stop_requested
        self._n_atoms = len(masses)
        self._held = CentreConstraint(lmp, comm, molecules, masses)
        low, high, *_ = lmp.extract_box()
        self._box = np.array(high) - np.array(low)
        self._dt = float(lmp.extract_global("dt"))
        self._energy = float(lmp.extract_global("mvv2e") or 1.0)
        self._dof = 0.0

    def force_stride(self, path: str, step: int, trial_steps: int = TRIAL_STEPS) -> int:
        """Return how many steps may lie between two samples of the forces, from a short trial.

        Args:
            path: dump file of a melt, as LAMMPS commands have it.
            step: in that file.
            trial_steps: to run.
        """
        self._begin(path, step)
        self._held.sample(1, trial_steps, self._stop)
        self._run(trial_steps)
        forces = self._held.forces()
        self._end()
        stride = 1
        if self._comm.rank == 0 and len(forces) > 1:
            decay = correlation_time(forces - forces.mean(axis=0))
            stride = max(1, int(decay / SAMPLES_PER_DECAY)) if math.isfinite(decay) else trial_steps // 100 or 1
        return int(self._comm.bcast(stride, root=0))

    def run(self, path: str, step: int, plan: ConstrainedPlan) -> ConstrainedRun | None:
        """Make one constrained run; its record is on the first MD rank, None on the others or where it was stopped.

        Args:
            path: dump file of the melt, as LAMMPS commands have it.
            step: in that file.
            plan: of the run.

        Raises:
            RunFailure: the run blew up, ended by itself, or centres moved though they were held.
        """
        started = time.monotonic()
        self._begin(path, step)
        energy, before = self._total_energy(), self._held.centres(self._unwrapped)
        self._held.sample(plan.every, plan.n_samples, self._stop)
        self._run(plan.n_samples * plan.every)
        forces = self._held.forces()
        if self._held.stopped:
            self._end()
            return None
        kT = self._held.twice_kinetic() / self._dof
        drift_energy = (self._total_energy() - energy) / (kT * self._n_atoms)
        after = self._held.centres(self._unwrapped)
        self._end()
        moved = float(np.abs(after - before).max())
        if not moved < MOST_DRIFT * self._box.min():
            raise RunFailure(
                f"a centre moved by {moved:.2g} while it was held: a fix moves atoms behind the constraint's back"
            )
        if (n_samples := self._comm.bcast(len(forces), root=0)) != plan.n_samples:
            raise RunFailure(f"LAMMPS ended a constrained run by itself, after {n_samples} of {plan.n_samples} forces")
        if self._comm.rank:
            return None
        lags, pairs = plan.lags, pairs_within(before, self._box, plan.reach)
        found = correlate_forces(forces, lags, pairs, collective_motions(before, self._box))
        return ConstrainedRun(
            step=step, centres=before, box=self._box, masses=self._held.totals, kT=kT, dt=plan.every * self._dt,
            lags=lags, n_samples=plan.n_samples, mean_force=found.mean_force, pairs=pairs, pair=found.pair,
            own=found.own, temperature=kT, energy_drift=drift_energy, centre_drift=moved,
            seconds=time.monotonic() - started, motions=found.motions,
        )  # fmt: skip

    def _begin(self, path: str, step: int) -> None:
        """Put a melt back and hold its centres."""
        put_back(self._lmp, path, step)
        self._held.still()
        self._held.install()
        self._execute("timer timeout off\nrun 0 post no")
        self._dof = self._degrees_of_freedom()

    def _run(self, steps: int) -> None:
        self._execute(f"run {steps} post no")

    def _end(self) -> None:
        self._execute("timer timeout off")
        self._held.remove()

    def _twice_kinetic(self) -> float:
        """Return Σ m v² now, between runs, in mass · length² / time²."""
        n_local = self._lmp.extract_setting("nlocal")
        own = 0.0
        if n_local:
            velocities = self._lmp.numpy.extract_atom("v")[:n_local]
            own = float(masses_here(self._lmp, n_local) @ (velocities**2).sum(axis=1))
        return math.fsum(self._comm.allgather(own))

    def _total_energy(self) -> float:
        """Return potential and kinetic energy, in mass · length² / time²."""
        potential = float(self._lmp.extract_compute("thermo_pe", 0, 0)) / self._energy
        return potential + self._twice_kinetic() / 2

    def _degrees_of_freedom(self) -> float:
        """Return those that are left with all centres held: LAMMPS knows of constraints such as SHAKE's.

        They are those of its temperature, in which the whole system's momentum counts as gone, and which knows nothing
        of the centres.
        """
        temperature = float(self._lmp.extract_compute("thermo_temp", 0, 0))
        n_dim = 2 if self._lmp.extract_setting("dimension") == 2 else 3
        energy = self._twice_kinetic() * self._energy
        counted = energy / (float(self._lmp.extract_global("boltz")) * temperature)
        return round(counted) + n_dim - n_dim * len(self._held.totals)

    def _unwrapped(self) -> tuple[Int64, Float64]:
        """Return ids and unwrapped positions of this rank's atoms."""
        n_local = self._lmp.extract_setting("nlocal")
        if not n_local:
            return np.zeros(0, dtype=np.int64), np.zeros((0, 3))
        ids = self._lmp.numpy.extract_atom("id")[:n_local].astype(np.int64)
        positions = self._lmp.numpy.extract_atom("x")[:n_local] + image_flags(self._lmp, n_local) * self._box
        return ids, positions
