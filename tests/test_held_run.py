"""`mlgle run --surrogate nm-mb` up to the records of constrained runs, launched as a user launches it.

A recorder stands in for the learning, as in test_run_mpi.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_run_mpi import read_ending, run, start, variant, wait_for

from mlgle_lammps.acquire.kept_states import kept_states
from mlgle_lammps.commands.parsers import parse_run
from mlgle_lammps.errors import UserError
from mlgle_lammps.store.constrained_file import read_constrained
from mlgle_lammps.store.reader import FramesReader

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]

PLAIN = (
    ("fix         2 all langevin 1.0 1.0 0.5 99\n", "fix         2 all langevin 1.0 1.0 0.5 99\n"),
    ("run         50\n", "run         300\nunfix 2\nvelocity all zero linear\nreset_timestep 0\n"),
)
HELD = ("--surrogate", "nm-mb", "--frames", "200", "--configurations", "3", "--constrained-steps", "400")
EVERY = ("--every", "5", "--force-every", "2")


@pytest.fixture
def deck(tmp_path):
    return variant(tmp_path, replace=PLAIN)


def test_a_run_leaves_frames_and_records(tmp_path, deck):
    for n_ranks in (1, 2):
        out = tmp_path / f"out{n_ranks}"
        code, error = run(n_ranks, deck, *HELD, *EVERY, "--out", out)
        assert code == 0, error
        assert error.count("mlgle run: constrained run") == 3
        held = read_constrained(out / "constrained")
        assert [record.step for record in held.runs] == [325, 655, 985]  # the 66th frame and so on, from step 0
        assert held.facts.units == "lj"
        assert read_ending(out)["n_frames"] == 200
        with FramesReader(out / "modes.h5") as frames:
            assert frames.system.channels == ("com", "momenta")
            assert (frames.system.n_modes, frames.system.masses) == (0, (10.0,))
            read = frames.read(0, 200, with_modes=False)
        momenta = read.channels["chains"]["momenta"]
        x = read.com
        moving = (8 * (x[3:-1] - x[1:-3]) - (x[4:] - x[:-4])) / (12 * 0.05)
        assert np.abs(momenta.sum(axis=1)).max() < 1e-10
        behind = 0.9 * momenta[2:-2] + 0.1 * momenta[1:-3]  # half a step, as LAMMPS has them in a callback
        assert np.std(moving - momenta[2:-2] / 10.0) < 0.015 * moving.std() < 0.8 * np.std(moving - behind / 10.0)
        for record in held.runs:
            assert np.array_equal(record.masses, np.full(10, 10.0))
            assert record.centre_drift < 1e-12
            assert abs(record.energy_drift) < 1e-2
            at = np.flatnonzero(read.steps == record.step)[0]
            assert np.abs(record.centres - read.com[at]).max() < 1e-10  # the centres are those of the frame
            assert (record.n_samples, record.dt, len(record.pairs)) == (200, 0.02, len(record.pairs))
            assert record.lags[-1] == 40


def test_computes_that_keep_where_beads_were_stay_through_constrained_runs(tmp_path):
    """LAMMPS gives each a fix of its own, m_COMPUTE_STORE of style STORE/ATOM, as it does a dump with thresh LAST."""
    watched = (
        "compute m all msd\ngroup some dynamic all every 100\ndump o some custom 200 o.dump id x\n"
        "dump_modify o thresh x > LAST\nthermo_style custom step c_m[4]\n"
    ).replace("o.dump", str(tmp_path / "o.dump"))
    deck = variant(tmp_path, replace=[*PLAIN, ("reset_timestep 0\n", f"reset_timestep 0\n{watched}")])
    code, error = run(1, deck, *HELD, *EVERY, "--out", tmp_path / "out")
    assert code == 0, error
    assert len(read_constrained(tmp_path / "out" / "constrained").runs) == 3


def ended(deck, out, number, n_records, n_ranks=2):
    """Start a run whose constrained runs take a while, and end it by a signal once so many records are there."""
    long = ("--constrained-steps", "12000")
    process = start(n_ranks, deck, *HELD, *EVERY, *long, "--out", out)
    wait_for(lambda: len(list((out / "constrained").glob("*.h5"))) >= n_records or process.poll() is not None)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    return process.returncode, error


@pytest.mark.parametrize(
    ("number", "n_ranks"), [(signal.SIGTERM, 2), pytest.param(signal.SIGKILL, 3, marks=pytest.mark.slow)]
)
def test_ended_among_constrained_runs_a_run_goes_on_there(tmp_path, deck, number, n_ranks):
    out = tmp_path / "out"
    code, error = ended(deck, out, number, 1, n_ranks)
    assert "Traceback" not in error
    if number == signal.SIGTERM:
        assert code == 0
        assert read_ending(out)["status"] == "interrupted"
        assert "in constrained run 2 of 3" in read_ending(out)["message"]
        assert "--resume" in error
    first = (out / "constrained" / "0000.h5").read_bytes()
    assert len(kept_states(out / "checkpoint")) == 3
    assert not (out / "constrained" / "0002.h5").exists()
    code, error = run(n_ranks, "--resume", out)
    assert code == 0, error
    assert (out / "constrained" / "0000.h5").read_bytes() == first  # what was there stayed
    held = read_constrained(out / "constrained")
    assert [record.step for record in held.runs] == [325, 655, 985]
    assert all(record.n_samples == 6000 for record in held.runs)
    assert (read_ending(out)["status"], read_ending(out)["n_frames"]) == ("complete", 200)
    with h5py.File(out / "modes.h5") as file:
        assert file["mlgle/com"].shape == (200, 10, 3)
        if number == signal.SIGTERM:  # a kill costs the journal's last seconds: production goes on from a restart file
            assert file["mlgle"].attrs["segments"].tolist() == [0]


@pytest.mark.slow
def test_ended_in_production_a_run_goes_on_to_the_same_records(tmp_path, deck):
    """States that were kept before stay, and later ones come where they would have come."""
    text = deck.read_text().replace("atom_style  bond", "atom_style  bond\natom_modify sort 0 0.0")
    deck.write_text(text)
    frames = ("--frames", "4000", "--checkpoint-every", "100")
    out, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    process = start(2, deck, *HELD, *EVERY, *frames, "--out", out)
    wait_for(lambda: len(kept_states(out / "checkpoint")) >= 1 or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert len(kept_states(out / "checkpoint")) < 3
    assert run(2, "--resume", out)[0] == 0
    assert run(2, deck, *HELD, *EVERY, *frames, "--out", unbroken)[0] == 0
    steps = [[record.step for record in read_constrained(folder / "constrained").runs] for folder in (out, unbroken)]
    assert steps[0] == steps[1] == [6660, 13325, 19990]


def test_the_stride_of_frames_and_forces_is_found(tmp_path, deck):
    code, error = run(2, deck, *HELD, "--out", tmp_path / "out")
    assert code == 0, error
    with FramesReader(tmp_path / "out" / "modes.h5") as frames:
        every = frames.system.every
        momenta = frames.read(0, 200, with_modes=False).channels["chains"]["momenta"]
    assert every in (1, 2, 5, 10, 20, 50)
    products = [float(np.mean(momenta[lag:] * momenta[: 200 - lag])) for lag in range(31)]
    decay = int(np.argmax(np.array(products) < products[0] / np.e))
    assert 3 <= decay <= 20  # about seven frames, from a trial as short as that one
    assert 1 <= read_constrained(tmp_path / "out" / "constrained").runs[0].dt / 0.01 <= 20


@pytest.mark.parametrize(
    ("replace", "said"),
    [
        ((("run         50\n", "run 50\n"),), "fix 2 of style langevin adds friction"),
        ((*PLAIN, ("pair_style  soft 1.0", "pair_style hybrid/overlay soft 1.0 dpd/tstat 1 1 1 5"),
          ("pair_coeff  * * 10.0", "pair_coeff * * soft 10.0\npair_coeff * * dpd/tstat 1 1.0")),
         "pair style dpd/tstat adds friction"),
        ((*PLAIN, ("fix         1 all nve\n", "fix 1 all nve\nfix 9 all viscous 1.0\n")), "fix 9 of style viscous"),
        ((*PLAIN, ("fix         1 all nve\n", "fix 1 all nve\nfix 9 all spring/self 1.0\n")), "fix 9 of style spring"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_from_is_refused_by_name(tmp_path, replace, said):
    deck = variant(tmp_path, replace=replace)
    code, error = run(2, deck, *HELD, *EVERY, "--out", tmp_path / "out")
    assert code == 2
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_single_atoms_and_other_species_are_refused_by_name(tmp_path):
    deck = variant(tmp_path, data="unequal", replace=PLAIN)  # one molecule lacks a bond: two of other kinds
    code, error = run(1, deck, *HELD, *EVERY, "--out", tmp_path / "out")
    assert code == 2
    assert "belong to no molecule of the main species" in error or "memory of one species" in error


def test_a_plan_that_cannot_be_is_said_before_production(tmp_path, deck):
    for words, said in (
        (("--pair-range", "2.6"), "--pair-range is 2.6; half the box is 2.5"),
        (("--longest-lag", "250"), "lags have to lie within half a run"),
        (("--frames", "200", "--configurations", "300"), "ask for more --frames"),
    ):
        code, error = run(2, deck, *HELD, *EVERY, *words, "--out", tmp_path / "out")
        assert (code, said in error) == (2, True), error


def test_check_says_what_a_run_will_take(tmp_path, deck):
    process = start(2, deck, *HELD, *EVERY, "--check", "--out", tmp_path / "out")
    printed, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    for words in (
        "10 molecules of 10 beads",
        "200 frames of centres and momenta, every 5 steps",
        "constrained runs: 3 of 400 steps",
        "times a plain step",
        "MD in all: 2200 steps",
        "pairs within range",
        "learning ",
        "; generating 10000 frames: ",
    ):
        assert words in printed  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_options_of_other_surrogates_are_refused():
    for words in (("--modes", "3"), ("--memory", "9"), ("--handoff", "tmax"), ("--full-md", "5")):
        with pytest.raises(UserError, match=words[0][2:].replace("-", "_")):
            parse_run(["in.deck", "--surrogate", "nm-mb", *words])
    for words in (("--frames", "300"), ("--configurations", "3"), ("--pair-range", "2.0")):
        with pytest.raises(UserError, match=words[0][2:].replace("-", "_")):
            parse_run(["in.deck", *words])
    assert parse_run(["in.deck", "--surrogate", "nm-mb"]).deck.every is None
