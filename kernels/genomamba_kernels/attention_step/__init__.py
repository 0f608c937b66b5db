"""One position of causal self-attention, over a cache of keys and values at one address."""

from genomamba_kernels.attention_step.interface import attention_step
from genomamba_kernels.attention_step.torch_step import turned

__all__ = ["attention_step", "turned"]
