"""The model: networks of an ensemble with the linear core, and what they were learned from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from mlgle_lammps.directions import ALL_FREE, Directions
from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import CHAINS, Float32, Frames, ModeReport, System
from mlgle_lammps.resources.compute import resolve_device
from mlgle_lammps.surrogates.cg_gnn import NAME
from mlgle_lammps.surrogates.cg_gnn.coarse_runs import NEEDS, coarse_grained, fingerprint, frames_per_step
from mlgle_lammps.surrogates.cg_gnn.dynamics import Dynamics, dynamics_of
from mlgle_lammps.surrogates.cg_gnn.linear_core import LinearCore
from mlgle_lammps.surrogates.cg_gnn.molecules import Molecule, MoleculeSet
from mlgle_lammps.surrogates.cg_gnn.motion import CgGnnMotion
from mlgle_lammps.surrogates.cg_gnn.networks import MEMBER, Network, stored_networks, stored_size
from mlgle_lammps.surrogates.cg_gnn.options import DETERMINISTIC, ENERGY, EQUIVARIANT, PRESETS
from mlgle_lammps.surrogates.cg_gnn.starts import turned_starts
from mlgle_lammps.surrogates.cg_gnn.walks import Walk
from mlgle_lammps.surrogates.ml_gle import plain_values
from mlgle_lammps.surrogates.model_file import read_model, write_model
from mlgle_lammps.surrogates.recorded import require_channels

MOSTMEMBERS, MOST_TYPES, WIDEST = 64, 256, 4096
CHUNK = 512
LAW = 2
"""Of the equivariant presets, counted up when their numbers come to mean something else."""


@dataclass(frozen=True)
class CgGnnModel:
    """What training yields (a Model).

    Attributes:
        preset: one of ``options.PRESETS``.
        types: of beads that it knows.
        beads_per_group: wanted beads of a group.
        grouping: how beads are grouped.
        core: the linear core.
        networks: of the ensemble.
        noise_scales: of each member.
        trained_groups: numbers of groups S that it learned from, ascending.
        recorded_dt: time between the recorded frames.
        dt: its step.
        time_unit: of ``dt``.
        length_unit: of positions.
        extent: distance from the centre beyond which a roll-out is given up.
        molecules: linear chains or others that it was trained on, the first one's system.
        fingerprints: of the last frame of each run.
        reports: one per mode of the first molecule.
        notes: what went differently from the plan.
    """

    surrogate: ClassVar[str] = NAME
    directions: ClassVar[Directions] = ALL_FREE

    preset: str
    types: tuple[str, ...]
    beads_per_group: int
    grouping: str
    core: LinearCore
    networks: tuple[Network, ...]
    noise_scales: tuple[float, ...]
    recorded_dt: float
    dt: float
    time_unit: str
    length_unit: str
    extent: float
    molecule: Molecule
    fingerprints: tuple[str, ...] = ()
    reports: tuple[ModeReport, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def memory(self) -> int:
        """Recorded frames that a start takes."""
        return (self.members[0].memory - 1) * round(self.dt / self.recorded_dt) + 1

    @property
    def n_modes(self) -> int:
        """Modes of the first molecule's groups, S - 1."""
        return self.molecule.n_groups - 1

    @property
    def members(self) -> tuple[Dynamics, ...]:
        """What moves molecules, one per member."""
        return tuple(
            dynamics_of(network, self.core, scale)
            for network, scale in zip(self.networks, self.noise_scales, strict=True)
        )

    def start(
        self, frames: Frames, seed: int, *, n_trajectories: int, device: str = "cpu", threads: int = 0,
        system: System | None = None, dtype: torch.dtype = torch.float32,
    ) -> CgGnnMotion:  # fmt: skip
        """Begin trajectories where recorded frames end.

        Args:
            frames: one uninterrupted piece with channels "com" and "beads", not wrapped, deck units.
            seed: of starts and noise; equal seeds and frames give equal bits on a CPU, whatever the threads.
            n_trajectories: independent trajectories; more than there are molecules start from earlier frames, turned.
            device: "auto", "cpu" or "cuda".
            threads: that trajectories are moved by; 0 takes as many as torch has.
            system: the molecules of the frames; None where they are those that the model was trained on first.
            dtype: of the arithmetic.

        Raises:
            UserError: unknown bead types, molecules that cannot be grouped so, frames that are too few, interrupted,
                without beads or without a molecule.
        """
        starts = [(frames, system)]
        return self.start_many(starts, seed, n_trajectories=n_trajectories, device=device, threads=threads, dtype=dtype)

    def start_many(
        self, starts: Sequence[tuple[Frames, System | None]], seed: int, *, n_trajectories: int, device: str = "cpu",
        threads: int = 0, dtype: torch.dtype = torch.float32,
    ) -> CgGnnMotion:  # fmt: skip
        """Begin ``n_trajectories`` of each of several molecules side by side, in their order; see `start`.

        Raises:
            UserError: as in `start`, or molecules of different numbers of groups.
        """
        where = resolve_device(device)
        found = [self._molecule(system) for _, system in starts]
        if len({molecule.n_groups for molecule, _ in found}) != 1:
            raise UserError("molecules of different numbers of groups do not move side by side: start them apart")
        histories = [
            self._history(frames, molecule, lag, seed + place, n_trajectories)
            for place, ((frames, _), (molecule, lag)) in enumerate(zip(starts, found, strict=True))
        ]
        molecules = MoleculeSet.of([molecule for molecule, _ in found], self.types, where, dtype)
        history = torch.tensor(np.concatenate(histories), device=where, dtype=dtype)
        which = torch.arange(len(starts), device=where).repeat_interleave(n_trajectories)
        members = self.moved_to(where, dtype)
        seeds = np.random.SeedSequence(seed).generate_state(len(members) + len(history) // CHUNK + 1, np.uint32)
        walks: list[Walk] = []
        places: list[torch.Tensor] = []
        for number, member in enumerate(members):
            own = torch.arange(number, len(history), len(members), device=where)
            for part in own.split(CHUNK if where.type == "cpu" else len(history)) if len(own) else ():
                noise = None if self.preset == DETERMINISTIC else int(seeds[len(walks)])
                walks.append(Walk(member, molecules, which[part], history[part], noise, self.extent))
                places.append(part)
        return CgGnnMotion(walks, places, len(history), threads)

    def moved_to(self, device: torch.device, dtype: torch.dtype) -> list[Dynamics]:
        """Return the members on a device and in a precision, as copies."""
        moved: list[Dynamics] = []
        for network, scale in zip(self.networks, self.noise_scales, strict=True):
            own = copy.deepcopy(network).to(device=device, dtype=dtype).requires_grad_(False).eval()
            moved.append(dynamics_of(own, self.core, scale))
        return moved

    def _molecule(self, system: System | None) -> tuple[Molecule, int]:
        """Return what the frames are of, and recorded frames per step."""
        if system is None:
            return self.molecule, round(self.dt / self.recorded_dt)
        molecule = Molecule.of(system, self.beads_per_group, self.grouping)
        molecule.require_known(self.types)
        lag = frames_per_step(
            self.dt, system.dt, f"the model's step of {self.dt:g} {self.time_unit}",
            "the time between the frames to start from",
        )  # fmt: skip
        return molecule, lag

    def _history(
        self, frames: Frames, molecule: Molecule, lag: int, seed: int, n_trajectories: int
    ) -> Float32:  # fmt: skip
        """Return starts (trajectory, memory, S, 3) about the centre of their last frame."""
        require_channels(frames, NEEDS, NAME)
        memory = self.members[0].memory
        needed = (memory - 1) * lag + 1
        shape = frames.channels[CHAINS]["beads"].shape
        if shape[0] < needed or shape[1] < 1:
            raise UserError(
                f"starting history has {shape[0]} frames of {shape[1] if len(shape) > 1 else 0} molecules; {needed} "
                "frames or more are needed, and a molecule"
            )
        if frames.segments[0] != frames.last_segment:
            raise UserError(
                f"starting history was interrupted: it spans segments {frames.segments[0]} to {frames.last_segment}"
            )
        places, centres, _ = coarse_grained(molecule, frames)
        if np.abs(places).max() > self.extent:
            raise UserError(
                f"a group is {np.abs(places).max():.3g} {self.length_unit} from the centre of its molecule, beyond "
                f"{self.extent:.3g}, ten times what the model was trained on: are the beads wrapped into a box?"
            )
        return turned_starts(places, centres, memory, lag, seed, n_trajectories)

    def learned_up_to(self, frame: Frames) -> bool:
        """Return whether a recorded frame is the last one of a run that the model was learned from."""
        return "beads" in frame.channels.get(CHAINS, {}) and fingerprint(frame) in self.fingerprints

    def save(self, path: Path) -> None:
        """Write the model to a file that gets its name when it is whole; raise RunFailure where that fails."""
        tensors = {
            f"{MEMBER}{number} {name}": tensor
            for number, network in enumerate(self.networks)
            for name, tensor in network.state_dict().items()
        }
        values = {
            "law": LAW, "preset": self.preset, "types": list(self.types), "beads_per_group": self.beads_per_group,
            "grouping": self.grouping, "core": self.core.to_plain(), "size": asdict(self.networks[0].size),
            "noise_scales": list(self.noise_scales), "recorded_dt": self.recorded_dt, "dt": self.dt,
            "time_unit": self.time_unit, "length_unit": self.length_unit, "extent": self.extent,
            "molecule": {"types": list(self.molecule.types), "edges": [list(pair) for pair in self.molecule.edges]},
            "fingerprints": list(self.fingerprints), "reports": plain_values.plain_reports(self.reports),
            "notes": list(self.notes),
        }  # fmt: skip
        write_model(path, NAME, values, tensors)

    @staticmethod
    def load(path: Path) -> CgGnnModel:
        """Read a model; raise UserError where the file is missing, damaged, or of another kind. No code in it runs."""
        stored = read_model(path, NAME)
        if stored.values.get("preset") in (ENERGY, EQUIVARIANT) and stored.values.get("law") != LAW:
            raise UserError(f"{path} is a model of cg-gnn as it was before: train again")
        try:
            return _from_plain(stored.values, stored.tensors, path.stat().st_size)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError, UserError) as error:
            raise UserError(f"{path} is damaged ({type(error).__name__}: {one_line(error)}); train again") from error


def _from_plain(values: JsonObject, tensors: dict[str, torch.Tensor], most_bytes: int) -> CgGnnModel:
    preset = values["preset"]
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {repr(preset)[:40]}")
    types = plain_values.lines(values, "types")
    scales = tuple(plain_values.number({"scale": own}, "scale", 0.0, 10.0) for own in values["noise_scales"])
    if not 1 <= len(types) <= MOST_TYPES or not 1 <= len(scales) <= MOSTMEMBERS:
        raise ValueError("no bead types or no members, or too many")
    core, size = LinearCore.from_plain(values["core"]), stored_size(preset, values["size"])
    networks = stored_networks(size, len(scales), tensors, len(types), core, most_bytes)
    return CgGnnModel(
        preset, types, plain_values.whole(values["beads_per_group"], "beads_per_group", 1),
        plain_values.unit(values, "grouping"), core, networks, scales,
        plain_values.number(values, "recorded_dt", 1e-12), plain_values.number(values, "dt", 1e-12),
        plain_values.unit(values, "time_unit"), plain_values.unit(values, "length_unit"),
        plain_values.number(values, "extent", 0.0), _molecule(values), plain_values.lines(values, "fingerprints"),
        plain_values.reports(values, "reports"), plain_values.lines(values, "notes"),
    )  # fmt: skip


def _molecule(values: JsonObject) -> Molecule:
    types = plain_values.lines(values["molecule"], "types")
    edges = tuple(
        (plain_values.whole(a, "bond"), plain_values.whole(b, "bond")) for a, b in values["molecule"]["edges"]
    )
    if len(types) > 100_000 or any(max(pair) >= len(types) for pair in edges):
        raise ValueError("bonds to beads that are not there")
    system = System(1, len(types), 0, 1.0, types=types, edges=edges)
    return Molecule.of(system, values["beads_per_group"], values["grouping"])


def model_types(molecules: Sequence[Molecule]) -> tuple[str, ...]:
    """Return the bead types of molecules, sorted."""
    return tuple(sorted({kind for molecule in molecules for kind in molecule.types}))
