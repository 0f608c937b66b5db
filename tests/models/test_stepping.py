"""Token by token equals the forward pass over the whole."""

from __future__ import annotations

import pytest
import torch

from genomamba.models import MambaConfig, MambaForPretraining, MambaState
from genomamba.models.stepping import Stepper

SHAPES = {
    "odd": {},
    "biases": {"bias": True, "conv_bias": False, "tie_embeddings": False},
    "no past": {"d_conv": 1, "d_state": 1},
    "narrow stream": {"residual_in_fp32": False, "expand": 3},
}


def _model(config: MambaConfig, **fields: object) -> MambaForPretraining:
    torch.manual_seed(0)
    model = MambaForPretraining(MambaConfig.from_dict(config.as_dict() | fields))
    with torch.no_grad():  # far from the start, where D is 1 and every A_log row the same
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("read_at_once", [0, 1, 17])
def test_equals_the_forward_pass(config: MambaConfig, fields: dict, read_at_once: int) -> None:
    model = _model(config, **fields).double()
    tokens = torch.randint(0, 5, (3, 40))
    with torch.no_grad():
        expected, after = model(tokens, return_state=True)
        state = MambaState.zeros(model.config, 3, dtype=torch.float64)
        if read_at_once:
            _, state = model(tokens[:, :read_at_once], return_state=True)
    before = {name: tensor.clone() for name, tensor in state.tensors().items()}
    step = Stepper(model, state)
    for at in range(read_at_once, 40):
        torch.testing.assert_close(step(tokens[:, at]), expected[:, at], atol=1e-10, rtol=0)
    for name, tensor in after.tensors().items():
        torch.testing.assert_close(step.state.tensors()[name], tensor, atol=1e-10, rtol=0)
    for name, tensor in state.tensors().items():
        assert torch.equal(tensor, before[name])  # the state that it was given is the caller's


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_place_and_close_in_narrow_types(config: MambaConfig, dtype: torch.dtype) -> None:
    exact, model = _model(config).double(), _model(config).to(dtype)
    tokens = torch.randint(0, 5, (2, 30))
    with torch.no_grad():
        expected = exact(tokens)
        forward_error = (model(tokens) - expected).square().mean().sqrt()
    step = Stepper(model, MambaState.zeros(config, 2, dtype=dtype))
    addresses = [tensor.data_ptr() for layer in step.state.layers for tensor in layer]
    found = torch.stack([step(tokens[:, at]) for at in range(30)], dim=1)
    assert addresses == [tensor.data_ptr() for layer in step.state.layers for tensor in layer]
    assert not found.requires_grad
    assert (found - expected).square().mean().sqrt() < 2 * forward_error + 1e-6


def test_a_state_of_another_depth(config: MambaConfig) -> None:
    state = MambaState(MambaState.zeros(config, 1).layers[:1])
    with pytest.raises(ValueError, match="expected 2 layers, got 1"):
        Stepper(MambaForPretraining(config), state)
