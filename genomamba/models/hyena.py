"""Hyena's operator: gated long convolutions with implicit filters, a baseline.

Letters: B batch, L length, D d_model. Source: Poli et al. 2023, "Hyena Hierarchy"
(arXiv:2302.10866), definition 3.1 and section 3.3; order 2, as HyenaDNA (Nguyen et al. 2023,
arXiv:2306.15794) has it.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from genomamba.models.config import MambaConfig
from genomamba.models.norm import autocast_dtype
from genomamba.models.state import NoState
from genomamba_kernels import causal_conv1d

BANDS = 16  # frequencies of the positional features
WIDTH = 64  # of the filter's MLP
HIDDEN = 2  # layers of it between the first and the last
SINE_FREQUENCY = 10.0  # of its activation, at first; learnt
# A filter's channels decay to SMALL within these parts of filter_length, the slowest and fastest.
SMALL, SLOWEST, FASTEST = 1e-2, 1.5, 0.3


def fft_conv(u: Tensor, k: Tensor) -> Tensor:
    """Causal convolution along the length: y_t = sum_{s <= t} k_s u_{t-s}, in O(L log L).

    Args:
        u: (B, L, D).
        k: (L, D).

    Returns:
        (B, L, D) in u's dtype; computed in at least float32.
    """
    length, dtype = u.shape[1], torch.promote_types(u.dtype, torch.float32)
    size = 2 * length  # so that what wraps around falls behind the end
    # Along the last dimension, where transforms are fast.
    product = torch.fft.rfft(u.mT.to(dtype), size) * torch.fft.rfft(k.T.to(dtype), size)
    return torch.fft.irfft(product, size)[..., :length].mT.to(u.dtype)


class ImplicitFilter(nn.Module):
    """Filters of any length: an MLP with sine activations of the position, times a decay.

    k_t = exp(-a_d t) MLP(features of t), where t counts in units of ``filter_length``: linear, and
    cosines and sines of ``BANDS`` frequencies.
    """

    features: Tensor
    decay: Tensor

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.filter_length = config.filter_length
        widths = [2 * BANDS + 1, *[WIDTH] * (HIDDEN + 1)]
        self.layers = nn.ModuleList(
            nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths)
        )
        self.frequency = nn.Parameter(torch.full((WIDTH,), SINE_FREQUENCY))
        self.out_proj = nn.Linear(WIDTH, config.d_model, bias=False)
        slow, fast = (-math.log(SMALL) / part for part in (SLOWEST, FASTEST))
        self.register_buffer("decay", torch.linspace(slow, fast, config.d_model))

    def forward(self, length: int) -> Tensor:
        """The filters (L, D), in the parameters' type."""
        weight = self.out_proj.weight
        with torch.autocast(weight.device.type, enabled=False):  # it is small, and positions long
            t = torch.arange(length, device=weight.device, dtype=weight.dtype) / self.filter_length
            bands = torch.linspace(1e-4, BANDS - 1, BANDS, device=weight.device, dtype=weight.dtype)
            angles = 2 * math.pi * t[:, None] * bands
            hidden = torch.cat([t[:, None], angles.cos(), angles.sin()], dim=1)
            for layer in self.layers:
                hidden = torch.sin(self.frequency * layer(hidden))
            return self.out_proj(hidden) * torch.exp(-t[:, None] * self.decay)


class HyenaMixer(nn.Module):
    """in_proj to v, x1, x2 -> short convolution -> out_proj(x2 * (k * (x1 v) + bias x1 v)).

    Every output needs the whole sequence before it, through the filter: there is no state of
    constant size, and whole sequences alone are read. Memory O(L) and time O(L log L).

    Shapes: x (B, L, d_model) -> (B, L, d_model).
    """

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.backend = config.backend
        width = config.d_model
        self.in_proj = nn.Linear(width, 3 * width, bias=config.bias)
        # Holds the parameters, as in MambaMixer; the operator is genomamba_kernels'.
        self.conv1d = nn.Conv1d(
            3 * width, 3 * width, config.d_conv, groups=3 * width, bias=config.conv_bias
        )
        self.filter = ImplicitFilter(config)
        self.bias = nn.Parameter(torch.randn(width))
        self.out_proj = nn.Linear(width, width, bias=config.bias)
        with torch.no_grad():  # two residual branches a block, this and the MLP
            self.out_proj.weight.div_(math.sqrt(2 * config.n_layer))

    def forward(
        self,
        x: Tensor,
        state: NoState | None = None,
        seq_idx: Tensor | None = None,
        share: object = None,
    ) -> tuple[Tensor, NoState]:
        """Mix along the length; the backbone refuses a state, seq_idx and a share."""
        assert seq_idx is None
        assert share is None
        mixed = causal_conv1d(
            self.in_proj(x),
            self.conv1d.weight.squeeze(1),
            self.conv1d.bias,
            backend=self.backend,
        )
        assert isinstance(mixed, Tensor)
        v, first, second = mixed.chunk(3, dim=-1)
        v = v * first
        y = fft_conv(v, self.filter(v.shape[1])) + self.bias * v
        return self.out_proj((second * y).to(autocast_dtype(self.out_proj.weight))), NoState()
