"""What both operators must show, on a GPU at real sizes and interpreted at small ones.

Truth is the reference in float64, on the same device. Without a GPU only the Triton kernels are
run here, and only on what their own files leave out: the torch backend's hold it to more.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from genomamba_kernels import causal_conv1d, selective_scan

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Under compute-sanitizer (make sanitize) a GPU runs the interpreter's sizes, too.
LARGE = DEVICE == "cuda" and os.environ.get("GENOMAMBA_SMALL_TESTS") != "1"
LENGTH, CHANNELS, STATES = (2048, 256, 16) if LARGE else (22, 3, 2)
SCALE = 46 if LARGE else 1  # of pieces and packed sequences
large_only = pytest.mark.skipif(not LARGE, reason="covered by the operators' own Triton tests")
ALONG_LENGTH = ("u", "delta", "B", "C", "z", "x")

pytest.importorskip("triton")
pytestmark = [
    pytest.mark.parametrize("backend", ["triton", "torch"] if LARGE else ["triton"]),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # NumPy's, on overflow
]


def packed(batch, length, *lengths):
    """seq_idx of rows that all hold sequences of the given lengths, the last one to the end."""
    ends = torch.tensor(lengths).cumsum(0)
    row = torch.searchsorted(ends, torch.arange(length), right=True).to(torch.int32)
    return row.expand(batch, length).contiguous()


def decays(states, channels):
    """A = -1 .. -N in every channel."""
    return -torch.arange(1.0, states + 1, dtype=torch.float64).repeat(channels, 1)


def truth_of(case, backend="reference"):
    """What the case should give; small ones are faster on the CPU."""
    results = case.on(DEVICE if LARGE else "cpu").run(backend)
    return {name: tensor.to(DEVICE) for name, tensor in results.items()}


def absolute_sum(case) -> Tensor:
    """sum_t q_t |g_t h_t|, (D, N): the size of the terms that dA adds up, with Case.run's
    cotangents."""
    t = case.tensors
    q = torch.nn.functional.softplus(t["delta"] + t["delta_bias"])
    h, A = t["initial_state"], t["A"].clone().requires_grad_()  # so that h_t have gradients
    states, ys = [], []
    for i in range(q.shape[1]):
        step = q[:, i, :, None]
        h = torch.exp(step * A) * h + step * t["u"][:, i, :, None] * t["B"][:, i, None]
        states.append(h)
        ys.append((h * t["C"][:, i, None]).sum(-1))
    y = torch.stack(ys, 1) * torch.nn.functional.silu(t["z"])
    generator = torch.Generator().manual_seed(1)
    cotangents = [
        torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out) for out in (y, h)
    ]
    grads = torch.autograd.grad((y, h), states, cotangents)
    terms = zip(q.unbind(1), grads, states, strict=True)
    return sum((q_t[..., None] * (g * h_t).abs()).sum(0) for q_t, g, h_t in terms).detach()


def check_decay_gradient(got, truth, scale):
    """Every column of dA: to 1e-3 of its RMS, or to 1e-6 of that of the terms it adds up."""
    error, column, terms = (x.square().mean(0).sqrt() for x in (got - truth, truth, scale))
    allowed = torch.maximum(1e-3 * column, 1e-6 * terms)
    assert (error <= allowed).all(), (error / allowed).max()


@pytest.mark.parametrize("large", [False, True], ids=["even", "isolated"])
@pytest.mark.parametrize("mean_step", [0.01, 1.0, 8.0])
def test_scan_in_three_regimes(backend, scan, assert_close, mean_step, large):
    case = scan(1, LENGTH, CHANNELS, STATES, mean_step=mean_step).on(DEVICE)
    case.tensors["A"] = decays(STATES, CHANNELS).to(DEVICE)
    if large:
        case.tensors["delta"][:, 5::37] += 12.0
    got, truth = case.to(torch.float32).run(backend), truth_of(case)
    assert_close(got, truth, 1e-5, 1e-4)
    check_decay_gradient(got["dA"].double(), truth["dA"], absolute_sum(case))


@large_only
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mean_step", [0.01, 1.0, 8.0])
def test_half_types_err_at_most_twice_the_reference(backend, scan, rms_ratio, mean_step, dtype):
    case = scan(1, min(LENGTH, 600), CHANNELS, STATES, mean_step=mean_step).to(dtype).on(DEVICE)
    truth = case.to(torch.float64).run("reference", rounded=dtype)
    ours, theirs = case.run(backend), case.run("reference")
    for name in truth:
        assert ours[name].dtype == theirs[name].dtype
        # States and the gradient of A are float32: there both err by some of its roundings.
        allowed = max(2 * rms_ratio(theirs[name], truth[name]), 1e-6)
        assert rms_ratio(ours[name], truth[name]) <= allowed, name


@pytest.mark.parametrize("states", [4, 16] + [5, 8, 24, 32, 64] * LARGE)
def test_number_of_states(backend, scan, assert_close, states):
    case = scan(1, 300 if LARGE else 5, 40 if LARGE else 2, states).on(DEVICE)
    assert_close(case.to(torch.float32).run(backend), truth_of(case), 1e-5, 1e-4)


@pytest.mark.parametrize(
    ("batch", "length", "channels", "groups"),
    [(1, 1, 1, None), (3, 1, 70, None), (1, 17, 6, 2)]
    + [
        (2, 63, 33, 3),
        (2, 1000, 96, 3),
        (1, 4097, 100, None),
        (150, 70, 128, 1),
        (1, 70000, 3, None),
    ]
    * LARGE,
)
def test_odd_shapes(backend, scan, assert_close, batch, length, channels, groups):
    case = scan(batch, length, channels, 4 if LARGE else 2, groups).on(DEVICE)
    truth = truth_of(case, "reference" if length < 10000 else "torch")
    assert_close(case.to(torch.float32).run(backend), truth, 1e-5, 1e-4)


@pytest.mark.parametrize("cut", [16] + [1, 29] * LARGE)
def test_scan_split_and_carried_equals_whole(backend, scan, rms_ratio, cut):
    case = scan(1, 44 * SCALE + 3, CHANNELS, STATES).to(torch.float32).on(DEVICE)
    tensors = {name: tensor.requires_grad_() for name, tensor in case.tensors.items()}

    def part(start, stop, state):
        pieces = {n: t[:, start:stop] if n in ALONG_LENGTH else t for n, t in tensors.items()}
        pieces["initial_state"] = state
        return selective_scan(
            **pieces, delta_softplus=True, return_final_state=True, backend=backend
        )

    whole, whole_state = part(0, None, tensors["initial_state"])
    first, state = part(0, cut * SCALE, tensors["initial_state"])
    second, state = part(cut * SCALE, None, state)
    split = torch.cat([first, second], dim=1)
    assert rms_ratio(split, whole) < 1e-6
    assert rms_ratio(state, whole_state) < 1e-6
    leaves = list(tensors.values())
    ours = torch.autograd.grad((split.square().sum(), state.square().sum()), leaves)
    theirs = torch.autograd.grad((whole.square().sum(), whole_state.square().sum()), leaves)
    for name, a, b in zip(tensors, ours, theirs, strict=True):
        assert rms_ratio(a, b) < 1e-5, name


@pytest.mark.parametrize("lengths", [(1, 9, 16, 2)] + [(15, 1), (32,)] * LARGE)
def test_scan_packed_equals_separate(backend, scan, rms_ratio, lengths):
    """Outputs and gradients of each sequence are those it has alone."""
    lengths = [length * SCALE for length in lengths]
    total = 44 * SCALE
    case = scan(1, total, CHANNELS, STATES, seq_idx=packed(1, total, *lengths)).on(DEVICE)
    whole = case.to(torch.float32).run(backend)
    truth = truth_of(case)
    ends = torch.tensor([*lengths, total - sum(lengths)]).cumsum(0).tolist()
    for start, stop in zip([0, *ends], ends, strict=False):
        pieces = {n: t[:, start:stop] if n in ALONG_LENGTH else t for n, t in case.tensors.items()}
        if start:
            del pieces["initial_state"]
        y, state = selective_scan(
            **pieces, delta_softplus=True, return_final_state=True, backend="reference"
        )
        assert rms_ratio(whole["y"][:, start:stop], y) < 1e-5
        for name in ("du", "ddelta", "dB", "dC", "dz"):
            here = whole[name][:, start:stop], truth[name][:, start:stop]
            assert rms_ratio(*here) < 1e-4, name
    assert rms_ratio(whole["final_state"], state) < 1e-5
    for name in ("dA", "dD", "ddelta_bias", "dinitial_state"):
        assert rms_ratio(whole[name], truth[name]) < 1e-4, name


@large_only
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_sequence_stays_alone(backend, scan, bad):
    total, start, stop = 30 * SCALE, 17 * SCALE, 18 * SCALE + 1
    case = scan(1, total, 5, 3, seq_idx=packed(1, total, start, stop - start))
    case = case.to(torch.float32).on(DEVICE)
    clean = case.run(backend)
    for name in ("u", "delta", "B", "C", "z"):
        case.tensors[name] = case.tensors[name].clone()
        case.tensors[name][:, start:stop] = bad
    broken = case.run(backend)
    assert not broken["y"][:, start:stop].isfinite().all()
    for name in ("y", "du", "ddelta", "dB", "dC", "dz"):
        assert torch.equal(broken[name][:, :start], clean[name][:, :start]), name
        assert torch.equal(broken[name][:, stop:], clean[name][:, stop:]), name
    for name in ("final_state", "dinitial_state"):
        assert torch.equal(broken[name], clean[name]), name


def test_scan_causality(backend, scan):
    tensors = scan(1, LENGTH, CHANNELS, STATES).to(torch.float32).on(DEVICE).tensors
    middle = LENGTH // 2 - 3
    changed = {name: tensor.clone() for name, tensor in tensors.items()}
    for name in ("u", "delta", "B", "C", "z"):
        changed[name][:, middle:] += 1
    before = selective_scan(**tensors, delta_softplus=True, backend=backend)
    after = selective_scan(**changed, delta_softplus=True, backend=backend)
    assert torch.equal(before[:, :middle], after[:, :middle])
    assert not torch.equal(before[:, middle], after[:, middle])


def test_scan_rows_are_independent(backend, scan, rms_ratio):
    """A row's NaN does not reach another row."""
    case = scan(3, LENGTH // 2, CHANNELS, STATES).to(torch.float32).on(DEVICE)
    clean = case.run(backend)
    case.tensors["u"] = case.tensors["u"].clone()
    case.tensors["u"][1] = float("nan")
    broken = case.run(backend)
    assert broken["y"][1].isnan().any()
    for name in ("y", "du", "ddelta", "dB", "dC", "dz", "final_state", "dinitial_state"):
        for row in (0, 2):
            assert torch.equal(broken[name][row], clean[name][row]), name


@large_only
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scan_gives_the_same_bits(backend, scan, dtype):
    case = scan(2, LENGTH, CHANNELS, STATES).to(dtype).on(DEVICE)
    first, second = case.run(backend), case.run(backend)
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_scan_only_the_final_state_needs_a_gradient(backend, scan, rms_ratio):
    case = scan(2, LENGTH // 2, CHANNELS, STATES).on(DEVICE)
    grads = []
    for name, dtype in ((backend, torch.float32), ("reference", torch.float64)):
        tensors = case.to(dtype).tensors
        leaves = [tensors[n].requires_grad_() for n in ("u", "initial_state", "A")]
        _, state = selective_scan(
            **tensors, delta_softplus=True, return_final_state=True, backend=name
        )
        grads.append(torch.autograd.grad(state.square().sum(), leaves))
    for got, truth in zip(*grads, strict=True):
        assert rms_ratio(got, truth) < 1e-4


@large_only
def test_scan_leaves_its_inputs_alone(backend, scan):
    case = scan(1, 9, 4, 4).to(torch.float32).on(DEVICE)
    copies = {name: tensor.clone() for name, tensor in case.tensors.items()}
    leaves = {name: t.detach().requires_grad_() for name, t in case.tensors.items()}
    y = selective_scan(**leaves, delta_softplus=True, backend=backend)
    grad_y = torch.ones_like(y)
    y.backward(grad_y)
    assert torch.equal(grad_y, torch.ones_like(y))
    for name, tensor in case.tensors.items():
        assert torch.equal(tensor, copies[name]), name


@pytest.mark.parametrize("length", [3] + [1, 2, 4, 63, 1000, 30001] * LARGE)
@pytest.mark.parametrize("d_conv", [4] + [2] * LARGE)
def test_conv_is_close_to_the_reference(backend, conv, assert_close, length, d_conv):
    case = conv(2, length, 130 if LARGE else 5, d_conv, seq_idx=packed(2, length, 1, 2, 9))
    case = case.on(DEVICE)
    assert_close(case.to(torch.float32).run(backend), truth_of(case), 1e-5, 1e-4)


@large_only
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_conv_half_types_err_at_most_twice_the_reference(backend, conv, rms_ratio, dtype):
    case = conv(2, min(LENGTH, 1000), CHANNELS).to(dtype).on(DEVICE)
    truth = case.to(torch.float64).run("reference", rounded=dtype)
    ours, theirs = case.run(backend), case.run("reference")
    for name in truth:
        assert ours[name].dtype == theirs[name].dtype
        assert rms_ratio(ours[name], truth[name]) <= 2 * rms_ratio(theirs[name], truth[name]), name


@large_only
@pytest.mark.parametrize("cut", [1, 3, 40])
def test_conv_split_and_carried_equals_whole(backend, conv, rms_ratio, cut):
    tensors = conv(1, 77, CHANNELS).to(torch.float32).on(DEVICE).tensors
    leaves = [tensor.requires_grad_() for tensor in tensors.values()]

    def part(start, stop, state):
        arguments = {**tensors, "x": tensors["x"][:, start:stop], "initial_state": state}
        return causal_conv1d(
            **arguments, activation="silu", return_final_state=True, backend=backend
        )

    whole, whole_state = part(0, None, tensors["initial_state"])
    first, state = part(0, cut, tensors["initial_state"])
    second, state = part(cut, None, state)
    split = torch.cat([first, second], dim=1)
    assert torch.equal(state, whole_state)
    assert rms_ratio(split, whole) < 1e-6
    ours = torch.autograd.grad((split.square().sum(), state.square().sum()), leaves)
    theirs = torch.autograd.grad((whole.square().sum(), whole_state.square().sum()), leaves)
    for a, b in zip(ours, theirs, strict=True):
        assert rms_ratio(a, b) < 1e-5


def test_conv_causality_and_bits(backend, conv):
    case = conv(2, LENGTH, CHANNELS).to(torch.float32).on(DEVICE)
    first, second = case.run(backend), case.run(backend)
    for name in first:
        assert torch.equal(first[name], second[name]), name
    changed = {**case.tensors, "x": case.tensors["x"].clone()}
    changed["x"][:, 20:] += 1
    before = causal_conv1d(**case.tensors, activation="silu", backend=backend)
    after = causal_conv1d(**changed, activation="silu", backend=backend)
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.equal(before[:, 20], after[:, 20])


@large_only
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_conv_broken_sequence_stays_alone(backend, conv, bad):
    case = conv(2, 60, 6, seq_idx=packed(2, 60, 20, 13)).to(torch.float32).on(DEVICE)
    clean = case.run(backend)
    case.tensors["x"] = case.tensors["x"].clone()
    case.tensors["x"][:, 20:33] = bad
    broken = case.run(backend)
    assert not broken["y"][:, 20:33].isfinite().all()
    for name in ("y", "dx"):
        assert torch.equal(broken[name][:, :20], clean[name][:, :20]), name
        assert torch.equal(broken[name][:, 33:], clean[name][:, 33:]), name
    for name in ("final_state", "dinitial_state"):
        assert torch.equal(broken[name], clean[name]), name
