"""Hold the centres of mass of molecules still in LAMMPS, and keep the forces that held them.

Each molecule's momentum is taken away once; then, at every step, a ``fix external`` gives each bead the share m_i/M of
minus the total force on its molecule. The molecule's beads keep all motion relative to its centre, which stays where it
is to rounding. What was taken away is the sample: the force on the held centre. The constraint is linear in positions,
so that the ensemble needs no correction (no Fixman term).

The fix must be the last one that sees forces: it is made last.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from mlgle_lammps.acquire.lammps_handle import Callback, Lammps, Pointer
from mlgle_lammps.chains.atom_places import AtomPlaces
from mlgle_lammps.errors import RunFailure, one_line
from mlgle_lammps.plain import AnyArray
from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.stream.communicator import Communicator

FIX_ID = "mlgle_held"
CHECK_STEPS = 100


class CentreConstraint:
    """Holds the centres of molecules while LAMMPS runs; made on every MD rank, all methods collective.

    Args:
        lmp: the LAMMPS instance, between two runs.
        comm: communicator of the MD ranks.
        molecules: atom ids of each molecule; all atoms of the system belong to one.
        masses: of the atoms, in the order of the ids of the molecules in turn.

    Attributes:
        totals: (M,) masses of the molecules.
        seconds: spent in the callback, samples included.
        stopped: the last run was ended because somebody asked for it.
    """

    def __init__(self, lmp: Lammps, comm: Communicator, molecules: Sequence[Int64], masses: Float64) -> None:
        self._lmp, self._comm = lmp, comm
        sizes = [len(ids) for ids in molecules]
        self._places = AtomPlaces(np.concatenate(list(molecules)))
        self._molecule_of = np.repeat(np.arange(len(sizes)), sizes)
        self._masses = masses
        self.totals: Float64 = np.bincount(self._molecule_of, weights=masses).astype(np.float64)
        self._to_deck = float(lmp.extract_global("ftm2v") or 1.0)
        self._energy = float(lmp.extract_global("mvv2e") or 1.0)
        self._dt = float(lmp.extract_global("dt"))
        self._ids: AnyArray = np.empty(0, dtype=np.int64)
        self._sum, self._share = csr_matrix((len(sizes), 0)), csr_matrix((0, len(sizes)))
        self._callback: Callback = None
        self._every, self._first, self._wanted = 1, 0, 0
        self._forces: list[Float64] = []
        self._kinetic: list[float] = []
        self._stop: Callable[[], bool] = lambda: False
        self.seconds = 0.0
        self.stopped = False

    # ------------------------------------------------------------------ between runs

    def install(self) -> None:
        """Let LAMMPS call back at every step from its next run on, and add the forces that come of it."""
        self._lmp.command(f"fix {FIX_ID} all external pf/callback 1 1")
        self._callback = self._lmp.FIX_EXTERNAL_CALLBACK_FUNC(self._on_step)
        self._lmp.lib.lammps_set_fix_external_callback(self._lmp.lmp, FIX_ID.encode(), self._callback, self)

    def remove(self) -> None:
        """Let the centres go."""
        if self._lmp.has_id("fix", FIX_ID):
            self._lmp.command(f"unfix {FIX_ID}")
        self._callback = None

    def still(self) -> None:
        """Take each molecule's momentum away."""
        n_local = self._lmp.extract_setting("nlocal")
        velocities = np.zeros((0, 3))
        if n_local:
            self._look_up(self._lmp.numpy.extract_atom("id")[:n_local])
            velocities = self._lmp.numpy.extract_atom("v")[:n_local]
            own = self._masses_here()[:, None] * velocities
        else:
            self._look_up(np.empty(0, dtype=np.int64))
            own = velocities
        momenta = self._over_ranks(self._sum @ own)
        if n_local:
            velocities -= (momenta / self.totals[:, None])[self._molecules_here()]

    def sample(self, every: int, n_samples: int, stop: Callable[[], bool] = lambda: False) -> None:
        """Ask for samples of the forces in the run that follows.

        Args:
            every: steps between two.
            n_samples: after which no more are taken; the first one is that of the run's first step.
            stop: asked now and then; True on any rank ends the run.
        """
        self._every, self._wanted, self._stop, self.stopped = every, n_samples, stop, False
        self._first = int(self._lmp.extract_global("ntimestep")) + 1
        self._forces.clear()
        self._kinetic.clear()

    def forces(self) -> Float64:
        """Return the samples (time, M, 3), mass · length / time², on the first MD rank; none on the others.

        Raises:
            RunFailure: a force is not finite; on all ranks.
        """
        forces = np.array(self._forces) if self._forces else np.zeros((0, len(self.totals), 3))
        if not all(self._comm.allgather(bool(np.isfinite(forces).all()))):
            raise RunFailure("forces on the held centres are no longer finite: the run has blown up")
        return forces * self._to_deck

    def twice_kinetic(self) -> float:
        """Return the mean of Σ m v² over the samples, mass · length² / time², the same on every rank."""
        part = np.array([math.fsum(self._kinetic) / max(len(self._kinetic), 1)])
        return float(self._over_ranks(part)[0])

    def centres(self, unwrapped: Callable[[], tuple[AnyArray, Float64]]) -> Float64:
        """Return (M, 3) centres of mass.

        Args:
            unwrapped: returns ids and unwrapped positions of this rank's atoms.
        """
        ids, positions = unwrapped()
        slots = self._places(ids)
        weighted = self._masses[slots][:, None] * positions
        owners, n = self._molecule_of[slots], len(self.totals)
        own: Float64 = np.stack([np.bincount(owners, w, n) for w in weighted.T], axis=1).astype(np.float64)
        centres: Float64 = self._over_ranks(own) / self.totals[:, None]
        return centres

    # ------------------------------------------------------------------ during a run

    def _on_step(
        self, caller: object, step: int, n_local: int, ids: Pointer, positions: Pointer, forces: Pointer
    ) -> None:
        """Be called by LAMMPS at each step; whatever goes wrong is kept."""
        started = time.perf_counter()
        try:
            self._visit(step, n_local, ids, forces)
        except BaseException as error:
            self._give_up(error)
        self.seconds += time.perf_counter() - started

    def _visit(self, step: int, n_local: int, ids: Pointer, forces: Pointer) -> None:
        view = self._lmp.numpy
        here = view.iarray(self._lmp.c_tagint, ids, n_local, 1) if n_local else np.empty(0, dtype=np.int64)
        if len(here) != len(self._ids) or not np.array_equal(here, self._ids):
            self._look_up(here)
        total = view.extract_atom("f")[:n_local] if n_local else np.zeros((0, 3))
        on_centres = self._over_ranks(self._sum @ total)
        if n_local:
            view.darray(forces, n_local, 3)[:] = self._share @ on_centres
        since = step - self._first
        if step % CHECK_STEPS == 0 and self._over_ranks(np.array([float(self._stop())]))[0]:
            self.stopped = True
        if self.stopped:
            self._lmp.force_timeout()
        if since >= 0 and since % self._every == 0 and len(self._kinetic) < self._wanted:
            if self._comm.rank == 0:
                self._forces.append(on_centres)
            self._kinetic.append(self._twice_kinetic(n_local, total, on_centres))

    def _give_up(self, error: BaseException) -> None:
        """End the program: LAMMPS would swallow the error, and the other ranks wait for this one's forces."""
        print(f"mlgle run: error: while centres were held: {one_line(error)}", file=sys.stderr, flush=True)
        if self._comm.size > 1:
            self._comm.Abort(1)
        os._exit(1)

    def _twice_kinetic(self, n_local: int, total: Float64, on_centres: Float64) -> float:
        """Return this rank's Σ m v² at the step itself: velocities are half a step behind, and forces bring them on."""
        if not n_local:
            return 0.0
        masses = self._masses_here()[:, None]
        kick = (0.5 * self._dt * self._to_deck) * (total + self._share @ on_centres) / masses
        velocities = self._lmp.numpy.extract_atom("v")[:n_local] + kick
        return float(np.sum(masses * velocities**2))

    def _look_up(self, ids: AnyArray) -> None:
        """Make the sums over this rank's atoms, whose order changes when they are exchanged or sorted."""
        self._ids = ids.copy()
        self._slots = self._places(ids)
        if np.any(self._slots < 0):
            raise RunFailure(f"atom {int(ids[self._slots < 0][0])} belongs to no molecule that is held")
        molecules, n = self._molecule_of[self._slots], len(ids)
        weights = -self._masses[self._slots] / self.totals[molecules]
        self._share = csr_matrix((weights, molecules, np.arange(n + 1)), shape=(n, len(self.totals)))
        self._sum = csr_matrix((np.ones(n), molecules, np.arange(n + 1)), shape=(n, len(self.totals))).T.tocsr()

    def _masses_here(self) -> Float64:
        masses: Float64 = self._masses[self._slots]
        return masses

    def _molecules_here(self) -> Int64:
        molecules: Int64 = self._molecule_of[self._slots]
        return molecules

    def _over_ranks(self, part: Float64) -> Float64:
        """Return the sum over the ranks, on each of them, the same to the last bit."""
        part = np.ascontiguousarray(part)
        if self._comm.size == 1:
            return part
        total = np.empty_like(part)
        self._comm.Allreduce(part, total)
        return total
