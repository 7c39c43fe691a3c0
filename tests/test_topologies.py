"""Topologies that people have: data files of any atom style, labels, packed files, large ids, GROMACS' .top."""

import gzip
import itertools

import numpy as np
import pytest

from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.topology import read_topology

CHAINS, BEADS = 3, 4
N = CHAINS * BEADS
MASSES = {"1": 12.0, "2": 1.5}
IDS = np.random.default_rng(3).permutation(np.arange(5, 5 + N))


def rows(columns, types, ids):
    """Rows of the Atoms section; atom i is bead i % BEADS of chain i // BEADS, its type that of the bead's parity."""
    for i, atom in enumerate(ids):
        values = {"id": atom, "mol": i // BEADS + 1, "type": types[i % 2], "q": 0.5 - i, "x": i, "y": 2 * i, "z": -i}
        yield " ".join(str(values.get(name, 7.5)) for name in columns.split())


def data_text(
    columns="id mol type x y z",
    header="Atoms # bond",
    title="a title",
    types=("1", "2"),
    masses=("1", "2"),
    box="0 9 xlo xhi\n0 9 ylo yhi\n0 9 zlo zhi",
    more="",
    ids=IDS,
):
    bonds = [(a, b) for chain in ids.reshape(CHAINS, BEADS) for a, b in itertools.pairwise(chain)]
    lines = [title, "", f"{N} atoms", f"{len(bonds)} bonds", "2 atom types", "1 bond types", "", *box.split("\n"), ""]
    lines += [more] if more else []
    lines += ["Masses", "", *(f"{name} {MASSES[n]}" for name, n in zip(masses, "12", strict=True)), ""]
    lines += [header, "", *rows(columns, types, ids), "", "Bonds", ""]
    lines += [f"{i} 1 {a} {b}" for i, (a, b) in enumerate(bonds, start=1)]
    return "\n".join(lines) + "\n"


def check(topology, molecules=True):
    order = np.argsort(IDS)
    np.testing.assert_array_equal(topology.ids, np.sort(IDS))
    np.testing.assert_array_equal(topology.masses, np.array([12.0, 1.5] * (N // 2))[order])
    np.testing.assert_array_equal(topology.masses_of(IDS.reshape(CHAINS, BEADS))[1], [12.0, 1.5, 12.0, 1.5])
    pairs = {tuple(sorted(pair)) for pair in topology.bonds.tolist()}
    assert pairs == {tuple(sorted(p)) for chain in IDS.reshape(3, 4).tolist() for p in itertools.pairwise(chain)}
    if molecules:
        assert topology.molecules[int(IDS[-1])] == CHAINS


LABELS = "Atom Type Labels\n\n1 PE\n2 end#x\n".replace("#", "_")
GENERAL = "0 9 0 avec\n-9 0 0 bvec\n1 1 9 cvec\n0 0 0 abc origin"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bond", {}),
        ("full", {"columns": "id mol type q x y z", "header": "Atoms # full"}),
        ("image flags", {"columns": "id mol type x y z a b c"}),
        ("no style named", {"header": "Atoms"}),
        ("full, no style named", {"columns": "id mol type q x y z a b c", "header": "Atoms"}),
        ("a comment that is no style", {"header": "Atoms # written by hand"}),
        ("hybrid", {"columns": "id type x y z mol q", "header": "Atoms # hybrid"}),
        ("hybrid and its parts", {"columns": "id type x y z mol q a b c", "header": "Atoms # hybrid bond charge"}),
        ("labels", {"more": LABELS, "types": ("PE", "end_x"), "masses": ("PE", "end_x")}),
        ("labels not used", {"more": LABELS}),
        ("labels of atoms only", {"more": LABELS, "types": ("PE", "end_x")}),
        ("template", {"columns": "id mol a b type x y z", "header": "Atoms # template"}),
        ("bpm/sphere", {"columns": "id mol type a b x y z", "header": "Atoms # bpm/sphere"}),
        ("general triclinic", {"box": GENERAL}),
        ("Latin-1", {"title": "Röhrchen, 5 Å"}),
        ("a title like a section", {"title": "Atoms"}),
        ("another section", {"more": "PeriLattice\n\n1 2 3\n2 3 4\n"}),
        ("sections of a fix", {"more": "CMAP\n\n1 2 3 4 5 6\n\nBondBond13 Coeffs\n\n1 3.5 A\n"}),
        ("a comment after the counts", {"more": "Pair Coeffs # lj/cut\n\n1 0.1 3.0 # PE\n2 0.1 3.0\n"}),
    ],
)
def test_data_files(tmp_path, name, options):
    path = tmp_path / "x.data"
    path.write_bytes(data_text(**options).encode("latin-1"))
    check(read_topology(path), molecules="hybrid" not in name)


def test_the_file_is_told_by_its_head_and_may_be_packed(tmp_path):
    path = tmp_path / "chains.gz"
    path.write_bytes(gzip.compress(data_text().encode()))
    check(read_topology(path))


def test_ids_up_to_the_largest_that_lammps_has(tmp_path):
    ids = IDS + (2**63 - 1 - IDS.max())
    path = tmp_path / "x.data"
    path.write_text(data_text(ids=ids))
    topology = read_topology(path)
    assert topology.ids.max() == 2**63 - 1
    np.testing.assert_array_equal(topology.ids, np.sort(ids))
    assert len(topology.bonds) == CHAINS * (BEADS - 1)


def test_selections_by_number_and_by_label(tmp_path):
    path = tmp_path / "x.data"
    path.write_text(data_text(more=LABELS))
    light = set(IDS[1::2].tolist())

    def selected(words):
        found = read_topology(path, words).selected
        assert found is not None
        return set(found.tolist())

    for selection in ("type 2", "type end_x", "name end_x", "mass 1.5"):
        assert selected(selection) == light
    assert selected(f"id {IDS[2]}") == {IDS[2]}
    assert selected("prop x < 1.5") == set(IDS[:2].tolist())
    with pytest.raises(UserError, match="`select` 'type nothing' finds no atom"):
        read_topology(path, "type nothing")


def test_masses_that_are_not_there(tmp_path):
    path = tmp_path / "x.data"
    text = data_text()
    begin, end = text.index("Masses"), text.index("Atoms #")
    path.write_text(text[:begin] + text[end:])
    topology = read_topology(path)
    assert topology.masses is None
    assert topology.masses_of(IDS) is None
    path.write_text(text.replace("2 1.5\n", ""))  # of one type only
    assert read_topology(path).masses is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Atoms # bond", "Atom # bond", "has no section Atoms"),
        (f"\n{IDS[3]} 1 ", "\n3.5 1 ", "invalid literal"),
        (f"{N} atoms", f"{N + 1} atoms", f"counts {N + 1} atoms, and {N}"),
        ("1 12.0", "1 heavy", "could not convert"),
    ],
)
def test_damaged_data_files_are_one_line(tmp_path, old, new, message):
    path = tmp_path / "x.data"
    path.write_text(data_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message) as caught:
        read_topology(path)
    assert "\n" not in str(caught.value)


GROMACS = """; a melt
[ defaults ]
1 2 no 1.0 1.0

[ atomtypes ]
C C 12.0 0.0 A 0.3 0.2

[ moleculetype ]
PE 1

[ atoms ]
1 C 1 PE C1 1 0.0 12.0
2 C 1 PE C2 2 0.0 14.0
3 C 1 PE C3 3 0.0 12.0

[ bonds ]
1 2 1
2 3 1

[ system ]
melt

[ molecules ]
PE 4
"""


def test_gromacs_topologies(tmp_path):
    path = tmp_path / "topol.top"
    path.write_text(GROMACS)
    topology = read_topology(path)
    np.testing.assert_array_equal(topology.ids, np.arange(1, 13))
    assert {tuple(sorted(pair)) for pair in topology.bonds.tolist()} == {(a, a + 1) for a in range(1, 12) if a % 3}
    np.testing.assert_array_equal(topology.masses, [12.0, 14.0, 12.0] * 4)
