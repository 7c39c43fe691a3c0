"""Work captured as a graph: nothing is done while it is captured, and its replay does what the work did."""

from __future__ import annotations

import pytest
import torch

from mlgle_lammps.surrogates.ml_gle.captured import captured


def doubling():
    tensor = torch.ones(3)
    return tensor, lambda: tensor.mul_(2)


def test_capturing_changes_nothing_and_replay_goes_on():
    tensor, work = doubling()

    def run_thrice_and_return_it(work):
        for _ in range(3):
            work()
        return work

    replay = captured(work, [tensor], run_thrice_and_return_it)
    assert torch.equal(tensor, torch.ones(3))
    replay()
    assert torch.equal(tensor, torch.full((3,), 2.0))


def test_work_that_cannot_be_captured_is_done_as_it_is(caplog):
    tensor, work = doubling()

    def fail_half_way(work):
        work()
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    again = captured(work, [tensor], fail_half_way)
    assert torch.equal(tensor, torch.ones(3))
    assert again is work
    assert "could not be captured" in caplog.text


def test_a_cpu_captures_nothing():
    tensor, work = doubling()
    assert captured(work, [tensor]) is work


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_graph_does_what_its_work_does():
    tensor = torch.ones(3, device="cuda")
    replay = captured(lambda: tensor.mul_(2), [tensor])
    assert torch.equal(tensor, torch.ones(3, device="cuda"))
    replay()
    replay()
    assert torch.equal(tensor, torch.full((3,), 4.0, device="cuda"))
