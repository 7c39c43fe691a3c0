"""What a run will need of memory and disk, and what there is: said before it starts, and refused where it cannot fit.

The numbers of memory are measured peaks of resident memory on CPUs (tests/test_needs.py), right within 30%.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.laplacian import modes_taken
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.learn import TRAINED_CHAINS, LearnOptions
from mlgle_lammps.records import CHANNELS, System
from mlgle_lammps.resources.progress import format_seconds
from mlgle_lammps.resources.room import available_memory, free_disk, readable_bytes

LIBRARIES = 335e6
"""Resident once torch, scipy, h5py and matplotlib are loaded; more is mapped, and more by LAMMPS with MPI."""
MAPPED_MORE = 480e6
LAMMPS_MAPPED = 250e6
WORK_PER_MODE, SAMPLES_PER_MODE, SAMPLES = 10e6, 32e6, 20_000
"""Batches of targets with their features and gradients; and the targets that scales are measured on, up to 20,000."""
WORK_PER_NUMBER = 32
"""Bytes for each of the frames · chains · modes · 3 numbers trained on: ring buffer, tensors of torch, their copies."""
HELD_PER_NUMBER = 5
"""Bytes for each of those that are held in the ring buffer only."""
GENERATED_KEPT = 2**28
"""Of the generated modes at most, for their autocorrelation (observe.generated)."""
GENERATED_CHUNK = 2**26
SPECTRUM = 2**24
LEFT, LEFT_PER_MODE = 150e6, 9e6
"""Of the training's memory, that the process keeps."""
LEAST_FREE = 50e6


@dataclass(frozen=True)
class Needs:
    """What a run needs, in bytes.

    Attributes:
        frames: to be recorded; a lower bound where ``open_ended``.
        open_ended: the data decide when the hand-off comes.
        learning: peak memory of the process that learns, libraries included.
        generating: the same while it generates.
        stream: modes.h5, all frames with modes; its journal takes as much beside it until that is written.
        generated: generated.h5.
    """

    frames: int
    open_ended: bool
    learning: float
    generating: float
    stream: float
    generated: float

    @property
    def memory(self) -> float:
        """Peak memory of the process that learns and generates."""
        return max(self.learning, self.generating)


def needs_of(system: System, options: LearnOptions) -> Needs:
    """Return what a run on ``system`` needs.

    The ring buffer holds T_train + T_val frames of P chains: P (24 + 12 k) bytes each. Training takes copies of the
    modes of at most 1024 chains as tensors, ``WORK_PER_NUMBER`` in all, and some 40 MB per mode for its batches.
    Generation keeps up to 256 MB of modes for their autocorrelation, centres of mass of a quarter of the steps, and
    some chunks of 64 MB.

    Limit: for few chains and frames ``LIBRARIES`` + k · ``WORK_PER_MODE``. The numbers are those of preset ``default``.
    """
    n_chains, n_modes = system.n_chains, modes_taken(options.modes, system.species[0])
    learned = options.learn_frames if options.handoff_frames is None else options.handoff_frames
    held = min(learned, options.learn_frames)
    trained = held * min(n_chains, TRAINED_CHAINS) * n_modes * 3
    numbers = held * n_chains * n_modes * 3
    com = (held * 2 + options.memory) * n_chains * 24
    samples = min((options.train_frames - options.memory) * n_chains / SAMPLES, 1.0)
    per_mode = WORK_PER_MODE + SAMPLES_PER_MODE * samples
    work = trained * WORK_PER_NUMBER + (numbers - trained) * HELD_PER_NUMBER
    learning = LIBRARIES + com + work + n_modes * per_mode + held_of_others(system, held, options.memory)
    generating = generated = 0.0
    if options.generate_steps:
        left = LEFT + n_modes * LEFT_PER_MODE + numbers * 8
        generating = LIBRARIES + com + left + _while_generating(options.ensemble, n_modes, options.generate_steps)
        kept = options.generate_steps // options.save_every
        generated = kept * (options.ensemble * (n_modes + 1) * 12 + 16)
    frames = learned + options.full_md
    stream = float(frames * frame_bytes(replace(system, n_modes=n_modes)))
    return Needs(frames, options.handoff_frames is None, learning, generating, stream, generated)


def held_of_others(system: System, held: int, memory: int) -> float:
    """Return the bytes that species beside the main one take: the ring buffer's frames, and displacements up to t_max.

    Args:
        system: of the stream.
        held: frames in the ring buffer.
        memory: m.
    """
    total = 0.0
    for own in system.others:
        frame = sum(math.prod(own.shape(name)) * np.dtype(CHANNELS[name][0]).itemsize for name in own.channels)
        total += (held + memory) * frame
    return total


def frame_bytes(system: System) -> int:
    """Return what a frame takes on disk: all channels of all species, its step, and its time or segment."""
    channels = ((own, channel) for own in system.species for channel in own.channels)
    return 16 + sum(math.prod(own.shape(name)) * np.dtype(CHANNELS[name][0]).itemsize for own, name in channels)


def _while_generating(ensemble: int, n_modes: int, steps: int) -> float:
    """Return the bytes beside the libraries and the window that generation takes at its peak."""
    per_trajectory = steps * n_modes * 12
    kept = max(min(GENERATED_KEPT, ensemble * per_trajectory), per_trajectory)
    centres = max(4, steps // 4) * ensemble * 24
    chunk = max(min(GENERATED_CHUNK, ensemble * per_trajectory), 128 * ensemble * n_modes * 12)
    return kept + centres + max(5 * chunk, 24 * min(SPECTRUM, kept // 2))


def refuse_without_libraries(with_lammps: bool = False) -> None:
    """Raise UserError where not even the libraries fit; to be asked before they are loaded.

    Args:
        with_lammps: LAMMPS is still to be loaded into the same process.
    """
    room = available_memory()
    wanted = LIBRARIES + (MAPPED_MORE + (LAMMPS_MAPPED if with_lammps else 0.0) if room.mapped else 0.0)
    if room.free < wanted:
        raise UserError(
            f"the libraries alone need {readable_bytes(wanted)} of memory, and {readable_bytes(room.free)} are "
            f"{room.limit}: raise that limit, or run where there is more memory"
        )


def refusal(needs: Needs, out: Path) -> str:
    """Return why a run cannot be done, "" where memory and disk can hold its learning and its stream.

    A generated.h5 that finds no room is no reason to refuse: MD and D are worth having (see `shortages`).
    """
    if lacking := _lacking_memory(needs.learning):
        return f"learning {lacking}: lower --train-frames, --val-frames or --modes, or run where there is more memory"
    disk, present = free_disk(out), sum(path.stat().st_size for path in out.glob("checkpoint/stream-*.npz"))
    if 2 * needs.stream - present + LEAST_FREE > disk:
        return (
            f"the stream takes {readable_bytes(needs.stream)}, and as much again while it is put together, and "
            f"{readable_bytes(disk)} are free at {out}: choose another --out, or ask for fewer frames"
        )
    return ""


def shortages(needs: Needs, out: Path) -> list[str]:
    """Return what will not do though the run can begin, one line each."""
    lines = []
    if lacking := _lacking_memory(needs.generating):
        lines.append(f"generating {lacking}: lower --ensemble or --generate-steps")
    if needs.stream + needs.generated + LEAST_FREE > (disk := free_disk(out)):
        lines.append(
            f"generated.h5 takes {readable_bytes(needs.generated)}, and {readable_bytes(disk)} are free at {out}: "
            "raise --save-every, or lower --ensemble or --generate-steps"
        )
    return lines


def _lacking_memory(wanted: float) -> str:
    """Return what is lacking of the ``wanted`` resident memory, "" where nothing is."""
    room = available_memory()
    more = wanted + (MAPPED_MORE if room.mapped else 0.0) - room.taken
    if more <= room.free:
        return ""
    return (
        f"needs about {readable_bytes(wanted)} of memory, {readable_bytes(max(more, 0.0))} more than this process has, "
        f"and {readable_bytes(room.free)} are {room.limit}"
    )


def announcement(needs: Needs, out: Path) -> list[str]:
    """Return what a run needs and what will not do, for its log."""
    at_least = "at least " if needs.open_ended else ""
    room = available_memory()
    disk = needs.stream + max(needs.stream, needs.generated)
    return [
        f"needs {at_least}{readable_bytes(needs.memory)} of memory ({readable_bytes(room.free)} are {room.limit}) and "
        f"{at_least}{readable_bytes(disk)} on disk ({readable_bytes(free_disk(out))} are free)",
        *(f"warning: {line}" for line in shortages(needs, out)),
    ]


def record_refusal(system: System, frames: int | None, out: Path) -> str:
    """Return why frames cannot be recorded, "" where the disk holds them, or where the deck says how many there are."""
    stream, disk = (frames or 0) * frame_bytes(system), free_disk(out)
    present = sum(path.stat().st_size for path in out.glob("checkpoint/stream-*.npz"))
    if 2 * stream - present + LEAST_FREE <= disk:
        return ""
    return (
        f"{frames} frames take {readable_bytes(stream)}, and as much again while they are put together, and "
        f"{readable_bytes(disk)} are free at {out}: choose another --out, or ask for fewer frames"
    )


def record_lines(system: System, frames: int | None, seconds_per_step: float) -> list[str]:
    """Return the lines of ``run --check`` where frames are recorded only; ``frames`` as in `record_refusal`."""
    per_frame = frame_bytes(system)
    count = "as many as the deck's production has" if frames is None else f"{frames}"
    total = "" if frames is None else f", {readable_bytes(frames * per_frame)} in all"
    names = [
        f"{own.n_molecules} × '{system.main_name if i == 0 else own.name}'" for i, own in enumerate(system.species)
    ]
    return [
        f"{system.source}: {', '.join(names)}, units {system.units}; beads are recorded, and nothing is learned",
        *(f"note: {note}" for note in (*system.left_out, *system.notes)),
        f"frames: {count}, each {system.every} steps = {system.dt:g} {system.time_unit}, of {readable_bytes(per_frame)}"
        f"{total}, twice that while they are put together",
        f"MD: {1 / seconds_per_step:.0f} steps/s"
        + ("" if frames is None else f": {format_seconds(frames * system.every * seconds_per_step)}"),
    ]


def _species_lines(system: System, options: LearnOptions, needs: Needs) -> list[str]:
    """Return a line for each of several species, and what the others take beside the main one."""
    if not system.others:
        return [] if system.linear else [f"species: {system.main_name}"]
    held = min(needs.frames, options.learn_frames)
    others = held_of_others(system, held, options.memory)
    names = [f"'{system.main_name}' (main)"]
    names += [
        f"{own.n_molecules} × '{own.name}'" + (f" with {own.n_modes} modes" if own.n_modes else "")
        for own in system.others
    ]
    return [
        f"species: {', '.join(names)}",
        f"species beside the main one take {readable_bytes(others)} of that memory, and the work of "
        f"{sum(own.n_molecules for own in system.others)} molecules in each frame",
    ]


def check_lines(system: System, options: LearnOptions, seconds_per_step: float) -> list[str]:
    """Return the lines of ``run --check``: chains, memory, disk, MD time, and what will not do."""
    needs = needs_of(system, options)
    at_least = "at least " if needs.open_ended else ""
    kept = options.generate_steps // options.save_every
    steps = needs.frames * system.every
    room = available_memory()
    lines = [
        f"{system.source}: {system.n_chains} chains of {system.n_beads} beads, units {system.units}",
        *(f"warning: {line}" for line in system.left_out),
        *(f"note: {note}" for note in system.notes),
        *_species_lines(system, options, needs),
        f"modes 1..{system.n_modes} every {system.every} steps = {system.dt:g} {system.time_unit}; "
        f"memory of {options.memory} frames = {options.memory * system.dt:g} {system.time_unit}",
        f"frames: {at_least}{needs.frames}: {readable_bytes(needs.stream)} on disk (modes.h5), twice that while it is "
        f"put together; {readable_bytes(free_disk(options.out))} are free",
        f"generated.h5: {kept} steps of {options.ensemble} trajectories: {readable_bytes(needs.generated)} on disk",
        f"memory where it learns: {readable_bytes(needs.learning)}; where it generates: "
        f"{readable_bytes(needs.generating)}; {readable_bytes(room.free)} are {room.limit}",
        f"MD: {at_least}{steps} steps at {1 / seconds_per_step:.0f} steps/s: "
        f"{format_seconds(steps * seconds_per_step)}",
    ]
    if why := refusal(needs, options.out):
        return [*lines, f"this will be refused: {why}"]
    return [*lines, *(f"warning: {line}" for line in shortages(needs, options.out))]
