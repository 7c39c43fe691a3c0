"""The MD ranks' part of a run: the deck in LAMMPS, its frames to the trainer, or what a run would need."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from mlgle_lammps.acquire.constrained_stage import HeldWanted
from mlgle_lammps.acquire.deck import Deck
from mlgle_lammps.acquire.driver import INTERRUPTED_EARLY, Driver
from mlgle_lammps.acquire.failures import LostRank
from mlgle_lammps.acquire.wanted import RECORDED, FramesWanted
from mlgle_lammps.commands.faults import Faults
from mlgle_lammps.commands.rank import Rank, complain
from mlgle_lammps.directions import no_direction
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.options.declaring import as_flags
from mlgle_lammps.records import Ending, System
from mlgle_lammps.resources.held_needs import held_check_lines, held_refusal
from mlgle_lammps.resources.needs import check_lines, needs_of, record_lines, record_refusal, refusal
from mlgle_lammps.resources.progress import format_seconds
from mlgle_lammps.store.constrained_file import ConstrainedRun
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.surrogates.catalogue import Surrogate, find_surrogate, rehearsal_line

CHECK_STEPS = 200


def _holding(name: str) -> Surrogate | None:
    """Return the surrogate where it learns from centres that are held, None where not."""
    found = find_surrogate(name)
    return found if found.constrained else None


class MdSide:
    """Drives LAMMPS on an MD rank.

    Args:
        rank: this one.
        faults: ends the run where this rank fails alone.
        stop_requested: tells whether a signal asked to end.
    """

    def __init__(self, rank: Rank, faults: Faults, stop_requested: Callable[[], bool]) -> None:
        self._rank, self._faults, self._stop_requested = rank, faults, stop_requested
        self._world, self._learn_options = rank.world, rank.request.learn
        self._holding = None if rank.request.records_only else _holding(rank.request.learn.surrogate)

    def drive(self, deck: Deck) -> int:
        """Run MD to its end and tell the trainer how it ended; return the exit code."""
        rank, outbox = self._rank, self._rank.outbox
        assert outbox is not None
        if rank.resumption is not None and rank.resumption.ending is not None and rank.resumption.continuation is None:
            if self._world.leads_md:
                outbox.hello(rank.resumption.system)
                outbox.end(rank.resumption.ending)
            outbox.flush(60.0)
            return 0
        with ExitStack() as opened:  # LAMMPS closes once the trainer has heard how MD ended
            try:
                rank.driver = opened.enter_context(self._open(deck, self._learn_options.out / "log.lammps"))
                system = self._prepared(rank.driver, deck)
                self._refuse_what_cannot_fit(system)
                ending = self._produced(rank.driver)
                if self._world.leads_md:
                    outbox.end(ending)
                    if ending.status != "complete" and self._stop_requested():
                        print(f"mlgle run: {ending.message}; writing what there is", file=sys.stderr, flush=True)
                return 0
            except LostRank as error:
                opened.pop_all()  # LAMMPS closes on all ranks together, and the others hang
                self._faults.fail_alone(str(error), 1 if rank.driver and rank.driver.n_frames else 2)
                return error.exit_code
            except UserError as error:
                return self._tell_failure(error)
            finally:
                outbox.flush(60.0)

    def _produced(self, driver: Driver) -> Ending:
        """Run production, where it is not done, and what follows it; return how that ended."""
        rank, options = self._rank, self._learn_options
        done = None if rank.resumption is None else rank.resumption.ending
        if done is not None and self._world.leads_md:
            assert rank.outbox is not None
            rank.outbox.hello(driver.system)
        ending = driver.produce() if done is None else done
        if self._holding is None or ending.status != "complete":
            return ending
        stage = driver.hold(self._held_wanted(), RunFolder(options.out).constrained, _say_how_it_goes)
        if stage.n_done == stage.n_states:
            return ending
        message = f"interrupted in constrained run {stage.n_done + 1} of {stage.n_states}"
        return replace(ending, status="interrupted", message=message)

    def _held_wanted(self) -> HeldWanted:
        options = self._learn_options
        return HeldWanted(
            options.configurations, options.constrained_steps, options.force_every, options.longest_lag,
            options.pair_range,
        )  # fmt: skip

    def _tell_failure(self, error: UserError) -> int:
        """Tell people and the trainer why MD failed on all its ranks; return the exit code."""
        rank, failure = self._rank, error
        if self._stop_requested() and not (rank.driver and rank.driver.producing):
            failure = RunFailure(INTERRUPTED_EARLY)
        if self._world.leads_md:
            complain(failure)
            assert rank.outbox is not None
            rank.outbox.fail(as_flags(str(failure)), failure.exit_code)
        return failure.exit_code

    def check(self, deck: Deck) -> int:
        """Print what a run would need; return the exit code."""
        with self._open(deck, None) as driver:
            self._rank.driver = driver
            system = self._prepared(driver, deck)
            if self._holding is not None:
                return self._check_held(driver, system)
            seconds = driver.seconds_per_step(CHECK_STEPS)
        if self._world.leads_md and self._rank.request.records_only:
            print("\n".join(record_lines(system, self._rank.request.target_frames, seconds)), flush=True)
        elif self._world.leads_md:
            options = self._learn_options
            print("\n".join(check_lines(system, options, seconds)), flush=True)
            if not refusal(needs_of(system, options), options.out):
                print(rehearsal_line(system, options), flush=True)
        return 0

    def _check_held(self, driver: Driver, system: System) -> int:
        """Print what a run with constrained runs would need; return the exit code."""
        held = driver.held_seconds_per_step(CHECK_STEPS)
        seconds = driver.seconds_per_step(CHECK_STEPS)
        if self._world.leads_md:
            options = self._learn_options
            print("\n".join(map(as_flags, held_check_lines(system, options, seconds, held))), flush=True)
            if not held_refusal(system, options):
                print(rehearsal_line(system, options), flush=True)
        return 0

    def _open(self, deck: Deck, log_file: Path | None) -> Driver:
        rank, learn = self._rank, self._learn_options
        assert rank.outbox is not None
        options = rank.request.deck
        checkpoint = None if options.check else RunFolder(learn.out).checkpoint
        wanted = FramesWanted(learn.modes, learn.md_frames, learn.full_md)
        if self._holding is not None:
            wanted = FramesWanted(
                0, learn.production_frames, channels=self._holding.channels, states=learn.configurations
            )
        if rank.request.records_only:
            wanted = FramesWanted(
                learn.modes, rank.request.target_frames, channels=RECORDED, single=True, to_the_end=True
            )
        return Driver(
            self._world, deck, options, wanted, rank.outbox, log_file, self._stop_requested, checkpoint, rank.resumption
        )

    def _prepared(self, driver: Driver, deck: Deck) -> System:
        """Return what the frames will be about; raise UserError where chains can diffuse in no direction."""
        system = driver.prepare()
        if not system.directions.n and not self._rank.request.records_only and self._learn_options.directions is None:
            raise UserError(f"{deck.path}: {no_direction(system.directions)}")
        if self._holding is not None and system.box is not None:  # said now, and not after production
            self._held_wanted().plan(self._learn_options.force_every or 1, min(system.box[:3]))
        return system

    def _refuse_what_cannot_fit(self, system: System) -> None:
        """Raise UserError on all MD ranks where the first one finds too little memory or disk for the learning."""
        why = self._shortage(system) if self._world.leads_md else ""
        if why := self._world.md_comm.bcast(why, root=0):
            raise UserError(why)

    def _shortage(self, system: System) -> str:
        """Return what memory or disk lack, "" where nothing."""
        request, options = self._rank.request, self._learn_options
        if request.records_only:
            return record_refusal(system, request.target_frames, options.out)
        if self._holding is not None:
            return held_refusal(system, options)
        return refusal(needs_of(system, options), options.out)


def _say_how_it_goes(record: ConstrainedRun, n_done: int, n_runs: int, seconds_left: float) -> None:
    """Print a line about a constrained run that is done."""
    left = f", about {format_seconds(seconds_left)} left" if n_done < n_runs else ""
    print(
        f"mlgle run: constrained run {n_done} of {n_runs}: {format_seconds(record.seconds)}, kT {record.kT:.4g}, "
        f"energy drift {record.energy_drift:.1g} kT a bead, centres still to {record.centre_drift:.1g}{left}",
        file=sys.stderr,
        flush=True,
    )
