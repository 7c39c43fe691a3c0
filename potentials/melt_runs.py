"""The runs behind the melt's report: each takes a deck through MD and returns numbers and curves as plain lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import configurational_temperature as configurational
import measure
import numpy as np
from measure import Array, Recording, Value

from mlgle_lammps.chains.start_structure import box_length
from mlgle_lammps.commands.build import build as build_melt
from mlgle_lammps.formats.melt_data import data_text
from mlgle_lammps.observe.chain_segments import squared_segments
from mlgle_lammps.observe.exponent import anomalous_exponent
from mlgle_lammps.options.build import DEFAULTS
from mlgle_lammps.statistics.correlation import autocorrelation, mode_statistics
from mlgle_lammps.statistics.displacements import mean_squared_displacements
from mlgle_lammps.statistics.moments import logarithmic_lags

DECKS = Path(__file__).parent.parent / "lammps_inputs"
EVERY = 400  # steps between frames, 16 ps in `in.melt`
FINE_EVERY, FINE_STEPS = 10, 50_000  # a second, short run for the MSD at short times: 0.4 ps
REPORT = 200  # steps between lines of thermodynamics
CROSSING_EVERY, CROSSING_STEPS = 2, 30_000
RELAX_HOT = 25_000  # steps at 400 K before measuring, from a start equilibrated at 300 K
END_BEADS, FIRST_S = 3, 5  # of the chains' inner part
CONFIGURATIONS = 1000  # of which T_config is made
N_SEEDS = 20  # of melts to choose a typical one from

Progress = Callable[[int], None]
Result = dict[str, Any]


def _pair(value: Value | None) -> list[float] | None:
    return None if value is None else [value.value, value.se]


def _columns(values: Array) -> tuple[list[float], list[float]]:
    """Return means over chains and their standard errors of (chain, ...) values."""
    return values.mean(axis=0).tolist(), (values.std(axis=0, ddof=1) / np.sqrt(len(values))).tolist()


def slowest_fs(recording: Recording) -> float | None:
    """Return the relaxation time of mode 1 in fs; None where the run does not tell."""
    modes = np.array([frame.modes[0, :, :1] for frame in recording.frames])
    correlation = autocorrelation(modes, np.zeros(len(modes), dtype=np.int64), len(modes) // 4)
    return mode_statistics(correlation, recording.system.dt).relaxation_time[0]


def dynamics(recording: Recording) -> Result:
    """Return D by the GLE fit and by the late slope, N, and the relaxation time of mode 1 in ns."""
    slowest = slowest_fs(recording)
    slope = None if slowest is None else measure.slope_diffusion(recording, slowest)
    return {
        "n_beads": recording.system.n_beads,
        "n_chains": recording.system.n_chains,
        "D": _pair(measure.fitted_diffusion(recording)),
        "D_slope": _pair(slope),
        "tau_1_ns": None if slowest is None else slowest * 1e-6,
        "ns": (len(recording.frames) - 1) * recording.system.dt * 1e-6,
    }


def chain_shape(recording: Recording) -> Result:
    """Return <R_ee²>, <R²(s)>/s of whole chains and of their inner part, and the latter's slope over the bead mass."""
    positions = recording.positions()
    n_beads = positions.shape[2]
    whole = squared_segments(positions)
    s = np.arange(1, n_beads)
    mean, se = _columns(whole / s)
    inner = measure.inner_slope(recording, END_BEADS, FIRST_S, last_inner(n_beads))
    mass = float(DEFAULTS["real"]["mass"])
    return {
        "R_ee_sq": _pair(measure.chain_mean(whole[:, -1])),
        "segments": {"s": s.tolist(), "value": mean, "se": se},
        "size": [inner.value / mass, inner.se / mass],
    }


def last_inner(n_beads: int) -> int:
    """Return the largest s of the slope: half of the beads that are not left out as ends, or a few more."""
    inner = n_beads - 2 * END_BEADS
    return min(max(FIRST_S + 5, inner // 2), inner - 1)


def centre_msd(recording: Recording) -> Result:
    """Return the MSD of the centres of mass per dimension and its local exponent, times in ns."""
    com = np.array([frame.com[0] for frame in recording.frames])
    com -= com.mean(axis=1, keepdims=True)
    longest = len(com) // 4
    per_chain = mean_squared_displacements(com, np.zeros(len(com), dtype=np.int64), longest + 1).T / 3
    lags = np.array(logarithmic_lags(longest, 4))
    inner = np.array([lag for lag in lags if lag >= 3 and int(np.ceil(lag * np.sqrt(2))) <= longest])
    exponent = anomalous_exponent(per_chain, inner)
    unit = recording.system.dt * 1e-6
    mean, se = _columns(per_chain[:, lags])
    return {
        "t": (lags * unit).tolist(), "msd": mean, "se": se,
        "t_exponent": (inner * unit).tolist(), "exponent": exponent.value.tolist(), "exponent_se": exponent.se.tolist(),
    }  # fmt: skip


def crossings(variables: dict[str, Any], advance: Progress) -> Result:
    """Return how often bonds pass through one another, from a run of its own with snapshots a few steps apart."""
    counter, interval = measure.count_crossings(
        DECKS / "in.melt", variables | {"steps": CROSSING_STEPS}, CROSSING_EVERY, CROSSING_STEPS
    )
    advance(CROSSING_STEPS)
    return {
        "per_bond_ns": list(counter.rate(interval)),
        "between_chains": sum(counter.between),
        "lasting": counter.lasting,
        "in_a_chain": sum(counter.distant),
        "next_bonds": sum(counter.neighbours),
        "bonds": len(counter.bonds),
        "ns": interval * len(counter.between),
    }


def default_melt(T: int, steps: int, advance: Progress) -> Result:
    """Measure `in.melt` at one temperature."""
    relax = 5000 if T == 300 else RELAX_HOT
    variables = {"T": T, "steps": steps, "report": REPORT, "seed": T}
    recording = measure.record(DECKS / "in.melt", variables | {"relax": relax}, EVERY, steps, lambda: advance(EVERY))
    forces = configurational.Forces(DECKS / "in.melt", {"T": T})
    T_config = configurational.configurational_temperature(recording, forces, CONFIGURATIONS, seed=T)
    forces.close()
    pairs = measure.pair_distribution(recording)
    fine = measure.record(
        DECKS / "in.melt", variables | {"relax": relax // 3, "steps": FINE_STEPS}, FINE_EVERY, FINE_STEPS
    )
    advance(FINE_STEPS)
    return {
        "T": T,
        "steps": steps,
        "steps_per_second": recording.steps_per_second,
        "kinetic_T": _pair(measure.temperature(recording)),
        "T_config": _pair(T_config),
        "pressure": _pair(measure.pressure(recording)),
        **dynamics(recording),
        **chain_shape(recording),
        "g": {"r": pairs.r.tolist(), "value": pairs.g.tolist(), "se": pairs.se.tolist()},
        "g_peak": list(pairs.first_peak()),
        "msd": centre_msd(recording),
        "msd_fine": centre_msd(fine),
        "crossings": crossings(variables | {"relax": relax // 3}, advance),
    }


def chains_of_length(
    n_beads: int, n_chains: int, folder: Path, steps: tuple[int, int], relax: tuple[int, int], advance: Progress
) -> dict[str, Result]:
    """Build chains of another length, relax and measure them at 300 K, then at 400 K from where they are.

    Args:
        n_beads: N.
        n_chains: chains.
        folder: for start structures.
        steps: of production at 300 and 400 K.
        relax: steps before each.
        advance: hears of steps done.
    """
    start = folder / f"start-{n_beads}.data"
    _typical_melt(start, n_chains, n_beads)
    results = {}
    for T, n_steps, n_relax, deck in zip((300, 400), steps, relax, ("in.melt.paper", "in.melt"), strict=True):
        variables = {"T": T, "data": start, "relax": n_relax, "steps": n_steps, "report": REPORT, "seed": n_beads + T}
        recording = measure.record(DECKS / deck, variables, EVERY, n_steps, lambda: advance(EVERY))
        advance(n_relax)
        results[f"{n_beads} {T}"] = {
            "T": T,
            "kinetic_T": _pair(measure.temperature(recording)),
            "pressure": _pair(measure.pressure(recording)),
            **dynamics(recording),
            **chain_shape(recording),
        }
        start = folder / f"end-{n_beads}.data"
        write_data(recording, start, f"LAMMPS data file, units real: {n_chains} x {n_beads}, {T} K")
    return results


def _typical_melt(path: Path, n_chains: int, n_beads: int) -> None:
    """Write, of melts built with several seeds, that whose <R_ee²> is nearest to the mean over them all.

    A dozen chains have <R_ee²> to 25% only, and long ones keep for the whole run what they began with.
    """
    sizes = []
    for seed in range(N_SEEDS):
        build_melt([str(path), "--chains", str(n_chains), "--beads", str(n_beads), "--seed", str(seed), "--overwrite"])
        sizes.append(float(np.mean(np.sum(np.diff(read_chains(path, n_chains)[:, [0, -1]], axis=1) ** 2, axis=-1))))
    seed = int(np.argmin(np.abs(np.array(sizes) - np.mean(sizes))))
    build_melt([str(path), "--chains", str(n_chains), "--beads", str(n_beads), "--seed", str(seed), "--overwrite"])


def write_data(recording: Recording, path: Path, title: str) -> None:
    """Write a run's last frame as a data file."""
    chains = measure.beads(recording.frames[-1], recording.system)
    mass = float(DEFAULTS["real"]["mass"])
    path.write_text(data_text(chains, float(recording.box[0]), mass, True, title), encoding="utf-8")


def prepared_chains(n_chains: int, n_beads: int, folder: Path) -> Result:
    """Return <R²(s)>/s of a large melt as built, and right after its push-off (`in.melt.paper`, no relaxation)."""
    start = folder / "prepared.data"
    build_melt([str(start), "--chains", str(n_chains), "--beads", str(n_beads), "--seed", "1", "--overwrite"])
    recording = measure.record(DECKS / "in.melt.paper", {"data": start, "relax": 0, "steps": 40}, 20, 40)
    s = np.arange(1, n_beads)
    after = squared_segments(recording.positions()[:1]) / s
    built = squared_segments(read_chains(start, n_chains)) / s
    return {
        "s": s.tolist(),
        **dict(zip(("built", "built_se"), _columns(built), strict=True)),
        **dict(zip(("after", "after_se"), _columns(after), strict=True)),
    }


def read_chains(path: Path, n_chains: int) -> Array:
    """Return unwrapped chains of a data file of `mlgle_lammps.build`, (chain, bead, 3)."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines.index("Atoms # angle") + 2
    rows = np.array([line.split() for line in lines[first : lines.index("Bonds") - 1]], dtype=float)
    length = box_length(len(rows), float(DEFAULTS["real"]["density"]), float(DEFAULTS["real"]["mass"]), "real")
    positions: Array = (rows[:, 3:6] + rows[:, 6:9] * length).reshape(n_chains, -1, 3)
    return positions
