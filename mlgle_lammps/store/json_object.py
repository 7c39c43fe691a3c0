"""Reading a JSON object that may come from anyone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlgle_lammps.errors import UserError, one_line


def read_object(path: Path, most_bytes: int, purpose: str, schema: int | None = None) -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        path: the file.
        most_bytes: larger ones are refused unread.
        purpose: what it should do, such as "describe a stream"; for the message.
        schema: that its entry of this name must be; None where it has none.

    Raises:
        UserError: it is missing, too large, damaged, no object, or of another schema.
    """
    try:
        if path.stat().st_size > most_bytes:
            raise UserError(f"{path} is too large to {purpose}")
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} does not {purpose}")
    if schema is not None and values.get("schema") != schema:
        raise UserError(f"{path}: schema {values.get('schema')!r} is not known here ({schema} is)")
    return values
