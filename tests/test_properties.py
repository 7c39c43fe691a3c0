"""Viscosity, G(t), scattering and motion of Rouse chains, whose answers are exact."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_compare import make_run

from mlgle_lammps.chains.mode_basis import linear_basis
from mlgle_lammps.chains.modes import mode_matrix
from mlgle_lammps.chains.rouse import RouseSource, rouse_mode_variance, rouse_relaxation_time
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.box_size import box_term, infinite_diffusion
from mlgle_lammps.evaluate.joined_relaxation import join_relaxations
from mlgle_lammps.evaluate.properties import Properties, add_scattering, add_sizes_and_motion, add_stress, gather
from mlgle_lammps.evaluate.run_properties import properties_of
from mlgle_lammps.evaluate.scales import scales_of
from mlgle_lammps.evaluate.trajectories import read_trajectory
from mlgle_lammps.observe.green_kubo import NORMAL, SHEAR, StressRelaxation, stress_relaxation
from mlgle_lammps.observe.mode_relaxation import ModeCorrelations, relaxation_of_modes
from mlgle_lammps.observe.moduli import moduli_of
from mlgle_lammps.observe.scattering import debye, scattering_of_beads, scattering_of_modes
from mlgle_lammps.options.properties import PropertiesOptions
from mlgle_lammps.properties import main
from mlgle_lammps.records import Estimate, Frames, System, joined
from mlgle_lammps.statistics.multi_tau import MultipleTau
from mlgle_lammps.statistics.replicas import Replicas, combined
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.store.writer import FramesWriter

N, CHAINS, DT, VOLUME = 12, 40, 0.25, 400.0


def rouse_file(path, n_modes=N - 1, n_frames=1500, seed=5):
    frames = joined(list(RouseSource(CHAINS, N, n_modes, n_frames, DT, seed)))
    np.savez(path, com=frames.com, modes=frames.modes, dt=DT, n_beads=N, time_unit="tau", length_unit="sigma")
    return path


@pytest.fixture(scope="module")
def rouse(tmp_path_factory):
    path = rouse_file(tmp_path_factory.mktemp("rouse") / "r.npz", n_modes=6)
    trajectory = read_trajectory(path)
    sums, found = gather(trajectory), Properties()
    share = np.full(len(sums.lags), CHAINS / (CHAINS - 1))
    add_sizes_and_motion(found, sums, "sigma", "tau", share)
    add_scattering(found, trajectory, sums, None, "sigma", "tau", share)
    stress = add_stress(found, sums, scales_of(trajectory.system, 1.0, VOLUME), None, "not asked for", "tau")
    return path, sums, found, stress


def exact_times(friction=1.0):
    return rouse_relaxation_time(np.arange(1, N), N, friction=friction)


def test_modes_give_the_exact_relaxation_and_a_wrong_friction_does_not(rouse):
    G = rouse[2].tables["G_modes"].columns
    chosen = slice(1, 21)

    def z(friction):
        exact = CHAINS / VOLUME * np.exp(-2 * G["t"][:, None] / exact_times(friction)).sum(axis=1)
        return ((G["value"] - exact) / np.maximum(G["se"], 1e-12))[chosen]

    assert len(z(1.0)) == 20
    assert np.abs(z(1.0)).max() < 3
    assert np.abs(z(1.1)).max() > 3
    assert np.abs(z(0.9)).max() > 3


def test_viscosity_and_sizes_lie_within_their_errors(rouse):
    numbers = rouse[2].numbers
    eta = CHAINS / VOLUME * exact_times().sum() / 2
    assert abs(numbers["viscosity"].value - eta) < 3 * numbers["viscosity"].se
    assert abs(numbers["viscosity"].value - 1.1 * eta) > 3 * numbers["viscosity"].se
    assert abs(numbers["rg2"].value - (N**2 - 1) / (6 * N)) < 3 * numbers["rg2"].se + 0.01
    assert abs(numbers["ree2"].value - (N - 1)) < 3 * numbers["ree2"].se + 0.05
    assert abs(numbers["relaxation_time"].value - exact_times()[0]) < 3 * numbers["relaxation_time"].se


def test_motion_is_that_of_rouse_chains(rouse):
    found, basis = rouse[2], linear_basis(N)
    variances, inner = rouse_mode_variance(np.arange(1, N), N), slice(3, 8)
    t = found.tables["g2"].columns["t"]
    u = (basis.vectors[:, inner] ** 2).mean(axis=1)
    g2 = 12 * N * (1 - np.exp(-t[:, None] / exact_times())) @ (variances * u)
    g3 = 6 * t / N
    for name, exact in (("g1", g2 + g3), ("g2", g2), ("g3", g3)):
        own = found.tables[name].columns
        close = np.abs(own["value"] - exact)[1:15] < 4 * own["se"][1:15] + 0.01 * exact[1:15]
        assert close.all(), name
    ends = found.tables["end_to_end_correlation"].columns
    weights = (variances * (basis.vectors[:, -1] - basis.vectors[:, 0]) ** 2)[:6]
    exact = np.exp(-t[:, None] / exact_times()[:6]) @ weights / weights.sum()
    assert np.abs(ends["value"] - exact)[:15].max() < 0.05
    radius = found.tables["rg2_correlation"].columns["value"]
    exact = np.exp(-2 * t[:, None] / exact_times()) @ variances**2 / (variances**2).sum()
    assert np.abs(radius - exact)[:10].max() < 0.1


def test_scattering_of_modes_is_that_of_beads():
    frames = joined(list(RouseSource(60, N, N - 1, 200, DT, 7)))
    beads = np.einsum("tcmx,mn->tcnx", frames.modes, np.linalg.pinv(mode_matrix(N, N - 1)).T[1:])
    beads = frames.com[:, :, None] + beads
    q, lags = np.array([0.3, 0.8, 1.5]), [0, 2, 8, 20]
    coherent, incoherent = scattering_of_beads(beads, frames.segments, q.tolist(), lags)
    t = np.array(lags) * DT
    exact = scattering_of_modes(
        q, rouse_mode_variance(np.arange(1, N), N), np.exp(-t[:, None] / exact_times()), 6 * t / N, linear_basis(N)
    )
    for found, expected in zip((coherent, incoherent), exact, strict=True):
        error = found.std(axis=0, ddof=1) / np.sqrt(60)
        assert np.all(np.abs(found.mean(axis=0) - expected) < 4 * error + 1e-3)


def test_form_factor_and_scattering_are_those_of_gaussian_chains(rouse):
    P = rouse[2].tables["P_q"].columns
    assert np.all(np.abs(P["value"] - P["gaussian"]) < 4 * P["se"] + 0.01)
    S = rouse[2].tables["S_qt"].columns
    t, q = S["t"], S["q"]
    exact = np.concatenate([
        scattering_of_modes(np.array([one]), rouse_mode_variance(np.arange(1, N), N),
                            np.exp(-t[q == one, None] / exact_times()), 6 * t[q == one] / N, linear_basis(N))[0][0]
        for one in np.unique(q)
    ])  # fmt: skip
    assert np.mean(np.abs(S["value"] - exact) < 3 * S["se"] + 0.02 * exact) > 0.95


def test_the_static_limit_is_debye_for_long_chains():
    n = 400
    basis = linear_basis(n)
    variances = rouse_mode_variance(np.arange(1, n), n)
    q = np.array([0.02, 0.1, 0.2])
    coherent, incoherent = scattering_of_modes(q, variances, np.ones((1, n - 1)), np.zeros(1), basis)
    assert np.allclose(coherent[:, 0] / n, debye(q, n / 6), rtol=0.01)
    assert np.allclose(incoherent, 1.0)


def test_modes_basis_is_the_transform_of_the_stream():
    basis = linear_basis(N)
    assert np.allclose(basis.vectors @ basis.vectors.T, np.eye(N - 1))
    assert np.allclose(basis.vectors / np.sqrt(2 * N), mode_matrix(N, N - 1)[1:])
    laplacian = 2 * np.eye(N) - np.eye(N, k=1) - np.eye(N, k=-1)
    laplacian[0, 0] = laplacian[-1, -1] = 1
    assert np.allclose(laplacian @ basis.vectors.T, basis.vectors.T * basis.eigenvalues)


def test_green_kubo_finds_the_viscosity_of_maxwell_s_liquid_and_joins_nothing_to_it():
    a, n, V, kT = 0.95, 60_000, 50.0, 1.5
    generator = np.random.default_rng(11)
    scale = np.sqrt(2.0 * kT / V) * np.sqrt(np.array([1, 1, 1, 4, 4, 4]) * 0.5)
    noise = generator.standard_normal((n, 6)) * np.sqrt(1 - a**2)
    x = np.zeros((n, 6))
    for i in range(1, n):
        x[i] = a * x[i - 1] + noise[i]
    correlator = MultipleTau(6)
    correlator.add(x * scale)
    tau = -1 / np.log(a)
    correlation = correlator.correlation()
    assert correlation is not None
    found = stress_relaxation(correlation, 1.0, V / kT, 7 * tau, float(correlator.block_samples))
    assert found is not None
    G0 = V / kT * (SHEAR * scale[:3] ** 2).sum() + V / kT * (NORMAL * scale[3:] ** 2).sum()
    eta = found.viscosity(7 * tau)
    assert abs(float(eta.value) - G0 * tau) < 4 * float(eta.se)
    assert abs(float(eta.value) - 1.3 * G0 * tau) > 4 * float(eta.se)
    assert stress_relaxation(correlation, 1.0, V / kT, 30_000.0, 1024.0) is None


@pytest.mark.parametrize(
    ("n_beads", "k", "spacing"), [(50, 12, 0.02), (100, 12, 0.02), (25, 12, 0.003), (20, 19, 0.05)]
)
def test_two_exact_routes_join_to_the_exact_viscosity(n_beads, k, spacing):
    """Modes that relax within a frame are all in Green-Kubo's part, and nothing of them is taken off the modes'."""
    tau = rouse_relaxation_time(np.arange(1, n_beads), n_beads)
    dt = spacing * tau[0]
    correlation = np.exp(-dt * np.arange(1200)[:, None] / tau[:k])
    noise = 1 + 1e-3 * np.random.default_rng(1).standard_normal((8, 1, k))
    modes = ModeCorrelations(correlation * noise, np.full(8, 5), dt)
    relaxation = relaxation_of_modes(modes, linear_basis(n_beads))
    fine = np.concatenate([[0.0], np.geomspace(1e-4 * tau[-1], 4 * tau[0], 4000)])
    exact = np.exp(-2 * fine[:, None] / tau).sum(axis=1)
    stress = StressRelaxation(fine, Replicas(exact, exact * (1 + 0.02 * np.array([[-1.0], [0.0], [1.0]]))))
    kept = np.arange(1, 200)
    G = relaxation.sum.map(lambda own: own[kept])
    both = join_relaxations(stress, relaxation.times[kept], G, relaxation, 1.0)
    assert both is not None
    assert float(both.viscosity.value) == pytest.approx(tau.sum() / 2, rel=0.01)
    assert float(relaxation.remaining.value[0]) == pytest.approx(float(relaxation.integral.value), rel=1e-9)
    t = relaxation.times[[3, 30, 300]]
    rest = (tau / 2 * np.exp(-2 * t[:, None] / tau)).sum(axis=1)
    np.testing.assert_allclose(relaxation.remaining.value[[3, 30, 300]], rest, rtol=0.02, atol=1e-3 * tau.sum())


def test_moduli_of_one_exponential_cross_at_its_rate():
    t = np.geomspace(0.01, 50, 80)
    G = Replicas(3 * np.exp(-t / 2), np.array([3 * np.exp(-t / 2) + 1e-3 * i for i in (-1, 0, 1)]))
    found = moduli_of(t, G, 0.02, 60.0)
    w = found.frequencies
    inside = (w > 0.02) & (w < 20)
    storage = (3 * (2 * w) ** 2 / (1 + (2 * w) ** 2))[inside]
    assert np.allclose(found.storage.value[inside], storage, rtol=0.03, atol=0.01)
    assert np.allclose(found.loss.value[inside], (3 * 2 * w / (1 + (2 * w) ** 2))[inside], rtol=0.03, atol=0.01)


def test_errors_of_independent_estimates_add_in_squares():
    generator = np.random.default_rng(2)

    def mean(n, effect):
        x = generator.standard_normal(n)
        return Replicas(np.asarray(x.mean()), (x.sum() - x) / (n - 1), effect)

    one, other = mean(20, 1.7), mean(9, 1.0)
    both = combined(lambda a, b: float(a + b), one, other)
    assert float(both.se) == pytest.approx(float(np.hypot(one.se, other.se)))
    assert float(both.value) == pytest.approx(float(one.value + other.value))


def test_the_command_leaves_page_numbers_and_tables(tmp_path, caplog):
    path = rouse_file(tmp_path / "melt.npz", n_frames=400)
    out = tmp_path / "out"
    assert main([str(path), "--out", str(out), "--temperature", "1", "--volume", str(VOLUME)]) == 0
    told = json.loads((out / "properties.json").read_text())
    assert set(told["viscosity"]) >= {"value", "se", "ci95", "units", "method"}
    assert told["viscosity"]["value"] > 0
    assert told["viscosity_green_kubo"]["value"] is None
    assert "--stress" in told["viscosity_green_kubo"]["reason"]
    assert told["D_infinite"]["value"] == told["D"]["value"]
    assert len(told["S_qt"]["q"]) == len(told["S_qt"]["se"]) > 10
    assert len(told["G"]["t"]) == len(told["G"]["value"]) == len(told["G"]["se"])
    assert (out / "properties.html").stat().st_size > 10_000
    lines = (out / "properties" / "G.gt").read_text().splitlines()
    assert lines[0].endswith(";")
    assert lines[1].split() == ["t", "Gt"]
    assert (out / "properties" / "moduli.tts").is_file()
    assert (out / "properties" / "S_qt.csv").read_text().startswith("q,t,value,se,")


def test_D_of_the_infinite_system_carries_the_errors_of_D_of_the_viscosity_and_of_the_law():
    D, eta = Estimate(0.003, 1e-4, (0.0028, 0.0032), "fit"), Estimate(12.0, 0.6, (11, 13), "modes, jackknife")
    found = infinite_diffusion(D, 0.0018, eta)
    assert found.value == pytest.approx(0.0048)
    assert found.se == pytest.approx(np.sqrt(1e-8 + 0.0018**2 * (0.05**2 + 0.2**2)))
    assert found.ci95[1] - found.value == pytest.approx(np.sqrt(4e-8 + (1.96 * 0.0018) ** 2 * (0.05**2 + 0.2**2)))
    assert "η = 12 ± 0.6;" in found.method


def test_the_term_of_the_box_has_its_limits():
    scales = scales_of(System(20, 20, 0, 1.0, units="lj"), 1.0, 8.0**3)
    free = box_term(scales, 12.0)
    assert free == pytest.approx(2.837297 / (6 * np.pi * 12 * 8))
    of_centre = {kL: 8.0**2 / (12.0 * 8.0**3 * kL**2) for kL in (0.31, 1.0, 3.0, 20.0)}  # κ² = kT/(ηV D_c)
    terms = {kL: box_term(scales, 12.0, D) for kL, D in of_centre.items()}
    assert terms[0.31] == pytest.approx(free * (1 - 0.31 / 2.837297), rel=0.01)
    assert box_term(scales, 12.0, of_centre[0.31] * (0.31 / 0.29) ** 2) == pytest.approx(terms[0.31], rel=0.02)
    assert free > terms[1.0] > terms[3.0] > terms[20.0]
    assert terms[20.0] == pytest.approx(2 * of_centre[20.0] / 3, rel=1e-3)


def test_the_box_takes_from_D_where_momentum_is_conserved_and_the_term_is_known(tmp_path):
    """The stream's centre is held, as momentum would hold it."""
    told, frames = {}, joined(list(RouseSource(CHAINS, N, N - 1, 400, DT, 5)))
    held = Frames.of_chains(frames.steps, frames.segments, frames.com - frames.com.mean(1, keepdims=True), frames.modes)
    for name, edges in (("cube", (12.0,) * 3), ("small", (4.0,) * 3), ("flat", (20.0, 12.0, 7.2))):
        system = System(CHAINS, N, N - 1, DT, 1, "lj", "tau", "sigma", box=(*edges, 0.0, 0.0, 0.0))
        with FramesWriter(tmp_path / f"{name}.h5", system) as writer:
            writer.append(held)
        told[name] = properties_of(PropertiesOptions(tmp_path / f"{name}.h5", temperature=1.0)).found
    D = told["cube"].numbers["D"]
    assert told["cube"].numbers["D_infinite"].value > D.value
    for name, said in (("small", "Rg/L"), ("flat", "in a cube, which this box is not")):
        assert "D_infinite" not in told[name].numbers
        assert said in told[name].reasons["D_infinite"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--temperature", "-1"], "--temperature is -1"),
        (["--q", "0"], "--q must be above 0"),
        (["--volume", "nan"], "--volume is nan"),
        (["--temperature", "1e300"], "--temperature is 1e+300"),
        (["--q", "0.1", "1e300"], "and 1e+300 is not"),
        (["--volume", "1e-300"], "--volume is 1e-300"),
    ],
)
def test_bad_numbers_get_one_line(tmp_path, capsys, words, complaint):
    assert main([str(tmp_path / "x.npz"), *words]) == 2
    assert complaint in capsys.readouterr().err


def test_what_differs_from_the_recording_is_refused(tmp_path):
    path = rouse_file(tmp_path / "melt.npz", n_frames=50)
    with pytest.raises(UserError, match=f"`beads` {N + 1}: the chains of .* have {N}"):
        properties_of(PropertiesOptions(path, beads=N + 1))
    system = replace(read_trajectory(path).system, box=(10.0, 10.0, 4.0, 0.0, 0.0, 0.0))
    with FramesWriter(tmp_path / "boxed.h5", system) as writer:
        writer.append(joined(list(RouseSource(CHAINS, N, N - 1, 50, DT, 5))))
    with pytest.raises(UserError, match=r"`volume` 500: the box that .* recorded has 400"):
        properties_of(PropertiesOptions(tmp_path / "boxed.h5", volume=500.0))
    told = properties_of(PropertiesOptions(tmp_path / "boxed.h5", volume=400.1, beads=N, temperature=1.0))
    assert told.scales is not None


def test_without_a_temperature_there_is_no_viscosity_and_the_reason_says_why(tmp_path):
    path = rouse_file(tmp_path / "melt.npz", n_frames=200)
    assert main([str(path), "--out", str(tmp_path)]) == 0
    told = json.loads((tmp_path / "properties.json").read_text())
    assert told["viscosity"]["value"] is None
    assert "--temperature" in told["viscosity"]["reason"]
    assert told["rg2"]["value"] > 0


def test_stress_relaxation_needs_no_more_than_its_blocks():
    times = np.arange(10.0)
    flat = StressRelaxation(times, Replicas(np.ones(10), np.ones((4, 10))))
    assert float(flat.viscosity(5.0).value) == 5.0


def test_generated_molecules_move_as_independent_ones_and_have_no_viscosity(tmp_path):
    folder = RunFolder.create(tmp_path / "run").path
    frames = joined(list(RouseSource(CHAINS, N, 6, 600, DT, 5)))
    system = System(CHAINS, N, 6, DT, 1, "lj", "tau", "sigma", box=(7.4,) * 3 + (0.0,) * 3)
    with FramesWriter(folder / "modes.h5", system) as writer:
        writer.append(frames)
    few = joined(list(RouseSource(8, N, 6, 2400, 2 * DT, 9)))
    with FramesWriter(
        folder / "generated.h5", replace(system, n_chains=8, dt=2 * DT), np.float32, {"integrator_dt": DT}
    ) as writer:
        writer.append(few)
    found = properties_of(PropertiesOptions(folder, temperature=1.0, sum_beads=True)).found
    tables = {
        name: {key: np.asarray(values, float) for key, values in found.tables[name].columns.items()}
        for name in ("g1", "g2", "g1_generated", "g2_generated", "g3_generated")
    }
    own = tables["g3_generated"]
    at = int(np.searchsorted(own["t"], 6.0))
    exact = 6 * own["t"][at] / N
    assert abs(own["value"][at] - exact) < 4 * own["se"][at] + 0.05 * exact
    for name in ("g1", "g2"):
        md, made = tables[name], tables[f"{name}_generated"]
        expected = np.interp(made["t"][2:6], md["t"], md["value"])
        assert np.all(np.abs(made["value"][2:6] / expected - 1) < 0.1)
    assert "viscosity" in found.numbers
    alone = properties_of(PropertiesOptions(folder / "generated.h5", temperature=1.0)).found
    assert "viscosity" not in alone.numbers
    assert "share no box" in alone.reasons["viscosity"]


def test_a_run_in_a_film_has_no_properties_of_a_melt(tmp_path):
    """What the motion found, or --directions said, stands in result.json and not in the stream."""
    run = make_run(tmp_path / "run", generated=False)
    assert properties_of(PropertiesOptions(run)).found.numbers["D"].value > 0
    path = run / "result.json"
    result = json.loads(path.read_text()) | {"directions": {"free": "xy", "closed": {"z": "walls"}, "given": False}}
    path.write_text(json.dumps(result))
    with pytest.raises(UserError, match="free in x, y and z"):
        properties_of(PropertiesOptions(run))
