"""The run command on a small melt, launched as a user launches it.

A recorder stands in for the learning (decks/run_with_recorder.py), so that these tests are about LAMMPS, MPI, the
stream and faults only.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "decks"))
from make_data import write as write_data

from mlgle_lammps.chains.modes import chain_modes
from mlgle_lammps.chains.topology import find_chains

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]

DECKS = Path(__file__).parent / "decks"
BIN = Path(sys.executable).parent
RECORDER = str(DECKS / "run_with_recorder.py")
SMALL = DECKS / "in.small"
# 41 frames, from step 50 to 450: just the deck's own production run
FRAMES = ("--every", "10", "--memory", "4", "--train-frames", "31", "--val-frames", "10", "--modes", "9")
N_FRAMES = 41
HUNG = 120
"""Seconds after which a run hangs: it ends within ten on an idle machine, in many more on a busy one."""


def start(n_ranks, *arguments, program=(sys.executable, RECORDER), **environment):
    package = str(Path(__file__).parent.parent)
    return subprocess.Popen(
        [str(BIN / "mpirun"), "-n", str(n_ranks), *program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": package, **environment},
    )


def finish(process, timeout=HUNG):
    try:
        _, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"still running after {timeout} s")
    assert "Traceback" not in error
    return process.returncode, error


def run(n_ranks, *arguments, timeout=HUNG, **environment):
    return finish(start(n_ranks, *arguments, **environment), timeout)


def variant(folder, *, data="linear", replace=(), production=None, name="in.variant"):
    """Write a deck like in.small with other data, other lines, or another production part; return its path."""
    text = SMALL.read_text()
    for old, new in replace:
        assert old in text
        text = text.replace(old, new)
    if production is not None:
        text = text[: text.index("#mlgle production")] + production
    write_data(folder / "data.small", kind=data)
    path = folder / name
    path.write_text(text)
    return path


def dumping(path):
    return ("-var", "dumping", "1", "-var", "dumped", str(path))


def read_stream(folder):
    with h5py.File(folder / "modes.h5") as file:
        return {name: file["mlgle"][name][:] for name in ("step", "com", "modes")}


def read_ending(folder):
    return json.loads((folder / "ending.json").read_text())


def read_dump(path):
    """Return steps and unwrapped positions (time, atom, 3), atoms by id."""
    steps, frames = [], []
    for block in path.read_text().split("ITEM: TIMESTEP\n")[1:]:
        lines = block.splitlines()
        steps.append(int(lines[0]))
        frames.append(np.loadtxt(lines[8:])[:, 1:4])
    return np.array(steps), np.array(frames)


def test_one_and_two_ranks_give_the_same_frames(tmp_path):
    for n_ranks in (1, 2):
        code, error = run(n_ranks, SMALL, *FRAMES, "--out", tmp_path / f"out{n_ranks}")
        assert (code, error) == (0, "")
    one, two = (read_stream(tmp_path / f"out{n}") for n in (1, 2))
    assert one["step"].tolist() == list(range(50, 451, 10))
    assert one["modes"].shape == (N_FRAMES, 10, 9, 3)
    for name in one:
        assert one[name].tobytes() == two[name].tobytes()
    ending = read_ending(tmp_path / "out2")
    assert ending["status"] == "complete"
    assert ending["warnings"] == []
    assert ending["dt"] == pytest.approx(0.1)


@pytest.mark.parametrize(("n_ranks", "n_md"), [(1, 1), (2, 1), (3, 2)])
def test_trajectory_is_bitwise_that_of_plain_lammps(tmp_path, n_ranks, n_md):
    variables = ["-var", "deckdir", str(DECKS), *dumping(tmp_path / "plain.dump")]
    plain = ["-in", SMALL, "-screen", "none", "-log", "none", *variables]
    assert finish(start(n_md, *plain, program=(str(BIN / "lmp"),)))[0] == 0
    with_service = [*dumping(tmp_path / "service.dump"), "--out", tmp_path / "out"]
    assert run(n_ranks, SMALL, *FRAMES, *with_service) == (0, "")
    assert (tmp_path / "service.dump").read_bytes() == (tmp_path / "plain.dump").read_bytes()


def test_frames_are_the_modes_of_the_dumped_chains(tmp_path):
    assert run(3, SMALL, *FRAMES, *dumping(tmp_path / "d"), "--out", tmp_path / "out")[0] == 0
    bonds = np.loadtxt((DECKS / "data.small").read_text().split("Bonds\n")[1].splitlines(), dtype=int)[:, 2:]
    chains = find_chains(bonds).ids
    steps, positions = read_dump(tmp_path / "d")
    stream = read_stream(tmp_path / "out")
    at = np.searchsorted(stream["step"], steps)
    assert stream["step"][at].tolist() == steps.tolist()
    expected = chain_modes(positions[:, chains - 1], 9)
    assert len(steps) == 9
    np.testing.assert_allclose(stream["com"][at], expected[:, :, 0], atol=1e-12)
    np.testing.assert_allclose(stream["modes"][at], expected[:, :, 1:], atol=2e-7)
    assert np.ptp(positions[-1] - positions[0]) > 0.5  # negative control: something moved


@pytest.mark.parametrize("n_ranks", [1, 2])
def test_short_production_is_continued_and_long_one_cut(tmp_path, n_ranks):
    run(n_ranks, SMALL, *FRAMES, "-var", "length", "100", "--out", tmp_path / "short")
    ending = read_ending(tmp_path / "short")
    assert (ending["status"], ending["n_frames"], ending["step"]) == ("complete", N_FRAMES, 450)
    assert "production ended at step 150 with 11 frames" in ending["ending_notes"][0]
    run(n_ranks, SMALL, *FRAMES, "-var", "length", "100000", "--out", tmp_path / "long")
    ending = read_ending(tmp_path / "long")
    assert (ending["status"], ending["n_frames"], ending["step"]) == ("complete", N_FRAMES, 450)
    assert "MD ended at step 450" in ending["ending_notes"][0]
    assert ending["warnings"] == []
    same = read_stream(tmp_path / "long")["modes"][:11] == read_stream(tmp_path / "short")["modes"][:11]
    assert same.all()


def test_deck_without_marker_is_run_and_then_continued(tmp_path):
    deck = variant(tmp_path, replace=[("#mlgle production", "")])
    assert run(2, deck, *FRAMES, "--out", tmp_path / "out") == (0, "")
    stream, ending = read_stream(tmp_path / "out"), read_ending(tmp_path / "out")
    assert stream["step"].tolist() == list(range(450, 851, 10))
    assert "no '#mlgle production' line" in ending["notes"][0]
    assert ending["warnings"] == []


def test_full_md_frames_follow_the_hand_off(tmp_path):
    options = [*FRAMES, "--handoff", "tmax", "--full-md", "30"]
    assert run(2, SMALL, *options, "--out", tmp_path / "out")[0] == 0
    assert read_ending(tmp_path / "out")["n_frames"] == 5 + 30
    assert len(read_stream(tmp_path / "out")["step"]) == 35


@pytest.mark.parametrize("n_ranks", [1, 3])
def test_converged_hand_off_ends_md(tmp_path, n_ranks):
    options = [*FRAMES, "--handoff", "converged", "--full-md", "10", "-var", "length", "100000000"]
    code, _ = run(n_ranks, SMALL, *options, "--out", tmp_path / "out", HAND_OFF_AT="20")
    ending = read_ending(tmp_path / "out")
    assert (code, ending["status"]) == (0, "complete")
    assert ending["n_frames"] >= 30


def test_slow_learner_does_not_stall_md(tmp_path):
    run(2, SMALL, *FRAMES, "--out", tmp_path / "out", LEARN_SLOWLY="0.05")
    ending = read_ending(tmp_path / "out")
    assert (ending["n_frames"], ending["waits"]) == (N_FRAMES, 0)
    assert ending["md_s"] < 0.05 * N_FRAMES / 2


RINGS = {"data": "ring"}
BAD_DECKS: dict[str, tuple[dict[str, Any], str]] = {
    "no bonds": ({"data": "none"}, "the system has no bonds"),
    "rings": (RINGS, r"molecules differ: 9 molecules of 10 beads, 1 molecule of 10 beads \(ring 10\)"),
    "branched": ({"data": "branched"}, r"molecules differ: 9 molecules of 10 beads, 1 molecule .* \((star|branched)"),
    "syntax": ({"replace": [("thermo      100", "thermoo 100")]}, "Unknown command: thermoo 100"),
    "syntax after the marker": ({"production": "#mlgle production\nrunn 10\n"}, "Unknown command: runn 10"),
    "respa": (
        {"replace": [("timestep    0.01", "timestep 0.01\nrun_style respa 2 2")]},
        r"in\.variant:\d+: 'run_style respa' is not",
    ),
    "hidden respa": (
        {"replace": [("run         50", 'variable r string "respa 2 2"\nif "1==1" then "run_style $r"')]},
        "'run_style respa' is not supported",
    ),
    "clear": ({"production": "#mlgle production\nrun 10\nclear\n"}, r"in\.variant:\d+: 'clear' after production"),
    "quit": ({"production": "#mlgle production\nrun 10\nquit\n"}, r"in\.variant:\d+: 'quit' would end"),
    "npt": (
        {"production": "#mlgle production\nfix b all npt temp 1 1 1 iso 0 0 9\nrun 10\n"},
        r"in\.variant:\d+: fix npt changes the box",
    ),
    "hidden npt": (
        {"production": '#mlgle production\nif "1==1" then "fix b all press/berendsen iso 5 5 1 modulus 9"\nrun 50\n',
         "replace": [("thermo      100", "variable s string x")]},
        "changes the box during production|the box change",
    ),
    "unequal": ({"data": "unequal"}, "molecules differ: 9 molecules of 10 beads, 1 molecule of 9 beads"),
    "no atoms": ({"production": "", "replace": [("units       lj", "units lj\n#mlgle production")]}, "no atoms when"),
}  # fmt: skip


AT_BOTH = ("no bonds", "rings", "syntax", "respa", "clear")


@pytest.mark.parametrize(
    ("case", "n_ranks"), [(case, n) for case in BAD_DECKS for n in ((1, 2) if case in AT_BOTH else (2,))]
)
def test_bad_deck_ends_in_one_line(tmp_path, case, n_ranks):
    changes, message = BAD_DECKS[case]
    deck = variant(tmp_path, **changes)
    check_refused(tmp_path, n_ranks, deck, message, extra=("--strict",))


def check_refused(tmp_path, n_ranks, deck, message, extra=(), code=2):
    found, error = run(n_ranks, deck, *FRAMES, *extra, "--out", tmp_path / "out")
    assert re.fullmatch(f"mlgle run: error: .*({message}).*\n", error), error
    assert found == code
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("n_ranks", [2])
def test_bad_arguments_end_in_one_line(tmp_path, n_ranks):
    check_refused(tmp_path, n_ranks, tmp_path / "in.none", r"deck .*in\.none not found")
    check_refused(tmp_path, n_ranks, SMALL, "--memory 40 is not shorter", extra=("--memory", "40"))
    check_refused(tmp_path, n_ranks, SMALL, "unrecognized arguments: --bad", extra=("--bad",))
    include = tmp_path / "in.part"
    include.write_text("print 'x'\nquit\n")
    deck = variant(tmp_path, replace=[("run         50", f"include {include}")])
    check_refused(tmp_path, n_ranks, deck, r"in\.part:2: 'quit'")
    check_refused(tmp_path, n_ranks, SMALL, "no such group", extra=("--chain-group", "nobody"))
    (tmp_path / "out").mkdir()
    code, error = run(n_ranks, SMALL, *FRAMES, "--out", tmp_path / "out")
    assert code == 2
    assert re.fullmatch("mlgle run: error: .*exists.*\n", error)
    code, error = run(n_ranks, SMALL, *FRAMES, "--out", "/proc/none")
    assert code == 2
    assert re.fullmatch("mlgle run: error: .*/proc/none.*\n", error)


def exploding_deck(tmp_path):
    """Return a deck whose bonds break on one rank, in mid-production."""
    heat = "#mlgle production\nfix 2 all langevin 1.0 1.0 0.5 99\nfix p all addforce v_pull 0 0\nrun 4000\n"
    pull = "variable pull atom (id==57)*(step>200)*1e5\nvelocity"
    fene = "bond_style  fene\nspecial_bonds fene\n"
    changes = [
        ("bond_style  harmonic\n", fene),
        ("bond_coeff  1 100.0 0.9", "bond_coeff 1 30.0 1.5 0.0 1.0"),
        ("velocity", pull),
    ]
    return variant(tmp_path, replace=changes, production=heat)


@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_error_in_mid_run_keeps_the_frames(tmp_path, n_ranks):
    """With two MD ranks the error is on one rank only, and the other hangs in LAMMPS."""
    code, error = run(n_ranks, exploding_deck(tmp_path), *FRAMES, "--out", tmp_path / "out")
    assert code == 1
    ours = [line for line in error.splitlines() if line.startswith("mlgle run: error: ")]
    assert len(ours) == 1, error
    assert "LAMMPS: " in ours[0]
    assert error.count("\n") <= (2 if n_ranks < 3 else 3)  # and how to go on, and MPICH's own
    ending = read_ending(tmp_path / "out")
    assert ending["status"] == "failed"
    assert ending["broken"]
    assert 10 < ending["n_frames"] < N_FRAMES
    assert len(read_stream(tmp_path / "out")["step"]) == ending["n_frames"]


@pytest.mark.parametrize("n_ranks", [1, 2])
def test_quit_that_the_scan_cannot_see(tmp_path, n_ranks):
    (tmp_path / "word").write_text("quit\n")
    production = f"#mlgle production\nvariable q file {tmp_path / 'word'}\nrun 100\n${{q}}\nrun 300\n"
    deck = variant(tmp_path, production=production)
    code, error = run(n_ranks, deck, *FRAMES, "--out", tmp_path / "out")
    assert code != 0
    assert "mlgle run: error: LAMMPS ended the program" in error
    assert read_ending(tmp_path / "out")["n_frames"] == 11


@pytest.mark.parametrize("n_ranks", [1, 2])
def test_learner_that_fails_ends_md(tmp_path, n_ranks):
    code, error = run(n_ranks, SMALL, *FRAMES, "-var", "length", "100000000", "--handoff", "converged",
                      "--out", tmp_path / "out", LEARN_RAISES="1")  # fmt: skip
    assert code == 1
    assert re.match("mlgle run: error: ValueError while learning: the learner broke\nmlgle run: go on with: ", error)
    assert error.count("\n") == 2
    assert len(read_stream(tmp_path / "out")["step"]) >= 3


@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_sigterm_to_mpirun_keeps_the_frames(tmp_path, n_ranks):
    process = start(n_ranks, SMALL, *FRAMES, "--handoff", "converged", "-var", "length", "100000000",
                    "--out", tmp_path / "out", HAND_OFF_AT="100000000")  # fmt: skip
    wait_for(lambda: (tmp_path / "out" / "checkpoint" / "system.json").exists())
    time.sleep(2.0)  # three ranks may share two cores
    process.send_signal(signal.SIGTERM)
    code, _ = finish(process)
    assert code == 0
    ending = read_ending(tmp_path / "out")
    assert ending["status"] == "interrupted"
    assert ending["n_frames"] > 0
    assert len(read_stream(tmp_path / "out")["step"]) == ending["n_frames"]


@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_sigterm_before_production(tmp_path, n_ranks):
    deck = variant(tmp_path, replace=[("run         50", "run 1000000000")])
    process = start(n_ranks, deck, *FRAMES, "--out", tmp_path / "out")
    wait_for(lambda: (tmp_path / "out" / "log.lammps").exists())
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    code, error = finish(process)
    assert code == 1
    assert "interrupted before production" in error
    assert not (tmp_path / "out").exists()


def wait_for(condition):
    until = time.monotonic() + HUNG
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("n_ranks", [1, 2])
def test_check_prints_and_leaves_nothing(tmp_path, n_ranks):
    process = start(n_ranks, SMALL, *FRAMES, "--check", "--out", tmp_path / "out")
    output, error = process.communicate(timeout=HUNG)
    assert (process.returncode, error) == (0, "")
    assert "10 chains of 10 beads" in output
    assert "steps/s" in output
    assert "learning at the end" in output
    assert output.count("10 chains") == 1
    assert not (tmp_path / "out").exists()


def test_launcher_of_another_mpi_is_named(tmp_path):
    for variables, message in (
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, "not MPICH's"),
        ({"PMI_SIZE": "", "SLURM_STEP_NUM_TASKS": "4"}, "started 4 processes, but each sees only itself"),
    ):
        result = subprocess.run(
            [sys.executable, RECORDER, str(SMALL), *FRAMES, "--out", str(tmp_path / "out")],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), **variables},
            capture_output=True, text=True, timeout=HUNG,
        )  # fmt: skip
        assert result.returncode == 2
        assert re.fullmatch(f"mlgle run: error: .*{message}.*\n", result.stderr)


@pytest.mark.parametrize("n_ranks", [1, 2])
def test_lost_beads_end_the_run(tmp_path, n_ranks):
    flying = [
        ("units       lj\n", "units       lj\nboundary    f f f\n"),
        ("fix         2 all langevin 1.0 1.0 0.5 99\n", ""),
        ("thermo      100\n", "thermo 100\nthermo_modify lost ignore lost/bond ignore\n"),
    ]
    deck = variant(
        tmp_path,
        replace=[*flying, ("run         50\n", "")],
        production="#mlgle production\nvelocity all set 9 NULL NULL\nrun 4000\n",
    )
    code, error = run(n_ranks, deck, "--every", "20", "--memory", "4", "--train-frames", "400", "--out", tmp_path / "o")
    assert code == 1
    assert "chain beads are gone" in error
    early = variant(tmp_path, replace=flying)
    code, error = run(n_ranks, early, "--out", tmp_path / "early")
    assert code == 2
    assert "lost atoms before production" in error
