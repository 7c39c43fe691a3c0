"""The model in a file, of molecules by themselves or of boxes of several species."""

from __future__ import annotations

from pathlib import Path

from mlgle_lammps.surrogates.cg_gnn import NAME
from mlgle_lammps.surrogates.cg_gnn.box_model import BoxModel
from mlgle_lammps.surrogates.cg_gnn.model import CgGnnModel
from mlgle_lammps.surrogates.model_file import read_model


def load_either(path: Path) -> CgGnnModel | BoxModel:
    """Read a model; raise UserError where the file is missing, damaged, or of another surrogate."""
    stored = read_model(path, NAME)
    return BoxModel.of_file(stored, path) if "kind" in stored.values else CgGnnModel.load(path)
