"""Computing again in the backward pass what is not kept from the forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch.utils.checkpoint import checkpoint

T = TypeVar("T")


def recomputed(function: Callable[..., T], *args: object) -> T:
    """``function(*args)``, of which only the arguments and the results are kept.

    The backward pass calls the function a second time, under the same autocast. Nothing in a Mamba
    model is random, so the gradients are those of the plain call. A gradient hook of a parameter
    (DDP's) still fires once.
    """
    if not torch.is_grad_enabled():
        return function(*args)
    return cast(T, checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False))
