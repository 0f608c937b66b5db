"""What must hold before anything is timed: agreement with the reference, and with the peer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from operators import Operator, Shape, Tensors, run_both
from torch import Tensor

SMALL = Shape((2, 1000, 96))
# RMS of the difference over the RMS: against float64 for outputs and gradients, and between ours
# and the peer's results on the same rounded inputs.
LIMITS = {torch.float32: (1e-5, 1e-4), torch.bfloat16: (1e-2, 1e-2), torch.float16: (2e-3, 2e-3)}
PEER_LIMITS = {torch.float32: 1e-3, torch.bfloat16: 2e-2, torch.float16: 5e-3}
SLICE = 2**27  # elements compared at a time


def ratio(got: Tensor, truth: Tensor) -> float:
    """RMS of the difference over the RMS of the truth; NaN if either holds one."""
    difference = torch.zeros((), dtype=torch.float64, device=truth.device)
    size = torch.zeros_like(difference)
    pairs = zip(got.flatten().split(SLICE), truth.flatten().split(SLICE), strict=True)
    for a, b in pairs:
        a, b = a.to(truth.device), b.float() if b.dtype.itemsize < 4 else b
        difference += (a.to(b.dtype) - b).square().sum(dtype=torch.float64)
        size += b.square().sum(dtype=torch.float64)
    return float((difference / size.clamp_min(1e-300)).sqrt())


def results(
    operator: Operator, function: Callable[[Tensors], Tensor], tensors: Tensors, grad: Tensor
) -> dict[str, Tensor]:
    """Output and gradients by name."""
    leaves = {k: t.detach().requires_grad_() for k, t in operator.leaves(tensors).items()}
    y, *grads = run_both(function, tensors, leaves, grad)()
    return {"y": y.detach(), **dict(zip(leaves, grads, strict=True))}


def against_reference(
    operator: Operator, backend: str, dtype: torch.dtype, device: torch.device
) -> Iterator[str]:
    """What of a backend's results is too far from the reference in float64, at a small shape."""
    tensors = operator.inputs(SMALL, dtype, device)
    exact = {k: t.double() if t.is_floating_point() else t for k, t in tensors.items()}
    with torch.no_grad():
        y = operator.ours(exact, "reference")
    grad = torch.randn(y.shape, device=device, dtype=torch.float64).to(dtype)
    grad = grad if y.dim() else torch.ones_like(grad)
    truth = results(operator, lambda t: operator.ours(t, "reference"), exact, grad.double())
    got = results(
        operator, lambda t: operator.ours(t, backend), tensors, grad.to(got_dtype(y, dtype))
    )
    for name in truth:
        limit = LIMITS[dtype][name != "y"]
        distance = ratio(got[name].double(), truth[name])
        if not distance <= limit:
            yield (
                f"{operator.name}, {backend}, {dtype}: "
                f"{name} is {distance:.1e} from the reference, allowed {limit:g}"
            )


def got_dtype(y: Tensor, dtype: torch.dtype) -> torch.dtype:
    """A scalar, such as a loss, is float32 whatever the data's dtype."""
    return dtype if y.dim() else torch.float32


def against_peer(
    operator: Operator, ours: dict[str, Tensor], theirs: dict[str, Tensor], dtype: torch.dtype
) -> Iterator[str]:
    """What of ours differs too much from the peer's, at a timed shape."""
    for name in ours:
        distance = ratio(operator.from_peer(name, theirs[name]), ours[name])
        if not distance <= PEER_LIMITS[dtype]:
            yield f"{operator.name}, {dtype}: {name} is {distance:.1e} from the peer's"
