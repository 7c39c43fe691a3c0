"""Records of constrained runs: written whole, read back to the bit, and refused with one line where they are not."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from mlgle_lammps.errors import UserError
from mlgle_lammps.store.constrained_file import (
    ConstrainedFacts,
    ConstrainedRun,
    correlation_bytes,
    read_constrained,
    write_constrained,
)

FACTS = ConstrainedFacts("real", "fs", "Angstrom", "in.star", ("star 73",) * 5)


def make_run(seed: int = 3, n: int = 5, n_lags: int = 4) -> ConstrainedRun:
    rng = np.random.default_rng(seed)
    pairs = np.array([(i, j) for i in range(n) for j in range(i + 1, n)], dtype=np.int64)[::2]
    return ConstrainedRun(
        step=1000 + seed, centres=rng.normal(size=(n, 3)), box=np.array([9.0, 8.0, 7.0]), masses=np.full(n, 73.0),
        kT=4.0, dt=0.02, lags=np.array([0, 1, 2, 5][:n_lags]), n_samples=100, mean_force=rng.normal(size=(2, n, 3)),
        pairs=pairs, pair=rng.normal(size=(2, n_lags, len(pairs), 3, 3)).astype(np.float32),
        own=rng.normal(size=(2, n_lags, n, 3, 3)).astype(np.float32), temperature=3.99, energy_drift=1e-3,
        centre_drift=4e-11, seconds=12.5, motions=rng.normal(size=(2, n_lags, 18)),
    )  # fmt: skip


def same(a: ConstrainedRun, b: ConstrainedRun) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(ConstrainedRun))


def test_a_file_reads_back_to_the_bit(tmp_path: Path) -> None:
    runs = [make_run(1), make_run(2)]
    write_constrained(tmp_path / "c.h5", runs, FACTS)
    found = read_constrained(tmp_path / "c.h5")
    assert found.facts == FACTS
    assert found.units == "real"
    assert len(found.runs) == 2
    assert all(same(a, b) for a, b in zip(runs, found.runs, strict=True))
    assert found.runs[0].pair.dtype == np.float32
    assert found.runs[0].pairs.dtype == np.int64
    assert found.runs[0].times == pytest.approx([0, 0.02, 0.04, 0.1])
    size = (tmp_path / "c.h5").stat().st_size
    assert abs(size - 2 * correlation_bytes(5, len(runs[0].pairs), 4)) < 60_000


def test_files_of_before_have_no_collective_motions(tmp_path: Path) -> None:
    write_constrained(tmp_path / "c.h5", [replace(make_run(1), motions=None)], FACTS)
    assert read_constrained(tmp_path / "c.h5").runs[0].motions is None


def test_a_folder_of_files_is_one_set_in_the_order_of_names(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        write_constrained(tmp_path / f"{number:04d}.h5", [make_run(number)], FACTS)
    (tmp_path / "0003.h5.tmp").write_bytes(b"half of a file that a kill left")
    assert [run.step for run in read_constrained(tmp_path).runs] == [1000, 1001, 1002]


def test_a_run_with_no_pair_within_range(tmp_path: Path) -> None:
    run = replace(make_run(), pairs=np.zeros((0, 2), np.int64), pair=np.zeros((2, 4, 0, 3, 3), np.float32))
    write_constrained(tmp_path / "c.h5", [run], FACTS)
    assert same(read_constrained(tmp_path / "c.h5").runs[0], run)


def test_files_of_other_systems_are_not_mixed(tmp_path: Path) -> None:
    write_constrained(tmp_path / "0.h5", [make_run()], FACTS)
    write_constrained(tmp_path / "1.h5", [make_run()], replace(FACTS, units="lj"))
    with pytest.raises(UserError, match=r"1\.h5 is of another system"):
        read_constrained(tmp_path)
    write_constrained(tmp_path / "1.h5", [replace(make_run(), masses=np.full(5, 72.0))], FACTS)
    with pytest.raises(UserError, match=r"1\.h5 is of another system"):
        read_constrained(tmp_path)


def test_what_is_missing_or_empty_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_constrained(tmp_path / "none.h5")
    with pytest.raises(UserError, match="no constrained run"):
        read_constrained(tmp_path)
    write_constrained(tmp_path / "c.h5", [], FACTS)
    with pytest.raises(UserError, match="no constrained run"):
        read_constrained(tmp_path / "c.h5")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("kT", 0.0, "positive"),
        ("dt", -0.02, "positive"),
        ("n_samples", 1, "two or more"),
        ("lags", np.array([0, 2, 2, 3]), "ascend"),
        ("lags", np.array([1, 2, 3, 4]), "ascend"),
        ("lags", np.array([0, 1, 2, 50]), "within half"),
        ("pairs", np.array([[0, 1], [1, 1], [2, 3], [0, 4], [1, 2]]), "pairs"),
        ("pairs", np.array([[0, 1], [1, 5], [2, 3], [0, 4], [1, 2]]), "pairs"),
        ("centres", np.full((5, 3), np.nan), "not finite"),
        ("masses", np.full(4, 73.0), "shape"),
        ("mean_force", np.zeros((1, 5, 3)), "shape"),
    ],
)
def test_values_that_cannot_be_are_refused(tmp_path: Path, name: str, value: object, said: str) -> None:
    write_constrained(tmp_path / "c.h5", [replace(make_run(), **{name: value})], FACTS)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=said) as caught:
        read_constrained(tmp_path / "c.h5")
    assert "\n" not in str(caught.value)


def test_damage_is_told_from_values(tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    write_constrained(path, [make_run()], FACTS)
    whole = path.read_bytes()
    with h5py.File(path, "r") as file:
        dataset = file["constrained/0/pair"]
        offset = dataset.id.get_chunk_info(0).byte_offset
    damaged = bytearray(whole)
    damaged[offset + 40] ^= 0x10
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="no readable record"):
        read_constrained(path)
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            read_constrained(path)


def test_links_and_other_schemas_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    write_constrained(path, [make_run()], FACTS)
    with h5py.File(path, "r+") as file:
        del file["constrained/0/own"]
        file["constrained/0/own"] = h5py.ExternalLink("elsewhere.h5", "own")
    with pytest.raises(UserError, match="own is missing"):
        read_constrained(path)
    write_constrained(path, [make_run()], FACTS)
    with h5py.File(path, "r+") as file:
        group = file["constrained"]
        facts = json.loads(group.attrs["facts"])
        group.attrs["facts"] = np.bytes_(json.dumps({**facts, "schema": 2}).encode())
    with pytest.raises(UserError, match="another schema"):
        read_constrained(path)
    with h5py.File(path, "w") as file:
        file["modes"] = [1]
    with pytest.raises(UserError, match="no group /constrained"):
        read_constrained(path)
