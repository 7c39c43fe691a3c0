"""Where torch computes: the device and the number of threads."""

from __future__ import annotations

import os

import torch

from mlgle_lammps.errors import UserError


def resolve_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu" or "cuda"; raise UserError where CUDA is asked for and absent."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("`device` cuda was asked for, but torch finds no CUDA device; use `device` cpu or auto")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def describe_device(device: torch.device) -> str:
    """Return the hardware's name on CUDA, "cpu" otherwise."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_threads(n: int) -> None:
    """Let torch compute with so many threads from now on."""
    torch.set_num_threads(n)
