"""NetCDF trajectories of Amber's convention, also in LAMMPS' layout: ids, image flags, scaled and unwrapped positions.

MDAnalysis takes atoms in the order of the file, which in LAMMPS' files need not be that of ids, knows no unit of time
but ps, and does not read the 64-bit variant (CDF-5) that LAMMPS writes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import BeadFrame, Stamp
from mlgle_lammps.formats.unit_names import unit_name, unit_style
from mlgle_lammps.plain import AnyArray, JsonObject
from mlgle_lammps.records import ANGSTROMS, PICOSECONDS, UNITS, Float64, Int64

MAGIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
TYPES = {1: "i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8", 7: "u1", 8: ">u2", 9: ">u4", 10: ">i8", 11: ">u8"}
POSITIONS = ("unwrapped_coordinates", "coordinates", "scaled_coordinates")
IMAGES = ("ix", "iy", "iz")
LARGEST_SINGLE = 2**24
"""Whole numbers up to here are exact in single precision."""
LONGEST, FLAT = 1e30, 1e-12
"""Edge of a box, and square of its volume over that of a straight one, beyond which a file is damaged."""


def is_netcdf(path: Path) -> bool:
    """Tell whether the file is classic NetCDF."""
    with open(path, "rb") as file:
        return file.read(4) in MAGIC


@dataclass(frozen=True)
class _Variable:
    name: str
    shape: tuple[int, ...]
    by_record: bool
    attributes: JsonObject
    dtype: np.dtype[Any]
    begin: int

    @property
    def row_bytes(self) -> int:
        """Of one record, or of the whole of a variable without them."""
        return math.prod(self.shape[1:] if self.by_record else self.shape) * self.dtype.itemsize


class NetcdfTrajectory:
    """A file of Amber's convention; nothing is allocated on its word alone.

    Args:
        path: the file.
        units: LAMMPS unit style that was asked for, "unknown" takes the file's.

    Attributes:
        units: LAMMPS unit style of what is yielded, "unknown" where the file does not tell.
        time_unit: of what is yielded.
        length_unit: of what is yielded.

    Raises:
        UserError: damaged, without positions, or in other units than those asked for and without a way to them.
    """

    def __init__(self, path: Path, units: str) -> None:
        self._path = path
        try:
            with open(path, "rb") as file:
                self._variables, self._attributes, self._n_frames, self._stride = _Header(file).read()
        except (struct.error, ValueError, KeyError, IndexError, OverflowError, MemoryError) as error:
            raise UserError(f"{path} is not whole NetCDF: {str(error)[:100] or 'its head is damaged'}") from None
        self._kind = next((name for name in POSITIONS if name in self._variables), "")
        if not self._kind or len(self._variables[self._kind].shape) != 3 or self._variables[self._kind].shape[2] != 3:
            raise UserError(f"{path} has no variable coordinates (frame, atom, spatial), as trajectories have")
        self._set_units(units)

    def _set_units(self, units: str) -> None:
        from_lammps = self._text(self._attributes, "program").startswith("LAMMPS")
        distance = self._variables[self._kind if self._kind != POSITIONS[2] else "cell_lengths"]
        time = self._variables.get("time")
        written = (
            "" if time is None else self._text(time.attributes, "units"),
            self._text(distance.attributes, "units"),
        )
        told = unit_style(*written)
        self._time_unit, self._length_unit = unit_name(written[0]) or "ps", unit_name(written[1]) or "Angstrom"
        if told == "lj" and units not in ("unknown", "lj"):
            raise UserError(f"{self._path} is in units lj, `units` says {units}: leave that option out")
        self.units = (told if from_lammps else "unknown") if units == "unknown" else units
        self.time_unit, self.length_unit = UNITS.get(self.units, (self._time_unit, self._length_unit))
        plain = self.units == "lj"
        self._time_scale = 1.0 if plain else self._ratio(PICOSECONDS, self._time_unit, self.time_unit)
        self._length_scale = 1.0 if plain else self._ratio(ANGSTROMS, self._length_unit, self.length_unit)

    def _ratio(self, table: dict[str, float], written: str, wanted: str) -> float:
        """Return by what a number of the file is divided."""
        if written == wanted:
            return 1.0
        if written not in table or wanted not in table:
            raise UserError(f"{self._path} is in {written[:40]}, `units` {self.units} means {wanted}")
        return table[wanted] / table[written]

    @staticmethod
    def _text(attributes: JsonObject, name: str) -> str:
        value = attributes.get(name, "")
        return value if isinstance(value, str) else ""

    @cached_property
    def _stamps(self) -> list[Stamp]:
        variable = self._variables.get("time")
        if variable is None or variable.shape != (self._n_frames,):
            return [Stamp(None, None)] * self._n_frames
        with open(self._path, "rb") as file:
            raw = [float(self._row(file, variable, number)) for number in range(self._n_frames)]
        scale = float(variable.attributes.get("scale_factor", 1.0))
        scale = float(f"{scale:.7g}")  # LAMMPS stores it in single precision
        # LAMMPS writes the step as time and the time step as its scale
        whole = "scale_factor" in variable.attributes and all(abs(x) < LARGEST_SINGLE and x == round(x) for x in raw)
        return [Stamp(int(x) if whole else None, x * scale / self._time_scale) for x in raw]

    def stamps(self) -> list[Stamp]:
        """Return step and time of each frame."""
        return self._stamps

    def frames(self, ids: Int64) -> Iterator[BeadFrame]:
        """Yield the frames.

        Args:
            ids: (atom,) of the topology, in order, for files that hold none.

        Raises:
            UserError: another number of atoms than ``ids`` where the file holds none, or damage.
        """
        names = (self._kind, "id", *IMAGES, "cell_lengths", "cell_angles", "cell_origin")
        found = {name: self._variables[name] for name in names if name in self._variables}
        n_atoms = found[self._kind].shape[1]
        if "id" not in found and n_atoms != len(ids):
            raise UserError(
                f"{self._path} has {n_atoms} atoms, the topology has {len(ids)}: they do not belong together"
            )
        for name in ("id", *IMAGES):
            if name in found and (found[name].shape[-1] != n_atoms or found[name].dtype.kind not in "iu"):
                raise UserError(f"{self._path}: {name} is not one whole number for each of the {n_atoms} atoms")
        with open(self._path, "rb") as file:
            for number, stamp in enumerate(self.stamps()):
                rows = {name: self._row(file, variable, number) for name, variable in found.items()}
                yield self._frame(stamp, rows, ids)

    def _frame(self, stamp: Stamp, rows: dict[str, AnyArray], ids: Int64) -> BeadFrame:
        cell = self._cell(rows)
        origin = rows["cell_origin"].astype(np.float64) / self._length_scale if "cell_origin" in rows else None
        positions = rows[self._kind].astype(np.float64)
        if self._kind == POSITIONS[2]:
            if cell is None:
                raise UserError(f"{self._path} has scaled positions and no box")
            positions = positions @ cell + (0.0 if origin is None else origin)
        else:
            positions = positions / self._length_scale
        with_images = self._kind != POSITIONS[0] and all(name in rows for name in IMAGES)
        images = np.stack([rows[name] for name in IMAGES], axis=1).astype(np.int64) if with_images else None
        own = rows["id"].astype(np.int64) if "id" in rows else ids
        unwrapped = self._kind == POSITIONS[0]
        return BeadFrame(stamp.step, stamp.time, own, positions, images, cell, unwrapped, origin)

    def _cell(self, rows: dict[str, AnyArray]) -> Float64 | None:
        if "cell_lengths" not in rows or "cell_angles" not in rows:
            return None
        lengths, angles = (rows[name].astype(np.float64) for name in ("cell_lengths", "cell_angles"))
        periodic = lengths > 0  # a length of 0 says that the direction is not
        if not periodic.any():
            return None
        cell = _cell_vectors(np.where(periodic, lengths, 1.0), angles)
        if cell is None:
            raise UserError(f"{self._path}: lengths {lengths.tolist()} and angles {angles.tolist()} span no box")
        return cell * (periodic[:, np.newaxis] / self._length_scale)

    def _row(self, file: IO[bytes], variable: _Variable, number: int) -> AnyArray:
        """Return a variable's values in one frame, scaled as the file says (all but the time)."""
        shape = variable.shape[1:] if variable.by_record else variable.shape
        file.seek(variable.begin + (number * self._stride if variable.by_record else 0))
        data = file.read(variable.row_bytes)
        if len(data) < variable.row_bytes:
            raise UserError(f"{self._path} ends within frame {number}")
        row = np.frombuffer(data, dtype=variable.dtype).reshape(shape)
        if variable.name != "time" and "scale_factor" in variable.attributes:
            row = row * np.float64(variable.attributes["scale_factor"])
        return row


def _cell_vectors(lengths: Float64, angles: Float64) -> Float64 | None:
    """Return rows a along x, b in the xy plane and c, as LAMMPS has them; None where there is no such box.

    Args:
        lengths: (3,) of a, b and c.
        angles: (3,) between b and c, a and c, a and b, degrees.
    """
    if not ((lengths < LONGEST).all() and (angles > 0).all() and (angles < 180).all()):
        return None
    alpha, beta, gamma = np.where(angles == 90, 0.0, np.cos(np.radians(angles)))
    squared_volume = 1 - alpha**2 - beta**2 - gamma**2 + 2 * alpha * beta * gamma  # for lengths of 1
    if not squared_volume > FLAT:
        return None
    sine = math.sqrt(1 - gamma**2)
    rows = [[1, 0, 0], [gamma, sine, 0], [beta, (alpha - beta * gamma) / sine, math.sqrt(squared_volume) / sine]]
    cell: Float64 = np.array(rows, dtype=np.float64) * lengths[:, np.newaxis]
    return cell


class _Header:
    """Reads the head of a classic NetCDF file (CDF-1, CDF-2, CDF-5)."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._version = 0

    def read(self) -> tuple[dict[str, _Variable], JsonObject, int, int]:
        """Return variables and attributes by name, the number of whole records and the bytes from one to the next."""
        self._version = self._file.read(4)[3]
        n_records = self._count()
        dimensions = [(self._name(), self._count()) for _ in range(self._list())]
        attributes = self._attributes()
        variables = [self._variable([size for _, size in dimensions], n_records) for _ in range(self._list())]
        by_record = [variable for variable in variables if variable.by_record]
        padded = [-(-variable.row_bytes // 4) * 4 for variable in by_record]
        stride = by_record[0].row_bytes if len(by_record) == 1 else sum(padded)
        size = self._file.seek(0, 2)
        if any(v.begin + v.row_bytes > size for v in variables if not v.by_record):
            raise ValueError("it declares more than the file holds")
        if by_record and stride:
            last = max(v.begin + v.row_bytes for v in by_record)
            n_records = min(n_records, max((size - last) // stride + 1, 0))
        found = {v.name: v.__class__(**{**vars(v), "shape": self._shape(v, n_records)}) for v in variables}
        return found, attributes, n_records if by_record else 0, stride

    @staticmethod
    def _shape(variable: _Variable, n_records: int) -> tuple[int, ...]:
        return (n_records, *variable.shape[1:]) if variable.by_record else variable.shape

    def _unpack(self, form: str) -> int:
        return int(struct.unpack(form, self._file.read(struct.calcsize(form)))[0])

    def _count(self) -> int:
        return self._unpack(">Q" if self._version == 5 else ">I")

    def _list(self) -> int:
        self._unpack(">I")  # a tag
        n = self._count()
        if n > 2**16:
            raise ValueError(f"a list of {n} entries")
        return n

    def _name(self) -> str:
        return self._padded(self._count()).decode("utf-8", errors="replace")

    def _padded(self, n: int) -> bytes:
        if n > 2**20:
            raise ValueError(f"a name or attribute of {n} bytes")
        data = self._file.read(-(-n // 4) * 4)
        if len(data) < n:
            raise ValueError("it ends within its head")
        return data[:n]

    def _attributes(self) -> JsonObject:
        found = {}
        for _ in range(self._list()):
            name, dtype, n = self._name(), np.dtype(TYPES[self._unpack(">I")]), self._count()
            data = self._padded(n * dtype.itemsize)
            if dtype.kind == "S":
                found[name] = data.rstrip(b"\0").decode("utf-8", errors="replace")
            elif n:
                found[name] = np.frombuffer(data, dtype=dtype)[0]
        return found

    def _variable(self, sizes: list[int], n_records: int) -> _Variable:
        name = self._name()
        places = [self._count() for _ in range(min(self._count(), 1024))]
        by_record = bool(places) and sizes[places[0]] == 0
        attributes = self._attributes()
        dtype = np.dtype(TYPES[self._unpack(">I")])
        self._count()  # its size, which says nothing new
        begin = self._unpack(">I" if self._version == 1 else ">Q")
        return _Variable(name, tuple(sizes[p] for p in places), by_record, attributes, dtype, begin)
