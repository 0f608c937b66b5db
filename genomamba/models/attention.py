"""Causal self-attention with rotary positions: the Transformer's mixer, a baseline.

Letters: B batch, L length, T positions before, H heads, W head width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomamba.models.config import MambaConfig
from genomamba.models.state import KeyValues
from genomamba_kernels.attention_step import turned

ROTARY_BASE = 10_000.0
QUERIES = 1024  # that are masked together where positions precede them: bounds the mask


def rotation(first: int, count: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine (count, width / 2) of the angles at ``count`` positions from ``first``.

    Rotary position embedding (Su et al. 2021, arXiv:2104.09864, section 3.2.2): entries i and
    i + W / 2 are turned together by position times ROTARY_BASE^(-2 i / W), so that the product of
    a query and a key depends on the distance of their positions.

    Args:
        first: a position.
        count: of positions.
        width: W of a head, even.
        like: gives device and dtype.
    """
    # In float64: a position of a million times a rounded frequency would be off by a tenth.
    options = {"device": like.device, "dtype": torch.float64}
    frequencies = ROTARY_BASE ** (-torch.arange(width // 2, **options) / (width // 2))
    angles = torch.arange(first, first + count, **options)[:, None] * frequencies
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


class AttentionMixer(nn.Module):
    """Multi-head attention of each position to itself and those before it.

    softmax(q k^T / sqrt(W)) v by torch's ``scaled_dot_product_attention``, q and k rotated.

    Shapes: x (B, L, d_model) -> (B, L, d_model).
    """

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.n_heads, self.backend = config.n_heads, config.backend
        self.in_proj = nn.Linear(config.d_model, 3 * config.d_model, bias=config.bias)
        self.out_proj = nn.Linear(config.d_model, config.d_model, bias=config.bias)
        with torch.no_grad():  # two residual branches a block, this and the MLP
            self.out_proj.weight.div_(math.sqrt(2 * config.n_layer))

    def project(self, x: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, rotated, and values, all (B, H, L, W), of positions from ``first``."""
        parts = self.in_proj(x).unflatten(-1, (3, self.n_heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        angles = rotation(first, q.shape[2], q.shape[3], q)
        return turned(q, *angles), turned(k, *angles), v

    def forward(
        self,
        x: Tensor,
        state: KeyValues | None = None,
        seq_idx: Tensor | None = None,
        share: object = None,
    ) -> tuple[Tensor, KeyValues]:
        """Mix along the length.

        Args:
            x: (B, L, d_model).
            state: keys and values of what precedes; None is nothing.
            seq_idx: None, as is ``share``: the backbone refuses them.

        Returns:
            y (B, L, d_model), and the keys and values of all positions.
        """
        assert seq_idx is None
        assert share is None
        before = 0 if state is None else state.keys.shape[2]
        q, k, v = self.project(x, before)
        if state is not None and before:
            k = torch.cat([state.keys.to(k.dtype), k], dim=2)
            v = torch.cat([state.values.to(v.dtype), v], dim=2)
            y = torch.cat(
                [
                    _attend_after(q[:, :, start : start + QUERIES], k, v, before + start)
                    for start in range(0, q.shape[2], QUERIES)
                ],
                dim=2,
            )
        else:
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).flatten(2)), KeyValues(k, v)


def _attend_after(q: Tensor, k: Tensor, v: Tensor, before: int) -> Tensor:
    """Of queries at positions from ``before``: ``is_causal`` would have them start at 0."""
    end = before + q.shape[2]
    keys = torch.arange(end, device=q.device)
    mask = keys <= keys[before:, None]
    return functional.scaled_dot_product_attention(q, k[:, :, :end], v[:, :, :end], attn_mask=mask)
