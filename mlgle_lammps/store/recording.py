"""One recorded stream: what it is about, and its frames in checked blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Frames, Int64, System
from mlgle_lammps.store.description import system_from_mapping
from mlgle_lammps.store.journal import chunk_paths, read_journal, read_journal_system, require_finite
from mlgle_lammps.store.npz import NpyStream, NpzReader
from mlgle_lammps.store.reader import FramesReader

LARGEST_STEP = 2**53
BLOCK_BYTES = 2**25
"""Frames are read in blocks of about this size (at least one frame)."""


@dataclass(frozen=True)
class Recording:
    """One file or folder of a stream: described and checked, not loaded.

    Attributes:
        path: the file or the checkpoint folder that holds the frames.
        system: what the frames are about.
        read: yields the blocks in order, each time from the first.
        warnings: what was found and left out while reading, one line each, so far.
    """

    path: Path
    system: System
    read: Callable[[], Iterator[Frames]]
    warnings: Callable[[], tuple[str, ...]] = tuple


def open_recording(path: Path) -> Recording:
    """Return the recording at ``path`` after reading its description and first block.

    Raises:
        UserError: missing, damaged, not a stream, or no frame in it.
    """
    if path.is_dir():
        recording = _open_folder(path)
    elif not path.is_file():
        raise UserError(f"{path}: no such file; give a modes.h5, a run's folder, an .npz or a trajectory")
    elif path.suffix == ".npz":
        recording = _open_npz(path)
    else:
        recording = _open_h5(path)
    check_beginning(recording)
    return recording


def check_beginning(recording: Recording) -> None:
    """Raise UserError where a recording lacks the modes it should have, has no frame, or a first block damaged."""
    channels = recording.system.channels
    if recording.system.n_modes < 1 and "modes" in channels and "beads" not in channels:
        raise UserError(f"{recording.path}: the frames have no modes")
    if next(checked_blocks(recording), None) is None:
        raise UserError(f"{recording.path} holds no frame")


def _open_folder(path: Path) -> Recording:
    journal = path / "checkpoint"
    if (path / "modes.h5").is_file() and not chunk_paths(journal):
        return _open_h5(path / "modes.h5")
    if not (journal / "system.json").is_file():
        raise UserError(f"{path} holds neither modes.h5 nor a journal; is it a run's folder?")
    system = read_journal_system(journal)
    if not chunk_paths(journal):
        raise UserError(f"{path}: the run was ended before its first frame was written")

    def read() -> Iterator[Frames]:
        return read_journal(journal)

    return Recording(journal, replace(system, source=str(path)), read)


def _open_h5(path: Path) -> Recording:
    with FramesReader(path) as reader:
        system, n_frames, n_mode_frames = reader.system, len(reader.steps), reader.n_mode_frames
    beads = (system.n_beads or 0) * 12 if "beads" in system.channels else 0
    rows = _block_rows(system.n_chains * (system.n_modes * 12 + 24 + beads))

    def read() -> Iterator[Frames]:
        with FramesReader(path) as reader:
            start = 0
            while start < n_frames:
                with_modes = start < n_mode_frames
                stop = min(start + rows, n_mode_frames if with_modes else n_frames)
                yield reader.read(start, stop, with_modes)
                start = stop

    return Recording(path, replace(system, source=str(path)), read)


def _open_npz(path: Path) -> Recording:
    with NpzReader(path) as archive:
        com, modes, _ = _npz_streams(path, archive)
        n_frames, n_chains, n_modes = modes.shape[:3]
        names = ["dt"] + [name for name in ("n_beads", "time_unit", "length_unit") if name in archive]
        described = {name: archive.stream(name).read_scalar() for name in names}
        segments = _npz_segments(path, archive, n_frames)
    system = system_from_mapping({"n_chains": n_chains, "n_modes": n_modes, **described}, str(path))
    rows = _block_rows(com.row_bytes + modes.row_bytes)

    def read() -> Iterator[Frames]:
        with NpzReader(path) as archive:
            com, modes, scale = _npz_streams(path, archive)
            for start in range(0, n_frames, rows):
                steps = np.arange(start, min(start + rows, n_frames), dtype=np.int64)
                block = _scaled(modes.read(rows), scale).astype(np.float32)
                yield Frames.of_chains(steps, segments[steps], com.read(rows).astype(np.float64), block)

    return Recording(path, replace(system, source=str(path)), read)


def _npz_streams(path: Path, archive: NpzReader) -> tuple[NpyStream, NpyStream, np.ndarray | None]:
    """Return the streams of com and modes, and the scale of quantized modes."""
    com = archive.stream("com")
    quantized = "modes" not in archive and "modes_q" in archive
    modes = archive.stream("modes_q" if quantized else "modes")
    kinds = (com.dtype.kind, modes.dtype.kind)
    if len(com.shape) != 3 or len(modes.shape) != 4 or kinds != ("f", "i" if quantized else "f"):
        raise UserError(
            f"{path}: com {com.shape} {com.dtype}, modes {modes.shape} {modes.dtype}; real numbers of shape "
            "(time, chain, 3) and (time, chain, mode, 3) belong there"
        )
    if com.shape[:2] != modes.shape[:2] or com.shape[2] != 3 or modes.shape[3] != 3 or not com.shape[1]:
        raise UserError(f"{path}: com {com.shape} and modes {modes.shape} do not agree on (time, chain, mode, 3)")
    if not quantized:
        return com, modes, None
    scale = archive.read("scale")
    if scale.dtype.kind != "f" or scale.shape != (modes.shape[2],) or not np.all(np.isfinite(scale)):
        raise UserError(f"{path}: scale {scale.shape} {scale.dtype} does not hold one real number per mode")
    return com, modes, scale.astype(np.float64)


def _npz_segments(path: Path, archive: NpzReader, n_frames: int) -> Int64:
    """Return each frame's uninterrupted piece; one where the file does not say."""
    if "segments" not in archive:
        return np.zeros(n_frames, dtype=np.int64)
    segments = archive.read("segments")
    if segments.dtype.kind not in "iu" or segments.shape != (n_frames,) or np.any(np.diff(segments) < 0):
        raise UserError(
            f"{path}: segments {segments.shape} {segments.dtype}: one number of its piece for each of {n_frames} "
            "frames, never falling, belongs there"
        )
    return segments.astype(np.int64)


def _scaled(modes: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    return modes if scale is None else modes * scale[:, np.newaxis]


def _block_rows(frame_bytes: int) -> int:
    return max(BLOCK_BYTES // max(frame_bytes, 1), 1)


def checked_blocks(recording: Recording) -> Iterator[Frames]:
    """Yield a recording's blocks; raise UserError where numbers are not finite or frames do not follow one another."""
    last: tuple[int, int] | None = None
    n_frames, modes_ended = 0, False
    for chunk in recording.read():
        where = f"{recording.path}: frame "
        require_finite(chunk, recording.path, n_frames)
        steps, segments = chunk.steps, chunk.segments
        if max(np.abs(steps).max(), np.abs(segments).max()) > LARGEST_STEP:
            raise UserError(f"{where}{n_frames} or later: a step or segment number beyond {LARGEST_STEP}")
        if last is not None:
            steps, segments = np.append(last[0], steps), np.append(last[1], segments)
        on, over = np.diff(steps), np.diff(segments)
        bad = (on <= 0) | (over < 0) | ((over == 0) & (on != recording.system.every))
        if bad.any():
            i = int(np.argmax(bad))
            raise UserError(
                f"{where}{n_frames + i + (last is None)} at step {steps[i + 1]} does not follow step {steps[i]} "
                f"at a stride of {recording.system.every}"
            )
        if modes_ended and chunk.modes.shape[2] and "modes" in recording.system.channels:
            raise UserError(f"{where}{n_frames} has modes again after frames that have none")
        modes_ended = chunk.modes.shape[2] == 0
        last = (int(chunk.steps[-1]), int(chunk.segments[-1]))
        n_frames += len(chunk.steps)
        yield chunk
