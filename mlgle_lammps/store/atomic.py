"""Files that are whole or absent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mlgle_lammps.errors import RunFailure, one_line


@contextlib.contextmanager
def written_atomically(path: Path, what: str = "") -> Iterator[BinaryIO]:
    """Open a file that gets the name ``path`` when it is whole: ``path`` is the old one or the new, never half of it.

    Args:
        path: its name.
        what: what is written, for the message, such as "the stream to ".

    Raises:
        RunFailure: disk full, no permission, read-only.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunFailure(f"cannot write {what}{path}: {error.strerror or one_line(error)}") from None


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all; raise RunFailure as `written_atomically` does."""
    with written_atomically(path) as file:
        file.write(data)
