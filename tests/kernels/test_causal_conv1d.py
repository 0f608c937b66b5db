"""The causal convolution's backends against the reference in float64, and its properties."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from genomamba_kernels import causal_conv1d
from genomamba_kernels.causal_conv1d import blocked_backward, blocked_forward

BACKENDS = ["reference", "torch"]

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def packed(batch, length, *lengths):
    """seq_idx of rows that all hold sequences of the given lengths, the last one to the end."""
    ends = torch.tensor(lengths).cumsum(0)
    row = torch.searchsorted(ends, torch.arange(length), right=True).to(torch.int32)
    return row.expand(batch, length).contiguous()


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    """Blocks of five positions: shorter sizes would be one block, and test no border."""

    def blocks(x):
        length = x.shape[1]
        return [(start, min(start + 5, length)) for start in range(0, length, 5)]

    monkeypatch.setattr(blocked_forward, "blocks", blocks)
    monkeypatch.setattr(blocked_backward, "blocks", blocks)


def test_reference_is_torch_conv1d(backend, conv, rms_ratio):
    tensors = conv(2, 30, 5, 4, activation=None).tensors
    x = torch.cat([tensors["initial_state"], tensors["x"]], dim=1).mT
    truth = F.conv1d(x, tensors["weight"].unsqueeze(1), tensors["bias"], groups=5).mT
    for name in (backend, "reference"):
        assert rms_ratio(causal_conv1d(**tensors, backend=name), truth) < 1e-14


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6, 63, 1000])
@pytest.mark.parametrize("d_conv", [1, 2, 4, 7])
@pytest.mark.parametrize("activation", [None, "silu"])
def test_float64_is_exact_to_rounding(backend, conv, assert_close, length, d_conv, activation):
    seq_idx = packed(2, length, 1, 2, 9)
    for sequences in (None, seq_idx):
        case = conv(2, length, 3, d_conv, activation=activation, seq_idx=sequences)
        assert_close(case.run(backend), case.run("reference"), 1e-14, 1e-13)


def test_float32_is_close_to_float64_reference(backend, conv, assert_close):
    case = conv(3, 500, 7).to(torch.float32)
    assert_close(case.run(backend), case.to(torch.float64).run("reference"), 1e-5, 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_err_at_most_twice_the_reference(backend, conv, rms_ratio, dtype):
    rounded = conv(2, 200, 8).to(dtype)
    truth = rounded.to(torch.float64).run("reference")
    ours, theirs = rounded.run(backend), rounded.run("reference")
    for name in truth:
        assert ours[name].dtype == theirs[name].dtype
        assert rms_ratio(ours[name], truth[name]) <= 2 * rms_ratio(theirs[name], truth[name]), name


@pytest.mark.parametrize("seq_idx", [None, packed(1, 13, 6, 2)])
def test_gradcheck(backend, conv, seq_idx):
    case = conv(1, 13, 2, seq_idx=seq_idx)
    leaves = [tensor.requires_grad_() for tensor in case.tensors.values()]

    def run(*tensors):
        arguments = dict(zip(case.tensors, tensors, strict=True))
        return causal_conv1d(**arguments, **case.options, return_final_state=True, backend=backend)

    assert torch.autograd.gradcheck(run, leaves)


def test_swish_is_silu_and_arguments_are_optional(backend, conv):
    tensors = conv().tensors
    required = {"x": tensors["x"], "weight": tensors["weight"]}
    silu = causal_conv1d(**required, activation="silu", backend=backend)
    assert torch.equal(silu, causal_conv1d(**required, activation="swish", backend=backend))
    plain = causal_conv1d(**required, backend=backend)
    torch.testing.assert_close(silu, F.silu(plain))


@pytest.mark.parametrize("cut", [1, 2, 5, 37, 59])
def test_split_and_carried_equals_whole(backend, conv, rms_ratio, cut):
    tensors = conv(2, 60).tensors
    leaves = [tensor.requires_grad_() for tensor in tensors.values()]

    def part(start, stop, state):
        arguments = {**tensors, "x": tensors["x"][:, start:stop], "initial_state": state}
        return causal_conv1d(
            **arguments, activation="silu", return_final_state=True, backend=backend
        )

    whole, whole_state = part(0, 60, tensors["initial_state"])
    first, state = part(0, cut, tensors["initial_state"])
    second, state = part(cut, 60, state)
    split = torch.cat([first, second], dim=1)
    assert torch.equal(state, whole_state)
    assert rms_ratio(split, whole) < 1e-14
    ours = torch.autograd.grad((split.square().sum(), state.square().sum()), leaves)
    theirs = torch.autograd.grad((whole.square().sum(), whole_state.square().sum()), leaves)
    for a, b in zip(ours, theirs, strict=True):
        assert rms_ratio(a, b) < 1e-13


def test_causality(backend, conv):
    tensors = conv(2, 50).to(torch.float32).tensors
    changed = {**tensors, "x": tensors["x"].clone()}
    changed["x"][:, 20:] += 1
    before = causal_conv1d(**tensors, backend=backend)
    after = causal_conv1d(**changed, backend=backend)
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.equal(before[:, 20], after[:, 20])


def test_packed_equals_separate(backend, conv, rms_ratio):
    lengths = [2, 1, 20, 2]
    case = conv(2, 25, seq_idx=packed(2, 25, *lengths))
    whole, start = case.run(backend), 0
    for number, length in enumerate(lengths):
        tensors = {**case.tensors, "x": case.tensors["x"][:, start : start + length]}
        if number:
            del tensors["initial_state"]
        y, state = causal_conv1d(
            **tensors, activation="silu", return_final_state=True, backend="reference"
        )
        assert rms_ratio(whole["y"][:, start : start + length], y) < 1e-14
        start += length
    assert torch.equal(whole["final_state"], state)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_stays_in_its_sequence(backend, conv, bad):
    case = conv(2, 40, seq_idx=packed(2, 40, 11, 2)).to(torch.float32)
    clean = case.run(backend)
    case.tensors["x"] = case.tensors["x"].clone()
    case.tensors["x"][:, 11:13] = bad
    broken = case.run(backend)
    assert not broken["y"][:, 11:13].isfinite().all()
    for name in ("y", "dx"):
        assert torch.equal(broken[name][:, :11], clean[name][:, :11])
        assert torch.equal(broken[name][:, 13:], clean[name][:, 13:])
    for name in ("final_state", "dinitial_state"):
        assert torch.equal(broken[name], clean[name])


def test_same_inputs_give_the_same_bits(backend, conv):
    case = conv(3, 300, 24).to(torch.float32)
    first, second = case.run(backend), case.run(backend)
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_second_derivative_is_refused(backend, conv):
    tensors = conv(1, 5).tensors
    x = tensors["x"].requires_grad_()
    y = causal_conv1d(**tensors, backend=backend)
    (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    if backend == "reference":  # plain autograd goes on
        grad.sum().backward()
        return
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()
