"""A layer's inside against the operators one after another in float64.

The Triton backend runs on a GPU or interpreted; it is given small pieces, so that a short row is
cut as a long one is.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from genomamba_kernels import mamba_inner

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STATES = ("conv_state", "scan_state")
FLOAT32 = ("A", "scan_state")  # at least, whatever the data's dtype

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, on overflow


def make(batch=2, length=20, channels=6, states=1, rank=3, groups=1, d_conv=4):
    """Every tensor argument, in float64."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "xz": normal(batch, length, 2 * channels),
        "conv_weight": normal(channels, d_conv),
        "conv_bias": normal(channels),
        "x_proj_weight": normal(rank + 2 * groups * states, channels) / channels**0.5,
        "dt_proj_weight": normal(channels, rank),
        "A": -torch.exp(0.5 * normal(channels, states)),
        "D": normal(channels),
        "dt_bias": normal(channels) - 1,
        "conv_state": normal(batch, d_conv - 1, channels),
        "scan_state": normal(batch, channels, states),
    }


def packed(batch, length, *starts):
    row = torch.searchsorted(torch.tensor(starts), torch.arange(length), right=True)
    return row.to(torch.int32).expand(batch, length).contiguous()


def cotangents(outputs):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out) for out in outputs
    ]


def call(tensors, backend, seq_idx=None):
    """(y, conv_state, scan_state)."""
    arguments = {name: tensor for name, tensor in tensors.items() if name not in STATES}
    state = tuple(tensors[name] for name in STATES) if "conv_state" in tensors else None
    y, state = mamba_inner(
        **arguments, initial_state=state, return_final_state=True, seq_idx=seq_idx, backend=backend
    )
    return y, *state


def run(tensors, backend, dtype, seq_idx=None):
    """Outputs and the gradient of every tensor, brought back to the CPU."""
    device = DEVICE if backend == "triton" else "cpu"
    wide = torch.promote_types(dtype, torch.float32)
    leaves = {
        name: tensor.to(device, wide if name in FLOAT32 else dtype).detach().requires_grad_()
        for name, tensor in tensors.items()
        if tensor is not None
    }
    arguments = {name: leaves.get(name) for name in tensors}
    seq_idx = None if seq_idx is None else seq_idx.to(device)
    outputs = call(arguments, backend, seq_idx)
    grads = torch.autograd.grad(outputs, list(leaves.values()), cotangents(outputs))
    results = dict(zip(("y", *STATES), outputs, strict=True))
    results |= {f"d{name}": grad for name, grad in zip(leaves, grads, strict=True)}
    return {name: tensor.detach().cpu() for name, tensor in results.items()}


@pytest.fixture
def compare(rms_ratio):
    """Triton in float32 against the truth: 1e-5 forward, 1e-4 for gradients."""

    def check(tensors, seq_idx=None):
        got = run(tensors, "triton", torch.float32, seq_idx)
        truth = run(tensors, "reference", torch.float64, seq_idx)
        limits = {name: 1e-4 if name.startswith("d") else 1e-5 for name in truth}
        distances = {name: rms_ratio(got[name], truth[name]) for name in truth}
        assert all(distances[name] <= limits[name] for name in truth), distances

    return check


@pytest.fixture
def pieces(monkeypatch):
    """Pieces of 16 positions, the shortest there are."""
    triton_pieces = pytest.importorskip("genomamba_kernels.mamba_inner.triton_pieces")
    monkeypatch.setattr(triton_pieces, "PIECE", 16 * 6)
    return triton_pieces


needs_triton = pytest.mark.usefixtures("pieces")


@needs_triton
@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"length": 1, "channels": 5, "d_conv": 1},
        {"batch": 1, "length": 2, "channels": 40, "states": 3, "rank": 1},
        {"batch": 3, "length": 5, "groups": 2, "d_conv": 2},
    ],
)
def test_shapes(compare, sizes):
    compare(make(**sizes))


@needs_triton
@pytest.mark.parametrize("starts", [None, (16,), (3, 14, 17, 18)])
def test_pieces(compare, starts):
    compare(make(1, 37), None if starts is None else packed(1, 37, *starts))


@needs_triton
def test_optional_arguments_may_be_absent(compare):
    tensors = make(1)
    del tensors["conv_state"], tensors["scan_state"]
    compare(tensors | {"conv_bias": None, "D": None, "dt_bias": None})


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2**20, 256), (7, 1000, 100), (256, 2**12, 256)])
def test_pieces_are_all_there_is(shape):
    triton_pieces = pytest.importorskip("genomamba_kernels.mamba_inner.triton_pieces")
    batch, length, channels = shape
    seen = 0
    for row in triton_pieces.cut(*shape):
        stop = 0
        for piece in row:
            assert piece.positions.start == stop
            stop = piece.positions.stop
            positions = stop - piece.positions.start
            rows = piece.rows.stop - piece.rows.start
            assert rows * positions * channels <= triton_pieces.PIECE
            assert rows == 1 or positions == length
            seen += rows * positions
        assert stop == length
    assert seen == batch * length


@needs_triton
def test_split_and_carry(rms_ratio):
    """Two calls, the second started with the first one's states; gradients flow through them."""
    tensors = make(1, 23)
    truth = run(tensors, "reference", torch.float64)
    leaves = {
        name: tensor.to(DEVICE, torch.float32).requires_grad_() for name, tensor in tensors.items()
    }
    first, second = (leaves | {"xz": part} for part in leaves["xz"].split([9, 14], dim=1))
    y1, *state = call(first, "triton")
    y2, *state = call(second | dict(zip(STATES, state, strict=True)), "triton")
    outputs = [torch.cat([y1, y2], dim=1), *state]
    grads = torch.autograd.grad(outputs, list(leaves.values()), cotangents(outputs))
    for name, output in zip(("y", *STATES), outputs, strict=True):
        assert rms_ratio(output.cpu(), truth[name]) < 1e-5, name
    for name, grad in zip(leaves, grads, strict=True):
        assert rms_ratio(grad.cpu(), truth[f"d{name}"]) < 1e-4, name


@needs_triton
def test_nan_stays_in_its_sequence():
    tensors, seq_idx = make(1, 37), packed(1, 37, 11, 24)
    clean = run(tensors, "triton", torch.float32, seq_idx)
    tensors["xz"] = tensors["xz"].clone()
    tensors["xz"][:, 11:24] = float("nan")
    broken = run(tensors, "triton", torch.float32, seq_idx)
    assert not broken["y"][:, 11:24].isfinite().all()
    for name in ("y", "dxz"):
        assert torch.equal(broken[name][:, :11], clean[name][:, :11]), name
        assert torch.equal(broken[name][:, 24:], clean[name][:, 24:]), name
    for name in (*STATES, "dconv_state", "dscan_state"):
        assert torch.equal(broken[name], clean[name]), name


@needs_triton
def test_same_inputs_give_the_same_bits():
    tensors = make(1)
    first, second = (run(tensors, "triton", torch.float32) for _ in range(2))
    for name in first:
        assert torch.equal(first[name], second[name]), name


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_err_at_most_twice_the_composition(rms_ratio, dtype):
    if DEVICE == "cpu" and dtype == torch.bfloat16:
        pytest.skip("the interpreter cuts bfloat16 off where a GPU rounds it")
    rounded = {
        name: tensor.to(torch.float32 if name in FLOAT32 else dtype)
        for name, tensor in make(1, 30).items()
    }
    truth = run(rounded, "reference", torch.float64)
    ours, theirs = (run(rounded, backend, dtype) for backend in ("triton", "torch"))
    for name in truth:
        assert ours[name].dtype == theirs[name].dtype, name
        limit = 2 * rms_ratio(theirs[name], truth[name])
        assert rms_ratio(ours[name], truth[name]) <= limit, name


@needs_triton
@pytest.mark.parametrize("recorded", [True, False])
def test_the_scan_knows_whether_gradients_are_recorded(monkeypatch, recorded):
    """Without, parameters require them all the same, and nothing is kept for a backward pass."""
    steps = pytest.importorskip("genomamba_kernels.mamba_inner.triton_steps")
    given, forward = [], steps.scan_forward

    def note(inputs, shared, state, plan, save, **rest):
        given.append((save, rest["in_parts"]))
        return forward(inputs, shared, state, plan, save, **rest)

    monkeypatch.setattr(steps, "scan_forward", note)
    tensors = {n: t.to(DEVICE, torch.float32).requires_grad_() for n, t in make(1, 5).items()}
    with torch.set_grad_enabled(recorded):
        call(tensors, "triton")
    assert set(given) == {(recorded, not recorded)}  # on a GPU twice: once to compile ahead


@needs_triton
def test_may_be_recomputed():
    """Under checkpointing, to the same bits."""
    tensors = {
        name: tensor.to(DEVICE, torch.float32).requires_grad_()
        for name, tensor in make(1, 5).items()
    }
    plain = call(tensors, "triton")
    again = checkpoint(call, tensors, "triton", use_reentrant=False)
    leaves = list(tensors.values())
    grads = [torch.autograd.grad(out, leaves, cotangents(out)) for out in (plain, again)]
    for got, expected in zip(*grads, strict=True):
        assert torch.equal(got, expected)


def test_only_its_input_is_kept_of_its_size(pieces, monkeypatch):
    """Nothing else of the size (B, L, D), not the convolution's output and not delta."""
    monkeypatch.setattr(pieces, "PIECE", 2**20)
    tensors = {
        name: tensor.to(DEVICE, torch.float32).requires_grad_()
        for name, tensor in make(1, 70, 12, rank=1).items()
    }
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        call(tensors, "triton")
    xz = tensors["xz"]
    others = [tensor for tensor in kept if tensor.data_ptr() != xz.data_ptr()]
    assert len(others) < len(kept)
    assert sum(tensor.numel() for tensor in others) < xz.numel() // 2


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_gradients_are_the_functions(backend):
    tensors = make(1, 4, 2, 1, 1, d_conv=2)
    seq_idx = packed(1, 4, 3)
    leaves = [tensor.requires_grad_() for tensor in tensors.values()]

    def function(*values):
        return call(dict(zip(tensors, values, strict=True)), backend, seq_idx)

    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("xz", torch.zeros(2, 20, 11), "xz: expected shape .* even last"),
        ("conv_weight", torch.zeros(5, 4), r"conv_weight: expected shape \(D, d_conv\)"),
        ("x_proj_weight", torch.zeros(4, 6), "x_proj_weight: expected R . 2 G N rows"),
        ("x_proj_weight", torch.zeros(11, 6), "G that divides D = 6, got 11"),
        ("dt_proj_weight", torch.zeros(6), "dt_proj_weight: expected shape"),
        ("A", torch.zeros(6, 1, dtype=torch.float16), "A: expected torch.float32"),
        ("A", torch.full((6, 1), float("nan")), "A: expected finite"),
        ("D", torch.zeros(7), "D: expected shape"),
        ("conv_state", torch.zeros(2, 4, 6), r"initial_state\[0\]: expected shape"),
        ("scan_state", torch.zeros(2, 6, 2), r"initial_state\[1\]: expected shape"),
    ],
)
def test_what_does_not_fit_is_refused(name, value, message):
    tensors = {key: tensor.float() for key, tensor in make().items()} | {name: value}
    with pytest.raises(ValueError, match=message):
        call(tensors, "torch")


def test_projections_follow_autocast():
    """Parameters stay float32, and so do their gradients; the data take autocast's dtype."""
    tensors = {name: tensor.float().requires_grad_() for name, tensor in make().items()}
    plain = call(tensors, "torch")
    with torch.autocast("cpu", torch.bfloat16):
        outputs = call(tensors | {"xz": tensors["xz"].bfloat16()}, "torch")
    assert [out.dtype for out in outputs] == [torch.bfloat16, torch.bfloat16, torch.float32]
    torch.testing.assert_close(outputs[0].float(), plain[0], rtol=0.1, atol=0.1)
    for grad in torch.autograd.grad(outputs, list(tensors.values()), cotangents(outputs)):
        assert grad.dtype == torch.float32
