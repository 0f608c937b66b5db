# pyright: reportArgumentType=false, reportCallIssue=false
"""One position of attention, backend "triton": launches.

Bytes a row and head: 2 W a position of the cache, each read once; all else is small beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genomamba_kernels.attention_step.triton_kernels import attend_part_kernel, join_parts_kernel
from genomamba_kernels.launching import launch

PROGRAMS = 2048  # that fill a GPU: parts are made until there are as many
PARTS = 64  # at most
NUMBERS = 4096  # keys times width a tile: 32 a thread of four warps
# A sum over threads is the same in each of them only if products are rounded before they are added.
OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}


def attention_step_triton(
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
    rows, heads, width = q.shape
    q, k, v = (t if t.stride(2) == 1 else t.contiguous() for t in (q, k, v))
    padded = 1 << (width - 1).bit_length()
    tile = max(1, NUMBERS // padded)
    pairs, room = rows * heads, keys.shape[2]
    parts = parts_of(pairs, -(-room // tile))
    m, total = (torch.empty(pairs, parts, dtype=torch.float32, device=q.device) for _ in range(2))
    acc = torch.empty(pairs, parts, width, dtype=torch.float32, device=q.device)
    y = torch.empty((rows, heads, width), dtype=q.dtype, device=q.device)
    launch(
        attend_part_kernel,
        pairs * parts,
        OPTIONS,
        q_ptr=q,
        k_ptr=k,
        v_ptr=v,
        keys_ptr=keys,
        values_ptr=values,
        position_ptr=position,
        cosine_ptr=cosine.contiguous(),
        sine_ptr=sine.contiguous(),
        m_ptr=m,
        total_ptr=total,
        acc_ptr=acc,
        scale=width**-0.5,
        q_row=q.stride(0),
        q_head=q.stride(1),
        k_row=k.stride(0),
        k_head=k.stride(1),
        v_row=v.stride(0),
        v_head=v.stride(1),
        room=room,
        H=heads,
        W=width,
        S=parts,
        WIDTH=padded,
        TILE=tile,
    )
    launch(
        join_parts_kernel,
        pairs,
        OPTIONS,
        m_ptr=m,
        total_ptr=total,
        acc_ptr=acc,
        y_ptr=y,
        W=width,
        S=parts,
        WIDTH=padded,
    )
    return y


def parts_of(pairs: int, tiles: int) -> int:
    """Into which a cache of so many tiles is cut: a power of two, for each row and head."""
    wanted = min(PARTS, -(-PROGRAMS // pairs), tiles)
    return 1 << (wanted.bit_length() - 1)
