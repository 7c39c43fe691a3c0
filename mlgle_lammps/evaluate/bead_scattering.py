"""Scattering summed over beads: of MD where every mode was streamed, and of generated chains, with their motion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mlgle_lammps.evaluate.properties import ChainSums, Properties, Table
from mlgle_lammps.evaluate.trajectories import Trajectory, read_trajectory
from mlgle_lammps.observe.chain_motion import fast_part, group_motion
from mlgle_lammps.observe.scattering import scattering_of_beads
from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.statistics.correlation import chain_groups
from mlgle_lammps.statistics.moments import logarithmic_lags
from mlgle_lammps.statistics.pieces import longest_piece
from mlgle_lammps.statistics.replicas import Replicas

MOST_FRAMES = 4000
MOST_CHAINS = 60
N_DIRECTIONS = 24


def add_bead_scattering(found: Properties, trajectory: Trajectory, sums: ChainSums, q: Float64, run: Path) -> None:
    """Add S(q,t) summed over beads of MD and of generated.h5, at the lags of ``sums`` that some frames allow.

    Args:
        found: takes the tables.
        trajectory: MD's.
        sums: of its chains.
        q: 1/length.
        run: the run's folder, where generated.h5 may lie.
    """
    if sums.n_streamed == sums.basis.n_modes:
        share = float(sums.moments.made_good(sums.lags)[-1])  # of frames, which know of no lag
        effect, how = sums.moments.design_effect, "MD's beads, all modes streamed"
        found.tables["S_qt_beads"] = summed_over_beads(trajectory, sums, q, how, share, effect)
    else:
        found.reasons["S_qt_beads"] = f"beads are not known: give run --modes {sums.basis.n_modes} to stream all modes"
    generated = run / "generated.h5"
    if not generated.is_file():
        found.reasons["S_qt_generated"] = "nothing was generated"
        return
    other = read_trajectory(generated, stop=MOST_FRAMES)
    if other.directions.n < 3:
        found.reasons["S_qt_generated"] = "trajectories were generated along some directions only"
        return
    if other.system.n_chains < 2:
        found.reasons["S_qt_generated"] = (
            "one trajectory alone has no motion against the others' centre: raise --ensemble"
        )
        return
    how = "beads rebuilt from generated modes, fast ones drawn anew in each frame"
    share = _made_good(other.system.n_chains)  # trajectories are independent: their common centre diffuses
    found.tables["S_qt_generated"] = summed_over_beads(other, sums, q, how, share, effect=1.0)
    _add_generated_motion(found, other, sums)


def _made_good(n: int) -> float:
    """Return the factor of squared displacements that makes good what the centre of n independent ones takes."""
    return n / (n - 1)


def _add_generated_motion(found: Properties, other: Trajectory, sums: ChainSums) -> None:
    """Add g_1, g_2 and g_3 of generated chains at the lags that MD's have, where there are as many frames."""
    segments = other.segments[: other.n_mode_frames]
    lags = sums.lags[sums.lags * 4 <= len(segments)]
    k = other.system.n_modes
    groups, done = [], 0
    for group in other.groups():
        if done < MOST_CHAINS:
            com = np.sqrt(_made_good(other.system.n_chains)) * group.com[: len(segments)]
            modes = group.modes[: len(segments)]
            groups.append(group_motion(com, modes, segments, lags, 2, sums.basis))
            done += com.shape[1]
    n_chains = [group.n_chains for group in groups]
    t: Float64 = lags.astype(np.float64) * other.system.dt
    fast = fast_part(sums.variances[k:], sums.fast_nacf(t), sums.basis) if k == sums.n_streamed else 0.0 * t
    for name, more in (("g1", fast), ("g2", fast), ("g3", 0.0 * t)):
        own = Replicas.of_groups(np.array([getattr(group, name) for group in groups]), n_chains)
        units = f"jackknife over {len(groups)} groups"
        method = f"as {name} of MD, from {done} generated chains, {len(segments)} frames; {units}"
        columns: dict[str, Float64 | list[str]] = {"t": t, "value": own.value + more, "se": own.se}
        found.tables[f"{name}_generated"] = Table(columns, dict(found.tables[name].units), method)


def summed_over_beads(
    trajectory: Trajectory, sums: ChainSums, q: Float64, how: str, share: float, effect: float
) -> Table:
    """Return the table of coherent and incoherent S(q,t) over beads, with errors over groups of chains.

    Args:
        trajectory: MD's, or a generated one.
        sums: of MD's chains.
        q: 1/length.
        how: beads are known, for the method.
        share: factor of the centres' squared displacements that makes good the motion of the system's centre.
        effect: design effect of the chains.
    """
    segments = trajectory.segments[: min(trajectory.n_mode_frames, MOST_FRAMES)]
    longest = longest_piece(segments)
    lags = [0, *logarithmic_lags(max(longest // 4, 1))]
    system = trajectory.system
    n_chains = min(system.n_chains, MOST_CHAINS)
    coherent, incoherent = [], []
    done = 0
    generator = np.random.default_rng(1)
    for group in trajectory.groups():
        taken = min(group.com.shape[1], n_chains - done)
        if taken <= 0:
            break
        com = np.sqrt(share) * group.com[: len(segments), :taken]
        beads = sums.beads(com, group.modes[: len(segments), :taken], generator)
        both = scattering_of_beads(beads, segments, q.tolist(), lags, N_DIRECTIONS)
        coherent.append(both[0])
        incoherent.append(both[1])
        done += taken
    found = _table(np.concatenate(coherent), np.concatenate(incoherent), q, lags, system.dt, effect, how, segments)
    return replace(found, units={"q": f"1/{system.length_unit}", "t": system.time_unit})


def _table(
    coherent: Float64, incoherent: Float64, q: Float64, lags: list[int], dt: float, effect: float, how: str,
    segments: Int64,
) -> Table:  # fmt: skip
    n = len(coherent)
    both = np.stack([coherent, incoherent], axis=1)
    total = both.mean(axis=0)
    groups = chain_groups(n)
    left_out = np.array([np.delete(both, group, axis=0).mean(axis=0) for group in groups])
    found = Replicas(total, left_out, effect)
    ratio = found.map(lambda s: s[0] / s[0][:, :1])
    return Table(
        {
            "q": np.repeat(q, len(lags)), "t": np.tile(np.array(lags) * dt, len(q)),
            "value": found.value[0].ravel(), "se": found.se[0].ravel(),
            "S_over_S0": ratio.value.ravel(), "S_over_S0_se": ratio.se.ravel(),
            "S_incoherent": found.value[1].ravel(), "S_incoherent_se": found.se[1].ravel(),
        },
        {},
        f"sums over {how}: {n} chains, {len(segments)} frames, {N_DIRECTIONS} directions of q; jackknife over "
        f"{len(groups)} groups of chains",
    )  # fmt: skip
