"""Bias, error and coverage of D and of the modes' dynamics, for ML-GLE and for what it has to beat.

python benchmarks/accuracy.py STREAM [STREAM ..] [--frames 1000 ..] [--rouse SEEDS] [--out DIR]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy_figures import draw_skill
from accuracy_likelihood import benchmark_likelihood
from accuracy_methods import (
    ModeOutcome,
    diffusion_methods,
    kinisi_installed,
    mode_methods,
    published_networks,
)
from accuracy_nonlinear import benchmark_nonlinear, benchmark_silence
from accuracy_scores import Score, binomial_range, joint_chi_square, percent, score_estimates, score_values
from accuracy_sequential import benchmark_converged
from accuracy_streams import NACF_LAGS, Reference, RouseMelt, Stream, recorded_stream, reference_of
from scipy import stats

from mlgle_lammps.records import Estimate, Float64

PAPER_MODES = [0, 1, 4]
SKILL_FRAMES = (150, 200, 400, 800, 1600, 3200, 6400, 12800)


def main() -> None:
    """Parse the command line, run, print tables and leave accuracy.json and skill.png in --out."""
    options = parse()
    torch.set_num_threads(1)
    if not kinisi_installed():
        print("kinisi is not installed: left out (pip install kinisi)")
    results: dict[str, dict] = {}
    for path in options.streams:
        stream = recorded_stream(path, options.modes)
        results[stream.name] = benchmark_recorded(stream, options)
    if options.converged:
        benchmark_converged(options.converged, options.memory, options.modes)
    if options.rouse:
        results["rouse"] = benchmark_rouse(options)
    pooled(results)
    if options.nonlinear:
        sizes = (options.nonlinear, options.memory, options.train, options.validation)
        silence = benchmark_silence(*sizes, options.modes)
        results["nonlinear"] = {"processes": benchmark_nonlinear(*sizes), "silence": silence}
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "accuracy.json").write_text(json.dumps(results, indent=1))
        if any("skill" in result for result in results.values()):
            draw_skill({name: r["skill"] for name, r in results.items() if "skill" in r}, options.out / "skill.png")


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("streams", nargs="*", type=Path, help="modes.h5, run folder or .npz")
    parser.add_argument("--frames", nargs="+", type=int, default=[1000], help="segment lengths for D")
    parser.add_argument("--memory", type=int, default=128)
    parser.add_argument("--modes", type=int, default=12)
    parser.add_argument("--train", type=int, default=1000, help="frames to fit the modes' models on")
    parser.add_argument("--validation", type=int, default=600, help="frames after them that default judges on")
    parser.add_argument("--reference", default="fit", help="fit, slope or a number")
    parser.add_argument("--networks", action="store_true", help="train default's networks too (slow)")
    parser.add_argument("--paper-segments", type=int, default=0, help="segments for the published networks (slow)")
    parser.add_argument("--rouse", type=int, default=0, metavar="SEEDS", help="independent Rouse melts")
    parser.add_argument("--converged", type=int, default=0, metavar="MELTS", help="stop where D is sharp")
    parser.add_argument("--likelihood", action="store_true", help="held-out likelihood against Yule-Walker")
    parser.add_argument("--nonlinear", type=int, default=0, metavar="SEEDS", help="processes of exact likelihood")
    parser.add_argument("--no-modes", action="store_true", help="D alone")
    parser.add_argument("--no-skill", action="store_true", help="no skill curve")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def benchmark_recorded(stream: Stream, options: argparse.Namespace) -> dict:
    """Run everything on one recorded stream."""
    reference = reference_of(stream, options.reference)
    n_chains = stream.com.shape[1]
    print(f"\n## {stream.name}: {n_chains} chains, {stream.n_frames} frames of {stream.dt:g}")
    for label, estimate in (("GLE fit", reference.fit), ("MSD slope", reference.slope)):
        if estimate is not None:
            print(f"reference, {label}: D = {estimate.value:.6g} ± {estimate.se:.2g} ({estimate.method})")
    print(f"taken for true: {reference.value:.6g} ± {100 * reference.se / reference.value:.1f}%")
    result: dict = {"reference": reference.value, "reference_se": reference.se, "D": {}}
    for n_frames in options.frames:
        result["D"][n_frames] = score_diffusion(stream, n_frames, reference, options.memory, True)
        print_diffusion(result["D"][n_frames], n_frames)
    if not options.no_skill:
        ladder = [n for n in SKILL_FRAMES if options.memory < n <= stream.n_frames // 2]
        result["skill"] = {n: score_diffusion(stream, n, reference, options.memory, n >= 400) for n in ladder}
        for n_frames, scores in result["skill"].items():
            print_diffusion(scores, n_frames)
    if not options.no_modes:
        result["modes"] = benchmark_modes(stream, reference, options)
    if options.likelihood:
        result["likelihood"] = benchmark_likelihood(
            stream, options.memory, options.train, options.validation, options.networks
        )
    return result


def score_diffusion(
    stream: Stream, n_frames: int, reference: Reference, memory: int, kinisi: bool
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Score every estimator of D on all disjoint segments of ``n_frames``."""
    methods = diffusion_methods(memory, kinisi and kinisi_installed())
    estimates: dict[str, list] = {name: [] for name in methods}
    for piece in stream.pieces(n_frames):
        moments = stream.moments(piece, memory)
        for name, method in methods.items():
            estimates[name].append(method(moments, stream, piece))
    return {name: asdict(score_estimates(e, reference.value, reference.se)) for name, e in estimates.items() if e}


def print_diffusion(scores: dict[str, dict], n_frames: int) -> None:
    """Print one table of D."""
    if not scores:
        return
    n = next(iter(scores.values()))["n"]
    low, high = binomial_range(n)
    print(f"\nD from {n_frames} frames, {n} segments (95% intervals should hold {low} to {high} times), per cent")
    print("| method | bias | relative RMSE | claimed error | hold | hold, reference's error included |")
    print("|---|---|---|---|---|---|")
    for name, plain in scores.items():
        s = Score(**plain)
        print(f"| {name} | {percent(s)} | {100 * s.mean_se:.1f} | {s.held}/{s.n} | {s.held_wide}/{s.n} |")


def benchmark_modes(stream: Stream, reference: Reference, options: argparse.Namespace) -> dict:
    """Compare the models of the modes on segments of train + validation frames."""
    n_frames = options.train + options.validation
    pieces = stream.pieces(n_frames)
    outcomes = {
        name: ([method(stream, piece) for piece in pieces], list(range(stream.modes.shape[2])))
        for name, method in mode_methods(options.memory, options.train, options.networks).items()
    }
    if options.paper_segments:
        few = pieces[: options.paper_segments]
        published = [published_networks(stream, p, options.memory, options.train, PAPER_MODES) for p in few]
        outcomes["paper's network"] = (published, PAPER_MODES)
    print(f"\nModes from {n_frames} frames, {len(pieces)} segments; relaxation times and variances in per cent")
    print("| method | mode | time: bias | time: RMSE | variance: bias | variance: worst | max NACF error | worst |")
    print("|---|---|---|---|---|---|---|---|")
    return {name: score_modes(name, o, modes, reference) for name, (o, modes) in outcomes.items()}


def score_modes(name: str, outcomes: list[ModeOutcome], modes: list[int], reference: Reference) -> list[dict]:
    """Print and return one row per mode."""
    rows = []
    for column, mode in enumerate(modes):
        times = score_values([o.times[column] for o in outcomes], reference.times[mode])
        ratios = np.array([o.variance[column] / reference.variance[mode] for o in outcomes])
        lags = min(NACF_LAGS, len(reference.nacf), *(len(o.nacf) for o in outcomes))
        errors = np.array([np.abs(o.nacf[:lags, column] - reference.nacf[:lags, mode]).max() for o in outcomes])
        variance = score_values(ratios.tolist(), 1.0)
        worst = float(np.abs(ratios - 1).max())
        error_se = float(errors.std(ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else float("nan")
        print(
            f"| {name} | {mode + 1} | {percent(times)} | {100 * variance.bias:+5.1f} ± {100 * variance.bias_se:.1f} "
            f"| {100 * worst:.0f} | {errors.mean():.3f} ± {error_se:.3f} | {errors.max():.3f} |"
        )
        rows.append(
            {"mode": mode + 1, "time": asdict(times), "variance": asdict(variance), "variance_worst": worst,
             "nacf_error": float(errors.mean()), "nacf_error_se": error_se, "nacf_worst": float(errors.max())}
        )  # fmt: skip
    return rows


def benchmark_rouse(options: argparse.Namespace) -> dict:
    """Score D and relaxation times on Rouse melts whose answers are exact."""
    melt, n_frames = RouseMelt(), options.train + options.validation
    methods = diffusion_methods(options.memory, with_kinisi=False)
    core = mode_methods(options.memory, options.train, networks=False)["default"]
    first = options.frames[0]
    ladder = tuple(sorted({first, *(n for n in SKILL_FRAMES if options.memory < n <= n_frames)}))
    estimates: dict[int, dict[str, list]] = {n: {name: [] for name in methods} for n in ladder}
    times = []
    for stream in melt.streams(options.rouse, max(n_frames, first), options.modes):
        everything = slice(0, stream.n_frames)
        for n, moments in stream.moments_on_the_way(everything, options.memory, ladder).items():
            for name, method in methods.items():
                estimates[n][name].append(method(moments, stream, slice(0, n)))
        times.append(core(stream, slice(0, n_frames)).times)
    print(f"\n## Rouse: {options.rouse} melts of {melt.n_chains} × {melt.n_beads} beads, exact answers")
    skill = {
        n: {name: asdict(score_estimates(e, melt.D, 0.0)) for name, e in by_name.items()}
        for n, by_name in estimates.items()
    }
    for n, scores in skill.items():
        print_diffusion(scores, n)
    tests = exactness(estimates[first]["default"], np.array(times), melt, options.modes)
    return {"D": {first: skill[first]}, "skill": skill, **tests}


def exactness(default: list[Estimate], times: Float64, melt: RouseMelt, n_modes: int) -> dict:
    """Print the relaxation times' errors and test D and them jointly for bias."""
    known = melt.relaxation_times(n_modes)
    scores = [score_values(column, tau) for column, tau in zip(times.T, known, strict=True)]
    print("\n| mode | relaxation time: bias | RMSE |\n|---|---|---|")
    for mode, score in enumerate(scores, start=1):
        print(f"| {mode} | {percent(score)} |")
    z = np.array([(e.value - melt.D) / e.se for e in default])
    errors = np.column_stack([[e.value / melt.D - 1 for e in default], times / known - 1])
    errors = errors[np.isfinite(errors).all(axis=1)]
    chi2, dof, p = joint_chi_square(errors)
    ks = float(stats.kstest(z, "norm").pvalue)
    print(f"joint chi-square of D and all relaxation times {chi2:.1f} for {dof}, p = {p:.3g} ({len(errors)} melts)")
    print(
        f"z-scores of D: mean {z.mean():+.3f}, standard deviation {z.std(ddof=1):.3f}, Kolmogorov-Smirnov p = {ks:.3g}"
    )
    return {"times": [asdict(s) for s in scores], "chi2": chi2, "dof": dof, "p": p, "ks_p": ks}


def pooled(results: dict[str, dict]) -> None:
    """Print how many of default's intervals held, over all streams and first lengths."""
    n = held = wide = 0
    for result in results.values():
        for scores in result["D"].values():
            n, held = n + scores["default"]["n"], held + scores["default"]["held"]
            wide += scores["default"]["held_wide"]
    if n:
        share = 100 * held / n
        print(f"\npooled: {held} of {n} intervals of default hold ({share:.1f}%; {wide} with the reference's error)")


if __name__ == "__main__":
    main()
