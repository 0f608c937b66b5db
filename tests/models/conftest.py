"""Small models in float64, whose two passes agree to rounding."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from genomamba.models import MambaConfig


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config() -> MambaConfig:
    """Odd sizes on purpose: no dimension is a power of two or equals another."""
    return MambaConfig(d_model=24, n_layer=2, d_state=5, d_conv=3, dt_rank=7)
