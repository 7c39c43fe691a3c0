"""The decks that ship run under plain LAMMPS from anywhere, stay at their temperature, and write nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlgle_lammps.commands.build import main

DECKS = Path(__file__).parent.parent / "lammps_inputs"
MARKER = "#mlgle production"
SPECIES = ("star", "ring", "blend", "salt")

# LAMMPS notes rows of the table where the force turns around; a spline has a few.
INFLECTION = ("force values in table CIS_PB are inconsistent", "Should only be flagged at inflection points")

pytestmark = pytest.mark.lammps


def _run(deck: str, folder: Path, **variables: object) -> list[dict[str, float]]:
    """Run a deck in ``folder`` and return its thermo rows."""
    command: list[object] = [Path(sys.executable).with_name("lmp"), "-in", DECKS / deck, "-log", "none"]
    for name, value in {"deckdir": DECKS, **variables}.items():
        command += ["-var", name, value]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:]
    warnings = [line for line in done.stdout.splitlines() if "WARNING" in line]
    assert not [line for line in warnings if not any(harmless in line for harmless in INFLECTION)]
    rows, names = [], []
    for line in done.stdout.splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            names = words
        elif words[:2] == ["Loop", "time"]:
            names = []
        elif names and len(words) == len(names) and words[0].isdigit():
            rows.append(dict(zip(names, map(float, words), strict=True)))
    return rows


@pytest.mark.parametrize(
    ("deck", "variables"),
    [
        ("in.melt", {"relax": 200, "steps": 100}),
        ("in.melt", {"T": 400, "relax": 200, "steps": 100}),
        ("in.melt100", {"T": 350, "relax": 50, "settle": 20, "steps": 50}),
        ("in.kg", {"relax": 500}),
        ("in.rouse", {"steps": 500}),
        ("in.star", {"relax": 200, "steps": 100}),
        ("in.ring", {"relax": 200, "steps": 100}),
        ("in.blend", {"relax": 200, "steps": 100}),
        ("in.salt", {"relax": 200, "steps": 100}),
    ],
)
def test_decks_run_and_leave_no_file(tmp_path, deck, variables):
    rows = _run(deck, tmp_path, **variables)
    assert rows[-1]["Step"] == variables.get("steps", variables.get("relax"))
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    assert list(tmp_path.iterdir()) == []


def test_the_paper_deck_takes_a_built_melt_through_its_push_off(tmp_path):
    assert main([str(tmp_path / "melt.data"), "--chains", "20", "--beads", "15", "--seed", "2"]) == 0
    rows = _run("in.melt.paper", tmp_path, relax=300, steps=300, push_steps=500, gentle=500)
    # 300 beads: the temperature of one moment has a standard deviation of 300 K sqrt(2/900), 14 K.
    assert abs(rows[-1]["Temp"] - 300) < 60
    assert abs(rows[-1]["Press"]) < 4000
    assert [path.name for path in tmp_path.iterdir()] == ["melt.data"]


@pytest.mark.parametrize(
    ("deck", "marked"),
    [
        ("in.melt", 1),
        ("in.melt100", 1),
        ("in.melt.paper", 1),
        ("in.rouse", 1),
        ("in.kg", 0),
        *((f"in.{name}", 1) for name in SPECIES),
    ],
)
def test_the_marker_is_where_it_should_be(deck, marked):
    text = (DECKS / deck).read_text()
    assert text.splitlines().count(MARKER) == marked
    assert "variable deckdir index lammps_inputs" in text
