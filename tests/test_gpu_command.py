"""`make gpu` where there is no GPU: it runs whole at its least sizes, says so, and outlives what goes wrong."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import gpu  # noqa: E402
import gpu_machine  # noqa: E402
import gpu_tests  # noqa: E402
from gpu_records import Plan  # noqa: E402
from speed_records import Measurement, judged  # noqa: E402


def plan_of(folder, **changes):
    values = {"device": "cpu", "quick": True, "repeats": 1, "deadline": time.time() + 500, "out": str(folder)}
    return values | changes


def replace_case(monkeypatch, name, run):
    module = type(sys)(f"gpu_case_{name}")
    vars(module)["run"] = run
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(gpu.CASES, name, (module.__name__, "run", 60))


def test_it_leaves_a_table_and_goes_on_after_a_failure(tmp_path, monkeypatch, capsys):
    def fail(plan):
        yield Measurement("half", "before it failed", "s", (1.5,))
        raise RuntimeError("no luck\nat all")

    replace_case(monkeypatch, "training", fail)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--quick", "--out", str(tmp_path), "--cases", "training,same_steps,likelihoods"]) == 1
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert (content["device"], content["machine"]["card"], content["quick"]) == ("cpu", None, True)
    failed, steps, likelihoods = content["cases"]
    assert failed["failure"] == "RuntimeError: no luck at all"
    assert failed["measurements"][0]["median"] == 1.5
    assert (steps["failure"], likelihoods["failure"]) == ("", "")
    assert len(steps["measurements"]) == 6
    assert all(m["met"] for case in (steps, likelihoods) for m in case["measurements"])
    text = (tmp_path / "gpu.md").read_text()
    assert text.startswith("# No GPU")
    assert "- training: RuntimeError: no luck at all" in text
    assert "Traceback" in (tmp_path / "gpu.log").read_text()
    assert "| half | before it failed | 1.5 |" in capsys.readouterr().out


@pytest.mark.slow
def test_all_of_it_runs_at_its_least_sizes(tmp_path):
    assert gpu.main(["--quick", "--out", str(tmp_path), "--device", "cpu"]) == 0
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert [case["case"] for case in content["cases"]] == list(gpu.CASES)
    assert all(case["measurements"] for case in content["cases"])


def test_generation_and_training_are_timed(tmp_path):
    plan = Plan("cpu", True, 1, time.time() + 100, tmp_path)
    from gpu_generation import of_kind
    from gpu_training import run

    found = [*of_kind(plan, "core", 6, 128, "case"), *run(plan)]
    ratios = [m for m in found if m.unit == "×"]
    assert len(ratios) == 4
    assert all(m.median > 0 for m in found)
    assert all(m.met is None for m in ratios)  # of quick sizes nothing is asked


def test_what_comes_after_the_budget_is_skipped_by_name(tmp_path, capsys):
    assert gpu.main(["--quick", "--out", str(tmp_path), "--budget-s", "-1", "--cases", "graphs,training"]) == 0
    text = (tmp_path / "gpu.md").read_text()
    assert f"- graphs: {gpu.SKIPPED}" in text
    assert f"- training: {gpu.SKIPPED}" in text
    capsys.readouterr()


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("print('well')", ""),
        ("import os; os._exit(3)", "ended with 3"),
        ("import time; time.sleep(60)", "took more than 2 s and was ended"),
        ("import sys; print('failed: so', file=sys.stderr); sys.exit(1)", "so"),
    ],
)
def test_a_process_that_dies_or_hangs_leaves_a_line(tmp_path, code, failure):
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        assert gpu.in_process([sys.executable, "-c", code], 2.0 if "sleep" in code else 60.0, log) == failure


def test_a_case_in_a_process_of_its_own(tmp_path):
    log = gpu.Log(tmp_path / "gpu.log")
    result = gpu.run_case("same_steps", plan_of(tmp_path), True, log)
    assert result.failure == ""
    assert len(result.measurements) == 6


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "measurements"
    path.write_text(json.dumps({"case": "a", "quantity": "b", "unit": "s", "values": [1.0, 3.0]}) + '\n{"case": "c"')
    assert [(m.case, m.median) for m in gpu.read_measurements(path)] == [("a", 2.0)]


def test_the_page_says_what_was_not_met(tmp_path):
    missed = gpu.result_of("training", [judged("paper", "ratio", "×", (20.0,), at_least=50)], 1.0, "")
    lines = gpu.page({"card": "NVIDIA H200", "torch": "2.11"}, plan_of(tmp_path, device="cuda"), {"training": missed})
    assert lines[0] == "# NVIDIA H200"
    assert "- not met: paper, ratio: 20 × (≥ 50)" in lines
    met = gpu.result_of("training", [judged("paper", "ratio", "×", (60.0,), at_least=50)], 1.0, "")
    assert "all cases ran" in "\n".join(gpu.page({"card": "x"}, plan_of(tmp_path, device="cuda"), {"training": met}))


def test_packages_are_listed_found_or_missing(monkeypatch):
    found = gpu_machine.machine()
    assert {"torch", "numpy", "scipy", "h5py", "safetensors", "lammps", "mpi4py"} <= set(found["packages"])
    found["packages"]["safetensors"] = None
    assert "safetensors MISSING (for model files)" in "\n".join(gpu_machine.describe(found | {"card": None}))
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None if name == "scipy" else object())
    assert gpu.what_is_missing().startswith("missing: scipy")


def test_marked_tests_are_found_and_need_neither_lammps_nor_mpi():
    names = [Path(path).name for path in gpu_tests.marked()]
    assert {"test_gpu.py", "test_captured.py"} <= set(names)
    hidden = (
        "import sys; sys.modules.update(lammps=None, mpi4py=None); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    command = [
        sys.executable,
        "-c",
        hidden,
        *gpu_tests.marked(),
        "-m",
        "gpu",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    answer = subprocess.run(command, cwd=BENCHMARKS.parent, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
    found = dict(line.split(": ") for line in answer.stdout.split("\n") if ": " in line)
    assert int(found["tests/test_gpu.py"]) > 30


def test_unknown_cases_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        gpu.main(["--cases", "sleeping", "--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert "no case sleeping; there are tests" in capsys.readouterr().err
