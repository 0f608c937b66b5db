"""Seeding a step: the numbers that `torch.manual_seed` would give."""

from __future__ import annotations

import pytest
import torch

from genomamba.training.step_seed import seed_torch

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
def test_the_numbers_are_those_of_manual_seed(device):
    def draw():
        return torch.randn(5).tolist(), torch.randn(5, device=device).tolist()

    torch.manual_seed(2**40 + 3)
    expected = draw()
    assert draw() != expected
    seed_torch(2**40 + 3, torch.device(device))
    assert draw() == expected
    assert torch.initial_seed() == 2**40 + 3


def test_what_is_neither_cpu_nor_cuda_is_left_to_torch(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch, "manual_seed", seeds.append)
    seed_torch(7, torch.device("mps"))
    assert seeds == [7]
