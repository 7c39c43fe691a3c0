"""Generation on a GPU: linear cores alone, networks on all modes, the published networks; graphs on and off.

Ours is all that a step costs: modes, centres of mass, the copy to the host. The published way makes one of 12 modes
after another on the same device; its time per step is that of one mode times 12. Its histories are rotated position by
position, as published, or in one product. Networks are as drawn, since weights cost no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import published_way
import torch
from gpu_records import Plan, gpu_seconds, graphs, peak_memory, times_of
from speed_records import Measurement, in_pairs, ratio, seconds_of

from mlgle_lammps.surrogates.ml_gle.batch import BLOCK
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.published.rehearsal import stand_in as published_stand_in
from mlgle_lammps.surrogates.ml_gle.stand_ins import stand_in

MEMORY, MODES = 128, 12
NAMES = {"core": "linear cores alone", "networks": "networks on all modes", "paper": "preset paper"}
WANTED = {"core": 300.0, "networks": 300.0, "paper": None}
MOST_HISTORIES = 300


def made_up(kind: str, n_trajectories: int) -> MlGleModel:
    """Return made-up modes that have only linear cores, networks on all, or the published networks."""
    n_chains = min(n_trajectories, MOST_HISTORIES)
    if kind == "paper":
        return published_stand_in(MODES, MEMORY, n_chains)
    return stand_in(MODES, MEMORY, n_chains, networks=kind == "networks")


class Generation:
    """Trajectories that go on and are forgotten."""

    def __init__(self, kind: str, n_trajectories: int, device: str, graph: bool = True) -> None:
        model = made_up(kind, n_trajectories)
        self.n_trajectories, self._graph = n_trajectories, graph
        self.motion = MlGleMotion(model, model.history, 1, n_trajectories, device=device)

    def steps(self, n_steps: int) -> Callable[[], None]:
        """Return what generates the next steps."""

        def work() -> None:
            with graphs(self._graph):
                for _ in self.motion.advance(n_steps):
                    pass

        return work

    def on_the_device(self, n_steps: int) -> Callable[[], None]:
        """Return the same without the copy to the host."""
        (batch,) = self.motion._batches
        like = batch.sigma
        com = like.new_empty(n_steps, 3, self.n_trajectories, dtype=torch.float64)
        modes = like.new_empty(len(like), n_steps, 3, self.n_trajectories, dtype=torch.float32)

        def work() -> None:
            with graphs(self._graph):
                batch.advance(com, modes, 1)

        return work


def published(plan: Plan, n_trajectories: int, n_steps: int, each_position: bool, device: str) -> Callable[[], None]:
    """Return a run of the published way, one mode."""
    torch.manual_seed(1)
    network = published_way.PublishedNetwork(MEMORY).to(device)
    history = torch.randn(n_trajectories, MEMORY, 3, device=device)

    def work() -> None:
        published_way.generate(network, history, n_steps, 0.3, each_position).sum().item()

    return work


def blocks(plan: Plan, kind: str, many: bool) -> int:
    """Return how many blocks of steps are timed."""
    few = plan.size({"core": 64, "networks": 10, "paper": 8}, {"core": 8, "networks": 1, "paper": 1}, {})
    full = plan.size({"core": 8, "networks": 3, "paper": 2}, {"core": 1, "networks": 1, "paper": 1}, {})
    return (full if many else few).get(kind, 1)


def run_few(plan: Plan) -> Iterator[Measurement]:
    """Yield all of 300 trajectories."""
    yield from run(plan, plan.size(300, 100, 10), many=False)


def run_many(plan: Plan) -> Iterator[Measurement]:
    """Yield all of 10^4 trajectories."""
    yield from run(plan, plan.size(10_000, 1000, 12), many=True)


def run(plan: Plan, n_trajectories: int, many: bool) -> Iterator[Measurement]:
    """Yield times of a step, with graphs and without, ratios to the published way, memory."""
    for kind, name in NAMES.items():
        if many and not plan.on_gpu and kind != "core":
            continue  # minutes on a CPU
        case = f"{name}, {n_trajectories} trajectories"
        yield from of_kind(plan, kind, n_trajectories, blocks(plan, kind, many) * BLOCK, case)


def of_kind(plan: Plan, kind: str, n_trajectories: int, n_steps: int, case: str) -> Iterator[Measurement]:
    """Yield the measurements of one kind of model."""
    found: list[Measurement] = []
    with peak_memory(plan, case, found):
        ours = Generation(kind, n_trajectories, plan.device)
        first = seconds_of(ours.steps(BLOCK))
        steps = ours.steps(n_steps)
        times = times_of(steps, plan.repeats)
        ms = tuple(1e3 * t / n_steps for t in times)
        yield Measurement(case, "time per step", "ms", ms, note=f"{n_steps} steps, copied to the host")
        rate = tuple(n_trajectories * MODES * 1e3 / t for t in ms)
        yield Measurement(case, "trajectory-steps × modes per second", "1/s", rate)
    yield from found
    if plan.on_gpu:
        yield Measurement(case, "first block, its capture included", "s", (first,))
        n_alone = min(n_steps, 8 * BLOCK)
        alone = ours.on_the_device(n_alone)
        alone()
        on_device = tuple(1e3 * gpu_seconds(alone) / n_alone for _ in range(plan.repeats))
        yield Measurement(case, "time per step on the GPU alone", "ms", on_device, note="without the copy")
        plain = Generation(kind, n_trajectories, plan.device, graph=False)
        n_plain = min(n_steps, 2 * BLOCK)
        without = tuple(1e3 * t / n_plain for t in times_of(plain.steps(n_plain), max(2, plan.repeats - 2)))
        yield Measurement(case, "time per step, graph off", "ms", without)
    n_published = plan.size(40, 8, 4)
    for each_position in (True, False) if n_trajectories <= MOST_HISTORIES else (True,):
        slow = published(plan, n_trajectories, n_published, each_position, plan.device)
        one, other = in_pairs(slow, steps, plan.repeats)
        way = "position by position" if each_position else "in one product"
        theirs, mine = [1e3 * MODES * t / n_published for t in one], [1e3 * t / n_steps for t in other]
        yield Measurement(
            case, f"published, rotated {way}: time per step", "ms", tuple(theirs), note="12 modes in turn"
        )
        judged_here = plan.on_gpu and each_position and not plan.quick and n_trajectories <= MOST_HISTORIES
        wanted = WANTED[kind] if judged_here else None  # of 10^4 trajectories the published way waits no longer
        yield ratio(case, f"published, rotated {way} / ours", theirs, mine, at_least=wanted)


def run_cores(plan: Plan) -> Iterator[Measurement]:
    """Yield the same on the CPU's cores beside the GPU, in short."""
    n_trajectories = plan.size(300, 100, 10)
    for kind, name in NAMES.items():
        case = f"{name}, {n_trajectories} trajectories, CPU"
        n_steps = BLOCK * (4 if kind == "core" and not plan.quick else 1)
        here = times_of(Generation(kind, n_trajectories, "cpu").steps(n_steps), 2)
        yield Measurement(case, "time per step", "ms", tuple(1e3 * t / n_steps for t in here))
        if plan.on_gpu:
            there = times_of(Generation(kind, n_trajectories, "cuda").steps(8 * n_steps), 2)
            yield ratio(case, "CPU / GPU", [8 * t for t in here], there, note=f"{torch.get_num_threads()} threads")
