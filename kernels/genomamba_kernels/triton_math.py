# type: ignore  (Triton's language is not Python to a type checker)
"""What the Triton kernels of several operators compute alike."""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def sigmoid(x):
    root = tl.rsqrt(1.0 + tl.exp2(x * -LOG2_E))  # cheaper than a quotient, and as exact
    return root * root
