"""LAMMPS data files as topologies: any atom style, hybrid ones, type labels, general triclinic boxes, any section.

MDAnalysis reads neither of these, nor ids beyond 2^31.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.formats.compressed import PACKED_SUFFIXES, UNREADABLE, open_text
from mlgle_lammps.records import Float64, Int64

COLUMNS = {
    "angle": "id mol type x y z",
    "bond": "id mol type x y z",
    "molecular": "id mol type x y z",
    "full": "id mol type q x y z",
    "amoeba": "id mol type q x y z",
    "bpm/sphere": "id mol type diameter density x y z",
    "template": "id mol template-index template-atom type x y z",
    "charge": "id type q x y z",
    "dipole": "id type q x y z",
    "sphere": "id type diameter density x y z",
    "hybrid": "id type x y z",
    "atomic": "id type x y z",
}
"""The first columns of the Atoms section in each style; the others are not needed."""
OTHER_STYLES = (
    "apip", "body", "dielectric", "dpd", "edpd", "electron", "ellipsoid", "line", "mdpd", "mesont", "peri", "rheo",
    "rheo/thermal", "smd", "sph", "spin", "tdpd", "tri", "wavepacket",
)  # fmt: skip
"""Styles of which only the ids are read."""
BY_NUMBER = {5: "atomic", 6: "bond", 7: "full", 8: "atomic", 9: "bond", 10: "full"}
"""The style where the section does not name it, by the number of columns (with image flags or without)."""
SECTIONS = (
    "Atoms", "Velocities", "Masses", "Bonds", "Angles", "Dihedrals", "Impropers", "Ellipsoids", "Lines", "Triangles",
    "Bodies", "Pair Coeffs", "PairIJ Coeffs", "Bond Coeffs", "Angle Coeffs", "Dihedral Coeffs", "Improper Coeffs",
    "Atom Type Labels", "Bond Type Labels", "Angle Type Labels", "Dihedral Type Labels", "Improper Type Labels",
)  # fmt: skip
_HEADER = re.compile(r"^\s*\d+\s+atoms\s*(#.*)?$", re.MULTILINE)
_HEADER_CHARACTERS = 4096


@dataclass(frozen=True)
class DataFile:
    """What a data file says about atoms, by increasing id.

    Attributes:
        ids: (atom,).
        types: (atom,) names of types, as numbers; None where the atom style is not known.
        labels: (atom,) labels of types, None where the file has none.
        molecules: (atom,), None where the atom style has none.
        masses: (atom,), None where the file has none.
        charges: (atom,), None where the atom style has none.
        positions: (atom, 3), None where the atom style is not known.
        bonds: (bond, 2) ids.
    """

    ids: Int64
    types: list[str] | None
    labels: list[str] | None
    molecules: Int64 | None
    masses: Float64 | None
    charges: Float64 | None
    positions: Float64 | None
    bonds: Int64


def is_lammps_data(path: Path) -> bool:
    """Tell whether the file's head counts atoms as LAMMPS data files do, whatever its name."""
    name = path.name
    for packed in PACKED_SUFFIXES:
        name = name.removesuffix(packed)
    if name.endswith(".data"):
        return True
    try:
        with open_text(path) as file:
            return _HEADER.search(file.read(_HEADER_CHARACTERS)) is not None
    except UNREADABLE:
        return False


def read_data_file(path: Path) -> DataFile:
    """Return the atoms and bonds of a data file.

    Raises:
        UserError: not readable, no atoms, or other atoms and bonds than its head counts.
    """
    where = f"`topology` {path}"
    try:
        with open_text(path) as file:
            lines = file.read().split("\n")
    except UNREADABLE as error:
        raise UserError(f"{where} cannot be read: {one_line(error)}") from None
    head, sections = _split(lines)
    if "Atoms" not in sections:
        raise UserError(f"{where} cannot be read as a LAMMPS data file: it has no section Atoms")
    try:
        return _data_file(where, head, sections)
    except (ValueError, IndexError, OverflowError) as error:
        raise UserError(f"{where} cannot be read: {one_line(error)[:200]}") from None


@dataclass(frozen=True)
class _Section:
    comment: str
    rows: list[list[str]]


def _split(lines: list[str]) -> tuple[list[str], dict[str, _Section]]:
    """Return the head and each section's rows of words.

    A section begins with its name on a line of its own; names that are not known are told by the empty line before
    them, where no row of the section before is still to come.
    """
    head: list[str] = []
    sections: dict[str, _Section] = {}
    rows: list[list[str]] | None = None
    after_empty = False
    for line in lines[1:]:  # the first line is a title, whatever it says
        text, comment = _without_comment(line)
        if not text:
            after_empty = after_empty or not comment
            continue
        named = text.endswith((" Coeffs", " Labels")) or not any(c.isdigit() for c in text)
        unknown = rows != [] and after_empty and text[0].isalpha() and named
        if text in SECTIONS or (unknown and (rows is not None or text[0].isupper())):
            rows = []
            sections.setdefault(text, _Section(comment, rows))
        elif rows is None:
            head.append(text)
        else:
            rows.append(text.split())
        after_empty = False
    return head, sections


def _without_comment(line: str) -> tuple[str, str]:
    text, _, comment = line.partition("#")
    return text.strip(), comment.strip()


def _data_file(where: str, head: list[str], sections: dict[str, _Section]) -> DataFile:
    atoms = sections["Atoms"]
    if not atoms.rows:
        raise ValueError("its section Atoms is empty")
    columns = _columns(atoms)
    place = {name: columns.index(name) for name in ("mol", "type", "q", "x") if name in columns}
    ids = np.array([int(row[0]) for row in atoms.rows], dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    rows, ids = [atoms.rows[i] for i in order], ids[order]
    bonds = _bonds(sections, ids)
    _require_counts(where, head, len(np.unique(ids)), len(bonds))
    types = [row[place["type"]] for row in rows] if "type" in place else None
    names = {row[0]: row[1] for row in sections.get("Atom Type Labels", _Section("", [])).rows}
    numbers = {label: number for number, label in names.items()}
    masses = None
    if types is not None:
        types = [numbers.get(name, name) for name in types]
        masses = _masses(sections.get("Masses"), types, numbers)
    return DataFile(
        ids=ids,
        types=types,
        labels=[names.get(name, name) for name in types] if types is not None and names else None,
        molecules=np.array([int(row[place["mol"]]) for row in rows], dtype=np.int64) if "mol" in place else None,
        masses=masses,
        charges=np.array([float(row[place["q"]]) for row in rows]) if "q" in place else None,
        positions=_positions(rows, place["x"]) if "x" in place else None,
        bonds=bonds,
    )


def _columns(atoms: _Section) -> list[str]:
    """Return the names of the first columns: by the style that the section names, else by their number."""
    n = len(atoms.rows[0])
    style = atoms.comment.split()[0] if atoms.comment else ""
    if style in OTHER_STYLES:
        return ["id"]
    if style not in COLUMNS or n < len(COLUMNS[style].split()):
        style = BY_NUMBER.get(n, "")  # the comment is about something else
    return COLUMNS.get(style, "id").split()


def _masses(section: _Section | None, types: list[str], numbers: dict[str, str]) -> Float64 | None:
    """Return the mass of each atom; None where the file has no masses, or none of some type."""
    if section is None:
        return None
    known = {numbers.get(row[0], row[0]): float(row[1]) for row in section.rows}
    if not set(types) <= known.keys():
        return None
    return np.array([known[name] for name in types])


def _positions(rows: list[list[str]], first: int) -> Float64:
    return np.array([[float(word) for word in row[first : first + 3]] for row in rows])


def _bonds(sections: dict[str, _Section], ids: Int64) -> Int64:
    rows = sections.get("Bonds", _Section("", [])).rows
    bonds = np.array([[int(row[2]), int(row[3])] for row in rows], dtype=np.int64).reshape(-1, 2)
    there = np.isin(bonds, ids).all(axis=1)
    return bonds[there]


def _require_counts(where: str, head: list[str], n_atoms: int, n_bonds: int) -> None:
    """Raise UserError where the head counts other atoms or bonds than the sections hold."""
    for name, found in (("atoms", n_atoms), ("bonds", n_bonds)):
        told = next((match for line in head if (match := re.match(rf"(\d{{1,18}})\s+{name}$", line))), None)
        if told is not None and int(told[1]) != found:
            raise UserError(
                f"{where} counts {told[1]} {name}, and {found} could be read: is it whole, each atom and "
                "bond in it once, and does each bond join two atoms that are there?"
            )
