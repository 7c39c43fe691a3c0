"""Models of centres' motion held against MD: the numbers of result.json under "nm_mb", each with its standard error."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlgle_lammps.evaluate.centres import CURVES, CentreCurves
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.errors import jackknife_error, left_out_means


def distance(model: Float64, md: Float64, scale_by_peak: bool) -> float:
    """Return the rms difference of two curves over all lags, in units of MD's peak where that is asked for.

    NaN where MD has no peak: no two molecules were in that shell.
    """
    return float(np.sqrt(np.mean((model - md) ** 2))) / (_peak(md) if scale_by_peak else 1.0)


def _peak(curve: Float64) -> float:
    """Return the largest size of a curve; NaN where it is zero throughout."""
    return float(np.abs(curve).max()) or float("nan")


def score(model: CentreCurves, md: CentreCurves) -> JsonObject:
    """Return how a model's motion differs from MD's.

    rms differences are over all lags and hold the noise of both; "noise" says how large they would be for a perfect
    model. Errors are by leaving out one piece of either at a time. D_ratio is model over MD, kT_ratio model over bath.
    """
    parts = {name: _rms(model.curves[name], md.curves[name], name.startswith("vccf")) for name in CURVES}
    parts["g"] = _rms(model.van_hove[:, 0], md.van_hove[:, 0], False)
    parts["van_hove"] = _rms(model.van_hove[:, 1:], md.van_hove[:, 1:], False)
    ratio, se = _ratio(model.D, md.D)
    thicker, thicker_se = _ratio(*(own.viscosity[np.isfinite(own.viscosity)] for own in (model, md)))
    value, error, noise = ({name: parts[name][k] for name in parts} for k in range(3))
    return {
        "vacf_rms": value["vacf"], "vacf_rms_se": error["vacf"], "vacf_noise": noise["vacf"],
        "vccf_rms": [value["vccf_inner"], value["vccf_outer"]],
        "vccf_rms_se": [error["vccf_inner"], error["vccf_outer"]],
        "vccf_noise": [noise["vccf_inner"], noise["vccf_outer"]],
        "cl_rms": value["C_L"], "cl_rms_se": error["C_L"], "cl_noise": noise["C_L"],
        "ct_rms": value["C_T"], "ct_rms_se": error["C_T"], "ct_noise": noise["C_T"],
        "D_ratio": ratio, "D_ratio_se": se,
        "kT_ratio": float(model.kT.mean()), "kT_ratio_se": standard_error(model.kT),
        "viscosity_ratio": thicker, "viscosity_ratio_se": thicker_se,
        "g_rms": value["g"], "g_rms_se": error["g"], "g_noise": noise["g"],
        "van_hove_rms": value["van_hove"], "van_hove_rms_se": error["van_hove"], "van_hove_noise": noise["van_hove"],
        "pieces": [model.n_pieces, md.n_pieces],
    }  # fmt: skip


def scores(models: Mapping[str, CentreCurves], md: CentreCurves) -> JsonObject:
    """Return the scores of all models by name, as under "nm_mb": {"models": ..} of result.json."""
    return {name: score(model, md) for name, model in models.items()}


def _rms(model: Float64, md: Float64, by_peak: bool) -> tuple[float, float, float]:
    """Return the rms difference, its jackknife error, and what noise alone would make of it."""
    value = distance(model.mean(0), md.mean(0), by_peak)
    without_own = [distance(own, md.mean(0), by_peak) for own in left_out_means(model)]
    without_md = [distance(model.mean(0), own, by_peak) for own in left_out_means(md)]
    error = float(np.hypot(*(jackknife_error(np.array(values)) for values in (without_own, without_md))))
    variances = sum(np.mean(own.var(0, ddof=1)) / len(own) if len(own) > 1 else np.nan for own in (model, md))
    noise = float(np.sqrt(variances)) / (_peak(md.mean(0)) if by_peak else 1.0)
    return value, error, noise


def _ratio(model: Float64, md: Float64) -> tuple[float, float]:
    """Return the ratio of the means over pieces and its standard error; NaN where there are no pieces."""
    if not (len(model) and len(md)):
        return float("nan"), float("nan")
    ratio = float(model.mean() / md.mean())
    return ratio, abs(ratio) * float(np.hypot(_relative_se(model), _relative_se(md)))


def standard_error(values: Float64) -> float:
    """Return that of the mean over pieces; NaN where there is one alone."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


def _relative_se(values: Float64) -> float:
    return standard_error(values) / float(values.mean())
