"""Constrained runs on disk: what the forces on molecules' centres did while the centres were held.

One file has one configuration or several, and a folder of such files, in the order of their names, reads as one set:
a run leaves a file for each configuration, so that a kill loses the one under way and no other. Groups
``/constrained/0``, ``1``, ... have the fields of `ConstrainedRun` as datasets with checksums; facts about the system
are JSON in the attribute ``facts`` of ``/constrained``.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import h5py
import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.plain import AnyArray, JsonObject
from mlgle_lammps.records import Float32, Float64, Int64
from mlgle_lammps.store.atomic import write_bytes_atomically

SCHEMA = 1
GROUP = "constrained"
SUFFIX = ".h5"
MOST_RUNS = 10_000
_BROKEN = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True)
class ConstrainedFacts:
    """What all constrained runs of a set have in common.

    Attributes:
        units: the deck's LAMMPS unit style.
        time_unit: of ``dt``.
        length_unit: of ``centres`` and ``box``.
        source: deck or file name, for people.
        molecules: names of the species that the molecules are of, one a molecule; empty where all are of one.
    """

    units: str = "lj"
    time_unit: str = "tau"
    length_unit: str = "sigma"
    source: str = ""
    molecules: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConstrainedRun:
    """One configuration of M centres that were held, and the fluctuating forces δF = F - <F> on them.

    Mass, length and time are in the deck's units; force is mass · length / time² and kT mass · length² / time², so
    that F = M dV/dt holds with no further factor also where the deck's own units of force and energy are others
    ("real", "metal"). With them the memory friction is K(t) = β <δF(t) δFᵀ(0)>, mass / time².

    Attributes:
        step: MD step of the snapshot.
        centres: (M, 3), unwrapped.
        box: (3,) edges of the periodic box.
        masses: (M,) of the molecules.
        kT: temperature of the constrained run.
        dt: time between two samples of the forces.
        lags: (L,) in samples, ascending, lags[0] = 0.
        n_samples: samples of the forces, both halves together.
        mean_force: (2, M, 3) of the first half of the run and of the second.
        pairs: (P, 2) molecules i < j within range of one another.
        pair: (2, L, P, 3, 3) float32, <δF_i(t) δF_j(0)ᵀ> of each half, [a, b] of component a of i and b of j; the
            mean with [<δF_j(t) δF_i(0)ᵀ>]ᵀ, which time reversal makes the same, so that C_ji(t) = C_ij(t)ᵀ.
        own: (2, L, M, 3, 3) float32, likewise for i = j, symmetric.
        temperature: kT measured, of 3(N - M) degrees of freedom.
        energy_drift: of the total energy from the first sample to the last, in kT per bead.
        centre_drift: largest distance that a centre moved, length.
        seconds: wall time.
        motions: (2, L, 18), <G(t) G(0)> of each half, G = uᵀ δF with the collective motions u of the smallest wave
            vectors (`statistics.force_correlation.collective_motions`); None in files of before.
    """

    step: int
    centres: Float64
    box: Float64
    masses: Float64
    kT: float
    dt: float
    lags: Int64
    n_samples: int
    mean_force: Float64
    pairs: Int64
    pair: Float32
    own: Float32
    temperature: float = math.nan
    energy_drift: float = math.nan
    centre_drift: float = math.nan
    seconds: float = math.nan
    motions: Float64 | None = None

    @property
    def times(self) -> Float64:
        """Return the lags as times, (L,)."""
        times: Float64 = self.lags * np.float64(self.dt)
        return times


@dataclass(frozen=True)
class ConstrainedSet:
    """Constrained runs of one system.

    Attributes:
        runs: one a configuration.
        facts: what they have in common.
    """

    runs: tuple[ConstrainedRun, ...]
    facts: ConstrainedFacts = ConstrainedFacts()

    @property
    def units(self) -> str:
        """Return the deck's LAMMPS unit style."""
        return self.facts.units


_ARRAYS: dict[str, tuple[type[np.generic], str, tuple[str | int, ...]]] = {
    "centres": (np.float64, "f", ("M", 3)),
    "box": (np.float64, "f", (3,)),
    "masses": (np.float64, "f", ("M",)),
    "lags": (np.int64, "i", ("L",)),
    "mean_force": (np.float64, "f", (2, "M", 3)),
    "pairs": (np.int64, "i", ("P", 2)),
    "pair": (np.float32, "f", (2, "L", "P", 3, 3)),
    "own": (np.float32, "f", (2, "L", "M", 3, 3)),
}
_LATER: dict[str, tuple[type[np.generic], str, tuple[str | int, ...]]] = {"motions": (np.float64, "f", (2, "L", 18))}
"""Arrays that files of before lack."""
_NUMBERS = ("kT", "dt", "temperature", "energy_drift", "centre_drift", "seconds")
_COUNTS = ("step", "n_samples")


def correlation_bytes(n_molecules: int, n_pairs: int, n_lags: int) -> int:
    """Return what the correlations of one configuration take on disk."""
    return 2 * n_lags * (n_pairs + n_molecules) * 9 * 4


def write_constrained(path: Path, runs: Sequence[ConstrainedRun], facts: ConstrainedFacts) -> None:
    """Write constrained runs to a file that gets its name when it is whole; raise RunFailure where that fails."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        group = file.create_group(GROUP)
        group.attrs["facts"] = np.bytes_(json.dumps({"schema": SCHEMA, **asdict(facts)}).encode())
        for number, run in enumerate(runs):
            own = group.create_group(str(number))
            for name, (dtype, _, _) in (_ARRAYS | _LATER).items():
                if getattr(run, name) is not None:
                    _store(own, name, np.asarray(getattr(run, name), dtype=dtype))
            _store(own, "numbers", np.array([getattr(run, name) for name in _NUMBERS], dtype=np.float64))
            _store(own, "counts", np.array([getattr(run, name) for name in _COUNTS], dtype=np.int64))
    write_bytes_atomically(path, buffer.getvalue())


def _store(group: h5py.Group, name: str, values: AnyArray) -> None:
    """Write an array with checksums, which need chunks, in pieces of about a megabyte."""
    row = max(values[:1].nbytes, 1)
    rows = min(max(2**20 // row, 1), max(len(values), 1))
    chunks = (rows, *(max(n, 1) for n in values.shape[1:]))
    largest = tuple(max(n, 1) for n in values.shape)
    group.create_dataset(name, data=values, maxshape=largest, chunks=chunks, fletcher32=True)


def constrained_files(path: Path) -> tuple[Path, ...]:
    """Return the files of a set: the file itself, or those of a folder in the order of their names."""
    return tuple(sorted(path.glob(f"*{SUFFIX}"))) if path.is_dir() else (path,)


def read_constrained(path: Path) -> ConstrainedSet:
    """Return the constrained runs of a file, or of all files of a folder.

    Raises:
        UserError: missing, damaged, of another schema, no run in it, or files of different systems.
    """
    files = constrained_files(path)
    sets = [_read_file(file) for file in files]
    runs = tuple(run for found in sets for run in found.runs)
    if not runs:
        raise UserError(f"{path}: no constrained run is in it")
    for file, found in zip(files, sets, strict=True):
        if found.facts != sets[0].facts or any(not np.array_equal(run.masses, runs[0].masses) for run in found.runs):
            raise UserError(f"{file} is of another system than {files[0]}: keep their constrained runs apart")
    return ConstrainedSet(runs, sets[0].facts)


def _read_file(path: Path) -> ConstrainedSet:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            link = file.get(GROUP, getlink=True)
            if not isinstance(link, h5py.HardLink) or not isinstance(file[GROUP], h5py.Group):
                raise UserError(f"{path} has no group /{GROUP}: it is no record of constrained runs")
            group = file[GROUP]
            facts = _facts(path, group)
            if len(group) > MOST_RUNS:
                raise UserError(f"{path} is damaged: it declares {len(group)} runs")
            runs = tuple(_read_run(path, group, str(number)) for number in range(len(group)))
    except UserError:
        raise
    except _BROKEN as error:
        raise UserError(f"{path} is no readable record of constrained runs: {one_line(error)}") from None
    return ConstrainedSet(runs, facts)


def _facts(path: Path, group: h5py.Group) -> ConstrainedFacts:
    if "facts" not in group.attrs or group.attrs.get_id("facts").dtype.kind != "S":
        raise UserError(f"{path} is damaged: /{GROUP} has no facts")
    found = json.loads(bytes(group.attrs["facts"]))
    if not isinstance(found, dict) or found.pop("schema", None) != SCHEMA:
        raise UserError(f"{path} is a record of constrained runs of another schema than {SCHEMA}")
    names = {field.name for field in fields(ConstrainedFacts)}
    if found.keys() != names or not all(isinstance(v, str) for k, v in found.items() if k != "molecules"):
        raise UserError(f"{path} is damaged: the facts in it are {', '.join(sorted(found))}")
    molecules = found.pop("molecules")
    if not isinstance(molecules, list) or not all(isinstance(name, str) for name in molecules):
        raise UserError(f"{path} is damaged: the names of its molecules cannot be read")
    return ConstrainedFacts(molecules=tuple(molecules), **found)


def _read_run(path: Path, group: h5py.Group, number: str) -> ConstrainedRun:
    where = f"{path}: /{GROUP}/{number}"
    if not isinstance(group.get(number, getlink=True), h5py.HardLink) or not isinstance(group[number], h5py.Group):
        raise UserError(f"{where} is missing")
    own, sizes = group[number], dict[str, int]()
    values: JsonObject = {
        name: _array(path, own, f"{where}/{name}", name, kind, shape, sizes).astype(dtype)
        for name, (dtype, kind, shape) in (_ARRAYS | _LATER).items()
        if name in _ARRAYS or name in own
    }
    numbers = _array(path, own, f"{where}/numbers", "numbers", "f", (len(_NUMBERS),), sizes)
    counts = _array(path, own, f"{where}/counts", "counts", "i", (len(_COUNTS),), sizes)
    values |= zip(_NUMBERS, map(float, numbers), strict=True)
    values |= zip(_COUNTS, map(int, counts), strict=True)
    run = ConstrainedRun(**values)
    _check(where, run)
    return run


def _array(
    path: Path, group: h5py.Group, where: str, name: str, kind: str, shape: tuple[str | int, ...], sizes: dict[str, int]
) -> AnyArray:
    """Return a dataset after checks of what reading it would do; ``sizes`` learns what M, L and P are."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise UserError(f"{where} is missing")
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind != kind or dataset.ndim != len(shape):
        raise UserError(f"{where} is not an array of numbers with {len(shape)} axes")
    if dataset.is_virtual or dataset.external:
        raise UserError(f"{where} points to other files, which are not followed")
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = min(dataset.id.get_storage_size(), path.stat().st_size)
    if declared > stored or dataset.compression:
        raise UserError(f"{where} declares {declared} bytes (shape {dataset.shape}), the file holds {stored}")
    named = zip(shape, dataset.shape, strict=True)
    wanted = tuple(sizes.setdefault(n, found) if isinstance(n, str) else n for n, found in named)
    if dataset.shape != wanted:
        raise UserError(f"{where} has shape {dataset.shape}, not {wanted}")
    values: AnyArray = dataset[()]
    return values


def _check(where: str, run: ConstrainedRun) -> None:
    """Raise UserError where values cannot be those of a constrained run."""
    there = [getattr(run, name) for name in (*_ARRAYS, *_LATER, "kT", "dt")]
    if not all(np.isfinite(values).all() for values in there if values is not None):
        raise UserError(f"{where} is damaged: it holds values that are not finite")
    positive = min(run.kT, run.dt, run.box.min(), run.masses.min(initial=np.inf)) > 0
    if not positive or run.n_samples < 2 or not len(run.masses):
        raise UserError(f"{where} is damaged: kT, dt, the box and masses have to be positive, and samples two or more")
    lags = run.lags
    if not len(lags) or lags[0] != 0 or np.any(np.diff(lags) <= 0) or lags[-1] >= max(run.n_samples // 2, 1):
        raise UserError(f"{where} is damaged: its lags do not ascend from 0 within half of {run.n_samples} samples")
    low, high = run.pairs.T
    if np.any(low < 0) or np.any(low >= high) or np.any(high >= len(run.masses)):
        raise UserError(f"{where} is damaged: its pairs are not of {len(run.masses)} molecules, i < j")
