"""What MD needs to go on after it was ended: LAMMPS restart files, and a record that names only whole ones."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.store.atomic import write_bytes_atomically
from mlgle_lammps.store.json_object import read_object, record_from

RECORD = "md.json"
SCHEMA = 1
KEPT = 2
"""Restart files that are kept; the newer one may be damaged by what ended the run."""
MAX_RECORD_BYTES = 2**16
BLOCK = 2**22


@dataclass(frozen=True)
class Restart:
    """A restart file that LAMMPS has finished.

    Attributes:
        name: in the checkpoint folder.
        step: of MD.
        size: bytes.
        crc32: of its content.
    """

    name: str
    step: int
    size: int
    crc32: int


@dataclass(frozen=True)
class MdRecord:
    """How MD stood when it was written.

    Attributes:
        begin: step at which production began the first time.
        epoch: how often the run was gone on with.
        md_ranks: MPI ranks of MD.
        version: LAMMPS's, as a number.
        md_s: wall seconds spent in production so far.
        restarts: oldest first.
    """

    begin: int
    epoch: int
    md_ranks: int
    version: int
    md_s: float
    restarts: tuple[Restart, ...] = ()


class Checkpoints:
    """The restart files of a run and their record; used by the first MD rank.

    Args:
        folder: the run's checkpoint folder.
        record: as it stood when MD began or went on.
    """

    def __init__(self, folder: Path, record: MdRecord) -> None:
        self._folder, self.record = folder, record

    def take(self, name: str, step: int, md_s: float) -> None:
        """Take in a restart file that LAMMPS has just finished, and drop the oldest.

        Args:
            name: the file, in the folder.
            step: of MD.
            md_s: wall seconds of production so far.

        Raises:
            RunFailure: it cannot be renamed or the record cannot be written.
        """
        path = self._folder / f"md-{step}.restart"
        try:
            with open(self._folder / name, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(self._folder / name, path)
            size, crc32 = path.stat().st_size, checksum(path)
        except OSError as error:
            raise RunFailure(f"cannot keep the restart file {path}: {error.strerror or one_line(error)}") from None
        others = tuple(entry for entry in self.record.restarts if entry.step != step)
        kept = (*others, Restart(path.name, step, size, crc32))[-KEPT:]
        self.record = replace(self.record, md_s=md_s, restarts=kept)
        text = json.dumps({"schema": SCHEMA, **asdict(self.record)}, indent=1)
        write_bytes_atomically(self._folder / RECORD, text.encode())
        names = {entry.name for entry in kept}
        for old in self._folder.glob("md-*.restart"):
            if old.name not in names:
                old.unlink(missing_ok=True)


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file."""
    value = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            value = zlib.crc32(block, value)
    return value


def read_record(folder: Path) -> MdRecord:
    """Return the record in a checkpoint folder; raise UserError where it is missing or damaged."""
    path = folder / RECORD
    record = record_from(MdRecord, read_object(path, MAX_RECORD_BYTES, "say how MD stood", SCHEMA), path)
    for entry in record.restarts:
        if entry.name != f"md-{entry.step}.restart":
            raise UserError(f"{path}: {entry.name!r} is not the name of a restart file at step {entry.step}")
    return record


def newest_whole(folder: Path, record: MdRecord, last_step: int | None = None) -> Restart | None:
    """Return the newest restart file that is as it was written, None where there is none.

    Args:
        folder: the checkpoint folder.
        record: that names the files.
        last_step: files from later steps come only where there are no others.
    """
    whole = [entry for entry in record.restarts if _is_whole(folder / entry.name, entry)]
    early = [entry for entry in whole if last_step is None or entry.step <= last_step]
    return max(early or whole, key=lambda entry: entry.step, default=None)


def _is_whole(path: Path, entry: Restart) -> bool:
    try:
        return path.stat().st_size == entry.size and checksum(path) == entry.crc32
    except OSError:
        return False
