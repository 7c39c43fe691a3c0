"""Surrogates of many molecules: learned from recorded runs of each, moved on from the first frames of others."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.generate import GenerateOptions
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import CHAINS, Frames, System, joined
from mlgle_lammps.report.result import SCHEMA, versions
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.store.atomic import write_bytes_atomically
from mlgle_lammps.store.recording import checked_blocks, open_recording
from mlgle_lammps.store.run_folder import RunFolder, plain
from mlgle_lammps.store.writer import FramesWriter
from mlgle_lammps.surrogates.catalogue import find_surrogate, load_model

if TYPE_CHECKING:
    from mlgle_lammps.surrogates.cg_gnn.box_model import BoxModel
    from mlgle_lammps.surrogates.cg_gnn.model import CgGnnModel
    from mlgle_lammps.surrogates.contract import Model, Motion

logger = logging.getLogger("mlgle")
GENERATED = "generated.json"
"""What was generated, from what, and how long it took; beside generated.h5, or the folders of several molecules."""


@dataclass(frozen=True)
class RecordedRun:
    """One run.

    Attributes:
        path: of the run.
        system: what its frames are about.
        frames: with the channels "com" and "beads" of the main molecules, and "com" of others.
    """

    path: Path
    system: System
    frames: Frames

    @property
    def name(self) -> str:
        """Of the run's folder, or of its file."""
        return self.path.resolve().name if self.path.is_dir() else self.path.resolve().parent.name


def read_runs(paths: Sequence[Path], n_frames: int | None = None) -> list[RecordedRun]:
    """Return recorded runs; raise UserError where one holds no beads.

    Args:
        paths: of their folders.
        n_frames: frames to read of each, from the first; None for all.
    """
    return [_read(path, n_frames) for path in paths]


def _read(path: Path, n_frames: int | None) -> RecordedRun:
    recording = open_recording(path)
    if "beads" not in recording.system.channels:
        raise UserError(f"{path} holds no beads: record its deck with `surrogate` none")
    blocks, count = [], 0
    for block in checked_blocks(recording):
        channels = {name: {"com": own["com"]} for name, own in block.channels.items() if "com" in own}
        channels[CHAINS]["beads"] = block.channels[CHAINS]["beads"]
        kept = Frames(block.steps, block.segments, channels)
        blocks.append(kept if n_frames is None else kept[: n_frames - count])
        count += len(blocks[-1])
        if n_frames is not None and count >= n_frames:
            break
    return RecordedRun(path, recording.system, joined(blocks))


def learn_runs(runs: Sequence[RecordedRun], options: LearnOptions, folder: RunFolder) -> int:
    """Train a model on runs of many molecules; leave model.safetensors and result.json.

    Args:
        runs: of any molecules that have beads.
        options: of learning.
        folder: where results go.

    Returns:
        0.

    Raises:
        UserError: runs that cannot be learned from together.
    """
    from mlgle_lammps.resources.compute import available_cores, describe_device, resolve_device, use_threads

    surrogate = find_surrogate(options.surrogate)
    assert surrogate.learn_runs is not None
    device, threads = describe_device(resolve_device(options.device)), options.threads or available_cores()
    use_threads(threads)
    started = time.monotonic()
    model = surrogate.learn_runs([(run.system, run.frames, run.name) for run in runs], options, logger.info)
    seconds = time.monotonic() - started
    if _of_boxes(model):
        device = "cpu"  # where boxes are learned, whatever is there
    model.save(folder.model)
    folder.write_result(_learned(runs, options, model, seconds) | {"device": device, "threads": threads})
    folder.checkpoint.rmdir()
    for note in model.notes:
        logger.info("note: %s", note)
    logger.info("learned from %d runs in %.0f s; model in %s", len(runs), seconds, folder.model)
    return 0


def _learned(runs: Sequence[RecordedRun], options: LearnOptions, model: Model, seconds: float) -> JsonObject:
    first = runs[0].system
    return {
        "schema": SCHEMA, "status": "complete", "message": "", "source": f"{len(runs)} runs", "D": None,
        "surrogate": options.surrogate, "preset": options.preset, "seed": options.seed, "dt": model.dt,
        "time_unit": first.time_unit, "length_unit": first.length_unit, "k": model.n_modes, "m": model.memory,
        "runs": [
            {
                "path": str(run.path), "name": run.name, "frames": len(run.frames), "dt": run.system.dt,
                "molecules": run.system.n_chains, "beads": run.system.n_beads,
            }
            for run in runs
        ],
        "modes": [
            {"mode": own.mode, "model": own.model, "val_nll": own.val_nll, "core_nll": own.core_nll, **own.details}
            for own in model.reports
        ],
        "timing": {"train_s": seconds, "total_s": seconds}, "warnings": [], "notes": list(model.notes),
        "versions": versions(),
    }  # fmt: skip


# ------------------------------------------------------------------ generation


def generate_molecules(options: GenerateOptions) -> int:
    """Move molecules, or boxes of them, on from their own first frames; return 0.

    Molecules of one number of beads move side by side; boxes of several species, whose molecules see one another, by
    themselves.

    Leaves generated.h5 in the folder asked for, or in one of each run's name where there are several.

    Raises:
        UserError: a model of one stream, molecules that it was not made for, or a folder that is there, is a run's or
            the model's own.
    """
    model = _model_of(options)
    n_steps = options.steps if options.time is None else max(1, math.ceil(options.time / model.dt - 1e-9))
    if options.save_every > n_steps:
        raise UserError(f"`save_every` {options.save_every} is above the {n_steps} steps asked for")
    out = options.out or options.run / "generated"
    together = _of_boxes(model)
    count = options.boxes if together else options.trajectories
    runs = read_runs(options.start, max(2, model.memory * count))
    if len({run.name for run in runs}) < len(runs):
        raise UserError("two runs to start from have folders of one name: their results would have one too")
    folders = [RunFolder(out)] if len(runs) == 1 else [RunFolder(out / run.name) for run in runs]
    _require_other_folders([folder.path for folder in folders], [options.run, *options.start])
    for folder in folders:
        if folder.holds_md:
            raise UserError(f"{folder.path} is a run's folder, which is not replaced; choose another `out`")
    systems = [_system_of(model, run, options) for run in runs]
    # boxes move one after another, molecules of equally many beads side by side
    keys: list[object] = [i if together else run.system.n_beads for i, run in enumerate(runs)]
    written: list[JsonObject] = []
    unfinished: dict[int, None] = {}
    try:
        for i, folder in enumerate(folders):
            folders[i] = RunFolder.create(folder.path, options.overwrite)
            unfinished[i] = None
        for key in dict.fromkeys(keys):
            group = [i for i in range(len(runs)) if keys[i] == key]
            written += _generate(
                model, [runs[i] for i in group], [systems[i] for i in group], [folders[i] for i in group], n_steps,
                count, replace(options, seed=_seed_of(options.seed, group[0])),
            )  # fmt: skip
            for i in group:
                folders[i].forget_previous()
                del unfinished[i]
    except BaseException:
        for i in unfinished:
            folders[i].remove()  # what was there before comes back
        raise
    result = {
        "schema": SCHEMA, "model": str(options.run), "surrogate": model.surrogate, "preset": model.preset,
        "seed": options.seed, "ensemble": count, "steps": n_steps, "dt": model.dt,
        "time_unit": model.time_unit, "molecules": written, "versions": versions(),
    }  # fmt: skip
    write_bytes_atomically(out / GENERATED, (json.dumps(plain(result), indent=1) + "\n").encode())
    return 0


def _seed_of(seed: int, number: int) -> int:
    """Return the seed of what begins with a run of this number: one of its own for all but the first."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0]) if number else seed


def _require_other_folders(out: Sequence[Path], used: Sequence[Path]) -> None:
    """Raise UserError where results would take the place of what they are made from."""
    own = {(path if path.is_dir() else path.parent).resolve() for path in used}
    if taken := [path for path in out if path.resolve() in own]:
        raise UserError(f"`out` {taken[0]} holds the model or a run to start from; choose another folder")


def _model_of(options: GenerateOptions) -> CgGnnModel | BoxModel:
    path = RunFolder.open(options.run).find_model() if options.run.is_dir() else options.run
    model = load_model(path, options.surrogate)
    if find_surrogate(model.surrogate).learn_runs is None:
        raise UserError(f"{path} is a model of {model.surrogate}, of one melt: leave `start` out")
    return cast("CgGnnModel | BoxModel", model)


def _of_boxes(model: Model) -> bool:
    """Return whether a model moves boxes of several species, not molecules by themselves."""
    from mlgle_lammps.surrogates.cg_gnn.box_model import BoxModel

    return isinstance(model, BoxModel)


def _system_of(model: CgGnnModel | BoxModel, run: RecordedRun, options: GenerateOptions) -> System:
    """Return what will be generated of a run; raise UserError naming it where the model was not made for it."""
    from mlgle_lammps.surrogates.cg_gnn.box_model import BoxModel
    from mlgle_lammps.surrogates.cg_gnn.coarse_system import coarse_system

    units = (run.system.time_unit, run.system.length_unit)
    if units != (model.time_unit, model.length_unit):
        raise UserError(f"{run.path} is in {units}, the model in {(model.time_unit, model.length_unit)}")
    try:
        if isinstance(model, BoxModel):
            return model.generated_system(run.system, options.boxes, options.save_every)
        return coarse_system(model, run.system, options.trajectories, options.save_every)
    except UserError as error:
        raise UserError(f"{run.path}: {error}") from None


def _begin(
    model: CgGnnModel | BoxModel, runs: Sequence[RecordedRun], systems: Sequence[System], options: GenerateOptions
) -> Motion:
    """Begin molecules of several runs side by side, or the boxes of one run."""
    from mlgle_lammps.surrogates.cg_gnn.box_model import BoxModel

    starts = [(_beginning(run.frames), run.system) for run in runs]
    if isinstance(model, BoxModel):
        (frames, system), count = starts[0], systems[0].n_chains
        return model.start(
            frames, options.seed, n_trajectories=count, device=options.device, threads=options.threads, system=system
        )
    return model.start_many(
        starts, options.seed, n_trajectories=options.trajectories, device=options.device, threads=options.threads
    )


def _generate(
    model: CgGnnModel | BoxModel, runs: Sequence[RecordedRun], systems: Sequence[System],
    folders: Sequence[RunFolder], n_steps: int, count: int, options: GenerateOptions,
) -> list[JsonObject]:  # fmt: skip
    """Generate ``count`` trajectories of each of several molecules, or boxes of one run; return what is said of each.

    All stand side by side in what the motion yields.
    """
    began = time.monotonic()
    motion = _begin(model, runs, systems, options)
    attributes = {"seed": options.seed, "integrator_dt": model.dt, "save_every": options.save_every}
    with ExitStack() as opened, Progress("generate", n_steps, "steps") as progress:
        writers = [
            opened.enter_context(FramesWriter(folder.generated, system, np.float32, attributes))
            for folder, system in zip(folders, systems, strict=True)
        ]
        for block in motion.advance(n_steps):
            kept = block.thinned(options.save_every)
            for i, writer in enumerate(writers):
                writer.append(kept if len(writers) == 1 else kept.molecules(slice(i * count, (i + 1) * count)))
            progress.advance(len(block))
    seconds = time.monotonic() - began
    for folder in folders:
        folder.checkpoint.rmdir()
    total = n_steps * model.dt * count * len(runs)
    logger.info("%d molecules × %d trajectories: %.3g %s in %.0f s", len(runs), count, total,
                model.time_unit, seconds)  # fmt: skip
    return [
        {"name": run.name, "start": str(run.path), "beads": run.system.n_beads, "file": str(folder.generated),
         "seconds": seconds / len(runs), "time": n_steps * model.dt * count}
        for run, folder in zip(runs, folders, strict=True)
    ]  # fmt: skip


def _beginning(frames: Frames) -> Frames:
    """Return the first uninterrupted piece."""
    return frames[: int(np.count_nonzero(frames.segments == frames.segments[0]))]
