"""Particle positions in H5MD files of any origin, with image flags, ids and box, in the file's own precision.

MDAnalysis ignores H5MD's image flags and reads in single precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.formats.bead_frames import BeadFrame, Stamp
from mlgle_lammps.formats.unit_names import unit_name
from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.store.npz import MAX_COMPRESSION

BLOCK_BYTES = 2**25
_BROKEN = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError)


def has_mode_stream(path: Path) -> bool:
    """Tell whether a file is one of this program's own mode streams; a damaged .h5 counts, for its reader to say so."""
    try:
        with h5py.File(path, "r") as file:
            return file.get("mlgle", getlink=True) is not None  # a link is not followed
    except (OSError, RuntimeError):
        return path.suffix == ".h5"


def is_hdf5(path: Path) -> bool:
    """Tell whether the file is HDF5."""
    return bool(h5py.is_hdf5(path))


def h5md_units(path: Path, group: str | None) -> tuple[str | None, str | None]:
    """Return the names of time and length unit of a group, None where the file does not say."""
    try:
        with h5py.File(path, "r") as file:
            position = _group(file, path, group)["position"]
            return _unit(position.get("time")), _unit(position["value"])
    except _BROKEN as error:
        raise UserError(f"{path} is damaged: {one_line(error)}") from None


def particle_group(path: Path, wanted: str | None, n_atoms: int) -> tuple[str | None, str]:
    """Return the name of the group of particles to read, and a note where it was chosen among several.

    Args:
        path: the file.
        wanted: the name that was given, if any.
        n_atoms: of the topology: of several groups, that is taken which alone has so many particles.

    Raises:
        UserError: several groups, and none or more than one of that size; or none of the name that was given.
    """
    try:
        with h5py.File(path, "r") as file:
            sizes = {name: _size(group) for name, group in _groups(file).items()}
    except _BROKEN as error:
        raise UserError(f"{path} cannot be read as H5MD: {one_line(error)}") from None
    if wanted is not None and wanted not in sizes:
        raise UserError(f"{path} has no particles '{wanted}'; `group` names one of {', '.join(sizes) or 'none'}")
    if wanted is not None or len(sizes) < 2:
        return wanted, ""
    fitting = [name for name, size in sizes.items() if size == n_atoms]
    if len(fitting) != 1:
        listed = ", ".join(f"{name} of {size}" for name, size in sizes.items())
        raise UserError(
            f"{path} has {len(sizes)} groups of particles ({listed}), the topology has {n_atoms} atoms: name one with "
            "`group`"
        )
    others = ", ".join(name for name in sizes if name != fitting[0])
    return fitting[0], f"{path}: of its groups of particles {fitting[0]} fits the topology and is read, not {others}"


def _groups(file: h5py.File) -> dict[str, h5py.Group]:
    particles = file.get("particles", {})
    return {name: particles[name] for name in particles if "position/value" in particles[name]}


def _size(group: h5py.Group) -> int:
    value = group["position/value"]
    return int(value.shape[1]) if isinstance(value, h5py.Dataset) and value.ndim == 3 else 0


def read_h5md(path: Path, ids: Int64, group: str | None = None) -> Iterator[BeadFrame]:
    """Yield the frames of a group of particles.

    Args:
        path: the file.
        ids: (atom,) ids, in order, for files that hold none.
        group: name of the group, None where there is only one.

    Raises:
        UserError: not H5MD, more than one group with positions, damaged, or another number of particles than ``ids``
            where the file has no ids.
    """
    try:
        with h5py.File(path, "r") as file:
            yield from _Particles(path, _group(file, path, group), ids).frames()
    except _BROKEN as error:
        raise UserError(f"{path} cannot be read as H5MD: {one_line(error)}") from None


def h5md_stamps(path: Path, ids: Int64, group: str | None = None) -> list[Stamp]:
    """Return steps and times of the frames; raise as `read_h5md` does."""
    try:
        with h5py.File(path, "r") as file:
            return _Particles(path, _group(file, path, group), ids).stamps()
    except _BROKEN as error:
        raise UserError(f"{path} cannot be read as H5MD: {one_line(error)}") from None


def _group(file: h5py.File, path: Path, name: str | None) -> h5py.Group:
    groups = _groups(file)
    names = [other for other in groups if name in (None, other)]
    if len(names) != 1:
        found = f"{len(names)} groups with positions ({', '.join(names)})" if names else "no positions"
        raise UserError(f"{path} has {found} under /particles; one is needed")
    group = groups[names[0]]
    if group.file != file:
        raise UserError(f"{path}: {group.name} is in {group.file.filename}: links to other files are not followed")
    return group


def _unit(dataset: h5py.Dataset | None) -> str | None:
    name = None if dataset is None else dataset.attrs.get("unit")
    name = name.decode() if isinstance(name, bytes) else name
    return unit_name(name) if isinstance(name, str) else None


class _Particles:
    """One pass over a group of particles."""

    def __init__(self, path: Path, group: h5py.Group, ids: Int64) -> None:
        self._path, self._group = path, group
        self._value = group["position/value"]
        self._n_frames, self._n_atoms = self._checked(self._value, "iuf", (None, None, 3)).shape[:2]
        if self._element("id") is None and self._n_atoms != len(ids):
            raise UserError(f"{path} has {self._n_atoms} particles without ids, the topology has {len(ids)} atoms")
        self._ids = ids

    def _checked(self, dataset: object, kinds: str, *shapes: tuple[int | None, ...]) -> h5py.Dataset:
        """Return a dataset of numbers of one of the shapes (None is any length), no larger than its file.

        Raises:
            UserError: it is not.
        """
        where = f"{self._path}: {getattr(dataset, 'name', self._group.name)}"
        if isinstance(dataset, h5py.Dataset) and dataset.file != self._group.file:
            raise UserError(f"{where} is in {dataset.file.filename}: links to other files are not followed")
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in kinds or not dataset.shape:
            raise UserError(f"{where} is not an array of {'numbers' if 'f' in kinds else 'whole numbers'}")
        fitting = [
            shape
            for shape in shapes
            if len(shape) == dataset.ndim and all(n in (None, m) for n, m in zip(shape, dataset.shape, strict=True))
        ]
        if not fitting:
            expected = " or ".join(str(tuple("any" if n is None else n for n in shape)) for shape in shapes)
            raise UserError(f"{where} has shape {dataset.shape}, not {expected}".replace("'", ""))
        declared = math.prod(dataset.shape) * dataset.dtype.itemsize
        stored = min(dataset.id.get_storage_size(), self._path.stat().st_size)
        if dataset.is_virtual or dataset.external or declared > (MAX_COMPRESSION if dataset.chunks else 1) * stored:
            raise UserError(f"{where} declares {declared} bytes (shape {dataset.shape}), the file holds {stored}")
        return dataset

    def _element(self, name: str) -> h5py.Dataset | None:
        """Return an H5MD element: its group where it depends on time, its dataset where it does not, or None."""
        return self._group.get(name)

    def _series(self, name: str, kinds: str, *shapes: tuple[int, ...]) -> Callable[[int, int], np.ndarray] | None:
        """Return a function that reads an element of one of the shapes for a range of frames, None without it."""
        element = self._element(name)
        if element is None:
            return None
        if isinstance(element, h5py.Group):
            value = self._checked(element.get("value"), kinds, *((self._n_frames, *shape) for shape in shapes))
            return lambda start, stop: np.asarray(value[start:stop])
        fixed = self._checked(element, kinds, *shapes)[()]
        return lambda start, stop: np.broadcast_to(fixed, (stop - start, *fixed.shape))

    def _clock(self, name: str) -> np.ndarray | None:
        """Return steps or times of all frames; H5MD may give them by stride and offset."""
        dataset = self._group["position"].get(name)
        if dataset is None:
            return None
        kinds = "iu" if name == "step" else "iuf"
        if dataset.shape:
            return np.asarray(self._checked(dataset, kinds, (self._n_frames,))[:])
        if dataset.dtype.kind not in kinds:
            raise UserError(f"{self._path}: {dataset.name} is not a number")
        return dataset.attrs.get("offset", 0) + dataset[()] * np.arange(self._n_frames)

    def _cells(self, edges: np.ndarray) -> Float64:
        """Return (frame, 3, 3) rows, zero where not periodic."""
        cells = edges.astype(np.float64)
        if cells.ndim == 2:
            cells = cells[:, :, np.newaxis] * np.eye(3)
        boundary = self._group["box"].attrs.get("boundary", ["periodic"] * 3)
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in np.atleast_1d(boundary)]
        names = names * 3 if len(names) == 1 else names
        if len(names) != 3 or not set(names) <= {"periodic", "none"}:
            raise UserError(f"{self._path}: the box's boundary is {', '.join(names)[:60]}, not 3 of periodic and none")
        periodic = np.array([name == "periodic" for name in names])[:, np.newaxis]
        if not np.all(np.linalg.det(np.where(periodic, cells, np.eye(3))) > 0):
            raise UserError(f"{self._path}: box/edges {edges[0].tolist()} span no box")
        return np.where(periodic, cells, 0.0)

    def stamps(self) -> list[Stamp]:
        """Return steps and times of all frames."""
        steps, times = self._clock("step"), self._clock("time")
        return [
            Stamp(None if steps is None else int(steps[i]), None if times is None else float(times[i]))
            for i in range(self._n_frames)
        ]

    def frames(self) -> Iterator[BeadFrame]:
        """Yield the frames, read in blocks."""
        stamps = self.stamps()
        n = self._n_atoms
        read_ids, read_images = self._series("id", "iu", (n,)), self._series("image", "iu", (n, 3))
        read_edges = self._series("box/edges", "iuf", (3,), (3, 3))
        size = max(BLOCK_BYTES // (max(n, 1) * 48), 1)
        for start in range(0, self._n_frames, size):
            stop = min(start + size, self._n_frames)
            positions = self._value[start:stop].astype(np.float64)
            ids, images = (None if read is None else read(start, stop) for read in (read_ids, read_images))
            cells = None if read_edges is None else self._cells(read_edges(start, stop))
            for i in range(stop - start):
                yield BeadFrame(
                    step=stamps[start + i].step,
                    time=stamps[start + i].time,
                    ids=self._ids if ids is None else ids[i].astype(np.int64),
                    positions=positions[i],
                    images=None if images is None else images[i].astype(np.int64),
                    cell=None if cells is None else cells[i],
                    unwrapped=False,
                )
