"""Adjust the force field to its targets: run LAMMPS, measure, fit how targets depend on parameters, propose, repeat.

Four parameters for four targets, one that each mostly depends on:

| parameter | of | mostly moves |
|---|---|---|
| core | scale of the knots with U > 0 beyond 2.5 Å | D(400 K)/D(300 K): roughness |
| well | scale of the knots with U < 0 | pressure |
| angle_stiffness | angles | chain size |
| friction | DPD | D |

Short runs know D to 10% only. What they know better stands for it: the mobility 2 σ_p²/τ_p of modes 2 to 4, which for
Rouse chains is D. Likewise <R²(s)>/s at s = 8 stands for the slope d<R²(s)>/ds of long chains. The targets themselves
are measured by `melt_report.py`.

Measurements are noisy, so that no optimiser can take differences of two of them for a slope. Instead all evaluations so
far are fitted by y = y0 + S x, x the logarithms of the parameters over their start, with a wide prior on S (ridge), and
the next parameters are where the fit comes nearest to the targets within a step's length (scipy's `least_squares`).
Every evaluation is a line in a log; a calibration that is started again goes on from there.

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

HERE = Path(__file__).parent
DECK = HERE.parent / "lammps_inputs" / "in.melt"
DN_AT_300 = 10.4  # D N in angstrom²/100 ps: the papers' 0.104 at N = 100, D ~ 1/N
PRIOR_SLOPE = 8.0  # of a target, in tolerances, per unit of ln parameter: one standard deviation
FIRST_STEP = 0.2  # of ln parameter, in the first evaluations
LONGEST_STEP = 0.25  # of ln parameter, from the best point so far
EVERY = 400  # steps between frames
REPORT = 200  # steps between lines of thermodynamics
INNERMOST = 2.5  # angstrom: knots below it keep beads from passing through one another and are not scaled
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
    Parameter("angle_stiffness", 1.1, 0.3, 4.0),
    Parameter("friction", 1950.0, 300.0, 4000.0),
)
TARGETS = (
    Target("pressure", 0.0, 150.0),
    Target("size", math.log(37.6), 0.03, True),
    Target("DN(300 K)", math.log(DN_AT_300), 0.2, True),
    Target("D(400 K)/D(300 K)", math.log(1.87), 0.1, True),
)


@dataclass(frozen=True)
class Evaluation:
    """One set of parameters and what was measured with it."""

    parameters: dict[str, float]
    values: Values


@dataclass(frozen=True)
class LinearModel:
    """y = coefficients·(1, x) for each target, in units of its tolerance from what is wanted.

    Attributes:
        coefficients: (target, 1 + parameter).
        covariance: (target, 1 + parameter, 1 + parameter).
    """

    coefficients: Array
    covariance: Array

    def residuals(self, x: Array) -> Array:
        """Return each target's distance from what is wanted, in tolerances."""
        result: Array = self.coefficients @ np.concatenate([[1.0], x])
        return result

    def errors(self, x: Array) -> Array:
        """Return the standard errors of the residuals."""
        row = np.concatenate([[1.0], x])
        result: Array = np.sqrt(np.einsum("tij,i,j->t", self.covariance, row, row))
        return result


def logarithms(parameters: Mapping[str, float], known: Sequence[Parameter]) -> Array:
    """Return x = ln(parameter / start)."""
    return np.array([math.log(parameters[p.name] / p.start) for p in known])


def fit(evaluations: Sequence[Evaluation], known: Sequence[Parameter], targets: Sequence[Target]) -> LinearModel:
    """Return the linear model of all evaluations, weighted by their errors, with a prior of no slope.

    Limit: with exact values and as many evaluations as coefficients, the exact plane, but for the prior's pull.
    """
    x = np.array([np.concatenate([[1.0], logarithms(e.parameters, known)]) for e in evaluations])
    prior = np.diag(np.concatenate([[0.0], np.full(len(known), PRIOR_SLOPE**-2)]))
    coefficients, covariance = [], []
    for target in targets:
        y = np.array([(e.values[target.name][0] - target.wanted) / target.tolerance for e in evaluations])
        weights = np.array([(target.tolerance / e.values[target.name][1]) ** 2 for e in evaluations])
        inverse = np.linalg.inv(x.T @ (weights[:, None] * x) + prior)
        coefficients.append(inverse @ (x.T @ (weights * y)))
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
    measure: Callable[[dict[str, float], int], Values],
    evaluations: list[Evaluation],
    n_evaluations: int,
    known: Sequence[Parameter] = PARAMETERS,
    targets: Sequence[Target] = TARGETS,
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
) -> dict[str, float]:
    """Evaluate until there are ``n_evaluations``; return the parameters that the fit would choose then.

    Args:
        measure: takes parameters and the evaluation's number, from which seeds are made; returns the values.
        evaluations: those there are already; new ones are appended.
        n_evaluations: how many there shall be in all.
        known: the parameters.
        targets: what is wanted.
        on_evaluation: hears of each new one.
    """
    while len(evaluations) < n_evaluations:
        parameters = propose(evaluations, known, targets)
        evaluations.append(Evaluation(parameters, measure(parameters, len(evaluations))))
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
        folder: where tables are written.
        temperatures: the lower and the higher one, K.
        steps: of production at each temperature.
        relax: steps before it.
        data: start structure, None for the deck's own.
        variables: others of the deck, as LAMMPS' ``-var``.
    """

    knots: Path
    folder: Path
    temperatures: tuple[int, int]
    steps: int
    relax: int
    data: Path | None
    variables: tuple[tuple[str, str], ...] = ()

    def __call__(self, parameters: dict[str, float], number: int) -> Values:
        """Return the values of `TARGETS`."""
        import measure  # MPI and LAMMPS start here

        table = self.folder / "pair.table"
        distance, energy = scaled_knots(self.knots, parameters["core"], parameters["well"])
        try:
            spline = make_table.potential(distance, energy)
        except ValueError as error:
            raise UserError(f"core {parameters['core']:g}, well {parameters['well']:g}: {error}") from None
        table.write_text(make_table.table_text(spline, float(distance[-1]), "calibrate.py"), encoding="utf-8")
        shared: dict[str, object] = {
            **dict(self.variables),
            "pair_table": table,
            "relax": self.relax,
            "steps": self.steps,
            "report": REPORT,
        }
        shared |= {"friction": parameters["friction"], "angle_stiffness": parameters["angle_stiffness"]}
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
            "DN(300 K)": (math.log(D[0].value * cold.system.n_beads), relative[0]),
            "D(400 K)/D(300 K)": (math.log(D[1].value / D[0].value), math.hypot(*relative)),
        }


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
            values = {t.name: (float(entry["values"][t.name][0]), float(entry["values"][t.name][1])) for t in targets}
        except (ValueError, KeyError, TypeError, IndexError):
            raise UserError(f"{path}:{number}: not an evaluation of this program; move the file away") from None
        evaluations.append(Evaluation(parameters, values))
    return evaluations


def table(evaluations: Sequence[Evaluation], chosen: dict[str, float]) -> str:
    """Return the targets: each evaluation's values, and what the fit expects of the parameters chosen."""
    model = fit(evaluations, PARAMETERS, TARGETS)
    x = logarithms(chosen, PARAMETERS)
    lines = [" ".join(f"{name:>18}" for name in [*(p.name for p in PARAMETERS), *(t.name for t in TARGETS)])]
    for e in evaluations:
        shown = [f"{e.parameters[p.name]:.4g}" for p in PARAMETERS]
        for t in TARGETS:
            value, se = e.values[t.name]
            shown.append(f"{t.shown(value):.3g}+-{se * (t.shown(value) if t.logarithm else 1.0):.2g}")
        lines.append(" ".join(f"{entry:>18}" for entry in shown))
    expected = [f"{chosen[p.name]:.4g}" for p in PARAMETERS]
    for t, r, se in zip(TARGETS, model.residuals(x), model.errors(x), strict=True):
        value = t.shown(t.wanted + r * t.tolerance)
        expected.append(f"{value:.3g}+-{se * t.tolerance * (value if t.logarithm else 1.0):.2g}")
    lines += ["chosen next, and what the fit expects of it:", " ".join(f"{entry:>18}" for entry in expected)]
    lines += [
        "wanted:",
        " ".join(f"{entry:>18}" for entry in ["", "", "", "", *(f"{t.shown(t.wanted):.3g}" for t in TARGETS)]),
    ]
    return "\n".join(lines)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Adjust the force field of cis-polybutadiene to its targets.")
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/calibration"), help="folder of the log and the result")
    add("--steps", type=int, default=150_000, help="of production per evaluation and temperature (150000)")
    add("--relax", type=int, default=20_000, help="steps before it (20000)")
    add("--evaluations", type=int, default=10, help="in all, those in the log included (10)")
    add("--temperatures", type=int, nargs=2, default=(300, 400), metavar="K", help="lower and higher one (300 400)")
    add("--knots", type=Path, default=HERE / "cis-pb.knots", help="knots to start from (those that ship)")
    add("--var", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="another variable of the deck")
    add("--data", type=Path, help="start structure (default: the deck's own)")
    options = parser.parse_args(argv)
    for name, least in {"steps": 40 * EVERY, "relax": 0, "evaluations": 1}.items():
        if getattr(options, name) < least:
            raise UserError(f"--{name} is {getattr(options, name)}; the least that makes sense is {least}")
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
            entry = {"parameters": evaluation.parameters, "values": evaluation.values, "steps": options.steps}
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            print(json.dumps(entry), flush=True)

        cold, hot = options.temperatures
        others = tuple((name, value) for name, value in options.var)
        engine = Engine(options.knots, options.out, (cold, hot), options.steps, options.relax, options.data, others)
        chosen = calibrate(engine, evaluations, options.evaluations, on_evaluation=keep)
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
