"""Writing beads for OVITO, VMD, MDAnalysis and LAMMPS: text dump, H5MD, XYZ, data file."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import h5py
import numpy as np

from mlgle_lammps import __version__
from mlgle_lammps.errors import RunFailure, one_line
from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.store.sink import Sink, uninterrupted
from mlgle_lammps.store.writer import CREATOR, KNOWN_UNITS

BEAD_BYTES = {"lammps-dump": 52, "h5md": 24, "xyz": 38, "data": 60}
"""About what one bead takes in one frame."""
SUFFIXES = {"lammps-dump": "lammpstrj", "h5md": "h5md", "xyz": "xyz", "data": "data"}


@dataclass(frozen=True)
class BeadLayout:
    """What all frames of a file share.

    Attributes:
        n_chains: chains; bead ids count along each, from 1.
        n_beads: beads per chain.
        box: lx, ly, lz, xy, xz, yz of the periodic box with a corner at the origin; None for none.
        time_unit: of the times written.
        length_unit: of the positions.
        mass: of a bead, for data files; None leaves it to the deck.
        title: one line for people.
        edges: bonds of each molecule where it is not a linear chain.
    """

    n_chains: int
    n_beads: int
    box: tuple[float, ...] | None
    time_unit: str
    length_unit: str
    mass: float | None = None
    title: str = ""
    edges: tuple[tuple[int, int], ...] = ()

    @property
    def cell(self) -> Float64 | None:
        """(3, 3) rows a, b, c."""
        if self.box is None:
            return None
        lx, ly, lz, xy, xz, yz = self.box
        return np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])

    def wrapped(self, positions: Float64) -> tuple[Float64, Int64]:
        """Return positions (bead, 3) in the box and image flags; as they are and zero without a box."""
        cell = self.cell
        if cell is None:
            return positions, np.zeros(positions.shape, dtype=np.int64)
        fractions: Float64 = positions @ np.linalg.inv(cell).astype(np.float64)
        images = np.floor(fractions).astype(np.int64)
        return positions - images @ cell, images

    def bonds(self) -> Int64:
        """Return (bond, 2) bead ids."""
        ids = 1 + np.arange(self.n_chains * self.n_beads).reshape(self.n_chains, self.n_beads)
        if self.edges:
            return ids[:, np.array(self.edges)].reshape(-1, 2)
        return np.stack([ids[:, :-1].ravel(), ids[:, 1:].ravel()], axis=1)

    def molecules(self) -> Int64:
        """Return (bead,) molecule ids."""
        return 1 + np.repeat(np.arange(self.n_chains), self.n_beads)


class BeadWriter:
    """Write frames to a file that gets its name when it is whole; a context manager. Subclasses know the format.

    Signals wait until a frame is written.

    Raises:
        RunFailure: from every method, where the file cannot be written.
    """

    def __init__(self, path: Path, layout: BeadLayout) -> None:
        self.path, self._layout = path, layout
        self._temporary = path.with_name(f"{path.name}.tmp")

    def write(self, step: int, time: float, positions: Float64) -> None:
        """Write one frame of unwrapped positions, (chain, bead, 3)."""
        try:
            with uninterrupted():
                self._write(step, time, positions.reshape(-1, 3))
        except OSError as error:
            raise self._failure(error) from None

    def _failure(self, error: OSError) -> RunFailure:
        return RunFailure(f"cannot write {self.path}: {error.strerror or one_line(error)}")

    def _open(self) -> None:
        raise NotImplementedError

    def _write(self, step: int, time: float, positions: Float64) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> BeadWriter:
        """Open the file and return the writer."""
        try:
            with uninterrupted():
                self._open()
        except OSError as error:
            raise self._failure(error) from None
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    @uninterrupted()
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the file its name, or remove it after an exception."""
        try:
            self._close()
            if kind is None:
                with self._temporary.open("rb") as written:
                    os.fsync(written.fileno())
                os.replace(self._temporary, self.path)
        except OSError as failure:
            if kind is None:
                raise self._failure(failure) from None
        finally:
            self._temporary.unlink(missing_ok=True)


class _TextWriter(BeadWriter):
    _file: IO[str]

    def _open(self) -> None:
        self._file = open(self._temporary, "w", encoding="utf-8")  # noqa: SIM115

    def _close(self) -> None:
        self._file.close()


class LammpsDumpWriter(_TextWriter):
    """``dump custom id mol type x y z ix iy iz`` in the box, or ``xu yu zu`` where there is none."""

    def _write(self, step: int, time: float, positions: Float64) -> None:
        n = len(positions)
        self._file.write(f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{n}\n{self._bounds(positions)}")
        ids, molecules = np.arange(1, n + 1), self._layout.molecules()
        if self._layout.box is None:
            self._file.write("ITEM: ATOMS id mol type xu yu zu\n")
            np.savetxt(self._file, np.column_stack([ids, molecules, positions]), "%d %d 1 %.8g %.8g %.8g")
            return
        inside, images = self._layout.wrapped(positions)
        self._file.write("ITEM: ATOMS id mol type x y z ix iy iz\n")
        table = np.column_stack([ids, molecules, inside, images])
        np.savetxt(self._file, table, "%d %d 1 %.8g %.8g %.8g %d %d %d")

    def _bounds(self, positions: Float64) -> str:
        if self._layout.box is None:
            lines = [f"{low:.8g} {high:.8g}" for low, high in zip(*_around(positions), strict=True)]
            return "\n".join(["ITEM: BOX BOUNDS ff ff ff", *lines, ""])
        lx, ly, lz, xy, xz, yz = self._layout.box
        if not (xy or xz or yz):
            return "\n".join(["ITEM: BOX BOUNDS pp pp pp", *(f"0 {length:.16g}" for length in (lx, ly, lz)), ""])
        x = min(0.0, xy, xz, xy + xz), lx + max(0.0, xy, xz, xy + xz), xy
        y = min(0.0, yz), ly + max(0.0, yz), xz
        lines = [f"{low:.16g} {high:.16g} {tilt:.16g}" for low, high, tilt in (x, y, (0.0, lz, yz))]
        return "\n".join(["ITEM: BOX BOUNDS xy xz yz pp pp pp", *lines, ""])


class XyzWriter(_TextWriter):
    """Extended XYZ, unwrapped, with the box as ``Lattice``."""

    def _write(self, step: int, time: float, positions: Float64) -> None:
        cell = self._layout.cell
        lattice = "" if cell is None else f'Lattice="{" ".join(f"{v:.10g}" for v in cell.ravel())}" pbc="T T T" '
        self._file.write(f"{len(positions)}\n{lattice}Properties=species:S:1:pos:R:3 Time={time:.10g} Step={step}\n")
        np.savetxt(self._file, positions, "X %.8g %.8g %.8g")


class DataWriter(_TextWriter):
    """A LAMMPS data file of the last frame written, with bonds, for atom styles bond, angle and molecular."""

    _last: tuple[int, Float64] | None = None

    def _write(self, step: int, time: float, positions: Float64) -> None:
        self._last = (step, positions)

    def _close(self) -> None:
        if self._last is not None:
            self._write_data(*self._last)
        super()._close()

    def _write_data(self, step: int, positions: Float64) -> None:
        layout, bonds = self._layout, self._layout.bonds()
        low, high = _around(positions) if layout.box is None else (np.zeros(3), np.array(layout.box[:3]))
        lines = [f"{layout.title}, step {step}", "", f"{len(positions)} atoms", f"{len(bonds)} bonds"]
        lines += ["1 atom types", "1 bond types", ""]
        lines += [f"{a:.16g} {b:.16g} {axis}lo {axis}hi" for a, b, axis in zip(low, high, "xyz", strict=True)]
        if layout.box is not None and any(layout.box[3:]):
            lines += [" ".join(f"{tilt:.16g}" for tilt in layout.box[3:]) + " xy xz yz"]
        if layout.mass is not None:
            lines += ["", "Masses", "", f"1 {layout.mass:.10g}"]
        inside, images = layout.wrapped(positions)
        self._file.write("\n".join([*lines, "", "Atoms # bond", "", ""]))
        atoms = np.column_stack([np.arange(1, len(positions) + 1), layout.molecules(), inside, images])
        np.savetxt(self._file, atoms, "%d %d 1 %.10g %.10g %.10g %d %d %d")
        self._file.write("\nBonds\n\n")
        np.savetxt(self._file, np.column_stack([np.arange(1, len(bonds) + 1), bonds]), "%d 1 %d %d")


class H5mdBeadWriter(BeadWriter):
    """H5MD 1.1 with one group of particles, ``beads``: wrapped positions, images, ids, and bonds as connectivity."""

    def _open(self) -> None:
        layout, n = self._layout, self._layout.n_chains * self._layout.n_beads
        self._sink = Sink(self._temporary, "w+b")
        self._file = h5py.File(self._sink, "w")
        h5md = self._file.create_group("h5md")
        h5md.attrs["version"] = np.array([1, 1], dtype=np.int32)
        h5md.create_group("author").attrs["name"] = "unknown"
        h5md.create_group("creator").attrs.update({"name": CREATOR, "version": __version__})
        group = self._file.create_group("particles/beads")
        box = group.create_group("box")
        box.attrs["dimension"] = 3
        box.attrs["boundary"] = ["none" if layout.box is None else "periodic"] * 3
        self._rows = {"position/value": self._dataset(group, "position/value", (n, 3), np.float32)}
        self._rows["position/step"] = self._dataset(group, "position/step", (), np.int64)
        self._rows["position/time"] = self._dataset(group, "position/time", (), np.float64)
        if layout.box is not None:
            self._rows["image/value"] = self._dataset(group, "image/value", (n, 3), np.int32)
            self._rows["box/edges/value"] = self._dataset(group, "box/edges/value", (3, 3), np.float64)
            for name in ("image", "box/edges"):
                group[name]["step"], group[name]["time"] = group["position/step"], group["position/time"]
        for name, unit in (("value", layout.length_unit), ("time", layout.time_unit)):
            if unit in KNOWN_UNITS:
                group["position"][name].attrs["unit"] = unit
        group["id"], group["species"] = np.arange(1, n + 1), np.ones(n, dtype=np.int32)
        bonds = self._file.create_dataset("connectivity/bonds", data=layout.bonds())
        bonds.attrs["particles_group"] = group.ref

    @staticmethod
    def _dataset(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> h5py.Dataset:
        return group.create_dataset(name, (0, *shape), dtype=dtype, maxshape=(None, *shape), chunks=(1, *shape))

    def _write(self, step: int, time: float, positions: Float64) -> None:
        inside, images = self._layout.wrapped(positions)
        rows = {"position/value": inside, "position/step": step, "position/time": time}
        if self._layout.box is not None:
            rows |= {"image/value": images, "box/edges/value": self._layout.cell}
        for name, row in rows.items():
            dataset = self._rows[name]
            dataset.resize(len(dataset) + 1, axis=0)
            dataset[-1] = row
        self._raise_kept()

    def _close(self) -> None:
        self._file.close()
        self._sink.close()
        self._raise_kept()

    def _raise_kept(self) -> None:
        if self._sink.error is not None:
            raise self._sink.error


def _around(positions: Float64) -> tuple[Float64, Float64]:
    """Return the corners of a box a little larger than the beads."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    margin = 0.01 * max(float((high - low).max()), 1e-300)
    return low - margin, high + margin


WRITERS: dict[str, type[BeadWriter]] = {
    "lammps-dump": LammpsDumpWriter,
    "h5md": H5mdBeadWriter,
    "xyz": XyzWriter,
    "data": DataWriter,
}
