"""Rows shared out over two ranks: what the whole rows give, in the kernels of a GPU too.

Run as a program, this file is the ranks: it forks them, after torch and Triton were imported once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import typing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed

RANKS, ROWS, WIDTH, STATES = 2, 2, 3, 3
# 70 positions: 35 a rank, which are no whole tiles, and several segments in each direction.
LENGTHS = {"torch": 33, "triton": 70}
# By row. Sequences end inside both shares and where they meet; in the second row within the
# convolution's reach of that place.
BORDERS = {33: [(5, 16, 20), (15,)], 70: [(9, 35, 52), (33,)]}
CASES = [(form, packed) for form in ("inner", "block") for packed in (False, True)]
OUTPUTS = ("y", "conv_state", "scan_state")
WITHOUT_GRADIENTS = ("y alone", "conv_state alone", "scan_state alone")


def tensors(length, form):
    generator = torch.Generator().manual_seed(0)
    channels = 2 * WIDTH

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inside = {
        "conv_weight": normal(channels, 4),
        "conv_bias": normal(channels),
        "x_proj_weight": normal(2 + 2 * STATES, channels) / channels**0.5,
        "dt_proj_weight": normal(channels, 2),
        # Slow decay: what enters a share reaches its end, and further.
        "A": -0.02 * torch.exp(0.5 * normal(channels, STATES)),
        "D": normal(channels),
        "dt_bias": normal(channels) - 1,
        "conv_state": normal(ROWS, 3, channels),
        "scan_state": normal(ROWS, channels, STATES),
    }
    if form == "inner":
        return {"xz": normal(ROWS, length, 2 * channels), **inside}
    return {
        "stream": normal(ROWS, length, WIDTH),
        "norm_weight": normal(WIDTH),
        "in_proj_weight": normal(2 * channels, WIDTH) / WIDTH**0.5,
        "in_proj_bias": normal(2 * channels),
        "out_proj_weight": normal(WIDTH, channels) / channels**0.5,
        "out_proj_bias": normal(WIDTH),
        **inside,
    }


def packed_rows(length):
    at = torch.arange(length)
    rows = [torch.searchsorted(torch.tensor(b), at, right=True).int() for b in BORDERS[length]]
    return torch.stack(rows)


def run(form, packed, length, backend, dtype, group=None):
    """Outputs and gradients; of ranks, each rank's part, summed up where all have one."""
    from genomamba_kernels import Share, mamba_block, mamba_inner

    data = "xz" if form == "inner" else "stream"
    seq_idx = packed_rows(length) if packed else None
    at, share = slice(0, length), None
    cotangent = torch.randn(
        ROWS, length, 6 if form == "inner" else WIDTH, generator=torch.Generator().manual_seed(1)
    )
    if group is not None:
        rank = group.rank()
        at = slice(length * rank // RANKS, length * (rank + 1) // RANKS)
        goes_on = None
        if seq_idx is not None and rank > 0:
            goes_on = seq_idx[:, at.start - 1] == seq_idx[:, at.start]
        share = Share(group, goes_on)
    leaves = {name: t.to(dtype) for name, t in tensors(length, form).items()}
    leaves[data] = leaves[data][:, at].contiguous()
    leaves = {name: t.requires_grad_() for name, t in leaves.items()}
    arguments = {n: t for n, t in leaves.items() if n not in ("conv_state", "scan_state")}
    if form == "block":
        arguments["eps"] = 1e-5

    def outputs():
        y, states = (mamba_inner if form == "inner" else mamba_block)(
            **arguments,
            initial_state=(leaves["conv_state"], leaves["scan_state"]),
            return_final_state=True,
            seq_idx=None if seq_idx is None else seq_idx[:, at].contiguous(),
            share=share,
            backend=backend,
        )
        return y, *states

    y, *states = outputs()
    scalar = (y * cotangent[:, at]).sum()
    # Every rank has the states: an uneven part of their terms each.
    parts = 1.0 if group is None else (0.25, 0.75)[group.rank()]
    scalar = scalar + parts * sum(state.square().sum() for state in states)
    scalar.backward()
    found = dict(zip(OUTPUTS, (y, *states), strict=True))
    with torch.no_grad():
        found |= dict(zip(WITHOUT_GRADIENTS, outputs(), strict=True))
    grads = {f"d{name}": leaf.grad for name, leaf in leaves.items()}
    for name, grad in grads.items():
        if group is not None and name != f"d{data}":
            distributed.all_reduce(grad, group=group)
    return {name: tensor.detach().double() for name, tensor in (found | grads).items()}


def rank_main(rank, folder, backend):
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(seconds=100),
    )
    dtype = torch.float32 if backend == "triton" else torch.float64
    results = {
        case: run(*case, LENGTHS[backend], backend, dtype, distributed.group.WORLD)
        for case in CASES
    }
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def main(folder, backend):
    torch.set_num_threads(1)
    if backend == "triton":
        from genomamba_kernels.selective_scan import triton_plan

        # As on a card with many multiprocessors: several segments a row.
        triton_plan._multiprocessors = lambda device: 8
    torch.multiprocessing.start_processes(
        rank_main, (folder, backend), nprocs=RANKS, start_method="fork"
    )


def check_interpreter(triton):
    """Triton 3.6 interprets an array of one number as the number, which NumPy 2.4 refuses."""
    try:
        int(np.ones(1))
    except TypeError:
        if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7):
            pytest.skip("the interpreter of Triton before 3.7 needs NumPy before 2.4")


@pytest.fixture(scope="module", params=["torch", "triton"])
def results(request, tmp_path_factory):
    if request.param == "triton":
        check_interpreter(pytest.importorskip("triton"))
    folder = tmp_path_factory.mktemp(request.param)
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, __file__, str(folder), request.param]
    subprocess.run(command, check=True, timeout=300, env=environment)
    return request.param, [torch.load(Path(folder, f"{rank}.pt")) for rank in range(RANKS)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}{', packed' if c[1] else ''}")
def test_equals_the_whole_rows(results, case, rms_ratio):
    backend, ranks = results
    truth = run(*case, LENGTHS[backend], "reference", torch.float64)
    limit = 1e-5 if backend == "triton" else 1e-12
    data = ("y", "y alone", "dxz", "dstream")
    for name, expected in truth.items():
        if name in data:
            found = [torch.cat([rank[case][name] for rank in ranks], dim=1)]
        else:
            found = [rank[case][name] for rank in ranks]
        distances = [rms_ratio(tensor, expected) for tensor in found]
        assert max(distances) <= limit, (name, distances)


def test_a_share_shorter_than_what_the_convolution_passes_on():
    from genomamba_kernels import Share, mamba_inner

    arguments = tensors(2, "inner")
    del arguments["conv_state"], arguments["scan_state"]
    group = typing.cast(distributed.ProcessGroup, None)  # nothing is exchanged
    with pytest.raises(ValueError, match=r"share: expected at least d_conv - 1 = 3 .* got 2"):
        mamba_inner(**arguments, share=Share(group, None))


if __name__ == "__main__":
    main(*sys.argv[1:])
