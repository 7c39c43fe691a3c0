"""Run the deck in LAMMPS and take mode frames from its own run, without touching the trajectory.

Frames come from the callback of a ``fix external`` which leaves its forces at zero, so that the user's ``run N`` stays
one run and the trajectory is bitwise that of plain LAMMPS.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.checkpoint import MdRecord
from mlgle_lammps.acquire.constrained_stage import ConstrainedStage, HeldWanted, Tell, seconds_held
from mlgle_lammps.acquire.continuation import FIRST_FILE, SECOND_FILE, alternates_restarts, named
from mlgle_lammps.acquire.deck import REACHED, Deck
from mlgle_lammps.acquire.deck_files import DeckFiles
from mlgle_lammps.acquire.failures import Failures, LostRank
from mlgle_lammps.acquire.fixes import (
    Setup,
    changes_bonds,
    holds_center,
    lost,
    moves,
    moves_without_momenta,
    only_balances,
    read_setup,
    stands,
)
from mlgle_lammps.acquire.flow import ENTER
from mlgle_lammps.acquire.frame_taker import ENOUGH, GO, STOP, FrameTaker
from mlgle_lammps.acquire.holding import refuse_what_cannot_be_held
from mlgle_lammps.acquire.kept_states import KeptStates
from mlgle_lammps.acquire.restart_writer import RestartWriter
from mlgle_lammps.acquire.resumption import Resumption, refuse_another_system
from mlgle_lammps.acquire.scan import AT_THE_END, BEFORE, BONDS_CHANGE, FIX_ID
from mlgle_lammps.acquire.snapshot import Snapshots
from mlgle_lammps.acquire.stress import StressWatch
from mlgle_lammps.acquire.stride import MotionTrial
from mlgle_lammps.acquire.system import bond_pairs, read_system
from mlgle_lammps.acquire.wanted import FramesWanted
from mlgle_lammps.chains.topology import Chains
from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.options.deck import EVERY, DeckOptions
from mlgle_lammps.records import Ending, Int64, System
from mlgle_lammps.stream.sink import FrameSink

FAR_AHEAD = 1_000_000_000
LONGEST_RUN = 2**31 - 1
INTERRUPTED_EARLY = "interrupted before production began: no frames, nothing to save"


class Driver:
    """Owns LAMMPS on the MD ranks; all methods are collective over them. A context manager, which closes LAMMPS.

    Args:
        world: the ranks.
        deck: the scanned deck.
        options: how frames are taken.
        wanted: which frames, and how many.
        sink: takes them, on the first MD rank.
        log: LAMMPS's log file, None for none.
        stop_requested: tells whether a signal asked this rank to end.
        checkpoint: folder for restart files, None for none.
        resumption: where an earlier run goes on.

    Attributes:
        system: what the frames are about, once `prepare` has run.
        reading: LAMMPS reads what comes before production.
        producing: production has begun.
    """

    def __init__(
        self,
        world: mpi.World,
        deck: Deck,
        options: DeckOptions,
        wanted: FramesWanted,
        sink: FrameSink,
        log: Path | None,
        stop_requested: Callable[[], bool] = lambda: False,
        checkpoint: Path | None = None,
        resumption: Resumption | None = None,
    ) -> None:
        self._world, self._comm = world, world.md_comm
        self._resumption, self._folder, self._log = resumption, checkpoint, log
        self._checkpoint = checkpoint
        if resumption is not None and resumption.continuation is not None:
            deck = resumption.continuation.deck
        self._deck, self._options, self._wanted = deck, options, wanted
        self._sink, self._stop_requested = sink, stop_requested
        self._every = options.every or EVERY
        if resumption is not None:
            self._every = resumption.system.every
        self._restarts: RestartWriter | None = None
        self._stress: StressWatch | None = None
        self._kinetic = True
        self._fixes: dict[str, str] = {}
        self._began = 0.0
        self._warnings: list[str] = []
        self.reading = self.producing = False
        log_arguments = ["-log", str(log) if log and resumption is None else "none"]
        where = [] if checkpoint is None else ["-var", "mlgle_folder", str(checkpoint.absolute())]
        self._lmp = mpi.open_lammps([*log_arguments, "-screen", "none", *where, *self._deck.arguments()], self._comm)
        self._files = DeckFiles(self._lmp, self._comm, checkpoint)
        if log and checkpoint and resumption is not None:
            self._lmp.command(f"log {named(log, checkpoint)} append")
        self._taker = FrameTaker(world, self._lmp, wanted, sink, self._every, stop_requested, self._end_run, resumption)
        self._failures = Failures(deck.path, world, self._taker)
        self._notes = self._taker.notes
        self.system: System
        self._chains: Chains
        self._lock, self._open = threading.RLock(), True

    def __enter__(self) -> Driver:
        """Return the driver."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close LAMMPS; not where this rank alone fails, whose part in closing the others would not take."""
        known = error is None or (isinstance(error, UserError) and not isinstance(error, LostRank))
        if known or self._comm.size == 1:
            self.close()

    def close(self) -> None:
        """Let LAMMPS finish its files and give back its memory; collective over the MD ranks, once is enough."""
        with self._lock:
            if self._open:
                self._open = False
                ctypes.CDLL(None).fflush(None)  # LAMMPS forgets what its xtc dumps hold in C's buffers when it closes
                self._lmp.close()
                self._taker.release()

    @property
    def n_frames(self) -> int:
        """Frames so far, those of an earlier run that goes on among them."""
        return self._taker.n_frames

    def _end_run(self) -> None:
        """End the run in progress and skip later ones; may be called again at each step until it has ended."""
        self._lmp.force_timeout()
        self._files.end_soon()

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
        self._run_first_part()
        notes: tuple[str, ...] = ()
        if self._deck.production is None:
            notes = ("the deck has no '#mlgle production' line: production is a run of its own after the deck's end",)
        setup = self._read_setup()
        self._fixes = setup.fixes
        self._kinetic = not moves_without_momenta(setup.fixes | self._later_fixes())
        n_modes = self._wanted.n_modes if self._resumption is None else self._resumption.system.n_modes
        self.system, self._chains = read_system(
            self._lmp, self._comm, deck=str(self._deck.path), every=self._every, n_modes=n_modes,
            chain_group=self._options.chain_group, strict=self._options.strict, notes=notes,
            marked=self._deck.production is not None, setup=setup, center_held=self._holds_center(setup),
            definitions=self._deck.fixes, later=self._deck.production_fixes, channels=self._wanted.channels,
            pick=self._options.species, length_bin=self._options.length_bin, log=self._log,
            single=self._wanted.single,
        )  # fmt: skip
        if self._wanted.states:
            self._look_whether_held(setup)
        if self._resumption is not None:
            if not self._resumption.system.others:  # as runs of before recorded
                self.system, self._chains = replace(self.system, others=()), replace(self._chains, others=())
            self._go_on(self._resumption)
        return self.system

    def _look_whether_held(self, setup: Setup) -> None:
        """Refuse a system whose centres cannot be held, and find how often frames are worth taking where not said."""
        try:
            notes = refuse_what_cannot_be_held(
                self.system, self._chains, self._lmp.get_natoms(), setup.fixes | self._later_fixes(),
                self._deck.pair_style,
            )  # fmt: skip
        except UserError as error:
            raise UserError(f"{self._deck.path}: {error}") from None
        self._notes += notes
        if self._options.every is None and self._resumption is None:
            self._every = self._taker.every = MotionTrial(self._lmp, self._comm, self._chains, self._execute).stride()
            timestep = self._lmp.extract_global("dt")
            self.system = replace(self.system, every=self._every, dt=timestep * self._every)

    def _run_first_part(self) -> None:
        """Run the deck up to where production begins."""
        text, folder = self._deck.first_file(), os.getcwd()
        self.reading = True
        with self._failures.translated():
            if text is None:
                self._lmp.file(str(self._deck.path))
            else:
                self._files.run(FIRST_FILE, text, self._deck.other_files)
        self.reading = False
        if os.getcwd() != folder and not self._deck.changes_folder:
            raise UserError(
                f"{self._deck.path}: a 'shell cd' that the deck's text does not show changed the working directory: "
                "write the name of the file that it stands in into the deck, without variables"
            )
        if self._deck.may_miss_marker and self._lmp.extract_variable(REACHED) is None:
            raise UserError(
                f"{self._deck.path}: LAMMPS came to the end of a file that the deck jumps to without passing the line "
                "'#mlgle production': include that file instead of jumping to it"
            )

    def _read_setup(self) -> Setup:
        """Return what LAMMPS says of itself; raise UserError where an unforeseen fix changes bonds."""
        with self._failures.translated():
            setup = read_setup(self._lmp, self._comm)
        where_to = AT_THE_END if self._deck.production is None else BEFORE
        for name, style in setup.fixes.items():
            if changes_bonds(style):
                raise UserError(f"{self._deck.path}: fix {name} of style {style} {BONDS_CHANGE} {where_to}")
        moved = moves(words[2] for words in self._deck.fixes if len(words) > 2)
        if self._deck.production is None and moved and not moves(setup.fixes.values()):
            raise UserError(
                f"{self._deck.path}: at the deck's end, where production begins, no fix is left that moves the beads: "
                "write '#mlgle production' above the run that frames are wanted of, or unfix none"
            )
        return setup

    def _holds_center(self, setup: Setup) -> bool:
        """Return whether the system's centre of mass is held in place during production."""
        return holds_center(setup.fixes | self._later_fixes(), self._deck.fixes)

    def _later_fixes(self) -> dict[str, str]:
        """Return id -> style of fixes that the deck defines in production."""
        return {words[0]: words[2] for words in self._deck.fixes if words[0] in self._deck.production_fixes}

    def _go_on(self, resumption: Resumption) -> None:
        """Take the place of the run before; raise UserError where the melt is not its."""
        refuse_another_system(self._deck.path, self.system, resumption.system)
        self.system = resumption.system
        seamless = resumption.seamless(self._comm.size, self._lmp.version())
        step, last = resumption.step, resumption.last.last_step
        again = f"; MD up to step {last} is done again" if step < last else ""
        if seamless:
            self._notes.append(f"went on from the restart file of step {step}, exactly{again}")
        else:
            self._taker.segment += 1
            self._notes.append(
                f"went on from the restart file of step {step}{again}; frames after step {last} are a new segment: no "
                "lag and no window reaches across"
            )

    def seconds_per_step(self, steps: int) -> float:
        """Return the wall time of one MD step, from a short run that ends the usefulness of this instance."""
        self._execute("run 0 post no")
        start = time.perf_counter()
        self._execute(f"run {steps} post no")
        return (time.perf_counter() - start) / steps

    def held_seconds_per_step(self, steps: int) -> float:
        """Return the wall time of one MD step while centres are held; what comes after it starts from there."""
        with self._failures.translated():
            return seconds_held(self._lmp, self._comm, self._execute, self._chains, steps)

    def skip_runs(self) -> None:
        """End the run in progress and skip later ones; for another thread, and only where one rank does MD."""
        with self._lock:
            if self._open:
                self._lmp.force_timeout()

    # ------------------------------------------------------------------ production

    def produce(self) -> Ending:
        """Run production until the frames are there, a signal asks to end, or something fails.

        Raises:
            UserError: before the first frame: LAMMPS refused the deck, or something in it cannot work.
            RunFailure: after the first frame: the same, or positions are no longer finite.
            LostRank: LAMMPS failed on this rank only.
        """
        if self._stop_requested_anywhere():
            if self._resumption is None:
                raise RunFailure(INTERRUPTED_EARLY)
            self._taker.verdict, self._folder = STOP, None
        if self._wanted.to_the_end and self._wanted.total is None and self._deck.production is None:
            raise UserError(
                f"{self._deck.path}: the deck has no '#mlgle production' line, so that nothing says how many frames to "
                "record: give `frames`"
            )
        self._began = time.perf_counter()
        bonds, n_atoms = bond_pairs(self._lmp), self._lmp.get_natoms()
        assert self._chains.main is not None
        self._snapshots = Snapshots(
            self._lmp, self._comm, self._chains.blocks, len(self._chains.main.blocks),
            momenta="momenta" in self._wanted.channels,
            balanced=only_balances((self._fixes | self._later_fixes()).values()),
        )  # fmt: skip
        self._taker.install(
            FIX_ID,
            self.system,
            self._chains,
            self._snapshots,
            self._look_after_restarts,
            self._keeps_states(),
            lambda fixes: stands(fixes, self._fixes, self._deck.fixes),
        )
        self._watch_stress()
        self._begin_restarts()
        if self._resumption is not None:
            self._taker.greet(self.system)
        self.producing = True
        if self._taker.verdict == GO and self._deck.production is not None:
            self._run_second_part(self._deck.production_file())
        if self._taker.verdict == GO and self._wanted.total is None and self._wanted.to_the_end:
            self._taker.verdict = ENOUGH
        if self._taker.verdict == GO:
            self._run_on()
        self._compare_bonds(bonds)
        if self._world.leads_md and (now := self._lmp.get_natoms()) != n_atoms:
            self._warnings.append(
                f"atoms came or went during production, {n_atoms:.0f} before and {now:.0f} now: D is of no one melt"
            )
        if self._restarts is not None:
            self._restarts.finish(self._elapsed(), write=self._taker.verdict == STOP)
            self._warnings += self._restarts.warnings
        self._finish_stress()
        return self._ending()

    def _run_second_part(self, text: str) -> None:
        """Run the deck's own production; once it is ended what follows need not work, since its runs are skipped."""
        if ENTER in text:
            self._execute(f"variable {ENTER} string 1")
        with self._failures.translated():
            try:
                self._files.run(SECOND_FILE, text, self._deck.other_files)
            except Exception as error:
                if self._taker.verdict not in (ENOUGH, STOP) or not mpi.failed_together(error):
                    raise
                complaint = self._failures.complaint(error)
                self._notes.append(f"the rest of the deck was left, after a run that was cut: {complaint}")
        self._failures.raise_kept()
        if self._taker.verdict == GO and not (self._wanted.to_the_end and self._wanted.total is None):
            self._end_where_motion_changes()
        if self._taker.stands:
            self._warnings.append(
                f"the deck took away all fixes that move beads, and ran on: MD ended with {self.n_frames} frames (of "
                f"{self._taker.target or 'those needed'}); frames of beads that stand still are not recorded"
            )
        self._report_deck_end()

    def _end_where_motion_changes(self) -> None:
        """End MD where the deck has taken away fixes that frames were made with: more of them would be of other MD."""
        with self._failures.translated():
            now = read_setup(self._lmp, self._comm).fixes
        gone = lost(self._taker.fixes, now, self._fixes, self._deck.fixes)
        if not gone:
            return
        step, wanted = self._lmp.extract_global("ntimestep"), self._taker.target or "those needed"
        message = (
            f"the deck's production ended at step {step} with {self.n_frames} frames (of {wanted}) and took away "
            f"{gone}: MD cannot go on from there; for more frames run longer, or leave the unfix out"
        )
        if self.n_frames == 0:
            raise UserError(f"{self._deck.path}: {message}")
        self._warnings.append(message)
        self._taker.verdict = ENOUGH

    def _keeps_states(self) -> Callable[[int, int], None] | None:
        """Return what keeps states of the melt, None where none are wanted."""
        if not self._wanted.states or self._folder is None or self._wanted.total is None:
            return None
        return KeptStates(self._folder, self._lmp, self._comm, self._wanted.states, self._wanted.total).visit

    def hold(self, wanted: HeldWanted, out: Path, tell: Tell) -> ConstrainedStage:
        """Hold the centres in each state that production kept; return how far that has come.

        Args:
            wanted: what is asked for.
            out: folder of the records.
            tell: hears of each record, see `ConstrainedStage`.

        Raises:
            UserError, RunFailure: as `ConstrainedStage.run`.
            LostRank: LAMMPS failed on this rank only.
        """
        assert self._checkpoint is not None
        self.producing = True
        stage = ConstrainedStage(
            self._lmp, self._comm, self._execute, self.system, self._chains, self._checkpoint, out, wanted,
            self._stop_requested, tell,
        )  # fmt: skip
        with self._failures.translated():
            stage.run()
        return stage

    def _compare_bonds(self, before: Int64) -> None:
        """Warn where bonds are no longer those that production began with."""
        now = bond_pairs(self._lmp)
        if self._world.leads_md and not np.array_equal(now, before):
            pairs, others = set(map(tuple, before.tolist())), set(map(tuple, now.tolist()))
            self._warnings.append(
                f"bonds changed during production: {len(pairs - others)} of {len(pairs)} are gone and "
                f"{len(others - pairs)} are new; modes and D are those of the beads that were chains when it began"
            )

    def _begin_restarts(self) -> None:
        """Let LAMMPS write restart files as it runs, and one now where production begins."""
        if self._folder is None:
            return
        begin, version, before = self._lmp.extract_global("ntimestep"), self._lmp.version(), self._resumption
        record = MdRecord(begin, 0, self._comm.size, version, 0.0)
        if before is not None:
            record = replace(before.record, epoch=before.record.epoch + 1, md_ranks=self._comm.size, version=version)
        keep = None if self._stress is None else self._stress.keep
        self._restarts = RestartWriter(self._folder, record, self._lmp, self._execute, self._world.leads_md, keep)
        if before is None:
            self._restarts.write()
        self._restarts.write_every(self._options.checkpoint_every * self._every, alternates_restarts(self._deck))

    def _look_after_restarts(self, step: int) -> None:
        if self._restarts is not None:
            self._restarts.visit(step, self._elapsed())
        if self._stress is not None:
            self._stress.read()

    def _watch_stress(self) -> None:
        """Have the pressure tensor correlated from here on, where that is asked for."""
        if not self._options.stress:
            return
        self._stress = StressWatch(self._lmp, self._options.stress, self._kinetic, self._folder, self._world.leads_md)
        if self._resumption is not None and self._world.leads_md:
            self._stress.go_on(self._resumption.step)
            self._notes += self._stress.notes
        with self._failures.translated():
            self._stress.install()

    def _finish_stress(self) -> None:
        """Leave the correlated stress in the run's folder; frames do not depend on it."""
        if self._stress is None or not self._world.leads_md:
            return
        try:
            self._stress.finish()
            self._stress.write()
        except Exception as error:  # the other ranks do not know
            self._warnings.append(f"the stress is not written: {one_line(error)}")

    def _elapsed(self) -> float:
        """Return the wall seconds of production, those of earlier runs included."""
        before = 0.0 if self._resumption is None else self._resumption.record.md_s
        return before + time.perf_counter() - self._began

    def _report_deck_end(self) -> None:
        """Say where the deck's own run and the wanted frames differ."""
        step = self._lmp.extract_global("ntimestep")
        if self._files.cut:
            self._notes.append(
                f"the deck's production went on in a loop that only more steps would end: it was ended at step {step}"
            )
        if self._taker.verdict == ENOUGH and self._taker.cut_short:
            self._notes.append(
                f"MD ended at step {step} with the {self.n_frames} frames asked for; "
                "the rest of the deck's run is skipped"
            )
        elif self._taker.verdict == GO and not (self._wanted.to_the_end and self._wanted.total is None):
            wanted = self._taker.target or "those needed"
            self._notes.append(
                f"the deck's production ended at step {step} with {self.n_frames} frames (of {wanted}); "
                "MD went on with a run of its own"
            )

    def _run_on(self) -> None:
        """Run the steps that are missing, as one run."""
        if not self._lmp.has_id("fix", FIX_ID):
            raise RunFailure(f"{self._deck.path}: the deck removed fix {FIX_ID}, which takes the frames")
        steps, target, last_step = FAR_AHEAD, self._taker.target, self._taker.last_step
        if target is not None:
            now = self._lmp.extract_global("ntimestep")
            following = -(-now // self._every) * self._every
            if last_step is not None:
                following = max(following, last_step + self._every)
            steps = following + (target - self.n_frames - 1) * self._every - now
        if steps > LONGEST_RUN:
            raise UserError(
                f"{steps} more steps are more than LAMMPS can run at once ({LONGEST_RUN}): ask for fewer frames"
            )
        self._execute(f"timer timeout off\nrun {steps}")
        self._failures.raise_kept()
        if self._taker.verdict == GO and self._taker.target is None:
            self._taker.verdict = ENOUGH
            self._warnings.append(f"D's interval was not reached within {steps} steps: MD ended")
        elif self._taker.verdict == GO:
            raise RunFailure(
                f"LAMMPS ended its run at step {self._lmp.extract_global('ntimestep')} by itself, "
                f"after {self.n_frames} frames"
            )

    def _ending(self) -> Ending:
        self._taker.greet(self.system)
        return Ending(
            status="complete" if self._taker.verdict == ENOUGH else "interrupted",
            message="" if self._taker.verdict == ENOUGH else f"interrupted after {self.n_frames} frames",
            step=self._taker.last_step or self._lmp.extract_global("ntimestep"),
            md_s=self._elapsed(),
            callback_s=self._taker.callback_s,
            waits=self._sink.waits,
            warnings=(*self._warnings, *self._snapshots.warnings),
            notes=tuple(self._notes),
        )

    # ------------------------------------------------------------------ failures

    def _stop_requested_anywhere(self) -> bool:
        return any(self._comm.allgather(self._stop_requested()))

    def _execute(self, commands: str) -> None:
        """Have LAMMPS execute commands of the service's own."""
        with self._failures.translated():
            self._lmp.commands_string(commands)
