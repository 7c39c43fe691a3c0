"""Reading .npz archives from anywhere: lazily, never as code, nothing allocated on a file's word alone."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from types import TracebackType

import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.plain import AnyArray, JsonValue

MAX_ROW_BYTES = 2**28
"""Largest row (one frame) that is read: 256 MiB."""
MAX_COMPRESSION = 1100
"""More than deflate can shrink anything; a file that declares more lies about its size."""

_BROKEN = (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


class NpyStream:
    """One array of an archive, read from its beginning, rows (first axis) at a time.

    Attributes:
        shape: as the header declares it, checked against the bytes that are there.
        dtype: a plain number or text type; never objects.
    """

    def __init__(self, archive: zipfile.ZipFile, name: str, path: Path) -> None:
        """Open the member ``name``.npy; raise UserError where it is not an honest array of plain values."""
        self._where = f"{path}: array '{name}'"
        try:
            information = archive.getinfo(f"{name}.npy")
            self._file = archive.open(information)
            version = np.lib.format.read_magic(self._file)
            if version not in ((1, 0), (2, 0), (3, 0)):
                raise ValueError(f"unknown .npy version {version}")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            self.shape, fortran_order, self.dtype = read(self._file)
        except KeyError:
            raise UserError(f"{path}: no array '{name}' in it") from None
        except (*_BROKEN, SyntaxError, MemoryError, tokenize.TokenError) as error:
            raise UserError(f"{self._where} cannot be read: {one_line(error)}") from None
        if self.dtype.hasobject:
            raise UserError(f"{self._where} holds Python objects, which are never loaded; save plain numbers")
        if fortran_order and len(self.shape) > 1:
            raise UserError(f"{self._where} is in Fortran order; save np.ascontiguousarray of it")
        self._check_size(information, path)
        self._rows_read = 0

    def _check_size(self, information: zipfile.ZipInfo, path: Path) -> None:
        declared = math.prod(self.shape) * self.dtype.itemsize
        present = information.file_size - self._file.tell()
        packed = min(information.compress_size, path.stat().st_size)
        bound = packed if information.compress_type == zipfile.ZIP_STORED else MAX_COMPRESSION * (packed + 1)
        if min(self.shape, default=1) < 0 or declared != present or present > bound:
            raise UserError(
                f"{self._where} declares {declared} bytes (shape {self.shape}), the file holds {min(present, bound)}"
            )
        if self.row_bytes > MAX_ROW_BYTES:
            raise UserError(
                f"{self._where} of shape {self.shape} has rows of {self.row_bytes} bytes, too large to read"
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of one row; of the whole where the array has no axis."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, n_rows: int) -> AnyArray:
        """Return the next ``n_rows`` rows (fewer at the end) as a new array; raise UserError on damage."""
        n_rows = min(n_rows, self.shape[0] - self._rows_read)
        wanted = n_rows * self.row_bytes
        try:
            raw = self._file.read(wanted)
        except _BROKEN as error:
            raise UserError(f"{self._where} is damaged after row {self._rows_read}: {one_line(error)}") from None
        if len(raw) != wanted:
            raise UserError(f"{self._where} ends after {len(raw)} of {wanted} bytes from row {self._rows_read}")
        self._rows_read += n_rows
        return np.frombuffer(raw, dtype=self.dtype).reshape(n_rows, *self.shape[1:])

    def read_scalar(self) -> JsonValue:
        """Return the only value of an array of one element as a Python value; raise UserError otherwise."""
        if math.prod(self.shape) != 1:
            raise UserError(f"{self._where} has shape {self.shape} where one value belongs")
        try:
            return np.frombuffer(self._file.read(self.dtype.itemsize), dtype=self.dtype)[0].item()
        except _BROKEN as error:
            raise UserError(f"{self._where} is damaged: {one_line(error)}") from None


class NpzReader:
    """An .npz archive whose arrays are streamed; a context manager."""

    def __init__(self, path: Path) -> None:
        """Open ``path``; raise UserError where it is missing or not a zip archive."""
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file") from None
        except _BROKEN as error:
            raise UserError(f"{path} is not a readable .npz archive: {one_line(error)}") from None

    def __contains__(self, name: str) -> bool:
        """Tell whether there is an array ``name``."""
        return f"{name}.npy" in self._archive.namelist()

    def stream(self, name: str) -> NpyStream:
        """Return the array ``name`` from its first row on."""
        return NpyStream(self._archive, name, self.path)

    def read(self, name: str) -> AnyArray:
        """Return the whole array ``name``, which has at least one axis."""
        stream = self.stream(name)
        if not stream.shape:
            raise UserError(f"{self.path}: array '{name}' is a single value where a series belongs")
        return stream.read(stream.shape[0])

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()

    def __enter__(self) -> NpzReader:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the archive."""
        self.close()
