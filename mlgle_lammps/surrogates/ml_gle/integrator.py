"""The integrator: centre of mass and modes of independent trajectories, streamed in chunks of steps."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mlgle_lammps.records import Float32, Float64, Frames
from mlgle_lammps.resources.compute import resolve_devices
from mlgle_lammps.surrogates.ml_gle.batch import BLOCK, Batch

if TYPE_CHECKING:  # the model starts the motion
    from mlgle_lammps.surrogates.ml_gle.model import MlGleModel

_TRAJECTORIES_PER_BATCH = 150
_CHUNK_BYTES = 2**26


def random_rotations(n: int, generator: np.random.Generator) -> Float64:
    """Return ``n`` rotations uniform in SO(3), (n, 3, 3); of normal quaternions, w first."""
    w_first = generator.standard_normal((n, 4))
    matrices: Float64 = Rotation.from_quat(w_first[:, [1, 2, 3, 0]]).as_matrix()
    return matrices


def random_turns(n: int, n_dimensions: int, generator: np.random.Generator) -> Float64:
    """Return ``n`` turns under which the dynamics stay as they are, (n, d, d): SO(3), SO(2), or a sign on a line."""
    if n_dimensions == 3:
        return random_rotations(n, generator)
    if n_dimensions == 1:
        return generator.choice([-1.0, 1.0], size=(n, 1, 1))
    angle = generator.uniform(0.0, 2 * np.pi, n)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.moveaxis(np.array([[cosine, -sine], [sine, cosine]]), 2, 0)


def starting_histories(history: Float32, memory: int, n_trajectories: int, generator: np.random.Generator) -> Float32:
    """Return a history of m frames for every trajectory, distinct even where chains are fewer.

    The first trajectories take the chains' last frames; further rounds over the chains end at earlier, evenly spaced
    times of the record, and each is turned by a random rotation (the dynamics are isotropic).

    Args:
        history: (time >= m, chain, mode, d).
        memory: m.
        n_trajectories: trajectories wanted.
        generator: of the rotations.

    Returns:
        (m, trajectory, mode, d) float32.
    """
    n_times, n_chains = history.shape[:2]
    n_rounds = -(-n_trajectories // n_chains)
    ends = np.linspace(n_times, memory, max(2, n_rounds)).round().astype(int)[:n_rounds]
    rounds = []
    for number, end in enumerate(ends):
        piece = history[end - memory : end]
        if number:
            piece = np.einsum("cxy,tcky->tckx", random_turns(n_chains, piece.shape[3], generator), piece)
        rounds.append(piece.astype(np.float32))
    return np.concatenate(rounds, axis=1)[:, :n_trajectories]


def automatic_chunk(n_trajectories: int, n_modes: int) -> int:
    """Return steps per chunk such that its modes take about 64 MB, a multiple of the block."""
    steps = _CHUNK_BYTES // (n_trajectories * n_modes * 3 * 4)
    return int(np.clip(steps // BLOCK, 1, 64)) * BLOCK


class MlGleMotion:
    """Trajectories under way (a Motion): X(t) = α B(t) + β Σ_j [z_j(t) - z_j(0)] per dimension, X(0) = 0 (JCP eq. 13).

    Preset paper takes all modes of the trajectory itself; default those that the fit sums, and mostly those of another
    trajectory (``tie``), which leaves MSD_X as it is and the centre free of its own modes, and modes beyond k that the
    fit added (``fast_modes``). B is a standard Brownian motion of variance t, t = step·dt, β = √max(β², 0). With no
    modes' share (β = 0) <X²> = α² t. Equal seeds, devices and calls give equal bits, whatever chunk and threads; calls
    of whole multiples of 128 steps are as one call.
    """

    def __init__(
        self,
        model: MlGleModel,
        history: Float32,
        seed: int,
        n_trajectories: int,
        *,
        device: str = "cpu",
        threads: int = 0,
        chunk: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Begin where recorded modes end.

        Args:
            model: the model.
            history: recorded modes, (time >= m, chain, mode, d), deck units; the last frame is step 0.
            seed: of starts and noise.
            n_trajectories: independent trajectories.
            device: "auto", "cpu", "cuda", or several that share the modes, such as "cuda:0,cuda:1".
            threads: that advance trajectories side by side; 0 takes as many as torch has.
            chunk: steps per block of frames, rounded up to a multiple of 128; 0 chooses.
            dtype: of the modes' arithmetic.
        """
        self._chunk = -(-chunk // BLOCK) * BLOCK if chunk else automatic_chunk(n_trajectories, model.n_modes)
        self._threads, self._next_step, self._whole = threads, 1, True
        self._n_trajectories = n_trajectories
        if model.tie is not None:  # trajectories lend their modes to the centres of others
            n_trajectories = max(1 + len(model.tie.modes), n_trajectories)
        with _one_thread():
            self._batches = _batches(model, n_trajectories, seed, resolve_devices(device), history, dtype)

    def advance(self, n_steps: int) -> Generator[Frames, None, None]:
        """Yield the next steps in blocks; in a block trajectories are on the chain axis, contiguous in memory.

        Raises:
            RunFailure: a mode is not finite or runs away; names mode and step.
            ValueError: blocks of an earlier call were not all taken.
        """
        if not self._whole:
            raise ValueError("the motion was given up: not all blocks of an earlier call were taken")
        sizes = [min(self._chunk, n_steps - done) for done in range(0, n_steps, self._chunk)]
        given_up = threading.Event()
        with _one_thread() as threads:  # of each a thread advances whole batches: a step is too little to be shared
            pool = ThreadPoolExecutor(self._threads or threads, "generate")
            try:
                jobs = self._start(pool, given_up, sizes[0]) if sizes else None
                for following in [*sizes[1:], 0]:
                    if jobs is None:
                        break
                    made = jobs.result(self._n_trajectories)
                    # the next block is made while the caller looks at this one
                    jobs = self._start(pool, given_up, following) if following else None
                    self._whole = jobs is None
                    yield made
            finally:
                given_up.set()
                pool.shutdown(cancel_futures=True)

    def _start(self, pool: ThreadPoolExecutor, given_up: threading.Event, n_steps: int) -> _Jobs:
        self._whole = False
        jobs = _Jobs(pool, given_up, self._batches, n_steps, self._next_step)
        self._next_step += n_steps
        return jobs


@contextlib.contextmanager
def _one_thread() -> Iterator[int]:
    """Let torch's operations run in one thread; the value is how many there were."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def _batches(
    model: MlGleModel,
    n_trajectories: int,
    seed: int,
    devices: tuple[torch.device, ...],
    history: Float32,
    dtype: torch.dtype,
) -> list[Batch]:
    """Return the batches: one on a GPU, on a CPU as many as hold 150 trajectories at most, whatever the threads."""
    device = devices[0]
    start = starting_histories(history, model.memory, n_trajectories, np.random.default_rng(seed))
    sigma = torch.as_tensor(model.dynamics.sigma, dtype=dtype, device=device)
    y = (torch.as_tensor(start, dtype=dtype, device=device) / sigma[:, None]).permute(2, 0, 3, 1)
    steppers = model.dynamics.steppers(device, dtype)
    n_batches = 1 if device.type == "cuda" else -(-n_trajectories // _TRAJECTORIES_PER_BATCH)
    seeds = np.random.SeedSequence(seed).generate_state(n_batches * (len(steppers) + 1), np.uint64) >> np.uint64(1)
    rows = seeds.reshape(n_batches, -1).tolist()
    pieces = y.tensor_split(n_batches, dim=3)
    return [Batch(model, steppers, piece, row, devices) for piece, row in zip(pieces, rows, strict=True)]


class _Jobs:
    """A chunk in the making: every batch fills its own columns."""

    def __init__(
        self, pool: ThreadPoolExecutor, given_up: threading.Event, batches: list[Batch], n_steps: int, first_step: int
    ) -> None:
        sizes = [batch.n_trajectories for batch in batches]
        like = batches[0].sigma
        self._first_step = first_step
        self._com = like.new_empty(n_steps, batches[0].n_dimensions, sum(sizes), dtype=torch.float64)
        self._modes = like.new_empty(len(like), n_steps, batches[0].n_dimensions, sum(sizes), dtype=torch.float32)
        columns = zip(batches, self._com.split(sizes, 2), self._modes.split(sizes, 3), strict=True)
        self._futures = [
            pool.submit(batch.advance, com, modes, first_step, given_up.is_set) for batch, com, modes in columns
        ]

    def result(self, n_trajectories: int) -> Frames:
        """Wait for all batches and return the chunk; raise the RunFailure of the first that ran away."""
        for future in self._futures:
            future.result()
        com, modes = (_on_host(a).numpy()[..., :n_trajectories] for a in (self._com, self._modes))
        steps = np.arange(self._first_step, self._first_step + len(com), dtype=np.int64)
        return Frames.of_chains(steps, np.zeros_like(steps), com.transpose(0, 2, 1), modes.transpose(1, 3, 0, 2))


def _on_host(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in the host's memory; from a GPU through page-locked memory, which is ten times as fast."""
    if tensor.device.type != "cuda":
        return tensor.cpu()
    try:
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)  # torch keeps such memory for more chunks
    except RuntimeError:  # the system grants none
        return tensor.cpu()
    host.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return host
