"""Selective scan: the one public function, its checks and the choice of a backend.

Letters: B batch, L length, D channels (d_inner), N states a channel (d_state), G groups.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from genomamba_kernels.autocasting import NoAutocast
from genomamba_kernels.backends import check_triton, resolve_backend
from genomamba_kernels.checks import (
    check_accumulate_dtype,
    check_finite,
    check_seq_idx,
    check_tensor,
)
from genomamba_kernels.packing import sequence_starts
from genomamba_kernels.selective_scan.autograd import selective_scan_torch
from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.reference import selective_scan_reference


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
    return_final_state: bool = False,
    seq_idx: Tensor | None = None,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Runs the selective state-space recurrence of Mamba along the length.

    With q_t = softplus(delta_t + delta_bias), for every channel d and state n,

        h_t = exp(q_t A) h_{t-1} + q_t B_t u_t,    y_t = (sum_n C_t h_t + D u_t) silu(z_t).

    Source: Gu and Dao 2023, "Mamba", algorithm 2 and section 3.3; argument names and meanings are
    those of mamba-ssm's `selective_scan_ref`, but channels come last. States and sums are kept in
    float32, or in float64 for float64 data, under autocast too.

    Args:
        u: (B, L, D) input.
        delta: (B, L, D) step size before bias and softplus.
        A: (D, N) float32, usually negative (float64 is allowed with float64 data).
        B: (B, L, N), or (B, L, G, N): group g serves the g-th of G equal runs of channels.
        C: like B.
        D: (D,) skip connection.
        z: (B, L, D) gate.
        delta_bias: (D,).
        delta_softplus: whether softplus is applied to delta + delta_bias.
        initial_state: (B, D, N) float32, h before a row's first sequence; zero if absent.
        return_final_state: whether h after a row's last position is returned too.
        seq_idx: (B, L) int32, non-decreasing: the state restarts from exact zero where it changes,
            and a NaN or infinity of one sequence does not reach another's outputs or gradients.
        backend: "triton" (on a GPU, for data shorter than float64), "torch" (anywhere),
            "reference" (step by step), or "auto": the environment variable GENOMAMBA_BACKEND, else
            "triton" where it runs and "torch" elsewhere.

    Returns:
        y (B, L, D) in u's dtype; with return_final_state, (y, state (B, D, N) float32). All
        tensors but seq_idx are differentiable, once.

    Raises:
        ValueError: an argument's shape, dtype, device or value is not the expected one.
    """
    check_tensor("u", u, "(B, L, D)", (-1, -1, -1))
    backend = resolve_backend(backend, u)
    batch, length, channels = u.shape
    check_tensor("delta", delta, "(B, L, D)", (batch, length, channels), u)
    check_tensor("A", A, "(D, N)", (channels, -1), u)
    check_accumulate_dtype("A", A, u)
    check_finite("A", A)
    states = A.shape[1]
    if isinstance(B, Tensor) and B.dim() == 4:
        check_tensor("B", B, "(B, L, G, N)", (batch, length, -1, states), u)
        if channels % B.shape[2]:
            raise ValueError(f"B: expected groups G that divide D = {channels}, got {B.shape[2]}")
        check_tensor("C", C, "(B, L, G, N)", (batch, length, B.shape[2], states), u)
    else:
        check_tensor("B", B, "(B, L, N)", (batch, length, states), u)
        check_tensor("C", C, "(B, L, N)", (batch, length, states), u)
        B, C = B.unsqueeze(2), C.unsqueeze(2)
    if D is not None:
        check_tensor("D", D, "(D,)", (channels,), u)
    if z is not None:
        check_tensor("z", z, "(B, L, D)", (batch, length, channels), u)
    if delta_bias is not None:
        check_tensor("delta_bias", delta_bias, "(D,)", (channels,), u)
    if initial_state is not None:
        check_tensor("initial_state", initial_state, "(B, D, N)", (batch, channels, states), u)
        check_accumulate_dtype("initial_state", initial_state, u)
    starts = None
    if seq_idx is not None:
        check_seq_idx(seq_idx, batch, length, u)
        starts = sequence_starts(seq_idx)

    with NoAutocast(u.device.type):
        inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, delta_softplus, starts)
        y, final_state = _choose(backend, u)(inputs, initial_state)
    return (y, final_state) if return_final_state else y


def _choose(backend: str, u: Tensor) -> Callable[..., tuple[Tensor, Tensor]]:
    if backend == "torch":
        return selective_scan_torch
    if backend == "reference":
        return selective_scan_reference
    check_triton(u)
    # Not at the top: importing this package must not import Triton, which may be absent.
    from genomamba_kernels.selective_scan.triton_autograd import selective_scan_triton

    return selective_scan_triton
