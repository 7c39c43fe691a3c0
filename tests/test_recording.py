"""Runs that record beads and learn nothing: what a surrogate of many molecules is trained on."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_driver import Kept

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.deck import read_deck
from mlgle_lammps.acquire.driver import Driver
from mlgle_lammps.acquire.wanted import RECORDED, FramesWanted
from mlgle_lammps.api.streams import Journalled
from mlgle_lammps.chains.modes import mode_matrix
from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.commands import run
from mlgle_lammps.commands.parsers import parse_run
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.run_results import open_run
from mlgle_lammps.options.deck import DeckOptions
from mlgle_lammps.pipeline.recording import record
from mlgle_lammps.records import CHAINS, joined
from mlgle_lammps.store.recording import open_recording
from mlgle_lammps.store.run_folder import RunFolder

pytestmark = [pytest.mark.mpi, pytest.mark.lammps, pytest.mark.light]

COPOLYMER = Path(__file__).parent.parent / "lammps_inputs/sequences/in.copolymer"
SMALL = ["-var", "sequence", *"BAAACCDB", "-var", "relax", "200", "-var", "steps", "400"]

TWO_CHAINS = """
units lj
atom_style bond
region box block 0 6 0 6 0 6
create_box 2 box bond/types 1 extra/bond/per/atom 2 extra/special/per/atom 4
mass 1 1.0
mass 2 {mass}
create_atoms 1 single 5.5 1 1
create_atoms 2 single 0.3 1 1
create_atoms 1 single 1.1 1 1
set atom 2*3 image 1 0 0
create_atoms 1 single 1.2 4 4
create_atoms 2 single 2.0 4 4
create_atoms 1 single 2.8 4 4
create_atoms 2 single 3.0 3.0 5.0
bond_style harmonic
bond_coeff 1 20 0.8
create_bonds single/bond 1 1 2
create_bonds single/bond 1 2 3
create_bonds single/bond 1 4 5
create_bonds single/bond 1 5 6
pair_style zero 1.0
pair_coeff * *
comm_modify cutoff 2.5
velocity all create 1.0 7 loop geom
fix move all nve
fix bath all langevin 1.0 1.0 1.0 7
timestep 0.01
#mlgle production
dump all all custom 10 {folder}/dump id type xu yu zu
dump_modify all sort id format float %.17g
run 60
"""


@pytest.fixture(scope="module")
def world():
    return mpi.start()


def recorded(world, folder, text, n_frames=None, **options):
    path, sink = folder / "in.deck", Kept()
    path.write_text(text)
    wanted = FramesWanted(12, n_frames, channels=RECORDED, single=True, to_the_end=True)
    with Driver(world, read_deck(path), DeckOptions(path, every=10, **options), wanted, sink, None) as driver:
        driver.prepare()
        ending = driver.produce()
    assert ending.status == "complete", ending.message
    return sink.system, joined(sink.frames)


def dumped(path, n_atoms):
    lines = [line.split() for line in path.read_text().splitlines()]
    rows = [list(map(float, line)) for line in lines if len(line) == 5 and line[0] != "ITEM:"]
    return np.array(rows).reshape(-1, n_atoms, 5)[:, :, 2:]


@pytest.mark.parametrize("mass", [1.0, 3.0])
def test_beads_and_centres_are_lammps_own_unwrapped_positions(world, tmp_path, mass):
    system, frames = recorded(world, tmp_path, TWO_CHAINS.format(folder=tmp_path, mass=mass))
    there = dumped(tmp_path / "dump", 7)
    assert len(frames) == len(there) == 7  # to the end of the deck's run
    beads = there[:, :6].reshape(7, 2, 3, 3)
    weights = np.array([1.0, mass, 1.0]) / (2.0 + mass)
    centres = np.einsum("tcbx,b->tcx", beads, weights)
    own = frames.channels[CHAINS]
    assert own["beads"].dtype == np.float32
    np.testing.assert_allclose(own["com"], centres, atol=1e-12)
    np.testing.assert_allclose(own["beads"], beads - centres[:, :, None], atol=1e-6)
    np.testing.assert_allclose(own["modes"], np.einsum("kb,tcbx->tckx", mode_matrix(3, 2)[1:], beads), atol=1e-6)
    lone = system.others[0]
    assert (lone.n_molecules, lone.n_beads, lone.types, lone.channels) == (1, 1, ("2",), ("com",))
    np.testing.assert_allclose(frames.channels[lone.name]["com"][:, 0], there[:, 6], atol=1e-12)
    assert (system.types, system.masses) == (("1", "2", "1"), (2.0 + mass,))


def test_frames_may_be_fewer_or_more_than_the_deck_makes(world, tmp_path):
    deck = TWO_CHAINS.format(folder=tmp_path, mass=1.0)
    _, few = recorded(world, tmp_path, deck, n_frames=3)
    _, many = recorded(world, tmp_path, deck, n_frames=9)
    assert (len(few), len(many)) == (3, 9)
    np.testing.assert_array_equal(few.channels[CHAINS]["beads"], many.channels[CHAINS]["beads"][:3])
    with pytest.raises(UserError, match="give `frames`"):
        recorded(world, tmp_path, deck.replace("#mlgle production", ""))


def test_a_production_without_a_frame_is_no_success(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    source = Journalled(RouseSource(3, 5, 2, 0, 1.0, 1, every=400), folder)
    assert record(source, folder, DeckOptions(Path("in.melt"), (), 400), None) == 1
    result = json.loads(folder.result.read_text())
    assert result["status"] == "partial"
    assert "no multiple of `every` (400 steps)" in result["warnings"][-1]


def test_one_chain_in_an_open_box_is_recorded_and_learned_from_by_nobody(tmp_path, capsys):
    out = tmp_path / "run"
    command = [str(COPOLYMER), "--every", "50", "--out", str(out), *SMALL]
    assert run.main([*command, "--surrogate", "none"]) == 0
    result = json.loads((out / "result.json").read_text())
    assert (result["status"], result["surrogate"], result["D"], result["n_frames"]) == ("complete", "none", None, 9)
    recording = open_recording(out)
    system, frames = recording.system, joined(list(recording.read()))
    # in the order in which types come first, as species count molecules alike from either end
    assert system.types == tuple("BAAACCDB"[::-1]) or system.types == tuple("BAAACCDB")
    assert (system.n_chains, system.box, system.channels) == (1, None, RECORDED)
    assert frames.channels[CHAINS]["beads"].shape == (9, 1, 8, 3)
    bonds = np.linalg.norm(np.diff(frames.channels[CHAINS]["beads"], axis=2), axis=-1)
    assert 0.8 < bonds.min() < bonds.max() < 1.5
    with pytest.raises(UserError, match="was recorded only, and has no D"):
        open_run(out)
    capsys.readouterr()
    other = [str(tmp_path / "other") if word == str(out) else word for word in command]
    assert run.main(other) == 2  # D of one chain is refused as ever
    assert "at least 2 chains" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--surrogate", "none", "--memory", "9"], "`memory`: nothing is learned"),
        (["--frames", "9"], "`frames`: not an option of `surrogate` ml-gle"),
        (["--surrogate", "none", "--frames", "0"], "`frames` is 0"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        parse_run(["in.deck", *options])
