"""Values of a model file, each taken only where it is what it should be; all raise ValueError otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mlgle_lammps.records import Float64

LARGEST = 1e15
MOST_NUMBERS = 4096
LONGEST_UNIT = 40
REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def number(plain: Mapping[str, Any], name: str, least: float = -LARGEST, most: float = LARGEST) -> float:
    """Return a real number between two bounds."""
    value = plain[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{name} is {repr(value)[:40]}, not a number from {least:g} to {most:g}")
    return float(value)


def whole(value: Any, name: str, least: int = 0, most: int = 10**9) -> int:
    """Return a whole number between two bounds."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {repr(value)[:40]}, not a whole number from {least} to {most}")
    return value


def whole_numbers(plain: Mapping[str, Any], name: str, least: int = 0) -> tuple[int, ...]:
    """Return a list of whole numbers, none below ``least``."""
    values = plain[name]
    if not isinstance(values, list | tuple) or len(values) > MOST_NUMBERS:
        raise ValueError(f"{name} is no list of at most {MOST_NUMBERS} numbers")
    return tuple(whole(value, name, least) for value in values)


def unit(plain: Mapping[str, Any], name: str) -> str:
    """Return the name of a unit."""
    value = plain[name]
    if not isinstance(value, str) or len(value) > LONGEST_UNIT or not value.isprintable():
        raise ValueError(f"{name} is {repr(value)[:40]}, not the name of a unit")
    return value


def lines(plain: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of texts."""
    values = plain[name]
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} are no lines of text")
    return tuple(values)


def tensor(plain: Mapping[str, Any], name: str, most_bytes: int) -> torch.Tensor:
    """Return a dense tensor of finite real numbers on the CPU.

    Args:
        plain: where it is.
        name: its name.
        most_bytes: of the file; a tensor that claims more repeats what is there.
    """
    value = plain[name]
    dense = isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_nested
    if not dense or value.device.type != "cpu" or value.dtype not in REAL:
        raise ValueError(f"{name} is not a dense tensor of real numbers")
    if value.numel() * value.element_size() > most_bytes:
        raise ValueError(f"{name} claims a shape of {tuple(value.shape)}, larger than the file")
    if not bool((value.abs() < LARGEST).all()):
        raise ValueError(f"{name} has numbers that are not finite or beyond {LARGEST:g}")
    return value.detach()


def array(plain: Mapping[str, Any], name: str, most_bytes: int) -> Float64:
    """Return such a tensor in double precision."""
    result: Float64 = tensor(plain, name, most_bytes).to(torch.float64).numpy()
    return result
