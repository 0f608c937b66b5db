"""One token at a time: the recurrent form of the model (Gu & Dao 2023, section 3.5.2).

Of attention, which has no recurrent form, with a cache of its keys and values.

Letters: B rows, D d_inner, N d_state, K d_conv, R rank of the step size, V vocabulary, T positions
so far, H heads, W head width.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from genomamba.models.attention import AttentionMixer
from genomamba.models.block import MambaBlock
from genomamba.models.mixer import MambaMixer, S4DMixer
from genomamba.models.state import AnyState, KeyValues, LayerState, MambaState
from genomamba.models.wholes import MambaForPretraining
from genomamba_kernels.mamba_step import conv_step, scan_step


class Step(Protocol):
    """A step of a model with a state of its own, which it changes in place."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits (B, V) of the tokens that follow ``tokens``, integers of shape (B,)."""
        ...

    def tensors(self) -> list[Tensor]:
        """What a step changes."""
        ...


CACHE = 256  # positions for which a cache has room at first; when it is full, it grows by half


class Stepper:
    """Reads a token a row and gives the logits of the next; without gradients.

    The state is the stepper's own, at one address, and changed in place. A step asks nothing of
    the device and its shapes are constant, so that a CUDA graph can record it; time and memory do
    not grow. With attention they grow with the positions so far, and so does the state.

    Args:
        model: its weights are read at every step, except ``A_log``, of which A is kept.
        state: after what precedes the first token, of as many rows as there are sequences; it is
            copied. ``MambaState.zeros`` begins a sequence.

    Raises:
        ValueError: the state has another number of layers, or the mixer needs whole sequences.
    """

    @torch.no_grad()
    def __init__(self, model: MambaForPretraining, state: MambaState) -> None:
        if not model.config.can("steps"):
            raise ValueError(
                f"mixer {model.config.mixer!r} reads whole sequences, not a token at a time"
            )
        blocks = [block for block in model.backbone.layers if isinstance(block, MambaBlock)]
        if len(state.layers) != len(blocks):
            raise ValueError(f"state: expected {len(blocks)} layers, got {len(state.layers)}")
        self.model, self.blocks = model, blocks
        self._steps = [
            _step_of(block.mixer, layer) for block, layer in zip(blocks, state.layers, strict=True)
        ]

    @property
    def state(self) -> MambaState:
        """After the last token read; the stepper's own."""
        return MambaState(tuple(step.state for step in self._steps))

    @property
    def is_constant(self) -> bool:
        """Whether shapes and addresses stay, so that a CUDA graph can record a step."""
        return all(step.is_constant for step in self._steps)

    def tensors(self) -> list[Tensor]:
        """What a step changes: the state."""
        return [tensor for layer in self.state.layers for tensor in layer]

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits (B, V) of the tokens that follow ``tokens``, integers of shape (B,)."""
        backbone = self.model.backbone
        embedded = backbone.embedding(tokens)
        wide = backbone.config.residual_in_fp32
        branch, residual = _wide(embedded) if wide else embedded, None
        for block, step in zip(self.blocks, self._steps, strict=True):
            normed, residual = block.norm(branch, residual)
            branch, residual = block.after_mixer(step(normed), residual)
        hidden, _ = backbone.norm_f(branch, residual)
        return self.model.head(hidden)


def _step_of(mixer: object, state: AnyState) -> MambaStep | AttentionStep:
    if isinstance(mixer, AttentionMixer):
        assert isinstance(state, KeyValues)
        return AttentionStep(mixer, state)
    assert isinstance(mixer, MambaMixer | S4DMixer)
    assert isinstance(state, LayerState)
    return MambaStep(mixer, state)


class MambaStep:
    """``MambaMixer.forward``, or ``S4DMixer.forward``, at one position; the state moves on.

        h = exp(q A) h + q u B,  y = (C h + D u) silu(z)

    where u is the convolution's output and q = softplus(delta + bias) the step size.

    Args:
        mixer: the layer.
        state: conv (B, K - 1, D) and scan (B, D, N); copied.
    """

    is_constant = True  # the state keeps its shape and its address

    def __init__(self, mixer: MambaMixer | S4DMixer, state: LayerState) -> None:
        self.mixer = mixer
        self.state = LayerState(_copy(state.conv), _copy(_wide(state.scan)))
        self._decay = -torch.exp(_wide(mixer.A_log))

    def __call__(self, x: Tensor) -> Tensor:
        """(B, d_model) -> (B, d_model)."""
        mixer, state, backend = self.mixer, self.state, self.mixer.backend
        x, z = mixer.in_proj(x).chunk(2, dim=-1)
        weight = mixer.conv1d.weight.squeeze(1)
        u = conv_step(x, state.conv, weight, mixer.conv1d.bias, backend=backend)
        delta, bias, B, C = self._selected(u)
        y = scan_step(u, delta, self._decay, B, C, mixer.D, z, bias, state.scan, backend=backend)
        return mixer.out_proj(y)

    def _selected(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """delta (B, D), its bias (D,), B and C (B, N)."""
        mixer = self.mixer
        if isinstance(mixer, S4DMixer):
            sizes = (len(u), len(mixer.B))
            B, C = (p.to(u.dtype).expand(sizes).contiguous() for p in (mixer.B, mixer.C))
            return torch.zeros_like(u), mixer.dt_bias, B, C
        rank, states = mixer.dt_proj.in_features, self._decay.shape[1]
        dt, B, C = mixer.x_proj(u).split((rank, states, states), dim=-1)
        return F.linear(dt, mixer.dt_proj.weight), mixer.dt_proj.bias, B, C


class AttentionStep:
    """``AttentionMixer.forward`` at one position; its key and value join the cache.

    Args:
        mixer: the layer.
        state: keys and values (B, H, T, W); copied.
    """

    is_constant = False  # attends to one key more a step, in a cache that moves when it is full

    def __init__(self, mixer: AttentionMixer, state: KeyValues) -> None:
        self.mixer, self._count = mixer, 0
        self._cache = KeyValues(state.keys[:, :, :0], state.values[:, :, :0])
        self._append(state.keys, state.values)

    @property
    def state(self) -> KeyValues:
        """Of the positions so far."""
        keys, values = self._cache
        return KeyValues(keys[:, :, : self._count], values[:, :, : self._count])

    def __call__(self, x: Tensor) -> Tensor:
        """(B, d_model) -> (B, d_model)."""
        q, k, v = self.mixer.project(x.unsqueeze(1), self._count)
        self._append(k, v)
        return self.mixer.join(F.scaled_dot_product_attention(q, *self.state)).squeeze(1)

    def _append(self, keys: Tensor, values: Tensor) -> None:
        end, room = self._count + keys.shape[2], self._cache.keys.shape[2]
        if end > room:
            more = max(CACHE, end + end // 2) - self._count
            shape = (*keys.shape[:2], more, keys.shape[3])
            self._cache = KeyValues(*(torch.cat([t, t.new_empty(shape)], 2) for t in self.state))
        for cache, new in zip(self._cache, (keys, values), strict=True):
            cache[:, :, self._count : end] = new
        self._count = end


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _copy(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.contiguous_format)
