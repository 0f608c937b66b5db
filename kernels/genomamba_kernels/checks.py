"""Argument checks: every refusal names the argument, what was expected and what came."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

DATA_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_checked = WeakTensorKeyDictionary()  # tensors on a GPU that are finite, and their version then


def accumulate_dtype(data: Tensor) -> torch.dtype:
    """The dtype of states and sums: float64 for float64 data, float32 for everything shorter."""
    return torch.float64 if data.dtype == torch.float64 else torch.float32


def check_tensor(
    name: str, value: object, shape: str, sizes: tuple[int, ...], like: Tensor | None = None
) -> None:
    """Checks a floating-point tensor's shape, and its device against that of `like`.

    Args:
        shape: the expected shape in letters, for the message, such as "(B, L, D)".
        sizes: the expected sizes; -1 accepts any size above 0.
    """
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: expected a tensor of shape {shape}, got {type(value).__name__}")
    if value.shape != sizes and not _fits(value.shape, sizes):
        wanted = ", ".join("any" if size == -1 else str(size) for size in sizes)
        raise ValueError(f"{name}: expected shape {shape} = ({wanted}), got {tuple(value.shape)}")
    if value.dtype not in DATA_DTYPES:
        raise ValueError(f"{name}: expected a floating-point dtype, got {value.dtype}")
    if like is not None and value.device != like.device:
        raise ValueError(f"{name}: expected device {like.device}, got {value.device}")


def _fits(shape: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    if len(shape) != len(sizes):
        return False
    for got, want in zip(shape, sizes, strict=True):
        if got != want and not (want == -1 and got > 0):
            return False
    return True


def check_accumulate_dtype(name: str, value: Tensor, data: Tensor) -> None:
    """Checks a tensor that enters the state's arithmetic: it must not be shorter than float32."""
    allowed = {torch.float32, accumulate_dtype(data)}
    if value.dtype not in allowed:
        wanted = " or ".join(sorted(map(str, allowed)))
        raise ValueError(f"{name}: expected {wanted} for data of {data.dtype}, got {value.dtype}")


def check_finite(name: str, value: Tensor) -> None:
    """Refuses NaN and infinity.

    On a GPU the host must wait for the answer, so a tensor is looked at only once, until it is
    changed; and not at all while a CUDA graph is captured, where waiting is not allowed.
    """
    if value.is_meta:
        return
    remember = value.is_cuda and not value.is_inference()  # inference tensors have no version
    if value.is_cuda and torch.cuda.is_current_stream_capturing():
        return
    if remember and _checked.get(value) == value._version:
        return
    if not bool(value.isfinite().all()):
        raise ValueError(f"{name}: expected finite values, got NaN or infinity")
    if remember:
        _checked[value] = value._version


def check_seq_idx(seq_idx: object, batch: int, length: int, like: Tensor) -> None:
    """Checks the (B, L) int32 sequence numbers of packed rows."""
    expected = f"seq_idx: expected a non-decreasing int32 tensor (B, L) = ({batch}, {length})"
    if not isinstance(seq_idx, Tensor):
        raise ValueError(f"{expected}, got {type(seq_idx).__name__}")
    if seq_idx.dtype != torch.int32 or seq_idx.shape != (batch, length):
        raise ValueError(f"{expected}, got {seq_idx.dtype} {tuple(seq_idx.shape)}")
    if seq_idx.device != like.device:
        raise ValueError(f"{expected} on {like.device}, got one on {seq_idx.device}")
    # Only on the CPU: elsewhere looking at values would make every call wait for the device.
    if seq_idx.device.type == "cpu" and bool((seq_idx[:, 1:] < seq_idx[:, :-1]).any()):
        raise ValueError(f"{expected}, got one that decreases")
