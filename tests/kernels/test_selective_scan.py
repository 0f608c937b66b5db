"""The selective scan's backends against the reference in float64, and the properties of a scan."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genomamba_kernels import selective_scan
from genomamba_kernels.selective_scan import autograd, blocks

BACKENDS = ["reference", "torch"]
STEPS = 24  # positions of a chunk at the sizes used here

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def packed(batch, length, *lengths):
    """seq_idx of rows that all hold sequences of the given lengths, the last one to the end."""
    ends = torch.tensor(lengths).cumsum(0)
    row = torch.searchsorted(ends, torch.arange(length), right=True).to(torch.int32)
    return row.expand(batch, length).contiguous()


@pytest.mark.parametrize("length", [1, STEPS - 1, STEPS, STEPS + 1, 63, 1000])
@pytest.mark.parametrize("mean_step", [0.01, 1.0, 8.0])
def test_float32_is_close_to_float64_reference(backend, scan, assert_close, length, mean_step):
    case = scan(2, length, 7, 5, mean_step=mean_step)
    truth = case.run("reference")
    assert_close(case.to(torch.float32).run(backend), truth, 1e-5, 1e-4)


@pytest.mark.parametrize(
    ("batch", "length", "channels", "states", "groups"),
    [(1, 700, 256, 16, 1), (40, 70, 128, 16, None), (3, 131, 12, 64, 3), (2, 50, 3, 4, 3)],
)
def test_shapes_and_groups(backend, scan, assert_close, batch, length, channels, states, groups):
    case = scan(batch, length, channels, states, groups).to(torch.float32)
    assert_close(case.run(backend), case.to(torch.float64).run("reference"), 1e-5, 1e-4)


@pytest.mark.parametrize("length", [1, 17, 300])
def test_float64_is_exact_to_rounding(backend, scan, assert_close, length):
    case = scan(2, length, 5, 4, seq_idx=packed(2, length, 7, 1, 40, 3))
    assert_close(case.run(backend), case.run("reference"), 1e-13, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_err_at_most_twice_the_reference(backend, scan, rms_ratio, dtype):
    rounded = scan(2, 200, 8, 16).to(dtype)
    truth = rounded.to(torch.float64).run("reference")
    ours, theirs = rounded.run(backend), rounded.run("reference")
    for name in truth:
        assert ours[name].dtype == theirs[name].dtype
        assert rms_ratio(ours[name], truth[name]) <= 2 * rms_ratio(theirs[name], truth[name]), name


@pytest.mark.parametrize("seq_idx", [None, packed(1, 19, 5, 8)])
def test_gradcheck(backend, scan, seq_idx):
    case = scan(1, 19, 2, 2, seq_idx=seq_idx)
    leaves = [tensor.requires_grad_() for tensor in case.tensors.values()]

    def run(*tensors):
        arguments = dict(zip(case.tensors, tensors, strict=True))
        return selective_scan(**arguments, **case.options, return_final_state=True, backend=backend)

    assert torch.autograd.gradcheck(run, leaves)


def test_optional_arguments_may_be_absent(backend, scan, rms_ratio):
    tensors = scan(2, 40).to(torch.float32).tensors
    required = {name: tensors[name] for name in ("u", "delta", "A", "B", "C")}
    required["delta"] = required["delta"].abs()
    leaves = {name: tensor.requires_grad_() for name, tensor in required.items()}
    results = []
    for name in (backend, "reference"):
        y = selective_scan(**leaves, backend=name)
        results.append((y, *torch.autograd.grad(y.square().sum(), list(leaves.values()))))
    for ours, theirs in zip(*results, strict=True):
        assert rms_ratio(ours, theirs) < 1e-5


def test_only_the_final_state_needs_a_gradient(backend, scan, rms_ratio):
    tensors = scan(2, 40).tensors
    grads = []
    for name in (backend, "reference"):
        u = tensors["u"].clone().requires_grad_()
        _, state = selective_scan(
            **{**tensors, "u": u}, delta_softplus=True, return_final_state=True, backend=name
        )
        grads.append(torch.autograd.grad(state.sum(), u)[0])
    assert rms_ratio(*grads) < 1e-12


def test_inputs_are_left_alone(backend, scan):
    # One chunk of one row in float32 is a view of the inputs: nothing may be done in its place.
    case = scan(1, 9, 4, 4).to(torch.float32)
    copies = {name: tensor.clone() for name, tensor in case.tensors.items()}
    leaves = {name: t.detach().requires_grad_() for name, t in case.tensors.items()}
    y = selective_scan(**leaves, delta_softplus=True, backend=backend)
    grad_y = torch.ones_like(y)
    y.backward(grad_y)
    assert torch.equal(grad_y, torch.ones_like(y))
    for name, tensor in case.tensors.items():
        assert torch.equal(tensor, copies[name]), name


@pytest.mark.parametrize("cut", [1, STEPS, 50, 99])
def test_split_and_carried_equals_whole(backend, scan, rms_ratio, cut):
    tensors = scan(2, 100, 6, 4).tensors
    along_length = ("u", "delta", "B", "C", "z")

    def part(start, stop, state):
        pieces = {n: t[:, start:stop] if n in along_length else t for n, t in tensors.items()}
        pieces["initial_state"] = state
        return selective_scan(
            **pieces, delta_softplus=True, return_final_state=True, backend=backend
        )

    for tensor in tensors.values():
        tensor.requires_grad_()
    whole, whole_state = part(0, 100, tensors["initial_state"])
    first, state = part(0, cut, tensors["initial_state"])
    second, state = part(cut, 100, state)
    split = torch.cat([first, second], dim=1)
    assert rms_ratio(split, whole) < 1e-13
    assert rms_ratio(state, whole_state) < 1e-13
    leaves = list(tensors.values())
    ours = torch.autograd.grad((split.square().sum(), state.square().sum()), leaves)
    theirs = torch.autograd.grad((whole.square().sum(), whole_state.square().sum()), leaves)
    for name, a, b in zip(tensors, ours, theirs, strict=True):
        assert rms_ratio(a, b) < 1e-12, name


def test_results_do_not_depend_on_the_tiling(backend, scan, assert_close, monkeypatch):
    if backend != "torch":
        pytest.skip("the tiling is the torch backend's")
    case = scan(3, 157, 6, 4, seq_idx=packed(3, 157, 30, 2, 90))
    truth = case.run("reference")
    for sizes in [(1, 1, 1), (2, 1, 157), (1, 157, 1), (3, 7, 5), (2, 2, 50)]:
        tiling = blocks.Tiling(*sizes)
        monkeypatch.setattr(autograd, "choose_tiling", lambda *_, tiling=tiling: tiling)
        assert_close(case.run("torch"), truth, 1e-13, 1e-12)


def test_causality(backend, scan):
    tensors = scan(2, 90).to(torch.float32).tensors
    changed = {name: tensor.clone() for name, tensor in tensors.items()}
    for name in ("u", "delta", "B", "C", "z"):
        changed[name][:, 40:] += 1
    before = selective_scan(**tensors, delta_softplus=True, backend=backend)
    after = selective_scan(**changed, delta_softplus=True, backend=backend)
    assert torch.equal(before[:, :40], after[:, :40])
    assert not torch.equal(before[:, 40:], after[:, 40:])


def test_zero_delta_leaves_the_state(backend, scan):
    tensors = scan(2, 40).to(torch.float32).tensors
    del tensors["delta_bias"]
    tensors["delta"].zero_()
    _, state = selective_scan(**tensors, return_final_state=True, backend=backend)
    assert torch.equal(state, tensors["initial_state"])


def test_batch_rows_are_independent(backend, scan, assert_close, rms_ratio):
    case = scan(3, 50).to(torch.float32)
    whole = case.run(backend)
    by_row = ("u", "delta", "B", "C", "z", "initial_state")
    for row in range(3):
        tensors = {n: t[row : row + 1] if n in by_row else t for n, t in case.tensors.items()}
        y = selective_scan(**tensors, delta_softplus=True, backend=backend)
        assert rms_ratio(y, whole["y"][row : row + 1]) < 1e-6


def test_packed_equals_separate(backend, scan, rms_ratio):
    lengths, total = [1, 30, 16, 2, 51], 100
    case = scan(2, total, seq_idx=packed(2, total, *lengths))
    whole = case.run(backend)
    start = 0
    for number, length in enumerate(lengths):
        stop = start + length
        along_length = ("u", "delta", "B", "C", "z")
        tensors = {
            name: tensor[:, start:stop] if name in along_length else tensor
            for name, tensor in case.tensors.items()
        }
        if number:
            tensors["initial_state"] = torch.zeros_like(tensors["initial_state"])
        y, state = selective_scan(
            **tensors, delta_softplus=True, return_final_state=True, backend="reference"
        )
        assert rms_ratio(whole["y"][:, start:stop], y) < 1e-13
        start = stop
    assert rms_ratio(whole["final_state"], state) < 1e-13
    # The initial state belongs to the first sequence alone, the final state to the last.
    leaf = case.tensors["initial_state"].requires_grad_()
    _, state = selective_scan(
        **case.tensors, **case.options, return_final_state=True, backend=backend
    )
    (grad,) = torch.autograd.grad(state.sum(), leaf)
    assert torch.equal(grad, torch.zeros_like(grad))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("lengths", [(20, 23), (20, 33, 90), (1, 1), (16, 16)])
def test_nan_stays_in_its_sequence(backend, scan, bad, lengths):
    """Neither outputs nor gradients of the neighbours of a broken sequence change at all."""
    total = 200
    case = scan(2, total, 5, 4, seq_idx=packed(2, total, *lengths)).to(torch.float32)
    clean = case.run(backend)
    start, stop = lengths[0], lengths[0] + lengths[1]
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


def test_same_inputs_give_the_same_bits(backend, scan):
    case = scan(3, 300, 24, 16, seq_idx=packed(3, 300, 100)).to(torch.float32)
    first, second = case.run(backend), case.run(backend)
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_autocast_changes_nothing(backend, scan):
    case = scan(2, 60).to(torch.bfloat16)
    plain = case.run(backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = case.run(backend)
    for name in plain:
        assert torch.equal(plain[name], cast[name]), name


def test_second_derivative_is_refused(backend, scan):
    tensors = scan(1, 5).tensors
    u = tensors["u"].requires_grad_()
    y = selective_scan(**tensors, delta_softplus=True, backend=backend)
    (grad,) = torch.autograd.grad(y.square().sum(), u, create_graph=True)
    if backend == "reference":  # plain autograd goes on
        grad.sum().backward()
        return
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()


@settings(deadline=None, max_examples=25)
@given(
    batch=st.integers(1, 4),
    length=st.integers(1, 90),
    width=st.integers(1, 9),
    groups=st.integers(1, 3),
    states=st.integers(1, 9),
    seed=st.integers(0, 99),
    sequences=st.integers(1, 5),
)
def test_any_shape(backend, scan, rms_ratio, batch, length, width, groups, states, seed, sequences):
    generator = torch.Generator().manual_seed(seed)
    seq_idx = torch.randint(sequences, (batch, length), generator=generator, dtype=torch.int32)
    case = scan(
        batch, length, width * groups, states, groups, seed=seed, seq_idx=seq_idx.sort(1).values
    )
    got, truth = case.run(backend), case.run("reference")
    for name in truth:
        assert rms_ratio(got[name], truth[name]) < 1e-11, name
