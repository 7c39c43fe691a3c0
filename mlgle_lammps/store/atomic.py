"""Files that are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

from mlgle_lammps.errors import RunFailure, one_line


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
