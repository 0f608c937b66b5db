"""Cross-entropy of a linear head without its logits."""

from genomamba_kernels.next_token_loss.interface import next_token_loss

__all__ = ["next_token_loss"]
