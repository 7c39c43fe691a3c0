"""What a melt's recorded modes and stress say of it beyond D: every number with its error and how it was obtained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mlgle_lammps.chains.beads import bead_positions, completed_variances, draw_fast_modes, extrapolated_variances
from mlgle_lammps.chains.mode_basis import ModeBasis, linear_basis
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.joined_relaxation import JoinedRelaxation, join_relaxations
from mlgle_lammps.evaluate.observables import displacement_moments
from mlgle_lammps.evaluate.scales import Scales
from mlgle_lammps.evaluate.trajectories import Trajectory
from mlgle_lammps.observe.chain_motion import GroupMotion, fast_part, group_motion, with_centre_made_good
from mlgle_lammps.observe.green_kubo import StressRelaxation, stress_relaxation
from mlgle_lammps.observe.mode_relaxation import MOST_BEYOND, ModeCorrelations, Relaxation, relaxation_of_modes
from mlgle_lammps.observe.moduli import Moduli, moduli_of
from mlgle_lammps.observe.scattering import debye, scattering_of_beads, scattering_of_modes
from mlgle_lammps.plain import AnyArray
from mlgle_lammps.records import Estimate, Float64, Int64
from mlgle_lammps.statistics.moments import Moments, logarithmic_lags
from mlgle_lammps.statistics.pieces import longest_piece
from mlgle_lammps.statistics.replicas import Replicas, stacked
from mlgle_lammps.store.stress_file import StressRecord

LAGS_PER_OCTAVE = 4
RELAXED_TIMES = 3.0
"""G is integrated up to so many τ_1, where e^-6 of it is left."""
Q_RADII = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Of q Rg, where no q is asked for."""
SHORT_BLOCKS = 8
"""Blocks of time of a record of stress that is too short for the integral of G."""
STATIC_FRAMES = 100
"""Of a record, in which S(q,0) is summed over beads."""


@dataclass(frozen=True)
class Table:
    """Columns of one length, with errors, and how they were obtained.

    Attributes:
        columns: name to values.
        units: of the columns.
        method: one line.
    """

    columns: dict[str, Float64 | list[str]]
    units: dict[str, str]
    method: str


@dataclass
class Properties:
    """Everything that was found; what could not be had has a reason instead.

    Attributes:
        numbers: name to estimate.
        units: name to unit.
        tables: name to table.
        reasons: name to why it is missing.
        notes: lines for people.
    """

    numbers: dict[str, Estimate] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def put(self, name: str, found: Replicas, unit: str, method: str) -> None:
        """Keep a number."""
        self.numbers[name], self.units[name] = found.estimate(method), unit


@dataclass(frozen=True)
class ChainSums:
    """What all groups of chains say together.

    Attributes:
        groups: of each group.
        lags: (lag,) in frames, of all but the modes' products.
        dt: time between frames.
        basis: of the molecule.
        moments: displacements of the centres.
        variances: (mode,) of all N - 1 modes per component.
        relaxation: of all modes.
    """

    groups: list[GroupMotion]
    lags: Int64
    dt: float
    basis: ModeBasis
    moments: Moments
    variances: Float64
    relaxation: Relaxation

    @property
    def correlations(self) -> ModeCorrelations:
        """Of the streamed modes."""
        return _correlations(self.groups, self.dt)

    @property
    def n_streamed(self) -> int:
        """How many modes were streamed, k."""
        return self.groups[0].products.shape[1]

    def over_groups(self, name: str, together: bool = True) -> Replicas:
        """Return an average over chains with replicas that leave one group out.

        Args:
            name: of the entry of the groups.
            together: chains move together, as their centres do, so that the average scatters more than independent
                chains' would. Their shapes do not.
        """
        values = np.array([getattr(group, name) for group in self.groups])
        n_chains = [group.n_chains for group in self.groups]
        return Replicas.of_groups(values, n_chains, self.moments.design_effect if together else 1.0)

    def beads(self, centres: Float64, modes: AnyArray, generator: np.random.Generator) -> Float64:
        """Return beads of chains with these centres and modes, modes that are not streamed drawn anew in each frame.

        Args:
            centres: (time, chain, 3).
            modes: (time, chain, mode, 3), MD's or generated ones.
            generator: of the draws.
        """
        fast = draw_fast_modes(self.variances[modes.shape[2] :], modes.shape[:2], generator)
        return bead_positions(centres, np.concatenate([modes.astype(np.float64), fast], axis=2), self.basis.n_beads)

    def fast_nacf(self, times: Float64) -> Float64:
        """Return C_p(t) of the modes that are not streamed, (time, mode), exponentials with times as 1/λ_p."""
        k = self.n_streamed
        slow = max(self.basis.n_modes - self.relaxation.continued, 1)
        scale = self._slowest_of(slow - 1) * self.basis.eigenvalues[slow - 1]
        result: Float64 = np.exp(-times[:, None] / (scale / self.basis.eigenvalues[k:]))
        return result

    def _slowest_of(self, mode: int) -> float:
        nacf = self.correlations.mean().value[:, mode]
        nacf = np.maximum(nacf / nacf[0], 1e-6)
        return float(-self.dt / np.log(nacf[1])) if nacf[1] < 1 else self.dt


def gather(trajectory: Trajectory) -> ChainSums:
    """Return the sums over a stream's chains; raise UserError where it is no melt whose beads are known."""
    system = trajectory.system
    if trajectory.directions.n < 3:
        raise UserError(
            f"properties are those of melts that are free in x, y and z: {trajectory.directions.sentence()}"
        )
    if system.n_beads is None:
        raise UserError(f"{system.source} does not say how many beads a chain has: give `beads`")
    if not system.linear:
        raise UserError(f"{system.source}: properties are those of linear chains so far, and its molecules are others")
    if system.n_chains < 2:
        raise UserError(f"{system.source} has one chain: there is nothing to take errors from")
    segments = trajectory.segments[: trajectory.n_mode_frames]
    longest = longest_piece(segments)
    if longest < 8:
        raise UserError(f"{system.source}: {longest} frames are too few")
    basis, moments = linear_basis(system.n_beads), displacement_moments(trajectory)
    n_lags = max(longest // 2, 2)
    lags = np.array([0, *logarithmic_lags(max(longest // 4, 1), LAGS_PER_OCTAVE)], dtype=np.int64)
    groups = [
        group_motion(group.com[: len(segments)], group.modes, segments, lags, n_lags, basis)
        for group in trajectory.groups()
    ]
    correlations = _correlations(groups, system.dt)
    recorded = correlations.mean().value[0]
    relaxation = relaxation_of_modes(correlations, basis)
    return ChainSums(
        groups, lags, system.dt, basis, moments, _all_variances(recorded, system.mode_variances, system.n_beads),
        relaxation,
    )  # fmt: skip


def _correlations(groups: Sequence[GroupMotion], dt: float) -> ModeCorrelations:
    return ModeCorrelations(
        np.array([group.products for group in groups]), np.array([group.n_chains for group in groups]), dt
    )


def _all_variances(recorded: Float64, snapshot: tuple[float, ...] | None, n_beads: int) -> Float64:
    if len(recorded) == n_beads - 1:
        return recorded
    fast = (
        extrapolated_variances(recorded, n_beads)
        if snapshot is None
        else completed_variances(recorded, np.array(snapshot))
    )
    return np.concatenate([recorded, fast])


def add_sizes_and_motion(found: Properties, sums: ChainSums, length: str, time: str, share: Float64) -> None:
    """Add <Rg²>, <R²>, τ_1, g_1..g_3 and the correlations of the chain as a whole.

    Args:
        found: takes them.
        sums: of the chains.
        length: unit.
        time: unit.
        share: (lag,) factor that makes good the motion of the system's centre, as in the moments.
    """
    k, effect = sums.n_streamed, sums.moments.design_effect
    fast = sums.variances[k:]
    how = f"{k} streamed modes" + (f" and the variances of {len(fast)} faster ones" if len(fast) else "")
    shapes = f"jackknife over {len(sums.groups)} groups of chains"
    errors = f"{shapes}, design effect {effect:.2f}"
    sizes = sums.over_groups("sizes", together=False)
    odd = _odd_share(sums.basis, k)
    found.put("rg2", sizes.map(lambda s: s[1] + 6.0 * fast.sum()), f"{length}^2", f"{how}; {shapes}")
    found.put("ree2", sizes.map(lambda s: s[0] + 3.0 * float(odd @ fast)), f"{length}^2", f"{how}; {shapes}")
    found.put(
        "relaxation_time",
        sums.relaxation.slowest,
        time,
        f"integral time 2 ∫ C_1² dt of mode 1, τ_1 of an exponential; {shapes}",
    )
    if sums.relaxation.beyond > MOST_BEYOND:
        del found.numbers["relaxation_time"]
        found.reasons["relaxation_time"] = "mode 1 has not relaxed within the record"
    times: Float64 = sums.lags.astype(np.float64) * sums.dt
    extra = fast_part(fast, sums.fast_nacf(times), sums.basis)
    both = stacked([sums.over_groups("g1"), sums.over_groups("g2")])
    curves = {
        "g1": both.map(lambda g: with_centre_made_good(g, share) + extra),
        "g2": sums.over_groups("g2", together=False).map(lambda g: g + extra),
        "g3": sums.over_groups("g3").map(lambda g: share * g),
    }
    methods = {
        "g1": f"inner beads, rebuilt from {how}; {errors}",
        "g2": f"inner beads about their centre of mass, rebuilt from {how}; {shapes}",
        "g3": f"centres of mass, drift removed; {errors}",
    }
    for name, curve in curves.items():
        units = {"t": time, "value": f"{length}^2", "se": f"{length}^2"}
        found.tables[name] = Table({"t": times, "value": curve.value, "se": curve.se}, units, methods[name])
    ends = sums.over_groups("ends", together=False).map(lambda c: c / c[0])
    found.tables["end_to_end_correlation"] = Table(
        {"t": times, "value": ends.value, "se": ends.se}, {"t": time},
        f"<R(t)·R(0)>/<R²> from {k} streamed modes; {shapes}",
    )  # fmt: skip
    radius = stacked([sums.over_groups(name, together=False) for name in ("gyration", "sizes")]).map(
        lambda c: (c[:-2] - c[-1] ** 2) / (c[0] - c[-1] ** 2)
    )
    found.tables["rg2_correlation"] = Table(
        {"t": times, "value": radius.value, "se": radius.se}, {"t": time},
        f"<δRg²(t) δRg²(0)>/<δRg²²> from {k} streamed modes; {shapes}",
    )  # fmt: skip


def _odd_share(basis: ModeBasis, k: int) -> Float64:
    """Return what a fast mode's variance adds to <R²> per component: 2N [u_p(N-1) - u_p(0)]²."""
    ends = basis.vectors[k:, -1] - basis.vectors[k:, 0]
    result: Float64 = 2.0 * basis.n_beads * ends**2
    return result


def add_scattering(
    found: Properties,
    trajectory: Trajectory,
    sums: ChainSums,
    q: Float64 | None,
    length: str,
    time: str,
    share: Float64,
) -> Float64:
    """Add P(q) and S(q,t); return the q that were used.

    S(q,t) = S(q,0) R(q,t): S(q,0) is summed over beads that are rebuilt from the streamed modes, since chains are not
    Gaussian over short distances; R is the ratio that Gaussian chains of these modes have, in which that cancels.
    """
    k, n_beads, effect = sums.n_streamed, sums.basis.n_beads, sums.moments.design_effect
    rg2 = found.numbers["rg2"].value
    if q is None:
        q = np.array(Q_RADII) / np.sqrt(rg2)
    static = static_scattering(trajectory, sums, q)
    fast = sums.fast_nacf(sums.lags.astype(np.float64) * sums.dt)

    def scattered(parts: Float64) -> Float64:
        products, msd = parts[: len(sums.lags) * k].reshape(-1, k), parts[len(sums.lags) * k :]
        variances = np.concatenate([products[0], sums.variances[k:]])
        nacf = np.concatenate([products / products[0], fast], axis=1)
        return np.array(scattering_of_modes(q, variances, nacf, share * msd, sums.basis))

    products = sums.correlations.mean()
    at_lags = Replicas(products.value[sums.lags], products.left_out[:, sums.lags])
    gauss = stacked([at_lags, sums.over_groups("g3")], effect).map(scattered)
    ratio = gauss.map(lambda s: s[0] / s[0][:, :1])
    coherent = Replicas(static.value[:, None] * ratio.value, static.left_out[..., None] * ratio.left_out, effect)
    errors = f"jackknife over {len(sums.groups)} groups of chains, design effect {effect:.2f}"
    grid = np.repeat(q, len(sums.lags)), np.tile(sums.lags * sums.dt, len(q))
    columns: dict[str, Float64 | list[str]] = {
        "q": grid[0], "t": grid[1], "value": coherent.value.ravel(), "se": coherent.se.ravel(),
        "S_over_S0": ratio.value.ravel(), "S_over_S0_se": ratio.se.ravel(),
        "S_incoherent": gauss.value[1].ravel(), "S_incoherent_se": gauss.se[1].ravel(),
    }  # fmt: skip
    how = f"{k} streamed modes, {n_beads - 1 - k} continued, and the centres' MSD; {errors}"
    found.tables["S_qt"] = Table(
        columns, {"q": f"1/{length}", "t": time}, f"S(q,0) of rebuilt beads times the ratio of Gaussian chains, {how}"
    )
    form = static.map(lambda s: s / n_beads)
    found.tables["P_q"] = Table(
        {"q": q, "value": form.value, "se": form.se, "gaussian": gauss.value[0][:, 0] / n_beads,
         "debye": debye(q, rg2)},
        {"q": f"1/{length}"},
        f"sums over beads rebuilt from {how}; beside it the Gaussian form of the same modes, and Debye's function of "
        "the same <Rg²>",
    )  # fmt: skip
    return q


def static_scattering(trajectory: Trajectory, sums: ChainSums, q: Float64) -> Replicas:
    """Return S(q,0) summed over beads rebuilt from the modes in some frames, modes that are not streamed drawn."""
    generator = np.random.default_rng(1)
    every = max(trajectory.n_mode_frames // STATIC_FRAMES, 1)
    by_group, weights = [], []
    for group in trajectory.groups():
        modes = group.modes[::every]
        beads = sums.beads(np.zeros((*modes.shape[:2], 3)), modes, generator)
        one = np.arange(len(modes), dtype=np.int64)
        by_group.append(scattering_of_beads(beads, one, q.tolist(), [0])[0][..., 0].mean(axis=0))
        weights.append(modes.shape[1])
    return Replicas.of_groups(np.array(by_group), weights)


@dataclass(frozen=True)
class Stress:
    """Relaxation of stress by its two routes, in ``Scales`` units.

    Attributes:
        times: (lag,) of ``modes``.
        modes: G(t).
        green_kubo: the other route; None without.
        joined: both; None where they agree nowhere.
        moduli: of the best there is.
    """

    times: Float64
    modes: Replicas
    green_kubo: StressRelaxation | None
    joined: JoinedRelaxation | None
    moduli: Moduli | None


def add_stress(
    found: Properties, sums: ChainSums, scales: Scales, record: StressRecord | None, missing: str, time: str
) -> Stress:
    """Add G(t), viscosity and moduli.

    Args:
        found: takes them.
        sums: of the chains.
        scales: of the melt.
        record: of its stress; None without.
        missing: why there is none.
        time: unit.
    """
    relaxation, density = sums.relaxation, scales.energy_density * sums.moments.n_chains
    G = relaxation.sum.map(lambda value: density * value)
    viscosity = relaxation.integral.map(lambda value: density * value * scales.time)
    errors = f"jackknife over {len(sums.groups)} groups of chains"
    how = f"G = (n kT/V) Σ C_p², {sums.n_streamed} streamed modes, {relaxation.continued} continued as 1/λ_p; {errors}"
    relaxed = relaxation.beyond <= MOST_BEYOND
    if relaxed:
        found.put("viscosity_modes", viscosity, scales.viscosity_unit, f"∫ {how}; no stress between pairs is in it")
    else:
        found.reasons["viscosity_modes"] = (
            f"modes have not relaxed within the record: {relaxation.beyond:.0%} of a mode's integral lies beyond it"
        )
    kept = kept_lags(relaxation, sums.dt)
    times, G = relaxation.times[kept], G.map(lambda value: value[kept])
    unit = {"t": time, "value": scales.modulus_unit, "se": scales.modulus_unit}
    found.tables["G_modes"] = Table({"t": times, "value": G.value, "se": G.se}, unit, how)
    until = RELAXED_TIMES * float(relaxation.slowest.value) if relaxed else np.inf
    green_kubo, why = _green_kubo(record, missing, scales, until)
    joined = None
    if why:
        found.reasons["viscosity_green_kubo"] = why
    if green_kubo is None:
        found.reasons["G_green_kubo"] = why
    else:
        of = f"Green-Kubo, five components, {len(green_kubo.G.left_out)} blocks of time"
        found.tables["G_green_kubo"] = Table(
            {"t": green_kubo.times, "value": green_kubo.G.value, "se": green_kubo.G.se}, unit, of
        )
        if not why:
            assert record is not None
            span = record.every * record.timestep * record.correlator.n_samples
            end = min(until, float(green_kubo.times[-1]))
            own = green_kubo.sure_viscosity(end, span, float(viscosity.value) / scales.time)
            found.put("viscosity_green_kubo", own.map(lambda v: v * scales.time),
                  scales.viscosity_unit, f"{of}, ∫ G dt up to {end:.4g} {time}, "
                      f"{end / float(relaxation.slowest.value):.1f} τ_1 of mode 1")  # fmt: skip
        joined = join_relaxations(green_kubo, times, G, relaxation, density) if relaxed else None
        if joined is not None:
            found.put("viscosity_joined", joined.viscosity.map(lambda v: v * scales.time), scales.viscosity_unit,
                      f"Green-Kubo up to {joined.at:.4g} {time}, from where on modes agree with it (ratio "
                      f"{joined.ratio:.3f} ± {joined.ratio_se:.2g}, in the error), modes beyond")  # fmt: skip
        else:
            found.reasons["viscosity_joined"] = (
                "the two routes to G(t) agree nowhere within two errors of at most 10%" if relaxed
                else "modes have not relaxed within the record"
            )  # fmt: skip
    _choose_viscosity(found)
    best_times, best, source = (times, G, ["modes"] * len(times))
    if joined is not None:
        best_times, best, source = joined.times, joined.G, joined.source
    elif green_kubo is not None and not why:
        last = int(np.searchsorted(green_kubo.times, until, side="right"))
        best_times, best = green_kubo.times[:last], green_kubo.G.map(lambda value: value[:last])
        source = ["Green-Kubo"] * last
    found.tables["G"] = Table(
        {"t": best_times, "value": best.value, "se": best.se, "source": list(source)}, unit,
        found.numbers["viscosity"].method if "viscosity" in found.numbers else how,
    )  # fmt: skip
    moduli = None
    if relaxed and len(best_times) > 4:
        shortest = max(float(best_times[best_times > 0][0]) / 2, float(best_times[-1]) * 1e-9)
        moduli = moduli_of(best_times, best, shortest, until)
        found.tables["moduli"] = Table(
            {"omega": moduli.frequencies, "G_storage": moduli.storage.value, "G_storage_se": moduli.storage.se,
             "G_loss": moduli.loss.value, "G_loss_se": moduli.loss.se},
            {"omega": f"1/{time}", "G_storage": scales.modulus_unit, "G_loss": scales.modulus_unit},
            f"non-negative sum of {np.count_nonzero(moduli.strengths)} exponentials fitted to G",
        )  # fmt: skip
    else:
        found.reasons["moduli"] = "G has not relaxed within the record"
    return Stress(times, G, green_kubo, joined, moduli)


def kept_lags(relaxation: Relaxation, dt: float) -> Int64:
    """Return the lags of G that are shown: 0 and logarithmic ones, up to where modes have relaxed."""
    n = len(relaxation.times)
    slowest = float(relaxation.slowest.value)
    reach = n - 1 if not np.isfinite(slowest) else min(n - 1, max(int(RELAXED_TIMES * slowest / dt), 4))
    return np.array([0, *logarithmic_lags(reach, LAGS_PER_OCTAVE)], dtype=np.int64)


def _green_kubo(
    record: StressRecord | None, missing: str, scales: Scales, until: float
) -> tuple[StressRelaxation | None, str]:
    """Return G(t) from stress, and why there is no integral of it where there is none.

    Errors need four blocks of time that are each as long as half of what G takes to decay. Where the record has no such
    four, G ends at the length of the blocks that it has.
    """
    if record is None:
        return None, missing
    correlation = record.correlator.correlation()
    if correlation is None:
        return None, "the record of stress is too short"
    spacing = record.every * record.timestep
    factor = scales.pressure**2 / scales.energy_density
    block, total = spacing * record.correlator.block_samples, spacing * record.correlator.n_samples
    if np.isfinite(until):
        found = stress_relaxation(correlation, spacing, factor, until / 2, block)
        if found is not None:
            return found, ""
    found = stress_relaxation(correlation, spacing, factor, total / SHORT_BLOCKS, block)
    if found is None:
        return None, "the record of stress is too short"
    short = found.times <= total / SHORT_BLOCKS
    found = StressRelaxation(found.times[short], found.G.map(lambda G: G[short]))
    why = f"the record of stress spans {total:.4g}: four blocks of {until / 2:.4g} are needed for the integral"
    return found, why if np.isfinite(until) else "modes have not relaxed within the record"


def _choose_viscosity(found: Properties) -> None:
    """Let "viscosity" be the best there is."""
    for name in ("viscosity_joined", "viscosity_green_kubo", "viscosity_modes"):
        if name in found.numbers:
            found.numbers["viscosity"], found.units["viscosity"] = found.numbers[name], found.units[name]
            return
    found.reasons["viscosity"] = found.reasons.get("viscosity_modes", "G has not relaxed within the record")
