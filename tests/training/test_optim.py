"""Which parameters decay, and the learning rate over time."""

from __future__ import annotations

import itertools

import pytest
import torch

from genomamba.models import MambaConfig, MambaForClassification, MambaForPretraining
from genomamba.training.optim import parameter_groups, warmup_cosine, warmup_cosine_factor

CONFIG = MambaConfig(d_model=16, n_layer=2, d_state=4, bias=True)
DECAYED = {
    "embedding.weight",
    "in_proj.weight",
    "conv1d.weight",
    "x_proj.weight",
    "dt_proj.weight",
    "out_proj.weight",
    "gate_proj.weight",
}


@pytest.mark.parametrize(
    "model",
    [MambaForPretraining(CONFIG), MambaForClassification(CONFIG, 3)],
    ids=lambda m: m._get_name(),
)
def test_every_parameter_is_in_the_right_group_once(model: torch.nn.Module) -> None:
    decayed, exempt = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    of_decayed = [names.pop(id(parameter)) for parameter in decayed["params"]]
    of_exempt = [names.pop(id(parameter)) for parameter in exempt["params"]]
    assert not names
    assert {".".join(name.split(".")[-2:]) for name in of_decayed} <= DECAYED
    assert {name.split(".")[-1] for name in of_exempt} == {"bias", "A_log", "D", "weight"}
    assert all("norm" in name for name in of_exempt if name.endswith("weight"))


def test_frozen_parameters_are_left_out() -> None:
    model = MambaForPretraining(CONFIG)
    model.backbone.embedding.weight.requires_grad_(False)
    given = {id(p) for group in parameter_groups(model, 0.1) for p in group["params"]}
    assert id(model.backbone.embedding.weight) not in given


def test_learning_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=2.0)
    schedule = warmup_cosine(optimizer, warmup=4, total=24, floor=0.1)
    rates = []
    for _ in range(30):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert rates[14] == pytest.approx(2.0 * 0.55)  # half way between the top and the floor
    assert all(a > b for a, b in itertools.pairwise(rates[4:25]))
    assert rates[24:] == pytest.approx([0.2] * 6)


def test_no_warmup_and_no_steps() -> None:
    assert warmup_cosine_factor(0, 0, 10, 0.0) == 1.0
    assert warmup_cosine_factor(5, 5, 5, 0.3) == 1.0
