"""``python -m mlgle_lammps.replay STREAM``: do on a recorded stream or a trajectory what run does on a live one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlgle_lammps.api.streams import Journalled, open_streams
from mlgle_lammps.commands.execution import run_command
from mlgle_lammps.commands.parsers import parse_replay
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.resources.needs import needs_of, refusal, refuse_without_libraries
from mlgle_lammps.store.recorded import RecordedSource
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.surrogates.catalogue import find_surrogate


def _replay(arguments: Sequence[str]) -> int:
    streams, trajectory, options = parse_replay(arguments)
    if options.out.resolve() in {path.resolve() for path in streams} | {path.resolve().parent for path in streams}:
        raise UserError(f"--out {options.out} holds the stream itself; choose another folder")
    if find_surrogate(options.surrogate).learn_runs is not None:
        return _replay_runs(streams, options)
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


def _replay_runs(paths: Sequence[Path], options: LearnOptions) -> int:
    """Learn from runs of many molecules at once."""
    refuse_without_libraries()
    from mlgle_lammps.pipeline.molecules import learn_runs, read_runs

    runs = read_runs(paths)
    folder = RunFolder.create(options.out, options.overwrite)
    try:
        return learn_runs(runs, options, folder)
    except BaseException:
        if not folder.result.exists():
            folder.remove()
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("replay", _replay, arguments)
