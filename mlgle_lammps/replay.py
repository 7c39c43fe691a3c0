"""``python -m mlgle_lammps.replay STREAM``: do on a recorded stream what run does on a live one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from mlgle_lammps.acquire.recorded import RecordedSource
from mlgle_lammps.command import run_command
from mlgle_lammps.config import parse_replay
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Ending, Frame, FrameSource, System
from mlgle_lammps.report.store import RunFolder


class Journalled:
    """A source whose frames are journalled as they pass, as those of a live run are (a FrameSource)."""

    def __init__(self, source: FrameSource, folder: RunFolder) -> None:
        self._source = source
        self._journal = folder.open_journal(source.system)

    @property
    def system(self) -> System:
        """What the frames are about."""
        return self._source.system

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, each journalled first."""
        for frame in self._source:
            self._journal.append(frame)
            yield frame

    def hand_off(self) -> None:
        """Pass it on: what follows carries no modes."""
        self._source.hand_off()

    def broken(self) -> bool:
        """Whether the source is."""
        return self._source.broken()

    def ending(self) -> Ending:
        """Close the journal and return the source's ending."""
        self._journal.close()
        return self._source.ending()


def _replay(arguments: Sequence[str]) -> int:
    streams, options = parse_replay(arguments)
    if options.out.resolve() in {path.resolve() for path in streams} | {path.resolve().parent for path in streams}:
        raise UserError(f"--out {options.out} holds the stream itself; choose another folder")
    source = RecordedSource(streams, n_modes=options.modes)
    folder = RunFolder.create(options.out, options.overwrite)
    from mlgle_lammps.pipeline import learn

    try:
        return learn(Journalled(source, folder), options, folder)
    except BaseException:
        if not folder.result.exists():
            folder.remove()
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("replay", _replay, arguments)


if __name__ == "__main__":
    sys.exit(main())
