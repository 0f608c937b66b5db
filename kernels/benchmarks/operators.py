"""The operators under measurement: inputs, our function, the peer's, and the bytes they must move.

Letters: B batch, L length, D channels, N states, R rank of the step size, V vocabulary.
A peer gets its inputs in its own layout, channels first and contiguous, made outside the timed
part; its outputs and gradients are brought back to ours only to be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import peer
import torch
from sizes import size
from torch import Tensor
from torch.nn import functional

from genomamba_kernels import (
    causal_conv1d,
    mamba_inner,
    next_token_loss,
    rms_norm,
    selective_scan,
)

Tensors = dict[str, Tensor]
Outputs = tuple[Tensor, ...]
STATES = 16
VOCABULARY = 5


class Shape(tuple[int, int, int]):
    """(B, L, D), written BxLxD."""

    @classmethod
    def parse(cls, text: str) -> Shape:
        sizes = [size(part) for part in text.split("x")]
        if len(sizes) != 3 or min(sizes) < 1:
            raise ValueError(f"shape: expected BxLxD such as 1x2^20x256, got {text!r}")
        return cls(sizes)

    def __str__(self) -> str:
        return "x".join(map(str, self))


@dataclass(frozen=True)
class Operator:
    """One operator.

    `make` draws inputs in float32, and `half` names those that take the data's dtype.
    `ours(tensors, backend)` and `theirs(tensors)` return the outputs; `to_peer` lays an input out
    as the peer takes it and `from_peer` brings an output or a gradient, by name, back.
    """

    name: str
    make: Callable[[Shape, Callable[..., Tensor]], Tensors]
    half: tuple[str, ...]
    ours: Callable[[Tensors, str], Outputs]
    theirs: Callable[[Tensors], Outputs] | None
    to_peer: Callable[[str, Tensor], Tensor]
    from_peer: Callable[[str, Tensor], Tensor]
    outputs: tuple[str, ...] = ("y",)
    constant: tuple[str, ...] = ()  # inputs without a gradient
    slack: float = 1.0  # of half types' limits, where what lies between is rounded, too

    def inputs(
        self, shape: Shape, dtype: torch.dtype, device: torch.device, seed: int = 0
    ) -> Tensors:
        generator = torch.Generator(device).manual_seed(seed)

        def normal(*sizes: int) -> Tensor:
            return torch.randn(*sizes, generator=generator, device=device)

        tensors = self.make(shape, normal)
        return {k: t.to(dtype) if k in self.half else t for k, t in tensors.items()}

    def leaves(self, tensors: Tensors) -> Tensors:
        """The tensors that take a gradient."""
        return {name: t for name, t in tensors.items() if name not in self.constant}


def make_scan(shape: Shape, normal: Callable[..., Tensor]) -> Tensors:
    """Step sizes of a mean of about 0.01, A = -1 .. -16: a layer as it is initialised."""
    batch, length, channels = shape
    decay = torch.arange(1.0, STATES + 1, device=normal(1).device)
    return {
        "u": normal(*shape),
        "delta": normal(*shape),
        "A": -decay.repeat(channels, 1),
        "B": normal(batch, length, STATES),
        "C": normal(batch, length, STATES),
        "D": normal(channels),
        "z": normal(*shape),
        "delta_bias": 0.1 * normal(channels) - 4.6,
    }


def transposed(*names: str) -> Callable[[str, Tensor], Tensor]:
    """Swaps the last two axes of the named tensors."""

    def swap(name: str, tensor: Tensor) -> Tensor:
        return tensor.mT.contiguous() if name in names else tensor

    return swap


CHANNELS_FIRST = ("u", "delta", "B", "C", "z", "y")

SELECTIVE_SCAN = Operator(
    "selective_scan",
    make_scan,
    half=("u", "delta", "B", "C", "z"),
    ours=lambda t, backend: _tuple(selective_scan(**t, delta_softplus=True, backend=backend)),
    theirs=peer.selective_scan,
    to_peer=transposed(*CHANNELS_FIRST),
    from_peer=transposed(*CHANNELS_FIRST),
)


def make_conv(shape: Shape, normal: Callable[..., Tensor]) -> Tensors:
    return {"x": normal(*shape), "weight": normal(shape[2], 4), "bias": normal(shape[2])}


CAUSAL_CONV1D = Operator(
    "causal_conv1d",
    make_conv,
    half=("x",),
    ours=lambda t, backend: _tuple(causal_conv1d(**t, activation="silu", backend=backend)),
    theirs=peer.causal_conv1d,
    to_peer=transposed("x", "y"),
    from_peer=transposed("x", "y"),
)


def make_inner(shape: Shape, normal: Callable[..., Tensor]) -> Tensors:
    """D is d_inner; d_model is half of it."""
    batch, length, channels = shape
    width = channels // 2
    rank = math.ceil(width / 16)
    return {
        "xz": normal(batch, length, 2 * channels),
        "conv_weight": 0.3 * normal(channels, 4),
        "conv_bias": 0.1 * normal(channels),
        "x_proj_weight": normal(rank + 2 * STATES, channels) * channels**-0.5,
        "dt_proj_weight": normal(channels, rank) * rank**-0.5,
        "out_proj_weight": normal(width, channels) * channels**-0.5,
        "A": make_scan(Shape((1, 1, channels)), normal)["A"],
        "D": normal(channels),
        "dt_bias": 0.1 * normal(channels) - 4.6,
    }


def our_inner(t: Tensors, backend: str) -> Outputs:
    """With the output projection, which the peer's function includes."""
    inside = {name: tensor for name, tensor in t.items() if name != "out_proj_weight"}
    y = _tuple(mamba_inner(**inside, backend=backend))[0]
    return (functional.linear(y, t["out_proj_weight"]),)


def inner_to_peer(name: str, tensor: Tensor) -> Tensor:
    if name == "conv_weight":
        return tensor.unsqueeze(1)
    return tensor.mT.contiguous() if name == "xz" else tensor


def inner_from_peer(name: str, tensor: Tensor) -> Tensor:
    if name == "conv_weight":
        return tensor.squeeze(1)
    return tensor.mT if name == "xz" else tensor


MAMBA_INNER = Operator(
    "mamba_inner",
    make_inner,
    half=("xz", "x_proj_weight", "dt_proj_weight", "out_proj_weight"),
    ours=our_inner,
    theirs=peer.mamba_inner,
    to_peer=inner_to_peer,
    from_peer=inner_from_peer,
    slack=3.0,
)


def make_norm(shape: Shape, normal: Callable[..., Tensor]) -> Tensors:
    return {"x": normal(*shape), "residual": normal(*shape), "weight": 1 + 0.1 * normal(shape[2])}


RMS_NORM = Operator(
    "rms_norm",
    make_norm,
    half=("x",),  # the stream is float32
    ours=lambda t, backend: rms_norm(**t, eps=1e-5, out_dtype=t["x"].dtype, backend=backend),
    theirs=peer.rms_norm,
    to_peer=lambda _, tensor: tensor,
    from_peer=lambda _, tensor: tensor,
    outputs=("y", "stream"),
)


def make_loss(shape: Shape, normal: Callable[..., Tensor]) -> Tensors:
    batch, length, channels = shape
    return {
        "hidden": normal(*shape),
        "weight": normal(VOCABULARY, channels) * channels**-0.5,
        "targets": (2 + normal(batch, length)).long().clamp(0, VOCABULARY - 1),
    }


def our_loss(t: Tensors, backend: str) -> Outputs:
    total, _ = next_token_loss(**t, backend=backend)
    return (total / t["targets"].numel(),)


NEXT_TOKEN_LOSS = Operator(
    "next_token_loss",
    make_loss,
    half=("hidden",),
    ours=our_loss,
    theirs=peer.next_token_loss,
    to_peer=lambda _, tensor: tensor,
    from_peer=lambda _, tensor: tensor,
    constant=("targets",),
)


def _tuple(result: Any) -> Outputs:
    return result if isinstance(result, tuple) else (result,)


OPERATORS = {
    operator.name: operator
    for operator in (SELECTIVE_SCAN, CAUSAL_CONV1D, MAMBA_INNER, RMS_NORM, NEXT_TOKEN_LOSS)
}


def run_forward(function: Callable[[Tensors], Outputs], tensors: Tensors) -> Callable[[], Outputs]:
    """A call as inference makes it: nothing is kept for a backward pass."""

    def call() -> Outputs:
        with torch.no_grad():
            return function(tensors)

    return call


def run_both(
    function: Callable[[Tensors], Outputs], tensors: Tensors, leaves: Tensors, grads: Outputs
) -> Callable[[], Outputs]:
    """Forward and backward; returns the outputs and the leaves' gradients."""

    def call() -> Outputs:
        outputs = function({**tensors, **leaves})
        return (*outputs, *torch.autograd.grad(outputs, list(leaves.values()), grads))

    return call


def least_bytes(tensors: Tensors, leaves: Tensors, outputs: Outputs, mode: str) -> int:
    """Every input read once a pass, every output written once; backward also reads their
    gradients."""
    inputs, written = (sum(t.nbytes for t in ts) for ts in (tensors.values(), outputs))
    if mode == "forward":
        return inputs + written
    return 2 * inputs + 2 * written + sum(t.nbytes for t in leaves.values())
