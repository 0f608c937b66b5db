"""The scan's Triton kernels against the reference in float64: on a GPU, or else interpreted.

The interpreter runs an operation at a time, so shapes are small here; a small plan makes them cross
every border that a long sequence crosses: tiles, saved states, segments, blocks of channels.
"""

from __future__ import annotations

import math
import sys
from itertools import pairwise

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")

from genomamba_kernels import selective_scan  # noqa: E402
from genomamba_kernels.selective_scan import triton_autograd, triton_plan  # noqa: E402
from genomamba_kernels.selective_scan.inputs import ScanInputs  # noqa: E402
from genomamba_kernels.selective_scan.triton_layout import collect, share  # noqa: E402
from genomamba_kernels.selective_scan.triton_plan import (  # noqa: E402
    DEFAULT_PLAN,
    Blocks,
    Plan,
    cut_forward,
    cut_length,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, on overflow
SMALL = Plan(8, 16, Blocks(32, None, 6, 0.75), Blocks(32, None, 6, 0.2))


@pytest.fixture(autouse=True)
def _small_plan(monkeypatch):
    monkeypatch.setattr(triton_autograd, "choose_plan", lambda *of: SMALL)


def packed(batch, length, *lengths):
    ends = torch.tensor(lengths).cumsum(0)
    row = torch.searchsorted(ends, torch.arange(length), right=True).to(torch.int32)
    return row.expand(batch, length).contiguous()


def run(case, **changes):
    """The case in float32 on the device, brought back."""
    case = case.to(torch.float32) if case.tensors["u"].dtype == torch.float64 else case
    tensors = {name: tensor.to(DEVICE) for name, tensor in case.tensors.items()}
    options = {k: v.to(DEVICE) if torch.is_tensor(v) else v for k, v in case.options.items()}
    results = type(case)(case.operator, tensors, **options).run("triton", **changes)
    return {name: tensor.cpu() for name, tensor in results.items()}


@pytest.mark.parametrize("length", [1, 15, 16, 17, 47])
@pytest.mark.parametrize("mean_step", [0.01, 1.0, 8.0])
def test_lengths_and_step_sizes(scan, assert_close, length, mean_step):
    case = scan(1, length, 7, 2, mean_step=mean_step)
    assert_close(run(case), case.run("reference"), 1e-5, 1e-4)


def test_isolated_large_steps(scan, assert_close):
    case = scan(1, 50, 5, 2, mean_step=0.01)
    case.tensors["delta"][:, 5::13] += 12.0
    assert_close(run(case), case.run("reference"), 1e-5, 1e-4)


@pytest.mark.parametrize("mean_step", [0.01, 1.0, 8.0])
def test_every_column_of_dA(scan, mean_step):
    case = scan(1, 40, 4, 4, mean_step=mean_step)
    case.tensors["A"] = -torch.arange(1.0, 5.0, dtype=torch.float64).repeat(4, 1)
    got, truth = run(case)["dA"], case.run("reference")["dA"]
    error = (got - truth).square().mean(0).sqrt() / truth.square().mean(0).sqrt()
    assert error.max() < 1e-4, error


@pytest.mark.parametrize(
    ("batch", "length", "channels", "states", "groups"),
    [(2, 17, 40, 1, None), (1, 32, 64, 2, 1), (1, 20, 66, 2, 2), (2, 5, 6, 3, 3), (1, 8, 3, 32, 1)],
)
def test_shapes_and_groups(scan, assert_close, batch, length, channels, states, groups):
    case = scan(batch, length, channels, states, groups)
    assert_close(run(case), case.run("reference"), 1e-5, 1e-4)


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("tile", [8, 16])
def test_results_do_not_depend_on_the_plan(scan, assert_close, monkeypatch, width, tile):
    case = scan(1, 35, 64, 1, seq_idx=packed(1, 35, 10, 1, 20))
    blocks = Blocks(width, None, 9, 0.2)
    plan = Plan(tile, 16, blocks, blocks)
    monkeypatch.setattr(triton_autograd, "choose_plan", lambda *of: plan)
    assert_close(run(case), case.run("reference"), 1e-5, 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_err_at_most_twice_the_reference(scan, rms_ratio, dtype):
    if DEVICE == "cpu" and dtype == torch.bfloat16:
        pytest.skip("the interpreter cuts bfloat16 off where a GPU rounds it")
    rounded = scan(1, 40, 8, 2).to(dtype)
    truth = rounded.to(torch.float64).run("reference")
    ours, theirs = run(rounded), rounded.run("reference")
    for name in truth:
        assert ours[name].dtype == theirs[name].dtype
        assert rms_ratio(ours[name], truth[name]) <= 2 * rms_ratio(theirs[name], truth[name]), name


@pytest.mark.parametrize("absent", [("z",), ("D", "delta_bias", "initial_state"), ("delta_bias",)])
def test_optional_arguments_may_be_absent(scan, assert_close, absent):
    case = scan(1, 30, 5, 2)
    for name in absent:
        del case.tensors[name]
    assert_close(run(case), case.run("reference"), 1e-5, 1e-4)


def test_strided_inputs(scan, rms_ratio):
    tensors = scan(2, 20, 8, 2).to(torch.float32).tensors
    wide = torch.cat([tensors["u"], tensors["z"]], dim=-1).to(DEVICE)
    u, z = wide.chunk(2, dim=-1)
    B = tensors["B"].mT.contiguous().to(DEVICE).mT
    delta, A, C = (tensors[name].to(DEVICE) for name in ("delta", "A", "C"))
    got = selective_scan(u, delta.abs(), A, B, C, z=z, backend="triton")
    assert rms_ratio(got, selective_scan(u, delta.abs(), A, B, C, z=z, backend="reference")) < 1e-6


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("lengths", [(20, 13), (16, 16), (1, 1)])
def test_nan_stays_in_its_sequence(scan, bad, lengths):
    case = scan(1, 48, 4, 1, seq_idx=packed(1, 48, *lengths)).to(torch.float32)
    clean = run(case)
    start, stop = lengths[0], lengths[0] + lengths[1]
    for name in ("u", "delta", "B", "C", "z"):
        case.tensors[name] = case.tensors[name].clone()
        case.tensors[name][:, start:stop] = bad
    broken = run(case)
    assert not broken["y"][:, start:stop].isfinite().all()
    for name in ("y", "du", "ddelta", "dB", "dC", "dz"):
        assert torch.equal(broken[name][:, :start], clean[name][:, :start]), name
        assert torch.equal(broken[name][:, stop:], clean[name][:, stop:]), name
    for name in ("final_state", "dinitial_state"):
        assert torch.equal(broken[name], clean[name]), name


def test_same_inputs_give_the_same_bits(scan):
    case = scan(1, 50, 40, 2)
    first, second = run(case), run(case)
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_tiles_and_back():
    x = torch.randn(2, 80, 2, 5, device=DEVICE)[:, :67]
    A = torch.randn(70, 5, device=DEVICE)
    unused = torch.empty(0)
    inputs = ScanInputs(unused, unused, A, x, 2 * x, None, None, None, False, None)
    shared = share(inputs, SMALL)
    tiles = shared.B
    assert torch.equal(tiles.permute(0, 2, 4, 1, 3).flatten(1, 2)[:, :67, :, :5], x)
    assert not tiles[..., 5, :].any()
    assert torch.equal(shared.C, 2 * tiles)
    torch.testing.assert_close(shared.a[:5].T, A / math.log(2))
    assert not shared.a[5].any()
    parts = torch.stack([tiles, 2 * tiles], dim=-2).expand(3, *[-1] * 6).contiguous()
    grad_B, grad_C = (torch.empty(x.shape, device=DEVICE) for _ in range(2))
    collect(parts, grad_B, grad_C, range(2), range(67))
    torch.testing.assert_close(grad_B, 3 * x)
    torch.testing.assert_close(grad_C, 6 * x)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1000, 32), (3, 77, 100), (1, 2**22, 256)])
def test_segments_cover_the_length(shape):
    for interval in (16, 64):
        count, segment = cut_length(torch.empty(shape, device="meta"), 1, interval, SMALL.forward)
        assert segment % interval == 0
        assert (count - 1) * segment < shape[1] <= count * segment


ALONG_LENGTH = ("u", "delta", "B", "C", "z")


@pytest.mark.parametrize("cuts", [(16,), (32, 48)])
@pytest.mark.parametrize("lengths", [(), (25, 23)])
def test_rows_cut_at_the_grid_give_the_same_bits(scan, monkeypatch, cuts, lengths):
    monkeypatch.setattr(triton_autograd, "choose_plan", lambda *of: SMALL._replace(grid=16))
    length = 59
    seq_idx = packed(2, length, *lengths, length).to(DEVICE) if lengths else None
    tensors = scan(2, length, 5, 2, mean_step=0.1).to(torch.float32).on(DEVICE).tensors
    for tensor in tensors.values():  # as parameters do, whether or not gradients are recorded
        tensor.requires_grad_()

    @torch.no_grad()
    def part(start, stop, state):
        pieces = {n: t[:, start:stop] if n in ALONG_LENGTH else t for n, t in tensors.items()}
        pieces["initial_state"] = state
        return selective_scan(
            **pieces,
            delta_softplus=True,
            seq_idx=None if seq_idx is None else seq_idx[:, start:stop].contiguous(),
            return_final_state=True,
            backend="triton",
        )

    whole, whole_state = part(0, length, tensors["initial_state"])
    state, parts = tensors["initial_state"], []
    for start, stop in pairwise((0, *cuts, length)):
        if seq_idx is not None and start and not torch.equal(*seq_idx[:, [start - 1, start]].T):
            state = torch.zeros_like(state)
        y, state = part(start, stop, state)
        parts.append(y)
    assert torch.equal(torch.cat(parts, dim=1), whole)
    assert torch.equal(state, whole_state)


def test_which_rows_are_cut_at_the_grid(monkeypatch):
    monkeypatch.setattr(triton_plan, "_multiprocessors", lambda device: 132)

    def cut(shape, continues):
        return cut_forward(torch.empty(shape, device="meta"), 1, DEFAULT_PLAN, continues)

    assert cut((1, 2**20, 256), False) == cut((1, 2**20, 256), True) == (2048, 512, True)
    assert cut((1, 4099, 256), True) == (9, 512, True)
    assert cut((1, 2**14, 256), False)[1:] != (512, True)
    # Rows that fill the card are one segment each, however they are cut.
    assert cut((256, 2**18, 256), False) == (1, 2**18, False)
    assert cut((256, 2**12, 256), True) == (1, 2**12, False)


def test_what_triton_cannot_run_is_refused(scan, monkeypatch):
    tensors = scan(1, 5).tensors
    with pytest.raises(ValueError, match=r"float64; use the backend \"torch\""):
        selective_scan(**tensors, backend="triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="expects data on a CUDA device"):
        selective_scan(**scan(1, 5).to(torch.float32).tensors, backend="triton")
    assert "triton" in sys.modules
