"""How a run was started, kept in its checkpoint folder for the day it goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps import __version__
from mlgle_lammps.errors import UserError
from mlgle_lammps.store.atomic import write_bytes_atomically
from mlgle_lammps.store.json_object import read_object, record_from

ORIGIN = "run.json"
SCHEMA = 1
MAX_BYTES = 2**20


@dataclass(frozen=True)
class Origin:
    """A run's beginning.

    Attributes:
        arguments: of its command line.
        digest: of the deck with its includes.
        folder: the working directory, which the deck's file names are relative to.
        tables: files that the force field was read from, each its SHA-256, a blank and its name; none where a version
            of before has written it.
    """

    arguments: tuple[str, ...]
    digest: str
    folder: str
    tables: tuple[str, ...] = ()

    def changed_table(self) -> str | None:
        """Return the name of a file of the force field that is another one now; None where there is none."""
        for digest, _, name in (entry.partition(" ") for entry in self.tables):
            if os.path.isfile(name) and _digest(name) != digest:
                return name
        return None


def _digest(name: str) -> str:
    """Return the SHA-256 of a file, "" where it cannot be read: LAMMPS will say so."""
    try:
        with open(name, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def write_origin(checkpoint: Path, arguments: tuple[str, ...], digest: str, tables: Sequence[str] = ()) -> None:
    """Keep how the run was started; raise RunFailure where that cannot be written."""
    values = {
        "schema": SCHEMA, "version": __version__, "arguments": list(arguments), "digest": digest, "folder": os.getcwd(),
        "tables": [f"{_digest(name)} {name}" for name in tables],
    }  # fmt: skip
    write_bytes_atomically(checkpoint / ORIGIN, json.dumps(values, indent=1).encode())


def read_origin(checkpoint: Path) -> Origin:
    """Return how the run was started; raise UserError where the folder is no run's, or the file is damaged."""
    path = checkpoint / ORIGIN
    if not checkpoint.parent.is_dir():
        raise UserError(f"{checkpoint.parent}: no such run to go on with")
    if not path.is_file():
        if (checkpoint.parent / "result.json").is_file():
            raise UserError(
                f"{checkpoint.parent} holds no checkpoint: the run is complete, or not one of mlgle run; "
                "mlgle replay learns from its frames with other options"
            )
        raise UserError(f"{checkpoint.parent} holds no checkpoint ({path.name}): it is not a run that can go on")
    return record_from(Origin, read_object(path, MAX_BYTES, "tell how a run was started", SCHEMA), path)
