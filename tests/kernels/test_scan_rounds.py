"""The sums over channels in the scan's backward: bounded memory, on which no bit depends."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from genomamba_kernels.selective_scan import (
    triton_autograd,
    triton_plan,
    triton_rounds,
    triton_work,
)
from genomamba_kernels.selective_scan.triton_plan import (
    DEFAULT_PLAN,
    Blocks,
    Plan,
    channel_blocks,
    cut_length,
)
from genomamba_kernels.selective_scan.triton_rounds import (
    cut_rounds,
    longest_segment,
    round_positions,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SMALL = Plan(8, 16, Blocks(32, None, 6, 0.75), Blocks(32, None, 6, 0.2))


@pytest.mark.parametrize("states", [4, 8, 16, 32, 64])
@pytest.mark.parametrize("channels", [1, 7, 63, 64, 65, 101, 256, 2047])
@pytest.mark.parametrize(("batch", "length"), [(1, 2**20), (3, 70001), (300, 4096), (2, 100)])
def test_the_parts_are_at_most_as_large_as_u(monkeypatch, states, channels, batch, length):
    monkeypatch.setattr(triton_plan, "_multiprocessors", lambda device: 132)
    u = torch.empty(batch, length, channels, device="meta")
    blocks = DEFAULT_PLAN.backward
    numbers = 2 * states * channel_blocks(channels, 1, blocks.width)
    longest = longest_segment(u, numbers)
    segments, segment = cut_length(u, 1, DEFAULT_PLAN.interval, blocks, longest)
    rounds = cut_rounds(u, numbers, segments, segment)
    room = round_positions(rounds[0].segments, segment, length)
    limit = max(u.numel(), 2**18)
    assert rounds[0].rows * room * numbers <= limit * (1 + 1 / 64) + numbers * 64
    done = [
        (row, part)
        for r in rounds
        for row in range(r.first_row, r.first_row + r.rows)
        for part in range(r.first_segment, r.first_segment + r.segments)
    ]
    assert done == [(row, part) for row in range(batch) for part in range(segments)]


def test_the_shapes_that_were_measured_take_one_round(monkeypatch):
    monkeypatch.setattr(triton_plan, "_multiprocessors", lambda device: 132)
    u = torch.empty(1, 2**20, 256, device="meta")
    for states in (4, 8, 16, 32):
        assert longest_segment(u, 2 * states * 4) is None
        assert len(cut_rounds(u, 2 * states * 4, 1056, 1008)) == 1
    assert len(cut_rounds(u, 2 * 64 * 4, 1056, 1008)) == 2


def test_a_row_of_which_no_position_fits_is_taken_by_segments():
    u = torch.empty(2, 20, 16384, device="meta")
    rounds = cut_rounds(u, 2 * 1024 * channel_blocks(16384, 1, 64), 2, 16)
    assert rounds == [(0, 1, 0, 1), (0, 1, 1, 1), (1, 1, 0, 1), (1, 1, 1, 1)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, on overflow
@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "length", "channels", "states", "groups", "room"),
    [(1, 80, 4, 1, 2, 512), (2, 12, 33, 1, None, 512)],
)
def test_rounds_change_no_bit(
    scan, assert_close, monkeypatch, batch, length, channels, states, groups, room
):
    monkeypatch.setattr(triton_autograd, "choose_plan", lambda *of: SMALL)
    monkeypatch.setattr(triton_plan, "_multiprocessors", lambda device: 2)
    case = scan(batch, length, channels, states, groups, mean_step=0.1)
    truth = case.run("reference")
    case = case.to(torch.float32)
    tensors = {name: tensor.to(DEVICE) for name, tensor in case.tensors.items()}
    case = type(case)(case.operator, tensors, **case.options)
    counts = []

    def counted(*arguments):
        rounds = cut_rounds(*arguments)
        counts.append(len(rounds))
        return rounds

    monkeypatch.setattr(triton_work, "cut_rounds", counted)
    whole = {name: tensor.cpu() for name, tensor in case.run("triton").items()}
    monkeypatch.setattr(triton_rounds, "most_numbers", lambda u: room)
    pieces = {name: tensor.cpu() for name, tensor in case.run("triton").items()}
    assert counts[0] == 1 < counts[1]
    assert_close(pieces, truth, 1e-5, 1e-4)
    for name in whole:
        assert torch.equal(whole[name], pieces[name]), name
