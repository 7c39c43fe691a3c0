"""The learned model as a frozen record, and its file: tensors and plain values, never a pickle of code."""

from __future__ import annotations

import os
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.records import Float32, Float64, ModeReport
from mlgle_lammps.surrogates.ml_gle import equivariant, plain_values, published
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore

SCHEMA = 1
SMALLEST = 1e-30
DT_BOUNDS = 1e-50, 1e50
_FORMAT = "mlgle surrogate"


@dataclass(frozen=True)
class Networks:
    """Networks of some modes, one batch.

    Attributes:
        modes: 0-based indices of the modes that have one.
        architecture: lags and windows; None for the published network.
        tensors: weights and scales by name, network axis first, on the CPU.
    """

    modes: tuple[int, ...]
    architecture: equivariant.Architecture | None
    tensors: dict[str, torch.Tensor]


@dataclass(frozen=True)
class ModeModel:
    """What training yields: the dynamics of all modes.

    Attributes:
        preset: "default" or "paper".
        memory: m, frames of history.
        sigma: σ_z per component of each mode, length units.
        sigma_increment: σ_Δz, likewise.
        core: linear core of all modes (with ``paper`` it is fitted but generates nothing).
        networks: None where no mode has one.
        reports: one per mode.
        notes: what went differently from the plan, one line each.
    """

    preset: str
    memory: int
    sigma: Float64
    sigma_increment: Float64
    core: LinearCore
    networks: Networks | None
    reports: tuple[ModeReport, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Surrogate:
    """All that the integrator needs.

    Attributes:
        model: dynamics of the modes.
        alpha: α, length/√time.
        beta_sq: β² as fitted (may be negative; the generator takes max(β², 0)).
        dt: time between two frames.
        time_unit: of ``dt``.
        length_unit: of positions.
        history: recorded modes that seed the generator, (time >= m, chain, mode, 3) float32, deck units.
    """

    model: ModeModel
    alpha: float
    beta_sq: float
    dt: float
    time_unit: str
    length_unit: str
    history: Float32

    @property
    def n_modes(self) -> int:
        """Number k of modes."""
        return self.model.core.n_modes

    def save(self, path: Path) -> None:
        """Write the surrogate atomically: first a neighbour file, then a rename."""
        temporary = path.with_name(path.name + ".tmp")
        torch.save(_to_plain(self), temporary)
        os.replace(temporary, path)

    @staticmethod
    def load(path: Path) -> Surrogate:
        """Read a surrogate; raise UserError on a file that is missing, corrupt or of another kind or schema.

        Only tensors and plain values are read (``weights_only``): no code in the file can run.
        """
        if not path.is_file():
            raise UserError(f"{path} does not exist; it is written by a run that ended with a trained model")
        try:
            require_whole(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                plain = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a bad file
            what = (
                f"{type(error).__name__}: {one_line(error)}" if isinstance(error, ValueError) else type(error).__name__
            )
            raise UserError(f"{path} is not a readable model file ({what}); train again") from error
        if not isinstance(plain, dict) or plain.get("format") != _FORMAT:
            raise UserError(f"{path} is not a model of this program; give a run folder's model.pt")
        if plain.get("schema") != SCHEMA:
            raise UserError(
                f"{path} has model schema {plain.get('schema')!r}, this program reads {SCHEMA}; train again"
            )
        try:
            surrogate = _from_plain(plain, path.stat().st_size)
            _check(surrogate)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
            raise UserError(f"{path} is damaged ({type(error).__name__}: {one_line(error)}); train again") from error
        return surrogate


def require_whole(path: Path) -> None:
    """Raise ValueError or BadZipFile where a record is not what was saved; torch looks at no checksum."""
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.compress_type != zipfile.ZIP_STORED or record.file_size > path.stat().st_size:
                raise ValueError(f"record {record.filename[:40]!r} is not stored as torch does")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"record {damaged[:40]!r} is damaged")


def _to_plain(surrogate: Surrogate) -> dict[str, Any]:
    model = surrogate.model
    networks = model.networks
    architecture = networks.architecture if networks else None
    return {
        "format": _FORMAT, "schema": SCHEMA, "preset": model.preset, "memory": model.memory,
        "sigma": torch.tensor(model.sigma), "sigma_increment": torch.tensor(model.sigma_increment),
        "coefficients": torch.tensor(model.core.coefficients), "orders": list(model.core.orders),
        "innovation_variance": torch.tensor(model.core.innovation_variance),
        "network_modes": list(networks.modes) if networks else [],
        "lags": list(architecture.lags) if architecture else [],
        "windows": list(architecture.windows) if architecture else [],
        "tensors": {name: t.detach().cpu().clone() for name, t in networks.tensors.items()} if networks else {},
        "reports": [
            {"mode": r.mode, "model": r.model, "val_nll": r.val_nll, "core_nll": r.core_nll, "details": r.details}
            for r in model.reports
        ],
        "notes": list(model.notes),
        "alpha": float(surrogate.alpha), "beta_sq": float(surrogate.beta_sq), "dt": float(surrogate.dt),
        "time_unit": surrogate.time_unit, "length_unit": surrogate.length_unit,
        "history": torch.tensor(surrogate.history),
    }  # fmt: skip


def _from_plain(plain: dict[str, Any], most_bytes: int) -> Surrogate:
    """Return the surrogate in a file of ``most_bytes``; shapes and values are checked one by one, not together."""
    networks = None
    if modes := plain_values.whole_numbers(plain, "network_modes"):
        architecture = None
        if plain["preset"] != "paper":
            lags, windows = (plain_values.whole_numbers(plain, name, 1) for name in ("lags", "windows"))
            architecture = equivariant.Architecture(lags, windows)
        tensors = dict(plain["tensors"])
        networks = Networks(modes, architecture, {n: plain_values.tensor(tensors, n, most_bytes) for n in tensors})
    core = LinearCore(
        plain_values.array(plain, "coefficients", most_bytes), plain_values.whole_numbers(plain, "orders", 1),
        plain_values.array(plain, "innovation_variance", most_bytes),
    )  # fmt: skip
    sigma, sigma_increment = (plain_values.array(plain, name, most_bytes) for name in ("sigma", "sigma_increment"))
    model = ModeModel(
        plain["preset"], plain_values.whole(plain["memory"], "memory", 1), sigma, sigma_increment, core, networks,
        tuple(ModeReport(**report) for report in plain["reports"]), plain_values.lines(plain, "notes"),
    )  # fmt: skip
    return Surrogate(
        model, plain_values.number(plain, "alpha", 0.0), plain_values.number(plain, "beta_sq"),
        plain_values.number(plain, "dt", *DT_BOUNDS), plain_values.unit(plain, "time_unit"),
        plain_values.unit(plain, "length_unit"),
        plain_values.tensor(plain, "history", most_bytes).to(torch.float32).numpy(),
    )  # fmt: skip


def _expect(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(found) != wanted:
        raise ValueError(f"{name} has shape {tuple(found)}, expected {wanted}")


def _check(surrogate: Surrogate) -> None:
    """Raise ValueError where shapes or values do not fit together."""
    model, k = surrogate.model, surrogate.n_modes
    if model.preset not in ("default", "paper"):
        raise ValueError(f"unknown preset {model.preset!r}")
    if k < 1:
        raise ValueError("no modes")
    if any(not 1 <= order <= model.memory for order in model.core.orders):
        raise ValueError(f"orders {model.core.orders} are not within the memory of {model.memory}")
    _expect("coefficients", model.core.coefficients.shape, (k, max(model.core.orders)))
    for name in ("sigma", "sigma_increment"):
        _expect(name, getattr(model, name).shape, (k,))
    _expect("innovation_variance", model.core.innovation_variance.shape, (k,))
    if surrogate.history.ndim != 4 or surrogate.history.shape[0] < model.memory:
        raise ValueError(f"history of shape {surrogate.history.shape} is shorter than the memory of {model.memory}")
    _expect("history", surrogate.history.shape[2:], (k, 3))
    if surrogate.history.shape[1] < 1:
        raise ValueError("a history without chains")
    if not (model.sigma > SMALLEST).all() or not (model.core.innovation_variance >= 0).all():
        raise ValueError("a variance that is not positive")
    if model.networks is not None:
        _check_networks(model, k)
    elif model.preset == "paper":
        raise ValueError("a published model without its networks")


def _check_networks(model: ModeModel, k: int) -> None:
    networks = model.networks
    if networks is None:
        return
    if len(set(networks.modes)) != len(networks.modes) or not all(0 <= j < k for j in networks.modes):
        raise ValueError(f"networks for modes {networks.modes} of {k}")
    n, generator = len(networks.modes), torch.Generator()
    if networks.architecture is None:
        wanted = published.initial_weights(model.memory, n, generator)
        if n != k:
            raise ValueError("the published model needs a network for every mode")
    else:
        seen = networks.architecture.lags, networks.architecture.windows
        if networks.architecture.reach > model.memory or any(len(set(lags)) < len(lags) for lags in seen):
            raise ValueError("the network looks further back than the memory, or twice at the same frames")
        wanted = equivariant.initial_weights(networks.architecture, n, generator)
        wanted |= equivariant.neutral_scales(networks.architecture, n)
    if unknown := set(networks.tensors) - set(wanted):
        raise ValueError(f"unknown tensors {', '.join(sorted(map(str, unknown)))[:80]}")
    for name, tensor in wanted.items():
        _expect(name, tuple(networks.tensors[name].shape), tuple(tensor.shape))
    for name in ("basis_scale", "activity_scale", "feature_sd"):
        if name in wanted and not bool((networks.tensors[name] > SMALLEST).all()):
            raise ValueError(f"{name} is not positive")
