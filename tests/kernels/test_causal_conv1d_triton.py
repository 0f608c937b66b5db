"""The convolution's Triton kernels against the reference in float64: on a GPU, or interpreted."""

from __future__ import annotations

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")

from genomamba_kernels import causal_conv1d  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, on overflow


def packed(batch, length, *lengths):
    ends = torch.tensor(lengths).cumsum(0)
    row = torch.searchsorted(ends, torch.arange(length), right=True).to(torch.int32)
    return row.expand(batch, length).contiguous()


def run(case):
    """The case in float32 on the device, brought back."""
    case = case.to(torch.float32)
    tensors = {name: tensor.to(DEVICE) for name, tensor in case.tensors.items()}
    options = {k: v.to(DEVICE) if torch.is_tensor(v) else v for k, v in case.options.items()}
    results = type(case)(case.operator, tensors, **options).run("triton")
    return {name: tensor.cpu() for name, tensor in results.items()}


@pytest.mark.parametrize("length", [1, 2, 3, 31, 32, 33, 100])
@pytest.mark.parametrize("activation", [None, "silu"])
def test_lengths(conv, assert_close, length, activation):
    case = conv(2, length, 5, activation=activation)
    assert_close(run(case), case.run("reference"), 1e-6, 1e-6)


@pytest.mark.parametrize(("channels", "d_conv"), [(64, 4), (70, 2), (130, 3), (3, 1)])
def test_widths(conv, assert_close, channels, d_conv):
    case = conv(1, 40, channels, d_conv)
    assert_close(run(case), case.run("reference"), 1e-6, 1e-6)


@pytest.mark.parametrize("lengths", [(20, 13), (1, 1, 1, 2), (31, 1), (64,)])
def test_packed(conv, assert_close, lengths):
    case = conv(2, 70, 6, seq_idx=packed(2, 70, *lengths))
    assert_close(run(case), case.run("reference"), 1e-6, 1e-6)


@pytest.mark.parametrize("absent", ["bias", "initial_state"])
def test_optional_arguments_may_be_absent(conv, assert_close, absent):
    case = conv(1, 37, 5)
    del case.tensors[absent]
    assert_close(run(case), case.run("reference"), 1e-6, 1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_stays_in_its_sequence(conv, bad):
    case = conv(1, 60, 4, seq_idx=packed(1, 60, 20, 13)).to(torch.float32)
    clean = run(case)
    case.tensors["x"] = case.tensors["x"].clone()
    case.tensors["x"][:, 20:33] = bad
    broken = run(case)
    assert not broken["y"][:, 20:33].isfinite().all()
    for name in ("y", "dx"):
        assert torch.equal(broken[name][:, :20], clean[name][:, :20]), name
        assert torch.equal(broken[name][:, 33:], clean[name][:, 33:]), name
    for name in ("final_state", "dinitial_state"):
        assert torch.equal(broken[name], clean[name]), name


def test_strided_input(conv, rms_ratio):
    case = conv(2, 40, 8).to(torch.float32)
    x = torch.cat([case.tensors["x"]] * 2, dim=-1).to(DEVICE)[..., :8]
    weight = case.tensors["weight"].to(DEVICE)
    got = causal_conv1d(x, weight, backend="triton")
    assert rms_ratio(got, causal_conv1d(x, weight, backend="reference")) < 1e-6
