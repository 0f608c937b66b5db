"""How the Triton backends call their autograd functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genomamba_kernels.ahead import rehearse


def apply(function: type[torch.autograd.Function], arguments: Sequence[Any]) -> Any:
    """`function.apply(*arguments)`, its kernels compiled ahead where there are gradients.

    Where there are none (`torch.no_grad`, inference mode) the tensors are detached: a function's
    ``needs_input_grad`` says which of them require a gradient, such as all parameters, not whether
    one is recorded. It would keep what no backward pass asks for.
    """
    if torch.is_grad_enabled():
        rehearse(function, arguments)
    else:
        arguments = [x.detach() if isinstance(x, Tensor) else x for x in arguments]
    return function.apply(*arguments)
