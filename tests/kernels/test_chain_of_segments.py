"""What enters each segment, against a loop in float64: on a GPU, or else interpreted."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from genomamba_kernels.selective_scan.triton_states import pass_states_kernel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROWS, STATES, CHANNELS = 2, 4, 37


def expected(leaving, decay, a, given, reverse):
    """(entering, end) of (B, S, N, D), (B, S, D), (N, D) and (B, D, N)."""
    order = range(leaving.shape[1])
    state, entering = given.mT, torch.empty_like(leaving)
    for s in reversed(order) if reverse else order:
        entering[:, s] = state
        crossing = torch.exp2(decay[:, s, None] * a)
        crosses = torch.isfinite(decay[:, s, None]) & (crossing.float() > 0)
        state = torch.where(crosses, crossing * state, 0.0) + leaving[:, s]
    return entering, state.mT


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("segments", [1, 2, 4, 5, 8, 9, 11, 14])
def test_equals_a_loop(segments, reverse):
    generator = torch.Generator().manual_seed(segments)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    leaving = normal(ROWS, segments, STATES, CHANNELS)
    decay = normal(ROWS, segments, CHANNELS).abs()
    decay[0, segments // 2] = torch.inf  # a sequence restarts in this segment
    leaving[0, segments // 3, 1, 5] = torch.nan if segments > 4 else 0.0  # before or after it
    a = -normal(STATES, CHANNELS).abs()
    given = normal(ROWS, CHANNELS, STATES)
    tensors = [t.to(DEVICE) for t in (leaving, decay, a, given)]
    entering = torch.full_like(tensors[0], torch.nan)
    end = torch.full_like(tensors[3], torch.nan)
    pass_states_kernel[(ROWS * STATES * 2,)](
        *tensors,
        entering,
        end,
        segments,
        STATES,
        D=CHANNELS,
        N=STATES,
        W=32,
        REVERSE=reverse,
        MANY=4,
        FEW=2,
        num_warps=1,
    )
    truths = expected(*(t.double() for t in (leaving, decay, a, given)), reverse)
    for got, truth in zip((entering.cpu(), end.cpu()), truths, strict=True):
        assert torch.equal(got.isnan(), truth.isnan())
        torch.testing.assert_close(got.nan_to_num(), truth.float().nan_to_num())
