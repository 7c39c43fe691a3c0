"""What decks, streams and results say is text on every page: no markup of theirs reaches a browser."""

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib.figure import Figure

from mlgle_lammps.commands import compare
from mlgle_lammps.commands import reconstruct as reconstructing
from mlgle_lammps.report.report import write_report

sys.path.insert(0, str(Path(__file__).parent))
import test_compare
from test_report import Page

EVIL = "<script>alert(1)</script>"
NAME = "<script>alert(2)"  # a folder's name holds no slash


def spoiled(value):
    """Return a result with markup in every text and in the names of what it lists by name."""
    if isinstance(value, dict):
        return {key: spoiled(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [spoiled(entry) for entry in value]
    return f"{value}{EVIL}" if isinstance(value, str) else value


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """Leave the drawing out, which takes most of the time."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: Path(path).write_bytes(b""))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs whose deck, folder, units, notes, warnings and variables are markup."""
    folder = tmp_path_factory.mktemp("evil") / NAME
    folder.mkdir()
    made = []
    for seed, T in ((1, 300.0), (2, 400.0)):
        run = test_compare.make_run(folder / f"{seed}{NAME}", seed=seed, n_frames=400, temperature=T)
        result = json.loads((run / "result.json").read_text())
        evil = spoiled(result) | {
            "status": "complete", "length_unit": EVIL, "time_unit": EVIL, "notes": [EVIL], "warnings": [EVIL],
            "variables": {"T": [str(T)], EVIL: [EVIL]}, "versions": {EVIL: EVIL}, "source": EVIL,
        }  # fmt: skip
        (run / "result.json").write_text(json.dumps(evil))
        for name in ("modes.h5", "generated.h5"):
            with h5py.File(run / name, "r+") as file:
                texts = json.loads(file["mlgle"].attrs["texts"])
                texts |= {"length_unit": EVIL, "time_unit": EVIL, "source": EVIL, "notes": [EVIL]}
                file["mlgle"].attrs["texts"] = np.bytes_(json.dumps(texts).encode())
        made.append(run)
    return made


def require_text_only(path):
    """Fail where markup of ours is on a page other than as text."""
    source = path.read_text()
    assert "alert(" in source  # what was planted is shown
    assert "<script>alert" not in source
    assert "script" not in Page(path).tags


def test_a_comparison_with_md(runs, tmp_path):
    assert compare.main([str(runs[0]), "--out", str(tmp_path / NAME)]) == 0
    require_text_only(tmp_path / NAME / "report.html")


def test_a_comparison_over_temperatures(runs, tmp_path):
    assert compare.main([*map(str, runs), "--out", str(tmp_path / NAME)]) == 0
    require_text_only(tmp_path / NAME / "report.html")


def test_the_page_of_a_run_with_reconstructed_chains(runs):
    run = runs[0]
    result = json.loads((run / "result.json").read_text())
    row = {"reconstructed": {"value": 1.0, "se": 0.1}, "md": {"value": 1.0, "se": 0.1}, "ratio": 1.0, "ratio_se": 0.1}
    sizes = {"sizes": dict.fromkeys(reconstructing.NAMES, row), "length_unit": EVIL, "format": EVIL, "file": EVIL,
             "warnings": [EVIL], "fast_mode_source": EVIL, "chains": 1, "frames": 1, "n_beads": 9, "modes_generated": 3,
             "modes_drawn": 5}  # fmt: skip
    require_text_only(write_report(run, result, [], sizes))
