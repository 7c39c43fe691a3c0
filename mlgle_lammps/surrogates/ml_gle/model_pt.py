"""Reading ``model.pt``, the model file of before: an archive of torch with tensors and plain values."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import torch

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.plain import JsonObject

SCHEMA = 1
_FORMAT = "mlgle surrogate"


def read(path: Path) -> tuple[JsonObject, int]:
    """Return values and tensors by name, the networks' own under "tensors", and the bytes of the file.

    Only tensors and plain values are read (``weights_only``): no code in the file can run.

    Raises:
        UserError: a file that is missing, corrupt, or of another kind or schema.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; it is written by a run that ended with a trained model")
    try:
        require_whole(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a bad file
        what = f"{type(error).__name__}: {one_line(error)}" if isinstance(error, ValueError) else type(error).__name__
        raise UserError(f"{path} is not a readable model file ({what}); train again") from error
    if not isinstance(plain, dict) or plain.get("format") != _FORMAT:
        raise UserError(f"{path} is not a model of this program; give a run folder's model.pt")
    if plain.get("schema") != SCHEMA:
        raise UserError(f"{path} has model schema {plain.get('schema')!r}, this program reads {SCHEMA}; train again")
    return plain, path.stat().st_size


def require_whole(path: Path) -> None:
    """Raise ValueError or BadZipFile where a record is not what was saved; torch looks at no checksum."""
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.compress_type != zipfile.ZIP_STORED or record.file_size > path.stat().st_size:
                raise ValueError(f"record {record.filename[:40]!r} is not stored as torch does")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"record {damaged[:40]!r} is damaged")
