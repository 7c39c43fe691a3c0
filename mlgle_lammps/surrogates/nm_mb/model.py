"""The model of NM-MB as a frozen record, its motion, and its file: tensors and plain values, never code."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from mlgle_lammps.directions import ALL_FREE, Directions
from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import CHAINS, Float64, Frames, ModeReport
from mlgle_lammps.resources.compute import resolve_device
from mlgle_lammps.surrogates.model_file import read_model, write_model
from mlgle_lammps.surrogates.nm_mb import NAME
from mlgle_lammps.surrogates.nm_mb.boxes import filled_box
from mlgle_lammps.surrogates.nm_mb.integrator import CentreMotion, MotionSettings
from mlgle_lammps.surrogates.nm_mb.memory import Memory
from mlgle_lammps.surrogates.nm_mb.plain_memory import memory_from_plain, memory_to_plain, potential_from_plain
from mlgle_lammps.surrogates.nm_mb.potential import Potential
from mlgle_lammps.surrogates.recorded import require_channels

NEEDS = ("com", "momenta")
FRAMES_AT_ONCE = 200
MOST_INNER = 10_000


@dataclass(frozen=True)
class NmMbModel:
    """All that centres need to move (a Model).

    Attributes:
        memory: friction and noise.
        potential: the mean one.
        kT: temperature, mass · length²/time².
        mass: of a molecule.
        box: (3,) edges that it was learned in.
        dt: time between two frames.
        inner: short steps to a frame's time.
        renew: of these, how many make a long one, at whose end forces and couplings are computed.
        time_unit: of ``dt``.
        length_unit: of positions.
        last: (M, 3) centres of the last frame that it was learned from.
        preset: which memory.
        notes: what went differently from the plan, one line each.
    """

    surrogate: ClassVar[str] = NAME

    kernel: Memory
    potential: Potential
    kT: float
    mass: float
    box: Float64
    dt: float
    inner: int
    renew: int
    time_unit: str
    length_unit: str
    last: Float64
    preset: str = "default"
    notes: tuple[str, ...] = ()
    directions: Directions = ALL_FREE
    reports: tuple[ModeReport, ...] = field(default=())

    @property
    def memory(self) -> int:
        """Frames that a start takes: one, since features start in equilibrium."""
        return 1

    @property
    def n_modes(self) -> int:
        """Modes of the molecules that it knows: none."""
        return 0

    def start(
        self, frames: Frames, seed: int, *, n_trajectories: int, device: str = "cpu", threads: int = 0
    ) -> NmMbMotion:
        """Begin boxes where recorded frames end, as many as hold so many molecules; the surplus is left out.

        Args:
            frames: with centres and momenta of as many molecules as it was learned from, deck units.
            seed: of momenta, features and noise; equal seeds give equal bits on a CPU.
            n_trajectories: molecules whose trajectories are wanted.
            device: "auto", "cpu" or "cuda".
            threads: not used: all boxes move together.

        Raises:
            UserError: frames without centres or momenta, none, or of another number of molecules.
        """
        require_channels(frames, NEEDS, NAME)
        com = frames.com
        if not len(com) or com.shape[1:] != self.last.shape:
            raise UserError(
                f"starting frames have shape {tuple(com.shape)}; {len(self.last)} molecules are needed, and a frame"
            )
        if not (np.isfinite(com[-1]).all() and np.isfinite(frames.channels[CHAINS]["momenta"][-1]).all()):
            raise UserError("starting frames hold values that are not finite")
        n_boxes = -(-n_trajectories // com.shape[1])
        # several boxes start from frames as far apart as there are
        at = np.linspace(len(com) - 1, 0, n_boxes).round().astype(int) if len(com) >= n_boxes else np.full(n_boxes, -1)
        return NmMbMotion(self, com[at], self.box, seed, n_trajectories, device)

    def start_box(self, seed: int, *, molecules: int, boxes: int = 1, device: str = "cpu") -> NmMbMotion:
        """Begin cubic boxes of another size at the density that it was learned at, from copies of its last frame.

        Args:
            seed: of places, momenta, features and noise.
            molecules: in each box.
            boxes: that move together.
            device: "auto", "cpu" or "cuda".

        Raises:
            UserError: a box too small for the range of forces or memory.
        """
        edge = float((np.prod(self.box) * molecules / len(self.last)) ** (1 / 3))
        reach = max(self.kernel.cutoff, self.potential.cutoff)
        if edge < 2 * reach:
            enough = int(np.ceil((2 * reach) ** 3 * len(self.last) / np.prod(self.box)))
            raise UserError(
                f"`molecules` {molecules}: a box of {edge:.3g} is below twice the range {reach:.3g} of forces and "
                f"memory; take {enough} or more"
            )
        rng = np.random.default_rng(seed)
        start = np.stack([filled_box(self.last, self.box, edge, molecules, rng) for _ in range(boxes)])
        return NmMbMotion(self, start, np.full(3, edge), seed, molecules * boxes, device)

    def learned_up_to(self, frame: Frames) -> bool:
        """Return whether a recorded frame is the last one that the model was learned from."""
        return CHAINS in frame.channels and len(frame) > 0 and np.array_equal(frame.com[-1], self.last)

    def save(self, path: Path) -> None:
        """Write the model to a file that gets its name when it is whole; raise RunFailure where that fails."""
        memory, tensors = memory_to_plain(self.kernel)
        tensors = {f"memory.{name}": values for name, values in tensors.items()}
        tensors |= {f"potential.{name}": values for name, values in self.potential.state_dict().items()}
        values: JsonObject = {
            "preset": self.preset, "memory": memory, "potential": self.potential.plain(), "kT": float(self.kT),
            "mass": float(self.mass), "dt": float(self.dt), "inner": self.inner, "renew": self.renew,
            "time_unit": self.time_unit, "length_unit": self.length_unit, "notes": list(self.notes),
        }  # fmt: skip
        write_model(path, NAME, values, tensors | {"last": torch.tensor(self.last), "box": torch.tensor(self.box)})

    @staticmethod
    def load(path: Path) -> NmMbModel:
        """Read a model, no code in it; raise UserError for a file that is missing, corrupt, or of another kind."""
        found = read_model(path, NAME)
        try:
            return _from_plain(found.values, found.tensors)
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            RuntimeError,
            IndexError,
            np.linalg.LinAlgError,
        ) as error:
            raise UserError(f"{path} is damaged ({type(error).__name__}: {one_line(error)}); train again") from error


def _from_plain(values: JsonObject, tensors: dict[str, torch.Tensor]) -> NmMbModel:
    numbers = {name: float(values[name]) for name in ("kT", "mass", "dt")}
    last, box = (tensors[name].to(torch.float64).numpy() for name in ("last", "box"))
    inner, renew = int(values["inner"]), int(values["renew"])
    if not all(np.isfinite(number) and number > 0 for number in numbers.values()):
        raise ValueError("kT, mass and dt have to be positive")
    if last.ndim != 2 or last.shape[1] != 3 or len(last) < 2 or box.shape != (3,) or not box.min() > 0:
        raise ValueError(f"centres of shape {last.shape} in a box of shape {box.shape}")
    if not (np.isfinite(last).all() and np.isfinite(box).all()):
        raise ValueError("centres or a box that are not finite")
    if not 1 <= renew <= inner <= MOST_INNER or inner % renew:
        raise ValueError(f"{inner} short steps in long ones of {renew}")
    memory = {name.removeprefix("memory."): tensor for name, tensor in tensors.items() if name.startswith("memory.")}
    return NmMbModel(
        memory_from_plain(values["memory"], memory), potential_from_plain(values["potential"], tensors),
        numbers["kT"], numbers["mass"], box, numbers["dt"], inner, renew, str(values["time_unit"]),
        str(values["length_unit"]), last, str(values["preset"]), tuple(str(note) for note in values["notes"]),
    )  # fmt: skip


class NmMbMotion:
    """Boxes of centres under way (a Motion); mutable.

    Args:
        model: that moves them.
        centres: (box, M, 3).
        box: (3,) edges.
        seed: of momenta, features and noise.
        n_trajectories: molecules whose trajectories are given.
        device: "auto", "cpu" or "cuda".
    """

    def __init__(
        self, model: NmMbModel, centres: Float64, box: Float64, seed: int, n_trajectories: int, device: str = "cpu"
    ) -> None:
        where = resolve_device(device)
        self.box, self._n, self._steps, self._broken = box, n_trajectories, 0, False
        generator = torch.Generator(where).manual_seed(seed)
        at = torch.as_tensor(np.ascontiguousarray(centres), dtype=torch.float64, device=where)
        drawn = torch.randn(at.shape, generator=generator, dtype=torch.float64, device=where)
        momenta = (model.kT * model.mass) ** 0.5 * (drawn - drawn.mean(1, keepdim=True))
        settings = MotionSettings(model.dt / model.inner, model.kT, model.renew)
        masses = torch.full((at.shape[1],), model.mass, dtype=torch.float64, device=where)
        edges = torch.as_tensor(box, dtype=torch.float64, device=where)
        memory = copy.deepcopy(model.kernel)  # modules move in place: the model's own stay where they are
        potential = copy.deepcopy(model.potential).to(where)
        for group in memory.groups:
            if isinstance(group.coupling, torch.nn.Module):
                group.coupling.to(where)
        self._per_frame = model.inner // model.renew
        self._motion = CentreMotion(memory, potential.forces, at, momenta, masses, edges, settings, generator)

    def advance(self, n_steps: int) -> Iterator[Frames]:
        """Yield the next frames in blocks; see the contract. Molecules of all boxes stand one after another."""
        if self._broken:
            raise ValueError("the motion was given up: not all blocks of an earlier call were taken")
        self._broken = True
        left = n_steps
        while left:
            count = min(left, FRAMES_AT_ONCE)
            com, momenta = np.empty((2, count, self._n, 3))
            for k in range(count):
                self._motion.advance(self._per_frame)
                com[k] = self._motion.centres.reshape(-1, 3)[: self._n].cpu().numpy()
                momenta[k] = self._motion.momenta.reshape(-1, 3)[: self._n].cpu().numpy()
            steps = np.arange(self._steps + 1, self._steps + count + 1, dtype=np.int64)
            self._steps += count
            left -= count
            yield Frames(steps, np.zeros(count, dtype=np.int64), {CHAINS: {"com": com, "momenta": momenta}})
        self._broken = False
