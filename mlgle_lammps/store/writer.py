"""The one writer of frames: H5MD 1.1, ``modes.h5`` (recorded) and ``generated.h5``.

``/mlgle/com`` (time, chain, 3), ``/mlgle/modes`` (time, chain, mode 1..k, 3) float32 and ``/mlgle/step`` (time,) int64,
with the attributes of the System on ``/mlgle``; further channels of the chains lie beside them, those of others
in ``/mlgle/species/NAME``. ``modes`` has ``mode_frames`` rows, fewer than ``com`` in files of before, where frames
after the hand-off had none: the frames that have modes come first. The attribute ``segments`` lists the first frame of
each uninterrupted piece, ``segment_numbers`` the piece's number. ``/particles/chains/position`` links to the same
centres of mass, so that MDAnalysis opens them as one particle per chain.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np
from numpy.typing import DTypeLike

from mlgle_lammps import __version__
from mlgle_lammps.directions import ALL_FREE
from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.records import CHAINS, CHANNELS, Frames, System
from mlgle_lammps.store.description import ARCHITECTURE, described
from mlgle_lammps.store.sink import Sink, uninterrupted

SCHEMA = 1
CREATOR = "mlgle_lammps"
TEXTS = ("units", "time_unit", "length_unit", "source", "notes", "left_out")
"""Fields of the System that ``/mlgle`` has twice: as text attributes for people, and as JSON in the attribute ``texts``
for the reader, because HDF5 keeps no checksum of text attributes and can loop for ever in a damaged one."""
LAYOUT = ("channels", "others", "directions", "boxes", *ARCHITECTURE)
"""Fields of the System that ``/mlgle`` has as JSON in the attribute ``layout``; directions where some are closed, and
what molecules are where they are not linear chains of one species."""
KNOWN_UNITS = frozenset({"fs", "ps", "ns", "s", "Angstrom", "nm", "pm"})
"""Unit names that H5MD readers know; others (tau, sigma) are only on /mlgle."""

_CHUNK_BYTES = 2**20
_CACHE_BYTES = 2**24


def dataset_name(species: str, channel: str) -> str:
    """Return where a channel of a species lies in the file."""
    return f"mlgle/{channel}" if species == CHAINS else f"mlgle/species/{species}/{channel}"


class FramesWriter:
    """Write frames to an H5MD file that gets its name when it is whole; a context manager.

    Leaving the ``with`` block by an exception removes the unfinished file.
    """

    @uninterrupted()
    def __init__(
        self,
        path: Path,
        system: System,
        com_dtype: DTypeLike = np.float64,
        attributes: JsonMapping | None = None,
    ) -> None:
        """Start the file under a temporary name.

        Args:
            path: its final name; a file there is replaced at the end.
            system: written as attributes of ``/mlgle``.
            com_dtype: type in which centres of mass are stored.
            attributes: further attributes of ``/mlgle`` (numbers, text; None is left out).

        Raises:
            RunFailure: the file cannot be written.
        """
        self.path, self._system = path, system
        self.n_frames = self.n_mode_frames = 0
        self._temporary = path.with_name(f"{path.name}.tmp")
        self._segments: list[int] = []
        self._segment_starts: list[int] = []
        try:
            self._sink = Sink(self._temporary, "w+b")
        except OSError as error:
            raise self._failure(error) from None
        # the newer file format and fletcher32 carry checksums, so that damage is noticed and not computed with
        self._file = h5py.File(self._sink, "w", libver=("v110", "v110"), rdcc_nbytes=_CACHE_BYTES)
        self._lay_out(com_dtype)
        self._describe(attributes or {})
        self._check()

    def _lay_out(self, com_dtype: DTypeLike) -> None:
        self._group = self._file.create_group("mlgle")
        self._channels: dict[tuple[str, str], h5py.Dataset] = {}
        for own in self._system.species:
            for channel in own.channels:
                dtype = com_dtype if channel == "com" else CHANNELS[channel][0]
                dataset = self._dataset(dataset_name(own.name, channel), own.shape(channel), dtype)
                self._channels[own.name, channel] = dataset
        self._step = self._dataset("mlgle/step", (), np.int64)
        box = self._file.create_group("particles/chains/box")
        box.attrs["dimension"] = 3
        box.attrs["boundary"] = ["none"] * 3
        position, com = self._file.create_group("particles/chains/position"), self._channels[CHAINS, "com"]
        position["value"], position["step"] = com, self._step
        self._time = self._dataset("particles/chains/position/time", (), np.float64)
        for dataset, unit in ((com, self._system.length_unit), (self._time, self._system.time_unit)):
            if unit in KNOWN_UNITS:
                dataset.attrs["unit"] = unit

    def _dataset(self, name: str, frame_shape: tuple[int, ...], dtype: DTypeLike) -> h5py.Dataset:
        frame_bytes = int(np.prod(frame_shape)) * np.dtype(dtype).itemsize
        frames = min(max(_CHUNK_BYTES // max(frame_bytes, 1), 1), 4096)
        shape = tuple(max(n, 1) for n in frame_shape)
        return self._file.create_dataset(
            name,
            (0, *frame_shape),
            dtype=dtype,
            maxshape=(None, *frame_shape),
            chunks=(frames, *shape),
            fletcher32=True,
        )

    def _describe(self, attributes: JsonMapping) -> None:
        h5md = self._file.create_group("h5md")
        h5md.attrs["version"] = np.array([1, 1], dtype=np.int32)
        h5md.create_group("author").attrs["name"] = "unknown"
        h5md.create_group("creator").attrs["name"] = CREATOR
        h5md["creator"].attrs["version"] = __version__
        values = {
            name: value for name, value in vars(self._system).items() if name not in ("notes", "left_out", *LAYOUT)
        }
        layout = {name: value for name, value in described(self._system).items() if name in LAYOUT}
        if self._system.directions == ALL_FREE:
            del layout["directions"]
        self._group.attrs["layout"] = np.bytes_(json.dumps(layout).encode())
        texts = {name: getattr(self._system, name) for name in TEXTS}
        self._group.attrs["texts"] = np.bytes_(json.dumps(texts).encode())
        values |= {"schema": SCHEMA, "creator": f"{CREATOR} {__version__}", **attributes}
        for name, value in values.items():
            if value is not None:
                self._group.attrs[name] = int(value) if isinstance(value, bool) else value
        self._group.attrs.create("notes", list(self._system.notes), dtype=h5py.string_dtype())

    @uninterrupted()
    def append(self, frames: Frames) -> None:
        """Write consecutive frames with all channels of the system; modes may be missing from some frame on.

        Raises:
            RunFailure: disk full or the like.
            ValueError: wrong channels or shapes, or modes again after frames without.
        """
        found = {(species, channel): values for species, channel, values in frames.arrays()}
        with_modes = (CHAINS, "modes") in found
        wanted = {key for key in self._channels if with_modes or key != (CHAINS, "modes")}
        fits = found.keys() == wanted and all(v.shape[1:] == self._channels[k].shape[1:] for k, v in found.items())
        if not fits or any(len(values) != len(frames) for values in found.values()):
            shapes = {"/".join(key): values.shape for key, values in found.items()}
            raise ValueError(f"{len(frames)} frames with {shapes} do not fit {self._system}")
        if with_modes and self.n_mode_frames != self.n_frames:
            raise ValueError("frames with modes come after frames without")
        self._extend(self._step, frames.steps)
        self._extend(self._time, frames.steps * (self._system.dt / self._system.every))
        for key, values in found.items():
            self._extend(self._channels[key], values)
        self.n_mode_frames += len(frames) if with_modes else 0
        self._check()
        for i, segment in enumerate(frames.segments.tolist()):
            if not self._segments or segment != self._segments[-1]:
                self._segments.append(segment)
                self._segment_starts.append(self.n_frames + i)
        self.n_frames += len(frames)

    @staticmethod
    def _extend(dataset: h5py.Dataset, rows: np.ndarray) -> None:
        start = dataset.shape[0]
        dataset.resize(start + len(rows), axis=0)
        dataset[start:] = rows

    @uninterrupted()
    def close(self) -> None:
        """Finish the file and give it its name; raise RunFailure where that fails."""
        self._group.attrs["mode_frames"] = self.n_mode_frames
        self._group.attrs["segments"] = np.array(self._segment_starts, dtype=np.int64)
        self._group.attrs["segment_numbers"] = np.array(self._segments, dtype=np.int64)
        self._file.close()
        self._check()
        try:
            os.fsync(self._sink.fileno())
            self._sink.close()
            os.replace(self._temporary, self.path)
        except OSError as error:
            self.abort()
            raise self._failure(error) from None

    @uninterrupted()
    def abort(self) -> None:
        """Remove the unfinished file."""
        self._file.close()
        self._sink.close()
        self._temporary.unlink(missing_ok=True)

    def _check(self) -> None:
        """Raise RunFailure, with the unfinished file removed, where something could not be written."""
        if self._sink.error is not None:
            self.abort()
            raise self._failure(self._sink.error)

    def _failure(self, error: OSError) -> RunFailure:
        return RunFailure(f"cannot write {self.path}: {error.strerror or one_line(error)}")

    def __enter__(self) -> FramesWriter:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file, or remove it after an exception."""
        if kind is None:
            self.close()
        else:
            self.abort()


class GeneratedWriter:
    """Write ``generated.h5`` as the integrator goes on; a context manager like FramesWriter.

    The file has the layout of ``modes.h5`` with trajectories on the chain axis and everything float32; its ``step``
    counts integrator steps, and ``dt`` is the time between two frames kept.

    Attributes:
        expected_bytes: size of the finished file, known before anything is written.
    """

    def __init__(
        self,
        path: Path,
        system: System,
        n_trajectories: int,
        n_frames: int,
        save_every: int = 1,
        start_step: int | None = None,
        attributes: JsonMapping | None = None,
    ) -> None:
        """Start the file.

        Args:
            path: its final name.
            system: of the melt that was learned from (its ``dt`` is one integrator step).
            n_trajectories: on the chain axis.
            n_frames: that will be kept, for the size.
            save_every: integrator steps between two frames kept.
            start_step: MD step of the recorded frame that the trajectories start from; None where unknown.
            attributes: further attributes, such as ``seed``.

        Raises:
            UserError: the disk has no room for ``expected_bytes``.
            RunFailure: the file cannot be written.
        """
        self.expected_bytes = generated_bytes(n_frames, n_trajectories, system.n_modes)
        self._save_every, self._directions = save_every, system.directions
        try:
            free = shutil.disk_usage(path.parent).free
        except OSError as error:
            raise RunFailure(f"cannot write {path}: {error.strerror or one_line(error)}") from None
        if free < self.expected_bytes:
            raise UserError(
                f"{path} needs {self.expected_bytes / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB free: "
                "raise `save_every`, or lower `ensemble` or the number of steps"
            )
        generated = replace(
            system, n_chains=n_trajectories, dt=system.dt * save_every, every=save_every,
            source=f"generated from {system.source}", notes=(), channels=("com", "modes"), others=(),
            masses=(),
        )  # fmt: skip
        told = {"save_every": save_every, "integrator_dt": system.dt, "start_step": start_step}
        self._writer = FramesWriter(path, generated, np.float32, {**told, **(attributes or {})})

    @property
    def n_frames(self) -> int:
        """Frames written so far."""
        return self._writer.n_frames

    def append(self, frames: Frames) -> None:
        """Write consecutive kept frames of trajectories, zero in closed directions where they have d columns.

        Raises:
            RunFailure: disk full or the like.
            ValueError: wrong channels or shapes.
        """
        self._writer.append(frames.embedded(self._directions))

    def close(self) -> None:
        """Finish the file and give it its name; raise RunFailure where that fails."""
        self._writer.close()

    def abort(self) -> None:
        """Remove the unfinished file."""
        self._writer.abort()

    def __enter__(self) -> GeneratedWriter:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file, or remove it after an exception."""
        self._writer.__exit__(kind, error, trace)


def generated_bytes(n_frames: int, n_trajectories: int, n_modes: int) -> int:
    """Return the size of a generated.h5: float32 centres and modes, and 16 bytes of step and time per frame."""
    return n_frames * (n_trajectories * (n_modes + 1) * 3 * 4 + 16) + 65536
