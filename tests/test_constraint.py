"""Centres held in LAMMPS: forces, kernels and stillness of a toy whose answer is exact, at 1, 2 and 3 ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "decks"))
import hold_centres as toy

from mlgle_lammps.store.constrained_file import ConstrainedRun, read_constrained

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]
BIN = Path(sys.executable).parent
N_COPIES = toy.COPIES**3


@pytest.fixture(scope="module", params=[1, 2, 3])
def held(request, tmp_path_factory):
    """The toy's arrays, and its two constrained runs, at so many ranks."""
    folder = tmp_path_factory.mktemp("held")
    package = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [str(BIN / "mpirun"), "-n", str(request.param), sys.executable, toy.__file__, str(folder)],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": package},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with np.load(folder / "toy.npz") as arrays:
        return dict(arrays), read_constrained(folder / "toy.h5").runs


def verlet(positions, velocities, n_steps, every):
    """Forces on the centres (time, copy, 3, 3) of the toy in numpy, by the integrator that LAMMPS has."""
    H, S, m = toy.hessian(), toy.sums(), toy.MASSES
    total = S @ m

    def pulls(x):
        beads = -np.einsum("ij,cjx->cix", H, x)
        on_centres = np.einsum("mi,cix->cmx", S, beads)
        return beads - m[:, None] * np.repeat(on_centres / total[:, None], 3, axis=1), on_centres

    x = positions.copy()
    v = velocities - np.repeat(np.einsum("mi,cix->cmx", S * m, velocities) / total[:, None], 3, axis=1)
    f, _ = pulls(x)
    found = []
    for step in range(1, n_steps + 1):
        v += 0.5 * toy.DT * f / m[:, None]
        x += toy.DT * v
        f, on_centres = pulls(x)
        v += 0.5 * toy.DT * f / m[:, None]
        if (step - 1) % every == 0:
            found.append(on_centres)
    return np.array(found)


def exact_kernel(times):
    """β<δF(t) δFᵀ(0)> per component, (time, 3, 3)."""
    omega_sq, modes = toy.internal_modes()
    A = toy.sums() @ (toy.hessian() / np.sqrt(toy.MASSES)) @ modes
    return np.einsum("im,tm,jm->tij", A, np.cos(times[:, None] * np.sqrt(omega_sq)) / omega_sq, A)


def kernels(run: ConstrainedRun):
    """β<δF δFᵀ> of each copy, (copy, lag, 3, 3), mean over halves and components."""
    own = run.own.mean(axis=0).trace(axis1=-2, axis2=-1) / 3 / run.kT  # (lag, molecule)
    pair = run.pair.mean(axis=0).trace(axis1=-2, axis2=-1) / 3 / run.kT
    found = np.full((N_COPIES, len(run.lags), 3, 3), np.nan)
    copy, place = np.divmod(np.arange(3 * N_COPIES), 3)
    found[copy, :, place, place] = own.T
    for p, (i, j) in enumerate(run.pairs):
        if i // 3 == j // 3:
            found[i // 3, :, i % 3, j % 3] = found[i // 3, :, j % 3, i % 3] = pair[:, p]
    return found


def deviations(found, expected):
    """Distances of the means over copies from what is expected, in standard errors."""
    n = np.isfinite(found).sum(axis=0)
    se = np.nanstd(found, axis=0, ddof=1) / np.sqrt(n)
    return np.abs(np.nanmean(found, axis=0) - expected) / se


def test_forces_are_those_that_hold_the_centres(held):
    arrays, _ = held
    expected = verlet(arrays["positions"], arrays["velocities"], 298, 3)
    found = arrays["forces"].reshape(100, N_COPIES, 3, 3)
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() < 1e-9 * scale
    assert np.abs(found[1:] - expected[:-1]).max() > 1e-2 * scale  # one sample later is not it


def test_centres_energy_and_temperature(held):
    _, runs = held
    for run in runs:
        assert run.centre_drift < 1e-10
        assert abs(run.energy_drift) < 1e-3
        # 18 internal degrees of freedom a copy, their energies drawn once: kinetic energy is half of the whole
        assert run.temperature == pytest.approx(toy.KT, abs=4 * toy.KT * np.sqrt(1 / (18 * N_COPIES)))
        assert run.masses == pytest.approx(np.tile([4.5, 5.0, 4.0], N_COPIES))
        assert run.dt == pytest.approx(4 * toy.DT)
        assert run.box == pytest.approx(toy.COPIES * toy.PITCH)


def test_the_kernel_is_the_exact_one(held):
    arrays, (run, _) = held
    found, expected = kernels(run), exact_kernel(run.times)
    assert np.abs(expected[:, 0, 1]).max() > 0.05 * expected[0].max()  # the pairs' share is there to be seen
    far = deviations(found, expected)
    assert np.nanmax(far) < 5
    assert np.sqrt(np.nanmean(far**2)) < 1.6
    assert np.nanmax(deviations(found * run.kT, expected)) > 20  # without β
    assert np.nanmax(deviations(-found, expected)) > 20  # with the other sign
    assert 1 <= arrays["stride"] < 100


def test_a_melt_that_is_put_back_does_the_same_again(held):
    arrays, (run, again) = held
    assert arrays["stopped"]  # a stop that one rank hears ends the run on all, and the next one is whole
    assert again.n_samples == run.n_samples // 4
    steps = verlet(arrays["positions"], arrays["velocities"], again.n_samples * 4 - 3, 4)
    expected = steps.reshape(2, -1, 3 * N_COPIES, 3).mean(axis=1)
    assert np.abs(again.mean_force - expected).max() < 1e-9 * np.abs(steps).max()
    assert np.abs(again.centres - run.centres).max() < 1e-12 * run.box.max()


def test_mean_forces_are_those_of_the_centres_at_rest(held):
    """<F> = -S H x at the beads' mean places, which depend on the centres alone."""
    _, (run, _) = held
    omega_sq, modes = toy.internal_modes()
    H, S, root = toy.hessian(), toy.sums(), np.sqrt(toy.MASSES)
    response = np.eye(9) - (modes / root[:, None]) @ np.diag(1 / omega_sq) @ (modes / root[:, None]).T @ H
    expected = -np.einsum("mi,ij,cjx->cmx", S @ H, response, np.repeat(run.centres.reshape(-1, 3, 3), 3, axis=1))
    found = run.mean_force.mean(axis=0).reshape(-1, 3, 3)
    left = (found - expected).std()
    assert left < 0.15 * expected.std()  # what a run of so many periods leaves of the fluctuations
    assert np.abs((found - expected).mean(axis=0)).max() < 5 * left / np.sqrt(N_COPIES)
