"""One token at a time: the recurrent form of the model (Gu & Dao 2023, section 3.5.2).

Of attention, which has no recurrent form, with a cache of its keys and values.

Letters: B rows, D d_inner, N d_state, K d_conv, R rank of the step size, V vocabulary.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from genomamba.models.attention import AttentionMixer
from genomamba.models.attention_step import AttentionStep, Clock
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
        """What a step changes: as they were before, the step is as if it had not been."""
        ...


class Stepper:
    """Reads a token a row and gives the logits of the next; without gradients.

    The state is the stepper's own, at one address, and changed in place. A step asks nothing of
    the device and its shapes are constant, so that a CUDA graph can record it. Time and memory do
    not grow; but those of attention are proportional to the positions so far and in all.

    Args:
        model: its weights are read at every step, except ``A_log``, of which A is kept.
        state: after what precedes the first token, of as many rows as there are sequences; it is
            copied. ``MambaState.zeros`` begins a sequence.
        steps: tokens that will be read at most, for which attention's cache is made; the other
            mixers need no such number.

    Raises:
        ValueError: the state has another number of layers, the mixer needs whole sequences, or is
            attention without ``steps``.
    """

    @torch.no_grad()
    def __init__(
        self, model: MambaForPretraining, state: MambaState, steps: int | None = None
    ) -> None:
        if not model.config.can("steps"):
            raise ValueError(
                f"mixer {model.config.mixer!r} reads whole sequences, not a token at a time"
            )
        blocks = [block for block in model.backbone.layers if isinstance(block, MambaBlock)]
        if len(state.layers) != len(blocks):
            raise ValueError(f"state: expected {len(blocks)} layers, got {len(state.layers)}")
        self.model, self.blocks = model, blocks
        self._clock = _clock(model, state, steps)
        self._steps = [
            _step_of(block.mixer, layer, self._clock)
            for block, layer in zip(blocks, state.layers, strict=True)
        ]

    @property
    def state(self) -> MambaState:
        """After the last token read; the stepper's own."""
        return MambaState(tuple(step.state for step in self._steps))

    def tensors(self) -> list[Tensor]:
        """What a step changes: the state.

        Of attention the position alone: what the cache holds from there on is not read.
        """
        if self._clock is not None:
            return [self._clock.position]
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
        if self._clock is not None:
            self._clock.position.add_(1)
        hidden, _ = backbone.norm_f(branch, residual)
        return self.model.head(hidden)


def _clock(model: MambaForPretraining, state: MambaState, steps: int | None) -> Clock | None:
    """Of attention, the only mixer that has to know where it is."""
    first = state.layers[0]
    if not isinstance(first, KeyValues):
        return None
    if steps is None or steps < 1:
        raise ValueError(
            "steps: expected, with attention, the tokens that will be read at most, from 1, "
            f"got {steps}"
        )
    _, _, before, width = first.keys.shape
    return Clock(before, steps, width, model.backbone.embedding.weight)


def _step_of(mixer: object, state: AnyState, clock: Clock | None) -> MambaStep | AttentionStep:
    if isinstance(mixer, AttentionMixer):
        assert isinstance(state, KeyValues)
        assert clock is not None
        return AttentionStep(mixer, state, clock)
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


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _copy(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.contiguous_format)
