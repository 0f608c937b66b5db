"""What ``benchmarks/baselines.py`` times: a training step, and a step of decoding."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from baseline_table import Figure
from decode import narrow
from timing import synchronize

from genomamba.inference.generation import Drawing, Sampling
from genomamba.models import MambaConfig, MambaForPretraining, MambaState
from genomamba.models.stepping import Stepper

GIB = 1 << 30
SECONDS = 1.0  # that are timed, at least
MOST = 50  # repetitions
CHUNK = 16  # steps of decoding between two looks at the clock
HEAD = 64  # width of an attention head in decoding, as usual


def build(mixer: str, shape: str, device: torch.device, **fields: int) -> MambaForPretraining:
    """Of fresh weights, the same each time."""
    width, depth = map(int, shape.split("x"))
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(False)  # which a training before this may have asked for
    config = MambaConfig.from_dict(
        {"mixer": mixer, "d_model": width, "n_layer": depth, "mlp_ratio": 1, **fields}
    )
    with device:
        return MambaForPretraining(config)


def timed(function: Callable[[], object], device: torch.device) -> tuple[int, float]:
    """Calls, after one that is not counted, and the seconds they took."""
    function()
    synchronize(device)
    begin, calls = time.perf_counter(), 0
    while calls == 0 or (time.perf_counter() - begin < SECONDS and calls < MOST):
        function()
        synchronize(device)
        calls += 1
    return calls, time.perf_counter() - begin


def step(mixer: str, shape: str, length: int, batch: int, device: torch.device) -> list[Figure]:
    """Tokens a second, and on a GPU the most GiB held, of training steps with AdamW."""
    model = build(mixer, shape, device, filter_length=length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = torch.randint(4, (batch, length), device=device, dtype=torch.uint8)
    is_cuda = device.type == "cuda"

    def train() -> None:
        with torch.autocast("cuda", torch.bfloat16) if is_cuda else nullcontext():
            loss = model.loss(tokens)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    if is_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    calls, seconds = timed(train, device)
    told = (count(model), batch, calls * tokens.numel(), seconds, "budget", seconds / calls)
    rows: list[Figure] = [Figure("tokens_per_s", calls * tokens.numel() / seconds, *told)]
    if is_cuda:
        rows.append(Figure("peak_gib", torch.cuda.max_memory_allocated(device) / GIB, *told))
    return rows


@torch.inference_mode()
def decode(mixer: str, shape: str, prompt: int, batch: int, device: torch.device) -> list[Figure]:
    """Tokens a second after a prompt, drawn as `genomamba generate` draws them."""
    if mixer == "attention":
        width, depth = map(int, shape.split("x"))
        heads = max(1, width // HEAD)
        model = build(mixer, f"{width}x{max(1, depth // 2)}", device, mlp_ratio=4, n_heads=heads)
    else:
        model = build(mixer, shape, device)
    model.eval()
    if device.type == "cuda":
        narrow(model, torch.bfloat16)
    tokens = torch.randint(4, (batch, prompt), device=device)
    # Read once for all rows, as `genomamba generate` reads a prompt that several share.
    hidden, read = model.backbone(tokens[:1], return_state=True)
    state = MambaState(
        tuple(layer._make(t.expand(batch, *t.shape[1:]) for t in layer) for layer in read.layers)
    )
    step = Stepper(model, state, CHUNK * (MOST + 1))  # what `timed` calls at most
    del state, read
    logits = model.head(hidden[:, -1]).expand(batch, -1)
    draw = Drawing(step, logits, Sampling(), graph=device.type == "cuda")
    numbers = torch.rand(CHUNK, batch, dtype=torch.float64, device=device)

    def go_on() -> None:
        for number in numbers:
            draw(number)

    calls, seconds = timed(go_on, device)
    drawn = calls * CHUNK * batch
    return [Figure("tokens_per_s", drawn / seconds, count(model), batch, drawn, seconds)]


def count(model: MambaForPretraining) -> int:
    """Parameters, the embedding's included."""
    return sum(parameter.numel() for parameter in model.parameters())
