"""The stream on disk as it arrives: small .npz chunks that a killed run leaves readable.

``checkpoint/system.json`` says what the stream is about; ``checkpoint/stream-000000.npz`` and so on hold ``step``
(time,), ``segment`` (time,), ``com`` (time, chain, 3) float64 and ``modes`` (time, chain, mode, 3) float32. Every file
is written under a temporary name and renamed, so that each one is whole or absent. A chunk that is not full yet is
written anew with the frames that came since, so that files stay few.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.records import Ending, Float32, Float64, Frame, Int64, System
from mlgle_lammps.store.json_object import read_object
from mlgle_lammps.store.npz import NpzReader

MAX_SYSTEM_BYTES = 2**20
LARGEST = 1e15
"""No position in any unit of length is larger; its fourth power is far from the limits of arithmetic."""
LONGEST_UNIT, LONGEST_TEXT, MOST_NOTES = 40, 4096, 1000
"""Letters, and lines, that a description may have."""
LONGEST_CHAIN = 10**6
"""Beads; memory grows with them, so that a damaged number must not pass."""
SHORTEST, LONGEST = 1e-50, 1e50
"""Times between two frames beyond these come from a damaged file."""
ENDING = "ending.json"


@dataclass(frozen=True)
class Chunk:
    """Consecutive frames with the same number of modes.

    Attributes:
        steps: (time,) int64.
        segments: (time,) int64.
        com: (time, chain, 3) float64.
        modes: (time, chain, mode, 3) float32; mode is 0 for frames after the hand-off.
    """

    steps: Int64
    segments: Int64
    com: Float64
    modes: Float32


def require_finite(chunk: Chunk, path: Path, first: int) -> None:
    """Raise UserError naming the first frame with a number that is not finite, or no position; ``first`` counts it."""
    for name, block in (("com", chunk.com), ("modes", chunk.modes)):
        if not np.all(np.abs(block) < LARGEST):
            bad = ~(np.abs(block) < LARGEST).all(axis=tuple(range(1, block.ndim)))
            frame = int(np.argmax(bad))
            what = f"beyond {LARGEST:g}" if np.isfinite(block[frame]).all() else "that are not finite numbers"
            raise UserError(f"{path}: frame {first + frame} has {name} {what}")


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` by a temporary name: ``path`` is the old file or the new one, never half of it.

    Raises:
        RunFailure: disk full, no permission, read-only.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunFailure(f"cannot write {path}: {error.strerror or one_line(error)}") from None


def system_from_mapping(values: Mapping[str, Any], where: str) -> System:
    """Return the System that a file describes; raise UserError naming the first value that cannot be one."""
    kept = {field.name: values[field.name] for field in fields(System) if field.name in values}
    for name in ("n_chains", "n_beads", "n_modes", "every"):
        value = kept.get(name)
        least, most = (0 if name == "n_modes" else 1), (LONGEST_CHAIN if name == "n_beads" else 2**31)
        if value is None and name in ("n_beads", "every"):
            kept.pop(name, None)
        elif not isinstance(value, int) or isinstance(value, bool) or not least <= value < most:
            raise UserError(
                f"{where}: {name} is {repr(value)[:40]} where a whole number from {least} to {most - 1} belongs"
            )
    kept.setdefault("n_beads", None)
    if kept["n_beads"] is not None and kept["n_modes"] >= kept["n_beads"]:
        raise UserError(f"{where}: {kept['n_modes']} modes of chains of {kept['n_beads']} beads, which have fewer")
    dt = kept.get("dt")
    if not isinstance(dt, int | float) or isinstance(dt, bool) or not SHORTEST < dt < LONGEST:
        raise UserError(f"{where}: dt is {repr(dt)[:40]} where a time above 0 belongs")
    kept["dt"] = float(dt)
    for name in ("units", "time_unit", "length_unit", "source"):
        if name in kept and not isinstance(kept[name], str):
            raise UserError(f"{where}: {name} is {repr(kept[name])[:40]} where text belongs")
        if name != "source" and not (len(kept.get(name, "")) <= LONGEST_UNIT and kept.get(name, "").isprintable()):
            raise UserError(f"{where}: {name} is {repr(kept[name])[:40]} where the name of a unit belongs")
    n_variances = None if kept["n_beads"] is None else kept["n_beads"] - 1
    kept["box"] = _numbers(kept.get("box"), "box", 6, where)
    kept["mode_variances"] = _numbers(kept.get("mode_variances"), "mode_variances", n_variances, where)
    if min((kept["box"] or (1.0,))[:3]) <= 0:
        raise UserError(f"{where}: the box is {kept['box']}, with an edge that is not above 0")
    if min(kept["mode_variances"] or (0.0,)) < 0:
        raise UserError(f"{where}: mode_variances has numbers below 0")
    kept["center_held"] = kept.get("center_held") in (True, 1)
    notes = kept.get("notes") or ()
    listed = notes if isinstance(notes, list | tuple) else [notes]
    kept["notes"] = tuple(_printable(str(note)) for note in listed[:MOST_NOTES])
    if "source" in kept:
        kept["source"] = _printable(kept["source"])
    return System(**kept)


def _printable(text: str) -> str:
    """Return text without control characters, cut to a length that people read; paths may hold odd bytes."""
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else " " for c in text[:LONGEST_TEXT])


def _numbers(values: Any, name: str, length: int | None, where: str) -> tuple[float, ...] | None:
    """Return a list of finite numbers as a tuple; raise UserError where it is something else."""
    if values is None:
        return None
    plain = [] if isinstance(values, str) else values
    good = isinstance(plain, list | tuple) and len(plain) == length
    if not good or not all(isinstance(value, int | float) and math.isfinite(value) for value in plain):
        raise UserError(f"{where}: {name} is not {length} numbers")
    return tuple(float(value) for value in plain)


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
        self._allocate(system.n_modes)
        write_bytes_atomically(folder / "system.json", json.dumps(asdict(system), indent=1).encode())

    def _allocate(self, n_modes: int) -> None:
        self._steps = np.zeros(self._size, dtype=np.int64)
        self._segments = np.zeros(self._size, dtype=np.int64)
        self._com = np.zeros((self._size, self._system.n_chains, 3), dtype=np.float64)
        self._modes = np.zeros((self._size, self._system.n_chains, n_modes, 3), dtype=np.float32)

    def append(self, frame: Frame) -> None:
        """Copy ``frame``; write a chunk where one is full or overdue.

        Raises:
            RunFailure: the chunk cannot be written (the frames stay in memory).
            ValueError: the frame's chains are not the stream's.
        """
        with self._lock:
            if frame.modes.shape[1] != self._modes.shape[2]:
                self._next_chunk()
                self._allocate(frame.modes.shape[1])
            elif self._held == self._size:
                self._next_chunk()
            i = self._held
            self._steps[i], self._segments[i] = frame.step, frame.segment
            self._com[i], self._modes[i] = frame.com, frame.modes
            self._held += 1
            self.n_frames += 1
            if self._held == self._size or time.monotonic() - self._written_at > self._seconds:
                self.flush()

    def flush(self) -> None:
        """Put every frame appended so far on disk; raise RunFailure where that fails."""
        with self._lock:
            n = self._held
            if n == self._on_disk:
                return
            path = self._folder / f"stream-{self._number:06d}.npz"
            temporary = path.with_suffix(".tmp")
            try:
                with open(temporary, "wb") as file:
                    np.savez(file, step=self._steps[:n], segment=self._segments[:n],
                             com=self._com[:n], modes=self._modes[:n])  # fmt: skip
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except OSError as error:
                temporary.unlink(missing_ok=True)
                raise RunFailure(f"cannot write the stream to {path}: {error.strerror or one_line(error)}") from None
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
    values = read_object(path, MAX_SYSTEM_BYTES, "tell how a stream ended")
    kinds: dict[str, type] = {"status": str, "message": str, "step": int, "waits": int}
    kinds |= {"md_s": float, "callback_s": float, "warnings": list, "notes": list}
    for name, kind in kinds.items():
        if type(values.get(name)) is not kind:
            raise UserError(f"{path}: {name} is {values.get(name)!r}, which does not tell how a stream ended")
    lines = {name: tuple(str(line) for line in values[name]) for name in ("warnings", "notes")}
    return Ending(**{name: values[name] for name in kinds} | lines)


def chunk_paths(folder: Path) -> list[Path]:
    """Return the chunk files of ``folder`` in order, up to the first number that is missing."""
    paths: list[Path] = []
    while (path := folder / f"stream-{len(paths):06d}.npz").is_file():
        paths.append(path)
    return paths


def read_journal_system(folder: Path) -> System:
    """Return what the journal in ``folder`` is about; raise UserError where that cannot be read."""
    path = folder / "system.json"
    values = read_object(path, MAX_SYSTEM_BYTES, "describe a stream")
    return system_from_mapping(values, str(path))


def read_chunk(path: Path, system: System) -> Chunk:
    """Return the frames of one chunk file; raise UserError where it is damaged or not of ``system``."""
    with NpzReader(path) as archive:
        chunk = Chunk(*(archive.read(name) for name in ("step", "segment", "com", "modes")))
    n = len(chunk.steps)
    n_modes = chunk.modes.shape[2] if chunk.modes.ndim == 4 else -1
    expected = ((n,), (n,), (n, system.n_chains, 3), (n, system.n_chains, n_modes, 3))
    arrays: tuple[NDArray[Any], ...] = (chunk.steps, chunk.segments, chunk.com, chunk.modes)
    types = (np.int64, np.int64, np.float64, np.float32)
    if any(a.shape != shape or a.dtype != t for a, shape, t in zip(arrays, expected, types, strict=True)):
        raise UserError(f"{path}: arrays of {[a.shape for a in arrays]}, not those of {system.n_chains} chains' frames")
    if n_modes not in (0, system.n_modes):
        raise UserError(f"{path}: frames of {n_modes} modes in a stream of {system.n_modes}")
    return chunk


def journalled_frames(paths: Sequence[Path], system: System) -> Iterator[Frame]:
    """Yield the frames of chunk files as copies; raise UserError where one is damaged."""
    for path in paths:
        chunk = read_chunk(path, system)
        require_finite(chunk, path, 0)
        for i in range(len(chunk.steps)):
            yield Frame(int(chunk.steps[i]), int(chunk.segments[i]), chunk.com[i].copy(), chunk.modes[i].copy())


def read_journal(folder: Path) -> Iterator[Chunk]:
    """Yield the chunks of the journal in ``folder``; a missing tail and stray temporary files do not matter.

    Raises:
        UserError: no description, or a chunk that is damaged.
    """
    system = read_journal_system(folder)
    for path in chunk_paths(folder):
        yield read_chunk(path, system)
