"""Run a LAMMPS deck and learn its chains' diffusion while it runs: ``python -m mlgle_lammps.run DECK``.

With two or more MPI ranks the last one learns and the others do MD; in a single process a thread learns.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shlex
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.deck import Deck, read_deck
from mlgle_lammps.acquire.resumption import Resumption, plan_resumption
from mlgle_lammps.commands.execution import set_up_logging
from mlgle_lammps.commands.faults import Faults, abort_soon
from mlgle_lammps.commands.learning_side import LearningSide
from mlgle_lammps.commands.md_side import MdSide
from mlgle_lammps.commands.parsers import parse_run
from mlgle_lammps.commands.rank import Rank, complain
from mlgle_lammps.commands.stop_requests import StopRequests, slurm_seconds_left
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.deck import RunRequest
from mlgle_lammps.resources.needs import refuse_without_libraries
from mlgle_lammps.store.journal import chunk_paths
from mlgle_lammps.store.origin import read_origin, write_origin
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.surrogates.catalogue import find_surrogate

logger = logging.getLogger("mlgle")


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


class _Run:
    """One run on one rank."""

    def __init__(self, world: mpi.World, request: RunRequest, arguments: tuple[str, ...]) -> None:
        self.world, self.options = world, request.deck
        self.rank = Rank(world, request, arguments)
        self.faults = Faults(self.rank)
        self.stop = StopRequests(self.faults.hurry, self.faults.end_preparation)
        self.rank.connect(lambda message: abort_soon(world))

    def main(self) -> int:
        """Do this rank's part; return the exit code that all ranks agree on."""
        sys.excepthook = self.faults.on_unforeseen
        if self.world.runs_md:
            self.world.at_finalize(self.faults.on_finalize)
        if self.world.trains:
            set_up_logging()
        self.stop.listen(None if self.options.check else self.options.wall_limit or slurm_seconds_left())
        if self.world.size > 1:
            self.stop.watch_launcher(self.faults.launcher_died)
        try:
            deck = self.world.together(self._read_deck)
            self._settle_folder(deck)
            if not self.options.check:
                self.world.together(lambda: self._open_folder(deck), root=self.world.trainer)
                self.rank.resumption = self.world.together(lambda: self._plan(deck), root=self.world.trainer)
            code = self._go(deck)
        except UserError as error:
            if self.world.leads_md:
                complain(error)
            code = error.exit_code
        code = self.world.agree_on_exit(code)
        if self.rank.inbox is not None:
            self.rank.inbox.close()
        self.rank.finished = True
        self._tell_how_to_go_on(code)
        return code

    def _tell_how_to_go_on(self, code: int) -> None:
        """Say how an interrupted run goes on."""
        folder = self.rank.folder
        if folder is None or not (self.stop.requested or code == 1) or not chunk_paths(folder.checkpoint):
            return
        launcher = f"mpirun -n {self.world.size} " if self.world.size > 1 else ""
        words = ("--resume", str(folder.path)) if self.rank.request.resume is None else self.rank.arguments
        line = f"go on with: {launcher}python -m mlgle_lammps.run {shlex.join(words)}"
        print(f"mlgle run: {line}", file=sys.stderr, flush=True)

    def _read_deck(self) -> Deck:
        deck = read_deck(self.options.deck, self.options.variables, max(1, self.world.size - 1))
        if self.rank.request.resume is not None and deck.digest != self.rank.request.digest:
            raise UserError(
                f"{deck.path}, or a file that it includes, has changed since the run began: put it back, or start a "
                "run of its own"
            )
        return deck

    def _settle_folder(self, deck: Deck) -> None:
        """Make names absolute where the deck may change the working directory under this program."""
        if deck.changes_folder:
            request = self.rank.request
            resume = None if request.resume is None else request.resume.absolute()
            learn = replace(request.learn, out=request.learn.out.absolute())
            self.rank.request = replace(request, learn=learn, resume=resume)

    def _open_folder(self, deck: Deck) -> None:
        """Make the result folder, or open that of the run that goes on, and keep other runs out of it."""
        refuse_without_libraries(with_lammps=self.world.size == 1)
        request = self.rank.request
        if not request.records_only:
            from mlgle_lammps.resources.compute import resolve_device

            resolve_device(request.learn.device)
        if request.resume is not None:
            folder = self.rank.folder = RunFolder.open(request.resume)
            folder.hold()
            began, now = Path(read_origin(folder.checkpoint).folder), Path.cwd()
            if began.is_dir() and not began.samefile(now):
                logger.warning(
                    "warning: the run began in %s; its deck's relative file names are taken from %s", began, now
                )
        else:
            folder = self.rank.folder = RunFolder.create(request.learn.out, request.learn.overwrite)
            folder.hold()
            write_origin(folder.checkpoint, self.rank.arguments, deck.digest, deck.tables)

    def _plan(self, deck: Deck) -> Resumption | None:
        """Return where an earlier run goes on; None where this one is new, or production had not begun."""
        request, learn = self.rank.request, self.rank.request.learn
        if request.resume is None:
            return None
        assert self.rank.folder is not None
        held = not request.records_only and find_surrogate(learn.surrogate).constrained
        target = learn.production_frames if held else request.target_frames
        plan = plan_resumption(
            self.rank.folder.checkpoint, deck, target, not request.changed, held
        )  # fmt: skip
        if plan is not None and "modes" in request.changed and learn.modes > plan.system.n_modes:
            raise UserError(f"--modes cannot be raised when a run goes on: {plan.system.n_modes} were recorded")
        return plan

    def _go(self, deck: Deck) -> int:
        """Start MD, learning, or both; or print what a run would need."""
        md = MdSide(self.rank, self.faults, lambda: self.stop.requested)
        if self.options.check:
            return md.check(deck) if self.world.runs_md else 0
        learner = LearningSide(self.rank)
        if self.world.size > 1:
            return learner.learn() if self.world.trains else md.drive(deck)
        sys.setswitchinterval(5e-4)  # so that MD's callback need not wait long for the interpreter
        self.rank.learning = threading.Thread(target=learner.learn, name="mlgle-learning", daemon=True)
        self.rank.learning.start()
        code = md.drive(deck)
        while self.rank.learning.is_alive():
            self.rank.learning.join(0.1)
        return max(code, learner.code)
