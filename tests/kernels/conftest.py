"""Inputs, truth and distance for the operators' tests.

Truth is the reference in float64. Distance is the RMS of the difference over the RMS of the truth.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from genomamba_kernels import causal_conv1d, selective_scan


def remember_builtins() -> None:
    """Triton's interpreter looks through its language for what it has to replace, anew at each call
    of a device function. The names stay the same: 54 s instead of 66 for test_mamba_inner.py."""
    try:
        from triton.language.core import is_builtin
        from triton.runtime import interpreter
    except ImportError:
        return

    @functools.cache
    def names(package: Any) -> list[str]:
        return [name for name, member in inspect.getmembers(package) if is_builtin(member)]

    def replace(package: Any, *rest: Any) -> None:
        for name in names(package):
            member = getattr(package, name)
            if is_builtin(member):  # not replaced yet
                interpreter._patch_attr(package, name, member, *rest)

    if hasattr(interpreter, "_patch_builtin") and hasattr(interpreter, "_patch_attr"):
        interpreter._patch_builtin = replace


remember_builtins()

STATE_ARGUMENTS = ("A", "initial_state")  # float32 whatever the data's dtype


class Case:
    """An operator with its tensors, which all take gradients, and its other arguments."""

    def __init__(self, operator: Callable[..., Any], tensors: dict[str, Tensor], **options: Any):
        self.operator, self.tensors, self.options = operator, tensors, options

    def to(self, dtype: torch.dtype) -> Case:
        """The case in another dtype; the scan's A and state are never shorter than float32."""
        state = torch.promote_types(dtype, torch.float32)
        is_scan = self.operator is selective_scan
        tensors = {
            name: tensor.to(state if is_scan and name in STATE_ARGUMENTS else dtype)
            for name, tensor in self.tensors.items()
        }
        return Case(self.operator, tensors, **self.options)

    def on(self, device: torch.device | str) -> Case:
        """The case on another device."""
        tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        options = {k: v.to(device) if torch.is_tensor(v) else v for k, v in self.options.items()}
        return Case(self.operator, tensors, **options)

    def run(
        self, backend: str, *, rounded: torch.dtype | None = None, **changes: Any
    ) -> dict[str, Tensor]:
        """Outputs, final state and the gradient of every tensor, for fixed random cotangents.

        `rounded` rounds y's cotangent to a dtype first, so that a truth in float64 sees what a
        shorter type can hold.
        """
        leaves = {name: t.detach().clone().requires_grad_() for name, t in self.tensors.items()}
        arguments = {**self.options, "return_final_state": True, **changes}
        outputs = self.operator(**leaves, **arguments, backend=backend)
        generator = torch.Generator().manual_seed(1)
        cotangents = [
            torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out)
            for out in outputs
        ]
        if rounded is not None:
            cotangents[0] = cotangents[0].to(rounded).to(outputs[0])
        grads = torch.autograd.grad(outputs, list(leaves.values()), cotangents)
        named = zip(leaves, grads, strict=True)
        return {
            "y": outputs[0].detach(),
            "final_state": outputs[1].detach(),
            **{f"d{name}": grad for name, grad in named},
        }


def make_scan(
    batch: int = 2,
    length: int = 63,
    channels: int = 6,
    states: int = 4,
    groups: int | None = None,
    *,
    mean_step: float = 1.0,
    seed: int = 0,
    seq_idx: Tensor | None = None,
) -> Case:
    """A scan with every argument, in float64; mean_step is about the mean of q |A|."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shape = (batch, length, channels)
    inner = (batch, length, states) if groups is None else (batch, length, groups, states)
    tensors = {
        "u": normal(*shape),
        "delta": 0.5 * normal(*shape),
        "A": -torch.exp(0.5 * normal(channels, states)),
        "B": normal(*inner),
        "C": normal(*inner),
        "D": normal(channels),
        "z": normal(*shape),
        "delta_bias": 0.1 * normal(channels) + math.log(math.expm1(mean_step)),
        "initial_state": normal(batch, channels, states),
    }
    return Case(selective_scan, tensors, delta_softplus=True, seq_idx=seq_idx)


def make_conv(
    batch: int = 2,
    length: int = 63,
    channels: int = 6,
    d_conv: int = 4,
    *,
    activation: str | None = "silu",
    seed: int = 0,
    seq_idx: Tensor | None = None,
) -> Case:
    """A convolution with every argument, in float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tensors = {
        "x": normal(batch, length, channels),
        "weight": normal(channels, d_conv),
        "bias": normal(channels),
        "initial_state": normal(batch, d_conv - 1, channels),
    }
    return Case(causal_conv1d, tensors, activation=activation, seq_idx=seq_idx)


def distance(got: Tensor, truth: Tensor) -> float:
    """RMS of the difference over the RMS of the truth."""
    assert got.shape == truth.shape
    got, truth = got.detach().double(), truth.detach().double()
    if truth.numel() == 0:  # the state of a convolution over one position
        return 0.0
    difference = (got - truth).square().mean().sqrt()
    return float(difference / truth.square().mean().sqrt().clamp_min(1e-30))


@pytest.fixture(autouse=True)
def _poisoned_allocations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uninitialised memory of the operators holds NaN, so that reading it is seen."""
    empty, empty_like, new_empty = torch.empty, torch.empty_like, Tensor.new_empty

    def poison(allocate: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def allocated(*args: Any, **kwargs: Any) -> Tensor:
            tensor = allocate(*args, **kwargs)
            with torch.no_grad():  # torch's checkpointing makes a leaf in this way
                return tensor.fill_(math.nan) if tensor.is_floating_point() else tensor

        return allocated

    monkeypatch.setattr(torch, "empty", poison(empty))
    monkeypatch.setattr(torch, "empty_like", poison(empty_like))
    monkeypatch.setattr(Tensor, "new_empty", poison(new_empty))


@pytest.fixture(scope="session")
def scan() -> Callable[..., Case]:
    return make_scan


@pytest.fixture(scope="session")
def conv() -> Callable[..., Case]:
    return make_conv


@pytest.fixture(scope="session")
def rms_ratio() -> Callable[[Tensor, Tensor], float]:
    return distance


@pytest.fixture(scope="session")
def assert_close() -> Callable[..., None]:
    """Compares every entry of two results of Case.run; forward and gradients have own limits."""

    def check(
        got: dict[str, Tensor], truth: dict[str, Tensor], forward: float, gradient: float
    ) -> None:
        assert got.keys() == truth.keys()
        limits = {name: forward if name in ("y", "final_state") else gradient for name in truth}
        distances = {name: distance(got[name], truth[name]) for name in truth}
        wrong = {name: d for name, d in distances.items() if not d <= limits[name]}
        assert not wrong, f"RMS ratios above {forward:g} / {gradient:g}: {wrong}"

    return check
