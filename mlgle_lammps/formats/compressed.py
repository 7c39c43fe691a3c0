"""Text files, plain or compressed: gzip, bzip2, xz and Zstandard, told by their first bytes and not by their names."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, cast

from mlgle_lammps.errors import UserError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GZIP, BZIP2, XZ, ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
UNREADABLE: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a damaged file may raise, of the standard library's readers."""


def own_suffix(path: Path) -> str:
    """Return a file's suffix in small letters, of a packed file that below: ".xyz" of t.xyz and of t.xyz.gz."""
    bare = path.with_suffix("") if path.suffix.lower() in PACKED_SUFFIXES else path
    return bare.suffix.lower()


def open_text(path: Path) -> IO[str]:
    """Open a text file; every byte is a character (Latin-1), so that no title can make it unreadable.

    Raises:
        UserError: Zstandard, and nothing that reads it is installed.
        OSError: no such file, or not readable.
    """
    with open(path, "rb") as file:
        start = file.read(6)
    binary: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile | IO[bytes]
    if start.startswith(GZIP):
        binary = gzip.open(path, "rb")  # noqa: SIM115
    elif start.startswith(BZIP2):
        binary = bz2.open(path, "rb")  # noqa: SIM115
    elif start == XZ:
        binary = lzma.open(path, "rb")  # noqa: SIM115
    elif start.startswith(ZSTD):
        binary = _open_zstd(path)
    else:
        return open(path, encoding="latin-1")
    return io.TextIOWrapper(binary, encoding="latin-1")


def _open_zstd(path: Path) -> IO[bytes]:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return cast(IO[bytes], zstd.open(path, "rb"))
    try:
        import zstandard
    except ImportError:
        raise UserError(
            f"{path} is compressed by Zstandard: pip install 'mlgle_lammps[trajectories]', or unpack it"
        ) from None
    return io.BufferedReader(_ZstdFile(zstandard, path))


class _ZstdFile(io.RawIOBase):
    """A Zstandard file, its frames one after another; a cut or damaged one raises EOFError or OSError."""

    def __init__(self, zstandard: ModuleType, path: Path) -> None:
        self._error, self._file = zstandard.ZstdError, open(path, "rb")  # noqa: SIM115
        self._new = zstandard.ZstdDecompressor().decompressobj
        self._object, self._begun, self._ready = self._new(), False, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer with what comes next; return how much that is, 0 at the end."""
        while not self._ready:
            packed = self._object.unused_data if self._object.eof else b""
            if self._object.eof:
                self._object, self._begun = self._new(), False
            packed = packed or self._file.read(2**17)
            if not packed:
                if self._begun:
                    raise EOFError("the compressed file ended before the end of the stream")
                return 0
            self._begun = True
            try:
                self._ready = self._object.decompress(packed)
            except self._error as error:
                raise OSError(str(error)) from None
        view = memoryview(buffer).cast("B")
        n = min(len(view), len(self._ready))
        view[:n], self._ready = self._ready[:n], self._ready[n:]
        return n

    def close(self) -> None:
        self._file.close()
        super().close()
