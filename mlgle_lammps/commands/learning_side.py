"""The trainer's part of a run: frames into the journal and into the learning, and kept where learning fails."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import replace

from mlgle_lammps.commands.rank import Rank, complain
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Ending, System
from mlgle_lammps.store.journal import chunk_paths, journalled_frames, write_ending
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.stream.transport import Inbox


class LearningSide:
    """Learns from the stream on the rank, or in the thread, that takes it.

    Attributes:
        code: exit code so far.
    """

    def __init__(self, rank: Rank) -> None:
        self._rank, self._options, self._learn_options = rank, rank.request.deck, rank.request.learn
        self.code = 0

    def learn(self) -> int:
        """Learn from the stream until it ends; keep and return the exit code."""
        inbox = self._rank.inbox
        assert inbox is not None
        try:
            self.code = self._learn_from(inbox)
        except Exception as error:
            complain(error if isinstance(error, UserError) else f"{type(error).__name__} while learning: {error}")
            if os.environ.get("MLGLE_DEBUG") == "1":
                traceback.print_exc()
            self.code = error.exit_code if isinstance(error, UserError) else 1
            self._save_stream(inbox, error)
        if inbox.alone:
            self._rank.world.abort(max(self.code, 1))
        return self.code

    def _save_stream(self, inbox: Inbox, failure: Exception) -> None:
        """End MD, or let it go on to its end, and keep its frames, where learning has failed."""
        folder = self._rank.folder
        assert folder is not None
        if self._options.on_trainer_failure == "record" and inbox.begun:  # else there is no journal
            print("mlgle run: MD goes on and is recorded", file=sys.stderr, flush=True)
            inbox.record_on(self._learn_options.learn_frames)
        else:
            inbox.stop()
        ending = inbox.ending()
        try:
            folder.assemble_modes(ending)
        except UserError as error:
            if str(error) != str(failure):
                complain(error)

    def _learn_from(self, inbox: Inbox) -> int:
        folder, world = self._rank.folder, self._rank.world
        assert folder is not None
        try:
            system = inbox.wait_for_system()
        except UserError as error:  # the MD side has said it
            if self._rank.request.resume is None:
                folder.remove()
            return error.exit_code
        _journal_frames(inbox, folder, system)
        if self._rank.request.records_only:
            from mlgle_lammps.pipeline.recording import record

            return record(inbox, folder, self._options, self._learn_options.frames)
        from mlgle_lammps.pipeline.learning import learn
        from mlgle_lammps.resources.compute import available_cores, give_way

        give_way()
        left = max(1, available_cores() - max(1, world.size - 1))
        options = replace(self._learn_options, threads=self._learn_options.threads or left)
        return learn(inbox, options, folder, self._options.settings)


def _journal_frames(inbox: Inbox, folder: RunFolder, system: System) -> None:
    """Let frames in, behind those of an earlier run, and each into the journal."""
    recorded = chunk_paths(folder.checkpoint)
    journal = folder.open_journal(system)

    def on_end(ending: Ending) -> None:
        journal.close()
        if ending.status == "complete":
            write_ending(folder.checkpoint, ending)

    inbox.begin(journal.append, on_end, journal.tick, journalled_frames(recorded, system))
