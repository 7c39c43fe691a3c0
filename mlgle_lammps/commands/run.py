"""Run a LAMMPS deck and learn its chains' diffusion while it runs: ``python -m mlgle_lammps.run DECK``.

With two or more MPI ranks the last one learns and the others do MD; in a single process a thread learns.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.deck import Deck, read_deck
from mlgle_lammps.acquire.driver import INTERRUPTED_EARLY, Driver, LostRank
from mlgle_lammps.acquire.resumption import Resumption, plan_resumption
from mlgle_lammps.commands.execution import set_up_logging
from mlgle_lammps.commands.parsers import parse_run
from mlgle_lammps.commands.stop_requests import StopRequests, slurm_seconds_left
from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.options.deck import RunRequest
from mlgle_lammps.records import Ending, System
from mlgle_lammps.resources.needs import check_lines, needs_of, refusal, refuse_without_libraries
from mlgle_lammps.store.journal import chunk_paths, journalled_frames, write_ending
from mlgle_lammps.store.origin import write_origin
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.stream.links import RankLink, ThreadLink
from mlgle_lammps.stream.transport import Inbox, Outbox
from mlgle_lammps.surrogates.catalogue import rehearsal_line

SAVE_SECONDS = 8.0  # for partial results, once a rank failed alone
ABORT_SECONDS = 9.0  # after which the failed rank ends the run itself
CHECK_STEPS = 200
ENDED_BY_LAMMPS = (
    "LAMMPS ended the program: by an error that log.lammps tells, where LAMMPS was built without exceptions, or by a "
    "'quit' that the deck's text does not show"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, the same on all ranks."""
    try:
        with contextlib.redirect_stdout(sys.stdout if mpi.launched_rank() == 0 else io.StringIO()):  # --help, once
            arguments = sys.argv[1:] if argv is None else argv
            request = parse_run(arguments)
        world = mpi.start()
    except UserError as error:
        if mpi.launched_rank() == 0:
            complain(error)
        return error.exit_code
    return _Run(world, request, tuple(arguments)).main()


def complain(error: object) -> None:
    """Print one line on stderr."""
    print(f"mlgle run: error: {one_line(error)}", file=sys.stderr, flush=True)
    if os.environ.get("MLGLE_DEBUG") == "1" and isinstance(error, BaseException):
        traceback.print_exception(error)


class _Run:
    """One run on one rank."""

    def __init__(self, world: mpi.World, request: RunRequest, arguments: tuple[str, ...]) -> None:
        self.world, self.request, self.arguments = world, request, arguments
        self.options, self.learn_options = request.deck, request.learn
        self.resumption: Resumption | None = None
        self.finished = False
        self.stop = StopRequests(self._hurry, self._end_preparation)
        self.folder: RunFolder | None = None
        self.driver: Driver | None = None
        self.inbox: Inbox | None = None
        self.learning: threading.Thread | None = None
        self.learn_code = 0
        self.outbox = self._connect()

    def _connect(self) -> Outbox | None:
        """Make the ends of the stream that this rank has."""
        if self.world.size == 1:
            md_side, trainer_side = ThreadLink.pair()
            self.inbox = Inbox(trainer_side)
            return Outbox(md_side)
        if self.world.trains:
            self.inbox = Inbox(RankLink(self.world.stream_comm, 0), self._abort_soon)
            return None
        return Outbox(RankLink(self.world.stream_comm, self.world.trainer))

    def main(self) -> int:
        """Do this rank's part; return the exit code that all ranks agree on."""
        sys.excepthook = self._on_unforeseen
        if self.world.md_comm is not None:
            self.world.at_finalize(self._on_finalize)
        if self.world.trains:
            set_up_logging()
        self.stop.listen(None if self.options.check else self.options.wall_limit or slurm_seconds_left())
        if self.world.size > 1:
            self.stop.watch_launcher(self._launcher_died)
        try:
            deck = self.world.together(self._read_deck)
            self._settle_folder(deck)
            if not self.options.check:
                self.world.together(lambda: self._open_folder(deck.digest), root=self.world.trainer)
                self.resumption = self.world.together(lambda: self._plan(deck), root=self.world.trainer)
            code = self._check(deck) if self.options.check else self._go(deck)
        except UserError as error:
            if self.world.leads_md:
                complain(error)
            code = error.exit_code
        code = self.world.agree_on_exit(code)
        if self.inbox is not None:
            self.inbox.close()
        self.finished = True
        self._tell_how_to_go_on(code)
        return code

    def _tell_how_to_go_on(self, code: int) -> None:
        """Say how an interrupted run goes on."""
        folder = self.folder
        if folder is None or not (self.stop.requested or code == 1) or not chunk_paths(folder.checkpoint):
            return
        launcher = f"mpirun -n {self.world.size} " if self.world.size > 1 else ""
        path = shlex.quote(str(folder.path))
        line = f"go on with: {launcher}python -m mlgle_lammps.run --resume {path}"
        print(f"mlgle run: {line}", file=sys.stderr, flush=True)

    def _read_deck(self) -> Deck:
        deck = read_deck(self.options.deck, self.options.variables, max(1, self.world.size - 1))
        if self.request.resume is not None and deck.digest != self.request.digest:
            raise UserError(
                f"{deck.path}, or a file that it includes, has changed since the run began: put it back, or start a "
                "run of its own"
            )
        return deck

    def _settle_folder(self, deck: Deck) -> None:
        """Make names absolute where the deck may change the working directory under this program."""
        if deck.changes_folder:
            self.learn_options = replace(self.learn_options, out=self.learn_options.out.absolute())
            if self.request.resume is not None:
                self.request = replace(self.request, resume=self.request.resume.absolute())

    def _open_folder(self, digest: str) -> None:
        """Make the result folder, or open that of the run that goes on, and keep other runs out of it."""
        refuse_without_libraries(with_lammps=self.world.size == 1)
        from mlgle_lammps.resources.compute import resolve_device

        resolve_device(self.learn_options.device)
        if self.request.resume is not None:
            self.folder = RunFolder.open(self.request.resume)
            self.folder.hold()
        else:
            self.folder = RunFolder.create(self.learn_options.out, self.learn_options.overwrite)
            self.folder.hold()
            write_origin(self.folder.checkpoint, self.arguments, digest)

    def _plan(self, deck: Deck) -> Resumption | None:
        """Return where an earlier run goes on; None where this one is new, or production had not begun."""
        if self.request.resume is None:
            return None
        learn = self.learn_options
        assert self.folder is not None
        plan = plan_resumption(self.folder.checkpoint, deck, learn.md_frames, not self.request.changed)
        if plan is not None and "modes" in self.request.changed and learn.modes > plan.system.n_modes:
            raise UserError(f"--modes cannot be raised when a run goes on: {plan.system.n_modes} were recorded")
        return plan

    def _go(self, deck: Deck) -> int:
        """Start MD, learning, or both."""
        if self.world.size > 1:
            return self._learn() if self.world.trains else self._drive(deck)
        sys.setswitchinterval(5e-4)  # so that MD's callback need not wait long for the interpreter
        self.learning = threading.Thread(target=self._learn, name="mlgle-learning", daemon=True)
        self.learning.start()
        code = self._drive(deck)
        while self.learning.is_alive():
            self.learning.join(0.1)
        return max(code, self.learn_code)

    # ------------------------------------------------------------------ MD side

    def _drive(self, deck: Deck) -> int:
        """Run MD to its end and tell the trainer how it ended."""
        assert self.outbox is not None
        if self.resumption is not None and self.resumption.ending is not None:
            if self.world.leads_md:
                self.outbox.hello(self.resumption.system)
                self.outbox.end(self.resumption.ending)
            self.outbox.flush(60.0)
            return 0
        with contextlib.ExitStack() as opened:  # MD closes once the trainer has heard how it ended
            try:
                self.driver = opened.enter_context(self._open(deck, self.learn_options.out / "log.lammps"))
                self._refuse_what_cannot_fit(self.driver.prepare())
                ending = self.driver.produce()
                if self.world.leads_md:
                    self.outbox.end(ending)
                    if self.stop.requested:
                        print(f"mlgle run: {ending.message}; writing what there is", file=sys.stderr, flush=True)
                return 0
            except LostRank as error:
                opened.pop_all()  # LAMMPS closes on all ranks together, and the others hang
                self._fail_alone(str(error), 1 if self.driver and self.driver.n_frames else 2)
                return error.exit_code
            except UserError as error:
                failure: UserError = error
                if self.stop.requested and not (self.driver and self.driver.producing):
                    failure = RunFailure(INTERRUPTED_EARLY)
                if self.world.leads_md:
                    complain(failure)
                    self.outbox.fail(str(failure), failure.exit_code)
                return failure.exit_code
            finally:
                self.outbox.flush(60.0)

    def _refuse_what_cannot_fit(self, system: System) -> None:
        """Raise UserError on all MD ranks where the first one finds too little memory or disk for the learning."""
        why = refusal(needs_of(system, self.learn_options), self.learn_options.out) if self.world.leads_md else ""
        if why := self.world.md_comm.bcast(why, root=0):
            raise UserError(why)

    def _open(self, deck: Deck, log_file: Path | None) -> Driver:
        assert self.outbox is not None
        checkpoint = None if self.options.check else RunFolder(self.learn_options.out).checkpoint
        return Driver(
            self.world, deck, self.options, self.learn_options, self.outbox, log_file, lambda: self.stop.requested,
            checkpoint, self.resumption,
        )  # fmt: skip

    def _check(self, deck: Deck) -> int:
        """Print what a run would need."""
        if self.world.md_comm is None:
            return 0
        with self._open(deck, None) as self.driver:
            system = self.driver.prepare()
            seconds = self.driver.seconds_per_step(CHECK_STEPS)
        if self.world.leads_md:
            options = self.learn_options
            print("\n".join(check_lines(system, options, seconds)), flush=True)
            if not refusal(needs_of(system, options), options.out):
                print(rehearsal_line(system, options), flush=True)
        return 0

    # ------------------------------------------------------------------ trainer side

    def _learn(self) -> int:
        """Learn from the stream until it ends; keep and return the exit code."""
        assert self.inbox is not None
        try:
            self.learn_code = self._learn_from(self.inbox)
        except Exception as error:
            complain(error if isinstance(error, UserError) else f"{type(error).__name__} while learning: {error}")
            if os.environ.get("MLGLE_DEBUG") == "1":
                traceback.print_exc()
            self._save_stream(self.inbox, error)
            self.learn_code = error.exit_code if isinstance(error, UserError) else 1
        if self.inbox.alone:
            self.world.abort(max(self.learn_code, 1))
        return self.learn_code

    def _save_stream(self, inbox: Inbox, failure: Exception) -> None:
        """End MD, or let it go on to its end, and keep its frames, where learning has failed."""
        assert self.folder is not None
        if self.options.on_trainer_failure == "record" and inbox.begun:  # else there is no journal
            print("mlgle run: MD goes on and is recorded", file=sys.stderr, flush=True)
            inbox.record_on(self.learn_options.learn_frames)
        else:
            inbox.stop()
        ending = inbox.ending()
        try:
            self.folder.assemble_modes(ending)
        except UserError as error:
            if str(error) != str(failure):
                complain(error)

    def _learn_from(self, inbox: Inbox) -> int:
        assert self.folder is not None
        try:
            system = inbox.wait_for_system()
        except UserError as error:  # the MD side has said it
            if self.request.resume is None:
                self.folder.remove()
            return error.exit_code
        self._journal_frames(inbox, self.folder, system)
        from mlgle_lammps.pipeline.learning import learn
        from mlgle_lammps.resources.compute import available_cores

        left = max(1, available_cores() - max(1, self.world.size - 1))
        options = replace(self.learn_options, threads=self.learn_options.threads or left)
        return learn(inbox, options, self.folder, self.options.settings)

    def _journal_frames(self, inbox: Inbox, folder: RunFolder, system: System) -> None:
        """Let frames in, behind those of an earlier run, and each into the journal."""
        recorded = chunk_paths(folder.checkpoint)
        journal = folder.open_journal(system)

        def on_end(ending: Ending) -> None:
            journal.close()
            if ending.status == "complete":
                write_ending(folder.checkpoint, ending)

        inbox.begin(journal.append, on_end, journal.tick, journalled_frames(recorded, system))

    # ------------------------------------------------------------------ signals and faults

    def _hurry(self) -> None:
        if self.inbox is not None:
            self.inbox.hurry()

    def _end_preparation(self) -> None:
        """End what comes before production: there is no callback yet that could."""
        if self.driver is None or self.driver.producing or self.resumption is not None:
            return
        if self.world.md_comm.size == 1:
            self.driver.skip_runs()
            timer = threading.Timer(SAVE_SECONDS, self._end_reading)
            timer.daemon = True
            timer.start()
        elif self.world.leads_md:
            self._fail_alone(INTERRUPTED_EARLY, 1)

    def _end_reading(self) -> None:
        """End the program where the deck still goes on, in a loop that only a run would end."""
        if self.driver is not None and self.driver.reading:
            self._fail_alone(INTERRUPTED_EARLY, 1)

    def _launcher_died(self) -> None:
        """End this rank soon: nobody else would end the ranks together now."""
        complain("the MPI launcher has died")
        time.sleep(SAVE_SECONDS)
        os._exit(1)

    def _on_unforeseen(self, kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        """End all ranks when this one fails by an exception that nobody expected."""
        if os.environ.get("MLGLE_DEBUG") == "1":
            traceback.print_exception(kind, error, where)
        self._fail_alone(f"{kind.__name__} on rank {self.world.rank}: {error}", 1)

    def _on_finalize(self) -> None:
        if not self.finished:
            self._fail_alone(ENDED_BY_LAMMPS, 1)

    def _fail_alone(self, message: str, code: int) -> None:
        """Say what happened, let the trainer save what there is, and end all ranks."""
        if self.finished:
            return
        self.finished = True
        complain(message)
        until = time.monotonic() + ABORT_SECONDS
        if self.outbox is not None:
            self.outbox.fail(message, code, alone=self.world.size > 1)
            self.outbox.flush(1.0)
            while time.monotonic() < until and (self.learning is None or self.learning.is_alive()):
                time.sleep(0.05)
        self.world.abort(code)

    def _abort_soon(self, message: str) -> None:
        """Abort from the trainer, once it had time to save."""
        timer = threading.Timer(SAVE_SECONDS, self.world.abort, args=(1,))
        timer.daemon = True
        timer.start()
