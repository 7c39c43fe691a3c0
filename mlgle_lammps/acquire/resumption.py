"""Where a run that was ended goes on: its frames so far, the restart file, the deck that starts from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mlgle_lammps.acquire.checkpoint import RECORD, MdRecord, newest_whole, read_record
from mlgle_lammps.acquire.continuation import Continuation, continued
from mlgle_lammps.acquire.deck import Deck
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Ending, Frames, System
from mlgle_lammps.store.journal import chunk_paths, journalled_frames, read_chunk, read_ending, read_journal_system

LONGEST_SAID = 80
"""Letters of a value that a message shows."""


@dataclass(frozen=True)
class Resumption:
    """What MD needs to go on.

    Attributes:
        system: what the stream is about.
        n_frames: frames so far.
        last: the last of them.
        record: how MD stood.
        step: of the restart file.
        continuation: the deck that goes on from it; None where MD has nothing left to do.
        ending: how the stream ended, where it is complete.
    """

    system: System
    n_frames: int
    last: Frames
    record: MdRecord
    step: int
    continuation: Continuation | None
    ending: Ending | None

    def seamless(self, md_ranks: int, version: int) -> bool:
        """Return whether what comes now belongs to the same uninterrupted piece as the last frame.

        That is so where nothing is drawn at random, the ranks and LAMMPS are the same, and either no step is done
        again or each comes out as before to the last bit.
        """
        if self.continuation is None or not self.continuation.exact:
            return False
        if (md_ranks, version) != (self.record.md_ranks, self.record.version):
            return False
        again = self.step < self.last.last_step
        return self.step <= self.last.last_step + self.system.every and (self.continuation.bitwise or not again)


def plan_resumption(
    folder: Path, deck: Deck, target: int | None, unchanged: bool, holds: bool = False
) -> Resumption | None:
    """Return where the run whose checkpoints lie in ``folder`` goes on, None where production had not begun.

    Args:
        folder: checkpoint folder.
        deck: as it was when the run began.
        target: frames wanted in all; None where the interval of D decides.
        unchanged: no option that decides on the number of frames was changed.
        holds: constrained runs follow production: LAMMPS is needed until the stream has ended.

    Raises:
        UserError: the files there are damaged, or nothing is left to go on from.
    """
    paths = chunk_paths(folder)
    if not paths:
        return None
    system = read_journal_system(folder)
    n_frames = sum(len(read_chunk(path, system).steps) for path in paths)
    frames = list(journalled_frames(paths[-1:], system))
    if not frames:
        raise UserError(f"{paths[-1]} holds no frame")
    last = frames[-1].copy()
    ending, record = read_ending(folder), read_record(folder)
    if ending is not None and (unchanged if target is None else n_frames >= target):
        return Resumption(system, n_frames, last, record, last.last_step, None, ending)
    done = None
    if target is not None and n_frames >= target:
        done = Ending(step=last.last_step, md_s=record.md_s)
        if not holds:
            return Resumption(system, n_frames, last, record, last.last_step, None, done)
    newest = newest_whole(folder, record)
    if newest is None:
        raise UserError(
            f"{folder / RECORD} names no restart file that is whole, so MD cannot go on; the {n_frames} frames can "
            f"still be learned from: python -m mlgle_lammps.replay {folder.parent}"
        )
    continuation = continued(deck, folder / newest.name, record.begin, record.epoch + 1)
    if continuation.bitwise:
        newest = newest_whole(folder, record, last.last_step) or newest
        continuation = continued(deck, folder / newest.name, record.begin, record.epoch + 1)
    step = newest.step if done is None else last.last_step
    return Resumption(system, n_frames, last, record, step, continuation, done)


def refuse_another_system(path: Path, now: System, before: System) -> None:
    """Raise UserError where a deck's melt is not that of the run before.

    Args:
        path: of the deck.
        now: what its frames would be about.
        before: what they were about.
    """
    for name in ("n_chains", "n_beads", "n_modes", "dt", "every", "units", "channels", "edges", "others"):
        if getattr(now, name) != getattr(before, name):
            found, known = (str(getattr(system, name))[:LONGEST_SAID] for system in (now, before))
            raise UserError(f"{path}: {name} is {found}, and was {known} when the run began")
    if now.whole_molecules != before.whole_molecules:
        raise UserError(
            f"{path}: centres are those of whole molecules by mass, and were those of the chains' beads when the run "
            "began: start a run of its own"
        )


def same_frame(one: Frames, again: Frames) -> bool:
    """Return whether a frame done again is the journalled one to the last bit, whatever its segment."""
    return one.same_bits(replace(again, segments=one.segments))
