"""The inside of a Mamba layer: the one public function, its checks and the choice of a backend.

Letters: B batch, L length, D channels (d_inner), N states a channel (d_state), G groups, R rank of
the step size (dt_rank).
"""

from __future__ import annotations

from torch import Tensor

from genomamba_kernels.autocasting import NoAutocast
from genomamba_kernels.backends import check_triton, resolve_backend
from genomamba_kernels.checks import (
    check_accumulate_dtype,
    check_finite,
    check_seq_idx,
    check_tensor,
)
from genomamba_kernels.mamba_inner.composed import mamba_inner_composed
from genomamba_kernels.mamba_inner.inputs import InnerInputs, projection_dtype
from genomamba_kernels.sharing import Share


def mamba_inner(
    xz: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_proj_weight: Tensor,
    dt_proj_weight: Tensor,
    A: Tensor,
    D: Tensor | None = None,
    dt_bias: Tensor | None = None,
    *,
    initial_state: tuple[Tensor, Tensor] | None = None,
    return_final_state: bool = False,
    seq_idx: Tensor | None = None,
    share: Share | None = None,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
    """From the input projection's output to the output projection's input, without keeping between.

        x, z = xz;  u = silu(causal_conv1d(x));  dt, B, C = u x_proj_weight^T
        delta = dt dt_proj_weight^T;  y = selective_scan(u, delta, A, B, C, D, z, dt_bias, softplus)

    Source: Gu and Dao 2023, "Mamba", figure 3 and algorithm 2. The backend "triton" keeps xz and
    the scan's states at intervals for backward, and computes the rest again; the others keep what
    autograd keeps of the operators. The projections run in autocast's dtype where that is on, else
    in xz's; the convolution and the scan as `causal_conv1d` and `selective_scan` say.

    Args:
        xz: (B, L, 2 D), the convolution's input and the gate.
        conv_weight: (D, d_conv).
        conv_bias: (D,).
        x_proj_weight: (R + 2 G N, D), rows of dt, B and C in this order.
        dt_proj_weight: (D, R).
        A: (D, N) float32, usually negative (float64 is allowed with float64 data).
        D: (D,) skip connection.
        dt_bias: (D,), joins delta inside the scan.
        initial_state: the convolution's (B, d_conv - 1, D) and the scan's (B, D, N) float32;
            zero if absent.
        return_final_state: whether both states after a row's last position are returned too.
        seq_idx: (B, L) int32, non-decreasing: both restart from exact zero where it changes.
        share: which part of longer rows the data are, where the ranks of a process group work on
            one together (genomamba_kernels.sharing); at least d_conv - 1 positions. All ranks call
            this in the same order; the states, given and returned, are then those before and after
            the whole rows, the same on all ranks, and the gradient of a given one is the sum of
            the ranks'.
        backend: "auto" (the environment variable GENOMAMBA_BACKEND, else the default of the
            package), "torch", "reference" or "triton" (a GPU, data shorter than float64).

    Returns:
        y (B, L, D) in xz's dtype; with return_final_state, (y, (conv_state, scan_state)). All
        tensors but seq_idx are differentiable, once.

    Raises:
        ValueError: an argument's shape, dtype, device or value is not the expected one.
    """
    check_tensor("xz", xz, "(B, L, 2 D)", (-1, -1, -1))
    backend = resolve_backend(backend, xz)
    if xz.shape[2] % 2:
        raise ValueError(f"xz: expected shape (B, L, 2 D), an even last, got {tuple(xz.shape)}")
    conv_state, scan_state = (None, None) if initial_state is None else initial_state
    inputs = InnerInputs(
        xz,
        conv_weight,
        conv_bias,
        x_proj_weight,
        dt_proj_weight,
        A,
        D,
        dt_bias,
        conv_state,
        scan_state,
        seq_idx,
        projection_dtype(xz),
        share,
    )
    check_inner(inputs, xz, xz.shape[2] // 2)
    with NoAutocast(xz.device.type):
        y, *final_state = _run(inputs, backend)
    return (y, (final_state[0], final_state[1])) if return_final_state else y


def check_inner(inputs: InnerInputs, data: Tensor, channels: int) -> None:
    """Checks all but xz; `data` is a tensor (B, L, any)."""
    batch, length, _ = data.shape
    A, conv_weight, dt_proj_weight = inputs.A, inputs.conv_weight, inputs.dt_proj_weight
    check_tensor("conv_weight", conv_weight, "(D, d_conv)", (channels, -1), data)
    check_tensor("A", A, "(D, N)", (channels, -1), data)
    check_accumulate_dtype("A", A, data)
    if not A.is_cuda:  # there the host would wait for every layer of a model
        check_finite("A", A)
    check_tensor("dt_proj_weight", dt_proj_weight, "(D, R)", (channels, -1), data)
    check_tensor("x_proj_weight", inputs.x_proj_weight, "(R + 2 G N, D)", (-1, channels), data)
    rows, rank, states = inputs.x_proj_weight.shape[0], dt_proj_weight.shape[1], A.shape[1]
    groups, rest = divmod(rows - rank, 2 * states)
    if groups <= 0 or rest or channels % groups:
        raise ValueError(
            f"x_proj_weight: expected R + 2 G N rows with R = {rank}, N = {states} and G that "
            f"divides D = {channels}, got {rows}"
        )
    for name in ("conv_bias", "D", "dt_bias"):
        if getattr(inputs, name) is not None:
            check_tensor(name, getattr(inputs, name), "(D,)", (channels,), data)
    if inputs.conv_state is not None:
        sizes = (batch, conv_weight.shape[1] - 1, channels)
        check_tensor("initial_state[0]", inputs.conv_state, "(B, d_conv - 1, D)", sizes, data)
    if inputs.scan_state is not None:
        sizes = (batch, channels, states)
        check_tensor("initial_state[1]", inputs.scan_state, "(B, D, N)", sizes, data)
        check_accumulate_dtype("initial_state[1]", inputs.scan_state, data)
    if inputs.seq_idx is not None:
        check_seq_idx(inputs.seq_idx, batch, length, data)
    if inputs.share is not None and length < conv_weight.shape[1] - 1:
        raise ValueError(
            f"share: expected at least d_conv - 1 = {conv_weight.shape[1] - 1} positions, which "
            f"the convolution passes on, got {length}"
        )


def _run(inputs: InnerInputs, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    if backend != "triton":
        return mamba_inner_composed(inputs, backend)
    check_triton(inputs.xz)
    # Not at the top: importing this package must not import Triton, which may be absent.
    from genomamba_kernels.mamba_inner.triton_autograd import mamba_inner_triton

    return mamba_inner_triton(inputs)
