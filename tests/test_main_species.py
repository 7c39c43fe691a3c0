"""The species whose D is given: the longest of ten molecules or more; what is left out is said, and makes amber."""

import itertools
import json

import numpy as np
import pytest

from mlgle_lammps.chains.main_species import choose_main, kinds_of, what_is_left_out
from mlgle_lammps.chains.topology import find_chains
from mlgle_lammps.commands import replay
from mlgle_lammps.errors import UserError
from mlgle_lammps.report.page import traffic_light

pytestmark = pytest.mark.light


def mixture(*species):
    """Return bonds and types of (number, types along the molecule) in turn."""
    bonds: list[tuple[int, int]] = []
    types: dict[int, str] = {}
    atom = 1
    for count, sequence in species:
        for _ in range(count):
            ids = range(atom, atom + len(sequence))
            bonds += itertools.pairwise(ids)
            types |= dict(zip(ids, sequence, strict=True))
            atom += len(sequence)
    return np.array(bonds), lambda ids: [types[i] for i in ids.tolist()]


@pytest.mark.parametrize(
    ("species", "chosen", "said"),
    [
        ([(30, "A" * 5), (1, "A" * 7)], (30, 5), "left out: 1 molecule of 7 beads"),
        ([(300, "CCC"), (20, "A" * 8)], (20, 8), "in the list species: 300 molecules of 3 beads"),
        ([(12, "A" * 20), (200, "CCC")], (12, 20), "D is of 12 molecules of 20 beads, the main species (the longest"),
        ([(9, "A" * 20), (40, "AAA")], (40, 3), "in the list species: 9 molecules of 20 beads"),
        ([(10, "A" * 20), (4000, "AAA")], (10, 20), "in the list species: 4000 molecules of 3 beads"),
        ([(3, "A" * 5), (3, "A" * 7), (1, "A" * 9)], (3, 7), "the most frequent, as all are few"),
        ([(20, "A" * 6), (30, "B" * 6)], (30, 6), "in the list species: 20 molecules of 6 beads (type A)"),
        ([(20, "A" * 6), (20, "B" * 6)], (20, 6), "D is of 20 molecules of 6 beads (type A)"),
        ([(20, "AAABBB"), (25, "ABABAB")], (25, 6), "in the list species: 20 molecules of 6 beads (A-A-A-B-B-B)"),
        ([(30, "AAB"), (30, "BAA")], (60, 3), None),  # one kind, walked from either end
        ([(50, "A" * 6)], (50, 6), None),
        ([(50, "CAAAAC")], (50, 6), None),  # ends of another type
    ],
)
def test_which_is_the_main_species(species, chosen, said):
    bonds, types_of = mixture(*species)
    found = find_chains(bonds, types_of=types_of)
    assert found.ids.shape == chosen
    assert len({tuple(sorted(set(types_of(row)))) for row in found.ids}) == 1
    if said is None:
        assert found.left_out == ()
        assert find_chains(bonds, types_of=types_of, strict=True).ids.shape == chosen
        return
    assert len(found.left_out) == 1
    assert said in found.left_out[0]
    with pytest.raises(UserError, match="without `strict` D is of"):
        find_chains(bonds, types_of=types_of, strict=True)


def test_random_copolymers_are_one_species():
    random = np.random.default_rng(1)
    bonds, types_of = mixture(*((1, "".join(random.choice(["A", "B"], 20))) for _ in range(40)))
    found = find_chains(bonds, types_of=types_of)
    assert (found.ids.shape, found.left_out) == ((40, 20), ())


def test_many_lengths_make_one_short_line():
    kinds = kinds_of(np.repeat(np.arange(5, 45), 2))
    main = choose_main(kinds)
    (line,) = what_is_left_out(main, kinds, strict=False)
    assert main.n_beads == 44
    assert "72 molecules of 36 other kinds" in line
    assert len(line) < 250


# ------------------------------------------------------------------ a replay, to its last line

BOX, N_FRAMES = 20.0, 60


def solution(folder, polymers=(12, 6), solvent=(40, 2)):
    """Write beads that walk at random, polymers slow and solvent fast, as a dump with its data file."""
    random = np.random.default_rng(3)
    molecules = [(polymers[1], 0.05, 1)] * polymers[0] + [(solvent[1], 0.4, 2)] * solvent[0]
    n_atoms = sum(size for size, _, _ in molecules)
    step = np.concatenate([np.full((size, 1), speed) for size, speed, _ in molecules])
    owner = np.repeat(np.arange(len(molecules)), [size for size, _, _ in molecules])
    start = random.uniform(0, BOX, (len(molecules), 3))[owner] + random.normal(0, 0.3, (n_atoms, 3))
    whole = np.cumsum(random.normal(size=(N_FRAMES, len(molecules), 3)), axis=0)[:, owner] * step
    shape = random.normal(0, 0.02, (N_FRAMES, n_atoms, 3))
    atoms = np.arange(1, n_atoms + 1)
    bonds = [(a, a + 1) for a in atoms[:-1] if owner[a - 1] == owner[a]]
    lines = ["a solution", "", f"{n_atoms} atoms", f"{len(bonds)} bonds", "2 atom types", "1 bond types", ""]
    lines += [f"0 {BOX} {axis}lo {axis}hi" for axis in "xyz"] + ["", "Masses", "", "1 1.0", "2 1.0", ""]
    lines += ["Atoms # bond", ""] + [f"{a} {owner[a - 1] + 1} {molecules[owner[a - 1]][2]} 0 0 0" for a in atoms]
    lines += ["", "Bonds", ""] + [f"{i} 1 {a} {b}" for i, (a, b) in enumerate(bonds, start=1)]
    (folder / "m.data").write_text("\n".join(lines) + "\n")
    with (folder / "t.dump").open("w") as file:
        for i, frame in enumerate(start + whole + shape):
            file.write(f"ITEM: TIMESTEP\n{100 * i}\nITEM: NUMBER OF ATOMS\n{n_atoms}\nITEM: BOX BOUNDS pp pp pp\n")
            file.write(f"0 {BOX}\n" * 3 + "ITEM: ATOMS id xu yu zu\n")
            np.savetxt(file, np.column_stack([atoms, frame]), "%d %.6f %.6f %.6f")


def test_a_replay_gives_the_polymers_D_and_says_so_everywhere(tmp_path, capfd):
    solution(tmp_path)
    options = ["--timestep", "0.01", "--units", "lj", "--memory", "8", "--train-frames", "40", "--val-frames", "20"]
    options += ["--generate-steps", "0"]
    given = ["--topology", str(tmp_path / "m.data"), "--out", str(tmp_path / "out"), *options]
    assert replay.main([str(tmp_path / "t.dump"), *given]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    line = "D is of 12 molecules of 6 beads, the main species (the longest of 10 molecules or more); D of each "
    line += "other is in the list species: 40 molecules of 2 beads"
    assert (result["n_chains"], result["n_beads"]) == (12, 6)
    assert result["D"]["value"] == pytest.approx(0.05**2 / 2, rel=0.5)  # of the solvent it is 64 times that
    assert result["warnings"][0] == line
    assert traffic_light(result).colour != "green"
    assert line in (tmp_path / "out" / "report.html").read_text().split("Warnings")[0]
    again = ["--out", str(tmp_path / "again"), *options[4:]]
    assert replay.main([str(tmp_path / "out"), *again]) == 0  # the recorded stream knows it
    assert line in json.loads((tmp_path / "again" / "result.json").read_text())["warnings"]
