"""Values of a model file, each taken only where it is what it should be; all raise ValueError otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from mlgle_lammps.plain import JsonMapping, JsonObject
from mlgle_lammps.records import Float64, ModeReport

LARGEST = 1e15
SMALLEST = 1e-30
MOST_NUMBERS = 4096
LONGEST_UNIT = 40
REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def number(plain: JsonMapping, name: str, least: float = -LARGEST, most: float = LARGEST) -> float:
    """Return a real number between two bounds."""
    value = plain[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{name} is {repr(value)[:40]}, not a number from {least:g} to {most:g}")
    return float(value)


def whole(value: object, name: str, least: int = 0, most: int = 10**9) -> int:
    """Return a whole number between two bounds."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {repr(value)[:40]}, not a whole number from {least} to {most}")
    return value


def whole_numbers(plain: JsonMapping, name: str, least: int = 0) -> tuple[int, ...]:
    """Return a list of whole numbers, none below ``least``."""
    values = plain[name]
    if not isinstance(values, list | tuple) or len(values) > MOST_NUMBERS:
        raise ValueError(f"{name} is no list of at most {MOST_NUMBERS} numbers")
    return tuple(whole(value, name, least) for value in values)


def unit(plain: JsonMapping, name: str) -> str:
    """Return the name of a unit."""
    value = plain[name]
    if not isinstance(value, str) or len(value) > LONGEST_UNIT or not value.isprintable():
        raise ValueError(f"{name} is {repr(value)[:40]}, not the name of a unit")
    return value


def lines(plain: JsonMapping, name: str) -> tuple[str, ...]:
    """Return a list of texts."""
    values = plain[name]
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} are no lines of text")
    return tuple(values)


def tensor(plain: JsonMapping, name: str, most_bytes: int) -> torch.Tensor:
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


def array(plain: JsonMapping, name: str, most_bytes: int) -> Float64:
    """Return such a tensor in double precision."""
    result: Float64 = tensor(plain, name, most_bytes).to(torch.float64).numpy()
    return result


def tensors(plain: JsonMapping, name: str, most_bytes: int) -> dict[str, torch.Tensor]:
    """Return tensors by name, each such a one."""
    found = dict(plain[name])
    return {own: tensor(found, own, most_bytes) for own in found}


def plain_reports(reports: Sequence[ModeReport]) -> list[JsonObject]:
    """Return the reports of modes as JSON has them, likelihoods that are not finite as None."""
    return [
        {
            "mode": report.mode, "model": report.model, "val_nll": _finite(report.val_nll),
            "core_nll": _finite(report.core_nll), "details": report.details,
        }
        for report in reports
    ]  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def reports(plain: JsonMapping, name: str) -> tuple[ModeReport, ...]:
    """Return the reports of modes."""
    values = plain[name]
    if not isinstance(values, list | tuple) or len(values) > MOST_NUMBERS:
        raise ValueError(f"{name} is no list of at most {MOST_NUMBERS} reports")
    return tuple(_report(value) for value in values)


def _report(value: object) -> ModeReport:
    if not isinstance(value, dict) or set(value) != {"mode", "model", "val_nll", "core_nll", "details"}:
        raise ValueError(f"{repr(value)[:40]} is no report of a mode")
    if not isinstance(value["model"], str) or not isinstance(value["details"], dict):
        raise ValueError("a report of a mode without its model or details")
    val_nll, core_nll = _likelihood(value["val_nll"]), _likelihood(value["core_nll"])
    return ModeReport(whole(value["mode"], "mode", 1), value["model"], val_nll, core_nll, value["details"])


def _likelihood(value: object) -> float:
    """Return a likelihood, NaN for None."""
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a likelihood is {repr(value)[:40]}")
    return float(value)


def expect_shape(name: str, found: Sequence[int], wanted: tuple[int, ...]) -> None:
    """Raise ValueError where a shape is another one."""
    if tuple(found) != wanted:
        raise ValueError(f"{name} has shape {tuple(found)}, expected {wanted}")


def expect_tensors(found: Mapping[str, torch.Tensor], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError where tensors are missing, unknown, or of other shapes; ``wanted`` are the shapes by name."""
    if unknown := set(found) - set(wanted):
        raise ValueError(f"unknown tensors {', '.join(sorted(map(str, unknown)))[:80]}")
    if missing := set(wanted) - set(found):
        raise ValueError(f"missing tensors {', '.join(sorted(missing))[:80]}")
    for name, shape in wanted.items():
        expect_shape(name, found[name].shape, shape)


def check_sigmas(sigma: Float64, sigma_increment: Float64, n_modes: int) -> None:
    """Raise ValueError unless σ_z and σ_Δz are of n modes and σ_z is above zero."""
    for name, values in (("sigma", sigma), ("sigma_increment", sigma_increment)):
        expect_shape(name, values.shape, (n_modes,))
    if not (sigma > SMALLEST).all():
        raise ValueError("a variance that is not positive")
