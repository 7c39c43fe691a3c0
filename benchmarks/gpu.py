"""All that can be known of a GPU in one command: tests, agreement with the CPU, speed, memory; into one folder.

    python benchmarks/gpu.py --out runs/gpu            # six minutes on a GPU; one or two on a CPU, with smaller sizes
    python benchmarks/gpu.py --quick --out /tmp/quick  # least sizes: shows that it runs

Nothing is fetched. ``gpu.json`` has every figure, ``gpu.md`` the tables, ``gpu.log`` what was said on the way; they are
written anew after every case. Cases run in processes of their own, so that one that fails, hangs or spoils the GPU for
its process leaves a line, and the others go on. The exit code is 1 where one failed.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

BENCHMARKS = Path(__file__).resolve().parent
for folder in (str(BENCHMARKS.parent), str(BENCHMARKS)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

CASES = {
    "tests": ("gpu_tests", "run", 180),
    "same_steps": ("gpu_agreement", "run_steps", 60),
    "graphs": ("gpu_agreement", "run_graphs", 60),
    "likelihoods": ("gpu_agreement", "run_likelihoods", 60),
    "training": ("gpu_training", "run", 90),
    "generation": ("gpu_generation", "run_few", 120),
    "generation_many": ("gpu_generation", "run_many", 120),
    "generated": ("gpu_agreement", "run_generated", 90),
    "learned": ("gpu_learned", "run", 120),
    "training_cores": ("gpu_training", "run_cores", 60),
    "generation_cores": ("gpu_generation", "run_cores", 90),
    "likelihood": ("gpu_training", "run_likelihood", 120),
}
"""Module, function, and the most seconds that a case may take in a process of its own on a GPU, by its name."""
_SLOWER_WITHOUT_GPU = 4
GRACE = 110.0  # seconds after the budget in which the last case may end
SKIPPED = "skipped: the time of --budget-s was used up"


@dataclass(frozen=True)
class Options:
    """What was asked for.

    Attributes:
        out: folder of the results.
        quick: least sizes.
        device: "auto", "cpu" or "cuda".
        budget: seconds after which no case is begun.
        repeats: of each timing.
        cases: their names.
        isolated: each in a process of its own.
    """

    out: Path
    quick: bool
    device: str
    budget: float
    repeats: int
    cases: tuple[str, ...]
    isolated: bool


class Log:
    """Says things on the terminal and in a file."""

    def __init__(self, path: Path) -> None:
        self.file: TextIO = path.open("w", encoding="utf-8")

    def say(self, text: str) -> None:
        """Write a text to both."""
        print(text, flush=True)
        print(text, file=self.file, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the cases; return 1 where one failed."""
    if (arguments := sys.argv[1:] if arguments is None else arguments)[:1] == ["--child"]:
        return child(*arguments[1:])
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the commands do: before torch is imported
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    log, start = Log(options.out / "gpu.log"), time.time()
    if problem := what_is_missing():
        log.say(problem)
        return 1
    machine = machine_of(log)
    deadline = start + options.budget
    plan: dict[str, Any] = {
        "device": device_of(options.device), "quick": options.quick, "repeats": options.repeats,
        "deadline": deadline, "out": str(options.out.resolve()),
    }  # fmt: skip
    results: dict[str, Any] = {}
    for name in options.cases:
        if time.time() > deadline:
            log.say(f"{name}: {SKIPPED}")
            results[name] = result_of(name, [], 0.0, SKIPPED)
        else:
            log.say(f"{name} ..")
            results[name] = run_case(name, plan, options.isolated, log)
            failure = results[name].failure
            log.say(f"{name}: {'FAILED: ' + failure if failure else 'done'} ({results[name].seconds:.0f} s)")
        write(options.out, machine, plan, results, time.time() - start)
    log.say("\n" + (options.out / "gpu.md").read_text(encoding="utf-8"))
    log.say(f"{time.time() - start:.0f} s; {options.out / 'gpu.md'}, gpu.json, gpu.log")
    return int(any(result.failure and result.failure != SKIPPED for result in results.values()))


def parse(arguments: list[str]) -> Options:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--quick", action="store_true", help="least sizes, all in one process: shows that it runs")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--budget-s", type=float, default=400.0, help="seconds after which no case is begun")
    parser.add_argument("--repeats", type=int, default=0, help="of each timing (default 5; 2 on a CPU, 1 with --quick)")
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated; default: all")
    given = parser.parse_args(arguments)
    cases = tuple(name.strip() for name in given.cases.split(",") if name.strip())
    if unknown := [name for name in cases if name not in CASES]:
        parser.error(f"no case {unknown[0]}; there are {', '.join(CASES)}")
    repeats = given.repeats or (1 if given.quick else 0)
    return Options(given.out, given.quick, given.device, given.budget_s, repeats, cases, not given.quick)


def what_is_missing() -> str:
    """Return a line where not even this can run, "" otherwise."""
    needed = ("numpy", "torch", "scipy", "h5py", "safetensors")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    return f"missing: {', '.join(missing)}; install them for {sys.executable}" if missing else ""


def machine_of(log: Log) -> dict[str, Any]:
    """Return what there is, and say it."""
    try:
        import gpu_machine

        found = gpu_machine.machine()
        for line in gpu_machine.describe(found):
            log.say(line)
        return found
    except Exception:
        log.say(traceback.format_exc())
        return {"card": None, "failure": "could not be described; see gpu.log"}


def device_of(name: str) -> str:
    """Return "cuda" or "cpu"."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def run_case(name: str, plan: dict[str, Any], isolated: bool, log: Log) -> Any:
    """Run a case and return its result, what it measured before it failed included."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "measurements"
        lines.touch()
        start = time.perf_counter()
        if isolated:
            limit = longest(name, plan)
            command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--child", name, json.dumps(plan), str(lines)]
            failure = in_process(command, limit, log.file)
        else:
            failure = measured(name, plan, lines, log.file)
        return result_of(name, read_measurements(lines), time.perf_counter() - start, failure)


def longest(name: str, plan: dict[str, Any]) -> float:
    """Return the seconds after which a case is ended, so that all of them end soon after the budget."""
    limit = CASES[name][2] * (1 if plan["device"] == "cuda" else _SLOWER_WITHOUT_GPU)
    return max(10.0, min(limit, plan["deadline"] - time.time() + GRACE))


def in_process(command: list[str], limit: float, log: TextIO) -> str:
    """Run a command with its output in the log; return how it failed, "" where it did not."""
    log.flush()
    with tempfile.TemporaryFile("w+") as said:
        try:
            status = subprocess.run(command, stdout=log, stderr=said, timeout=limit, check=False).returncode
            failure = f"ended with {status}" if status else ""
        except subprocess.TimeoutExpired:
            failure = f"took more than {limit:.0f} s and was ended"
        said.seek(0)
        errors = said.read()
    log.write(errors)
    log.flush()
    last = [line for line in errors.splitlines() if line.startswith("failed: ")]
    return last[-1].removeprefix("failed: ") if failure and last else failure


def child(name: str, plan: str, lines: str) -> int:
    """Run one case in this process; its failure is the last line of stderr."""
    values = json.loads(plan)
    faulthandler.dump_traceback_later(longest(name, values) - 5)  # where it hangs, before it is ended
    failure = measured(name, values, Path(lines), sys.stderr)
    if failure:
        print(f"failed: {failure}", file=sys.stderr, flush=True)
    return int(bool(failure))


def measured(name: str, plan: dict[str, Any], lines: Path, log: TextIO) -> str:
    """Run a case, append each measurement to a file as it comes, and return how it failed, "" where it did not."""
    module, function, _ = CASES[name]
    try:
        from gpu_records import Plan

        on_gpu = plan["device"] == "cuda"
        full = Plan(**plan | {"out": Path(plan["out"]), "repeats": plan["repeats"] or (5 if on_gpu else 2)})
        case: Callable[..., Any] = getattr(importlib.import_module(module), function)
        with lines.open("a", encoding="utf-8") as file:
            for measurement in case(full):
                print(json.dumps(asdict(measurement)), file=file, flush=True)
    except Exception as error:
        traceback.print_exc(file=log)
        log.flush()
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:800]
    return ""


def read_measurements(path: Path) -> list[Any]:
    """Return the measurements in a file; a line that was cut off is left out."""
    from speed_records import Measurement

    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        found.append(Measurement(**values | {"values": tuple(values["values"])}))
    return found


def result_of(name: str, measurements: list[Any], seconds: float, failure: str) -> Any:
    """Return what became of a case."""
    from speed import CaseResult

    return CaseResult(name, 0.0, seconds, tuple(measurements), failure)


def write(out: Path, machine: dict[str, Any], plan: dict[str, Any], results: dict[str, Any], seconds: float) -> None:
    """Write gpu.json and gpu.md."""
    content = {
        "machine": machine, "device": plan["device"], "quick": plan["quick"], "seconds": round(seconds, 1),
        "cases": [result.as_json() for result in results.values()],
    }  # fmt: skip
    (out / "gpu.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "gpu.md").write_text("\n".join(page(machine, plan, results)) + "\n", encoding="utf-8")


def page(machine: dict[str, Any], plan: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """Return gpu.md by lines: the card's name, what was not met, a table of each case."""
    card = machine.get("card") if plan["device"] == "cuda" else None
    lines = [f"# {card or 'No GPU: this ran on the CPU, and says nothing of a GPU'}", ""]
    if plan["quick"]:
        lines += ["Quick: sizes too small to mean anything.", ""]
    names = ("driver", "cuda", "torch", "python", "processor", "cores", "memory_gib")
    lines += [", ".join(f"{name} {machine[name]}" for name in names if machine.get(name) is not None), ""]
    missed = [m for result in results.values() for m in result.measurements if m.met is False]
    failed = [result for result in results.values() if result.failure]
    lines += [f"- {result.case}: {result.failure}" for result in failed]
    lines += [f"- not met: {m.case}, {m.quantity}: {m.median:.4g} {m.unit} ({m.target})" for m in missed]
    lines += ["- all cases ran, all that was wanted is met"] if not missed and not failed else []
    for result in results.values():
        lines += ["", f"## {result.case} ({result.seconds:.0f} s)", ""]
        if result.measurements:
            lines += ["| case | quantity | median | ± | unit | n | wanted | met | note |", "|---|" + "---|" * 8]
        lines += [row(measurement) for measurement in result.measurements]
    return lines


def row(m: Any) -> str:
    """Return a line of a table."""
    met = {None: "", True: "yes", False: "**no**"}[m.met]
    spread = f"{m.spread:.2g}" if len(m.values) > 1 else ""
    columns = (m.case, m.quantity, f"{m.median:.4g}", spread, m.unit, len(m.values), m.target, met, m.note)
    return "| " + " | ".join(str(column).replace("|", "\\|") for column in columns) + " |"


if __name__ == "__main__":
    sys.exit(main())
