"""The shape of a model, with the field names of mamba-ssm, checked when it is made."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

POSITIVE_INTEGERS = (
    *("d_model", "n_layer", "vocab_size", "d_state", "d_conv", "expand", "pad_vocab_size_multiple"),
    *("n_heads", "mlp_ratio", "filter_length"),
)
POSITIVE_NUMBERS = ("dt_min", "dt_max", "dt_scale", "dt_init_floor", "norm_epsilon")
RECOMPUTE = re.compile(r"none|block|group:([1-9][0-9]*)")
BACKENDS = ("auto", "triton", "torch", "reference")
# What a mixer can do beside a forward pass over whole sequences from their first position on:
# "state": work in segments and start from a state of constant size; "packing": rows of several
# sequences; "steps": a token at a time; "shares": one sequence over several processes.
ABILITIES = {
    "mamba": {"state", "packing", "steps", "shares"},
    "s4d": {"state", "packing", "steps"},
    "attention": {"steps"},
    "hyena": set[str](),
}
# How a model runs, not what it is: these may change between training and use.
RUN_FIELDS = ("backend", "recompute", "segment_length")
# That shape the baselines; no field of a Mamba model in other programs.
BASELINE_FIELDS = ("mixer", "n_heads", "mlp_ratio", "filter_length")


def _is_positive_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


@dataclass(frozen=True)
class MambaConfig:
    """Hyperparameters of a Mamba backbone (Gu & Dao 2023, section 3; defaults of mamba-ssm).

    Args:
        d_model: width of the residual stream.
        n_layer: number of blocks.
        vocab_size: token values that occur; 5 for A, C, G, T, N.
        d_state: state entries a channel (N in the paper).
        d_conv: width of the causal convolution.
        expand: d_inner / d_model.
        dt_rank: rank of the step size's projection, or "auto" for ceil(d_model / 16).
        dt_min: smallest initial step size.
        dt_max: largest initial step size.
        dt_init: "random" draws dt_proj's weight uniformly, "constant" sets it.
        dt_scale: factor on dt_proj's initial weight.
        dt_init_floor: initial step sizes are clamped from below to this.
        conv_bias: whether the convolution has a bias.
        bias: whether in_proj and out_proj have a bias.
        norm_epsilon: added to the mean square in RMSNorm.
        residual_in_fp32: keep the residual stream in at least float32, whatever the parameters and
            autocast are; otherwise it has autocast's type, or the parameters' without autocast.
        tie_embeddings: the next-token head uses the embedding's weight.
        pad_vocab_size_multiple: the embedding's rows are rounded up to a multiple of this; the
            logits of the extra rows never leave the head.
        backend: of the scan and the convolution, see ``genomamba_kernels``.
        recompute: what is computed again in the backward pass instead of being kept, see
            ``MambaBackbone``: "none", "block", or "group:n" for n blocks together.
        segment_length: positions that the model works on at a time, at most, see ``MambaBackbone``;
            None is the whole length.
        mixer: what mixes along the length in every block. "mamba", or a baseline on the same
            footing: "s4d", the same without selection; "attention"; "hyena". The last two are
            followed by an MLP, and d_state, d_conv of "attention", expand and dt_* say nothing of
            them.
        n_heads: of attention; divides d_model into heads of even width.
        mlp_ratio: the MLP's width / d_model. With 1, a block of "attention" has as many weights in
            its matrices as one of "mamba" with expand 2, 6 d_model^2; with 4, as is usual, as two.
        filter_length: of Hyena's filters: the length that one decays over and unit of its
            positions. That of the training; a longer filter is an extrapolation.

    Raises:
        ValueError: a field is out of its range, or the mixer cannot do what another field asks
            for; the message names it, the range and the value.
    """

    d_model: int = 256
    n_layer: int = 16
    vocab_size: int = 5
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    dt_rank: int | Literal["auto"] = "auto"
    dt_min: float = 1e-3
    dt_max: float = 0.1
    dt_init: Literal["random", "constant"] = "random"
    dt_scale: float = 1.0
    dt_init_floor: float = 1e-4
    conv_bias: bool = True
    bias: bool = False
    norm_epsilon: float = 1e-5
    residual_in_fp32: bool = True
    tie_embeddings: bool = True
    pad_vocab_size_multiple: int = 8
    backend: Literal["auto", "triton", "torch", "reference"] = "auto"
    recompute: str = "none"
    segment_length: int | None = None
    mixer: Literal["mamba", "s4d", "attention", "hyena"] = "mamba"
    n_heads: int = 8
    mlp_ratio: int = 4
    filter_length: int = 1024

    def __post_init__(self) -> None:
        for name in POSITIVE_INTEGERS:
            if not _is_positive_integer(getattr(self, name)):
                self._refuse(name, "a positive integer")
        for name in POSITIVE_NUMBERS:
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                self._refuse(name, "a positive number")
        if self.dt_rank != "auto" and not _is_positive_integer(self.dt_rank):
            self._refuse("dt_rank", 'a positive integer or "auto"')
        if self.segment_length is not None and not _is_positive_integer(self.segment_length):
            self._refuse("segment_length", "a positive integer or none")
        if self.dt_min > self.dt_max:
            self._refuse("dt_min", f"at most dt_max ({self.dt_max})")
        if self.dt_init not in ("random", "constant"):
            self._refuse("dt_init", '"random" or "constant"')
        if self.backend not in BACKENDS:
            self._refuse("backend", f"one of {', '.join(BACKENDS)}")
        if not (isinstance(self.recompute, str) and RECOMPUTE.fullmatch(self.recompute)):
            self._refuse("recompute", '"none", "block" or "group:n" with n of 1 or more')
        if self.mixer not in ABILITIES:
            self._refuse("mixer", f"one of {', '.join(ABILITIES)}")
        if self.segment_length is not None and not self.can("state"):
            self._refuse("segment_length", f"none with mixer {self.mixer!r}, which has no state")
        if self.mixer == "attention" and self.d_model % (2 * self.n_heads):
            self._refuse("n_heads", f"heads of even width out of d_model {self.d_model}")

    def _refuse(self, name: str, expected: str) -> None:
        raise ValueError(f"MambaConfig.{name}: expected {expected}, got {getattr(self, name)!r}")

    def can(self, ability: str) -> bool:
        """Whether the mixer has one of ``ABILITIES``."""
        return ability in ABILITIES[self.mixer]

    @property
    def d_inner(self) -> int:
        """Channels inside a mixer."""
        return self.expand * self.d_model

    @property
    def rank(self) -> int:
        """``dt_rank`` with "auto" resolved."""
        return math.ceil(self.d_model / 16) if self.dt_rank == "auto" else self.dt_rank

    @property
    def recompute_group(self) -> int | None:
        """Blocks that are computed again together; None where nothing is."""
        found = RECOMPUTE.fullmatch(self.recompute)
        assert found is not None
        return None if self.recompute == "none" else int(found[1] or 1)

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding."""
        multiple = self.pad_vocab_size_multiple
        return math.ceil(self.vocab_size / multiple) * multiple

    def as_dict(self) -> dict[str, Any]:
        """Plain fields, as a checkpoint stores them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> MambaConfig:
        """The inverse of ``as_dict``.

        Raises:
            ValueError: a field is unknown or out of range.
        """
        unknown = sorted(set(fields) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(
                f"MambaConfig: expected the fields {', '.join(cls.__dataclass_fields__)}, "
                f"got also {', '.join(unknown)}"
            )
        return cls(**fields)
