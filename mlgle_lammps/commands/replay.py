"""``python -m mlgle_lammps.replay STREAM``: do on a recorded stream or a trajectory what run does on a live one."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mlgle_lammps.api.streams import Journalled, open_source
from mlgle_lammps.commands.execution import run_command
from mlgle_lammps.commands.parsers import parse_replay
from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.formats.imd import is_address
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.options.species import EVERY
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.resources.needs import needs_of, refusal, refuse_without_libraries
from mlgle_lammps.store.constrained_file import read_constrained
from mlgle_lammps.store.recorded import RecordedSource
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.surrogates.catalogue import find_surrogate

logger = logging.getLogger("mlgle")


def _replay(arguments: Sequence[str]) -> int:
    streams, trajectory, options = parse_replay(arguments)
    if trajectory.species == EVERY:
        return _replay_every_species(streams, trajectory, options)
    return _replay_one(streams, trajectory, options)


def _replay_every_species(streams: Sequence[Path], trajectory: TrajectoryOptions, options: LearnOptions) -> int:
    """Learn from and generate each species that has modes, each in a folder of its own below OUT."""
    if live := next(filter(is_address, streams), None):
        raise UserError(f"`species` {EVERY}: {live} can be read once only; name one, and replay its run for the others")
    if RunFolder(options.out).result.exists():
        raise UserError(f"--out {options.out} holds a run; each species gets a folder below it, choose another")
    system = open_source(streams, replace(trajectory, species=None), options.modes, options.memory + 1).system
    names = [system.main_name, *(own.name for own in system.others if "modes" in own.channels)]
    codes = []
    for name in names:
        out = options.out / re.sub(r"[^A-Za-z0-9.]+", "-", name)
        logger.info("species '%s', in %s", name, out)
        codes.append(_replay_one(streams, replace(trajectory, species=name), replace(options, out=out)))
    return max(codes)


def _replay_one(streams: Sequence[Path], trajectory: TrajectoryOptions, options: LearnOptions) -> int:
    files = [path for path in streams if not is_address(path)]
    if options.out.resolve() in {path.resolve() for path in files} | {path.resolve().parent for path in files}:
        raise UserError(f"--out {options.out} holds the stream itself; choose another folder")
    surrogate = find_surrogate(options.surrogate)
    if surrogate.constrained or surrogate.learn_runs is not None:
        if given := ", ".join(trajectory.given):
            raise UserError(f"{given}: `surrogate` {options.surrogate} learns from runs as they were recorded")
        return _replay_held(streams, options) if surrogate.constrained else _replay_runs(streams, options)
    live = len(files) < len(streams)
    folder = _new_folder(options) if live else None  # before a simulation is let go on
    passing: Journalled | None = None
    try:
        source = open_source(streams, trajectory, options.modes, options.memory + 1, options.md_frames)
        refuse_without_libraries()
        if why := refusal(needs_of(source.system, options), options.out):
            raise UserError(why)
        folder = folder or _new_folder(options)
        from mlgle_lammps.pipeline.learning import learn

        passing = Journalled(source, folder)
        return learn(passing, options, folder)
    except BaseException:
        kept = live and folder is not None and passing is not None and _kept(passing, folder)
        if folder is not None and not kept and not folder.result.exists():
            folder.remove()
        raise


def _new_folder(options: LearnOptions) -> RunFolder:
    """Make the result folder and keep other commands out of it."""
    folder = RunFolder.create(options.out, options.overwrite)
    folder.hold()
    return folder


def _replay_held(streams: Sequence[Path], options: LearnOptions) -> int:
    """Learn again from the frames and the constrained runs of one run, which are copied."""
    if len(streams) > 1:
        raise UserError(f"{streams[1]}: `surrogate` {options.surrogate} learns from one run; give one folder")
    before = RunFolder(streams[0]).constrained
    if not before.is_dir():
        raise UserError(
            f"{streams[0]} holds no constrained runs: `surrogate` {options.surrogate} learns from a run of its own, "
            "made by mlgle run DECK, and not from frames alone"
        )
    read_constrained(before)
    source = RecordedSource(streams)
    wanted = find_surrogate(options.surrogate).channels
    if missing := ", ".join(name for name in wanted if name not in source.system.channels):
        raise UserError(f"{streams[0]}: its frames lack {missing}, which `surrogate` {options.surrogate} needs")
    refuse_without_libraries()
    folder = _new_folder(options)
    try:
        shutil.copytree(before, folder.constrained, ignore=shutil.ignore_patterns("*.tmp"))
    except OSError as error:
        folder.remove()
        raise UserError(f"cannot copy {before} to {folder.constrained}: {error.strerror or one_line(error)}") from None
    try:
        from mlgle_lammps.pipeline.learning import learn

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
    folder = _new_folder(options)
    try:
        return learn_runs(runs, options, folder)
    except BaseException:
        if not folder.result.exists():
            folder.remove()
        raise


def _kept(passing: Journalled, folder: RunFolder) -> bool:
    """Keep the frames of a simulation that nobody can read again; return whether there are any."""
    if folder.assemble_modes(passing.ending()) is None:
        return False
    logger.warning("the frames that came are kept: mlgle replay %s --out OTHER learns from them", folder.path)
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("replay", _replay, arguments)
