"""Times training steps of several ranks that share one sequence beside those of one rank alone.

    torchrun --nproc-per-node 2 benchmarks/sequence_parallel.py
    torchrun --nproc-per-node 2 benchmarks/sequence_parallel.py --models 7m --recompute block

First, in float32 (TF32 off) on --check-length random bases, every parameter's gradient, averaged
over the ranks, against one rank's; nothing is timed if one is beyond the limit, and the exit code
is 1. Then bf16 autocast, float32 parameters, fused AdamW, next-token loss: some steps of all ranks,
then as many of the first rank alone on the whole sequence, the others idle, and both once more.
Each turn begins with an empty allocator, so that both have the device's memory to themselves, and
with steps that fill it and are not timed. NCCL on GPUs, gloo on the CPU. The weights are random, so
are the bases. `ratio` is alone / shared; every step is said as it ends, so that a run that is cut
short has shown something.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch import distributed as dist

sys.path.append(str(Path(__file__).parents[1] / "kernels" / "benchmarks"))

from gate import ratio
from model_step import GIB, configuration
from records import append_row, environment
from sizes import random_bases, size
from timing import synchronize

from genomamba.models import MambaForPretraining

LIMIT = 1e-4  # RMS of the difference of a gradient over its RMS
WARM_UP = 2
TURNS = 2


class Trainer:
    """A model with its optimiser: of the whole group, or of one rank."""

    def __init__(
        self, name: str, arguments: argparse.Namespace, device: torch.device, shared: bool
    ):
        torch.manual_seed(0)
        config = configuration(
            name,
            arguments.recompute,
            "float32",
            segment_length=arguments.segment_length,
            backend=arguments.backend,
        )
        self.device, self.shared = device, shared
        self.model = MambaForPretraining(config).to(device)
        self.model.backbone.sequence_group = dist.group.WORLD if shared else None
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.ms: list[float] = []  # of timed steps
        self.peak = 0  # of all

    def gradients(self, tokens: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """By parameter; of a group, the mean of its ranks' gradients."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype, enabled=dtype.itemsize < 4):
            loss = self.model.loss(tokens)
        loss.backward()
        grads = {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None}
        if self.shared:
            flat = torch.cat([grad.flatten() for grad in grads.values()])
            dist.all_reduce(flat)
            flat /= dist.get_world_size()
            parts = flat.split([grad.numel() for grad in grads.values()])
            for grad, part in zip(grads.values(), parts, strict=True):
                grad.copy_(part.view_as(grad))
        return grads

    def step(self, tokens: Tensor) -> float:
        """A training step, and its milliseconds."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        synchronize(self.device)
        start = time.perf_counter()
        self.gradients(tokens, torch.bfloat16)
        self.optimizer.step()
        synchronize(self.device)
        ms = (time.perf_counter() - start) * 1e3
        if self.device.type == "cuda":
            self.peak = max(self.peak, torch.cuda.max_memory_allocated(self.device))
        return ms

    def turn(self, tokens: Tensor, steps: int, text: str) -> None:
        """Steps of all ranks, or of the first one while the others wait."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        for i in range(WARM_UP + steps):
            barrier(self.device)
            if not self.shared and dist.get_rank() > 0:
                continue
            ms = self.step(tokens)
            if i >= WARM_UP:
                self.ms.append(ms)
            say(f"{text}, {'step' if i >= WARM_UP else 'warm-up'}: {ms:.1f} ms")


def farthest(shared: Trainer, alone: Trainer, length: int) -> tuple[float, str]:
    """The largest distance of a gradient, and the parameter; a NaN is the largest."""
    tokens = random_bases(1, length).to(shared.device)
    ours, truth = (trainer.gradients(tokens, torch.float32) for trainer in (shared, alone))
    if ours.keys() != truth.keys():
        return float("inf"), ", ".join(ours.keys() ^ truth.keys())
    distances = {name: ratio(ours[name], truth[name]) for name in truth}
    worst = max(distances, key=lambda n: distances[n] if distances[n] >= 0 else float("inf"))
    return distances[worst], worst


def barrier(device: torch.device) -> None:
    synchronize(device)
    dist.all_reduce(torch.zeros((), device=device))
    synchronize(device)


def say(text: str) -> None:
    """A line of progress, of the first rank."""
    if dist.get_rank() == 0:
        print(text, file=sys.stderr, flush=True)


def peaks(trainer: Trainer) -> list[float]:
    """GiB, of each rank; zero on a CPU."""
    own = torch.tensor(trainer.peak / GIB, device=trainer.device)
    gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, own)
    return [float(peak) for peak in gathered]


def measure(name: str, arguments: argparse.Namespace, device: torch.device) -> bool:
    """Checks one model, times it and writes the row; whether its gradients agree on all ranks."""
    say(f"{name}: gradients of {arguments.check_length} bases, shared and alone")
    shared, alone = (Trainer(name, arguments, device, of_all) for of_all in (True, False))
    distance, parameter = farthest(shared, alone, arguments.check_length)
    is_right = torch.tensor(int(distance <= arguments.limit), device=device)
    dist.all_reduce(is_right, dist.ReduceOp.MIN)
    first = dist.get_rank() == 0
    if first or not distance <= arguments.limit:
        text = f"{name}: gradient of {parameter} {distance:.1e} apart, the farthest"
        print(f"{text}; allowed {arguments.limit:g}", file=sys.stderr, flush=True)
    if not is_right:
        return False
    tokens = random_bases(1, arguments.length).to(device)
    for _ in range(TURNS):
        shared.turn(tokens, arguments.steps, f"{name}: {arguments.length} bases, shared")
        alone.turn(tokens, arguments.steps, f"{name}: {arguments.length} bases, alone")
    barrier(device)
    peak_by_rank = peaks(shared)
    if not first:
        return True
    ms = {t: statistics.median(t.ms) for t in (shared, alone)}
    row = {
        **environment(device),
        "ranks": dist.get_world_size(),
        "model": name,
        "L": arguments.length,
        "recompute": arguments.recompute,
        "segment": arguments.segment_length or "",
        "ms_shared": f"{ms[shared]:.2f}",
        "ms_alone": f"{ms[alone]:.2f}",
        "ratio": f"{ms[alone] / ms[shared]:.3f}",
        "tokens_s_shared": f"{arguments.length / ms[shared] * 1e3:.0f}",
        "tokens_s_alone": f"{arguments.length / ms[alone] * 1e3:.0f}",
        "peak_gib_by_rank": " ".join(f"{p:.2f}" for p in peak_by_rank) if shared.peak else "",
        "peak_gib_alone": f"{alone.peak / GIB:.2f}" if alone.peak else "",
        "gradient_distance": f"{distance:.1e}",
    }
    append_row(arguments.output, row)
    print(", ".join(f"{key} {value}" for key, value in row.items() if value != ""), flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--models", nargs="+", default=["1.4m"], help="1.4m, 7m, or d_model x n_layer: 128x12")
    add("--length", type=size, default=2**21, help="bases to time, such as 2^21")
    add("--check-length", type=size, default=2**14, help="bases of the gradients' comparison")
    add("--recompute", default="none", help="none, block, group:n")
    add("--segment-length", type=size, help="positions of a rank at a time")
    add("--backend", default="auto", choices=["auto", "triton", "torch"])
    add("--steps", type=int, default=4, help=f"timed ones a turn; each side has {TURNS}")
    add("--limit", type=float, default=LIMIT, help="of the gradients' distance")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--output", type=Path, default=Path(__file__).parent / "results" / "sequence_parallel.csv")
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("highest")  # no TF32
    device = torch.device(arguments.device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        agree = [measure(name, arguments, device) for name in arguments.models]
    finally:
        dist.destroy_process_group()
    return 0 if all(agree) else 1


if __name__ == "__main__":
    raise SystemExit(main())
