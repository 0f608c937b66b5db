"""mamba-ssm's and causal-conv1d's operators, if they can be imported; None where they cannot.

Their tensors are (B, D, L); README.md says how to build them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

try:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
except ImportError:
    selective_scan_fn = None
try:
    from causal_conv1d import causal_conv1d_fn
except ImportError:
    causal_conv1d_fn = None

PeerFunction = Callable[[dict[str, Tensor]], Tensor]


def _if_there(function: Any, call: PeerFunction) -> PeerFunction | None:
    return None if function is None else call


selective_scan = _if_there(selective_scan_fn, lambda t: selective_scan_fn(**t, delta_softplus=True))
causal_conv1d = _if_there(causal_conv1d_fn, lambda t: causal_conv1d_fn(**t, activation="silu"))
