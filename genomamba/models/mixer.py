"""The Mamba mixer: a gated selective state-space layer (Gu & Dao 2023, figure 3 and algorithm 2).

And the same layer without the selection, a baseline: what is left is S4D's (Gu et al. 2022).

Letters: B batch, L length, D d_inner, N d_state, R rank of the step size.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from genomamba.models.config import MambaConfig
from genomamba.models.norm import RMSNorm
from genomamba.models.state import LayerState
from genomamba_kernels import Share, causal_conv1d, mamba_block, mamba_inner, selective_scan


def initial_step_bias(config: MambaConfig) -> Tensor:
    """Bias (D,) of dt_proj that makes softplus(bias) log-uniform in [dt_min, dt_max].

    Gu & Dao 2023, section 3.6. The inverse of softplus is ``dt + log(1 - exp(-dt))``.
    """
    low, high = math.log(config.dt_min), math.log(config.dt_max)
    dt = torch.exp(torch.rand(config.d_inner) * (high - low) + low).clamp(min=config.dt_init_floor)
    return dt + torch.log(-torch.expm1(-dt))


@torch.no_grad()
def _begin(in_proj: nn.Linear, out_proj: nn.Linear, config: MambaConfig) -> None:
    """How the outer projections begin."""
    # One residual branch a block: the stream's variance does not grow with the depth (GPT-2).
    out_proj.weight.div_(math.sqrt(config.n_layer))
    for linear in (in_proj, out_proj):
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)


class MambaMixer(nn.Module):
    """in_proj -> causal convolution, SiLU -> selective scan, gated by SiLU(z) -> out_proj.

    Parameters carry mamba-ssm's names and shapes. ``A_log``, ``D`` and the step size's bias enter
    the scan in at least float32 whatever the precision of the rest.

    Shapes: x (B, L, d_model) -> (B, L, d_model).
    """

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        d_inner, d_state, rank = config.d_inner, config.d_state, config.rank
        self.backend = config.backend
        self.in_proj = nn.Linear(config.d_model, 2 * d_inner, bias=config.bias)
        # Holds the parameters under mamba-ssm's names, as do x_proj and dt_proj; the operator is
        # genomamba_kernels'.
        self.conv1d = nn.Conv1d(
            d_inner, d_inner, config.d_conv, groups=d_inner, bias=config.conv_bias
        )
        self.x_proj = nn.Linear(d_inner, rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(rank, d_inner, bias=True)
        # S4D-real: A = -(1 .. N) in every channel.
        decay = torch.arange(1, d_state + 1, dtype=torch.float32)
        self.A_log = nn.Parameter(torch.log(decay).repeat(d_inner, 1))
        self.D = nn.Parameter(torch.ones(d_inner))
        self.out_proj = nn.Linear(d_inner, config.d_model, bias=config.bias)
        self._initialise(config)

    @torch.no_grad()
    def _initialise(self, config: MambaConfig) -> None:
        """As mamba-ssm; in_proj, x_proj and conv1d keep torch's default."""
        bound = config.rank**-0.5 * config.dt_scale
        if config.dt_init == "random":
            nn.init.uniform_(self.dt_proj.weight, -bound, bound)
        else:
            nn.init.constant_(self.dt_proj.weight, bound)
        self.dt_proj.bias.copy_(initial_step_bias(config))
        _begin(self.in_proj, self.out_proj, config)

    def forward(
        self,
        x: Tensor,
        state: LayerState | None = None,
        seq_idx: Tensor | None = None,
        share: Share | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Mix along the length.

        Args:
            x: (B, L, d_model).
            state: with which to start; None is zero.
            seq_idx: (B, L) int32, non-decreasing; conv and scan restart where it changes.
            share: which part of a longer stretch x is, where several processes work on one; the
                states are then those before and after the whole stretch.

        Returns:
            y (B, L, d_model) and the state after the last position.
        """
        arguments = (self.in_proj(x), *self._inner_parameters().values())
        y, after = mamba_inner(*arguments, **self._options(state, seq_idx, share))
        return self.out_proj(y), LayerState(*after)

    def recomputed_block(
        self,
        stream: Tensor,
        norm: RMSNorm,
        state: LayerState | None = None,
        seq_idx: Tensor | None = None,
        share: Share | None = None,
    ) -> tuple[Tensor, LayerState]:
        """A whole residual block, of which only the stream is kept for the backward pass.

        Returns:
            ``stream + self(norm(stream))`` (B, L, d_model) and the state after the last position.
        """
        stream, after = mamba_block(
            stream,
            norm.weight,
            in_proj_weight=self.in_proj.weight,
            in_proj_bias=self.in_proj.bias,
            out_proj_weight=self.out_proj.weight,
            out_proj_bias=self.out_proj.bias,
            eps=norm.eps,
            **self._inner_parameters(),
            **self._options(state, seq_idx, share),
        )
        return stream, LayerState(*after)

    def _inner_parameters(self) -> dict[str, Any]:
        return {
            "conv_weight": self.conv1d.weight.squeeze(1),
            "conv_bias": self.conv1d.bias,
            "x_proj_weight": self.x_proj.weight,
            "dt_proj_weight": self.dt_proj.weight,
            "A": -torch.exp(_at_least_float32(self.A_log)),
            "D": _at_least_float32(self.D),
            "dt_bias": _at_least_float32(self.dt_proj.bias),
        }

    def _options(
        self, state: LayerState | None, seq_idx: Tensor | None, share: Share | None
    ) -> dict[str, Any]:
        return {
            "initial_state": None if state is None else (state.conv, state.scan),
            "return_final_state": True,
            "seq_idx": seq_idx,
            "share": share,
            "backend": self.backend,
        }


class S4DMixer(nn.Module):
    """``MambaMixer`` with B, C and the step sizes as parameters instead of functions of the input.

    So that the two differ by the selection alone, all channels share B and C, as they do at a
    position of a ``MambaMixer``; A and the step size are a channel's own. The layer is linear and
    time-invariant between the convolution and the gate: with q = softplus(dt_bias),

        y_t = sum_s k_{t-s} u_s + D u_t,   k_s = q sum_n C_n B_n exp(s q A_n)

    (S4D, Gu et al. 2022, arXiv:2206.11893, equation 6, with Mamba's discretisation of B). Computed
    by the same scan as Mamba's, so that a state, segments and packed rows are the same too.

    Shapes: x (B, L, d_model) -> (B, L, d_model).
    """

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        d_inner, d_state = config.d_inner, config.d_state
        self.backend = config.backend
        self.in_proj = nn.Linear(config.d_model, 2 * d_inner, bias=config.bias)
        self.conv1d = nn.Conv1d(
            d_inner, d_inner, config.d_conv, groups=d_inner, bias=config.conv_bias
        )
        decay = torch.arange(1, d_state + 1, dtype=torch.float32)
        self.A_log = nn.Parameter(torch.log(decay).repeat(d_inner, 1))
        self.B = nn.Parameter(torch.ones(d_state))
        self.C = nn.Parameter(torch.randn(d_state))
        self.D = nn.Parameter(torch.ones(d_inner))
        self.dt_bias = nn.Parameter(initial_step_bias(config))
        self.out_proj = nn.Linear(d_inner, config.d_model, bias=config.bias)
        _begin(self.in_proj, self.out_proj, config)

    def forward(
        self,
        x: Tensor,
        state: LayerState | None = None,
        seq_idx: Tensor | None = None,
        share: Share | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Mix along the length; arguments and results as ``MambaMixer.forward``'s, no share."""
        assert share is None
        u, z = self.in_proj(x).chunk(2, dim=-1)
        options: dict[str, Any] = {
            "return_final_state": True,
            "seq_idx": seq_idx,
            "backend": self.backend,
        }
        u, conv = causal_conv1d(
            u,
            self.conv1d.weight.squeeze(1),
            self.conv1d.bias,
            activation="silu",
            initial_state=None if state is None else state.conv,
            **options,
        )
        sizes = (*u.shape[:2], len(self.B))
        y, scan = selective_scan(
            u,
            torch.zeros_like(u),
            -torch.exp(_at_least_float32(self.A_log)),
            self.B.to(u.dtype).expand(sizes).contiguous(),
            self.C.to(u.dtype).expand(sizes).contiguous(),
            _at_least_float32(self.D),
            z=z,
            delta_bias=_at_least_float32(self.dt_bias),
            delta_softplus=True,
            initial_state=None if state is None else state.scan,
            **options,
        )
        return self.out_proj(y), LayerState(conv, scan)


def _at_least_float32(parameter: Tensor) -> Tensor:
    return parameter.to(torch.promote_types(parameter.dtype, torch.float32))
