"""Results in other units are the same thing: fs against ps, nm against Angstrom; lj against real ones is refused."""

from dataclasses import replace

import numpy as np
import pytest
from test_compare import make_run

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.over_temperatures import Temperatures, compare_temperatures
from mlgle_lammps.evaluate.run_results import open_run
from mlgle_lammps.evaluate.two_streams import compare_streams
from mlgle_lammps.observe.temperature import NotDetermined, fit_vogel
from mlgle_lammps.records import CHAINS, Frames, joined
from mlgle_lammps.store.writer import FramesWriter

SOURCE = RouseSource(6, 8, 3, 300, 2.0, seed=4)
FEMTO = replace(SOURCE.system, time_unit="fs", length_unit="Angstrom", units="real")
PICO = replace(FEMTO, dt=0.002, time_unit="ps", units="metal")
NANO = replace(FEMTO, dt=2e-6, time_unit="ns", length_unit="nm", units="nano")
REDUCED = replace(FEMTO, time_unit="tau", length_unit="sigma", units="lj")


def write(path, system, seed=4, length=1.0):
    whole = joined(list(RouseSource(6, 8, 3, 300, 2.0, seed=seed)))
    scaled = {name: (values * length).astype(values.dtype) for name, values in whole.channels[CHAINS].items()}
    with FramesWriter(path, system) as writer:
        writer.append(Frames(whole.steps, whole.segments, {CHAINS: scaled}))
    return path


@pytest.mark.parametrize(("system", "length"), [(PICO, 1.0), (NANO, 0.1)])
def test_streams_in_other_units_compare_as_in_the_same(tmp_path, system, length):
    md = write(tmp_path / "md.h5", FEMTO, seed=5)
    same = compare_streams(write(tmp_path / "same.h5", FEMTO), md)
    other = compare_streams(write(tmp_path / "other.h5", system, length=length), md)
    assert other.estimates.keys() == same.estimates.keys()
    for way, estimate in same.estimates.items():
        assert other.estimates[way].value == pytest.approx(estimate.value, rel=1e-5)
        assert other.estimates[way].se == pytest.approx(estimate.se, rel=1e-4)
    assert other.size_z_scores == pytest.approx(same.size_z_scores, rel=1e-3)
    assert any("its numbers are brought to the Angstrom and fs of" in note for note in other.notes)
    assert not any("brought to" in note for note in same.notes)


@pytest.mark.parametrize("order", [1, -1])
def test_reduced_units_are_refused_against_real_ones(tmp_path, order):
    paths = [write(tmp_path / "a.h5", FEMTO), write(tmp_path / "b.h5", REDUCED)][::order]
    with pytest.raises(UserError, match=r"reduced \(lj\) units have no size in real ones"):
        compare_streams(*paths)


def in_units(run, system, time, length):
    """Return a run as if it had been recorded in other units."""
    by = length**2 / time
    D = replace(run.D, value=run.D.value * by, se=run.D.se * by, ci95=tuple(bound * by for bound in run.D.ci95))
    return replace(run, system=replace(run.system, **system), D=D, D_generated=None, D_full_md=None)


def test_temperatures_in_other_units_give_one_law(tmp_path):
    T = (300.0, 350.0, 400.0)
    real = {"units": "real", "time_unit": "fs", "length_unit": "Angstrom"}
    runs = []
    for i, t in enumerate(T):
        D = float(1e-2 * np.exp(-900.0 / t))
        path = make_run(tmp_path / f"r{i}", seed=i, n_frames=260, D=(D, 0.01 * D), generated=False)
        runs.append(in_units(open_run(path), real, 1.0, 1.0))
    mixed = [
        runs[0],
        in_units(runs[1], {"units": "metal", "time_unit": "ps"}, 1e-3, 1.0),
        in_units(runs[2], {"units": "nano", "time_unit": "ns", "length_unit": "nm"}, 1e-6, 0.1),
    ]
    found = compare_temperatures(mixed, Temperatures(T, "given"))
    assert found.arrhenius is not None
    assert found.arrhenius.activation == pytest.approx(900.0, rel=1e-6)
    assert [run.D.value for run in found.runs] == pytest.approx([run.D.value for run in runs], rel=1e-9)
    assert any("every D is given in Angstrom^2/fs" in note for note in found.notes)
    mixed[1] = in_units(runs[1], {"units": "lj", "time_unit": "tau", "length_unit": "sigma"}, 1.0, 1.0)
    with pytest.raises(UserError, match=r"r1 has time_unit tau, .*r0 has fs: reduced \(lj\)"):
        compare_temperatures(mixed, Temperatures(T, "given"))
    mixed[1] = in_units(runs[1], {"units": "unknown", "time_unit": "time", "length_unit": "length"}, 1.0, 1.0)
    with pytest.raises(UserError, match="no common table"):
        compare_temperatures(mixed, Temperatures(T, "given"))


COLD = np.array([100.0, 120.0, 150.0, 200.0, 300.0, 500.0])


def test_a_T0_that_is_consistent_with_zero_is_said_to_be():
    """Over data of Arrhenius' law it must be so about always; of a true T0 never (negative control)."""
    random, said = np.random.default_rng(3), 0
    for _ in range(40):
        D = np.exp(-1000 / COLD + 0.03 * random.normal(size=6))
        try:
            said += fit_vogel(COLD, D, 0.03 * D).is_arrhenius
        except NotDetermined as error:
            said += "consistent with 0" in str(error)
    assert said >= 36
    for _ in range(40):
        D = np.exp(-700 / (COLD - 40) + 0.03 * random.normal(size=6))
        assert not fit_vogel(COLD, D, 0.03 * D).is_arrhenius
