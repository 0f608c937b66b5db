"""mamba-ssm's and causal-conv1d's operators, if they can be imported; None where they cannot.

Their tensors are (B, D, L); README.md says how to build them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

try:
    from mamba_ssm.ops.selective_scan_interface import mamba_inner_fn, selective_scan_fn
    from mamba_ssm.ops.triton.layer_norm import layer_norm_fn
except ImportError:
    mamba_inner_fn = selective_scan_fn = layer_norm_fn = None
try:
    from causal_conv1d import causal_conv1d_fn
except ImportError:
    causal_conv1d_fn = None

PeerFunction = Callable[[dict[str, Tensor]], tuple[Tensor, ...]]


def _if_there(function: Any, call: PeerFunction) -> PeerFunction | None:
    return None if function is None else call


def _inner(t: dict[str, Tensor]) -> tuple[Tensor, ...]:
    y = mamba_inner_fn(
        t["xz"],
        t["conv_weight"],
        t["conv_bias"],
        t["x_proj_weight"],
        t["dt_proj_weight"],
        t["out_proj_weight"],
        None,
        t["A"],
        D=t["D"],
        delta_bias=t["dt_bias"],
        delta_softplus=True,
    )
    return (y,)


def _norm(t: dict[str, Tensor]) -> tuple[Tensor, ...]:
    return layer_norm_fn(
        t["x"],
        t["weight"],
        None,
        residual=t["residual"],
        eps=1e-5,
        prenorm=True,
        residual_in_fp32=True,
        is_rms_norm=True,
    )


def _loss(t: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """As under autocast: the head in the data's dtype, the cross-entropy in float32."""
    logits = functional.linear(t["hidden"], t["weight"].to(t["hidden"].dtype))
    loss = functional.cross_entropy(logits.float().flatten(0, 1), t["targets"].flatten())
    return (loss,)


selective_scan = _if_there(
    selective_scan_fn, lambda t: (selective_scan_fn(**t, delta_softplus=True),)
)
causal_conv1d = _if_there(causal_conv1d_fn, lambda t: (causal_conv1d_fn(**t, activation="silu"),))
mamba_inner = _if_there(mamba_inner_fn if causal_conv1d_fn else None, _inner)
rms_norm = _if_there(layer_norm_fn, _norm)
next_token_loss = _if_there(layer_norm_fn, _loss)  # torch's own, as mamba-ssm's users have it
