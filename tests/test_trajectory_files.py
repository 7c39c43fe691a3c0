"""Trajectory files of other kinds: packed, YAML, extended XYZ, NetCDF, H5MD with groups, one file a frame."""

import bz2
import gzip
import lzma
import struct
import sys
from collections.abc import Callable

import h5py
import numpy as np
import pytest
from test_trajectories import BOX, N_BEADS, expected_modes, frames_of, walkers, write_dump, write_h5md, write_topology

from mlgle_lammps.api.streams import open_streams
from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.compressed import open_text
from mlgle_lammps.formats.lammps_dump import read_dump
from mlgle_lammps.formats.netcdf import _cell_vectors
from mlgle_lammps.formats.unit_names import unit_name, unit_style
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import UNITS
from mlgle_lammps.store.recorded import RecordedSource


@pytest.fixture
def melt(tmp_path):
    positions, ids = walkers()
    return tmp_path, positions, ids, write_topology(tmp_path / "chains.data", ids)


def check(found, positions, ids, exact=True, tolerance=1e-6):
    """Modes are those of the beads; without image flags centres may be whole boxes off, their steps not."""
    expected = expected_modes(positions, ids)
    assert np.abs(found[:, :, 1:] - expected[:, :, 1:]).max() < tolerance
    moved, wanted = found[:, :, 0] - found[0, :, 0], expected[:, :, 0] - expected[0, :, 0]
    assert np.abs(moved - wanted).max() < tolerance
    if exact:
        assert np.abs(found - expected).max() < tolerance


# ------------------------------------------------------------------ packed


def zstd(data):
    zstandard = pytest.importorskip("zstandard")
    half = len(data) // 2  # in two frames, as appending writes them
    return b"".join(zstandard.ZstdCompressor().compress(part) for part in (data[:half], data[half:]))


PACKS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}


@pytest.mark.parametrize("pack", PACKS)
def test_packed_dumps_are_told_by_their_content(melt, pack):
    folder, positions, ids, topology = melt
    data = write_dump(folder / "t.dump", positions, ids).read_bytes()
    packed = folder / "no_suffix"
    packed.write_bytes(PACKS[pack](data))
    assert open_text(packed).read().encode() == data
    _, found, _, _, told = frames_of(packed, n_modes=7, topology=topology, dt=1.0)
    check(found, positions, ids)
    assert told == ()


@pytest.mark.parametrize("pack", PACKS)
def test_packed_dumps_that_were_cut_off_or_damaged(melt, pack):
    folder, positions, ids, topology = melt
    data = PACKS[pack](write_dump(folder / "t.dump", positions, ids).read_bytes())
    path = folder / f"t.dump.{pack}"
    path.write_bytes(data[: len(data) * 9 // 10])
    if pack != "bz2":  # of which one block holds all of this file
        _, found, _, _, told = frames_of(path, n_modes=7, topology=topology, dt=1.0)
        assert 2 <= len(found) < len(positions)
        assert "ends within frame" in told[0]
    broken = bytearray(data)
    broken[len(data) // 3 : len(data) // 3 + 40] = bytes(40)
    path.write_bytes(bytes(broken))
    with pytest.raises(UserError, match=r"t\.dump\."):
        frames_of(path, topology=topology, dt=1.0)


def test_without_zstandard_the_extra_is_named(melt, monkeypatch):
    if sys.version_info >= (3, 14):
        pytest.skip("the standard library reads Zstandard")
    folder, positions, ids, topology = melt
    path = folder / "t.dump.zst"
    path.write_bytes(zstd(write_dump(folder / "t.dump", positions, ids).read_bytes()))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UserError, match=r"compressed by Zstandard: pip install 'mlgle_lammps\[trajectories\]'"):
        frames_of(path, topology=topology, dt=1.0)


# ------------------------------------------------------------------ LAMMPS dumps


def rotated_dump(path, positions, ids, cell, turn, columns):
    """Write a dump of general triclinic boxes: ``cell`` and positions turned."""
    lines = []
    general, origin = cell @ turn, np.array([0.3, -0.2, 0.1])
    for number, frame in enumerate(positions):
        flat = frame.reshape(-1, 3)
        boxes = np.floor(flat @ np.linalg.inv(cell)).astype(int)
        shown = (flat if columns.startswith("xu") else flat - boxes @ cell) @ turn + origin
        lines += ["ITEM: TIMESTEP", str(100 * number), "ITEM: NUMBER OF ATOMS", str(len(flat))]
        lines += ["ITEM: BOX BOUNDS abc origin pp pp pp"]
        lines += [" ".join(f"{x:.15g}" for x in [*row, corner]) for row, corner in zip(general, origin, strict=True)]
        lines += [f"ITEM: ATOMS id {columns}"]
        scaled = (flat - boxes @ cell) @ np.linalg.inv(cell)
        for i, atom in enumerate(ids.ravel()):
            place = scaled[i] if columns.startswith("xs") else shown[i]
            row = f"{atom} " + " ".join(f"{x:.12f}" for x in place)
            lines.append(row + (" " + " ".join(map(str, boxes[i])) if "ix" in columns else ""))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("columns", ["x y z ix iy iz", "xu yu zu", "x y z", "xs ys zs ix iy iz"])
def test_general_triclinic_dumps_are_brought_to_lammps_own_axes(melt, columns):
    """As LAMMPS itself does: modes are those of the same frames in a restricted box."""
    folder, positions, ids, topology = melt
    cell = np.array([[6.0, 0, 0], [1.5, 6.0, 0], [-2.0, 1.0, 6.0]])
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    path = rotated_dump(folder / "t.dump", positions, ids, cell, turn, columns)
    system, found, *_ = frames_of(path, n_modes=7, topology=topology, dt=1.0)
    corner = found[0, 0, 0] - expected_modes(positions, ids)[0, 0, 0]
    check(found - np.concatenate([[1.0], np.zeros(7)])[:, None] * corner, positions, ids, exact=columns != "x y z")
    assert system.box == pytest.approx((6, 6, 6, 1.5, -2, 1))


def test_ids_up_to_the_largest_that_lammps_has(melt):
    folder, positions, ids, _ = melt
    large = ids + (2**63 - 1 - ids.max())
    topology = write_topology(folder / "large.data", large)
    path = write_dump(folder / "t.dump", positions, large)
    _, found, *_ = frames_of(path, n_modes=7, topology=topology, dt=1.0)
    check(found, positions, ids)
    path.write_text(path.read_text().replace(f"\n{large[1, 1]} ", "\n9223372036854775808 "))
    with pytest.raises(UserError, match=r"an atom id or image flag is not a whole number below 2\^63"):
        frames_of(path, topology=topology, dt=1.0)


def yaml_dump(path, positions, ids, tilt=0.0):
    generator = np.random.default_rng(1)
    cell = np.array([[BOX, 0, 0], [tilt, BOX, 0], [0, 0, BOX]])
    text = ""
    for number, frame in enumerate(positions):
        flat = frame.reshape(-1, 3)
        boxes = np.floor(flat @ np.linalg.inv(cell)).astype(int)
        inside = flat - boxes @ cell
        text += (
            f"---\ncreator: LAMMPS\ntimestep: {100 * number}\nunits: lj\ntime: {0.5 * number}\nnatoms: {len(flat)}\n"
        )
        text += "boundary: [ p, p, p, p, p, p, ]\nthermo:\n  - keywords: [ Step, Temp, ]\n  - data: [ 0, 1.5, ]\n"
        text += f"box:\n  - [ 0, {BOX + tilt} ]\n  - [ 0, {BOX} ]\n  - [ 0, {BOX} ]\n"
        text += f"  - [ {tilt}, 0, 0 ]\n" if tilt else ""
        text += "keywords: [ id, type, x, y, z, ix, iy, iz,  ]\ndata:\n"
        for i in generator.permutation(len(flat)):
            place = " , ".join(f"{x:.12f}" for x in inside[i])
            text += f"  - [ {ids.ravel()[i]} , 1 , {place} , {' , '.join(map(str, boxes[i]))}, ]\n"
        text += "...\n"
    path.write_text(text)
    return path


@pytest.mark.parametrize("tilt", [0.0, 1.5])
def test_yaml_dumps(melt, tilt):
    folder, positions, ids, topology = melt
    path = yaml_dump(folder / "t.yaml", positions, ids, tilt)
    system, found, steps, _, told = frames_of(path, n_modes=7, topology=topology)
    check(found, positions, ids)
    assert (system.units, system.dt, system.every, told) == ("lj", 0.5, 100, ())
    assert steps == [100 * i for i in range(len(positions))]
    path.write_text(path.read_text()[:-150])
    _, found, _, _, told = frames_of(path, n_modes=7, topology=topology)
    assert len(found) == len(positions) - 1
    assert "ends within frame 11" in told[0]


def test_a_yaml_dump_that_was_appended_to_after_a_cut(melt):
    folder, positions, ids, topology = melt
    first = yaml_dump(folder / "t.yaml", positions[:5], ids).read_text()
    whole = yaml_dump(folder / "t.yaml", positions, ids).read_text()
    again = "---" + "---".join(whole.split("---")[5:])
    path = folder / "t.yaml"
    path.write_text(first[: first.rindex("\n", 0, len(first) - 200) + 1] + again)
    _, found, *_, told = frames_of(path, n_modes=7, topology=topology)
    check(found, positions, ids)
    assert "a frame was cut off at step 400" in told[0]
    path.write_text(whole.replace("natoms: 32", "natoms: 40"))
    with pytest.raises(UserError, match="frame 0: 32 of 40 atoms"):
        frames_of(path, topology=topology)


# ------------------------------------------------------------------ extended XYZ


def xyz(path, positions, ids, *, lattice=True, with_ids=True, more=""):
    generator = np.random.default_rng(1)
    text = ""
    for number, frame in enumerate(positions):
        flat = frame.reshape(-1, 3) % BOX
        order = generator.permutation(len(flat)) if with_ids else np.argsort(ids.ravel())
        box = f'Lattice="{BOX} 0 0 0 {BOX} 0 0 0 {BOX}" ' if lattice else ""
        columns = "id:I:1:" if with_ids else ""
        text += (
            f"{len(flat)}\n{box}Properties=species:S:1:{columns}pos:R:3 Time={0.5 * number} Step={100 * number}{more}\n"
        )
        for i in order:
            atom = f"{ids.ravel()[i]} " if with_ids else ""
            text += f"C {atom}" + " ".join(f"{x:.12f}" for x in flat[i]) + "\n"
    path.write_text(text)
    return path


@pytest.mark.parametrize("with_ids", [True, False])
def test_extended_xyz(melt, with_ids):
    folder, positions, ids, topology = melt
    path = xyz(folder / "t.xyz", positions, ids, with_ids=with_ids)
    system, found, steps, _, _ = frames_of(path, n_modes=7, topology=topology)
    check(found, positions, ids, exact=False)
    assert (system.dt, system.every, steps[-1]) == (0.5, 100, 1100)
    assert (system.time_unit, system.length_unit, system.box) == ("time", "length", (BOX, BOX, BOX, 0, 0, 0))
    assert any("does not say its units, and --units was not given" in note for note in system.notes)
    system, *_ = frames_of(path, n_modes=7, topology=topology, units="real")
    assert (system.length_unit, any("units" in note for note in system.notes)) == ("Angstrom", False)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pos:R:3", "positions:R:3", r"frame 0: no positions \(pos:R:3\)"),
        ('Lattice="6.0 0 0', 'Lattice="0 0 0', "is no box"),
        ("32\nLattice", "many\nLattice", "cannot be read|whole XYZ"),
        ("32\nLattice", "31\nLattice", "whole XYZ: frame 1|do not belong together"),
    ],
)
def test_damaged_extended_xyz_is_one_line(melt, old, new, message):
    folder, positions, ids, topology = melt
    path = xyz(folder / "t.xyz", positions, ids, with_ids=False)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message) as caught:
        frames_of(path, topology=topology)
    assert "\n" not in str(caught.value)


def test_xyz_and_dcd_have_no_units_and_say_so(melt):
    folder, positions, ids, topology = melt
    order = np.argsort(ids.ravel())
    rows = [f"{ids.size}\n\n" + "".join(f"C {x} {y} {z}\n" for x, y, z in f.reshape(-1, 3)[order]) for f in positions]
    (folder / "t.xyz").write_text("".join(rows))
    options = {"topology": topology, "dt": 1.0, "unwrapped": True}
    system, found, *_ = frames_of(folder / "t.xyz", n_modes=7, **options)
    check(found, positions, ids, tolerance=1e-5)
    assert system.length_unit == "length"
    assert "does not say its units" in system.notes[0]
    with gzip.open(folder / "t.xyz.gz", "wt") as file:
        file.write("".join(rows))
    packed, again, *_ = frames_of(folder / "t.xyz.gz", n_modes=7, **options)
    assert (packed.length_unit, packed.time_unit) == (system.length_unit, system.time_unit)
    np.testing.assert_array_equal(again, found)
    system, nano, *_ = frames_of(folder / "t.xyz", n_modes=7, units="nano", **options)
    assert system.length_unit == "nm"
    np.testing.assert_array_equal(nano, found)


# ------------------------------------------------------------------ NetCDF


def netcdf(path, positions, ids, *, version=2, units=("picosecond", "angstrom"), kind="coordinates", program="LAMMPS"):
    """Write a classic NetCDF file in LAMMPS' layout: ids in a new order in each frame, the step as time."""
    generator = np.random.default_rng(5)
    count = ">Q" if version == 5 else ">I"

    def name(text):
        data = text.encode()
        return struct.pack(count, len(data)) + data + bytes(-len(data) % 4)

    def listed(tag, entries):
        return struct.pack(">I", tag if entries else 0) + struct.pack(count, len(entries)) + b"".join(entries)

    def texts(**given):
        return listed(12, [name(key) + struct.pack(">I", 2) + name(value) for key, value in given.items()])

    scale = name("scale_factor") + struct.pack(">I", 5) + struct.pack(count, 1) + struct.pack(">f", 0.01)
    time_units = name("units") + struct.pack(">I", 2) + name(units[0])
    n = ids.size
    variables = [  # name, dimensions, type, attributes, bytes of a record
        ("time", [0], 6, listed(12, [time_units, scale]), 8),
        ("cell_lengths", [0, 2], 6, texts(units=units[1]), 24),
        ("cell_angles", [0, 2], 6, texts(units="degree"), 24),
        ("id", [0, 1], 4, texts(), 4 * n),
        (kind, [0, 1, 2], 6, texts(units=units[1]), 24 * n),
    ]
    dimensions = [name(key) + struct.pack(count, size) for key, size in (("frame", 0), ("atom", n), ("spatial", 3))]
    head = struct.pack(">4s", b"CDF" + bytes([version])) + struct.pack(count, len(positions))
    head += listed(10, dimensions) + texts(Conventions="AMBER", program=program)

    def table(begin):
        rows, place = [], begin
        for key, places, type_number, attributes, size in variables:
            row = name(key) + struct.pack(count, len(places)) + b"".join(struct.pack(count, p) for p in places)
            row += attributes + struct.pack(">I", type_number) + struct.pack(count, size)
            rows.append(row + struct.pack(">I" if version == 1 else ">Q", place))
            place += size
        return listed(11, rows)

    begin = len(head) + len(table(0))
    data = head + table(begin)
    for number, frame in enumerate(positions):
        order = generator.permutation(n)
        data += struct.pack(">d", 100.0 * number) + np.array([BOX] * 3 + [90.0] * 3, ">f8").tobytes()
        data += ids.ravel()[order].astype(">i4").tobytes()
        flat = frame.reshape(-1, 3)[order]
        flat = {"coordinates": flat % BOX, "scaled_coordinates": flat / BOX % 1.0}.get(kind, flat)
        data += flat.astype(">f8").tobytes()
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("version", [1, 2, 5])
@pytest.mark.parametrize("kind", ["coordinates", "unwrapped_coordinates", "scaled_coordinates"])
def test_netcdf_in_lammps_layout(melt, version, kind):
    folder, positions, ids, topology = melt
    path = netcdf(folder / "t.nc", positions, ids, version=version, kind=kind)
    system, found, steps, _, _ = frames_of(path, n_modes=7, topology=topology)
    check(found, positions, ids, exact=kind.startswith("unwrapped"))
    assert (system.dt, system.every, system.units) == (1.0, 100, "metal")
    assert steps == [100 * i for i in range(len(positions))]


LAMMPS_UNITS = {
    "lj": ("lj", "lj"),
    "real": ("femtosecond", "angstrom"),
    "metal": ("picosecond", "angstrom"),
    "si": ("second", "meter"),
    "cgs": ("second", "centimeter"),
    "electron": ("femtoseconds", "Bohr"),
    "micro": ("microseconds", "micrometers"),
    "nano": ("nanoseconds", "nanometers"),
}


@pytest.mark.parametrize("style", LAMMPS_UNITS)
def test_netcdf_in_all_units_of_lammps(melt, style):
    folder, positions, ids, topology = melt
    path = netcdf(folder / "t.nc", positions, ids, units=LAMMPS_UNITS[style])
    for given in ("unknown", style):
        system, found, *_ = frames_of(path, n_modes=7, topology=topology, units=given)
        check(found, positions, ids, exact=False)
        assert (system.dt, system.units) == (1.0, style)
        assert (system.time_unit, system.length_unit) == UNITS[style]


def test_netcdf_needs_no_mdanalysis(melt, monkeypatch):
    folder, positions, ids, topology = melt
    path = netcdf(folder / "t.nc", positions, ids)
    monkeypatch.setitem(sys.modules, "MDAnalysis", None)
    check(frames_of(path, n_modes=7, topology=topology)[1], positions, ids, exact=False)


@pytest.mark.parametrize("angles", [(90, 90, 90), (80, 100, 60), (60, 60, 60), (90, 90, 120)])
def test_cells_are_those_of_mdanalysis(angles):
    from MDAnalysis.lib.mdamath import triclinic_vectors

    lengths = np.array([7.0, 8.5, 9.25])
    expected = triclinic_vectors([*lengths, *angles], dtype=np.float64)
    found = _cell_vectors(lengths, np.array(angles, dtype=float))
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("angles", [(0, 90, 90), (90, 180, 90), (170, 20, 20), (np.nan, 90, 90), (60, 60, 120)])
def test_angles_that_span_no_box_are_none(angles):
    assert _cell_vectors(np.full(3, 7.0), np.array(angles, dtype=float)) is None


def test_netcdf_in_other_units_than_asked_for(melt):
    folder, positions, ids, topology = melt
    path = netcdf(folder / "t.nc", positions, ids)
    system, found, *_ = frames_of(path, n_modes=7, topology=topology, units="nano")
    check(10 * found, positions, ids, exact=False)
    assert system.dt == pytest.approx(1e-3)
    path = netcdf(folder / "t.nc", positions, ids, units=("lj", "lj"))
    with pytest.raises(UserError, match="is in units lj, `units` says real"):
        frames_of(path, topology=topology, units="real")
    path = netcdf(folder / "t.nc", positions, ids, units=("furlong", "angstrom"), program="own")
    with pytest.raises(UserError, match="is in furlong, `units` real means fs"):
        frames_of(path, topology=topology, units="real")


def test_damaged_netcdf_is_one_line_and_allocates_nothing(melt):
    folder, positions, ids, topology = melt
    path = netcdf(folder / "t.nc", positions, ids)
    whole = path.read_bytes()
    generator, complaints = np.random.default_rng(0), []
    for trial in range(120):
        data = bytearray(whole)
        if trial % 3:
            for place in generator.integers(4, 900, size=3):
                data[place] = int(generator.integers(256))
        else:
            data = data[: int(generator.integers(4, len(data)))]
        path.write_bytes(bytes(data))
        complaint = ""
        try:
            frames_of(path, topology=topology)
        except UserError as error:
            complaint = str(error)
        complaints.append(complaint)
    assert not any("\n" in complaint or len(complaint) > 400 for complaint in complaints)
    assert sum(map(bool, complaints)) > 60


# ------------------------------------------------------------------ H5MD


def test_h5md_with_several_groups(melt):
    folder, positions, ids, topology = melt
    write_h5md(folder / "t.h5", list(read_dump(write_dump(folder / "t.dump", positions, ids), print)))
    with h5py.File(folder / "t.h5", "r+") as file:
        file["particles"].move("all", "polymer")
        file["particles/solvent/position/value"] = np.zeros((12, 10, 3))
    system, found, *_ = frames_of(folder / "t.h5", n_modes=7, topology=topology)
    check(found, positions, ids)
    assert "of its groups of particles polymer fits the topology and is read, not solvent" in system.notes[0]
    _, again, *_ = frames_of(folder / "t.h5", n_modes=7, topology=topology, group="polymer")
    np.testing.assert_array_equal(again, found)
    with pytest.raises(UserError, match="has no particles 'water'; `group` names one of polymer, solvent"):
        frames_of(folder / "t.h5", topology=topology, group="water")
    with h5py.File(folder / "t.h5", "r+") as file:
        file["particles/mirror/position/value"] = np.zeros((12, ids.size, 3))
    with pytest.raises(
        UserError, match=r"3 groups of particles \(mirror of 32, polymer of 32, solvent of 10\).* `group`"
    ):
        frames_of(folder / "t.h5", topology=topology)
    with pytest.raises(UserError, match=r"`group` all: .* is not H5MD"):
        frames_of(folder / "t.dump", topology=topology, group="all", dt=1.0)


@pytest.mark.parametrize("written", ["A", "Å", "angstrom", "Angstroms"])
def test_h5md_units_by_other_names(melt, written):
    folder, positions, ids, topology = melt
    frames = list(read_dump(write_dump(folder / "t.dump", positions, ids), print))
    write_h5md(folder / "t.h5", frames, units={"value": written, "time": "picoseconds"})
    system, *_ = frames_of(folder / "t.h5", topology=topology, units="metal")
    assert (system.length_unit, system.time_unit) == ("Angstrom", "ps")


def test_names_of_units():
    assert [unit_name(word) for word in ("A", "nm", "Nanometers", "µs", "s", "parsec")] == [
        "Angstrom", "nm", "nm", "us", "s", "parsec",
    ]  # fmt: skip
    for style, written in LAMMPS_UNITS.items():
        assert unit_style(*written) == style
    assert unit_style("ns", "Angstrom") == "unknown"


# ------------------------------------------------------------------ one file a frame


def one_file_a_frame(folder, positions, ids):
    paths = []
    for number, frame in enumerate(positions):
        paths.append(
            write_dump(folder / f"dump.{100 * number}.txt", frame[None], ids, steps=[100 * number], seed=number)
        )
    return paths


def test_files_of_one_frame_are_one_trajectory_in_the_order_of_their_steps(melt):
    folder, positions, ids, topology = melt
    paths = one_file_a_frame(folder, positions, ids)
    options = TrajectoryOptions(topology=topology, timestep=0.01)
    for given in (sorted(paths), [folder / "dump.*.txt"]):
        (recording,) = open_streams(given, options, 7)
        source = RecordedSource([recording])
        frames = list(source)
        found = np.array([np.concatenate([f.com[0, :, None], f.modes[0]], axis=1) for f in frames])
        check(found, positions, ids)
        assert [f.last_step for f in frames] == [100 * i for i in range(len(positions))]
        assert source.system.dt == 1.0
        assert "12 files of one frame each" in source.system.notes[0]
    with pytest.raises(UserError, match="no file matches"):
        open_streams([folder / "nothing.*"], options, 7)


def test_without_steps_names_give_the_order_and_a_cut_file_is_left_out(melt):
    folder, positions, ids, topology = melt
    for number, frame in enumerate(positions):
        order = np.argsort(ids.ravel())
        rows = "".join(f"C {x:.9f} {y:.9f} {z:.9f}\n" for x, y, z in frame.reshape(-1, 3)[order])
        (folder / f"frame{number}.xyz").write_text(f"{ids.size}\nProperties=species:S:1:pos:R:3\n{rows}")
    options = TrajectoryOptions(topology=topology, dt=2.0, unwrapped=True)
    (folder / "frame99.xyz").write_text(f"{ids.size}\nProperties=species:S:1:pos:R:3\nC 0 0")
    (recording,) = open_streams([folder / "frame*.xyz"], options, 7)
    source = RecordedSource([recording])
    found = np.array([np.concatenate([f.com[0, :, None], f.modes[0]], axis=1) for f in source])
    check(found, positions, ids)
    assert any("frame99.xyz holds no whole frame and is left out" in note for note in source.system.notes)


def test_files_of_several_frames_stay_independent_runs(melt):
    folder, _, ids, topology = melt
    paths = [write_dump(folder / f"{i}.dump", walkers(seed=5 + i)[0], ids) for i in range(2)]
    assert len(open_streams(paths, TrajectoryOptions(topology=topology, dt=1.0), 5)) == 2


# ------------------------------------------------------------------ through MDAnalysis


def test_a_reader_that_is_missing_is_one_line(melt, capsys, monkeypatch):
    """MDAnalysis' half-made readers complain once more as they are deleted; nobody must see that."""
    folder, _, _, topology = melt
    monkeypatch.setitem(sys.modules, "gsd", None)
    complaints: list[sys.UnraisableHookArgs] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    (folder / "t.gsd").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match=r"t\.gsd cannot be read") as caught:
        frames_of(folder / "t.gsd", topology=topology, dt=1.0)
    assert "\n" not in str(caught.value)
    del caught
    assert complaints == []
    assert capsys.readouterr().err == ""


def test_dcd_files_that_were_written_anew_have_no_steps_to_trust(melt):
    import MDAnalysis

    folder, positions, ids, topology = melt
    universe = MDAnalysis.Universe.empty(ids.size, trajectory=True)
    with MDAnalysis.Writer(str(folder / "t.dcd"), ids.size) as writer:
        for frame in positions:
            universe.atoms.positions = frame.reshape(-1, 3)[np.argsort(ids.ravel())]
            writer.write(universe.atoms)
    options = {"topology": topology, "unwrapped": True}
    with pytest.raises(UserError, match="has no steps, so `timestep` does not give"):
        frames_of(folder / "t.dcd", timestep=0.01, **options)
    system, found, *_ = frames_of(folder / "t.dcd", n_modes=N_BEADS - 1, dt=2.0, **options)
    assert (system.dt, system.length_unit) == (2.0, "length")
    check(found, positions, ids, tolerance=1e-5)
