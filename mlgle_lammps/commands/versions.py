"""What ``mlgle --version`` says: this package, what it stands on, and the devices, also where parts are missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from mlgle_lammps import __version__
from mlgle_lammps.errors import one_line

NOT_INSTALLED = "not installed"
PATIENCE = 60.0
"""Seconds for a question to another process: importing torch from a cold disk takes long."""

MPI = """
import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
print(MPI.Get_library_version())
"""
GPUS = """
import torch
for i in range(torch.cuda.device_count()):
    card = torch.cuda.get_device_properties(i)
    print(f"cuda:{i} {card.name} ({card.total_memory / 2**30:.0f} GiB)")
"""


def lines() -> list[str]:
    """Return what ``mlgle --version`` prints; the first line is name and version of this package.

    Versions are those of the installed packages, and nothing is imported for them. The MPI library and the GPUs are
    asked for by other processes, so that an MPI or a driver that ends its process ends no command.
    """
    parts = {
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "LAMMPS": package_version("lammps"),
        "mpi4py": package_version("mpi4py"),
        "MPI": mpi_library(),
        "torch": package_version("torch"),
        "devices": devices(),
    }
    return [f"mlgle {__version__}"] + [f"  {name:8s}{value}" for name, value in parts.items()]


def package_version(name: str) -> str:
    """Return the version of an installed package, NOT_INSTALLED without it.

    A module that no installer brought (LAMMPS's own, on a cluster's PYTHONPATH) is asked for its ``__version__``.
    """
    try:
        return metadata.version(name) or "of unknown version"
    except metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return NOT_INSTALLED
    try:
        text = Path(spec.origin).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    written = re.search(r"""^__version__ *= *["']?([\w.+-]+)""", text, re.MULTILINE)
    return f"{written[1] if written else 'of unknown version'} ({spec.origin})"


def mpi_library() -> str:
    """Return name and version of the MPI that mpi4py finds, such as "MPICH 5.0.2"; without one, why there is none."""
    if package_version("mpi4py") == NOT_INSTALLED:
        return f"{NOT_INSTALLED} (mpi4py is not)"
    found, answer = _ask(MPI)
    first = re.split(r"[\n,]", answer)[0].replace("Version:", " ")
    return one_line(first) if found else f"not usable: {answer}"


def devices() -> str:
    """Return the CPU and the GPUs that torch can use."""
    cpu = f"cpu ({len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores)"
    if package_version("torch") == NOT_INSTALLED:
        return f"{cpu}; of GPUs nothing is known without torch"
    found, answer = _ask(GPUS)
    if not found:
        return f"{cpu}; torch cannot be used: {answer}"
    return ", ".join([cpu, *answer.splitlines()]) if answer else f"{cpu}; no GPU that torch can use"


def _ask(program: str) -> tuple[bool, str]:
    """Return whether a program ran in a Python of its own, and what it printed; else the last line of its complaint."""
    command = [sys.executable, "-P", "-c", program]
    try:
        told = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return False, f"no answer within {PATIENCE:g} s"
    except OSError as error:
        return False, one_line(error)
    if told.returncode == 0:
        return True, told.stdout.replace("\0", "").strip()
    complaint = told.stderr.strip().splitlines()
    return False, one_line(complaint[-1] if complaint else f"the process ended with {told.returncode}")
