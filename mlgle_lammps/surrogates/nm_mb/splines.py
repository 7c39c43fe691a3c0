"""Cubic B-splines of a distance that vanish smoothly at a cutoff; linear in their coefficients."""

from __future__ import annotations

import torch


def spline_weights(distance: torch.Tensor, cutoff: float, n_knots: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first of four successive coefficients at each distance, (P,), and their weights, (P, 4).

    Args:
        distance: (P,), from 0 to the cutoff; beyond, the last coefficients, which are 0, are taken.
        cutoff: length.
        n_knots: intervals from 0 to the cutoff; there are n_knots + 3 coefficients.
    """
    scaled = distance * (n_knots / cutoff)
    index = scaled.detach().floor().clamp(0, n_knots - 1).long()
    u = (scaled - index).clamp(0.0, 1.0)
    u2, u3 = u * u, u * u * u
    weights = torch.stack([(1 - u) ** 3, 3 * u3 - 6 * u2 + 4, -3 * u3 + 3 * u2 + 3 * u + 1, u3], dim=-1) / 6
    return index, weights


def spline_basis(distance: torch.Tensor, cutoff: float, n_knots: int) -> torch.Tensor:
    """Return (P, n_knots) values of the splines with a free coefficient: the last three are 0, and so is the end."""
    index, weights = spline_weights(distance, cutoff, n_knots)
    basis = torch.zeros(len(distance), n_knots + 3, dtype=distance.dtype, device=distance.device)
    basis = basis.scatter_add(1, index[:, None] + torch.arange(4, device=distance.device), weights)
    return basis[:, :n_knots]


def spline_values(coefficients: torch.Tensor, distance: torch.Tensor, cutoff: float) -> torch.Tensor:
    """Return (P, channel) values of splines.

    Args:
        coefficients: (n_knots, channel); three more are 0, so that value, slope and curvature vanish at the cutoff.
        distance: (P,).
        cutoff: length.
    """
    n_knots = len(coefficients)
    index, weights = spline_weights(distance, cutoff, n_knots)
    whole = torch.cat([coefficients, coefficients.new_zeros(3, coefficients.shape[1])])
    return sum(weights[:, k, None] * whole[index + k] for k in range(4))  # type: ignore[return-value]
