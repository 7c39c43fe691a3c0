"""The page of models of centres' motion held against MD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.report.figures_centres import draw_centres
from mlgle_lammps.report.page import number, write_page

if TYPE_CHECKING:  # records of the evaluation, for their types only
    from mlgle_lammps.evaluate.melts_against_md import MeltComparison

COLUMNS = (
    ("VACF", "vacf_rms", None), ("VCCF near", "vccf_rms", 0), ("VCCF beyond", "vccf_rms", 1), ("C_L", "cl_rms", None),
    ("C_T", "ct_rms", None), ("D", "D_ratio", None), ("kT", "kT_ratio", None),
)  # fmt: skip
"""Heading, key of a score, and which of two values."""


def write_centres(
    page: Path, found: MeltComparison, versions: Mapping[str, str], *, title: str, notes: Sequence[str] = ()
) -> Path:
    """Draw the pictures into figures/ beside the page and write it; return the page.

    Args:
        page: report.html of a run or of a comparison.
        found: models and MD.
        versions: of programs.
        title: a few words.
        notes: one line each, before the comparison's own.

    Raises:
        RunFailure: a file cannot be written.
    """
    system = found.system
    pictures = draw_centres(page.parent / "figures", found.md, found.models, system.length_unit, system.time_unit)
    return write_page(
        page, "centres.html", pictures, versions, None, title=title,
        subtitle=f"MD: {found.reference}; {found.md.n_pieces} pieces", headline=headline(found.scores), verdict=[],
        notes=[*notes, *found.notes], columns=[name for name, _, _ in COLUMNS],
        rows=[
            {"name": name, "cells": [_cell(own, key, which) for _, key, which in COLUMNS]}
            for name, own in found.scores.items()
        ],
    )  # fmt: skip


def log_lines(found: MeltComparison) -> list[str]:
    """Return a heading and a line for each model, as a terminal shows them."""
    width = max(len(name) for name in found.scores)
    lines = [f"against {found.reference}", " " * width + "".join(f"  {name:<14}" for name, _, _ in COLUMNS)]
    for model, own in found.scores.items():
        lines.append(f"{model:<{width}}" + "".join(f"  {_cell(own, key, which):<14}" for _, key, which in COLUMNS))
    return lines


def headline(found: Mapping[str, JsonMapping]) -> str:
    """Return which model's velocity correlations are nearest to MD's."""
    if not found:
        return "No model was held against MD"
    best = min(
        found, key=lambda name: np.nansum([found[name]["vacf_rms"], *found[name]["vccf_rms"], found[name]["ct_rms"]])
    )
    own = found[best]
    return f"{best}: VACF off by {own['vacf_rms']:.3f}, D {own['D_ratio']:.2f} times MD's"


def _cell(own: JsonMapping, key: str, which: int | None) -> str:
    value, error = own[key], own[f"{key}_se"]
    if which is not None:
        value, error = value[which], error[which]
    return f"{number(value, 3)} ± {number(error, 2)}"
