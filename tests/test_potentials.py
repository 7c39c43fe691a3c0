"""The force field that ships: its table, and the programs that calibrate and measure it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import cumulative_simpson

ROOT = Path(__file__).parent.parent
POTENTIALS = ROOT / "potentials"
DECK = ROOT / "lammps_inputs" / "in.melt"
KNOTS, TABLE = POTENTIALS / "cis-pb.knots", POTENTIALS / "cis-pb.table"

sys.path.insert(0, str(POTENTIALS))

import calibrate  # noqa: E402
import make_table  # noqa: E402
import melt_report  # noqa: E402
import melt_targets  # noqa: E402
import melt_timing  # noqa: E402


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


KNOWN = (calibrate.Parameter("depth", 1.0, 0.3, 3.0), calibrate.Parameter("drag", 100.0, 20.0, 500.0))
WANTED = (
    calibrate.Target("pressure", 0.0, 100.0),
    calibrate.Target("mobility", math.log(5.0), 0.1, True),
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
    chosen = calibrate.calibrate(_engine(0.0), [], 10, KNOWN, WANTED)
    assert chosen == pytest.approx(ANSWER, rel=0.02)


def test_calibration_with_noise_ends_within_its_own_errors():
    evaluations = []
    chosen = calibrate.calibrate(_engine(0.5), evaluations, 16, KNOWN, WANTED)
    truth = _engine(0.0)(chosen, 0)
    model = calibrate.fit(evaluations, KNOWN, WANTED)
    errors = model.errors(calibrate.logarithms(chosen, KNOWN))
    for target, error in zip(WANTED, errors, strict=True):
        assert abs(truth[target.name][0] - target.wanted) / target.tolerance < 4 * error + 0.1
    assert np.all(errors < 0.5)
    start = _engine(0.0)({"depth": 1.0, "drag": 100.0}, 0)
    assert abs(start["pressure"][0]) / 100.0 > 4 * errors[0] + 0.1


def test_no_step_of_the_calibration_is_longer_than_allowed_or_beyond_the_limits():
    narrow = (calibrate.Parameter("depth", 1.0, 0.9, 1.1), KNOWN[1])
    evaluations = []
    calibrate.calibrate(_engine(0.0), evaluations, 8, narrow, WANTED)
    assert all(0.9 - 1e-9 <= e.parameters["depth"] <= 1.1 + 1e-9 for e in evaluations)
    points = np.array([calibrate.logarithms(e.parameters, narrow) for e in evaluations])
    for i in range(1, len(points)):
        nearest = np.min(np.max(np.abs(points[:i] - points[i]), axis=1))
        assert nearest <= calibrate.LONGEST_STEP + 1e-6


def test_a_calibration_goes_on_from_its_log(tmp_path):
    log = tmp_path / "log"
    evaluations = []
    calibrate.calibrate(_engine(0.2), evaluations, 5, KNOWN, WANTED)
    log.write_text("".join(json.dumps({"parameters": e.parameters, "values": e.values}) + "\n" for e in evaluations))
    again = calibrate.read_log(log, KNOWN, WANTED)
    assert again == evaluations
    assert calibrate.calibrate(_engine(0.2), again, 9, KNOWN, WANTED) == calibrate.calibrate(
        _engine(0.2), [], 9, KNOWN, WANTED
    )
    assert calibrate.read_log(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--steps", "10"], "--steps is 10"),
        (["--evaluations", "0"], "--evaluations is 0"),
        (["--temperatures", "400", "300"], "lower one first"),
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


@pytest.mark.parametrize("line", ["nonsense", "{}", '{"parameters": {"core": 1}, "values": {}}', "[1]"])
def test_calibrate_refuses_a_log_that_is_none(tmp_path, capsys, line):
    (tmp_path / "evaluations.jsonl").write_text(line + "\n")
    assert calibrate.main(["--out", str(tmp_path)]) == 2
    assert "evaluations.jsonl:1: not an evaluation" in capsys.readouterr().err


def test_scaling_leaves_the_innermost_core_and_the_cutoff():
    distance, energy = make_table.read_knots(KNOTS)
    _, scaled = calibrate.scaled_knots(KNOTS, 0.5, 2.0)
    np.testing.assert_allclose(scaled[energy < 0], 2 * energy[energy < 0])
    outer = (energy > 0) & (distance > calibrate.INNERMOST)
    np.testing.assert_allclose(scaled[outer], 0.5 * energy[outer])
    np.testing.assert_allclose(scaled[distance < calibrate.INNERMOST], energy[distance < calibrate.INNERMOST])


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
        f"r = measure.record(pathlib.Path({str(DECK)!r}), dict(relax=300, steps=2000, report=25), 20, 2000)\n"
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
    assert abs(found["D"] - 0.5) < 4 * found["D_se"] < 3


@pytest.mark.lammps
@pytest.mark.parametrize(("timestep", "hotter"), [(10.0, False), (50.0, True)])
def test_positions_have_the_temperature_wanted_where_the_time_step_is_short(tmp_path, timestep, hotter):
    deck = tmp_path / "in.melt"
    deck.write_text(DECK.read_text().replace("timestep 50.0", f"timestep {timestep}"))
    n = round(20_000 / timestep)  # 20 ps to settle, 60 ps measured
    found = _in_a_process(
        "import json, measure, configurational_temperature as c, pathlib\n"
        f"deck = pathlib.Path({str(deck)!r})\n"
        f"v = dict(data={str(DECK.parent / 'melt.data')!r}, potentials={str(POTENTIALS)!r})\n"
        f"r = measure.record(deck, v | dict(relax={n}, steps={3 * n}), {n // 20}, {3 * n})\n"
        "T = c.configurational_temperature(r, c.Forces(deck, v), 60, 1)\n"
        "print(json.dumps(dict(T=T.value, se=T.se)))"
    )
    assert found["se"] < 6
    assert (found["T"] - 300 > 2.5 * found["se"]) == hotter
    assert abs(found["T"] - 300) < (45 if hotter else 4 * found["se"])
