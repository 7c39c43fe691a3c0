"""Measure the speed of all stages: a table and a JSON with the hardware's name.

    python benchmarks/speed.py --out runs/bench                      # all cases, about half an hour on two idle cores
    python benchmarks/speed.py --cases estimators,growth --quick     # small sizes: shows that they run

Each case is a module ``speed_<case>`` with ``run(settings) -> list[Measurement]``. ``bench.json`` and ``bench.md`` are
written anew after every case; cases that are not run again keep what an earlier call on the same hardware left there.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from speed_records import Measurement, Settings, hardware

CASES = ("coupling", "training", "likelihood", "generation", "estimators", "growth", "time_to_d")
SLOW = ("paced",)
NOISY = 0.5  # load average per core, from which on times are not to be trusted


@dataclass(frozen=True)
class CaseResult:
    """What became of a case.

    Attributes:
        case: its name.
        load: load average of one minute before it.
        seconds: that it took.
        measurements: what it measured.
        failure: one line, "" where there was none.
    """

    case: str
    load: float
    seconds: float
    measurements: tuple[Measurement, ...] = ()
    failure: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it, medians and spreads included."""
        lines = [
            asdict(m) | {name: getattr(m, name) if m.values else None for name in ("median", "spread")}
            for m in self.measurements
        ]
        return asdict(self) | {"measurements": lines}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CaseResult:
        """Return what `as_json` was made of."""
        lines = [{k: v for k, v in m.items() if k not in ("median", "spread")} for m in values["measurements"]]
        measurements = tuple(Measurement(**m | {"values": tuple(m["values"])}) for m in lines)
        return cls(**values | {"measurements": measurements})


def run_case(name: str, settings: Settings) -> CaseResult:
    """Run a case; its failure is kept, not raised."""
    scratch = settings.scratch / name
    scratch.mkdir(parents=True, exist_ok=True)
    load, start = os.getloadavg()[0], time.perf_counter()
    measurements: list[Measurement] = []
    failure = ""
    try:
        measurements = importlib.import_module(f"speed_{name}").run(replace(settings, scratch=scratch))
    except Exception as error:
        traceback.print_exc()
        failure = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return CaseResult(name, round(load, 2), time.perf_counter() - start, tuple(measurements), failure)


def table(result: CaseResult) -> str:
    """Return a case as a Markdown section."""
    lines = [f"## {result.case}", "", f"{result.seconds:.0f} s; load average before it {result.load:.2f}", ""]
    if result.failure:
        lines += [f"**failed**: {result.failure}", ""]
    if result.measurements:
        lines += ["| case | quantity | median | ± | unit | repeats | target | met | note |", "|---|" + "---|" * 8]
    for m in result.measurements:
        met = {None: "", True: "yes", False: "**no**"}[m.met]
        spread = f"{m.spread:.2g}" if len(m.values) > 1 else ""
        median = f"{m.median:.4g}" if m.values else "none"
        columns = (m.case, m.quantity, median, spread, m.unit, len(m.values), m.target, met, m.note)
        lines.append("| " + " | ".join(str(column).replace("|", "\\|") for column in columns) + " |")
    return "\n".join(lines) + "\n"


def write(out: Path, machine: dict[str, Any], results: dict[str, CaseResult], quick: bool) -> None:
    """Write bench.json and bench.md."""
    ordered = [results[name] for name in (*CASES, *SLOW) if name in results]
    content = {"hardware": machine, "quick": quick, "cases": [result.as_json() for result in ordered]}
    (out / "bench.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    title = "# Speed" + (" (quick: sizes too small to mean anything)" if quick else "")
    about = ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None)
    note = (
        "Median and half the interquartile range of the repeats; ratios are medians over pairs run one after another."
    )
    text = "\n".join([title, "", about, "", note, "", *map(table, ordered)])
    (out / "bench.md").write_text(text, encoding="utf-8")


def earlier(out: Path, machine: dict[str, Any], quick: bool) -> dict[str, CaseResult]:
    """Return what an earlier call in the same folder on the same hardware measured."""
    try:
        content = json.loads((out / "bench.json").read_text(encoding="utf-8"))
        if content["hardware"] != machine or content["quick"] != quick:
            return {}
        return {values["case"]: CaseResult.from_json(values) for values in content["cases"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def parse(arguments: list[str] | None) -> tuple[Path, list[str], Settings]:
    """Return the folder, the cases and the settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--cases", default=",".join(CASES), help=f"comma-separated; default: all but {SLOW[0]}")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that the cases run")
    parser.add_argument("--repeats", type=int, default=0, help="of each timing (default 5; 2 with --quick)")
    parser.add_argument("--record", type=Path, help="a recorded melt (modes.h5, run folder or .npz) for time_to_d")
    options = parser.parse_args(arguments)
    cases = [name.strip() for name in options.cases.split(",") if name.strip()]
    if unknown := [name for name in cases if name not in (*CASES, *SLOW)]:
        parser.error(f"no case {unknown[0]}; there are {', '.join((*CASES, *SLOW))}")
    repeats = options.repeats or (2 if options.quick else 5)
    return options.out, cases, Settings(options.quick, repeats, options.out / "scratch", options.record)


def main(arguments: list[str] | None = None) -> int:
    """Run the cases; return 1 where one failed."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the commands do: before torch is imported
    out, cases, settings = parse(arguments)
    out.mkdir(parents=True, exist_ok=True)
    machine = hardware()
    load = os.getloadavg()[0]
    if load > NOISY * machine["cores"]:
        print(f"warning: load average {load:.2f} on {machine['cores']} cores: times will be noisy", flush=True)
    results = earlier(out, machine, settings.quick)
    for name in cases:
        print(f"{name} ..", flush=True)
        results[name] = result = run_case(name, settings)
        write(out, machine, results, settings.quick)
        print(table(result), flush=True)
    print(f"{out / 'bench.md'} and {out / 'bench.json'}", flush=True)
    return int(any(results[name].failure for name in cases))


if __name__ == "__main__":
    sys.exit(main())
