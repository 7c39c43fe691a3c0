"""parity.json of a set: the table of runs that nothing was learned from, and those of further parts by name."""

from __future__ import annotations

import json
from pathlib import Path

from mlgle_lammps.plain import JsonObject
from mlgle_lammps.store.atomic import write_bytes_atomically
from mlgle_lammps.store.run_folder import plain


def add_part(found: JsonObject, part: str, table: JsonObject) -> None:
    """Put a part's table where parity.json has it: that of the test at the top, others under their name."""
    if part == "test":
        found |= table
    else:
        found[part] = table


def write_table(out: Path, found: JsonObject) -> None:
    """Write parity.json into the set's folder."""
    text = json.dumps(plain(found), indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes_atomically(out / "parity.json", (text + "\n").encode())
