"""One command after another on what a small deck leaves: settings kept, beads reconstructed, temperatures compared."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlgle_lammps.commands import compare
from mlgle_lammps.commands.reconstruct import main as reconstruct

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]

ROOT = Path(__file__).parent.parent
SMALL = ROOT / "tests" / "decks" / "in.small"
SHORT = (
    "--every", "10", "--memory", "6", "--train-frames", "32", "--val-frames", "10", "--modes", "3",
    "--generate-steps", "300", "--ensemble", "12",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The deck at two temperatures, in a thread and on a rank of its own."""
    folder = tmp_path_factory.mktemp("temperatures")
    text = SMALL.read_text().replace("langevin 1.0 1.0", "langevin ${T} ${T}")
    (folder / "in.T").write_text(f"variable T index 9.9\n{text}".replace("${deckdir}", str(SMALL.parent)))
    made = []
    for n_ranks, T in ((1, "0.5"), (2, "2.0")):
        out = folder / f"T{T}"
        launched = [str(Path(sys.executable).parent / "mpirun"), "-n", str(n_ranks)]
        program = [sys.executable, "-m", "mlgle_lammps.run"]
        arguments = [folder / "in.T", "-var", "T", T, "-var", "length", "500", *SHORT, "--out", out]
        done = subprocess.run(
            [*launched, *program, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        made.append(out)
    return made


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def test_settings_of_the_deck_are_kept(runs):
    assert [result_of(run)["variables"] for run in runs] == [
        {"T": [T], "length": ["500"]} for T in ("0.5", "2.0")
    ]  # fmt: skip


def test_compare_takes_the_temperatures_that_were_set(runs, tmp_path):
    out = tmp_path / "out"
    assert compare.main([*map(str, reversed(runs)), "--out", str(out)]) == 0
    numbers = json.loads((out / "comparison.json").read_text())
    assert [entry["T"] for entry in numbers["runs"]] == [0.5, 2.0]
    assert numbers["temperatures_from"] == "variable"
    assert "as set by the decks' variable" in (out / "report.html").read_text().replace("&#39;", "'")


def test_reconstruct_adds_the_sizes_to_the_report(runs):
    run = runs[0]
    before = (run / "report.html").read_text()
    assert "Reconstructed chains" not in before
    assert reconstruct([str(run)]) == 0
    page = (run / "report.html").read_text()
    sizes = json.loads((run / "reconstruct.json").read_text())["sizes"]
    for row in sizes.values():
        assert np.isfinite(row["ratio"])
        assert f"{row['md']['value']:#.4g}" in page
    assert page.count("<img") == before.count("<img") == 4
    assert "modes 1 to 3 are generated, the 6 faster ones are drawn anew" in page
    start, end = page.index("<section>\n  <h2>Reconstructed chains"), page.index("<section>\n  <h2>Figures")
    without = page[:start].rstrip() + page[end:]
    assert "".join(without.split()) == "".join(before.split())
