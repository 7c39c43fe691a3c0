"""``python -m mlgle_lammps.replay STREAM``: do on a recorded stream or a trajectory what run does on a live one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

from mlgle_lammps.commands.execution import run_command
from mlgle_lammps.commands.parsers import parse_replay
from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.h5md_particles import has_mode_stream
from mlgle_lammps.formats.single_frames import matching_paths
from mlgle_lammps.formats.tensor import is_torch_file
from mlgle_lammps.formats.trajectory import open_tensor, open_trajectories
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import Ending, Frames, FrameSource, System
from mlgle_lammps.resources.needs import needs_of, refusal, refuse_without_libraries
from mlgle_lammps.store.joining import join_recordings
from mlgle_lammps.store.recorded import RecordedSource
from mlgle_lammps.store.recording import Recording
from mlgle_lammps.store.run_folder import RunFolder


class Journalled:
    """A source whose frames are journalled as they pass, as those of a live run are (a FrameSource)."""

    def __init__(self, source: FrameSource, folder: RunFolder) -> None:
        self._source = source
        self._journal = folder.open_journal(source.system)

    @property
    def system(self) -> System:
        """What the frames are about."""
        return self._source.system

    def __iter__(self) -> Iterator[Frames]:
        """Yield the frames, each journalled first."""
        for frame in self._source:
            self._journal.append(frame)
            yield frame

    def hand_off(self) -> None:
        """Pass it on."""
        self._source.hand_off()

    def broken(self) -> bool:
        """Whether the source is."""
        return self._source.broken()

    def ending(self) -> Ending:
        """Close the journal and return the source's ending."""
        self._journal.close()
        return self._source.ending()


def open_streams(
    paths: Sequence[Path], options: TrajectoryOptions, n_modes: int, needed: int = 2
) -> list[Path | Recording]:
    """Return what the paths hold: recorded streams by their paths, trajectories and tensors as open recordings.

    What is of one run is joined: the same frames once, parts one after the other.

    Args:
        paths: files, folders, or patterns of file names; trajectories of one frame each are one together.
        options: of trajectories.
        n_modes: k wanted.
        needed: frames that an uninterrupted piece of a trajectory must have to be of use.

    Raises:
        UserError: a trajectory without topology, one that cannot be read, or its options where there is none.
    """
    opened: list[Path | Recording] = []
    trajectories: list[Path] = []
    for path in (found for given in paths for found in matching_paths(given)):
        if is_torch_file(path):
            opened.append(open_tensor(path, options))
        elif path.is_file() and path.suffix != ".npz" and not has_mode_stream(path):
            trajectories.append(path)
        else:
            opened.append(path)
    others = bool(opened)
    if trajectories:
        opened.extend(open_trajectories(trajectories, options, n_modes, needed))
    if replace(options, species=None) != TrajectoryOptions() and all(isinstance(entry, Path) for entry in opened):
        given = [f"--{field.name}" for field in fields(options) if getattr(options, field.name) != field.default]
        raise UserError(f"{', '.join(given)}: for trajectories only, and {paths[0]} is a recorded stream or missing")
    return join_recordings(opened) if others and len(opened) > 1 else opened


def _replay(arguments: Sequence[str]) -> int:
    streams, trajectory, options = parse_replay(arguments)
    if options.out.resolve() in {path.resolve() for path in streams} | {path.resolve().parent for path in streams}:
        raise UserError(f"--out {options.out} holds the stream itself; choose another folder")
    opened = open_streams(streams, trajectory, options.modes, options.memory + 1)
    source = RecordedSource(opened, n_modes=options.modes, species=trajectory.species)
    refuse_without_libraries()
    if why := refusal(needs_of(source.system, options), options.out):
        raise UserError(why)
    folder = RunFolder.create(options.out, options.overwrite)
    from mlgle_lammps.pipeline.learning import learn

    try:
        return learn(Journalled(source, folder), options, folder)
    except BaseException:
        if not folder.result.exists():
            folder.remove()
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("replay", _replay, arguments)
