"""The folder that a run leaves behind."""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
from dataclasses import asdict, is_dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.plain import JsonObject, JsonValue
from mlgle_lammps.records import Ending, System
from mlgle_lammps.store.atomic import write_bytes_atomically
from mlgle_lammps.store.journal import Journal, chunk_paths, read_chunk, read_journal_system
from mlgle_lammps.store.json_object import read_object
from mlgle_lammps.store.reader import FramesReader
from mlgle_lammps.store.writer import FramesWriter

MARKER = ".mlgle"
MARKER_TEXT = "This folder was made by mlgle_lammps; --overwrite may replace its results.\n"
PREVIOUS = ".mlgle-previous"
"""Where overwritten results wait until the new run has a result of its own."""
OWN_FILES = (
    "result.json", "modes.h5", "model.safetensors", "generated.h5", "report.html", "log.lammps", "reconstruct.json",
    "reconstructed.lammpstrj", "reconstructed.h5md", "reconstructed.xyz", "reconstructed.data", "model.pt",
    "stress.npz", "properties.json", "properties.html", "interactive.html", "comparison.json", "generated.json",
)  # fmt: skip
OWN_FOLDERS = ("figures", "checkpoint", "properties", "constrained")
RESULT_KEYS = (
    "schema", "status", "D", "D_online", "D_generated", "D_full_md", "alpha", "beta", "fit", "k", "m", "dt",
    "time_unit", "length_unit", "modes", "handoff", "timing", "warnings", "seed", "versions", "surrogate",
)  # fmt: skip
MAX_RESULT_BYTES = 2**28


class RunFolder:
    """A result folder and the files in it, by name.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, overwrite: bool = False) -> RunFolder:
        """Make the folder ``path``, with its parents.

        Only a folder that carries this program's marker is overwritten, and only this program's files in it; what
        else lies there stays. The old results go when the new run writes its first, and come back with ``remove``.

        Raises:
            UserError: the folder exists (and ``overwrite`` is False, or it is somebody else's), is a file, or cannot
                be made.
        """
        folder = cls(Path(path))
        try:
            folder.path.parent.mkdir(parents=True, exist_ok=True)
            if overwrite and os.path.lexists(folder.path):
                folder._clear()
            else:
                folder.path.mkdir()
            (folder.path / MARKER).write_text(MARKER_TEXT, encoding="utf-8")
            folder.checkpoint.mkdir()
        except FileExistsError as error:
            raise UserError(_exists(folder.path, Path(str(error.filename or folder.path)))) from None
        except OSError as error:
            raise UserError(
                f"cannot make the result folder {path}: {error.strerror or one_line(error)}; choose another `out`"
            ) from None
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Return the existing result folder ``path``; raise UserError where it is none."""
        folder = cls(Path(path))
        if not folder.path.is_dir():
            raise UserError(f"{path}: no such result folder")
        if not (folder.path / MARKER).is_file() and not any((folder.path / name).exists() for name in OWN_FILES):
            raise UserError(f"{path} is not a result folder of mlgle: it holds none of {', '.join(OWN_FILES[:4])}")
        return folder

    @property
    def holds_md(self) -> bool:
        """Whether frames or a result of a run lie here, which nothing but a run replaces."""
        return any(os.path.lexists(self.path / name) for name in ("result.json", "modes.h5", "checkpoint"))

    @property
    def result(self) -> Path:
        """The numbers, result.json."""
        return self.path / "result.json"

    @property
    def modes(self) -> Path:
        """The recorded stream, modes.h5."""
        return self.path / "modes.h5"

    @property
    def model(self) -> Path:
        """What the surrogate has learned, model.safetensors."""
        return self.path / "model.safetensors"

    def find_model(self) -> Path:
        """Return the model that is there: model.safetensors, or else model.pt, as runs of before left it."""
        old = self.path / "model.pt"
        return old if old.exists() and not self.model.exists() else self.model

    @property
    def generated(self) -> Path:
        """Generated trajectories, generated.h5."""
        return self.path / "generated.h5"

    @property
    def reconstruction(self) -> Path:
        """Sizes of the chains whose beads were written last, reconstruct.json."""
        return self.path / "reconstruct.json"

    @property
    def report(self) -> Path:
        """The page for people, report.html."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """The report's pictures as PNG and PDF."""
        return self.path / "figures"

    @property
    def log(self) -> Path:
        """LAMMPS's own log, log.lammps."""
        return self.path / "log.lammps"

    @property
    def checkpoint(self) -> Path:
        """The journal and whatever a later run goes on from."""
        return self.path / "checkpoint"

    @property
    def constrained(self) -> Path:
        """Records of runs in which centres were held, one file each."""
        return self.path / "constrained"

    def hold(self) -> None:
        """Keep other runs out of this folder until this process ends; raise UserError where one is in it.

        A copy of a folder may lack the marker, which is hidden: it gets one.
        """
        marker = self.path / MARKER
        try:
            if not marker.exists():
                marker.write_text(MARKER_TEXT, encoding="utf-8")
            self._held = open(marker, "rb")  # noqa: SIM115  (open for as long as the folder is held)
        except OSError as error:
            raise UserError(f"cannot use {marker}: {error.strerror or one_line(error)}") from None
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._held.close()
            raise UserError(f"{self.path} is in use by a run that has not ended") from None
        except OSError:
            pass  # a file system without locks

    def open_journal(self, system: System) -> Journal:
        """Return the journal of this folder, to append the stream of ``system`` to; raise RunFailure if unwritable."""
        return Journal(self.checkpoint, system)

    def write_result(self, result: JsonObject) -> None:
        """Write result.json atomically: the schema's keys first, numpy values plain, NaN and infinity as null.

        Raises:
            RunFailure: it cannot be written.
        """
        ordered = {key: result[key] for key in RESULT_KEYS if key in result}
        ordered |= {key: value for key, value in result.items() if key not in ordered}
        text = json.dumps(plain(ordered), indent=1, ensure_ascii=False, allow_nan=False)
        write_bytes_atomically(self.result, (text + "\n").encode())
        self.forget_previous()

    def forget_previous(self) -> None:
        """Let the results go that new ones took the place of."""
        shutil.rmtree(self.path / PREVIOUS, ignore_errors=True)

    def read_result(self) -> JsonObject:
        """Return result.json; raise UserError where it is missing or damaged."""
        return read_object(self.result, MAX_RESULT_BYTES, "hold a result")

    def read_reconstruction(self) -> JsonObject | None:
        """Return reconstruct.json; None where it is missing or damaged: no page fails for it."""
        try:
            return read_object(self.reconstruction, MAX_RESULT_BYTES, "hold a result")
        except UserError:
            return None

    def assemble_modes(self, ending: Ending | None = None) -> Path | None:
        """Write modes.h5 from the journal and check it frame by frame; the journal stays.

        Args:
            ending: how the stream ended, kept as attributes.

        Returns:
            the file, or None where the journal holds no frame.

        Raises:
            RunFailure: modes.h5 cannot be written, or does not read back as journalled.
            UserError: the journal is damaged.
        """
        paths = chunk_paths(self.checkpoint)
        if not paths:
            return None
        system = read_journal_system(self.checkpoint)
        told = {} if ending is None else {"status": ending.status, "message": ending.message, "md_s": ending.md_s}
        with FramesWriter(self.modes, system, attributes=told) as writer:
            for path in paths:
                chunk = read_chunk(path, system)
                writer.append(chunk)
        self._verify(paths, system)
        return self.modes

    def discard_checkpoints(self) -> None:
        """Remove the journal and the restart files of a run that is complete."""
        shutil.rmtree(self.checkpoint, ignore_errors=True)
        self.checkpoint.mkdir(exist_ok=True)

    def _verify(self, paths: list[Path], system: System) -> None:
        """Raise RunFailure unless modes.h5 holds bit for bit what the chunks hold."""
        start = 0
        with FramesReader(self.modes) as reader:
            for path in paths:
                chunk = read_chunk(path, system)
                stop = start + len(chunk.steps)
                again = reader.read(start, stop, with_modes=chunk.modes.shape[2] > 0)
                if not chunk.same_bits(again):
                    raise RunFailure(f"{self.modes} differs from {path} after writing; the journal is kept")
                start = stop

    def remove(self) -> None:
        """Remove what a run that failed before any data made, and the folder if nothing else is in it.

        Results that it would have overwritten are there again.
        """
        self._remove_own()
        try:
            if (self.path / PREVIOUS).is_dir():
                _move(self.path / PREVIOUS, self.path)
                return
            (self.path / MARKER).unlink(missing_ok=True)
            self.path.rmdir()
        except OSError:
            pass  # somebody else's files stay, and so does the folder

    def _clear(self) -> None:
        """Empty a folder of this program for a new run; raise FileExistsError where it is somebody else's."""
        if not self.path.is_dir():
            raise FileExistsError(None, "File exists", str(self.path))
        if (self.path / MARKER).is_file():
            self.hold()
            self._held.close()
            self._set_aside()
        elif any(self.path.iterdir()):
            raise UserError(
                f"{self.path} exists and was not made by mlgle, so `overwrite` leaves it alone; choose another `out`"
            )

    def _set_aside(self) -> None:
        """Move the old results out of the way; a killed run without result.json gives way to those it set aside."""
        previous = self.path / PREVIOUS
        if previous.is_dir() and not self.result.exists():
            self._remove_own()
            return
        self._remove_unfinished()
        shutil.rmtree(previous, ignore_errors=True)
        previous.mkdir()
        _move(self.path, previous)

    def _remove_unfinished(self) -> None:
        for name in OWN_FILES:
            (self.path / f"{name}.tmp").unlink(missing_ok=True)

    def _remove_own(self) -> None:
        self._remove_unfinished()
        for name in OWN_FILES:
            (self.path / name).unlink(missing_ok=True)
        for name in OWN_FOLDERS:
            if (self.path / name).is_symlink():
                (self.path / name).unlink()
            elif (self.path / name).is_dir():
                shutil.rmtree(self.path / name)


def _move(source: Path, target: Path) -> None:
    """Move this program's files and folders; remove ``source`` where it held the overwritten ones."""
    for name in (*OWN_FILES, *OWN_FOLDERS):
        if os.path.lexists(source / name):
            os.replace(source / name, target / name)
    if source.name == PREVIOUS:
        source.rmdir()


def _exists(path: Path, culprit: Path) -> str:
    if culprit.is_dir():
        return f"result folder {path} exists; give `overwrite` to replace it or another `out`"
    return f"{culprit} exists and is not a folder; choose another `out`"


def plain(value: object) -> JsonValue:
    """Return ``value`` as JSON has it: records as objects, arrays as lists, NaN and infinity as None, paths as text."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
