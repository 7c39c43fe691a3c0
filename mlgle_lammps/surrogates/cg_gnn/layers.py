"""Small parts that the networks share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def perceptron(
    n_in: int,
    n_hidden: int,
    n_out: int,
    *,
    n_layers: int = 1,
    zero: bool = False,
    activation: Callable[[], nn.Module] = nn.SiLU,
) -> nn.Sequential:
    """Return a perceptron of ``n_layers`` hidden layers; with ``zero`` its output is zero before training."""
    layers: list[nn.Module] = []
    for width in [n_in, *[n_hidden] * (n_layers - 1)]:
        layers += [nn.Linear(width, n_hidden), activation()]
    last = nn.Linear(n_hidden, n_out)
    if zero:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def summed_onto(values: torch.Tensor, places: torch.Tensor, n_places: int) -> torch.Tensor:
    """Return sums of rows (row, feature) that share a place, (n_places, feature)."""
    return values.new_zeros(n_places, values.shape[1]).index_add(0, places, values)


def meaned_onto(values: torch.Tensor, places: torch.Tensor, n_places: int) -> torch.Tensor:
    """Return means of rows (row, feature) that share a place, (n_places, feature); zero where there are none."""
    counts = torch.bincount(places, minlength=n_places).clamp(min=1).to(values.dtype)
    return summed_onto(values, places, n_places) / counts.unsqueeze(1)


def parted_pairs(places: torch.Tensor, n: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (n, P) matrices of pairs (2, P) i < j: sums of both ends, and first less second."""
    one = torch.nn.functional.one_hot(places[0], n).T.to(dtype)
    other = torch.nn.functional.one_hot(places[1], n).T.to(dtype)
    return one + other, one - other
