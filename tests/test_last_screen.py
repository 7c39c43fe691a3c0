"""The terminal ends with what result.json and the report's first screen say, also what the MD side found."""

import json
import logging

import pytest

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.pipeline.learning import learn
from mlgle_lammps.records import Ending
from mlgle_lammps.report.last_screen import last_screen
from mlgle_lammps.report.page import traffic_light
from mlgle_lammps.store.run_folder import RunFolder

pytestmark = pytest.mark.light

DRIFT, EARLY = "the kinetic temperature went from 1 to 1.4", "the deck's own run ended at step 900"


class FromMd(RouseSource):
    """A stream whose MD side has something to say at its end."""

    def ending(self):
        return Ending(step=99, warnings=(DRIFT,), notes=(EARLY,))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What was logged in a short run, its folder and its result."""
    lines = []

    class Listing(logging.Handler):
        def emit(self, record):
            lines.append((record.levelname, record.getMessage()))

    handler = Listing()
    logger = logging.getLogger("mlgle")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    folder = RunFolder.create(tmp_path_factory.mktemp("said") / "run")
    options = LearnOptions(folder.path, memory=8, train_frames=60, val_frames=20, modes=3, generate_steps=0)
    source = FromMd(12, 16, 3, 80, 0.5, seed=1)
    try:
        assert learn(_Kept(source, folder), options, folder) == 0
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return lines, folder, json.loads(folder.result.read_text())


class _Kept:
    """The source with its journal, as a live run's frames are."""

    def __init__(self, source, folder):
        self._source, self._journal = source, folder.open_journal(source.system)
        self.system, self.hand_off, self.broken = source.system, source.hand_off, source.broken

    def __iter__(self):
        for frame in self._source:
            self._journal.append(frame)
            yield frame

    def ending(self):
        self._journal.close()
        return self._source.ending()


def test_all_warnings_and_notes_of_the_result_are_on_the_terminal(finished):
    lines, _, result = finished
    assert DRIFT in result["warnings"]
    assert EARLY in result["notes"]
    assert [line for level, line in lines if line.startswith("warning: ")] == [
        f"warning: {w}" for w in result["warnings"]
    ]
    assert all(level == "WARNING" for level, line in lines if line.startswith("warning: "))
    assert [line for _, line in lines if line.startswith("note: ")] == [f"note: {n}" for n in result["notes"]]


def test_the_terminal_says_what_the_report_says_first(finished):
    lines, folder, result = finished
    said = [line for _, line in lines]
    light = traffic_light(result)
    first = (folder.path / "report.html").read_text()
    assert light.words in first
    assert light.words.replace("below", "above") in said
    assert set(f"- {reason}" for reason in light.reasons) <= set(said)
    assert any(result["D"]["method"] in line for line in said)
    assert any("12 chains × 16 beads, complete" in line for line in said)
    D = result["D"]
    assert said[-1] == (
        f"D = {D['value']:.4g} [{D['ci95'][0]:.4g}, {D['ci95'][1]:.4g}] sigma^2/tau; results in {folder.path}"
    )


def test_what_is_not_known_is_no_number(tmp_path):
    warnings, lines = last_screen({"warnings": ["odd"], "n_chains": 3, "status": "partial"}, tmp_path)
    assert warnings == ["warning: odd"]
    assert "- there is no D yet" in lines
    assert lines[-1] == f"D = not known yet; results in {tmp_path}"
    D = {"value": 2.0, "se": None, "ci95": [None, None], "method": "fit"}
    _, lines = last_screen({"D": D, "length_unit": "Angstrom", "time_unit": "fs", "status": "complete"}, tmp_path)
    assert lines[-1].startswith("D = 2 (no interval) Angstrom^2/fs (0.2")


def test_other_ways_to_D_are_told_with_their_distance(tmp_path):
    D = {"value": 2.0, "se": 0.3, "ci95": [1.4, 2.6], "method": "fit"}
    other = {"value": 1.0, "se": 0.4, "ci95": [0.2, 1.8], "method": "slope"}
    _, lines = last_screen({"D": D, "D_full_md": other, "status": "complete"}, tmp_path)
    assert "Full MD after the hand-off: D = 1 [0.2, 1.8], z = +2.0" in lines
