"""Attention one token at a time, over keys and values of all positions so far.

Letters: B rows, H heads, T positions that the cache has room for, W head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genomamba.models.attention import AttentionMixer, rotation
from genomamba.models.state import KeyValues
from genomamba_kernels.attention_step import attention_step


class Clock:
    """Where all layers of a Transformer are, and the rotations of the positions there are.

    Args:
        before: positions that precede the first token.
        steps: tokens to come.
        width: W.
        like: gives device and dtype.

    Attributes:
        position: (1,) int64, of the token that is read next.
        room: T.
        cosine, sine: (T, W / 2).
    """

    def __init__(self, before: int, steps: int, width: int, like: Tensor) -> None:
        self.position = torch.full((1,), before, dtype=torch.int64, device=like.device)
        self.room = before + steps
        self.cosine, self.sine = rotation(0, self.room, width, like)


class AttentionStep:
    """``AttentionMixer.forward`` at one position; its key and value join the cache.

    Args:
        mixer: the layer.
        state: keys and values (B, H, clock's position, W); copied.
        clock: of all layers; the caller moves it on.
    """

    def __init__(self, mixer: AttentionMixer, state: KeyValues, clock: Clock) -> None:
        self.mixer, self._clock = mixer, clock
        rows, heads, before, width = state.keys.shape
        shape = (rows, heads, clock.room, width)
        # Zeros: a mask weighs what is not known yet with 0, which would not undo a NaN.
        self._cache = KeyValues(*(mixer.in_proj.weight.new_zeros(shape) for _ in state))
        for cache, known in zip(self._cache, state, strict=True):
            cache[:, :, :before] = known

    @property
    def state(self) -> KeyValues:
        """Of the positions so far, whose number is asked of the device."""
        known = int(self._clock.position)
        return KeyValues(*(cache[:, :, :known] for cache in self._cache))

    def __call__(self, x: Tensor) -> Tensor:
        """(B, d_model) -> (B, d_model)."""
        mixer, clock = self.mixer, self._clock
        q, k, v = mixer.in_proj(x).unflatten(-1, (3, mixer.n_heads, -1)).unbind(1)
        keys, values = self._cache
        y = attention_step(
            q, k, v, keys, values, clock.position, clock.cosine, clock.sine, backend=mixer.backend
        )
        return mixer.out_proj(y.flatten(1))
