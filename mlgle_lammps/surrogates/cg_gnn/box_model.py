"""The model of boxes of several species: what moves them, what it was learned from, and its file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from mlgle_lammps.directions import ALL_FREE, Directions
from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import CHAINS, Frames, ModeReport, Species, System
from mlgle_lammps.resources.compute import resolve_device
from mlgle_lammps.surrogates.cg_gnn import NAME
from mlgle_lammps.surrogates.cg_gnn.box_mobility import CENTRES, Mobility
from mlgle_lammps.surrogates.cg_gnn.box_motion import BoxMotion, BoxWalk
from mlgle_lammps.surrogates.cg_gnn.box_nodes import HOPS, MOST_LETTERS, Box, Letters, node_positions
from mlgle_lammps.surrogates.cg_gnn.box_options import DEFAULT, MOST_REFINE
from mlgle_lammps.surrogates.cg_gnn.box_score import ScoreTables
from mlgle_lammps.surrogates.cg_gnn.box_step import BoxDynamics, BoxLaw, levels_of
from mlgle_lammps.surrogates.cg_gnn.coarse_runs import fingerprint, frames_per_step
from mlgle_lammps.surrogates.cg_gnn.grouping import METHODS
from mlgle_lammps.surrogates.cg_gnn.networks import MEMBER, stored_members
from mlgle_lammps.surrogates.ml_gle import plain_values
from mlgle_lammps.surrogates.model_file import StoredModel, read_model, write_model

KIND = "box"
"""What "kind" of a file says; models of single molecules say nothing."""
MOSTMEMBERS, MOST_KNOTS, WIDEST, MOST_MOLECULES = 64, 1000, 4096, 10**7
_TABLES = ("knots", "bonded_knots", "pairs", "bonded")


@dataclass(frozen=True)
class BoxModel:
    """What training on boxes yields (a Model).

    Attributes:
        law: what moves them.
        preset: "default".
        beads_per_group: wanted beads of a group.
        grouping: how beads are grouped.
        recorded_dt: time between the recorded frames.
        dt: its step.
        time_unit: of ``dt``.
        length_unit: of positions.
        extent: length of a bond between groups beyond which a roll-out is given up.
        inner: Rg² of beads about their groups' centres, mean over the runs.
        box: the first one that it was trained on.
        fingerprints: of the last frame of each run.
        notes: how well motion is tied to the runs'.
    """

    surrogate: ClassVar[str] = NAME
    directions: ClassVar[Directions] = ALL_FREE
    memory: ClassVar[int] = 1
    n_modes: ClassVar[int] = 0
    reports: ClassVar[tuple[ModeReport, ...]] = ()

    law: BoxLaw
    preset: str
    beads_per_group: int
    grouping: str
    recorded_dt: float
    dt: float
    time_unit: str
    length_unit: str
    extent: float
    inner: float
    box: Box
    fingerprints: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def start(
        self, frames: Frames, seed: int, *, n_trajectories: int, device: str = "cpu", threads: int = 0,
        system: System | None = None, dtype: torch.dtype = torch.float32,
    ) -> BoxMotion:  # fmt: skip
        """Begin boxes at recorded frames, the last one first.

        Args:
            frames: with channels "com" and "beads" of the chains, not wrapped, and "com" of all others; deck units.
            seed: of noise; equal seeds and frames give equal bits on a CPU, whatever the threads.
            n_trajectories: chains in all, those of one box times the number of boxes.
            device: "auto", "cpu" or "cuda".
            threads: that boxes are moved by; 0 takes as many as torch has.
            system: of the frames; None where it is the one that the model was trained on first.
            dtype: of the arithmetic.

        Raises:
            UserError: unknown species or bead types, chains that cannot be grouped so, a box that is not periodic,
                frames without a channel, or chains that are no whole number of boxes.
        """
        box = self.box if system is None else self.box_of(system)
        n_boxes, left = divmod(n_trajectories, box.n_chains)
        if left or n_boxes < 1:
            raise UserError(f"{n_trajectories} chains are no whole number of boxes of {box.n_chains}")
        if not len(frames):
            raise UserError("starting history has 0 frames; 1 frame or more are needed")
        places, _ = node_positions(box, frames)
        starts = places[np.arange(len(places) - 1, -1, -1)[np.arange(n_boxes) % len(places)]]
        bonds, _ = box.bonded()
        if len(bonds) and np.abs(starts[:, bonds[:, 0]] - starts[:, bonds[:, 1]]).max() > self.extent:
            raise UserError(
                f"groups of one chain are further apart than {self.extent:.3g} {self.length_unit}, ten times what the "
                "model was trained on: are the beads wrapped into a box?"
            )
        where = resolve_device(device)
        history = torch.tensor(starts, dtype=dtype, device=where)
        members = len(self.law.networks)
        seeds = np.random.SeedSequence(seed).generate_state(members, np.uint32)
        walks, numbers = [], []
        for member in range(min(members, n_boxes)):
            own = list(range(member, n_boxes, members))
            dynamics = BoxDynamics(self.law, member, box, where, dtype)
            walks.append(BoxWalk(dynamics, box, history[own], int(seeds[member]), self.extent))
            numbers.append(own)
        return BoxMotion(walks, numbers, box, self.inner, threads)

    def box_of(self, system: System) -> Box:
        """Return the nodes of a system; raise UserError where the model was not made for it."""
        box = Box.of(system, self.beads_per_group, self.grouping)
        box.require_known(self.law.letters)
        frames_per_step(
            self.dt, system.dt, f"the model's step of {self.dt:g} {self.time_unit}",
            "the time between the frames to start from",
        )  # fmt: skip
        return box

    def generated_system(self, system: System, n_boxes: int, save_every: int = 1) -> System:
        """Return the System of the frames of ``n_boxes`` boxes; raise UserError where the model was not made for it.

        Args:
            system: of the beads.
            n_boxes: side by side, whose molecules stand one box after another.
            save_every: steps of the model between two frames kept.
        """
        box = self.box_of(system)
        grouping = box.molecule.grouping
        chain = {(n, n + 1) for n in range(grouping.n_groups - 1)} == set(grouping.edges)
        others = tuple(
            Species(own.name, own.n_molecules * n_boxes, own.n_beads, 0, ("com",), types=own.types, masses=own.masses)
            for own in system.others
        )
        return replace(
            system, n_chains=box.n_chains * n_boxes, n_beads=grouping.n_groups, n_modes=0, dt=self.dt * save_every,
            every=save_every, source=f"generated from {system.source}", notes=(), mode_variances=None,
            channels=("com", "beads", "rg2"), others=others, left_out=(), edges=() if chain else grouping.edges,
            eigenvalues=() if chain else tuple(grouping.eigenvalues.tolist()), types=(), ends_alike=True,
            whole_molecules=False, boxes=n_boxes,
        )  # fmt: skip

    def learned_up_to(self, frame: Frames) -> bool:
        """Return whether a recorded frame is the last one of a run that the model was learned from."""
        return "beads" in frame.channels.get(CHAINS, {}) and fingerprint(frame) in self.fingerprints

    def save(self, path: Path) -> None:
        """Write the model to a file that gets its name when it is whole; raise RunFailure where that fails."""
        law, box = self.law, self.box
        tensors = {name: torch.tensor(getattr(law.tables, name)) for name in _TABLES}
        for number, network in enumerate(law.networks):
            tensors |= {f"{MEMBER}{number} {name}": own for name, own in network.state_dict().items()}
        values = {
            "kind": KIND, "preset": self.preset, "beads": list(law.letters.beads), "ions": list(law.letters.ions),
            "beads_per_group": self.beads_per_group, "grouping": self.grouping, "levels": len(law.levels),
            "scales": law.scales.tolist(), "members": len(law.networks), "hidden": law.networks[0].hidden,
            "contact": law.networks[0].contact, "reach": law.networks[0].reach,
            "recorded_dt": self.recorded_dt, "dt": self.dt,
            "time_unit": self.time_unit, "length_unit": self.length_unit, "extent": self.extent, "inner": self.inner,
            "box": {
                "types": list(box.molecule.types), "edges": [list(pair) for pair in box.molecule.edges],
                "n_chains": box.n_chains, "ions": [list(own) for own in box.ions], "lengths": box.edges.tolist(),
            },
            "fingerprints": list(self.fingerprints), "notes": list(self.notes),
        }  # fmt: skip
        write_model(path, NAME, values, tensors)

    @staticmethod
    def load(path: Path) -> BoxModel:
        """Read a model; raise UserError where the file is missing, damaged, or of another kind. No code in it runs."""
        return BoxModel.of_file(read_model(path, NAME), path)

    @staticmethod
    def of_file(stored: StoredModel, path: Path) -> BoxModel:
        """Return the model that a file holds; raise UserError where it holds none."""
        try:
            return _from_plain(stored.values, stored.tensors, path.stat().st_size)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError, UserError) as error:
            raise UserError(f"{path} is damaged ({type(error).__name__}: {one_line(error)}); train again") from error


def _from_plain(values: JsonObject, tensors: dict[str, torch.Tensor], most_bytes: int) -> BoxModel:
    if values["kind"] != KIND or values["preset"] != DEFAULT or values["grouping"] not in METHODS:
        raise ValueError("a kind, a preset or a grouping that is none")
    letters = Letters(plain_values.lines(values, "beads"), plain_values.lines(values, "ions"))
    if not 1 <= len(letters.beads) <= letters.count <= MOST_LETTERS:
        raise ValueError("no bead types, or too many")
    levels = levels_of(plain_values.whole(values["levels"], "levels", 1, MOST_REFINE))
    scales = np.array([plain_values.number({"c": own}, "c", 1e-9, 1e9) for own in values["scales"]])
    plain_values.expect_shape("scales", scales.shape, (len(letters.kinds),))
    n_members = plain_values.whole(values["members"], "members", 1, MOSTMEMBERS)
    hidden = plain_values.whole(values["hidden"], "hidden", 1, WIDEST)
    distances = plain_values.number(values, "contact", 1e-12), plain_values.number(values, "reach", 1e-12)
    tables = _tables(letters, len(levels), tensors, most_bytes)
    networks = _networks(letters, distances, hidden, n_members, tensors, most_bytes)
    law = BoxLaw(letters, tables, levels, scales, networks)
    box = _box(values["box"], values)
    box.require_known(letters)
    return BoxModel(
        law, values["preset"], plain_values.whole(values["beads_per_group"], "beads_per_group", 1),
        plain_values.unit(values, "grouping"), plain_values.number(values, "recorded_dt", 1e-12),
        plain_values.number(values, "dt", 1e-12), plain_values.unit(values, "time_unit"),
        plain_values.unit(values, "length_unit"), plain_values.number(values, "extent", 0.0),
        plain_values.number(values, "inner", 0.0), box, plain_values.lines(values, "fingerprints"),
        plain_values.lines(values, "notes"),
    )  # fmt: skip


def _tables(
    letters: Letters, n_levels: int, tensors: dict[str, torch.Tensor], most_bytes: int
) -> ScoreTables:  # fmt: skip
    found = {name: plain_values.array(tensors, name, most_bytes) for name in _TABLES}
    for name in ("knots", "bonded_knots"):
        own = found[name]
        if own.ndim != 1 or not 2 <= len(own) <= MOST_KNOTS or own[0] != 0 or np.any(np.diff(own) <= 0):
            raise ValueError(f"{name} that are in no order")
    shape = (n_levels, len(letters.pairs[0]), len(found["knots"]))
    plain_values.expect_shape("pairs", found["pairs"].shape, shape)
    of_bonds = (n_levels, HOPS, len(letters.bonded_pairs[0]), len(found["bonded_knots"]))
    plain_values.expect_shape("bonded", found["bonded"].shape, of_bonds)
    return ScoreTables(found["knots"], found["bonded_knots"], found["pairs"], found["bonded"])


def _networks(
    letters: Letters,
    distances: tuple[float, float],
    hidden: int,
    n_members: int,
    tensors: dict[str, torch.Tensor],
    most_bytes: int,
) -> tuple[Mobility, ...]:
    if letters.count * len(CENTRES) * hidden * 4 > most_bytes:
        raise ValueError(f"hidden {hidden}, wider than the file")
    return stored_members(
        lambda: Mobility(letters, *distances, hidden), n_members, tensors, most_bytes, n_others=len(_TABLES)
    )


def _box(plain: JsonObject, values: JsonObject) -> Box:
    types = plain_values.lines(plain, "types")
    edges = tuple((plain_values.whole(a, "bond"), plain_values.whole(b, "bond")) for a, b in plain["edges"])
    if len(types) > 100_000 or any(max(pair) >= len(types) for pair in edges):
        raise ValueError("bonds to beads that are not there")
    lengths = [plain_values.number({"edge": own}, "edge", 1e-12) for own in plain["lengths"]]
    ions = [(plain_values.unit({"name": name}, "name"), plain_values.whole(count, "ions", 1, MOST_MOLECULES))
            for name, count in plain["ions"]]  # fmt: skip
    n_chains = plain_values.whole(plain["n_chains"], "n_chains", 1, MOST_MOLECULES)
    if len(lengths) != 3 or n_chains * len(types) > MOST_MOLECULES:
        raise ValueError("a box that is none")
    others = tuple(Species(name, count, 1, channels=("com",)) for name, count in ions)
    system = System(
        n_chains, len(types), 0, 1.0, types=types, edges=edges, box=(*lengths, 0.0, 0.0, 0.0), others=others
    )
    return Box.of(system, values["beads_per_group"], values["grouping"])
