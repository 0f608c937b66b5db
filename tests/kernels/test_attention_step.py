"""One position of attention at a time against the whole in float64: torch and Triton."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from genomamba_kernels.attention_step import attention_step, turned
from genomamba_kernels.attention_step.torch_step import attend_to_part, attend_under_mask

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BACKENDS = [
    "torch",
    pytest.param(
        "triton",
        marks=pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton"),
    ),
]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in the interpreter
LIMITS = {torch.float32: 1e-6, torch.bfloat16: 1e-2}


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def table(room: int, width: int) -> tuple[Tensor, Tensor]:
    angles = torch.arange(room, dtype=torch.float64)[:, None] / (1 + torch.arange(width // 2))
    return angles.cos(), angles.sin()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize(
    ("rows", "heads", "width", "before", "room"),
    [(2, 3, 6, 0, 5), (1, 2, 64, 130, 200), (2, 1, 96, 63, 70), (3, 2, 16, 600, 700)],
)
def test_equals_attention_over_the_whole(
    backend, dtype, rows, heads, width, before, room, rms_ratio
) -> None:
    device = DEVICE if backend == "triton" else "cpu"
    steps = 3
    length = before + steps
    # As in_proj gives them: of strides that are not those of their shapes.
    qkv = normal(rows, length, 3, heads, width).to(dtype)
    q, k, v = qkv.double().permute(2, 0, 3, 1, 4)
    cosine, sine = (t.to(dtype) for t in table(room, width))
    angles = cosine[:length].double(), sine[:length].double()
    truth = scaled_dot_product_attention(turned(q, *angles), turned(k, *angles), v, is_causal=True)
    keys, values = (torch.zeros(rows, heads, room, width, dtype=dtype) for _ in range(2))
    keys[:, :, :before] = turned(k, *angles)[:, :, :before]
    values[:, :, :before] = v[:, :, :before]
    old = keys[:, :, :before].clone()
    keys, values, cosine, sine = (t.to(device) for t in (keys, values, cosine, sine))
    position = torch.tensor([before], device=device)
    for at in range(before, length):
        one = qkv[:, at].to(device).unbind(1)
        y = attention_step(*one, keys, values, position, cosine, sine, backend=backend)
        assert y.dtype == dtype
        assert rms_ratio(y.cpu(), truth[:, :, at]) < LIMITS[dtype]
        assert position.item() == at  # the caller's to move on
        position += 1
    assert torch.equal(keys[:, :, :before].cpu(), old)
    assert (
        rms_ratio(keys[:, :, before:length].cpu(), turned(k, *angles)[:, :, before:])
        < (LIMITS[dtype])
    )
    assert torch.equal(values[:, :, :length].cpu(), v.to(dtype))
    assert not keys[:, :, length:].any()


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("at", [0, 1, 63, 99])
def test_a_mask_over_the_room_is_the_part_before(dtype, limit, at, rms_ratio) -> None:
    q, keys, values = (normal(2, 3, n, 10, seed=n).to(dtype) for n in (1, 100, 100))
    position = torch.tensor([at])
    part = attend_to_part(q, keys, values, position)
    assert rms_ratio(attend_under_mask(q, keys, values, position), part) < limit
    expected = scaled_dot_product_attention(
        *(t.double() for t in (q, keys[:, :, : at + 1], values[:, :, : at + 1]))
    )
    assert rms_ratio(part, expected) < limit


def test_a_part_without_positions_weighs_nothing() -> None:
    pytest.importorskip("triton")
    from genomamba_kernels.attention_step.triton_launch import NUMBERS, parts_of

    assert parts_of(1, NUMBERS) == 64
    assert parts_of(768, 45) == 2
    assert parts_of(12, 45) == 32
    assert parts_of(10_000, 45) == 1
    room, width = 1024, 64  # many parts; one position, so that all but part 0 have none
    keys, values = (torch.zeros(1, 1, room, width, device=DEVICE) for _ in range(2))
    q, k, v = (normal(1, 1, width, seed=s).float().to(DEVICE) for s in range(3))
    angles = [t.float().to(DEVICE) for t in table(room, width)]
    start = torch.tensor([0], device=DEVICE)
    y = attention_step(q, k, v, keys, values, start, *angles, backend="triton")
    torch.testing.assert_close(y, v)


@pytest.mark.parametrize("backend", BACKENDS)
def test_beyond_its_room_nothing_is_written(backend) -> None:
    if backend == "torch" and DEVICE == "cuda":
        pytest.skip("a device-side assertion would end the process")
    device = DEVICE if backend == "triton" else "cpu"
    keys, values = (torch.zeros(1, 1, 4, 8, device=device) for _ in range(2))
    one = [torch.ones(1, 1, 8, device=device) for _ in range(3)]
    angles = [t.float().to(device) for t in table(4, 8)]
    position = torch.tensor([4], device=device)
    if backend == "torch":
        with pytest.raises(IndexError):
            attention_step(*one, keys, values, position, *angles, backend=backend)
    else:
        y = attention_step(*one, keys, values, position, *angles, backend=backend)
        assert y.isnan().all()
    assert not keys.any()
    assert not values.any()


def test_shapes_are_checked() -> None:
    q, keys, angles = torch.zeros(2, 3, 8), torch.zeros(2, 3, 5, 8), torch.zeros(5, 4)
    position = torch.zeros(1, dtype=torch.int64)

    def step(**changes: Tensor) -> Tensor:
        names = ("q", "k", "v", "keys", "values", "position", "cosine", "sine")
        given = (q, q, q, keys, keys, position, angles, angles)
        return attention_step(**(dict(zip(names, given, strict=True)) | changes))

    for name, value in (
        ("k", q[:, :2]),
        ("keys", keys[:1]),
        ("values", keys[:, :, :4]),
        ("sine", angles[:, :3]),
        ("position", position.int()),
        ("keys, values", keys.transpose(2, 3).contiguous().transpose(2, 3)),
    ):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            step(**{name.split(",", maxsplit=1)[0]: value})
    with pytest.raises(ValueError, match="even head width"):
        step(q=q[..., :7])
