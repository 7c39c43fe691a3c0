"""How a run was started, kept in its checkpoint folder for the day it goes on."""

from __future__ import annotations

import json
import os
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
    """

    arguments: tuple[str, ...]
    digest: str
    folder: str


def write_origin(checkpoint: Path, arguments: tuple[str, ...], digest: str) -> None:
    """Keep how the run was started; raise RunFailure where that cannot be written."""
    values = {
        "schema": SCHEMA, "version": __version__, "arguments": list(arguments), "digest": digest, "folder": os.getcwd(),
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
