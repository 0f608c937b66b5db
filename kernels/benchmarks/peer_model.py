"""The peer's model: mamba-ssm's blocks, its fused add and norm, tied embedding, next-token loss.

What its `MambaLMHeadModel` runs for training, without the parts of that module that import other
libraries. Parameters carry the names of our MambaForPretraining, so that it can take our weights.
"""

from __future__ import annotations

import torch
from mamba_ssm.modules.block import Block
from mamba_ssm.modules.mamba_simple import Mamba
from mamba_ssm.ops.triton.layer_norm import RMSNorm, layer_norm_fn
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from genomamba.models import MambaConfig, MambaForPretraining


class PeerBackbone(nn.Module):
    """Embedding, blocks and final norm, as mamba-ssm's MixerModel with its default options."""

    def __init__(self, config: MambaConfig, recompute: bool) -> None:
        super().__init__()
        self.recompute = recompute
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        self.layers = nn.ModuleList(
            Block(
                config.d_model,
                lambda width: Mamba(width, config.d_state, config.d_conv, config.expand),
                nn.Identity,
                norm_cls=lambda width: RMSNorm(width, eps=config.norm_epsilon),
                fused_add_norm=True,
                residual_in_fp32=True,
            )
            for _ in range(config.n_layer)
        )
        self.norm_f = RMSNorm(config.d_model, eps=config.norm_epsilon)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden, residual = self.embedding(tokens), None
        for layer in self.layers:
            if self.recompute and torch.is_grad_enabled():
                hidden, residual = checkpoint(layer, hidden, residual, use_reentrant=False)
            else:
                hidden, residual = layer(hidden, residual)
        return layer_norm_fn(
            hidden,
            self.norm_f.weight,
            self.norm_f.bias,
            eps=self.norm_f.eps,
            residual=residual,
            prenorm=False,
            residual_in_fp32=True,
            is_rms_norm=True,
        )


class PeerForPretraining(nn.Module):
    """Mean next-token loss; all rows of the padded embedding are logits, as in mamba-ssm."""

    def __init__(self, config: MambaConfig, recompute: bool) -> None:
        super().__init__()
        self.backbone = PeerBackbone(config, recompute)
        self.vocab_size = config.vocab_size

    def forward(self, tokens: Tensor, *, padded: bool = True) -> Tensor:
        """`padded=False` leaves the padded rows out, as our model does: for comparing losses."""
        weight = self.backbone.embedding.weight
        logits = functional.linear(
            self.backbone(tokens), weight if padded else weight[: self.vocab_size]
        )
        return functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())

    def take_weights(self, ours: MambaForPretraining) -> None:
        self.backbone.load_state_dict(ours.backbone.state_dict())
