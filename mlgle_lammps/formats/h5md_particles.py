"""Particle positions in H5MD files of any origin, with image flags, ids and box, in the file's own precision.

MDAnalysis ignores H5MD's image flags and reads in single precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.formats.bead_frames import BeadFrame
from mlgle_lammps.records import Float64, Int64

BLOCK_BYTES = 2**25
_BROKEN = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError)


def has_mode_stream(path: Path) -> bool:
    """Tell whether a file is one of this program's own mode streams; a damaged .h5 counts, for its reader to say so."""
    try:
        with h5py.File(path, "r") as file:
            return "mlgle" in file
    except OSError:
        return path.suffix == ".h5"


def is_hdf5(path: Path) -> bool:
    """Tell whether the file is HDF5."""
    return bool(h5py.is_hdf5(path))


def h5md_units(path: Path) -> tuple[str | None, str | None]:
    """Return the names of time and length unit, None where the file does not say."""
    try:
        with h5py.File(path, "r") as file:
            position = _group(file, path)["position"]
            return _unit(position.get("time")), _unit(position["value"])
    except _BROKEN as error:
        raise UserError(f"{path} is damaged: {one_line(error)}") from None


def read_h5md(path: Path, ids: Int64) -> Iterator[BeadFrame]:
    """Yield the frames of the file's one group of particles.

    Args:
        path: the file.
        ids: (atom,) ids, in order, for files that hold none.

    Raises:
        UserError: not H5MD, more than one group with positions, damaged, or another number of particles than ``ids``
            where the file has no ids.
    """
    try:
        with h5py.File(path, "r") as file:
            yield from _Particles(path, _group(file, path), ids).frames()
    except _BROKEN as error:
        raise UserError(f"{path} cannot be read as H5MD: {one_line(error)}") from None


def _group(file: h5py.File, path: Path) -> h5py.Group:
    particles = file.get("particles", {})
    names = [name for name in particles if "position/value" in particles[name]]
    if len(names) != 1:
        found = f"{len(names)} groups with positions ({', '.join(names)})" if names else "no positions"
        raise UserError(f"{path} has {found} under /particles; one is needed")
    return particles[names[0]]


def _unit(dataset: Any) -> str | None:
    name = None if dataset is None else dataset.attrs.get("unit")
    return name.decode() if isinstance(name, bytes) else name


class _Particles:
    """One pass over a group of particles."""

    def __init__(self, path: Path, group: h5py.Group, ids: Int64) -> None:
        self._group = group
        self._value = group["position/value"]
        self._n_frames, n_atoms = self._value.shape[:2]
        if self._element("id") is None and n_atoms != len(ids):
            raise UserError(f"{path} has {n_atoms} particles without ids, the topology has {len(ids)} atoms")
        self._ids = ids

    def _element(self, name: str) -> Any:
        """Return an H5MD element: its group where it depends on time, its dataset where it does not, or None."""
        return self._group.get(name)

    def _block(self, name: str, start: int, stop: int) -> np.ndarray | None:
        """Return an element for a range of frames, None where there is none."""
        element = self._element(name)
        if element is None:
            return None
        if isinstance(element, h5py.Group):
            return np.asarray(element["value"][start:stop])
        return np.broadcast_to(element[()], (stop - start, *element.shape))

    def _clock(self, name: str) -> np.ndarray | None:
        """Return steps or times of all frames; H5MD may give them by stride and offset."""
        dataset = self._group["position"].get(name)
        if dataset is None:
            return None
        if dataset.shape:
            return np.asarray(dataset[: self._n_frames])
        return dataset.attrs.get("offset", 0) + dataset[()] * np.arange(self._n_frames)

    def _cells(self, start: int, stop: int) -> Float64 | None:
        """Return (frame, 3, 3) rows, zero where not periodic; None where the file has no box."""
        edges = self._block("box/edges", start, stop)
        if edges is None:
            return None
        cells = edges.astype(np.float64)
        if cells.ndim == 2:
            cells = cells[:, :, np.newaxis] * np.eye(3)
        boundary = self._group["box"].attrs.get("boundary", ["periodic"] * 3)
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in np.atleast_1d(boundary)]
        periodic = np.array([name == "periodic" for name in (names * 3 if len(names) == 1 else names)], float)
        return cells * periodic[:, np.newaxis]

    def frames(self) -> Iterator[BeadFrame]:
        """Yield the frames, read in blocks."""
        steps, times = self._clock("step"), self._clock("time")
        size = max(BLOCK_BYTES // (max(self._value.shape[1], 1) * 48), 1)
        for start in range(0, self._n_frames, size):
            stop = min(start + size, self._n_frames)
            positions = self._value[start:stop].astype(np.float64)
            ids, images = self._block("id", start, stop), self._block("image", start, stop)
            cells = self._cells(start, stop)
            for i in range(stop - start):
                yield BeadFrame(
                    step=None if steps is None else int(steps[start + i]),
                    time=None if times is None else float(times[start + i]),
                    ids=self._ids if ids is None else ids[i].astype(np.int64),
                    positions=positions[i],
                    images=None if images is None else images[i].astype(np.int64),
                    cell=None if cells is None else cells[i],
                    unwrapped=False,
                )
