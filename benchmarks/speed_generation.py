"""Generation: steps × trajectories × modes per second against the published way, and how far the machine's limits are.

300 trajectories, m = 128, 12 modes. The published way makes one mode after another, so its time per step is that of one
mode times 12; networks there are as drawn, since weights cost no time. Ours are the integrator's chunks, eq. 13
included, float32, with networks on all modes (as drawn, last layer not zero) and with the linear core alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import published_way
import torch
from speed_records import Measurement, Settings, best_of, in_pairs, ratio, with_best_threads

from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.linear_core import BLOCK
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.stand_ins import ORDERS, stand_in

MEMORY, MODES = 128, 12


def made_up_model(n_trajectories: int, networks: bool) -> MlGleModel:
    """Return made-up modes with untrained networks on all of them, or on none."""
    return stand_in(MODES, MEMORY, n_trajectories, networks=networks)


def run_integrator(model: MlGleModel, n_steps: int, n_trajectories: int, threads: int = 0) -> None:
    """Generate and forget."""
    for _ in MlGleMotion(model, model.history, 1, n_trajectories, threads=threads, device="auto").advance(n_steps):
        pass


def published_steps(n_steps: int, n_trajectories: int, each_position: bool) -> Callable[[], None]:
    """Return a run of the published way, one mode."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(1)
    network = published_way.PublishedNetwork(MEMORY).to(device)
    history = torch.randn(n_trajectories, MEMORY, 3, device=device)

    def work() -> None:
        published_way.generate(network, history, n_steps, 0.3, each_position).sum().item()

    return with_best_threads(work)


def against_published(settings: Settings, n_trajectories: int) -> list[Measurement]:
    """Return the ratios of times per step of all modes."""
    steps = {"published": 20 if settings.quick else 150, "networks": 128 if settings.quick else 640}
    steps["core"] = 512 if settings.quick else 8192
    ways = {
        "networks on all modes": (made_up_model(n_trajectories, True), steps["networks"], (10.0, 300.0)),
        "linear core alone": (made_up_model(n_trajectories, False), steps["core"], (100.0, None)),
    }
    on_gpu, results = torch.cuda.is_available(), []
    for each_position in (True, False):
        rotation = "rotated position by position" if each_position else "rotated in one product"
        slow = published_steps(steps["published"], n_trajectories, each_position)
        for name, (model, n_steps, (on_cores, on_cuda)) in ways.items():
            target = (on_cuda if on_gpu else on_cores) if each_position else None

            def fast(model: MlGleModel = model, n_steps: int = n_steps) -> None:
                run_integrator(model, n_steps, n_trajectories)

            first, second = in_pairs(slow, fast, settings.repeats)
            published_ms = [1e3 * MODES * t / steps["published"] for t in first]
            ours_ms = [1e3 * t / n_steps for t in second]
            case = f"{name}, published {rotation}"
            results += [
                Measurement(case, "published: time per step", "ms", tuple(published_ms), note="12 modes in turn"),
                Measurement(case, "ours: time per step", "ms", tuple(ours_ms), note="modes and centres of mass"),
                Measurement(
                    case, "ours: trajectory-steps × modes per second", "1/s",
                    tuple(1e3 * n_trajectories * MODES / t for t in ours_ms),
                ),
                ratio(case, "published / ours", published_ms, ours_ms, at_least=target),
            ]  # fmt: skip
    return results


def floor(settings: Settings, n_trajectories: int) -> list[Measurement]:
    """Return what a step costs one core where nothing but matrix products and random numbers is counted.

    Peaks are measured here: a product of 1024 × 1024 matrices, normal numbers, a copy. A network's step takes
    features·64 + 64·64 + 64·(basis + 1) multiply-adds per mode and trajectory, the core's order + block per component.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    repeats = 3 if settings.quick else 20
    size = 256 if settings.quick else 1024
    a = torch.randn(size, size)
    flops = 2 * size**3 / best_of(lambda: a @ a, repeats)
    normals = torch.empty(1_000_000)
    per_normal = best_of(normals.normal_, repeats) / normals.numel()
    big = torch.empty(2**24)
    bandwidth = 2 * 4 * big.numel() / best_of(big.clone, repeats)
    architecture = equivariant.Architecture.within(MEMORY)
    hidden, outputs = equivariant.HIDDEN, architecture.n_basis + 1
    network = 2 * (architecture.n_features * hidden + hidden**2 + hidden * outputs)
    padded = sum(32 if order <= 32 else max(ORDERS) for order in ORDERS)
    components = 3 * n_trajectories
    core_flops = 2 * components * (padded + MODES * BLOCK)
    core_floor = core_flops / flops + components * (MODES + 1) * per_normal
    written = components * (MODES * 4 + 8) / bandwidth
    network_floor = n_trajectories * MODES * network / flops + 2 * components * sum(ORDERS) / flops
    found = {}
    for name, n_steps in (("networks", 128 if settings.quick else 512), ("core", 512 if settings.quick else 4096)):
        model = made_up_model(n_trajectories, name == "networks")
        found[name] = best_of(partial(run_integrator, model, n_steps, n_trajectories, 1), 3) / n_steps
    torch.set_num_threads(threads)
    case = "floor, one core"
    return [
        Measurement(case, "matrix product", "Gflop/s", (flops / 1e9,), note="float32, what torch's BLAS reaches here"),
        Measurement(case, "normal random number", "ns", (1e9 * per_normal,)),
        Measurement(case, "copy", "GB/s", (bandwidth / 1e9,)),
        Measurement(
            case, "core: floor of a step", "ms", (1e3 * (core_floor + written),),
            note="products, normals, one write of the output",
        ),
        Measurement(case, "core: step over its floor", "×", (found["core"] / (core_floor + written),)),
        Measurement(
            case, "networks: floor of a step", "ms", (1e3 * (network_floor + core_floor),),
            note="products and normals; not the 230 transcendental functions per mode and trajectory",
        ),
        Measurement(case, "networks: step over its floor", "×", (found["networks"] / (network_floor + core_floor),)),
    ]  # fmt: skip


def precision(settings: Settings) -> list[Measurement]:
    """Return how far float32 strays from float64 when both take the same noise, in standard deviations of a mode."""
    n_steps, n_trajectories = (256, 20) if settings.quick else (4096, 100)
    found = []
    for name, networks in (("linear core alone", False), ("networks on all modes", True)):
        model = made_up_model(n_trajectories, networks).dynamics
        paths = []
        for dtype in (torch.float32, torch.float64):
            for stepper in model.steppers(torch.device("cpu"), dtype):
                generator = torch.Generator().manual_seed(2)
                shape = (len(stepper.modes), n_steps, 3, n_trajectories)
                noise = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
                buffer = torch.zeros(len(stepper.modes), stepper.reach + n_steps, 3, n_trajectories, dtype=dtype)
                with torch.inference_mode():
                    stepper.fill(buffer, noise)
                paths.append(buffer.double())
        half = len(paths) // 2
        pairs = zip(paths[:half], paths[half:], strict=True)
        strayed = max(float((single - double).abs().max() / double.std()) for single, double in pairs)
        note = f"largest of {n_steps} steps × {n_trajectories} trajectories × {MODES} modes"
        found.append(Measurement(name, "float32 strays from float64 by", "standard deviations", (strayed,), note=note))
    return found


def run(settings: Settings) -> list[Measurement]:
    """Return all of this case."""
    n_trajectories = 30 if settings.quick else 300
    return against_published(settings, n_trajectories) + floor(settings, n_trajectories) + precision(settings)
