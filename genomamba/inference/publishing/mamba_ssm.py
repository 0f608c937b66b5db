"""The names of mamba-ssm: ``MambaLMHeadModel`` and its ``MambaConfig``.

A folder that its ``from_pretrained`` reads holds ``config.json``, whose keys are its config's
fields (any other is a TypeError there), and ``pytorch_model.bin``, a state dictionary with
``lm_head.weight`` in it whether tied or not (mamba_ssm/models/mixer_seq_simple.py and
mamba_ssm/utils/hf.py). The config has no field for the norm's epsilon: the model is always made
with 1e-5 (``MixerModel``'s default), so that a model with another one cannot go there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from genomamba.models import MambaConfig

NORM_EPSILON = 1e-5
WEIGHTS = "pytorch_model.bin"
MIXER_FIELDS = (  # arguments of its Mamba, by its names, which are ours
    "d_state",
    "d_conv",
    "expand",
    "dt_rank",
    "dt_min",
    "dt_max",
    "dt_init",
    "dt_scale",
    "dt_init_floor",
    "conv_bias",
    "bias",
)
MODEL_FIELDS = ("d_model", "n_layer", "vocab_size", "residual_in_fp32", "tie_embeddings")
# What must hold of the fields that our models have no choice in, and what absence means.
FIXED: dict[str, tuple[Any, ...]] = {
    "rms_norm": (True,),
    "d_intermediate": (0,),
    "attn_layer_idx": ([], None),
    "bidirectional": (False,),
}


def config_fields(config: MambaConfig) -> dict[str, Any]:
    """What ``config.json`` says of a model; the vocabulary is not padded.

    Raises:
        ValueError: the norm's epsilon is not mamba-ssm's.
    """
    if config.norm_epsilon != NORM_EPSILON:
        raise ValueError(
            f"norm_epsilon: expected {NORM_EPSILON}, the only one that mamba-ssm's models have, "
            f"got {config.norm_epsilon}"
        )
    ours = config.as_dict() | {"dt_rank": config.rank}
    return {
        **{name: ours[name] for name in MODEL_FIELDS if name != "tie_embeddings"},
        # Its default, and a field that its first versions lack.
        **({} if config.tie_embeddings else {"tie_embeddings": False}),
        "ssm_cfg": {name: ours[name] for name in MIXER_FIELDS},
        "rms_norm": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 1,
    }


def read_config(fields: Mapping[str, Any]) -> MambaConfig:
    """The inverse of ``config_fields``; what is absent has mamba-ssm's default, which is ours.

    Raises:
        ValueError: a field is out of range, or says what no model of ours does.
    """
    for name, allowed in FIXED.items():
        if fields.get(name, allowed[0]) not in allowed:
            raise ValueError(f"{name}: expected {allowed[0]!r}, got {fields[name]!r}")
    mixer = dict(fields.get("ssm_cfg") or {})
    layer = mixer.pop("layer", "Mamba1")
    if layer != "Mamba1":
        raise ValueError(f"ssm_cfg.layer: expected 'Mamba1', got {layer!r}")
    mixer.pop("use_fast_path", None)  # how it runs
    unknown = sorted(set(mixer) - set(MIXER_FIELDS))
    if unknown:
        raise ValueError(
            f"ssm_cfg: expected the fields {', '.join(MIXER_FIELDS)}, got also {', '.join(unknown)}"
        )
    names = (*MODEL_FIELDS, "pad_vocab_size_multiple")
    return MambaConfig(
        **{name: fields[name] for name in names if name in fields},
        **mixer,
        norm_epsilon=fields.get("norm_epsilon", NORM_EPSILON),
    )


def weights_out(weights: Mapping[str, Tensor], config: MambaConfig) -> dict[str, Tensor]:
    """A causal model's ``pytorch_model.bin``."""
    theirs = {"head.weight": "lm_head.weight"}
    padded = ("head.weight", "backbone.embedding.weight")
    return {
        theirs.get(name, name): (value[: config.vocab_size] if name in padded else value).clone()
        for name, value in weights.items()
    }


def weights_in(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of ``weights_out``."""
    ours = {"lm_head.weight": "head.weight"}
    return {ours.get(name, name): value for name, value in weights.items()}
