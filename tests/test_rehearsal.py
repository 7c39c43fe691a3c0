"""What a run will take, foreseen by doing a little of it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.rehearsal import Rehearsal, rehearsal_line, rehearse
from mlgle_lammps.surrogates.ml_gle.stand_ins import stand_in


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_time_grows_with_what_is_asked_for(tmp_path, preset):
    small = LearnOptions(tmp_path, preset=preset, modes=2, memory=8, generate_steps=1000, ensemble=10, device="cpu")
    found = rehearse(8, 2, small)
    assert 0 < found.generating[0] <= found.generating[1]
    assert found.learning > 0
    large = LearnOptions(tmp_path, preset=preset, modes=2, memory=8, generate_steps=100_000, ensemble=10, device="cpu")
    assert rehearse(8, 2, large).generating[1] > 10 * found.generating[1]


def test_generation_takes_about_as_long_as_foreseen(tmp_path):
    options = LearnOptions(tmp_path, modes=3, memory=16, generate_steps=1500, ensemble=40, device="cpu", threads=1)
    foreseen = rehearse(8, 3, options).generating[1]
    model = stand_in(3, 16, 40)
    start = time.perf_counter()
    for _ in MlGleMotion(model, model.history, 1, 40, threads=1).advance(1500):
        pass
    assert 0.1 < (time.perf_counter() - start) / foreseen < 10


def test_it_is_said_in_one_line(tmp_path):
    line = rehearsal_line(Rehearsal(40.0, (20.0, 7200.0)), LearnOptions(tmp_path))
    assert line == (
        "learning at the end: 40 s at most on this machine; "
        "generating: 20 s with linear cores alone to 2.0 h with all networks"
    )
    assert rehearsal_line(Rehearsal(40.0, (0.0, 0.0)), LearnOptions(tmp_path, generate_steps=0)).count(":") == 1


@pytest.mark.parametrize("program", ["run", "replay"])
def test_programs_load_torch_only_where_they_learn(program):
    """Each MD rank imports the program: torch there would cost seconds and memory, and before memory is looked at."""
    code = f"import sys, mlgle_lammps.{program}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
