"""MambaConfig refuses what no model can be made of, by field."""

from __future__ import annotations

import pytest

from genomamba.models import MambaBackbone, MambaConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("d_model", 0),
        ("n_layer", -1),
        ("vocab_size", 2.5),
        ("d_state", True),
        ("d_conv", 0),
        ("expand", "2"),
        ("dt_rank", 0),
        ("dt_rank", "all"),
        ("dt_min", 0.0),
        ("dt_min", 0.2),
        ("dt_max", float("inf")),
        ("dt_init", "zero"),
        ("norm_epsilon", -1e-5),
        ("pad_vocab_size_multiple", 0),
        ("backend", "cuda"),
        ("recompute", "all"),
        ("recompute", "group:0"),
        ("recompute", "group"),
        ("recompute", 2),
    ],
)
def test_a_bad_field_is_named_with_its_value(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"MambaConfig\.{field}: expected .*, got ") as caught:
        MambaConfig(**{field: value})
    assert repr(value) in str(caught.value)


def test_derived_sizes() -> None:
    config = MambaConfig(d_model=40, expand=3, vocab_size=9, pad_vocab_size_multiple=8)
    assert (config.d_inner, config.rank, config.padded_vocab_size) == (120, 3, 16)
    assert MambaConfig(dt_rank=5).rank == 5
    policies = ("none", "block", "group:12")
    assert [MambaConfig(recompute=p).recompute_group for p in policies] == [None, 1, 12]


def test_a_config_survives_a_checkpoint() -> None:
    config = MambaConfig(d_model=32, dt_rank=3)
    assert MambaConfig.from_dict(config.as_dict()) == config
    with pytest.raises(ValueError, match="got also width"):
        MambaConfig.from_dict({"width": 3})


@pytest.mark.parametrize(
    ("d_model", "n_layer", "millions"), [(128, 12, 1.4), (256, 16, 7.0)], ids=["1.4m", "7m"]
)
def test_parameter_counts_are_the_papers(d_model: int, n_layer: int, millions: float) -> None:
    """Gu & Dao 2023, section 4.3.2: the models of the genomics experiments."""
    backbone = MambaBackbone(MambaConfig(d_model=d_model, n_layer=n_layer))
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert round(count / 1e6, 1) == millions
    # By hand: embedding and final norm, then a block's norm, in_proj, conv, x_proj, dt_proj,
    # A_log, D, out_proj.
    d, D, R, N = d_model, 2 * d_model, d_model // 16, 16
    block = d + 2 * D * d + 5 * D + D * (R + 2 * N) + (R + 1) * D + D * N + D + D * d
    assert count == 8 * d + d + n_layer * block
