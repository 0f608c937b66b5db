"""One position of attention, backend "torch". Letters: B rows, H heads, W width, T room."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def attention_step_torch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keys: Tensor,
    values: Tensor,
    position: Tensor,
    cosine: Tensor,
    sine: Tensor,
) -> Tensor:
    """See ``attention_step``."""
    cosine, sine = cosine.index_select(0, position), sine.index_select(0, position)
    keys.index_copy_(2, position, turned(k, cosine, sine).unsqueeze(2).to(keys.dtype))
    values.index_copy_(2, position, v.unsqueeze(2).to(values.dtype))
    query = turned(q, cosine, sine).unsqueeze(2).to(keys.dtype)
    # The host knows a position on the CPU; of another device it would have to wait for it.
    attend = attend_to_part if position.device.type == "cpu" else attend_under_mask
    return attend(query, keys, values, position).squeeze(2).to(q.dtype)


def attend_to_part(q: Tensor, keys: Tensor, values: Tensor, position: Tensor) -> Tensor:
    """Of q (B, H, 1, W) to the part of the cache up to ``position``: asks the device for it."""
    end = int(position) + 1
    return scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end])


def attend_under_mask(q: Tensor, keys: Tensor, values: Tensor, position: Tensor) -> Tensor:
    """The same of constant shapes: reads the whole cache."""
    mask = torch.arange(keys.shape[2], device=q.device)[None] <= position[:, None]
    return scaled_dot_product_attention(q, keys, values, attn_mask=mask)


def turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Entries i and i + W / 2 of x (..., W) turned together by angles (..., W / 2)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine], dim=-1)
