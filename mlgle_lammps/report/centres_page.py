"""The page of models of centres' motion held against MD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.report.figures_centres import draw_centres
from mlgle_lammps.report.page import number, write_page

if TYPE_CHECKING:  # records of the evaluation, for their types only
    from mlgle_lammps.evaluate.centres import CentreCurves

COLUMNS = (
    ("VACF", "vacf_rms", None), ("VCCF near", "vccf_rms", 0), ("VCCF beyond", "vccf_rms", 1), ("C_L", "cl_rms", None),
    ("C_T", "ct_rms", None), ("D", "D_ratio", None), ("kT", "kT_ratio", None),
)  # fmt: skip
"""Heading, key of a score, and which of two values."""


def write_centres(
    folder: Path, md: CentreCurves, models: Mapping[str, CentreCurves], found: Mapping[str, JsonMapping],
    versions: Mapping[str, str], *, title: str, notes: Sequence[str] = (), length_unit: str = "sigma",
    time_unit: str = "tau",
) -> Path:  # fmt: skip
    """Draw the pictures into ``folder``/figures and write centres.html; return the page.

    Args:
        folder: that takes them.
        md: what MD shows.
        models: what each model shows.
        found: scores by model.
        versions: of programs.
        title: a few words.
        notes: one line each.
        length_unit: as in the deck.
        time_unit: as in the deck.

    Raises:
        RunFailure: a file cannot be written.
    """
    pictures = draw_centres(folder / "figures", md, models, length_unit, time_unit)
    return write_page(
        folder / "centres.html", "centres.html", pictures, versions, None, title=title,
        subtitle=f"{md.n_pieces} pieces of MD", headline=headline(found), verdict=[], notes=list(notes),
        columns=[name for name, _, _ in COLUMNS],
        rows=[
            {"name": name, "cells": [_cell(own, key, which) for _, key, which in COLUMNS]}
            for name, own in found.items()
        ],
    )  # fmt: skip


def headline(found: Mapping[str, JsonMapping]) -> str:
    """Return which model's velocity correlations are nearest to MD's."""
    if not found:
        return "No model was held against MD"
    best = min(found, key=lambda name: found[name]["vacf_rms"] + sum(found[name]["vccf_rms"]) + found[name]["ct_rms"])
    own = found[best]
    return f"{best}: VACF off by {own['vacf_rms']:.3f}, D {own['D_ratio']:.2f} times MD's"


def _cell(own: JsonMapping, key: str, which: int | None) -> str:
    value, error = own[key], own[f"{key}_se"]
    if which is not None:
        value, error = value[which], error[which]
    return f"{number(value, 3)} ± {number(error, 2)}"
