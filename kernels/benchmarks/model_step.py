"""Times whole training steps, ours and mamba-ssm's in turn, and says what memory they take.

    python kernels/benchmarks/model_step.py --models 1.4m --shapes 1x2^20 --recompute none block
    python kernels/benchmarks/model_step.py --models 1.4m 7m --forward-only
    python kernels/benchmarks/model_step.py --shapes 1x248956422 --segment-length 262144 --steps 1

bf16 autocast, float32 parameters, fused AdamW, next-token loss over all positions of random bases.
Nothing is timed before loss and gradients agree with the peer's (or, without one, with the torch
backend's) for the same weights in float32. README.md says what the columns mean.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gate import ratio
from records import append_row, environment
from sizes import random_bases, size
from timing import milliseconds, synchronize
from torch import Tensor, nn

from genomamba.models import MambaConfig, MambaForPretraining

try:
    from peer_model import PeerForPretraining
except ImportError:
    PeerForPretraining = None

MODELS = {"1.4m": "128x12", "7m": "256x16"}  # d_model x n_layer, as configs/model
SHAPES = ["1x2^20", "8x2^17", "128x2^13"]
GIB = 2**30
LIMIT = 1e-3  # relative, in float32: loss and every gradient


@dataclass
class Runner:
    """A model with its optimiser, and what was measured of it."""

    who: str  # "ours" or "mamba-ssm"
    recompute: str
    residual: str
    model: nn.Module
    step: Callable[[], Any]
    warm_up: Callable[[], Any]  # the step, or one of as many segments as meet all its kernels
    own_bytes: int = 0  # parameters, gradients, optimiser's state
    reserved: int = 0
    peak: int = 0
    ms: list[float] = field(default_factory=list)


def gradients(loss: Tensor, model: nn.Module) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def disagreements(config: dict[str, Any], device: torch.device, *, peer: bool) -> Iterator[str]:
    """Loss and gradients in float32 for the same weights: ours against another implementation."""
    torch.manual_seed(0)
    tokens = torch.randint(4, (2, 1500), device=device)
    model = MambaForPretraining(MambaConfig(**config)).to(device)
    loss = model.loss(tokens)
    if not peer:
        other = MambaForPretraining(MambaConfig(**{**config, "backend": "torch"})).to(device)
        other.load_state_dict(model.state_dict())
        truth = other.loss(tokens)
    else:
        other = PeerForPretraining(model.config, recompute=False).to(device)
        other.take_weights(model)
        truth = other(tokens, padded=False)
    if not abs(loss.item() / truth.item() - 1) <= LIMIT:
        yield f"loss: expected {truth.item()}, got {loss.item()}"
    ours, theirs = gradients(loss, model), gradients(truth, other)
    for name in theirs:
        distance = ratio(ours[name], theirs[name])
        if not distance <= LIMIT:
            yield f"gradient of {name}: {distance:.1e} apart, allowed {LIMIT:g}"


def configuration(model: str, recompute: str, residual: str, **fields: Any) -> MambaConfig:
    d_model, n_layer = map(int, MODELS.get(model, model).split("x"))
    return MambaConfig(
        d_model=d_model,
        n_layer=n_layer,
        recompute=recompute,
        residual_in_fp32=residual == "float32",
        **fields,
    )


def build(who: str, config: MambaConfig, tokens: Tensor, *, forward_only: bool) -> Runner:
    """A model on the tokens' device with its training step, or its forward pass."""
    torch.manual_seed(0)
    if who == "ours":
        model: nn.Module = MambaForPretraining(config)
        compute = MambaForPretraining.loss
    else:
        tokens = tokens.long()  # what its cross-entropy takes
        model = PeerForPretraining(config, recompute=config.recompute == "block")
        compute = PeerForPretraining.__call__
    model.to(tokens.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def forward(tokens: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(tokens.device.type, torch.bfloat16):
            return compute(model, tokens)

    def train(tokens: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(tokens.device.type, torch.bfloat16):
            loss = compute(model, tokens)
        loss.backward()
        optimizer.step()
        return loss.detach()

    residual = "float32" if who != "ours" or config.residual_in_fp32 else "bfloat16"
    function = forward if forward_only else train
    few = tokens[:, : 2 * (config.segment_length or tokens.shape[1])]
    step, warm_up = partial(function, tokens), partial(function, few)
    return Runner(who, config.recompute, residual, model, step, warm_up)


def allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def warm_up(runner: Runner, before: int, device: torch.device, steps: int) -> None:
    """First steps, alone on the device as far as memory goes; `before` was held before it came."""
    reserved = 0
    if device.type == "cuda":
        torch.cuda.empty_cache()
        reserved = torch.cuda.memory_reserved(device) - (allocated(device) - before)
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(steps):
        loss = runner.warm_up()
    if not bool(loss.isfinite()):
        raise ArithmeticError(f"{runner.who}, {runner.recompute}: loss is {float(loss)}")
    runner.own_bytes = allocated(device) - before
    if device.type == "cuda":
        runner.reserved = torch.cuda.max_memory_reserved(device) - reserved


def time_steps(runners: list[Runner], steps: int, device: torch.device) -> None:
    """Steps of all runners in turn; every step's time, and the peak over them."""
    for round_ in range(steps):
        for runner in runners if round_ % 2 == 0 else runners[::-1]:
            synchronize(device)
            others = allocated(device) - runner.own_bytes
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                runner.step()
                end.record()
                synchronize(device)
                runner.ms.append(start.elapsed_time(end))
                peak = torch.cuda.max_memory_allocated(device) - others
                runner.peak = max(runner.peak, peak)
            else:
                runner.ms += milliseconds(runner.step, 1, device)


def compare(name: str, shape: str, arguments: argparse.Namespace, constant: dict[str, str]) -> None:
    """One model at one shape: all variants of ours and of the peer."""
    device = torch.device(arguments.device)
    batch, length = map(size, shape.split("x"))
    tokens = random_bases(batch, length).to(device)
    wanted = [
        ("ours", recompute, residual)
        for recompute in (["none"] if arguments.forward_only else arguments.recompute)
        for residual in arguments.residual
    ]
    if not arguments.no_peer:
        kept = ["none"] if arguments.forward_only else arguments.peer_recompute
        wanted += [("mamba-ssm", recompute, "float32") for recompute in kept]
    runners = []
    for who, recompute, residual in wanted:
        config = configuration(
            name,
            recompute,
            residual,
            segment_length=arguments.segment_length if who == "ours" else None,
            backend=arguments.backend,
        )
        before = allocated(device)
        runner = build(who, config, tokens, forward_only=arguments.forward_only)
        try:
            warm_up(runner, before, device, arguments.warm_up)
            runners.append(runner)
        except torch.OutOfMemoryError:
            print(f"{who}, {name}, {shape}, recompute {recompute}: out of memory", flush=True)
        del runner
        gc.collect()
    time_steps(runners, arguments.steps, device)
    peers = {r.recompute: statistics.median(r.ms) for r in runners if r.who != "ours"}
    for runner in runners:
        write(runner, name, (batch, length), tokens, peers, arguments, constant)


def write(
    runner: Runner,
    name: str,
    shape: tuple[int, int],
    tokens: Tensor,
    peers: dict[str, float],
    arguments: argparse.Namespace,
    constant: dict[str, str],
) -> None:
    quartiles = statistics.quantiles(runner.ms, n=4) if len(runner.ms) > 1 else runner.ms * 3
    ms = quartiles[1]
    ours = runner.who == "ours"
    # The tokens belong to the step, too; the peer's runner holds its own, in int64.
    peak = (runner.peak + tokens.nbytes * ours) / GIB if runner.peak else None
    row = {
        **constant,
        "who": runner.who,
        "model": name,
        "B": shape[0],
        "L": shape[1],
        "mode": "forward" if arguments.forward_only else "train",
        "recompute": runner.recompute,
        "segment": (arguments.segment_length or "") if ours else "",
        "residual": runner.residual,
        "ms": f"{ms:.2f}",
        "ms_q1": f"{quartiles[0]:.2f}",
        "ms_q3": f"{quartiles[2]:.2f}",
        "mtok_s": f"{tokens.numel() / ms / 1e3:.3f}",
        "peak_gib": f"{peak:.2f}" if peak else "",
        "reserved_gib": f"{runner.reserved / GIB:.2f}" if runner.reserved else "",
        "speedup_over_peer": f"{peers['none'] / ms:.2f}" if ours and "none" in peers else "",
        "speedup_over_peer_block": f"{peers['block'] / ms:.2f}"
        if ours and "block" in peers
        else "",
    }
    append_row(arguments.output, row)
    print(
        f"{runner.who:<9} {name:<5} {shape[0]:>3} x {shape[1]:<8} {row['mode']:<7} recompute"
        f" {runner.recompute:<8} residual {runner.residual:<8} {ms:>8.1f} ms {row['mtok_s']:>7}"
        f" Mtok/s, peak {row['peak_gib']:>6} GiB, reserved {row['reserved_gib']:>6}"
        f" | x{row['speedup_over_peer']} none, x{row['speedup_over_peer_block']} block",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--models", nargs="+", default=["1.4m"], help="1.4m, 7m, or d_model x n_layer: 128x12")
    add("--shapes", nargs="+", default=SHAPES, help="B x L such as 1x2^20")
    add("--recompute", nargs="+", default=["none"], help="ours: none, block, group:n")
    add("--segment-length", type=int, help="ours: trains in segments of this many positions")
    add("--residual", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    add("--peer-recompute", nargs="+", default=["none", "block"], choices=["none", "block"])
    add("--forward-only", action="store_true")
    add("--no-peer", action="store_true", help="leave the peer out where it could run")
    add("--backend", default="auto", choices=["auto", "triton", "torch"])
    add("--warm-up", type=int, default=2, help="steps before the timed ones, at least 1")
    add("--steps", type=int, default=7, help="timed ones")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--output", type=Path, default=Path(__file__).parent / "results" / "model_step.csv")
    arguments = parser.parse_args()
    is_cuda = torch.device(arguments.device).type == "cuda"
    arguments.no_peer |= PeerForPretraining is None or not is_cuda  # it runs nowhere else
    if min(arguments.warm_up, arguments.steps) < 1:
        parser.error("--warm-up and --steps: expected at least 1 each")
    device = torch.device(arguments.device)
    constant = environment(device)
    print(", ".join(f"{name} {value}" for name, value in constant.items() if value), flush=True)

    small = {"d_model": 64, "n_layer": 2, "backend": arguments.backend}
    wrong = list(disagreements(small, device, peer=not arguments.no_peer))
    if wrong:
        print("\n".join([*wrong, "nothing was timed"]), file=sys.stderr)
        return 1
    for name in arguments.models:
        for shape in arguments.shapes:
            compare(name, shape, arguments, constant)
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
