"""What must hold before anything is timed: agreement with the reference, and with the peer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from operators import Operator, Outputs, Shape, Tensors, run_both
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


def cotangents(outputs: Outputs, seed: int = 1) -> Outputs:
    """Random ones of the outputs' dtypes; 1 for a scalar, which is a loss."""
    generator = torch.Generator(outputs[0].device).manual_seed(seed)
    return tuple(
        torch.randn(y.shape, generator=generator, device=y.device).to(y.dtype)
        if y.dim()
        else torch.ones_like(y)
        for y in outputs
    )


def results(
    operator: Operator,
    function: Callable[[Tensors], Outputs],
    tensors: Tensors,
    grads: Outputs,
) -> Tensors:
    """Outputs and gradients by name."""
    leaves = {k: t.detach().requires_grad_() for k, t in operator.leaves(tensors).items()}
    values = run_both(function, tensors, leaves, grads)()
    return {
        name: value.detach()
        for name, value in zip((*operator.outputs, *leaves), values, strict=True)
    }


def against_reference(
    operator: Operator, backend: str, dtype: torch.dtype, device: torch.device
) -> Iterator[str]:
    """What of a backend's results is too far from the reference in float64, at a small shape."""
    tensors = operator.inputs(SMALL, dtype, device)
    exact = {k: t.double() if t.is_floating_point() else t for k, t in tensors.items()}
    with torch.no_grad():
        grads = cotangents(operator.ours(tensors, backend))
    exact_grads = tuple(grad.double() for grad in grads)
    got = results(operator, lambda t: operator.ours(t, backend), tensors, grads)
    truth = results(operator, lambda t: operator.ours(t, "reference"), exact, exact_grads)
    slack = 1.0 if dtype == torch.float32 else operator.slack
    for name in truth:
        limit = LIMITS[dtype][name not in operator.outputs] * slack
        distance = ratio(got[name].double(), truth[name])
        if not distance <= limit:
            yield (
                f"{operator.name}, {backend}, {dtype}: "
                f"{name} is {distance:.1e} from the reference, allowed {limit:g}"
            )


def against_peer(
    operator: Operator, ours: Tensors, theirs: Tensors, dtype: torch.dtype
) -> Iterator[str]:
    """What of ours differs too much from the peer's, at a timed shape."""
    limit = PEER_LIMITS[dtype] * operator.slack
    for name in ours:
        distance = ratio(operator.from_peer(name, theirs[name]), ours[name])
        if not distance <= limit:
            yield f"{operator.name}, {dtype}: {name} is {distance:.1e} from the peer's"
