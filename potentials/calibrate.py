"""Adjust the force field to its targets: run LAMMPS, measure, fit how targets depend on parameters, propose, repeat.

Four parameters for four targets, one that each mostly depends on:

| parameter | of | mostly moves |
|---|---|---|
| core | scale of the knots with U > 0 beyond 2.5 Å | D(400 K)/D(300 K): roughness |
| well | scale of the knots with U < 0 | pressure |
| angle_stiffness | angles | chain size |
| friction | DPD | D |

The targets are those of chains of 100 beads, on which a run of some hundred frames takes an hour. How targets depend on
the parameters short chains tell cheaply; how far long chains lie from short ones, long runs. So there are two kinds of
evaluations, and one fit of both:

- *Short*: 20 beads. The mobility 2 σ_p²/τ_p of modes 2 to 4, which for Rouse chains is D, times N/100; <R²(s)>/s at
  s = 8; the pressure.
- *Long*: 100 beads (`in.melt100`), D from the service's own fit, and the pressure. After `FIRST_LONG` evaluations every
  `LONG_EVERY`th is a long one, at the best parameters known; ``--long-frames 0`` makes none.

All evaluations so far are fitted by y = y0 + S x + c l, x the logarithms of the parameters over their start, l = 1 for
long chains and 0 for short ones, with wide priors on S and c (ridge); measurements are noisy, so that no optimiser can
take differences of two of them for a slope. What is proposed next is where the fit comes nearest to the targets of long
chains within a step's length (scipy's `least_squares`). Without a long run c is known to its prior only: the errors say
so.

Every evaluation is a line in a log; a calibration that is started again goes on from there, in the middle of a long
run too.
The targets themselves are measured by `melt_report.py`.

From the repository root:

    python potentials/calibrate.py --out runs/calibration --steps 150000 --evaluations 10
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import make_table
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from mlgle_lammps.errors import UserError, one_line

Array = NDArray[np.float64]
Values = dict[str, tuple[float, float]]  # target -> measured value (of its logarithm where so) and standard error
Measure = Callable[[dict[str, float], int], Values]  # parameters and the evaluation's number, of which seeds are made

HERE = Path(__file__).parent
DECK = HERE.parent / "lammps_inputs" / "in.melt"
D_AT_300 = 0.104  # angstrom²/100 ps per dimension: the papers' at N = 100
LONG_BEADS = 100
PRIOR_SLOPE = 8.0  # of a target, in tolerances, per unit of ln parameter: one standard deviation
PRIOR_LENGTH = 4.0  # of a target, in tolerances, between long and short chains: one standard deviation
FIRST_LONG, LONG_EVERY = 6, 4  # the number of the first long evaluation, and from one to the next
FIRST_STEP = 0.2  # of ln parameter, in the first evaluations
LONGEST_STEP = 0.25  # of ln parameter, from the best point so far
EVERY = 400  # steps between frames
REPORT = 200  # steps between lines of thermodynamics
INNERMOST = 2.5  # angstrom: knots below it keep beads from passing through one another and are not scaled
LEAST_LONG_FRAMES = 140  # the service finds the first D at frame 129
SIZE_AT = 8  # bonds between two beads whose distance stands for the chains' size


@dataclass(frozen=True)
class Parameter:
    """A number that may be changed, within limits."""

    name: str
    start: float
    least: float
    most: float


@dataclass(frozen=True)
class Target:
    """What a measured value should be; ``logarithm``: value and tolerance are of its logarithm."""

    name: str
    wanted: float
    tolerance: float
    logarithm: bool = False

    def shown(self, value: float) -> float:
        """Return the quantity itself."""
        return math.exp(value) if self.logarithm else value


PARAMETERS = (
    Parameter("core", 1.0, 0.4, 2.0),
    Parameter("well", 1.0, 0.5, 1.6),
    Parameter("angle_stiffness", 1.0, 0.3, 4.0),
    Parameter("friction", 900.0, 150.0, 4000.0),
)
TARGETS = (
    Target("pressure", 0.0, 150.0),
    Target("size", math.log(37.6), 0.03, True),
    Target("D(300 K)", math.log(D_AT_300), 0.2, True),
    Target("D(400 K)/D(300 K)", math.log(1.87), 0.1, True),
)


@dataclass(frozen=True)
class Evaluation:
    """One set of parameters and what was measured with it: of short chains all targets, of long ones some."""

    parameters: dict[str, float]
    values: Values
    long: bool = False


@dataclass(frozen=True)
class LinearModel:
    """y = coefficients·(1, x, l) for each target, in units of its tolerance from what is wanted.

    Attributes:
        coefficients: (target, 1 + parameter + 1).
        covariance: (target, 1 + parameter + 1, 1 + parameter + 1).
    """

    coefficients: Array
    covariance: Array

    def residuals(self, x: Array) -> Array:
        """Return each target's distance from what is wanted of long chains, in tolerances."""
        result: Array = self.coefficients @ np.concatenate([[1.0], x, [1.0]])
        return result

    def errors(self, x: Array) -> Array:
        """Return the standard errors of the residuals."""
        row = np.concatenate([[1.0], x, [1.0]])
        result: Array = np.sqrt(np.einsum("tij,i,j->t", self.covariance, row, row))
        return result


def logarithms(parameters: Mapping[str, float], known: Sequence[Parameter]) -> Array:
    """Return x = ln(parameter / start)."""
    return np.array([math.log(parameters[p.name] / p.start) for p in known])


def fit(evaluations: Sequence[Evaluation], known: Sequence[Parameter], targets: Sequence[Target]) -> LinearModel:
    """Return the linear model of all evaluations, weighted by their errors, with a prior of no slope and no offset.

    Each target is fitted to the evaluations that have it.

    Limit: with exact values and as many evaluations as coefficients, the exact plane, but for the priors' pull.
    """
    x = np.array([np.concatenate([[1.0], logarithms(e.parameters, known), [float(e.long)]]) for e in evaluations])
    prior = np.diag(np.concatenate([[0.0], np.full(len(known), PRIOR_SLOPE**-2), [PRIOR_LENGTH**-2]]))
    coefficients, covariance = [], []
    for target in targets:
        has = np.array([target.name in e.values for e in evaluations])
        value, se = np.array([e.values[target.name] for e in evaluations if target.name in e.values]).T
        y, weights = (value - target.wanted) / target.tolerance, (target.tolerance / se) ** 2
        inverse = np.linalg.inv(x[has].T @ (weights[:, None] * x[has]) + prior)
        coefficients.append(inverse @ (x[has].T @ (weights * y)))
        covariance.append(inverse)
    return LinearModel(np.array(coefficients), np.array(covariance))


def propose(
    evaluations: Sequence[Evaluation], known: Sequence[Parameter], targets: Sequence[Target]
) -> dict[str, float]:
    """Return the next parameters.

    First the start, then a step of each parameter alone, then where the fit comes nearest to the targets: within
    ``LONGEST_STEP`` of the evaluated point that the fit likes best, and within the limits.
    """
    done = len(evaluations)
    if done == 0:
        return {p.name: p.start for p in known}
    if done <= len(known):
        moved = known[done - 1]
        up, down = moved.start * math.exp(FIRST_STEP), moved.start * math.exp(-FIRST_STEP)
        there = up if up <= moved.most else max(down, moved.least)
        return {p.name: there if p is moved else p.start for p in known}
    model = fit(evaluations, known, targets)
    points = [logarithms(e.parameters, known) for e in evaluations]
    centre = min(points, key=lambda x: float(np.sum(model.residuals(x) ** 2)))
    limits = np.array([[math.log(p.least / p.start), math.log(p.most / p.start)] for p in known])
    low, high = np.maximum(limits[:, 0], centre - LONGEST_STEP), np.minimum(limits[:, 1], centre + LONGEST_STEP)

    def cost(x: Array) -> Array:
        return np.concatenate([model.residuals(x), 0.3 * (x - centre) / LONGEST_STEP])

    best = least_squares(cost, np.clip(centre, low + 1e-9, high - 1e-9), bounds=(low, high)).x
    return {p.name: float(p.start * math.exp(v)) for p, v in zip(known, best, strict=True)}


def calibrate(
    measure: Measure,
    evaluations: list[Evaluation],
    n_evaluations: int,
    known: Sequence[Parameter] = PARAMETERS,
    targets: Sequence[Target] = TARGETS,
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
    measure_long: Measure | None = None,
) -> dict[str, float]:
    """Evaluate until there are ``n_evaluations``; return the parameters that the fit would choose then.

    Args:
        measure: measures short chains.
        evaluations: those there are already; new ones are appended.
        n_evaluations: how many there shall be in all.
        known: the parameters.
        targets: what is wanted.
        on_evaluation: hears of each new one.
        measure_long: measures long chains; None: none are.
    """
    while len(evaluations) < n_evaluations:
        number = len(evaluations)
        parameters = propose(evaluations, known, targets)
        if measure_long is not None and number >= FIRST_LONG and (number - FIRST_LONG) % LONG_EVERY == 0:
            evaluation = Evaluation(parameters, measure_long(parameters, number), long=True)
        else:
            evaluation = Evaluation(parameters, measure(parameters, number))
        evaluations.append(evaluation)
        on_evaluation(evaluations[-1])
    return propose(evaluations, known, targets)


def scaled_knots(knots: Path, core: float, well: float) -> tuple[Array, Array]:
    """Return knots with U > 0 beyond ``INNERMOST`` times ``core`` and those with U < 0 times ``well``.

    Raises:
        UserError: the file is missing or not good.
    """
    try:
        distance, energy = make_table.read_knots(knots)
    except (OSError, ValueError) as error:
        raise UserError(f"{knots}: {one_line(error)}") from None
    scale = np.where(energy < 0, well, np.where(distance > INNERMOST, core, 1.0))
    return distance, scale * energy


@dataclass(frozen=True)
class Engine:
    """Measures with LAMMPS.

    Attributes:
        knots: of the start.
        folder: where tables and long runs are.
        temperatures: the lower and the higher one, K.
        steps: of production of short chains at each temperature.
        relax: steps before it.
        data: start structure of the short chains, None for the deck's own.
        variables: others of the decks, as LAMMPS' ``-var``.
        long_frames: of long chains at each temperature.
    """

    knots: Path
    folder: Path
    temperatures: tuple[int, int]
    steps: int
    relax: int
    data: Path | None
    variables: tuple[tuple[str, str], ...] = ()
    long_frames: int = 0

    def short(self, parameters: dict[str, float], number: int) -> Values:
        """Return the values of `TARGETS` of short chains, D by their mobility and D ~ 1/N."""
        import measure  # MPI and LAMMPS start here

        shared = self._variables(parameters, self.folder / "pair.table")
        shared |= {"relax": self.relax, "steps": self.steps, "report": REPORT}
        if self.data is not None:
            shared["data"] = self.data
        cold, hot = (
            measure.record(DECK, shared | {"T": T, "seed": 1000 * (number + 1) + T}, EVERY, self.steps)
            for T in self.temperatures
        )
        D = [measure.mode_mobility(recording) for recording in (cold, hot)]
        assert cold.system.n_beads is not None
        size, pressure = measure.segment_size(cold, SIZE_AT), measure.pressure(cold)
        relative = [d.se / d.value for d in D]
        return {
            "pressure": (pressure.value, pressure.se),
            "size": (math.log(size.value), size.se / size.value),
            "D(300 K)": (math.log(D[0].value * cold.system.n_beads / LONG_BEADS), relative[0]),
            "D(400 K)/D(300 K)": (math.log(D[1].value / D[0].value), math.hypot(*relative)),
        }

    def long(self, parameters: dict[str, float], number: int) -> Values:
        """Return D, its ratio and the pressure of chains of 100 beads, by the service; goes on with what is there.

        Raises:
            UserError: the folder of this evaluation holds runs of other parameters.
            RunFailure: a run failed, or was ended before its frames were there.
        """
        import long_chains

        folder = self.folder / f"long-{number}"
        folder.mkdir(exist_ok=True)
        kept = folder / "parameters.json"
        if kept.exists() and json.loads(kept.read_text(encoding="utf-8")) != parameters:
            raise UserError(f"{folder} holds runs of other parameters; move it away")
        shared = self._variables(parameters, folder / "pair.table")
        kept.write_text(json.dumps(parameters), encoding="utf-8")
        cold, hot = (
            long_chains.run(folder / str(T), T, self.long_frames, shared | {"seed": number + T})
            for T in self.temperatures
        )
        relative = [run.D[1] / run.D[0] for run in (cold, hot)]
        return {
            "pressure": cold.pressure,
            "D(300 K)": (math.log(cold.D[0]), relative[0]),
            "D(400 K)/D(300 K)": (math.log(hot.D[0] / cold.D[0]), math.hypot(*relative)),
        }

    def _variables(self, parameters: dict[str, float], table: Path) -> dict[str, object]:
        """Write the table of these parameters; return them as variables of a deck."""
        distance, energy = scaled_knots(self.knots, parameters["core"], parameters["well"])
        try:
            spline = make_table.potential(distance, energy)
        except ValueError as error:
            raise UserError(f"core {parameters['core']:g}, well {parameters['well']:g}: {error}") from None
        table.write_text(make_table.table_text(spline, float(distance[-1]), "calibrate.py"), encoding="utf-8")
        given: dict[str, object] = {**dict(self.variables), "pair_table": table.resolve()}
        return given | {name: parameters[name] for name in ("friction", "angle_stiffness")}


def read_log(
    path: Path, known: Sequence[Parameter] = PARAMETERS, targets: Sequence[Target] = TARGETS
) -> list[Evaluation]:
    """Return the evaluations in a log, none where there is no log.

    Raises:
        UserError: a line that is no evaluation of these parameters and targets.
    """
    if not path.exists():
        return []
    evaluations = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            parameters = {p.name: float(entry["parameters"][p.name]) for p in known}
            long = bool(entry.get("long", False))
            wanted = [t.name for t in targets if not long or t.name in entry["values"]]
            values = {name: (float(entry["values"][name][0]), float(entry["values"][name][1])) for name in wanted}
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise UserError(f"{path}:{number}: not an evaluation of this program; move the file away") from None
        evaluations.append(Evaluation(parameters, values, long))
    return evaluations


def table(evaluations: Sequence[Evaluation], chosen: dict[str, float]) -> str:
    """Return the targets: each evaluation's values, and what the fit expects of long chains with what was chosen."""
    model = fit(evaluations, PARAMETERS, TARGETS)
    x = logarithms(chosen, PARAMETERS)
    header = ["chains", *(p.name for p in PARAMETERS), *(t.name for t in TARGETS)]
    rows = [header]
    for e in evaluations:
        values = (_shown(t, *e.values[t.name]) if t.name in e.values else "-" for t in TARGETS)
        rows.append(["long" if e.long else "short", *(f"{e.parameters[p.name]:.4g}" for p in PARAMETERS), *values])
    expected = [
        _shown(t, t.wanted + r * t.tolerance, se * t.tolerance)
        for t, r, se in zip(TARGETS, model.residuals(x), model.errors(x), strict=True)
    ]
    rows.append(["chosen", *(f"{chosen[p.name]:.4g}" for p in PARAMETERS), *expected])
    rows.append(["wanted", *("" for _ in PARAMETERS), *(f"{t.shown(t.wanted):.3g}" for t in TARGETS)])
    lines = [f"{row[0]:<7}" + "".join(f"{entry:>18}" for entry in row[1:]) for row in rows]
    return "\n".join([*lines, "chosen: the next parameters, and what the fit expects of long chains with them"])


def _shown(target: Target, value: float, se: float) -> str:
    shown = target.shown(value)
    return f"{shown:.3g}+-{se * (shown if target.logarithm else 1.0):.2g}"


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Adjust the force field of cis-polybutadiene to its targets.")
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/calibration"), help="folder of the log and the result")
    add("--steps", type=int, default=150_000, help="of production per evaluation and temperature (150000)")
    add("--relax", type=int, default=20_000, help="steps before it (20000)")
    add("--evaluations", type=int, default=10, help="in all, those in the log included (10)")
    add("--long-frames", type=int, default=300, help="of 100-bead chains per long evaluation and T; 0: none (300)")
    add("--temperatures", type=int, nargs=2, default=(300, 400), metavar="K", help="lower and higher one (300 400)")
    add("--knots", type=Path, default=HERE / "cis-pb.knots", help="knots to start from (those that ship)")
    add("--var", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="another variable of the deck")
    add("--data", type=Path, help="start structure (default: the deck's own)")
    options = parser.parse_args(argv)
    for name, least in {"steps": 40 * EVERY, "relax": 0, "evaluations": 1}.items():
        if getattr(options, name) < least:
            raise UserError(f"--{name} is {getattr(options, name)}; the least that makes sense is {least}")
    if options.long_frames and options.long_frames < LEAST_LONG_FRAMES:
        raise UserError(f"--long-frames is {options.long_frames}; give 0 or {LEAST_LONG_FRAMES} and more")
    if not 0 < options.temperatures[0] < options.temperatures[1]:
        raise UserError("--temperatures needs two, the lower one first")
    if options.data is not None and not options.data.is_file():
        raise UserError(f"--data {options.data}: no such file")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run a calibration, or go on with one; return the exit code."""
    try:
        options = _options(argv)
        log = options.out / "evaluations.jsonl"
        evaluations = read_log(log)
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot create {options.out}: {error.strerror}") from None

        def keep(evaluation: Evaluation) -> None:
            entry = {"parameters": evaluation.parameters, "values": evaluation.values, "long": evaluation.long}
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            print(json.dumps(entry), flush=True)

        cold, hot = options.temperatures
        others = tuple((name, value) for name, value in options.var)
        engine = Engine(
            options.knots, options.out, (cold, hot), options.steps, options.relax, options.data, others,
            options.long_frames,
        )  # fmt: skip
        long = engine.long if options.long_frames else None
        chosen = calibrate(engine.short, evaluations, options.evaluations, on_evaluation=keep, measure_long=long)
    except UserError as error:
        print(f"calibrate: error: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    print(table(evaluations, chosen))
    distance, energy = scaled_knots(options.knots, chosen["core"], chosen["well"])
    knots = options.out / "cis-pb.knots"
    np.savetxt(knots, np.stack([distance, energy], axis=1), fmt="%6.2f %8.3f", header="r/angstrom U/(kcal/mol)")
    print(f"the knots are in {knots}; friction and angle_stiffness belong into cis-pb.lmp")
    return 0


if __name__ == "__main__":
    sys.exit(main())
