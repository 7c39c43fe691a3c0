"""Chain diffusion coefficients of polymer melts from short LAMMPS runs, by ML-GLE learned online.

What a notebook needs is here by name and loaded where it is first used, so that the import itself loads neither torch
nor LAMMPS nor MPI, and changes nothing in the process: `open_run`, `read_stream`, `fit_diffusion`, `learn`,
`generate_ensemble`, `compare_with_md`, `Simulation`, the plots and the records that they exchange. They are shown at
work in `docs/notebook.ipynb`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlgle_lammps.api.plots import plot_correlation, plot_D, plot_msd, plot_relaxation_times
    from mlgle_lammps.api.runs import (
        ModeResult,
        Run,
        compare_streams,
        compare_with_md,
        generate_ensemble,
        learn,
        observe_stream,
        open_run,
    )
    from mlgle_lammps.api.simulation import Simulation
    from mlgle_lammps.api.streams import Stream, chain_modes, fit_diffusion, read_stream, stream_of_arrays
    from mlgle_lammps.chains.rouse import RouseSource
    from mlgle_lammps.errors import RunFailure, UserError
    from mlgle_lammps.records import Estimate, Frames, GleFit, System

__version__ = "0.2.0"

__all__ = [
    "Estimate",
    "Frames",
    "GleFit",
    "ModeResult",
    "RouseSource",
    "Run",
    "RunFailure",
    "Simulation",
    "Stream",
    "System",
    "UserError",
    "__version__",
    "chain_modes",
    "compare_streams",
    "compare_with_md",
    "fit_diffusion",
    "generate_ensemble",
    "learn",
    "observe_stream",
    "open_run",
    "plot_D",
    "plot_correlation",
    "plot_msd",
    "plot_relaxation_times",
    "read_stream",
    "stream_of_arrays",
]

_HOMES = {
    "api.plots": ("plot_D", "plot_correlation", "plot_msd", "plot_relaxation_times"),
    "api.runs": (
        "ModeResult", "Run", "compare_streams", "compare_with_md", "generate_ensemble", "learn", "observe_stream",
        "open_run",
    ),
    "api.simulation": ("Simulation",),
    "api.streams": ("Stream", "chain_modes", "fit_diffusion", "read_stream", "stream_of_arrays"),
    "chains.rouse": ("RouseSource",),
    "errors": ("RunFailure", "UserError"),
    "records": ("Estimate", "Frames", "GleFit", "System"),
}  # fmt: skip
"""Module to the names that come from it."""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name where it is first used (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names and those of the module itself."""
    return sorted({*globals(), *__all__})
