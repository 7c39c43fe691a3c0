"""The file of any surrogate's model: safetensors, whose header has a checksum and everything that is no tensor.

The header's metadata are ``format``, ``schema``, ``surrogate`` (its name in the catalogue), ``values`` (JSON) and
``sha256``, over the name, the values, and every tensor's name, type, shape and bytes. Nothing in it can be run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.plain import JsonMapping, JsonObject
from mlgle_lammps.resources.room import available_memory, readable_bytes
from mlgle_lammps.store.atomic import write_bytes_atomically

SCHEMA = 2
MOST_HEADER_BYTES = 2**24
_FORMAT = "mlgle model"
_LENGTH_BYTES = _ALIGNMENT = 8


@dataclass(frozen=True)
class StoredModel:
    """What a file holds.

    Attributes:
        surrogate: name of the surrogate in the catalogue.
        values: JSON values by name.
        tensors: by name, on the CPU.
    """

    surrogate: str
    values: JsonObject
    tensors: dict[str, torch.Tensor]


def write_model(path: Path, surrogate: str, values: JsonMapping, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a model to a file that gets its name when it is whole.

    Args:
        path: its final name.
        surrogate: name of the surrogate in the catalogue.
        values: JSON values by name; no number that is not finite.
        tensors: by name.

    Raises:
        RunFailure: disk full, no permission, read-only.
    """
    text = json.dumps(values, allow_nan=False)
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"format": _FORMAT, "schema": str(SCHEMA), "surrogate": surrogate, "values": text}
    data = bytes_of(own, metadata | {"sha256": _checksum(surrogate, text, own)})
    write_bytes_atomically(path, _in_order(data))


def _in_order(data: bytes) -> bytes:
    """Return a file with its header's entries sorted, so that equal models are equal files."""
    start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.dumps(json.loads(data[_LENGTH_BYTES:start]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    return len(header).to_bytes(_LENGTH_BYTES, "little") + header + data[start:]


def read_surrogate(path: Path) -> str:
    """Return the name of the surrogate whose model a file holds; raise UserError where it holds none."""
    return _metadata(path)["surrogate"]


def read_model(path: Path, surrogate: str) -> StoredModel:
    """Return what a file holds, the checksum verified.

    Raises:
        UserError: a file that is missing, damaged, larger than memory, of another kind or schema, or the model of
            another surrogate.
    """
    metadata = _metadata(path)
    if metadata["surrogate"] != surrogate:
        raise UserError(f"{path} is a model of {_short(metadata['surrogate'])}, not of {surrogate}")
    try:
        tensors = tensors_of(path.read_bytes())
        whole = _checksum(surrogate, metadata["values"], tensors) == metadata["sha256"]
        values = json.loads(metadata["values"])
    except PermissionError:
        raise _not_permitted(path) from None
    except (Exception, RecursionError) as error:  # safetensors, torch and json raise many kinds for a bad file
        raise UserError(f"{path} is not a readable model file ({type(error).__name__}); train again") from error
    if not whole:
        raise UserError(f"{path} is damaged (its checksum is another one); train again")
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged (its values are no JSON object); train again")
    return StoredModel(surrogate, values, tensors)


def _checksum(surrogate: str, values: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of all that a model is."""
    digest = hashlib.sha256(json.dumps([surrogate, values]).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a file whose header and size agree; raise UserError otherwise."""
    try:
        if not path.is_file():
            raise UserError(f"{path} does not exist; it is written by a run that ended with a trained model")
        header = _header(path)
    except PermissionError:
        raise _not_permitted(path) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is not a readable model file ({type(error).__name__}: {one_line(error)[:100]}); train again"
        ) from None
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != _FORMAT:
        raise UserError(f"{path} is not a model of this program; give a run folder's model.safetensors")
    if metadata.get("schema") != str(SCHEMA):
        raise UserError(
            f"{path} has model schema {_short(metadata.get('schema'))}, this program reads {SCHEMA}; train again"
        )
    if missing := [name for name in ("surrogate", "values", "sha256") if not isinstance(metadata.get(name), str)]:
        raise UserError(f"{path} is damaged (its header has no {', '.join(missing)}); train again")
    size, room = path.stat().st_size, available_memory()
    if size > room.free:
        raise UserError(f"{path} has {readable_bytes(size)}, and {readable_bytes(room.free)} are {room.limit}")
    return metadata


def _not_permitted(path: Path) -> UserError:
    return UserError(f"{path} cannot be read: permission denied; make the file and its folder readable to you")


def _header(path: Path) -> JsonObject:
    """Return the header; raise ValueError and the like where the file is not as long as it says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if length > min(MOST_HEADER_BYTES, size - _LENGTH_BYTES):
            raise ValueError(f"its header claims {length} bytes")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if not all(type(end) is int for end in ends) or _LENGTH_BYTES + length + max(ends, default=0) != size:
        raise ValueError(f"it has {size} bytes, its header tells of another number")
    return header


def _short(value: object) -> str:
    return one_line(repr(value))[:40]
