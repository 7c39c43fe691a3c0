"""The stage after production: centres held in state after state, each run's record left in a file of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.acquire.configurations import ConstrainedPlan, HeldMelt
from mlgle_lammps.acquire.constraint import CentreConstraint
from mlgle_lammps.acquire.continuation import named
from mlgle_lammps.acquire.fixes import plain, read_setup
from mlgle_lammps.acquire.holding import KEPT, molecules_of
from mlgle_lammps.acquire.kept_states import kept_states
from mlgle_lammps.acquire.lammps_handle import Lammps
from mlgle_lammps.acquire.system import masses_of_atoms
from mlgle_lammps.chains.topology import Chains
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.options.learn import LAG_SHARE
from mlgle_lammps.records import System
from mlgle_lammps.store.constrained_file import ConstrainedFacts, ConstrainedRun, read_constrained, write_constrained
from mlgle_lammps.stream.communicator import Communicator

Tell = Callable[[ConstrainedRun, int, int, float], None]
MOVE_FIX = "mlgle_move"


@dataclass(frozen=True)
class HeldWanted:
    """What is asked of constrained runs.

    Attributes:
        configurations: how many.
        steps: of MD, each.
        force_every: steps between two samples of the forces; None to find it.
        longest_lag: of the correlations, in steps; None for a fifth of a run.
        pair_range: distance up to which pairs are correlated, None for half the box.
    """

    configurations: int
    steps: int
    force_every: int | None = None
    longest_lag: int | None = None
    pair_range: float | None = None

    def plan(self, force_every: int, shortest_edge: float) -> ConstrainedPlan:
        """Return how runs are made, once it is known how often forces are worth keeping.

        Args:
            force_every: steps between two samples.
            shortest_edge: of the box.

        Raises:
            UserError: runs too short for the samples, or pairs further apart than half the box.
        """
        half = shortest_edge / 2
        if self.pair_range is not None and self.pair_range > half * (1 + 1e-9):
            raise UserError(f"`pair_range` is {self.pair_range:g}; half the box is {half:g}, and pairs have one image")
        longest = self.steps // LAG_SHARE if self.longest_lag is None else self.longest_lag
        plan = ConstrainedPlan(self.steps, force_every, max(longest, force_every), self.pair_range or half)
        if plan.n_samples < 16 or longest > self.steps // 2:
            raise UserError(
                f"constrained runs of {self.steps} steps with a force each {force_every} and lags up to {longest}: "
                "lags have to lie within half a run, of 16 forces or more; raise `constrained_steps`"
            )
        return plan


class ConstrainedStage:
    """Makes the constrained runs of a run; on every MD rank, all methods collective.

    Args:
        lmp: the LAMMPS instance, production done.
        comm: communicator of the MD ranks.
        execute: has LAMMPS execute commands.
        system: of the frames.
        chains: its molecules.
        checkpoint: the run's checkpoint folder, which holds the states.
        out: folder of the records.
        wanted: what is asked for.
        stop_requested: tells whether a signal asked this rank to end.
        tell: hears on the first MD rank of each record, how many there are, of how many, and of the seconds left.

    Attributes:
        n_done: constrained runs whose record is there.
        n_states: states that were kept.
    """

    def __init__(
        self,
        lmp: Lammps,
        comm: Communicator,
        execute: Callable[[str], None],
        system: System,
        chains: Chains,
        checkpoint: Path,
        out: Path,
        wanted: HeldWanted,
        stop_requested: Callable[[], bool],
        tell: Tell,
    ) -> None:
        self._lmp, self._comm, self._execute, self._out = lmp, comm, execute, out
        self._checkpoint, self._wanted, self._stop, self._tell = checkpoint, wanted, stop_requested, tell
        self._facts = ConstrainedFacts(system.units, system.time_unit, system.length_unit, system.source)
        self._molecules = molecules_of(chains)
        self.n_done = self.n_states = 0

    def run(self) -> bool:
        """Make the runs that are not there yet; return whether all are there now, and not where a signal came.

        Raises:
            RunFailure: a run blew up, or a record cannot be written.
            UserError: a record of before is damaged, or the plan cannot be.
        """
        states = self._comm.bcast(self._states() if self._comm.rank == 0 else [], root=0)
        self.n_states = len(states)
        if not states:
            raise RunFailure("no state of the melt was kept during production, so that no centres can be held")
        set_aside(self._lmp, self._comm, self._execute)
        masses = masses_of_atoms(self._lmp, self._comm)(np.concatenate(self._molecules))
        melt = HeldMelt(self._lmp, self._comm, self._molecules, masses, self._execute, self._stop)
        left = [state for state in states if not state[3]]
        self.n_done = len(states) - len(left)
        plan, started = self._plan(melt, states), time.monotonic()
        for made, (number, path, step, _) in enumerate(left):
            record = melt.run(path, step, plan)
            if self._comm.bcast(None if record is None else True, root=0) is None:
                return False
            self._keep(number, record)
            self.n_done += 1
            if record is not None:
                spent = (time.monotonic() - started) / (made + 1)
                self._tell(record, self.n_done, self.n_states, spent * (len(left) - made - 1))
        return True

    def _states(self) -> list[tuple[int, str, int, bool]]:
        """Return number, file as LAMMPS has it, step, and whether its record is there already."""
        return [
            (number, named(path, self._checkpoint), step, self._record(number).is_file())
            for number, path, step in kept_states(self._checkpoint)
        ]

    def _plan(self, melt: HeldMelt, states: list[tuple[int, str, int, bool]]) -> ConstrainedPlan:
        """Return how runs are made: as those of before, or by a trial."""
        low, high, *_ = self._lmp.extract_box()
        shortest, every = min(b - a for a, b in zip(low, high, strict=True)), self._wanted.force_every
        if done := [state for state in states if state[3]]:
            told: int | str = 0
            if self._comm.rank == 0:
                try:
                    before = read_constrained(self._record(done[0][0])).runs[0]
                    told = round(before.dt / float(self._lmp.extract_global("dt")))
                except UserError as error:
                    told = str(error)
            told = self._comm.bcast(told, root=0)
            if isinstance(told, str):
                raise UserError(told)
            every = told
        if every is None:
            every = melt.force_stride(states[0][1], states[0][2])
        return self._wanted.plan(every, shortest)

    def _record(self, number: int) -> Path:
        return self._out / f"{number:04d}.h5"

    def _keep(self, number: int, record: ConstrainedRun | None) -> None:
        """Write a record, from the first MD rank; raise RunFailure on all where that fails."""
        failure = ""
        if record is not None:
            try:
                self._out.mkdir(exist_ok=True)
                write_constrained(self._record(number), [record], self._facts)
            except (RunFailure, OSError) as error:
                failure = str(error)
        if failure := self._comm.bcast(failure, root=0):
            raise RunFailure(failure)


def set_aside(lmp: Lammps, comm: Communicator, execute: Callable[[str], None]) -> None:
    """Take away what belongs to production: its fixes, dumps and restart files; plain dynamics remains."""
    for name, style in read_setup(lmp, comm).fixes.items():
        if not KEPT.match(plain(style)):
            execute(f"unfix {name}")
    for name in lmp.available_ids("dump"):
        if name:
            execute(f"undump {name}")
    execute(f"restart 0\nfix {MOVE_FIX} all nve\nthermo_style custom step temp pe etotal\nthermo 100000000")


def seconds_held(lmp: Lammps, comm: Communicator, execute: Callable[[str], None], chains: Chains, steps: int) -> float:
    """Return the wall time of one MD step with centres held, from a short run; production's fixes stay."""
    molecules = molecules_of(chains)
    masses = masses_of_atoms(lmp, comm)(np.concatenate(molecules))
    held = CentreConstraint(lmp, comm, molecules, masses)
    held.still()
    held.install()
    execute("run 0 post no")
    started = time.perf_counter()
    execute(f"run {steps} post no")
    spent = time.perf_counter() - started
    held.remove()
    return spent / steps
