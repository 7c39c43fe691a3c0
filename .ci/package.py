"""Build wheel and sdist, look into them, and use the wheel as somebody does who has nothing but it.

    python3 .ci/package.py --out runs/package          (make package; needs Python 3.11 or newer and a package index)

In OUT: ``dist/`` with both files, ``tools/`` and ``env/`` (environments: what builds, and the wheel alone under
constraints.txt), ``work/`` (a melt and a deck made there, and its run), ``sdist/`` (unpacked; a few of its tests run
against the installed wheel). What a pip user needs at run time is the package with its page templates: decks and
potentials are examples to copy and edit, no command reads them, and they come with the sdist.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "mlgle_lammps"
FOLDERS = (PACKAGE, ".ci", ".github", "benchmarks", "conda", "docs", "lammps_inputs", "potentials", "tests")
"""Folders whose every file the sdist holds; the first is the wheel's."""
FILES = ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile", "README.md",
         "constraints.txt", "pyproject.toml")  # fmt: skip
NOT_SHIPPED = {"__pycache__", ".hypothesis", ".pytest_cache", "log.lammps"}
TESTS = ("tests/test_package.py", "tests/test_build.py", "tests/test_decks.py")
DECK = """
units lj
atom_style bond
newton on
read_data melt.data
timestep 0.00075
pair_style none
comm_modify cutoff 10.0
bond_style harmonic
bond_coeff 1 1.5 0.0
fix move all brownian 1.0 1 gamma_t 1.0 rng gaussian
#mlgle production
run 100000
"""
IDEAL = ("--units", "lj", "--chains", "20", "--beads", "10", "--density", "0.02", "--bond", "1",
         "--bond-distribution", "gaussian", "--closest", "0")  # fmt: skip
SHORT = ("--every", "20", "--memory", "16", "--modes", "2", "--train-frames", "60", "--val-frames", "30",
         "--generate-steps", "100", "--ensemble", "10", "--threads", "1")  # fmt: skip
IMPORT_ALL = f"""
import importlib, pkgutil, {PACKAGE}
names = [module.name for module in pkgutil.walk_packages({PACKAGE}.__path__, "{PACKAGE}.")]
for name in names:
    importlib.import_module(name)
print(len(names), "modules of", {PACKAGE}.__version__, "in", {PACKAGE}.__file__)
"""


class Complaint(Exception):
    """What is wrong with the package, in one line."""


def files_below(folder: Path) -> set[str]:
    """Return the files of a folder of the checkout that belong to the package, by their paths in the checkout."""
    paths = (path.relative_to(ROOT) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if not NOT_SHIPPED & set(path.parts)}


def check_wheel(wheel: Path) -> int:
    """Return how many files the wheel holds; raise Complaint where it is not the package, all of it and no more."""
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if not name.endswith("/")}
    metadata = {name for name in held if name.split("/")[0].endswith(".dist-info")}
    _same(held - metadata, files_below(ROOT / PACKAGE), wheel.name)
    for wanted in ("METADATA", "entry_points.txt", "LICENSE"):
        if not any(name.endswith(f"/{wanted}") for name in metadata):
            raise Complaint(f"{wheel.name} holds no {wanted}")
    return len(held)


def check_sdist(sdist: Path) -> int:
    """Return how many files the sdist holds; raise Complaint where one is missing that building or tests need."""
    with tarfile.open(sdist) as file:
        held = {name.split("/", 1)[1] for name in (member.name for member in file if member.isfile())}
    wanted = set(FILES).union(*(files_below(ROOT / folder) for folder in FOLDERS))
    made = {name for name in held if name in ("PKG-INFO", "setup.cfg", ".gitignore", ".pre-commit-config.yaml")}
    _same({name for name in held - made if f"{PACKAGE}.egg-info" not in name}, wanted, sdist.name)
    return len(held)


def _same(held: set[str], wanted: set[str], name: str) -> None:
    for what, files in (("does not hold", wanted - held), ("holds what is not in the checkout:", held - wanted)):
        if files:
            more = f" and {len(files) - 5} more" if len(files) > 5 else ""
            raise Complaint(f"{name} {what} {', '.join(sorted(files)[:5])}{more}")


def say(*words: object) -> None:
    """Print a line at once."""
    print("package:", *words, flush=True)


def call(*command: object, cwd: Path = ROOT) -> str:
    """Run a command without PYTHONPATH; return what it printed; raise Complaint with its end where it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    words = [str(word) for word in command]
    told = subprocess.run(
        words, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    if told.returncode:
        print(told.stdout[-4000:], file=sys.stderr)
        raise Complaint(f"exit code {told.returncode} of: {' '.join(words)}")
    return told.stdout.strip()


def environment(folder: Path, *requirements: object) -> Path:
    """Return the folder with the programs of a new environment that holds what is required, and no more."""
    venv.create(folder, with_pip=True, clear=True)
    programs = folder / "bin"
    pip(programs, *requirements)
    return programs


def pip(programs: Path, *requirements: object) -> None:
    """Install under the versions of constraints.txt."""
    options = ("--quiet", "--disable-pip-version-check", "--constraint", ROOT / "constraints.txt")
    call(programs / "python", "-m", "pip", "install", *options, *requirements)


def build(out: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it, in an environment made for this; return wheel and sdist."""
    programs = environment(out / "tools", "build")
    shutil.rmtree(out / "dist", ignore_errors=True)
    call(programs / "python", "-m", "build", "--outdir", out / "dist", ROOT)
    (wheel,), (sdist,) = (out / "dist").glob("*.whl"), (out / "dist").glob("*.tar.gz")
    return wheel, sdist


def use(wheel: Path, out: Path) -> Path:
    """Install the wheel alone, and go from a start structure to D with it; return its environment's programs."""
    programs = environment(out / "env", wheel)
    work = out / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    told = call(programs / "mlgle", "--version", cwd=work)
    say(told.replace("\n", "\npackage:"))
    if told.split()[1] != wheel.name.split("-")[1]:
        raise Complaint(f"{wheel.name} says that it is {told.splitlines()[0]}")
    told = call(programs / "python", "-c", IMPORT_ALL, cwd=work)
    say(told)
    if str(programs.parent) not in told:
        raise Complaint(f"{PACKAGE} was not imported from the environment {programs.parent}")
    say(call(programs / "mlgle", "build", "melt.data", *IDEAL, cwd=work))
    (work / "in.melt").write_text(DECK, encoding="utf-8")
    run = (programs / "mpirun", "-n", 2, programs / "mlgle", "run", "in.melt", *SHORT)
    say(call(*run, "--check", cwd=work))
    call(*run, "--out", "run", cwd=work)
    result = json.loads((work / "run" / "result.json").read_text(encoding="utf-8"))
    if not (work / "run" / "report.html").is_file():
        raise Complaint("the run left no report.html")
    low, high = result["D"]["ci95"]
    say(f"run: {result['status']}, D {result['D']['value']:.2g} ({low:.2g} to {high:.2g}; exact: 0.1), report.html")
    return programs


def run_tests(sdist: Path, programs: Path, out: Path) -> None:
    """Run a few light tests of the unpacked sdist against the installed wheel."""
    shutil.rmtree(out / "sdist", ignore_errors=True)
    with tarfile.open(sdist) as file:
        file.extractall(out / "sdist", filter="data")
    (folder,) = (out / "sdist").iterdir()
    pip(programs, "pytest", "PyYAML")
    say(call(programs / "pytest", *TESTS, cwd=folder).splitlines()[-1])


def main() -> int:
    """Build, look, use; return the exit code."""
    parser = argparse.ArgumentParser(description="Build wheel and sdist, and try them in an empty environment.")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "package", help="default runs/package")
    out = parser.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    try:
        wheel, sdist = build(out)
        say(f"{wheel.name}: {check_wheel(wheel)} files, {wheel.stat().st_size / 1e3:.0f} kB")
        say(f"{sdist.name}: {check_sdist(sdist)} files, {sdist.stat().st_size / 1e3:.0f} kB")
        run_tests(sdist, use(wheel, out), out)
    except Complaint as complaint:
        print(f"package: error: {complaint}", file=sys.stderr)
        return 1
    say(f"all is well: {out / 'dist'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
