"""What is done inside LAMMPS's run: frames taken, the sink heard, and all ranks of one mind when it ends.

LAMMPS calls back at steps that divide the frames' stride. Nothing may be raised there, since LAMMPS would swallow it:
what goes wrong is kept, all ranks learn of it at the same step, and the driver raises it once the run has ended.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.lammps_handle import Callback, Lammps, Pointer
from mlgle_lammps.acquire.resumption import Resumption, same_frame
from mlgle_lammps.acquire.snapshot import Snapshots
from mlgle_lammps.acquire.wanted import FramesWanted
from mlgle_lammps.chains.topology import Chains
from mlgle_lammps.errors import RunFailure
from mlgle_lammps.records import Float64, Frames, System
from mlgle_lammps.stream.sink import FrameSink

NEVER = 2_000_000_000
CHECK_STEPS = 100
LEAST_STRIDE = 20
GO, ENOUGH, STOP, FAIL = range(4)
"""How a run stands; the ranks agree on the highest."""


class FrameTaker:
    """Takes frames in the callback of a ``fix external``; made on every MD rank.

    Args:
        world: the ranks.
        lmp: the LAMMPS instance.
        wanted: which frames.
        sink: takes them, on the first MD rank.
        every: steps between two frames.
        stop_requested: tells whether a signal asked this rank to end.
        end_run: ends LAMMPS's run at the next step, and skips later ones.
        resumption: where an earlier run goes on.

    Attributes:
        verdict: GO, or why the run ends.
        every: steps between two frames.
        error: what went wrong on this rank first.
        target: frames in all; None until that is known.
        n_frames: frames so far; where the first MD rank failed, one more on the others until they hear of it.
        last_step: of the last frame; None before the first.
        segment: number of the uninterrupted piece.
        fixes: ids of those at work when the last frame was taken; empty before the first.
        stands: the run was ended before a frame of beads that nothing moves.
        cut_short: the last frame came before the deck's run had ended.
        callback_s: seconds spent in here.
        notes: what was done, one line each.
    """

    def __init__(
        self,
        world: mpi.World,
        lmp: Lammps,
        wanted: FramesWanted,
        sink: FrameSink,
        every: int,
        stop_requested: Callable[[], bool],
        end_run: Callable[[], None],
        resumption: Resumption | None = None,
    ) -> None:
        self._world, self._comm, self._lmp = world, world.md_comm, lmp
        self._wanted, self._sink, self.every = wanted, sink, every
        self._stop_requested, self._end_run = stop_requested, end_run
        self._last = None if resumption is None else resumption.last
        self.verdict = GO
        self.error: BaseException | None = None
        self.target = wanted.total
        self.n_frames = 0 if resumption is None else resumption.n_frames
        self.last_step = None if self._last is None else self._last.last_step
        self.segment = 0 if self._last is None else self._last.last_segment
        self.fixes: Sequence[str] = ()
        self.stands = self.cut_short = False
        self.callback_s = 0.0
        self.notes: list[str] = []
        self._greeted = False
        self._callback: Callback = None
        self._system: System
        self._chains: Chains
        self._snapshots: Snapshots
        self._look_after: Callable[[int], None]
        self._keep_state: Callable[[int, int], None] | None = None
        self._nothing_moves: Callable[[Sequence[str]], bool] = lambda fixes: False

    def install(
        self,
        fix: str,
        system: System,
        chains: Chains,
        snapshots: Snapshots,
        look_after: Callable[[int], None],
        keep_state: Callable[[int, int], None] | None = None,
        nothing_moves: Callable[[Sequence[str]], bool] = lambda fixes: False,
    ) -> None:
        """Have LAMMPS call back from its next run on.

        Args:
            fix: id of the fix.
            system: what the frames are about.
            chains: its molecules.
            snapshots: takes them.
            look_after: hears of steps on the first MD rank.
            keep_state: hears on all ranks, before each new frame, of its step and how many frames came before it.
            nothing_moves: says of the ids of the fixes at work whether beads stand still.
        """
        self._keep_state, self._nothing_moves = keep_state, nothing_moves
        self._system, self._chains = system, chains
        self._snapshots, self._look_after = snapshots, look_after
        self._lmp.command(f"fix {fix} all external pf/callback {check_stride(self.every)} {NEVER}")
        self._lmp.command("variable mlgle_elapsed equal ramp(0,1)")
        # Not lammps.set_fix_external_callback: its wrapper fails on a rank without atoms, and the failure is swallowed.
        self._callback = self._lmp.FIX_EXTERNAL_CALLBACK_FUNC(self._on_step)
        self._lmp.lib.lammps_set_fix_external_callback(self._lmp.lmp, fix.encode(), self._callback, self)

    def release(self) -> None:
        """Let go of the callback, once LAMMPS is closed."""
        self._callback = None

    def greet(self, system: System) -> None:
        """Tell the sink what the frames are about, once."""
        if self._world.leads_md and not self._greeted:
            self._sink.hello(system)
        self._greeted = True

    def _on_step(
        self, caller: object, step: int, n_local: int, ids: Pointer, positions: Pointer, forces: Pointer
    ) -> None:
        """Be called by LAMMPS; whatever goes wrong is kept."""
        start = time.perf_counter()
        try:
            self._visit(step, n_local, ids, positions)
        except BaseException as error:
            self.error = self.error or error
        self.callback_s += time.perf_counter() - start

    def _visit(self, step: int, n_local: int, ids: Pointer, positions: Pointer) -> None:
        if self.verdict != GO:
            self._end_run()
            return
        due = step % self.every == 0 and (self.last_step is None or step > self.last_step)
        again = not due and self._last is not None and step == self._last.last_step
        part, far, verdict = None, False, STOP if self._stop_requested() else GO
        if due and self.n_frames and self._has_stopped():  # on all ranks alike
            self.stands, due, verdict = True, False, max(verdict, ENOUGH)
        try:
            if self._world.leads_md:
                verdict = max(verdict, self._listen())
                self._look_after(step)
            if due or again:
                part, far = self._local(n_local, ids, positions)
        except Exception as error:
            self.error = self.error or error
        verdict, far = self._agree(FAIL if self.error else verdict, far)
        self._snapshots.follow_images |= far
        total = None
        if part is not None and verdict != FAIL:
            total = self._total(part)
            if verdict == GO and self.target is not None and self.n_frames + due >= self.target:
                verdict = ENOUGH
                self.cut_short = self._lmp.extract_variable("mlgle_elapsed", None, 0) < 1 - 1e-12
        if due and verdict != FAIL and self._keep_state is not None:
            try:  # of all ranks together; only the first one writes, and may fail at that
                self._keep_state(step, self.n_frames)
            except Exception as error:
                self.error = self.error or error
        if verdict != GO:
            self.verdict = verdict
            self._end_run()
        if self.error is not None:
            return  # there was no frame
        if total is not None and due:
            self._send(step, total)
        elif total is not None:
            self._compare(step, total)
        if part is not None:
            self.n_frames += due
            self.last_step = step
            self.fixes = self._lmp.available_ids("fix")

    def _has_stopped(self) -> bool:
        fixes = self._lmp.available_ids("fix")
        return fixes != self.fixes and self._nothing_moves(fixes)

    def _local(self, n_local: int, ids: Pointer, positions: Pointer) -> tuple[Float64, bool]:
        """Return this rank's part of a snapshot, and whether image flags should be followed."""
        if n_local == 0:
            return self._snapshots.local(np.empty(0, dtype=np.int64), np.empty((0, 3)))
        view = self._lmp.numpy
        return self._snapshots.local(
            view.iarray(self._lmp.c_tagint, ids, n_local, 1), view.darray(positions, n_local, 3)
        )

    def _total(self, part: Float64) -> list[Float64] | None:
        """Return the sum of the parts on the first MD rank, where beads that are gone are kept as an error."""
        try:
            return self._snapshots.total(part)
        except RunFailure as error:
            self.error = self.error or error
            return None

    def _listen(self) -> int:
        """Hear what the sink says; return STOP where it wants no more frames."""
        self._sink.listen()
        if self._sink.handed_off is not None and self._wanted.total is None:
            self.target = self._sink.handed_off + self._wanted.after_hand_off
            if self.n_frames >= self.target:
                return ENOUGH
        return STOP if self._sink.told_to_stop else GO

    def _send(self, step: int, total: list[Float64]) -> None:
        if not all(np.isfinite(own).all() for own in total):
            raise RunFailure(f"positions are no longer finite at step {step}: the run has blown up")
        self.greet(self._system)
        self._sink.send(self._frame(step, total))

    def _frame(self, step: int, total: list[Float64]) -> Frames:
        """Return a frame from the sums z_0..z_k over the ranks, (molecule, k+1, 3) of each block."""
        channels = self._chains.channels(total, self._snapshots.velocities)
        return Frames(np.array([step]), np.array([self.segment]), channels)

    def _compare(self, step: int, total: list[Float64]) -> None:
        """Begin a new segment where the last frame, done again, is not the journalled one to the last bit."""
        assert self._last is not None
        if not same_frame(self._last, self._frame(step, total)) and self.segment == self._last.last_segment:
            self.segment += 1
            self.notes.append(f"step {step} came out differently when done again: a new segment begins there")

    def _agree(self, verdict: int, far: bool) -> tuple[int, bool]:
        """Return the highest verdict, and whether any rank needs image flags to be followed; shares the target."""
        if self._comm.size == 1:
            return verdict, far
        mine = np.array([verdict, far, self.target or 0], dtype=np.int64)
        highest = np.empty_like(mine)
        self._comm.Allreduce(mine, highest, op=mpi.MAX())
        self.target = int(highest[2]) or None
        return int(highest[0]), bool(highest[1])


def check_stride(every: int) -> int:
    """Return the divisor of ``every`` nearest to 100 in ratio, from 20 up: how often signals and sink are heard."""
    small = [d for d in range(1, math.isqrt(every) + 1) if every % d == 0]
    divisors = [d for d in {*small, *(every // d for d in small)} if d >= min(every, LEAST_STRIDE)]
    return min(divisors, key=lambda d: abs(math.log(d / CHECK_STEPS)))
