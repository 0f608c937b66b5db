"""A state leaves the program and comes back; streaming goes on from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from genomamba.models import MambaBackbone, MambaConfig, MambaState


@pytest.mark.parametrize("autocast", [False, True])
def test_streaming_goes_on_from_a_file(tmp_path: Path, config: MambaConfig, autocast: bool) -> None:
    backbone, tokens = MambaBackbone(config), torch.randint(0, 5, (2, 40))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        _, state = backbone(tokens[:, :23], return_state=True)
        save_file(state.tensors(), tmp_path / "state.safetensors")
        loaded = MambaState.from_tensors(load_file(tmp_path / "state.safetensors"))
        assert loaded.equal(state)
        expected = backbone(tokens[:, 23:], state=state)
        assert torch.equal(backbone(tokens[:, 23:], state=loaded), expected)


def test_states_differ_by_value_type_and_depth(config: MambaConfig) -> None:
    state = MambaState.zeros(config, batch=2)
    assert state.equal(MambaState.zeros(config, batch=2))
    assert not state.equal(MambaState.zeros(config, batch=3))
    assert not state.equal(MambaState.zeros(config, batch=2, dtype=torch.float64))
    assert not state.equal(MambaState(state.layers[:1]))
    other = MambaState.zeros(config, batch=2)
    other.layers[1].scan[1, 3, 2] = 1
    assert not state.equal(other)


def test_rows_are_kept_or_cleared_whatever_they_hold(config: MambaConfig) -> None:
    state = MambaState.zeros(config, batch=3)
    for layer in state.layers:
        for tensor in layer:
            tensor.copy_(torch.tensor([1.0, float("nan"), float("inf")])[:, None, None])
    kept = state.keep(torch.tensor([True, False, False]))
    for tensor in kept.tensors().values():
        assert (tensor[0] == 1).all()
        assert not tensor[1:].any()


@pytest.mark.parametrize(
    "names", [["layers.0.conv"], ["layers.0.conv", "layers.1.scan"], ["x", "y"]]
)
def test_names_that_are_no_states(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"state: expected layers.0.conv, .*, got \["):
        MambaState.from_tensors(dict.fromkeys(names, torch.zeros(1, 1, 1)))
