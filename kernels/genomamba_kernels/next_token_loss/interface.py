"""The next-token loss: the one public function, its checks and the choice of a backend.

Letters: B batch, L length, T positions with a target, D channels, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor

from genomamba_kernels.autocasting import NoAutocast
from genomamba_kernels.backends import check_triton, resolve_backend
from genomamba_kernels.checks import check_tensor
from genomamba_kernels.next_token_loss.autograd import next_token_loss_fused
from genomamba_kernels.next_token_loss.inputs import LossInputs
from genomamba_kernels.next_token_loss.reference import next_token_loss_reference

WIDEST = 4096  # channels that the Triton kernels hold in registers
MOST_TOKENS = 8  # whose weights' gradients they hold


def next_token_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    importance: Tensor | None = None,
    *,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of a linear head, in nats, without holding the logits of all positions.

        loss_t = logsumexp(W h_t) - (W h_t)[target_t],    total = sum_t importance_t loss_t

    Computed in float32, or in float64 for float64 data, under autocast too.

    Args:
        hidden: (B, L, D).
        weight: (V, D) the head's, W.
        targets: (B, T) integers in [0, V) of any type, T <= L: what follows hidden[:, t]. Positions
            from T on have no target.
        importance: (B, T) of any type, bool included; 1 if absent.
        backend: "auto" (the environment variable GENOMAMBA_BACKEND, else the device's default),
            "torch", "reference", or "triton" (a GPU, data shorter than float64, D up to 4096, V up
            to 8; "auto" takes "torch" for more).

    Returns:
        total, a scalar, differentiable once in hidden and weight; and loss (B, T), which is not
        differentiable. Both are float32, or float64 for float64 data.

    Raises:
        ValueError: an argument's shape, dtype, device or value is not the expected one.
    """
    check_tensor("hidden", hidden, "(B, L, D)", (-1, -1, -1))
    batch, length, channels = hidden.shape
    check_tensor("weight", weight, "(V, D)", (-1, channels), hidden)
    fits = channels <= WIDEST and len(weight) <= MOST_TOKENS
    chosen = resolve_backend(backend, hidden)
    if chosen == "triton":
        if not fits and backend == "auto":
            chosen = "torch"
        elif not fits:
            raise ValueError(
                f'weight: "triton" expects at most ({MOST_TOKENS}, {WIDEST}), '
                f'got {tuple(weight.shape)}; use the backend "torch"'
            )
        else:
            check_triton(hidden)
    expected = f"(B, T) with B = {batch} and T at most L = {length}, on {hidden.device}"
    for name, value in (("targets", targets), ("importance", importance)):
        if value is None and name == "importance":
            continue
        if not isinstance(value, Tensor):
            raise ValueError(f"{name}: expected a tensor {expected}, got {type(value).__name__}")
        if value.ndim != 2 or len(value) != batch or value.shape[1] > length:
            raise ValueError(f"{name}: expected {expected}, got {tuple(value.shape)}")
        if value.device != hidden.device:
            raise ValueError(f"{name}: expected {expected}, got one on {value.device}")
    if targets.is_floating_point():
        raise ValueError(f"targets: expected integers, got {targets.dtype}")
    if importance is not None and importance.shape != targets.shape:
        raise ValueError(
            f"importance: expected the targets' shape {tuple(targets.shape)}, "
            f"got {tuple(importance.shape)}"
        )
    inputs = LossInputs(hidden, weight, targets, importance)
    with NoAutocast(hidden.device.type):
        if chosen == "reference":
            return next_token_loss_reference(inputs)
        return next_token_loss_fused(inputs, chosen)
