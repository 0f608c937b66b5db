"""The operators under measurement: inputs, our function, the peer's, and the bytes they must move.

Letters: B batch, L length, D channels, N states, R rank of the step size, V vocabulary.
A peer gets its inputs in its own layout, channels first and contiguous, made outside the timed
part; its outputs and gradients are brought back to ours only to be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import peer
import torch
from torch import Tensor

from genomamba_kernels import causal_conv1d, selective_scan

Tensors = dict[str, Tensor]


class Shape(tuple[int, int, int]):
    """(B, L, D), written BxLxD."""

    @classmethod
    def parse(cls, text: str) -> Shape:
        sizes = [2 ** int(s[2:]) if s.startswith("2^") else int(s) for s in text.split("x")]
        if len(sizes) != 3 or min(sizes) < 1:
            raise ValueError(f"shape: expected BxLxD such as 1x2^20x256, got {text!r}")
        return cls(sizes)

    def __str__(self) -> str:
        return "x".join(map(str, self))


@dataclass(frozen=True)
class Operator:
    """One operator.

    `make` draws inputs in float32, and `half` names those that take the data's dtype.
    `ours(tensors, backend)` and `theirs(tensors)` return one output; `to_peer` lays inputs out as
    the peer takes them and `from_peer` brings an output or a gradient, by name, back.
    """

    name: str
    make: Callable[[Shape, Callable[..., Tensor]], Tensors]
    half: tuple[str, ...]
    ours: Callable[[Tensors, str], Tensor]
    theirs: Callable[[Tensors], Tensor] | None
    to_peer: Callable[[str, Tensor], Tensor]
    from_peer: Callable[[str, Tensor], Tensor]
    constant: tuple[str, ...] = ()  # inputs without a gradient

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
    states = 16
    decay = torch.arange(1.0, states + 1, device=normal(1).device)
    return {
        "u": normal(*shape),
        "delta": normal(*shape),
        "A": -decay.repeat(channels, 1),
        "B": normal(batch, length, states),
        "C": normal(batch, length, states),
        "D": normal(channels),
        "z": normal(*shape),
        "delta_bias": 0.1 * normal(channels) - 4.6,
    }


def transposed(*names: str) -> Callable[[str, Tensor], Tensor]:
    """Swaps the last two axes of the named tensors."""

    def swap(name: str, tensor: Tensor) -> Tensor:
        return tensor.mT.contiguous() if name in names else tensor

    return swap


SCAN_CHANNELS_FIRST = ("u", "delta", "B", "C", "z", "y")

SELECTIVE_SCAN = Operator(
    "selective_scan",
    make_scan,
    half=("u", "delta", "B", "C", "z"),
    ours=lambda t, backend: _only(selective_scan(**t, delta_softplus=True, backend=backend)),
    theirs=peer.selective_scan,
    to_peer=transposed(*SCAN_CHANNELS_FIRST),
    from_peer=transposed(*SCAN_CHANNELS_FIRST),
)


def make_conv(shape: Shape, normal: Callable[..., Tensor]) -> Tensors:
    return {"x": normal(*shape), "weight": normal(shape[2], 4), "bias": normal(shape[2])}


CAUSAL_CONV1D = Operator(
    "causal_conv1d",
    make_conv,
    half=("x",),
    ours=lambda t, backend: _only(causal_conv1d(**t, activation="silu", backend=backend)),
    theirs=peer.causal_conv1d,
    to_peer=transposed("x", "y"),
    from_peer=transposed("x", "y"),
)


def _only(result: Any) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


OPERATORS = {operator.name: operator for operator in (SELECTIVE_SCAN, CAUSAL_CONV1D)}


def run_forward(function: Callable[[Tensors], Tensor], tensors: Tensors) -> Callable[[], Tensor]:
    """A call as inference makes it: nothing is kept for a backward pass."""

    def call() -> Tensor:
        with torch.no_grad():
            return function(tensors)

    return call


def run_both(
    function: Callable[[Tensors], Tensor], tensors: Tensors, leaves: Tensors, grad: Tensor
) -> Callable[[], tuple[Tensor, ...]]:
    """Forward and backward; returns the output and the leaves' gradients."""

    def call() -> tuple[Tensor, ...]:
        y = function({**tensors, **leaves})
        return (y, *torch.autograd.grad(y, list(leaves.values()), grad))

    return call


def least_bytes(tensors: Tensors, leaves: Tensors, y: Tensor, mode: str) -> int:
    """Every input read once a pass, every output written once; backward also reads y's gradient."""
    inputs = sum(t.nbytes for t in tensors.values())
    if mode == "forward":
        return inputs + y.nbytes
    return 2 * inputs + 2 * y.nbytes + sum(t.nbytes for t in leaves.values())
