"""Run the deck in LAMMPS and take mode frames from its own run, without touching the trajectory.

Frames come from the callback of a ``fix external`` which leaves its forces at zero, so that the user's ``run N`` stays
one run and the trajectory is bitwise that of plain LAMMPS.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.deck import Deck
from mlgle_lammps.acquire.snapshot import Snapshots
from mlgle_lammps.acquire.system import read_system
from mlgle_lammps.acquire.topology import Chains
from mlgle_lammps.config import DeckOptions, LearnOptions
from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.records import Ending, Frame, System
from mlgle_lammps.stream.transport import Outbox

FIX_ID = "mlgle_frames"
NEVER = 2_000_000_000
FAR_AHEAD = 1_000_000_000
LONGEST_RUN = 2**31 - 1
CHECK_STEPS = 100
LEAST_STRIDE = 20
INTERRUPTED_EARLY = "interrupted before production began: no frames, nothing to save"
GO, ENOUGH, STOP, FAIL = range(4)


class LostRank(RunFailure):
    """This rank failed and the other MD ranks do not know: they hang until somebody aborts."""


class Driver:
    """Owns LAMMPS on the MD ranks; all methods are collective over them.

    Args:
        world: the ranks.
        deck: the scanned deck.
        options: how frames are taken.
        learn: of these, k and how many frames are wanted.
        outbox: where the first MD rank sends frames.
        log: LAMMPS's log file, None for none.
        stop_requested: tells whether a signal asked this rank to end.
    """

    def __init__(
        self,
        world: mpi.World,
        deck: Deck,
        options: DeckOptions,
        learn: LearnOptions,
        outbox: Outbox,
        log: Path | None,
        stop_requested: Callable[[], bool],
    ) -> None:
        self._world, self._comm = world, world.md_comm
        self._deck, self._options, self._learn = deck, options, learn
        self._outbox, self._stop_requested = outbox, stop_requested
        self._target = None if learn.handoff_frames is None else learn.handoff_frames + learn.full_md
        self._every = options.every
        self._error: BaseException | None = None
        self._verdict = GO
        self._cut_short = False
        self._last_step: int | None = None
        self._callback_s = 0.0
        self._warnings: list[str] = []
        self._notes: list[str] = []
        self.n_frames = 0
        self.producing = False
        self._lmp = mpi.open_lammps(
            ["-log", str(log) if log else "none", "-screen", "none", *deck.arguments()], self._comm
        )
        self.system: System
        self._chains: Chains

    # ------------------------------------------------------------------ before production

    def prepare(self) -> System:
        """Run the deck up to the marker (all of it without one) and return what the frames will be about.

        Raises:
            UserError: LAMMPS refused the deck, or the system has no usable chains.
            RunFailure: a signal has come already.
            LostRank: LAMMPS failed on this rank only.
        """
        if self._stop_requested_anywhere():
            raise RunFailure(INTERRUPTED_EARLY)
        self._execute(self._deck.before)
        notes: tuple[str, ...] = ()
        if self._deck.production is None:
            notes = ("the deck has no '#mlgle production' line: production is a run of its own after the deck's end",)
        self.system, self._chains = read_system(
            self._lmp, self._comm, deck=str(self._deck.path), every=self._every, n_modes=self._learn.modes,
            chain_group=self._options.chain_group, strict=self._options.strict, notes=notes,
        )  # fmt: skip
        return self.system

    def seconds_per_step(self, steps: int) -> float:
        """Return the wall time of one MD step, from a short run that ends the usefulness of this instance."""
        self._execute("run 0 post no")
        start = time.perf_counter()
        self._execute(f"run {steps} post no")
        return (time.perf_counter() - start) / steps

    def skip_runs(self) -> None:
        """End the run in progress and skip later ones; for another thread, and only where one rank does MD."""
        self._lmp.force_timeout()

    # ------------------------------------------------------------------ production

    def produce(self) -> Ending:
        """Run production until the frames are there, a signal asks to end, or something fails.

        Raises:
            UserError: before the first frame: LAMMPS refused the deck, or something in it cannot work.
            RunFailure: after the first frame: the same, or positions are no longer finite.
            LostRank: LAMMPS failed on this rank only.
        """
        start = time.perf_counter()
        self._snapshots = Snapshots(self._lmp, self._comm, self._chains.ids, self.system.n_modes)
        self._install()
        self.producing = True
        if self._stop_requested_anywhere():
            self._verdict = STOP
        if self._verdict == GO and self._deck.production is not None:
            self._execute(self._deck.production)
            self._raise_kept()
            self._report_deck_end()
        if self._verdict == GO:
            self._run_on()
        return self._ending(time.perf_counter() - start)

    def _install(self) -> None:
        self._lmp.command(f"fix {FIX_ID} all external pf/callback {check_stride(self._every)} {NEVER}")
        self._lmp.command("variable mlgle_elapsed equal ramp(0,1)")
        # Not lammps.set_fix_external_callback: its wrapper fails on a rank without atoms, and the failure is swallowed.
        self._callback = self._lmp.FIX_EXTERNAL_CALLBACK_FUNC(self._on_step)
        self._lmp.lib.lammps_set_fix_external_callback(self._lmp.lmp, FIX_ID.encode(), self._callback, self)

    def _report_deck_end(self) -> None:
        """Say where the deck's own run and the wanted frames differ."""
        step = self._lmp.extract_global("ntimestep")
        if self._verdict == ENOUGH and self._cut_short:
            self._notes.append(
                f"MD ended at step {step} with the {self.n_frames} frames asked for; "
                "the rest of the deck's run is skipped"
            )
        elif self._verdict == GO:
            wanted = self._target or "those needed"
            self._notes.append(
                f"the deck's production ended at step {step} with {self.n_frames} frames (of {wanted}); "
                "MD went on with a run of its own"
            )

    def _run_on(self) -> None:
        """Run the steps that are missing, as one run."""
        if not self._lmp.has_id("fix", FIX_ID):
            raise RunFailure(f"{self._deck.path}: the deck removed fix {FIX_ID}, which takes the frames")
        steps = FAR_AHEAD
        if self._target is not None:
            now = self._lmp.extract_global("ntimestep")
            following = -(-now // self._every) * self._every
            if self._last_step is not None:
                following = self._last_step + self._every
            steps = following + (self._target - self.n_frames - 1) * self._every - now
        if steps > LONGEST_RUN:
            raise UserError(
                f"{steps} more steps are more than LAMMPS can run at once ({LONGEST_RUN}): ask for fewer frames"
            )
        self._execute(f"timer timeout off\nrun {steps}")
        self._raise_kept()
        if self._verdict == GO and self._target is None:
            self._verdict = ENOUGH
            self._warnings.append(f"D's interval was not reached within {steps} steps: MD ended")
        elif self._verdict == GO:
            raise RunFailure(
                f"LAMMPS ended its run at step {self._lmp.extract_global('ntimestep')} by itself, "
                f"after {self.n_frames} frames"
            )

    def _ending(self, seconds: float) -> Ending:
        if self._world.leads_md and self.n_frames == 0:
            self._outbox.hello(self.system)
        return Ending(
            status="complete" if self._verdict == ENOUGH else "interrupted",
            message="" if self._verdict == ENOUGH else f"interrupted after {self.n_frames} frames",
            step=self._last_step or self._lmp.extract_global("ntimestep"),
            md_s=seconds,
            callback_s=self._callback_s,
            waits=self._outbox.waits,
            warnings=(*self._warnings, *self._snapshots.warnings),
            notes=tuple(self._notes),
        )

    # ------------------------------------------------------------------ inside the run

    def _on_step(self, caller: Any, step: int, n_local: int, ids: Any, positions: Any, forces: Any) -> None:
        """Be called by LAMMPS; whatever goes wrong is kept, since LAMMPS would swallow it."""
        start = time.perf_counter()
        try:
            self._visit(step, n_local, ids, positions)
        except BaseException as error:
            self._error = self._error or error
        self._callback_s += time.perf_counter() - start

    def _visit(self, step: int, n_local: int, ids: Any, positions: Any) -> None:
        if self._verdict != GO:
            self._lmp.force_timeout()
            return
        due = step % self._every == 0 and (self._last_step is None or step > self._last_step)
        part, far, verdict = None, False, STOP if self._stop_requested() else GO
        try:
            if self._world.leads_md:
                verdict = max(verdict, self._listen())
            if due:
                part, far = self._local(n_local, ids, positions)
        except Exception as error:
            self._error = self._error or error
        verdict, far = self._agree(FAIL if self._error else verdict, far)
        self._snapshots.follow_images |= far
        total = None
        if part is not None and verdict != FAIL:
            try:
                total = self._snapshots.total(part)
            except RunFailure as error:
                self._error = self._error or error
            self.n_frames += 1
            self._last_step = step
            if verdict == GO and self._target is not None and self.n_frames >= self._target:
                verdict = ENOUGH
                self._cut_short = self._lmp.extract_variable("mlgle_elapsed", None, 0) < 1 - 1e-12
        if verdict != GO:
            self._verdict = verdict
            self._lmp.force_timeout()
        if total is not None:
            self._send(step, total)

    def _local(self, n_local: int, ids: Any, positions: Any) -> tuple[Any, bool]:
        if n_local == 0:
            return self._snapshots.local(np.empty(0, dtype=np.int64), np.empty((0, 3)))
        view = self._lmp.numpy
        return self._snapshots.local(
            view.iarray(self._lmp.c_tagint, ids, n_local, 1), view.darray(positions, n_local, 3)
        )

    def _listen(self) -> int:
        """Hear what the trainer says; return STOP where it wants no more frames."""
        self._outbox.listen()
        if self._outbox.handed_off is not None and self._learn.handoff_frames is None:
            self._target = self._outbox.handed_off + self._learn.full_md
            if self.n_frames >= self._target:
                return ENOUGH
        return STOP if self._outbox.told_to_stop else GO

    def _send(self, step: int, total: np.ndarray) -> None:
        if not np.isfinite(total).all():
            raise RunFailure(f"positions are no longer finite at step {step}: the run has blown up")
        if self.n_frames == 1:
            self._outbox.hello(self.system)
        self._outbox.send(Frame(step, 0, total[:, 0].copy(), total[:, 1:].astype(np.float32)))

    def _agree(self, verdict: int, far: bool) -> tuple[int, bool]:
        """Return the highest verdict, and whether any rank needs image flags to be followed; shares the target."""
        if self._comm.size == 1:
            return verdict, far
        mine = np.array([verdict, far, self._target or 0], dtype=np.int64)
        highest = np.empty_like(mine)
        self._comm.Allreduce(mine, highest, op=mpi.MAX())
        self._target = int(highest[2]) or None
        return int(highest[0]), bool(highest[1])

    # ------------------------------------------------------------------ failures

    def _stop_requested_anywhere(self) -> bool:
        return any(self._comm.allgather(self._stop_requested()))

    def _execute(self, commands: str) -> None:
        """Have LAMMPS execute commands; turn its exceptions into ours."""
        try:
            self._lmp.commands_string(commands)
        except Exception as error:
            if self._error is None:
                self._refuse(error)

    def _refuse(self, error: Exception) -> NoReturn:
        message = f"{self._deck.path}: {mpi.lammps_message(error)}"
        if mpi.failed_alone(error):
            raise LostRank(message) from error
        raise (UserError if self.n_frames == 0 else RunFailure)(message) from error

    def _raise_kept(self) -> None:
        """Raise on all ranks what any rank kept from inside the run."""
        kept = self._comm.allgather(None if self._error is None else (type(self._error), one_line(self._error)))
        found = next((entry for entry in kept if entry), None)
        if found is None:
            return
        kind, message = found
        if issubclass(kind, UserError):
            message = f"{self._deck.path}: {message}"
        else:
            message = f"{kind.__name__} while taking a frame: {message}"
        raise (UserError if self.n_frames == 0 and issubclass(kind, UserError) else RunFailure)(
            message
        ) from self._error


def check_stride(every: int) -> int:
    """Return the divisor of ``every`` nearest to 100 in ratio, from 20 up: how often signals and trainer are heard."""
    small = [d for d in range(1, math.isqrt(every) + 1) if every % d == 0]
    divisors = [d for d in {*small, *(every // d for d in small)} if d >= min(every, LEAST_STRIDE)]
    return min(divisors, key=lambda d: abs(math.log(d / CHECK_STEPS)))
