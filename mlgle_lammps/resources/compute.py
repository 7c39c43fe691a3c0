"""Where torch computes: the device and the number of threads."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

import torch

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.devices import device_names

LEARNER_NICENESS = 5
"""Of the thread that learns beside MD, above that of MD; a core that both want goes to MD by three to one."""


def resolve_devices(name: str) -> tuple[torch.device, ...]:
    """Return the device, or those that share the work, the first of which leads.

    Args:
        name: see ``options.devices``. Of CPUs torch has one, whatever its number.

    Raises:
        UserError: not such a name, or a device that torch does not find.
    """
    names = device_names(name)
    if names == ("auto",):
        return (torch.device("cuda" if torch.cuda.is_available() else "cpu"),)
    devices = tuple(torch.device(own) for own in names)
    if devices[0].type == "cuda":
        _require_cuda(devices)
    return devices


def _require_cuda(devices: tuple[torch.device, ...]) -> None:
    n_found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not n_found:
        raise UserError(
            f"`device` {devices[0]} was asked for, but torch finds no CUDA device; use `device` cpu or auto"
        )
    if absent := [device for device in devices if (device.index or 0) >= n_found]:
        there = ", ".join(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(n_found))
        raise UserError(f"`device` {absent[0]} was asked for, but torch finds {there} alone")


def resolve_device(name: str) -> torch.device:
    """Return the device, the leading one of several; raise UserError as `resolve_devices` does."""
    return resolve_devices(name)[0]


def describe_device(*devices: torch.device) -> str:
    """Return the hardware's name on CUDA, "cpu" otherwise; of several devices all names."""
    if devices[0].type != "cuda":
        return "cpu" if len(devices) == 1 else ", ".join(map(str, devices))
    return ", ".join(torch.cuda.get_device_name(device) for device in devices)


def on_device(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return a context in which CUDA's streams, graphs and kernels are those of this device."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_threads(n: int) -> None:
    """Let torch compute with so many threads from now on."""
    torch.set_num_threads(n)


def give_way() -> None:
    """Let MD go before this thread, and before those that it starts, where both want one core.

    Where the priority of a thread cannot be set (it is Linux that knows threads' own), all stays as it is.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            own = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(own + LEARNER_NICENESS, 19))
