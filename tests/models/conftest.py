"""Small models in float64, whose two passes agree to rounding."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

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


def storages(values: object) -> dict[StorageWeakRef, int]:
    tensors = (value for value in tree_iter(values) if isinstance(value, torch.Tensor))
    found = (tensor.untyped_storage() for tensor in tensors)
    return {StorageWeakRef(storage): storage.nbytes() for storage in found}


class Memory(TorchDispatchMode):
    """Bytes of the tensors that operations made under this mode and that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[StorageWeakRef, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[override]
        result = func(*args, **(kwargs or {}))
        given = set(storages((args, kwargs)))
        new = {ref: size for ref, size in storages(result).items() if ref not in given}
        if new:  # a view of an argument is not
            self.sizes |= new
            self.peak = max(self.peak, self.live())
        return result

    def live(self) -> int:
        self.sizes = {ref: size for ref, size in self.sizes.items() if not ref.expired()}
        return sum(self.sizes.values())


@pytest.fixture
def memory() -> type[Memory]:
    return Memory
