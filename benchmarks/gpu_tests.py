"""The tests marked gpu, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from gpu_records import Plan
from speed_records import Measurement

TESTS = Path(__file__).parent.parent / "tests"
LONGEST = 160.0
MOST_THREADS = 4


def marked() -> list[str]:
    """Return the test files that have tests marked gpu; others may need packages that are not there."""
    return sorted(str(path) for path in TESTS.glob("test_*.py") if "mark.gpu" in path.read_text(encoding="utf-8"))


def run(plan: Plan) -> Iterator[Measurement]:
    """Yield how many tests passed, failed and were skipped.

    Raises:
        RuntimeError: a test failed, or none could be run.
    """
    report = plan.out / "tests.xml"
    report.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "pytest", *marked(), "-m", "gpu", "-p", "no:cacheprovider", "-v", "--tb=short",
        "--durations=10", "-o", "faulthandler_timeout=60", f"--junitxml={report}",
    ]  # fmt: skip
    limit = max(30.0, min(LONGEST, plan.left - 60))
    environment = os.environ | {"OMP_NUM_THREADS": str(min(MOST_THREADS, os.cpu_count() or 1))}  # their work is small
    try:
        status = subprocess.run(command, cwd=TESTS.parent, timeout=limit, check=False, env=environment).returncode
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the tests took more than {limit:.0f} s and were ended") from None
    if not report.is_file():
        raise RuntimeError(f"pytest ended with {status} and without a report")
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    failed = [c.get("name", "") for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = sum(c.find("skipped") is not None for c in cases)
    seconds = sum(float(c.get("time", 0)) for c in cases)
    passed = len(cases) - len(failed) - skipped
    note = "" if plan.on_gpu else "no GPU: they are skipped"
    yield Measurement("tests marked gpu", "passed", "tests", (float(passed),), note=f"{seconds:.0f} s")
    yield Measurement("tests marked gpu", "failed", "tests", (float(len(failed)),), "≤ 0", not failed)
    yield Measurement("tests marked gpu", "skipped", "tests", (float(skipped),), note=note)
    if failed:
        raise RuntimeError(f"{len(failed)} tests failed: " + ", ".join(failed)[:600])
    if plan.on_gpu and not passed:
        raise RuntimeError("no test was run")
