"""Times decoding, one recurrent step a token, beside the time to read the weights once.

    python kernels/benchmarks/decode.py --models 1.4m 7m 130m --batches 1 64
    python kernels/benchmarks/decode.py --models 130m 1.4b --batches 1 64 --dtype bfloat16

Random weights. No step is timed before its logits agree with the forward pass in float32. The floor
is what the memory allows: the weights' bytes over the bandwidth measured here, by summing a tensor
far larger than the caches. ``of floor`` is floor / step: 100 % is the best that a step can do that
reads its weights once. A step includes the choice of the next token, as in `genomamba generate`.
With --dtype the matrices are of that type; A, D and the step size's bias stay float32.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from timing import milliseconds, synchronize
from torch import Tensor

from genomamba.inference.generation import Sampling
from genomamba.models import MambaConfig, MambaForPretraining, MambaState
from genomamba.models.stepping import Stepper

MODELS = {"1.4m": "128x12", "7m": "256x16", "130m": "768x24", "1.4b": "2048x48"}  # as the papers'
WIDE = ("A_log", "D", "dt_proj.bias")  # float32 whatever the rest is
CHECKED, LIMIT = 32, 1e-4  # positions; RMS of the difference over that of the logits
STREAM_BYTES = {"cpu": 2**29, "cuda": 2**33}
WARM_UP, FEWEST = 1, 2  # chunks
CHUNK = 16  # steps between two looks at the clock


class Row(NamedTuple):
    """One line of the table."""

    model: str
    dtype: str
    batch: int
    tokens_per_s: float
    ms: float
    floor_ms: float

    def line(self) -> str:
        return (
            f"| {self.model} | {self.dtype} | {self.batch} | {self.tokens_per_s:,.0f} | "
            f"{self.ms:.3f} | {self.floor_ms:.3f} | {self.floor_ms / self.ms:.0%} |"
        )


def bandwidth(device: torch.device) -> float:
    """Bytes a second that a sum reads."""
    x = torch.ones(STREAM_BYTES[device.type] // 4, device=device)
    x.sum()
    times = milliseconds(x.sum, 5, device)
    return x.numel() * 4 / (statistics.median(times) / 1e3)


@torch.no_grad()
def check(model: MambaForPretraining, tokens: Tensor) -> None:
    """Ends the program where the step is not the forward pass."""
    expected = model(tokens)
    step = Stepper(model, MambaState.zeros(model.config, len(tokens), tokens.device))
    found = torch.stack([step(tokens[:, at]) for at in range(tokens.shape[1])], dim=1)
    error = ((found - expected).square().mean() / expected.square().mean()).sqrt().item()
    if not error < LIMIT:
        sys.exit(f"the step's logits differ from the forward pass's by {error:.1e}: nothing timed")


def narrow(model: MambaForPretraining, dtype: torch.dtype) -> None:
    for name, parameter in model.named_parameters():
        if not name.endswith(WIDE):
            parameter.data = parameter.data.to(dtype)


@torch.inference_mode()
def step_ms(model: MambaForPretraining, batch: int, seconds: float) -> float:
    """Median over chunks of steps of the milliseconds a step."""
    weight = model.backbone.embedding.weight
    zeros = MambaState.zeros(model.config, batch, weight.device, weight.dtype)
    step, sampling = Stepper(model, zeros), Sampling()
    tokens = torch.zeros(batch, dtype=torch.long, device=weight.device)
    numbers = torch.rand(CHUNK, batch, dtype=torch.float64, device=weight.device)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < WARM_UP + FEWEST or time.perf_counter() - begin < seconds:
        synchronize(weight.device)
        start = time.perf_counter()
        for number in numbers:
            tokens = sampling.choose(step(tokens), number)
        synchronize(weight.device)
        times.append((time.perf_counter() - start) * 1e3 / CHUNK)
    return statistics.median(times[WARM_UP:])


def measure(args: argparse.Namespace, device: torch.device) -> Iterator[Row]:
    rate = bandwidth(device)
    print(f"memory: {rate / 1e9:,.1f} GB/s", file=sys.stderr)
    for name in args.models:
        width, depth = map(int, MODELS[name].split("x"))
        torch.manual_seed(0)
        with device:
            model = MambaForPretraining(MambaConfig(d_model=width, n_layer=depth)).eval()
        check(model, torch.randint(0, 5, (2, CHECKED), device=device))
        narrow(model, getattr(torch, args.dtype))
        read = sum(p.numel() * p.element_size() for p in model.parameters())
        for batch in args.batches:
            ms = step_ms(model, batch, args.seconds)
            yield Row(name, args.dtype, batch, batch / ms * 1e3, ms, read / rate * 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["1.4m", "7m"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seconds", type=float, default=3.0, help="a row, at least")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    cpu = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    print(f"torch {torch.__version__}, {where}", file=sys.stderr)
    print("| model | dtype | batch | tokens/s | ms a step | floor, ms | of floor |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in measure(args, device):
        assert math.isfinite(row.ms)
        print(row.line(), flush=True)


if __name__ == "__main__":
    main()
