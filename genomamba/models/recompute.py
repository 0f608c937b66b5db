"""Computing again in the backward pass what is not kept from the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def casting_weights_anew(device: str) -> Iterator[None]:
    """Autocast as it is, but without its cache of cast weights.

    A cached half-precision copy that serves many segments would collect their gradients in half
    precision; a copy a segment passes them on to the float32 weight one by one.
    """
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    with torch.autocast(device, dtype=dtype, enabled=enabled, cache_enabled=False):
        yield
