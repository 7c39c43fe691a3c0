"""The stream on disk as it arrives: small .npz chunks that a killed run leaves readable.

``checkpoint/system.json`` says what the stream is about; ``checkpoint/stream-000000.npz`` and so on hold ``step``
(time,), ``segment`` (time,), and every channel that came: ``com`` (time, chain, 3) float64 and ``modes`` (time, chain,
mode, 3) float32 of the chains, ``NAME/com`` and so on of further species (`records.CHANNELS`). Every file is written
under a temporary name and renamed, so that each one is whole or absent. A chunk that is not full yet is written anew
with the frames that came since, so that files stay few.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.plain import AnyArray
from mlgle_lammps.records import CHAINS, CHANNELS, Ending, Frames, System
from mlgle_lammps.store.atomic import write_bytes_atomically, written_atomically
from mlgle_lammps.store.description import described, system_from_mapping
from mlgle_lammps.store.json_object import read_object, record_from
from mlgle_lammps.store.npz import NpzReader

MAX_SYSTEM_BYTES = 2**24
LARGEST = 1e15
"""No position in any unit of length is larger; its fourth power is far from the limits of arithmetic."""
ENDING = "ending.json"


def require_finite(frames: Frames, path: Path, first: int) -> None:
    """Raise UserError naming the first frame with a number that is not finite, or no position; ``first`` counts it."""
    for species, channel, block in frames.arrays():
        name = channel if species == CHAINS else f"{channel} of {species}"
        if not np.all(np.abs(block) < LARGEST):
            bad = ~(np.abs(block) < LARGEST).all(axis=tuple(range(1, block.ndim)))
            frame = int(np.argmax(bad))
            what = f"beyond {LARGEST:g}" if np.isfinite(block[frame]).all() else "that are not finite numbers"
            raise UserError(f"{path}: frame {first + frame} has {name} {what}")


class Journal:
    """Append frames to the chunks of a folder; safe to flush from another thread.

    Attributes:
        n_frames: frames appended by this object.
    """

    def __init__(self, folder: Path, system: System, frames_per_chunk: int = 64, seconds: float = 5.0) -> None:
        """Start or go on with the journal in ``folder``.

        Args:
            folder: the ``checkpoint`` folder, which exists.
            system: what the stream is about.
            frames_per_chunk: frames in a full chunk file.
            seconds: after so long a chunk that is not full is written too (looked at by ``append`` and ``tick``).

        Raises:
            RunFailure: the folder cannot be written.
        """
        self.n_frames = 0
        self._folder, self._system = folder, system
        self._size, self._seconds = frames_per_chunk, seconds
        self._number = len(chunk_paths(folder))
        self._lock = threading.RLock()
        self._written_at = time.monotonic()
        self._held = self._on_disk = 0
        self._chunk: Frames | None = None
        write_bytes_atomically(folder / "system.json", json.dumps(described(system), indent=1).encode())

    def _allocate(self, like: Frames) -> Frames:
        """Make room for a chunk of frames like ``like``; raise ValueError where they are not of the system."""
        wanted = {(own.name, channel): own.shape(channel) for own in self._system.species for channel in own.channels}
        for species, channel, values in like.arrays():
            if values.shape[1:] != wanted.pop((species, channel), None):
                raise ValueError(f"{channel} {values.shape[1:]} of {species} in a stream of {self._system}")
        if wanted.keys() - {(CHAINS, "modes")}:
            raise ValueError(f"frames lack {sorted(wanted)} in a stream of {self._system}")
        channels: dict[str, dict[str, AnyArray]] = {}
        for species, channel, values in like.arrays():
            room = np.zeros((self._size, *values.shape[1:]), dtype=CHANNELS[channel][0])
            channels.setdefault(species, {})[channel] = room
        return Frames(np.zeros(self._size, dtype=np.int64), np.zeros(self._size, dtype=np.int64), channels)

    def append(self, frames: Frames) -> None:
        """Copy frames; write a chunk where one is full or overdue.

        Raises:
            RunFailure: the chunk cannot be written (the frames stay in memory).
            ValueError: the frames' channels are not the stream's.
        """
        with self._lock:
            for frame in frames:
                self._append_one(frame)

    def _append_one(self, frame: Frames) -> None:
        chunk = self._chunk
        if chunk is None or _names(chunk) != _names(frame):
            self._next_chunk()
            chunk = self._chunk = self._allocate(frame)
        elif self._held == self._size:
            self._next_chunk()
        i = self._held
        chunk.steps[i], chunk.segments[i] = frame.last_step, frame.last_segment
        for species, channel, values in frame.arrays():
            chunk.channels[species][channel][i] = values[0]
        self._held += 1
        self.n_frames += 1
        if self._held == self._size or time.monotonic() - self._written_at > self._seconds:
            self.flush()

    def flush(self) -> None:
        """Put every frame appended so far on disk; raise RunFailure where that fails."""
        with self._lock:
            n = self._held
            if n == self._on_disk or self._chunk is None:
                return
            path = self._folder / f"stream-{self._number:06d}.npz"
            chunk = self._chunk[:n]
            arrays = {_stored_name(species, channel): values for species, channel, values in chunk.arrays()}
            with written_atomically(path, "the stream to ") as file:
                np.savez(file, step=chunk.steps, segment=chunk.segments, **arrays)  # type: ignore[arg-type]
            self._on_disk = n
            self._written_at = time.monotonic()

    def tick(self) -> None:
        """Write frames that have waited too long for the next one; called now and then, costs nothing."""
        if self._held > self._on_disk and time.monotonic() - self._written_at > self._seconds:
            self.flush()

    def _next_chunk(self) -> None:
        self.flush()
        if self._held:
            self._number += 1
        self._held = self._on_disk = 0

    def close(self) -> None:
        """Write what is left; more frames may still be appended, into a chunk of their own."""
        with self._lock:
            self._next_chunk()


def write_ending(folder: Path, ending: Ending) -> None:
    """Keep beside the chunks how the stream ended; raise RunFailure where that cannot be written."""
    write_bytes_atomically(folder / ENDING, json.dumps(asdict(ending), indent=1).encode())


def read_ending(folder: Path) -> Ending | None:
    """Return how the stream ended, None where it has not; raise UserError where the file is damaged."""
    path = folder / ENDING
    if not path.exists():
        return None
    return record_from(Ending, read_object(path, MAX_SYSTEM_BYTES, "tell how a stream ended"), path)


def chunk_paths(folder: Path) -> list[Path]:
    """Return the chunk files of ``folder`` in order; raise UserError where one is missing and later ones are there."""
    paths: list[Path] = []
    while (path := folder / f"stream-{len(paths):06d}.npz").is_file():
        paths.append(path)
    last = max(folder.glob("stream-" + 6 * "[0-9]" + ".npz"), default=path)
    if last.name > path.name:
        raise UserError(
            f"{folder}: {path.name} is missing and {last.name} is there: put it back, or move the later ones away to "
            "go on without them"
        )
    return paths


def read_journal_system(folder: Path) -> System:
    """Return what the journal in ``folder`` is about; raise UserError where that cannot be read."""
    path = folder / "system.json"
    values = read_object(path, MAX_SYSTEM_BYTES, "describe a stream")
    return system_from_mapping(values, str(path))


def read_chunk(path: Path, system: System) -> Frames:
    """Return the frames of one chunk file; raise UserError where it is damaged or not of ``system``.

    A chunk may lack the modes of the chains, and then all its frames do; all other channels are there.
    """
    with NpzReader(path) as archive:
        steps, segments = archive.read("step"), archive.read("segment")
        channels: dict[str, dict[str, AnyArray]] = {}
        for own in system.species:
            stored = {name: _stored_name(own.name, name) for name in own.channels}
            optional = {"modes"} if own.name == CHAINS else set()
            channels[own.name] = {
                name: archive.read(place) for name, place in stored.items() if name not in optional or place in archive
            }
    modes = channels[CHAINS].get("modes")
    if modes is not None and modes.ndim == 4 and modes.shape[2] == 0:  # as frames without them once were
        del channels[CHAINS]["modes"]
    frames = Frames(steps, segments, channels)
    shapes = {own.name: own for own in system.species}
    numbers = [(steps, (len(steps),), np.int64), (segments, (len(steps),), np.int64)]
    wanted = [(v, (len(steps), *shapes[s].shape(c)), CHANNELS[c][0]) for s, c, v in frames.arrays()]
    if any(values.shape != shape or values.dtype != dtype for values, shape, dtype in (*numbers, *wanted)):
        found_shapes = [values.shape for values, _, _ in (*numbers, *wanted)]
        raise UserError(f"{path}: arrays of {found_shapes}, not those of {system.n_chains} chains' frames")
    return frames


def journalled_frames(paths: Sequence[Path], system: System) -> Iterator[Frames]:
    """Yield the frames of chunk files one by one; raise UserError where one is damaged."""
    for path in paths:
        chunk = read_chunk(path, system)
        require_finite(chunk, path, 0)
        yield from chunk


def read_journal(folder: Path) -> Iterator[Frames]:
    """Yield the chunks of the journal in ``folder``; a missing tail and stray temporary files do not matter.

    Raises:
        UserError: no description, or a chunk that is damaged.
    """
    system = read_journal_system(folder)
    for path in chunk_paths(folder):
        yield read_chunk(path, system)


def _stored_name(species: str, channel: str) -> str:
    return channel if species == CHAINS else f"{species}/{channel}"


def _names(frames: Frames) -> list[tuple[str, str]]:
    return [(species, channel) for species, channel, _ in frames.arrays()]
