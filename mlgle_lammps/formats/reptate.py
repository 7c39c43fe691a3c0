"""Files that RepTate reads: .gt with G(t), .tts with G' and G''."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlgle_lammps.records import Float64


def reptate_text(parameters: Mapping[str, float | str], columns: Mapping[str, Float64]) -> str:
    """Return the text of a file: parameters in the first line, names of columns in the second, then the rows.

    Args:
        parameters: such as Mw in kg/mol, T in °C, chem.
        columns: name to values, all of one length; for .gt t and Gt, for .tts w, G' and G''.
    """
    head = "".join(f"{name}={value:g};" if isinstance(value, float) else f"{name}={value};"
                   for name, value in parameters.items())  # fmt: skip
    rows = np.stack(list(columns.values()), axis=1)
    body = "\n".join("\t".join(f"{value:.8e}" for value in row) for row in rows if np.all(np.isfinite(row)))
    return f"{head}\n{chr(9).join(columns)}\n{body}\n"
