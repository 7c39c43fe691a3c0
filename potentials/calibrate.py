"""Adjust the force field to its targets: run LAMMPS, measure, fit how targets depend on parameters, propose, repeat.

Four parameters for four targets, one that each mostly depends on:

| parameter | of | mostly moves |
|---|---|---|
| well | scale of the knots with U < 0 | pressure |
| angle_stiffness | angles | chain size |
| friction | DPD | D |
| friction_energy | DPD, how friction falls with temperature | D(400 K)/D(300 K) |

The targets are those of chains of 100 beads, on which a run of some hundred frames takes an hour. How targets depend on
the parameters short chains tell cheaply; how far long chains lie from short ones, long runs. So there are two kinds of
evaluations, and one fit of both:

- *Short*: 20 beads. The mobility 2 σ_p²/τ_p of modes 2 to 4, which for Rouse chains is D, times N/100; <R²(s)>/s at
  s = 8; the pressure.
- *Long*: 100 beads (`in.melt100`), D from the service's own fit, and the pressure. After `FIRST_LONG` evaluations every
  `LONG_EVERY`th is a long one, at the best parameters known; ``--long-frames 0`` makes none. Two runs that exist, one
  at each temperature, are one more with ``--long COLD HOT``, as long as they are by then: of the force field that
  ships, or with ``-var`` of the parameters above that are variables of it. ``--long`` may be given several times;
  these count neither as ``--evaluations`` nor in that order.

`response_surface.py` fits all evaluations so far and proposes the next.

Every evaluation is a line in a log; a calibration that is started again goes on from there, in the middle of a long
run too.
The targets themselves are measured by `melt_report.py`.

From the repository root:

    python potentials/calibrate.py --out runs/calibration --steps 150000 --evaluations 10
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import long_chains
import make_table
import numpy as np
from long_chains import CALIBRATED, FORCE_FIELD, LongRun
from melt_targets import PAPERS, PAPERS_BEADS
from response_surface import Array, Evaluation, Parameter, Target, Values, calibrate, fit, logarithms

from mlgle_lammps.errors import UserError, one_line

HERE = Path(__file__).parent
DECK = HERE.parent / "lammps_inputs" / "in.melt"
EVERY = 400  # steps between frames
REPORT = 200  # steps between lines of thermodynamics
LEAST_LONG_FRAMES = 140  # the service finds the first D at frame 129
SIZE_AT = 8  # bonds between two beads whose distance stands for the chains' size

PARAMETERS = (
    Parameter("well", 1.0, 0.5, 1.6),
    Parameter("angle_stiffness", 1.0, 0.3, 4.0),
    Parameter("friction", 1100.0, 150.0, 4000.0),
    Parameter("friction_energy", 0.85, 0.2, 3.0),
)


def targets_at(cold: int, hot: int) -> tuple[Target, ...]:
    """Return the targets at two temperatures of the papers, K: pressure and size at the lower, D and its ratio."""
    ratio = PAPERS[hot][0] / PAPERS[cold][0]
    return (
        Target("pressure", 0.0, 150.0),
        Target("size", math.log(37.6), 0.03, True),
        Target(D_name(cold), math.log(PAPERS[cold][0]), 0.2, True),
        Target(ratio_name(cold, hot), math.log(ratio), 0.1, True),
    )


def D_name(T: int) -> str:
    """Return the name of D as a target."""
    return f"D({T} K)"


def ratio_name(cold: int, hot: int) -> str:
    """Return the name of the ratio as a target."""
    return f"{D_name(hot)}/{D_name(cold)}"


TARGETS = targets_at(300, 400)


def scaled_knots(knots: Path, well: float) -> tuple[Array, Array]:
    """Return the knots, those with U < 0 times ``well``.

    Raises:
        UserError: the file is missing or not good.
    """
    try:
        distance, energy = make_table.read_knots(knots)
    except (OSError, ValueError) as error:
        raise UserError(f"{knots}: {one_line(error)}") from None
    return distance, np.where(energy < 0, well, 1.0) * energy


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
        """Return the values of the targets of short chains, D by their mobility and D ~ 1/N."""
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
            D_name(self.temperatures[0]): (math.log(D[0].value * cold.system.n_beads / PAPERS_BEADS), relative[0]),
            ratio_name(*self.temperatures): (math.log(D[1].value / D[0].value), math.hypot(*relative)),
        }

    def long(self, parameters: dict[str, float], number: int) -> Values:
        """Return D, its ratio and the pressure of chains of 100 beads, by the service; goes on with what is there.

        Raises:
            UserError: the folder of this evaluation holds runs of other parameters.
            RunFailure: a run failed, or was ended before its frames were there.
        """
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
        return long_values(cold, hot)

    def _variables(self, parameters: dict[str, float], table: Path) -> dict[str, object]:
        """Write the table of these parameters; return them as variables of a deck."""
        distance, energy = scaled_knots(self.knots, parameters["well"])
        try:
            spline = make_table.potential(distance, energy)
        except ValueError as error:
            raise UserError(f"well {parameters['well']:g}: {error}") from None
        table.write_text(make_table.table_text(spline, float(distance[-1]), "calibrate.py"), encoding="utf-8")
        given: dict[str, object] = {**dict(self.variables), "pair_table": table.resolve()}
        return given | {name: parameters[name] for name in CALIBRATED}

    def begun(self, number: int) -> dict[str, float] | None:
        """Return the parameters of a long evaluation that was begun; None where it was not.

        Raises:
            UserError: what is kept there is none of these.
        """
        kept = self.folder / f"long-{number}" / "parameters.json"
        if not kept.exists():
            return None
        try:
            found = json.loads(kept.read_text(encoding="utf-8"))
            return {p.name: float(found[p.name]) for p in PARAMETERS}
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{kept}: not the parameters of an evaluation; move {kept.parent} away") from None


def long_values(cold: LongRun, hot: LongRun) -> Values:
    """Return the values of the targets that two runs of long chains have, one at each temperature."""
    relative = [run.D[1] / run.D[0] for run in (cold, hot)]
    return {
        "pressure": cold.pressure,
        D_name(cold.T): (math.log(cold.D[0]), relative[0]),
        ratio_name(cold.T, hot.T): (math.log(hot.D[0] / cold.D[0]), math.hypot(*relative)),
    }


def given_long(folders: Sequence[Path], temperatures: tuple[int, int]) -> Evaluation:
    """Return the evaluation that two runs of long chains are.

    Args:
        folders: of the runs at the lower and the higher temperature.
        temperatures: both, K.

    Raises:
        UserError: no such runs, of another temperature or length, or with what is no parameter changed.
    """
    runs = [long_chains.read(folder) for folder in folders]
    parameters = []
    for folder, run, T in zip(folders, runs, temperatures, strict=True):
        if (run.T, run.n_beads) != (T, PAPERS_BEADS):
            raise UserError(f"--long {folder}: {run.n_beads} beads at {run.T} K; give {PAPERS_BEADS} at {T} K there")
        changed = sorted((FORCE_FIELD - set(CALIBRATED)) & run.variables.keys())
        if changed:
            raise UserError(f"--long {folder} was run with -var {changed[0]}, which is no parameter here")
        parameters.append(_parameters(run))
    if parameters[0] != parameters[1]:
        raise UserError(f"--long {folders[0]} {folders[1]}: of different force fields; give two runs of one")
    return Evaluation(parameters[0], long_values(*runs), long=True)


def _parameters(run: LongRun) -> dict[str, float]:
    """Return the parameters of a run: those of the start, but for what was given with ``-var``."""
    given = {name: float(run.variables[name]) for name in CALIBRATED if name in run.variables}
    return {p.name: p.start for p in PARAMETERS} | given


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


def table(evaluations: Sequence[Evaluation], chosen: dict[str, float], targets: Sequence[Target] = TARGETS) -> str:
    """Return the targets: each evaluation's values, and what the fit expects of long chains with what was chosen."""
    model = fit(evaluations, PARAMETERS, targets)
    x = logarithms(chosen, PARAMETERS)
    header = ["chains", *(p.name for p in PARAMETERS), *(t.name for t in targets)]
    rows = [header]
    for e in evaluations:
        values = (_shown(t, *e.values[t.name]) if t.name in e.values else "-" for t in targets)
        rows.append(["long" if e.long else "short", *(f"{e.parameters[p.name]:.4g}" for p in PARAMETERS), *values])
    expected = [
        _shown(t, t.wanted + r * t.tolerance, se * t.tolerance)
        for t, r, se in zip(targets, model.residuals(x), model.errors(x), strict=True)
    ]
    rows.append(["chosen", *(f"{chosen[p.name]:.4g}" for p in PARAMETERS), *expected])
    rows.append(["wanted", *("" for _ in PARAMETERS), *(f"{t.shown(t.wanted):.3g}" for t in targets)])
    lines = [f"{row[0]:<7}" + "".join(f"{entry:>18}" for entry in row[1:]) for row in rows]
    return "\n".join([*lines, "chosen: the next parameters, and what the fit expects of long chains with them"])


def _shown(target: Target, value: float, se: float) -> str:
    shown = target.shown(value)
    return f"{shown:.3g}+-{se * (shown if target.logarithm else 1.0):.2g}"


def same_settings(path: Path, options: argparse.Namespace) -> None:
    """Keep what all evaluations of a folder must have in common, or hold it against what is kept.

    Raises:
        UserError: other knots, start structure, temperatures or variables; or no file of this program.
    """
    sources = {name: getattr(options, name) for name in ("knots", "data")}
    settings: dict[str, object] = {
        name: None if source is None else hashlib.sha256(_bytes(source)).hexdigest() for name, source in sources.items()
    }
    settings |= {"temperatures": list(options.temperatures), "var": sorted(map(list, options.var))}
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name, value in settings.items() if before[name] != value]
    except FileNotFoundError:
        path.write_text(json.dumps(settings), encoding="utf-8")
        return
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not the settings of a calibration; move {path.parent} away") from None
    if other:
        raise UserError(f"{path.parent} has evaluations with another --{other[0]}; give another --out")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Adjust the force field of cis-polybutadiene to its targets.")
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/calibration"), help="folder of the log and the result")
    add("--steps", type=int, default=150_000, help="of production per evaluation and temperature (150000)")
    add("--relax", type=int, default=20_000, help="steps before it (20000)")
    add("--evaluations", type=int, default=10, help="in all, those in the log included (10)")
    add("--long-frames", type=int, default=300, help="of 100-bead chains per long evaluation and T; 0: none (300)")
    add("--temperatures", type=int, nargs=2, default=(300, 400), metavar="K", help="two of the papers', 300 to 400")
    add("--knots", type=Path, default=HERE / "cis-pb.knots", help="knots to start from (those that ship)")
    add("--var", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="another variable of the deck")
    add(
        "--long", type=Path, nargs=2, action="append", default=[], metavar="RUN",
        help="two runs of in.melt100 that exist, the colder first; may be given several times",
    )  # fmt: skip
    add("--data", type=Path, help="start structure (default: the deck's own)")
    options = parser.parse_args(argv)
    for name, least in {"steps": 40 * EVERY, "relax": 0, "evaluations": len(PARAMETERS) + 1}.items():
        if getattr(options, name) < least:
            raise UserError(f"--{name} is {getattr(options, name)}; the least that makes sense is {least}")
    if options.long_frames and options.long_frames < LEAST_LONG_FRAMES:
        raise UserError(f"--long-frames is {options.long_frames}; give 0 or {LEAST_LONG_FRAMES} and more")
    if not 0 < options.temperatures[0] < options.temperatures[1]:
        raise UserError("--temperatures needs two, the lower one first")
    if unknown := [T for T in options.temperatures if T not in PAPERS]:
        raise UserError(
            f"--temperatures {unknown[0]}: the papers have no D there; give two of {', '.join(map(str, PAPERS))}"
        )
    if options.data is not None and not options.data.is_file():
        raise UserError(f"--data {options.data}: no such file")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run a calibration, or go on with one; return the exit code."""
    try:
        options = _options(argv)
        log, targets = options.out / "evaluations.jsonl", targets_at(*options.temperatures)
        given = [given_long(pair, tuple(options.temperatures)) for pair in options.long]
        evaluations = given + read_log(log, targets=targets)
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot create {options.out}: {error.strerror}") from None
        same_settings(options.out / "settings.json", options)

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
        chosen = calibrate(
            engine.short, evaluations, len(given) + options.evaluations, PARAMETERS, targets, keep, long,
            len(given), engine.begun,
        )  # fmt: skip
    except UserError as error:
        print(f"calibrate: error: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    print(table(evaluations, chosen, targets))
    distance, energy = scaled_knots(options.knots, chosen["well"])
    knots = options.out / "cis-pb.knots"
    np.savetxt(knots, np.stack([distance, energy], axis=1), fmt="%6.2f %8.3f", header="r/angstrom U/(kcal/mol)")
    print(f"the knots are in {knots}; {', '.join(CALIBRATED)} belong into cis-pb.lmp")
    return 0


if __name__ == "__main__":
    sys.exit(main())
