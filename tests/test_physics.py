"""Physics that goes wrong, in decks that go wrong in that way: detected, named, and the frames before it kept."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_run_mpi import FRAMES, N_FRAMES, read_ending, read_stream, run, variant

from mlgle_lammps.acquire.physics import FIRST_FRAMES, PhysicsWatch, torn_bond
from mlgle_lammps.chains.modes import chain_modes
from mlgle_lammps.chains.molecule_sums import Block
from mlgle_lammps.errors import RunFailure


def thermostat(temperature, length=4000):
    return f"#mlgle production\nrun 200\nunfix 2\nfix 2 all langevin {temperature} {temperature} 0.5 9\nrun {length}\n"


CASES = {
    "hot": ({"production": thermostat(30.0)}, r"kinetic temperature is \S+ at step \d+, \S+ times the \S+ of the"),
    "long step": (
        {"replace": [("vel yes", "vel yes cutoff 4.5"), ("run         50", "run 50\nunfix 2\ntimestep 0.072")]},
        r"kinetic temperature is",
    ),
    "flags set": (
        # how to hide a command from the scan of the deck, which would refuse it
        {"production": "#mlgle production\nrun 200\nvariable q file ${hidden}\n${q}\nrun 4000\n"},
        r"centre of chain \d+ jumped by .* change no flags or positions during production",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("case", "n_ranks"), [("hot", 1), ("hot", 3), ("long step", 2), ("flags set", 3)])
@pytest.mark.mpi
@pytest.mark.lammps
def test_physics_that_goes_wrong_is_named_and_the_frames_are_kept(tmp_path, case, n_ranks):
    changes, message = CASES[case]
    hidden = tmp_path / "words"
    hidden.write_text("set atom 57 image 400 0 0\n")
    often = ("--every", "2") if case == "long step" else ()
    deck = variant(tmp_path, **changes)
    code, error = run(n_ranks, deck, *FRAMES, *often, "-var", "hidden", hidden, "--out", tmp_path / "out")
    assert re.fullmatch(f"mlgle run: error: .*({message}).*\n(mlgle run: go on with: .*\n)?", error), error
    assert code == 1
    n_frames = len(read_stream(tmp_path / "out")["step"])
    assert 1 <= n_frames < N_FRAMES
    assert read_ending(tmp_path / "out")["status"] == "failed"


@pytest.mark.mpi
@pytest.mark.lammps
def test_a_temperature_that_drifts_is_a_warning(tmp_path):
    many = [*FRAMES[:5], "131", *FRAMES[6:]]
    deck = variant(tmp_path, replace=[("run         50", "run 1000")], production=thermostat(3.0))
    assert run(2, deck, *many, "--out", tmp_path / "out") == (0, "")
    (warning,) = read_ending(tmp_path / "out")["warnings"]
    found = re.match(r"the kinetic temperature went from (\S+) to (\S+) \(\+\d+%, means over 16 frames", warning)
    assert found
    assert float(found[1]) == pytest.approx(1.0, abs=0.3)
    assert float(found[2]) == pytest.approx(3.0, abs=0.7)


@pytest.mark.mpi
@pytest.mark.lammps
@pytest.mark.parametrize("n_ranks", [1, 3])
def test_torn_chains_are_refused_before_production(tmp_path, n_ranks):
    deck = variant(
        tmp_path,
        replace=[("read_data   ${deckdir}/data.small\n", "read_data ${deckdir}/data.small\nset atom * image 0 0 0\n")],
    )
    code, error = run(n_ranks, deck, *FRAMES, "--out", tmp_path / "out")
    assert re.fullmatch("mlgle run: error: .*bonds span more than half the box.*unwrapped coordinates.*\n", error)
    assert code == 2
    assert not (tmp_path / "out").exists()


class FakeLammps:
    """As much of LAMMPS as the watch needs to judge."""

    class numpy:
        @staticmethod
        def extract_atom(name):
            return np.array([0.0, 1.0])

    def extract_setting(self, name):
        return 0

    def extract_global(self, name):
        return {"mvv2e": 1.0, "boltz": 1.0, "units": "lj", "ntimestep": 70}[name]


def watch(edge=10.0):
    return PhysicsWatch(FakeLammps(), np.eye(3) * edge)  # type: ignore[arg-type]


def judge(watch, temperature, com=None, n_atoms=1000):
    watch.judge(np.zeros((3, 3)) if com is None else com, n_atoms, 3 * n_atoms * temperature)


def test_warnings_begin_at_20_percent():
    for last, warned in ((1.19, False), (1.21, True), (0.79, True), (0.81, False)):
        found = watch()
        for temperature in [1.0] * FIRST_FRAMES + [last] * FIRST_FRAMES:
            judge(found, temperature)
        assert bool(found.warnings) == warned


def test_the_scatter_of_few_atoms_is_no_drift():
    """Temperatures of 100 atoms scatter by 8%; frames that are all alike within a block are the worst case."""
    generator = np.random.default_rng(4)
    for n_atoms, blocks in ((100, 300), (5000, 300)):
        found = watch()
        for _ in range(blocks):
            temperature = generator.chisquare(3 * n_atoms) / (3 * n_atoms)
            for _ in range(FIRST_FRAMES):
                judge(found, temperature, n_atoms=n_atoms)
        assert not found.warnings


def test_steps_of_all_chains_together_are_no_jump():
    found, com = watch(), np.zeros((3, 3))
    generator = np.random.default_rng(5)
    for _ in range(20):
        com = com + 30.0 + 0.1 * generator.standard_normal((3, 3))
        judge(found, 1.0, com)
    assert not found.warnings
    com = com + 30.0
    com[2, 1] += 5.1
    with pytest.raises(RunFailure, match=r"centre of chain 3 jumped by 5.1 up to step 70, more than half the box"):
        judge(found, 1.0, com)


def test_steps_that_are_always_long_are_a_warning():
    found, com = watch(), np.zeros((3, 3))
    for sign in (1, -1, 1):
        com = com + sign * np.arange(9).reshape(3, 3)
        judge(found, 1.0, com)
    assert found.warnings == (
        "chains' centres move 6 between two frames, more than half the box (first at step 70): lower --every",
    )


def test_what_is_not_finite_or_runs_away_is_named():
    for temperatures, message in (
        ([1.0, float("nan")], "velocities are no longer finite at step 70"),
        ([0.0, 1.0, 1.0, 1.0, 5.1], r"the kinetic temperature is 5.1 at step 70, 6.8 times the 0.75 of"),
    ):
        found = watch()
        for temperature in temperatures[:-1]:
            judge(found, temperature)
        with pytest.raises(RunFailure, match=message):
            judge(found, temperatures[-1])


def test_bonds_of_half_the_box_are_torn_and_shorter_ones_are_not():
    chains = Block(np.array([[5, 6, 7], [1, 2, 3]]), 2)
    positions = np.zeros((2, 3, 3))
    positions[1, 2] = (0, 4.9, 0)
    assert torn_bond(chain_modes(positions, 2), chains, np.eye(3) * 10) == ""
    positions[1, 2] = (0, 5.1, 0)
    line = torn_bond(chain_modes(positions, 2), chains, np.eye(3) * 10)
    assert line.startswith("1 bond spans more than half the box; the longest, of atoms 2 and 3 in chain 2, is 5.1 long")
    assert torn_bond(chain_modes(positions, 2), chains, np.diag([10.0, 0.0, 10.0])) == ""
    assert torn_bond(chain_modes(positions, 2), chains, np.zeros((3, 3))) == ""
