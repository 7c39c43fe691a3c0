"""Chains of 100 beads, the papers' length, measured by the service: run or go on with a run, and read what it found."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from thermo_log import read_production

from mlgle_lammps import observe_stream, read_stream
from mlgle_lammps.chains.rouse import rouse_mode_variance
from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.options.build import DEFAULTS
from mlgle_lammps.statistics.errors import NORMAL
from mlgle_lammps.statistics.moments import logarithmic_lags

HERE = Path(__file__).parent
DECK = HERE.parent / "lammps_inputs" / "in.melt100"
SOURCES = (HERE / "cis-pb.lmp", HERE / "cis-pb.table")
CALIBRATED = ("angle_stiffness", "friction", "friction_energy")  # variables of cis-pb.lmp that calibrate.py changes
FORCE_FIELD = {*CALIBRATED, "pair_table", "bond_stiffness", "bond_length", "angle"}  # all that make up the force field
EVERY = 2000  # steps between frames
REPORT = 1000  # steps between lines of thermodynamics
SHARE_VALIDATING = 1 / 3  # of the frames, where as many are left for training as networks need
LEAST_TRAINED = 131  # memory, a frame to learn from, and one to spare
FEMTOSECONDS_PER_100_PS = 1e5
N_BLOCKS = 10
FS_TO_NS = 1e-6
SIZE_MODES = range(2, 9)
DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl


@dataclass(frozen=True)
class Motion:
    """MSD of the centres of mass per dimension at logarithmic lags, with standard errors over the chains.

    Attributes:
        t: ns.
        msd: Å².
        se: Å².
    """

    t: list[float]
    msd: list[float]
    se: list[float]


@dataclass(frozen=True)
class LongRun:
    """What a run of the service says of long chains.

    Attributes:
        n_beads: N.
        n_chains: chains.
        T: temperature asked for, K.
        seed: of velocities and noise.
        frames: recorded.
        ns: between the first frame and the last.
        md_s: wall time of MD in seconds, all pieces together as far as the run knows.
        D: Å² per 100 ps and its standard error; chains are the independent units.
        ci95: the service's interval of D, Å² per 100 ps.
        fit_p: probability of a worse fit.
        kinetic_T: K and its standard error, over blocks of production's time.
        pressure: atm and its standard error, likewise.
        complete: whether all frames that were asked for are there.
        variables: of the deck, as they were given with ``-var``.
        motion: of the centres of mass; None where the run left no stream.
        generated: that of the chains that ML-GLE generated; None where none were.
        size: d<R²(s)>/ds over the bead's mass in Å² mol/g and its standard error over chains; None likewise, or where
            fewer modes than `SIZE_MODES` were streamed.
    """

    n_beads: int
    n_chains: int
    T: int
    seed: int
    frames: int
    ns: float
    md_s: float
    D: tuple[float, float]
    ci95: tuple[float, float]
    fit_p: float
    kinetic_T: tuple[float, float]
    pressure: tuple[float, float]
    complete: bool
    variables: dict[str, str]
    motion: Motion | None
    generated: Motion | None
    size: tuple[float, float] | None


def run(
    folder: Path, T: int, n_frames: int, variables: Mapping[str, object], deck: Path = DECK, every: int = EVERY
) -> LongRun:
    """Let the service measure ``n_frames`` frames in ``folder``, going on with what is there.

    Args:
        folder: of the run.
        T: temperature in K.
        n_frames: frames up to the hand-off.
        variables: of the deck, seed among them if need be.
        deck: to be run.
        every: steps between frames.

    Raises:
        UserError: the folder holds a run of another force field, temperature, length or of other variables.
        RunFailure: the run ended before its frames were there.
    """
    command = [sys.executable, "-m", "mlgle_lammps.run"]
    status = _status(folder)
    _same_as_before(folder, status is not None, _identity(T, n_frames, variables, deck))
    if status == "complete":
        return read(folder)
    if status is not None:
        command += ["--resume", str(folder)]
    else:
        n_trained = max(n_frames - round(SHARE_VALIDATING * n_frames), LEAST_TRAINED)
        command += [str(deck), "--every", str(every), "--out", str(folder), "--generate-steps", "0"]
        command += ["--train-frames", str(n_trained), "--val-frames", str(n_frames - n_trained)]
        for name, value in {"T": T, "report": REPORT, **variables}.items():
            command += ["-var", name, str(value)]
    done = run_with_us(command)
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise RunFailure(f"the run in {folder} failed: {one_line(' '.join(last))}")
    if _status(folder) != "complete":
        raise RunFailure(f"the run in {folder} was ended before its {n_frames} frames; start again to go on with it")
    return read(folder)


def run_with_us(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command; on Linux it is ended by SIGTERM where this process dies, killed or not."""
    linux = sys.platform == "linux"
    prctl = ctypes.CDLL(None).prctl if linux else None  # looked up before the fork
    return subprocess.run(
        command, capture_output=True, text=True, check=False,
        preexec_fn=(lambda: prctl(DIES_WITH_PARENT, signal.SIGTERM)) if prctl else None,
    )  # fmt: skip


def _identity(T: int, n_frames: int, variables: Mapping[str, object], deck: Path) -> dict[str, object]:
    """Return what two runs must have in common for one to be gone on with as the other."""
    table = variables.get("pair_table")
    sources = (deck, *SOURCES[:1], SOURCES[1] if table is None else Path(str(table)))
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    given = {name: str(value) for name, value in variables.items() if name != "pair_table"}
    return {
        "force field (deck, cis-pb.lmp or table)": digest.hexdigest(), "temperature": T, "number of frames": n_frames,
        "set of variables": given,
    }  # fmt: skip


def _same_as_before(folder: Path, exists: bool, identity: dict[str, object]) -> None:
    """Keep what a run is of beside its folder; refuse to take another for it. One without is taken as it is."""
    kept = folder.with_name(f"{folder.name}.run.json")
    if not exists:
        folder.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(identity), encoding="utf-8")
    elif kept.is_file():
        before = json.loads(kept.read_text(encoding="utf-8"))
        other = [name for name, value in identity.items() if before.get(name) != value]
        if other:
            raise UserError(f"{folder} holds a run of another {other[0]}; move it away")


def _status(folder: Path) -> str | None:
    """Return "complete" or "partial", None where no run has begun."""
    try:
        return str(json.loads((folder / "result.json").read_text(encoding="utf-8"))["status"])
    except FileNotFoundError:
        return "partial" if (folder / "checkpoint").is_dir() else None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / 'result.json'}: not what a run leaves ({one_line(error)})") from None


def read(folder: Path) -> LongRun:
    """Return what a run's folder says.

    Raises:
        UserError: no run of a deck in units real, or none that has found a D yet.
    """
    path = folder / "result.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        variables = {name: values[0] for name, values in dict(result["variables"]).items()}
        low, high = result["D"]["ci95"]
        if result["time_unit"] != "fs":
            raise UserError(f"{path}: times are in {result['time_unit']}; give a run of a deck in units real")
        value, se = result["D"]["value"], result["D"].get("se", (high - low) / (2 * NORMAL))
        per = FEMTOSECONDS_PER_100_PS
        kinetic, pressure = _thermo(folder / "log.lammps")
        return LongRun(
            result["n_beads"], result["n_chains"], int(float(variables.get("T", 300))), int(variables.get("seed", 1)),
            result["n_frames"], (result["n_frames"] - 1) * result["dt"] * FS_TO_NS, result["timing"]["md_s"],
            (value * per, se * per), (low * per, high * per), result["fit"]["p"], kinetic, pressure,
            result["status"] == "complete", variables, _motion(folder / "modes.h5"),
            _motion(folder / "generated.h5"), _size(folder),
        )  # fmt: skip
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is not there: give the folder of a run") from None
    except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
        raise UserError(f"{path}: not a run that has found D ({type(error).__name__}: {one_line(error)})") from None


def _motion(stream: Path) -> Motion | None:
    """Return how centres of mass move, from a recorded or generated stream; None where it is not there."""
    if not stream.is_file():
        return None
    found = observe_stream(stream)
    lags = np.array(logarithmic_lags(len(found.msd) - 1))
    n_dimensions = found.moments.n_dimensions
    per_dimension = (found.msd[lags] / n_dimensions).tolist(), (found.msd_se[lags] / n_dimensions).tolist()
    return Motion((lags * found.dt * FS_TO_NS).tolist(), *per_dimension)


def _size(folder: Path) -> tuple[float, float] | None:
    """Return the squared bond of the Rouse chain that has the variances of `SIZE_MODES`, over the bead's mass.

    Of 100 beads these modes are of pieces of some 12 to 50 beads, where <R²(s)> is straight.
    """
    if not (folder / "modes.h5").is_file():
        return None
    stream = read_stream(folder)
    assert stream.system.n_beads is not None
    numbers = np.array(SIZE_MODES)
    if stream.modes.shape[2] < numbers[-1]:
        return None
    modes = stream.modes[:, :, numbers - 1].astype(np.float64)
    squared_bond = np.mean(modes**2, axis=(0, 3)) / rouse_mode_variance(numbers, stream.system.n_beads)
    per_chain = squared_bond.mean(axis=1) / float(DEFAULTS["real"]["mass"])
    return float(per_chain.mean()), float(per_chain.std(ddof=1) / math.sqrt(len(per_chain)))


def _thermo(log: Path) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return temperature and pressure of production, errors over blocks of time."""
    columns = read_production(log)
    pairs = []
    for name in ("Temp", "Press"):
        values = columns[name]
        if len(values) < 2:
            pairs.append((math.nan, math.nan))
            continue
        blocks = np.array([block.mean() for block in np.array_split(values, min(N_BLOCKS, len(values)))])
        pairs.append((float(values.mean()), float(blocks.std(ddof=1) / math.sqrt(len(blocks)))))
    return pairs[0], pairs[1]
