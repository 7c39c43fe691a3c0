"""Stress that LAMMPS correlates for the service: exact for Rouse chains, and without a trace in the trajectory."""

import signal
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_run_mpi import FRAMES, SMALL, read_stream, run, start, wait_for

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.fixes import moves_without_momenta
from mlgle_lammps.acquire.stress import StressWatch
from mlgle_lammps.chains.rouse import rouse_relaxation_time
from mlgle_lammps.errors import UserError
from mlgle_lammps.observe.green_kubo import stress_relaxation
from mlgle_lammps.statistics.multi_tau import MultipleTau
from mlgle_lammps.store.journal import chunk_paths
from mlgle_lammps.store.stress_file import read_stress

pytestmark = pytest.mark.lammps

N, CHAINS, EDGE, STEP, EVERY = 4, 40, 10.0, 0.004, 2
ROUSE = """
units lj
atom_style bond
atom_modify sort 0 0.0
read_data {data}
timestep {step}
pair_style none
neighbor 2.0 bin
comm_modify cutoff 9.0
bond_style harmonic
bond_coeff 1 1.5 0.0
fix move all brownian 1.0 77 gamma_t 1.0 rng gaussian
"""


def write_rouse(path):
    """Write chains whose bonds are drawn from their equilibrium, b = 1."""
    generator = np.random.default_rng(4)
    bonds = generator.standard_normal((CHAINS, N - 1, 3)) / np.sqrt(3)
    start_at = generator.uniform(0, EDGE, (CHAINS, 1, 3))
    beads = np.concatenate([start_at, start_at + np.cumsum(bonds, axis=1)], axis=1).reshape(-1, 3)
    image = np.floor(beads / EDGE).astype(int)
    inside = beads - image * EDGE
    lines = ["ideal chains", "", f"{len(beads)} atoms", f"{CHAINS * (N - 1)} bonds", "1 atom types", "1 bond types", ""]
    lines += [f"0 {EDGE} {a}lo {a}hi" for a in "xyz"] + ["", "Masses", "", "1 1", "", "Atoms # bond", ""]
    lines += [f"{i + 1} {i // N + 1} 1 {x} {y} {z} {a} {b} {c}"
              for i, ((x, y, z), (a, b, c)) in enumerate(zip(inside, image, strict=True))]  # fmt: skip
    lines += ["", "Bonds", ""]
    pairs = [(i + 1, i + 2) for i in range(len(beads)) if i % N < N - 1]
    lines += [f"{k + 1} 1 {a} {b}" for k, (a, b) in enumerate(pairs)]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def rouse(tmp_path_factory):
    data = tmp_path_factory.mktemp("rouse") / "data"
    write_rouse(data)
    lmp = mpi.open_lammps(["-screen", "none", "-log", "none"], mpi.start().md_comm)
    lmp.commands_string(ROUSE.format(data=data, step=STEP))
    watch = StressWatch(lmp, EVERY, False, None, True)
    watch.install()
    for _ in range(4):
        lmp.command("run 25000")
        watch.finish()
    yield watch.record
    lmp.close()


def test_stress_of_rouse_chains_relaxes_as_it_must_and_a_wrong_friction_is_seen(rouse):
    spacing, kT = EVERY * STEP, 1.0
    assert rouse.correlator.n_samples == 100_000 // EVERY
    assert rouse.gaps == 0
    assert rouse.volume == pytest.approx(EDGE**3)
    slowest = float(rouse_relaxation_time(1, N))
    block = spacing * rouse.correlator.block_samples
    correlation = rouse.correlator.correlation()
    found = stress_relaxation(correlation, spacing, EDGE**3 / kT, 3 * slowest, block)
    assert found is not None
    chosen = np.unique(np.searchsorted(found.times, np.geomspace(3 * spacing, slowest, 20)))
    assert len(chosen) > 14

    def z(friction):
        times = rouse_relaxation_time(np.arange(1, N), N, friction=friction)
        exact = CHAINS * kT / EDGE**3 * np.exp(-2 * found.times[chosen, None] / times).sum(axis=1)
        return (found.G.value[chosen] - exact) / found.G.se[chosen]

    assert np.abs(z(1.0)).max() < 3.5
    assert np.abs(z(1.35)).max() > 4
    eta = found.viscosity(3 * slowest)
    exact = CHAINS * kT / EDGE**3 * rouse_relaxation_time(np.arange(1, N), N).sum() / 2
    assert abs(float(eta.value) - exact) < 4 * float(eta.se)


def test_the_error_of_a_viscosity_is_not_below_that_of_noise():
    """Noise without memory: η = 1/2 for each component; what scatters over records is what is stated."""
    rng, span, until = np.random.default_rng(5), 8192.0, 256.0
    found = []
    for _ in range(40):
        correlator = MultipleTau(6)
        shear, along = rng.standard_normal((2, int(span), 3))
        correlator.add(np.hstack([shear, 2**0.5 * (along - np.roll(along, 1, axis=1))]))
        correlation = correlator.correlation()
        assert correlation is not None
        relaxation = stress_relaxation(correlation, 1.0, 1.0, until, float(correlator.block_samples))
        assert relaxation is not None
        found.append((relaxation, relaxation.sure_viscosity(until, span, 0.0)))
    values, errors = (np.array([float(getattr(own, name)) for _, own in found]) for name in ("value", "se"))
    scatter = values.std(ddof=1)
    assert abs(values.mean() - 0.5) < 4 * scatter / 40**0.5
    assert 0.7 < errors.mean() / scatter < 1.6
    noise = 2 * (until / (5 * span)) ** 0.5
    assert np.all(errors >= 0.999 * noise * values)
    sure = found[-1][0].sure_viscosity(until, span, 3.0)
    assert float(sure.se) == pytest.approx(3 * noise)
    assert float(sure.value) == values[-1]


def test_a_record_is_read_back_and_a_damaged_one_refused(rouse, tmp_path):
    path = tmp_path / "stress.npz"
    rouse.write(path)
    again = read_stress(path)
    assert (again.every, again.kinetic, again.last_step) == (EVERY, False, 100_000)
    one, other = rouse.correlator.correlation(), again.correlator.correlation()
    assert one is not None
    assert other is not None
    assert one.sums.tobytes() == other.sums.tobytes()
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"stress\.npz"):
        read_stress(path)


def test_a_damaged_record_is_noted_where_a_run_goes_on(rouse, tmp_path):
    """Only the first MD rank reads it: raised there, it would leave the others waiting."""
    lmp = mpi.open_lammps(["-screen", "none", "-log", "none"], mpi.start().md_comm)
    lmp.commands_string("region r block 0 1 0 1 0 1\ncreate_box 1 r")
    watch = StressWatch(lmp, EVERY, False, tmp_path, True)
    rouse.write(tmp_path / "stress-7.npz")
    (tmp_path / "stress-7.npz").write_bytes((tmp_path / "stress-7.npz").read_bytes()[:-200])
    watch.go_on(7)
    lmp.close()
    assert watch.record.last_step == -1
    assert len(watch.notes) == 1
    assert "stress-7.npz" in watch.notes[0]
    assert watch.notes[0].endswith("starts afresh")


def test_brownian_dynamics_have_no_momentum_flux():
    assert moves_without_momenta({"a": "brownian/sphere", "b": "nve"})
    assert moves_without_momenta({"a": "brownian"})
    assert not moves_without_momenta({"a": "langevin", "b": "nve/omp"})


@pytest.mark.mpi
@pytest.mark.parametrize("n_ranks", [1, 3])
def test_stress_leaves_no_trace_in_the_trajectory(tmp_path, n_ranks):
    plain, watched = tmp_path / "plain", tmp_path / "watched"
    assert run(n_ranks, SMALL, *FRAMES, "--out", plain)[0] == 0
    assert run(n_ranks, SMALL, *FRAMES, "--stress", "1", "--out", watched)[0] == 0
    one, other = read_stream(plain), read_stream(watched)
    for name in ("step", "com", "modes"):
        assert one[name].tobytes() == other[name].tobytes(), name
    record = read_stress(watched / "stress.npz")
    assert record.correlator.n_samples == 400
    assert (record.last_step, record.gaps, record.kinetic) == (450, 0, True)
    assert not (plain / "stress.npz").exists()


@pytest.mark.mpi
def test_stress_goes_on_with_the_run(tmp_path):
    out = tmp_path / "out"
    options = ("--every", "10", "--memory", "4", "--modes", "5", "--checkpoint-every", "20", "--val-frames", "200",
               "--train-frames", "3000", "--stress", "2")  # fmt: skip
    process = start(1, SMALL, *options, "--out", out)
    wait_for(lambda: len(chunk_paths(out / "checkpoint")) >= 2 or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    before = read_stress(out / "stress.npz")
    assert before.correlator.n_samples > 100
    frames = len(read_stream(out)["step"]) if (out / "modes.h5").exists() else 0
    assert run(1, "--resume", out, "--train-frames", str(max(frames, 200) + 200))[0] == 0
    after = read_stress(out / "stress.npz")
    assert after.gaps == 0
    assert after.correlator.n_samples == (after.last_step - 50) // 2
    assert after.last_step > before.last_step + 1000
    code, error = run(1, "--resume", out, "--stress", "1")
    assert (code, "--stress cannot be changed" in error or "holds no checkpoint" in error) == (2, True)


def test_a_negative_stride_is_refused(tmp_path):
    from mlgle_lammps.commands.parsers import parse_run

    with pytest.raises(UserError, match="`stress` is -1"):
        parse_run([str(SMALL), "--stress", "-1"])
