import numpy as np
import pytest

from mlgle_lammps.records import Frames, Species
from mlgle_lammps.stream.ring_buffer import GapError, RingBuffer

CHAINS, MODES = 3, 2
HELD = [Species("chains", CHAINS, n_modes=MODES)]


def frame(step, segment=0, seed=None):
    random = np.random.default_rng(step if seed is None else seed)
    return Frames.single(
        step=step,
        segment=segment,
        com=random.normal(size=(CHAINS, 3)),
        modes=random.normal(size=(CHAINS, MODES, 3)).astype(np.float32),
    )


def assert_window_is(window, frames):
    assert window.steps.tolist() == [f.last_step for f in frames]
    assert window.segments.tolist() == [f.last_segment for f in frames]
    assert window.com.shape == (len(frames), CHAINS, 3)
    assert window.modes.shape == (len(frames), CHAINS, MODES, 3)
    for i, f in enumerate(frames):
        assert np.array_equal(window.com[i], f.com[0])
        assert np.array_equal(window.modes[i], f.modes[0])


@pytest.mark.parametrize("capacity", [1, 2, 5, 7, 40])
def test_windows_equal_those_of_a_plain_list(capacity):
    buffer, plain = RingBuffer(capacity, HELD), []
    step, segment = 100, 0
    random = np.random.default_rng(1)
    for _ in range(30):
        if random.random() < 0.2:
            segment, step = segment + int(random.integers(1, 3)), step + int(random.integers(1, 20))
        else:
            step += 10
        plain.append(frame(step, segment))
        buffer.append(plain[-1])
        held = plain[-capacity:]
        assert len(buffer) == len(held)
        assert buffer.n_appended == len(plain)
        assert_window_is(buffer.window(), held)
        for n in range(len(held) + 1):
            assert_window_is(buffer.window(n), held[len(held) - n :])
            assert_window_is(buffer.window(n, copy=False), held[len(held) - n :])


def test_views_share_the_buffer_until_a_frame_is_overwritten_and_cannot_be_written():
    buffer = RingBuffer(4, HELD)
    for step in range(4):
        buffer.append(frame(step))
    view = buffer.window(copy=False)
    assert np.shares_memory(view.modes, buffer.window(2, copy=False).modes)
    assert not np.shares_memory(view.modes, buffer.window().modes)
    with pytest.raises(ValueError, match="read-only"):
        view.modes[:] = 0.0
    buffer.append(frame(4))
    assert not np.shares_memory(view.modes, buffer.window(copy=False).modes)
    assert_window_is(buffer.window(copy=False), [frame(step) for step in range(1, 5)])
    assert np.shares_memory(view.modes, buffer.window(1, copy=False).modes)


def test_windows_and_frames_are_copies():
    buffer = RingBuffer(4, HELD)
    original = frame(0)
    buffer.append(original)
    window = buffer.window()
    original.com[:] = 7.0
    assert_window_is(window, [frame(0)])
    window.com[:], window.modes[:] = 9.0, 9.0
    assert_window_is(buffer.window(), [frame(0)])


@pytest.mark.parametrize(
    ("before", "bad"),
    [
        ([(0, 0), (10, 0)], (10, 0)),  # repeated
        ([(0, 0), (10, 0)], (5, 0)),  # back
        ([(0, 0), (10, 0)], (30, 0)),  # gap
        ([(0, 0), (10, 0)], (15, 0)),  # too near
        ([(0, 0), (10, 1)], (20, 0)),  # segment goes back
        ([(0, 0), (10, 0)], (10, 1)),  # a new segment at a step that was
        ([(0, 0), (10, 0), (25, 1)], (40, 1)),  # a new segment keeps the stride
    ],
)
def test_gaps_are_refused_and_leave_the_buffer_as_it_was(before, bad):
    buffer = RingBuffer(8, HELD)
    for step, segment in before:
        buffer.append(frame(step, segment))
    with pytest.raises(GapError, match=f"step {bad[0]} "):
        buffer.append(frame(*bad))
    assert_window_is(buffer.window(), [frame(*pair) for pair in before])


def test_a_stride_that_is_given_holds_from_the_first_frame():
    buffer = RingBuffer(8, HELD, stride=10)
    buffer.append(frame(3))
    with pytest.raises(GapError, match="stride is 10"):
        buffer.append(frame(8))
    buffer.append(frame(13))
    assert buffer.stride == 10


def test_frames_of_another_size_are_refused():
    buffer = RingBuffer(8, HELD)
    with pytest.raises(ValueError, match="buffer holds"):
        buffer.append(Frames.single(0, 0, np.zeros((CHAINS, 3)), None))
    with pytest.raises(ValueError, match="buffer holds"):
        buffer.append(Frames.single(0, 0, np.zeros((CHAINS, 3)), np.zeros((CHAINS, MODES + 1, 3), np.float32)))
    assert len(buffer) == 0
    with pytest.raises(ValueError, match="1 frames wanted"):
        buffer.window(1)
