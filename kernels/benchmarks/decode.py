"""Times decoding, one recurrent step a token, beside the time to read the weights once.

    python kernels/benchmarks/decode.py --models 130m 1.4b --batches 1 64 --dtype bfloat16
    python kernels/benchmarks/decode.py --models 1.4m 7m --batches 1 64 --dtype float32

Random weights. Nothing is timed before the step's logits, as launched and as a CUDA graph replays
them, agree with the forward pass: in float32 with its logits, in --dtype with its error. On a GPU
ours is timed with the graph, as `genomamba generate` runs it, and without (`eager`); mamba-ssm's
step, where its kernels can be imported, likewise under a graph and with our choice of the token.
They take turns, some steps each. A step includes the choice of the next token.

The floor is what the memory allows: the weights' bytes over the bandwidth measured here, by summing
a tensor far larger than the caches. ``of_floor`` is floor / step: 1 is the best that a step can do
that reads its weights once. ``floor_state_ms`` adds the state, read and written once. With --dtype
the matrices are of that type; A, D and the step size's bias stay float32, as does our scan's state;
mamba-ssm's state is of --dtype.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from peer_step import PeerStep
from records import append_row, environment
from timing import milliseconds, synchronize
from torch import Tensor

from genomamba.inference.generation import Drawing, Sampling
from genomamba.inference.step_graph import recorded
from genomamba.models import MambaConfig, MambaForPretraining, MambaState
from genomamba.models.stepping import Step, Stepper

MODELS = {"1.4m": "128x12", "7m": "256x16", "130m": "768x24", "1.4b": "2048x48"}  # as the papers'
WIDE = ("A_log", "D", "dt_proj.bias")  # float32 whatever the rest is
CHECKED = 32  # positions
LIMIT = 1e-4  # float32: RMS of the difference over that of the logits
TIMES_FORWARD = 2  # --dtype: error of the step over that of the forward pass
STREAM_BYTES = {"cpu": 2**29, "cuda": 2**33}
WARM_UP, FEWEST = 1, 3  # chunks
CHUNK = 16  # steps between two looks at the clock


def bandwidth(device: torch.device) -> float:
    """Bytes a second that a sum reads."""
    x = torch.ones(STREAM_BYTES[device.type] // 4, device=device)
    x.sum()
    times = milliseconds(x.sum, 5, device)
    return x.numel() * 4 / (statistics.median(times) / 1e3)


def our_step(model: MambaForPretraining, batch: int) -> Stepper:
    weight = model.backbone.embedding.weight
    return Stepper(model, MambaState.zeros(model.config, batch, weight.device, weight.dtype))


def logits(step: Step, tokens: Tensor, graph: bool) -> Tensor:
    """(B, L, V), token after token."""
    given, found = tokens[:, 0].clone(), step(tokens[:, 0]).clone()
    for tensor in step.tensors():
        tensor.zero_()

    def advance() -> None:
        found.copy_(step(given))

    move = recorded(advance, [found, *step.tensors()]) if graph else advance
    rows = []
    for at in range(tokens.shape[1]):
        given.copy_(tokens[:, at])
        move()
        rows.append(found.to(torch.float32, copy=True))
    return torch.stack(rows, dim=1)


def rms(x: Tensor) -> float:
    return x.double().square().mean().sqrt().item()


def ways(device: torch.device) -> dict[str, tuple[Callable[..., Step], bool]]:
    """How a step is made, and whether it is recorded, of each contender; ours comes first."""
    if device.type != "cuda":
        return {"ours": (our_step, False)}
    peer = {"peer": (PeerStep, True)} if PeerStep.is_there else {}
    return {"ours": (our_step, True), "eager": (our_step, False), **peer}


@torch.inference_mode()
def check(model: MambaForPretraining, tokens: Tensor, truth: Tensor | None) -> Tensor:
    """Ends the program where a step is not the forward pass, whose logits it returns.

    Args:
        model: the network.
        tokens: (B, L).
        truth: logits in float32, to measure errors of a shorter type; None: this is float32.
    """
    forward = model(tokens)
    expected, limit = (forward, LIMIT * rms(forward)) if truth is None else (truth, 0.0)
    if truth is not None:
        limit = TIMES_FORWARD * rms(forward.float() - truth)
    for name, (make, graph) in ways(tokens.device).items():
        error = rms(logits(make(model, len(tokens)), tokens, graph) - expected)
        if not error <= limit:
            sys.exit(
                f"{name}: the step's logits are {error:.1e} from the forward pass's, allowed "
                f"{limit:.1e}: nothing timed"
            )
    return forward


def narrow(model: MambaForPretraining, dtype: torch.dtype) -> None:
    for name, parameter in model.named_parameters():
        if not name.endswith(WIDE):
            parameter.data = parameter.data.to(dtype)


@torch.inference_mode()
def step_ms(model: MambaForPretraining, batch: int, seconds: float) -> dict[str, float]:
    """Median over chunks of steps of the milliseconds a step, of each contender."""
    device = model.backbone.embedding.weight.device
    first = torch.zeros(batch, model.config.vocab_size, device=device)
    contenders = {
        name: Drawing(make(model, batch), first, Sampling(), graph)
        for name, (make, graph) in ways(device).items()
    }
    numbers = torch.rand(CHUNK, batch, dtype=torch.float64, device=device)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    begin = time.perf_counter()
    while len(times[order[0]]) < WARM_UP + FEWEST or time.perf_counter() - begin < seconds:
        for name in order:
            synchronize(device)
            start = time.perf_counter()
            for number in numbers:
                contenders[name](number)
            synchronize(device)
            times[name].append((time.perf_counter() - start) * 1e3 / CHUNK)
        order.reverse()
    for name, drawing in contenders.items():
        if not drawing.logits.isfinite().all():
            sys.exit(f"{name}: logits that are not finite")
    return {name: statistics.median(values[WARM_UP:]) for name, values in times.items()}


def measure(args: argparse.Namespace, device: torch.device) -> Iterator[dict[str, Any]]:
    rate = bandwidth(device)
    print(f"memory: {rate / 1e9:,.1f} GB/s", file=sys.stderr)
    for name in args.models:
        width, depth = map(int, (MODELS.get(name) or name).split("x"))
        torch.manual_seed(0)
        with device:
            model = MambaForPretraining(MambaConfig(d_model=width, n_layer=depth)).eval()
        tokens = torch.randint(0, 5, (2, CHECKED), device=device)
        truth, dtype = check(model, tokens, None), getattr(torch, args.dtype)
        if dtype != torch.float32:
            narrow(model, dtype)
            check(model, tokens, truth)
        read = sum(p.numel() * p.element_size() for p in model.parameters())
        for batch in args.batches:
            state = sum(t.numel() * t.element_size() for t in our_step(model, batch).tensors())
            ms = step_ms(model, batch, args.seconds)
            floor, peer = read / rate * 1e3, ms.get("peer")
            yield {
                "model": name,
                "dtype": args.dtype,
                "B": batch,
                "tokens_s": f"{batch / ms['ours'] * 1e3:.0f}",
                "ms": f"{ms['ours']:.4f}",
                "eager_ms": f"{ms['eager']:.4f}" if "eager" in ms else "",
                "floor_ms": f"{floor:.4f}",
                "floor_state_ms": f"{(read + 2 * state) / rate * 1e3:.4f}",
                "of_floor": f"{floor / ms['ours']:.3f}",
                "peer_ms": f"{peer:.4f}" if peer else "",
                "peer_norm": ("its own" if PeerStep.own_norm else "ours") if peer else "",
                "speedup": f"{peer / ms['ours']:.2f}" if peer else "",
            }
        del model
        if device.type == "cuda":
            torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--models", nargs="+", default=["1.4m", "7m"], help=f"{', '.join(MODELS)}, or 128x12")
    add("--batches", nargs="+", type=int, default=[1, 64])
    add("--dtype", choices=("float32", "bfloat16"), default="float32")
    add("--seconds", type=float, default=4.0, help="a row, at least")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--output", type=Path, default=Path(__file__).parent / "results" / "decode.csv")
    args = parser.parse_args()
    device = torch.device(args.device)
    constant = environment(device)
    cpu = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    print(f"torch {torch.__version__}, {where}", file=sys.stderr)
    for number, row in enumerate(measure(args, device)):
        append_row(args.output, {**constant, **row})
        if number == 0:
            print("| " + " | ".join(row) + " |\n" + "| --- " * len(row) + "|")
        print("| " + " | ".join(map(str, row.values())) + " |", flush=True)


if __name__ == "__main__":
    main()
