"""What streams are called, in numbers and pictures alike."""

from __future__ import annotations

import re
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.store.json_object import read_object
from mlgle_lammps.store.run_folder import MAX_RESULT_BYTES, RunFolder

MD = "MD"
"""The frames that others are held against; in a run those that D was fitted to."""
FULL_MD = "full MD"
"""A run's longer, independent MD."""
GENERATED = "generated"
"""A generated stream that does not say by what."""
_FIRST_SURROGATE = "ml-gle"
_NAME = re.compile(r"[a-z0-9-]{1,20}")


def surrogate_label(result: JsonMapping) -> str:
    """Return how a run's surrogate is called, "ML-GLE" for "ml-gle".

    Args:
        result: content of result.json; results of before there were several surrogates do not name theirs.

    Raises:
        UserError: what stands there is no name.
    """
    name = result.get("surrogate") or _FIRST_SURROGATE
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(f"surrogate is {str(name)[:40]!r}, and no name of small letters, digits and hyphens")
    return name.upper()


def generated_label(path: Path) -> str:
    """Return how the stream in a generated.h5 is called: as its run's surrogate, where its run is beside it."""
    try:
        return surrogate_label(read_object(RunFolder(path.parent).result, MAX_RESULT_BYTES, "hold a result"))
    except UserError:
        return GENERATED
