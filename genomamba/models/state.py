"""What a model carries from one position to the next: all that a later piece needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from genomamba.models.config import MambaConfig


class LayerState(NamedTuple):
    """One layer's: conv (B, d_conv - 1, D), the convolution's last inputs, and scan (B, D, N)."""

    conv: Tensor
    scan: Tensor


class KeyValues(NamedTuple):
    """An attention layer's: keys, rotated, and values of all positions so far, T of them.

    Both (B, n_heads, T, head width): what a Mamba layer keeps in a state of constant size.
    """

    keys: Tensor
    values: Tensor


class NoState(NamedTuple):
    """A layer's that reads whole sequences only."""


AnyState = LayerState | KeyValues | NoState


@dataclass(frozen=True)
class MambaState:
    """The state after some position, one a layer; of "mamba" and "s4d" a ``LayerState``.

    Letters: B batch, D d_inner, N d_state. A forward pass that starts from the state with which the
    previous piece ended equals the pass over both pieces at once.
    """

    layers: tuple[AnyState, ...]

    @classmethod
    def zeros(
        cls,
        config: MambaConfig,
        batch: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> MambaState:
        """The state before the first position."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(batch, *shape, device=device, dtype=dtype)

        def layer() -> AnyState:
            if config.mixer == "hyena":
                return NoState()
            if config.mixer == "attention":
                nothing = (config.n_heads, 0, config.d_model // config.n_heads)
                return KeyValues(zeros(*nothing), zeros(*nothing))
            conv = zeros(config.d_conv - 1, config.d_inner)
            return LayerState(conv, zeros(config.d_inner, config.d_state))

        return cls(tuple(layer() for _ in range(config.n_layer)))

    def detach(self) -> MambaState:
        """The same values, cut from the graph: truncates backpropagation at this position."""
        return MambaState(tuple(layer._make(t.detach() for t in layer) for layer in self.layers))

    def to(self, device: torch.device | str) -> MambaState:
        """The state on another device."""
        return MambaState(tuple(layer._make(t.to(device) for t in layer) for layer in self.layers))

    def keep(self, rows: Tensor) -> MambaState:
        """The state of some rows, zero in the others; rows is bool (B,)."""
        chosen = rows[:, None, None]
        return MambaState(
            tuple(layer._make(t.where(chosen, 0) for t in layer) for layer in self.layers)
        )

    @classmethod
    def joined(cls, states: Sequence[MambaState]) -> MambaState:
        """The rows of several states, one state's after another's."""
        layers = zip(*(state.layers for state in states), strict=True)
        return cls(
            tuple(parts[0]._make(map(torch.cat, zip(*parts, strict=True))) for parts in layers)
        )

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, "layers.0.conv" and so on: what safetensors stores."""
        return {
            f"layers.{i}.{name}": tensor.contiguous()
            for i, layer in enumerate(self.layers)
            for name, tensor in layer._asdict().items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> MambaState:
        """The inverse of ``tensors``.

        Raises:
            ValueError: the names are not those of a state.
        """
        layers = range(len(tensors) // 2)
        names = {f"layers.{i}.{name}" for i in layers for name in LayerState._fields}
        if names != set(tensors):
            raise ValueError(
                f"state: expected layers.0.conv, layers.0.scan and so on, got {sorted(tensors)}"
            )
        return cls(
            tuple(
                LayerState(tensors[f"layers.{i}.conv"], tensors[f"layers.{i}.scan"]) for i in layers
            )
        )

    def equal(self, other: MambaState) -> bool:
        """Whether every tensor is the other's, bit for bit."""
        mine, theirs = self.tensors(), other.tensors()
        return mine.keys() == theirs.keys() and all(
            tensor.dtype == theirs[name].dtype and torch.equal(tensor, theirs[name])
            for name, tensor in mine.items()
        )
