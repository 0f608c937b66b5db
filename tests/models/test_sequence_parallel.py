"""A sequence on several ranks: outputs, states and gradients of the one-process model.

Run as a program, this file is the ranks: it forks them, after torch was imported once.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from genomamba.models import (
    MambaBackbone,
    MambaConfig,
    MambaForClassification,
    MambaForPretraining,
    MambaState,
)

CONFIG = MambaConfig(d_model=24, n_layer=2, d_state=5, d_conv=3, dt_rank=7)


class Case(NamedTuple):
    """What is run, and on how many positions."""

    kind: str
    length: int
    fields: dict[str, Any]
    packed: bool = False


# Even, uneven for both numbers of ranks, the shortest; sequences that end inside a share, at the
# border of two (21 of 42), cross it, or fill one from border to border.
BORDERS = (1, 10, 20, 21, 23)
CASES = {
    "plain": Case("hidden", 42, {}),
    "uneven": Case("hidden", 41, {}),
    "shortest": Case("hidden", 6, {}),
    "packed": Case("hidden", 42, {}, packed=True),
    "one-position convolution": Case("hidden", 20, {"d_conv": 1}),
    "block": Case("hidden", 42, {"recompute": "block"}, packed=True),
    "group": Case("hidden", 41, {"recompute": "group:2"}),
    "segments": Case("hidden", 41, {"segment_length": 7}),
    "segments, packed, block": Case(
        "hidden", 42, {"segment_length": 7, "recompute": "block"}, packed=True
    ),
    "loss": Case("loss", 41, {}),
    "loss, packed": Case("loss", 42, {"tie_embeddings": False}, packed=True),
    "loss, segments": Case("loss", 41, {"segment_length": 6, "recompute": "block"}, packed=True),
    "mean": Case("mean", 41, {}),
    "mean, packed": Case("mean", 42, {"segment_length": 7}, packed=True),
    "last": Case("last", 41, {"segment_length": 7}),
    "last, packed": Case("last", 42, {}, packed=True),
}
OF_THREE = ("uneven", "segments, packed, block", "loss, segments", "mean, packed", "last, packed")
RUNS = [(2, name) for name in CASES] + [(3, name) for name in OF_THREE]


def dna(length: int, batch: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(length + seed)
    return torch.randint(0, 5, (batch, length), generator=generator, dtype=torch.uint8)


def packed(length: int) -> Tensor:
    borders = torch.tensor([b for b in BORDERS if b < length])
    row = torch.searchsorted(borders, torch.arange(length), right=True).int()
    return torch.stack([row, torch.zeros_like(row)])


def model_of(case: Case) -> Any:
    torch.manual_seed(1)
    config = dataclasses.replace(CONFIG, **case.fields)
    if case.kind == "hidden":
        return MambaBackbone(config).double()
    if case.kind == "loss":
        return MambaForPretraining(config).double()
    model = MambaForClassification(config, 3, case.kind).double()  # type: ignore[arg-type]
    torch.nn.init.normal_(model.head.out_proj.weight)
    for _ in range(3):
        model(dna(30))  # statistics past their start
    return model


def run(case: Case, group: distributed.ProcessGroup | None) -> dict[str, Tensor]:
    """Outputs, and gradients summed over the ranks."""
    model = model_of(case)
    backbone = model if case.kind == "hidden" else model.backbone
    backbone.sequence_group = group
    tokens, ranks = dna(case.length), 1 if group is None else group.size()
    seq_idx = packed(case.length) if case.packed else None
    found: dict[str, Tensor] = {}
    before: dict[str, Tensor] = {}
    if case.kind == "hidden":
        state = MambaState.zeros(model.config, batch=2, dtype=torch.float64)
        before = {n: torch.randn_like(t).requires_grad_() for n, t in state.tensors().items()}
        state = MambaState.from_tensors(before)
        stretches = backbone.map_segments(
            tokens, lambda hidden, at: (hidden, at), state=state, seq_idx=seq_idx
        )
        hidden = torch.zeros(2, case.length, CONFIG.d_model, dtype=torch.float64)
        scalar, after = hidden.new_zeros(()), state
        for (part, at), state_after in stretches:
            hidden[:, at] += part.detach()
            scalar, after = scalar + part.square().sum(), state_after
        if group is not None:
            distributed.all_reduce(hidden, group=group)
        found |= {"hidden": hidden, **after.tensors()}
        # Every rank has the state: a part of its term each, and the ranks' scalars add up.
        scalar = scalar + sum(t.square().sum() for t in after.tensors().values()) / ranks
    elif case.kind == "loss":
        importance = torch.rand(2, case.length, generator=torch.Generator().manual_seed(2))
        losses = torch.zeros(2, case.length, dtype=torch.float64)

        def observe(at: slice, part: Tensor) -> None:
            losses[:, at] += part

        loss = model.loss(tokens, importance.double(), seq_idx=seq_idx, observe=observe)
        if group is not None:
            distributed.all_reduce(losses, group=group)
        found |= {"loss": loss, "losses": losses}
        scalar = loss / ranks
    else:
        logits = model(tokens, seq_idx)
        found |= {"logits": logits} | {name: b.double() for name, b in model.named_buffers()}
        scalar = logits.square().sum() / ranks
    scalar.backward()
    grads = {f"grad {name}": p.grad for name, p in model.named_parameters()}
    grads |= {f"grad before {name}": t.grad for name, t in before.items() if t.numel()}
    for grad in grads.values():
        if group is not None:
            distributed.all_reduce(grad, group=group)
    return {name: t.detach().clone() for name, t in (found | grads).items()}


class Losses(torch.nn.Module):
    """What DistributedDataParallel wraps: a module whose forward is the loss."""

    def __init__(self, model: MambaForPretraining) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model.loss(tokens)


LOSS = Case("loss", 41, {"segment_length": 6})


def run_mesh() -> dict[str, Tensor]:
    """Two examples on two groups of two ranks, gradients averaged by DistributedDataParallel."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "sequence"))
    model = model_of(LOSS)
    model.backbone.sequence_group = mesh.get_group("sequence")
    wrapped = DistributedDataParallel(Losses(model))
    wrapped(dna(41, seed=mesh.get_local_rank("data"))).backward()
    return {name: p.grad for name, p in model.named_parameters()}


@torch.no_grad()
def run_poisoned(group: distributed.ProcessGroup | None) -> tuple[Tensor, MambaState]:
    """The only base of a sequence, the last before the second rank's share, is not a number."""
    model = model_of(CASES["packed"])
    model.sequence_group = group
    model.embedding.weight[7] = torch.nan
    tokens = dna(42)
    tokens[0, 20] = 7
    return model(tokens, return_state=True, seq_idx=packed(42))


def rank_main(rank: int, world: int, folder: str) -> None:
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store{world}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=60),
    )
    if world == 4:
        results: dict[str, Any] = {"mesh": run_mesh()}
    else:
        group = distributed.group.WORLD
        results = {name: run(CASES[name], group) for ranks, name in RUNS if ranks == world}
        if world == 2:
            hidden, state = run_poisoned(group)
            results["poisoned"] = {"hidden": hidden, **state.tensors()}
        try:
            run(Case("hidden", 2 * world - 1, {}), group)
        except ValueError as error:
            results["too short"] = str(error)
    torch.save(results, f"{folder}/{world}.{rank}.pt")
    distributed.destroy_process_group()


def main(folder: str) -> None:
    torch.set_num_threads(1)
    import_module("torch._dynamo")  # checkpoint and DDP do, a second each: once for all ranks
    for world in (2, 3, 4):
        torch.multiprocessing.start_processes(
            rank_main, (world, folder), nprocs=world, start_method="fork"
        )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    subprocess.run([sys.executable, __file__, str(folder)], check=True, timeout=300)
    return lambda world: [torch.load(folder / f"{world}.{rank}.pt") for rank in range(world)]


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, truth in expected.items():
        assert (found[name] - truth).norm() <= 1e-10 * truth.norm(), name


@pytest.mark.parametrize(("world", "name"), RUNS)
def test_equals_one_process(results: Callable[[int], list[Any]], name: str, world: int) -> None:
    case = CASES[name]
    # The truth is the plain model: neither segments nor recomputation.
    plain = {"segment_length": None, "recompute": "none"}
    truth = run(case._replace(fields=case.fields | plain), None)
    assert all(tensor.isfinite().all() for tensor in truth.values())
    for rank in results(world):
        assert_same(rank[name], truth)


def test_beside_data_parallel(results: Callable[[int], list[Any]]) -> None:
    model = model_of(LOSS._replace(fields={}))
    (sum(model.loss(dna(41, seed=seed)) for seed in (0, 1)) / 2).backward()  # type: ignore[union-attr]
    truth = {name: p.grad for name, p in model.named_parameters()}
    for rank in results(4):
        assert_same(rank["mesh"], truth)


def test_a_nan_stays_in_its_sequence(results: Callable[[int], list[Any]]) -> None:
    hidden, state = run_poisoned(None)
    for rank, own in zip(results(2), hidden.split(21, dim=1), strict=True):
        found = dict(rank["poisoned"])
        torch.testing.assert_close(found.pop("hidden"), own, equal_nan=True)
        assert_same(found, state.tensors())
    assert hidden[0, 20].isnan().all()
    assert hidden.isnan().any(-1).sum() == 1


def test_a_sequence_too_short_to_share(results: Callable[[int], list[Any]]) -> None:
    for rank in results(3):
        assert rank["too short"] == (
            "tokens: expected stretches of at least 2 positions for each of the 3 ranks of a "
            "sequence, got positions 0 to 5"
        )


if __name__ == "__main__":
    main(sys.argv[1])
