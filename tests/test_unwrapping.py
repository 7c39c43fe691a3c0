"""Wrapped positions are never taken for unwrapped, and boxes that change are unwrapped as they must be."""

import numpy as np
import pytest
from test_trajectories import BOX, frames_of, walkers, write_dump, write_topology

from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.trajectory import open_trajectory
from mlgle_lammps.formats.wrapped import reaching_across
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.store.recorded import RecordedSource

N_CHAINS, N_BEADS = 6, 5


def changing_box(n_frames=400, tilt=0.0, seed=4, step=0.35, swing=0.04):
    """Chains whose centres take normal steps in a box that fluctuates, with the exact sums of their steps.

    Wrapped centres w' = (w + step) mod L' of each frame's box: the steps are what wrapped positions do.

    Returns:
        cells (time, 3, 3), summed steps of centres (time, chain, 3), wrapped beads and flags (time, chain, bead, 3).
    """
    generator = np.random.default_rng(seed)
    sizes = BOX * (1 + swing * np.sin(np.arange(n_frames) * 0.7) + swing * generator.normal(size=n_frames) / 4)
    shape = np.array([[1.0, 0, 0], [tilt, 1.0, 0], [-tilt, tilt, 1.0]])
    cells = sizes[:, None, None] * shape
    steps = generator.normal(size=(n_frames, N_CHAINS, 3)) * step
    steps[0] = 0.0
    inside = generator.uniform(0, BOX, size=(N_CHAINS, 3))
    images = np.zeros((N_CHAINS, 3), dtype=int)
    wiggle = generator.normal(size=(n_frames, N_CHAINS, N_BEADS, 3)).cumsum(axis=2) * 0.3
    wiggle -= wiggle.mean(axis=2, keepdims=True)
    positions, flags = np.empty_like(wiggle), np.empty(wiggle.shape, dtype=int)
    for i, cell in enumerate(cells):
        inside = inside + steps[i]
        over = np.floor(inside @ np.linalg.inv(cell)).astype(int)
        inside, images = inside - over @ cell, images + over
        beads = inside[:, None] + wiggle[i]
        own = np.floor(beads @ np.linalg.inv(cell)).astype(int)
        positions[i], flags[i] = beads - own @ cell, own + images[:, None]
    return cells, steps.cumsum(axis=0), positions, flags


def dump(path, cells, positions, ids, columns, extra=None):
    """Write what the columns say: x (with flags in ``extra``) or xu."""
    lines = []
    for number, (cell, frame) in enumerate(zip(cells, positions, strict=True)):
        xy, xz, yz = cell[1, 0], cell[2, 0], cell[2, 1]
        lines += ["ITEM: TIMESTEP", str(10 * number), "ITEM: NUMBER OF ATOMS", str(ids.size)]
        lines += ["ITEM: BOX BOUNDS xy xz yz pp pp pp"]
        low, high = min(0, xy, xz, xy + xz), cell[0, 0] + max(0, xy, xz, xy + xz)
        lines += [f"{low} {high} {xy}", f"{min(0, yz)} {cell[1, 1] + max(0, yz)} {xz}", f"0 {cell[2, 2]} {yz}"]
        lines += [f"ITEM: ATOMS id {columns}"]
        table = frame.reshape(-1, 3)
        for i, atom in enumerate(ids.ravel()):
            row = f"{atom} " + " ".join(f"{x:.12f}" for x in table[i])
            lines.append(row if extra is None else f"{row} {' '.join(map(str, extra[number].reshape(-1, 3)[i]))}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def topology(tmp_path):
    ids = np.arange(1, 1 + N_CHAINS * N_BEADS).reshape(N_CHAINS, N_BEADS)
    lines = ["x", "", f"{ids.size} atoms", f"{N_CHAINS * (N_BEADS - 1)} bonds", "1 atom types", "", "0 6 xlo xhi", ""]
    lines += ["Atoms # bond", "", *(f"{atom} {(atom - 1) // N_BEADS + 1} 1 0 0 0" for atom in ids.ravel()), ""]
    pairs = [(a, a + 1) for row in ids for a in row[:-1]]
    lines += ["Bonds", "", *(f"{i} 1 {a} {b}" for i, (a, b) in enumerate(pairs, start=1))]
    path = tmp_path / "chains.data"
    path.write_text("\n".join(lines) + "\n")
    return path, ids


@pytest.mark.parametrize("form", ["flags", "xu", "bare"])
@pytest.mark.parametrize("tilt", [0.0, 0.2])
def test_a_box_that_changes_gives_the_steps_of_wrapped_centres(tmp_path, topology, form, tilt):
    path, ids = topology
    cells, moved, positions, flags = changing_box(tilt=tilt)
    lattice = positions + np.einsum("tcbi,tij->tcbj", flags.astype(float), cells)
    if form == "flags":
        file = dump(tmp_path / "t.dump", cells, positions, ids, "x y z ix iy iz", flags)
    elif form == "xu":
        file = dump(tmp_path / "t.dump", cells, lattice, ids, "xu yu zu")
    else:
        file = dump(tmp_path / "t.dump", cells, positions, ids, "x y z")
    for trusted in {"xu": (False, True)}.get(form, (False,)):
        _, found, _, _, told = frames_of(file, n_modes=4, topology=path, dt=1.0, unwrapped=trusted)
        assert np.abs(found[:, :, 0] - found[0, :, 0] - moved).max() < 1e-8
        assert any("the box changes (volume 0." in line and "box of each frame" in line for line in told)
    # shapes are those of whole chains, and the plain product of flags and box is another matter
    assert np.abs(found[:, :, 1:]).max() < 0.5 * BOX
    wrong = lattice.mean(axis=2) - lattice[0].mean(axis=1)
    assert np.abs(wrong - moved).max() > 0.3


def test_what_was_found_is_told_also_where_reading_ends_early(tmp_path, topology):
    path, ids = topology
    cells, _, positions, flags = changing_box(n_frames=100)
    file = dump(tmp_path / "t.dump", cells, positions, ids, "x y z ix iy iz", flags)
    source = RecordedSource([open_trajectory(file, TrajectoryOptions(topology=path, dt=1.0), 4)], limit=50)
    assert len(list(source)) == 50
    assert any("the box changes" in line for line in source.ending().warnings)


def test_a_box_that_does_not_change_is_read_as_ever(tmp_path, topology):
    path, ids = topology
    cells, _, positions, flags = changing_box(n_frames=50, swing=0.0)
    file = dump(tmp_path / "t.dump", cells, positions, ids, "x y z ix iy iz", flags)
    _, found, _, _, told = frames_of(file, n_modes=4, topology=path, dt=1.0)
    assert told == ()
    plain = positions + flags @ cells[0]
    np.testing.assert_allclose(found[:, :, 0], plain.mean(axis=2), atol=1e-9)


def test_a_sheared_box_is_refused(tmp_path, topology):
    path, ids = topology
    cells, _, positions, flags = changing_box(n_frames=40, swing=0.0)
    cells = cells.copy()
    cells[:, 1, 0] = np.linspace(0, 3, 40)
    file = dump(tmp_path / "t.dump", cells, positions, ids, "x y z ix iy iz", flags)
    with pytest.raises(UserError, match=r"the box of frame 2\d is sheared by 0\.2"):
        frames_of(file, n_modes=4, topology=path, dt=1.0)


@pytest.fixture
def melt(tmp_path):
    positions, ids = walkers(n_frames=30)
    return tmp_path, positions, ids, write_topology(tmp_path / "chains.data", ids)


@pytest.mark.parametrize("images", [True, False])
def test_wrapped_positions_that_are_said_to_be_unwrapped_are_refused(melt, images):
    folder, positions, ids, topology = melt
    path = write_dump(folder / "t.dump", positions, ids, images=images)
    with pytest.raises(
        UserError, match=r"what `unwrapped` say.* a bond spans 0\.\d+ of the box: they are wrapped: leave"
    ):
        frames_of(path, topology=topology, dt=1.0, unwrapped=True)
    frames_of(path, topology=topology, dt=1.0)


def test_also_where_the_file_has_no_box(melt):
    folder, positions, ids, topology = melt

    def write(frames):
        order = np.argsort(ids.ravel())
        rows = [
            f"{ids.size}\nframe\n" + "".join(f"C {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in frame.reshape(-1, 3)[order])
            for frame in frames
        ]
        (folder / "t.xyz").write_text("".join(rows))
        return folder / "t.xyz"

    with pytest.raises(UserError, match="a bond spans"):
        frames_of(write(positions % BOX), topology=topology, dt=1.0, unwrapped=True)
    assert len(frames_of(write(positions), topology=topology, dt=1.0, unwrapped=True)[1]) == len(positions)


def test_whole_chains_that_jump_back_into_the_box_are_seen_by_their_steps(melt):
    folder, positions, ids, topology = melt
    centres = positions.mean(axis=2, keepdims=True)
    whole = positions - np.floor(centres / BOX) * BOX
    path = write_dump(folder / "t.dump", whole, ids, images=False)
    text = path.read_text().split("ITEM: TIMESTEP")
    lines = []
    for number, frame in enumerate(text[1:]):
        head, rows = frame.split("ITEM: ATOMS id x y z\n")
        del rows
        body = "".join(
            f"{atom} {x:.9f} {y:.9f} {z:.9f}\n"
            for atom, (x, y, z) in zip(ids.ravel(), whole[number].reshape(-1, 3), strict=True)
        )
        lines.append(f"ITEM: TIMESTEP{head}ITEM: ATOMS id xu yu zu\n{body}")
    path.write_text("".join(lines))
    with pytest.raises(
        UserError, match=r"xu yu zu say, but chain \d moves 0\.\d+ of the box to frame \d+ while others"
    ):
        frames_of(path, topology=topology, dt=1.0)


def test_flags_that_leave_chains_in_pieces_are_told_and_flags_that_change_are_refused(melt):
    """Data files without flags give each atom its own image for good: centres move rightly all the same."""
    folder, positions, ids, topology = melt
    broken = positions.copy()
    broken[:, :, 5:] += BOX * np.array([1, 0, -1])
    _, right, *_ = frames_of(write_dump(folder / "a.dump", positions, ids), n_modes=7, topology=topology, dt=1.0)
    _, found, _, _, told = frames_of(write_dump(folder / "t.dump", broken, ids), n_modes=7, topology=topology, dt=1.0)
    moved = found[:, :, 0] - found[0, :, 0]
    np.testing.assert_allclose(moved, right[:, :, 0] - right[0, :, 0], atol=1e-9)
    assert "4 bonds span the box by what image flags" in told[0]
    broken[:12] = positions[:12]
    with pytest.raises(
        UserError, match=r"image flags say, but in frame 12 a bond spans \d\.\d+ of the box: the flags do"
    ):
        frames_of(write_dump(folder / "t.dump", broken, ids), topology=topology, dt=1.0)


def test_atoms_in_another_order_are_named(melt):
    folder, positions, ids, topology = melt
    generator = np.random.default_rng(0)
    rows = []
    for frame in positions:
        flat = (frame % BOX).reshape(-1, 3)[generator.permutation(ids.size)]
        head = f'{ids.size}\nLattice="6 0 0 0 6 0 0 0 6" Properties=species:S:1:pos:R:3\n'
        rows.append(head + "".join(f"C {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in flat))
    (folder / "t.xyz").write_text("".join(rows))
    with pytest.raises(UserError, match="atoms are not in the topology's order"):
        frames_of(folder / "t.xyz", topology=topology, dt=1.0)


@pytest.mark.parametrize("width", [0.05, 0.15, 0.25, 0.4, 2.0])
@pytest.mark.parametrize("number", [3, 300, 20_000])
def test_normal_vectors_of_any_width_are_never_taken_for_wrapped(width, number):
    generator = np.random.default_rng(1)
    for _ in range(20 if number < 1000 else 3):
        assert reaching_across(generator.normal(size=(number, 3)) * width) is None


@pytest.mark.parametrize("width", [0.02, 0.1])
def test_wrapped_vectors_are_found(width):
    """Negative control: ends in the box, bonds as wrapped positions give them."""
    generator = np.random.default_rng(2)
    for _ in range(20):
        start, bond = generator.random((300, 3)), generator.normal(size=(300, 3)) * width
        found = reaching_across((start + bond) % 1.0 - start)
        assert found is not None
        vector, far = found
        assert far > 0.5
        assert ((start + bond) // 1.0)[vector].any()
