"""Draws sequences from a next-base model, one base a step. Letters: B rows, L length, V vocabulary.

The random numbers of copy c of prompt p are a pure function of (seed, p, c) (Philox), so that a
sequence does not depend on how many are drawn beside it, but for the rounding of its logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genomamba.inference.step_graph import recorded
from genomamba.models import MambaForPretraining, MambaState
from genomamba.models.stepping import Step, Stepper
from genomamba_data_prep.codes import BASE_BITS, Codes, N
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.philox import key_of, philox4x32

SEGMENT = 1 << 16  # bases of a prompt that are read at a time
BLOCK = 1 << 12  # random numbers a row that are held; a multiple of four, Philox's words a counter
STREAM = 0x67656E  # tells these draws from the data's
GRAPH_FROM = 16  # bases: making a CUDA graph takes about as long as three steps without one


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a base is chosen from its logits.

    Args:
        temperature: logits are divided by it; 0 takes the most probable base.
        top_k: only the k most probable ones may be drawn; None is all.
        seed: of the random numbers, 0 to 2^64 - 1.
        allow_n: whether N may be drawn.
    """

    temperature: float = 1.0
    top_k: int | None = None
    seed: int = 0
    allow_n: bool = False

    def choose(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Tokens (B,) from logits (B, V) and numbers (B,) uniform in [0, 1): the inverse CDF."""
        logits = logits.to(torch.float64, copy=True)
        if not self.allow_n:
            logits[:, N] = -torch.inf
        if self.temperature == 0:
            return logits.argmax(-1)
        if self.top_k is not None and self.top_k < logits.shape[1]:
            kept = logits.topk(self.top_k, dim=-1)
            # By index: of equal logits no more than k.
            logits = torch.full_like(logits, -torch.inf).scatter(-1, kept.indices, kept.values)
        cumulative = (logits / self.temperature).softmax(-1).cumsum(-1)
        return (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(-1)


@dataclass(frozen=True, slots=True)
class Draw:
    """One sequence to draw: the prompt's number and codes, None without one, and the copy's."""

    prompt: int
    codes: Codes | None
    copy: int


def uniforms(draws: Sequence[Draw], seed: int, start: int, count: int) -> Tensor:
    """Numbers ``start`` to ``start + count``, multiples of 4, of each draw: (B, count) below 1."""
    counters = np.zeros((len(draws), count // 4, 4), dtype=np.uint32)
    counters[..., 0] = np.arange(start // 4, (start + count) // 4)
    counters[..., 1] = np.array([draw.copy for draw in draws])[:, None]
    counters[..., 2] = np.array([draw.prompt for draw in draws])[:, None]
    counters[..., 3] = STREAM
    words = philox4x32(counters.reshape(-1, 4), key_of(seed))
    return torch.from_numpy(words.reshape(len(draws), count) * 2.0**-32)


@torch.inference_mode()
def read_prompt(model: MambaForPretraining, codes: Codes) -> tuple[Tensor, MambaState]:
    """Logits (1, V) of the base after a prompt, and the state there; in constant memory."""
    device = model.backbone.embedding.weight.device
    state, hidden = None, None
    for start in range(0, len(codes), SEGMENT):
        tokens = torch.from_numpy(codes[start : start + SEGMENT] & BASE_BITS).to(device)
        hidden, state = model.backbone(tokens[None], state=state, return_state=True)
    assert hidden is not None  # FASTA has no empty record
    assert state is not None
    return model.head(hidden[:, -1]), state


class Drawing:
    """Sequences that grow by a base a call, side by side.

    On a GPU a CUDA graph holds the whole call, the choice of the base included: a step launches
    hundreds of kernels of a few microseconds, for which the host alone would take milliseconds.

    Args:
        step: of the model, at the state before the first base, of B rows; is moved on.
        logits: (B, V) of the first base; copied.
        sampling: how bases are chosen.
        graph: whether to record a CUDA graph.

    Attributes:
        logits: (B, V) of the next base.
        tokens: (B,) the base drawn last.
    """

    @torch.inference_mode()
    def __init__(self, step: Step, logits: Tensor, sampling: Sampling, graph: bool) -> None:
        self._step, self._sampling = step, sampling
        self.logits = logits.clone()
        self.tokens = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        self._uniform = torch.zeros(len(logits), dtype=torch.float64, device=logits.device)
        self._move: Callable[[], None] = self._advance
        if graph:
            self._move = recorded(self._advance, [self.logits, self.tokens, *step.tensors()])

    def _advance(self) -> None:
        self.tokens.copy_(self._sampling.choose(self.logits, self._uniform))
        self.logits.copy_(self._step(self.tokens))

    @torch.inference_mode()
    def __call__(self, uniform: Tensor) -> Tensor:
        """Draw a base a row with numbers (B,) uniform in [0, 1); returns ``tokens``."""
        self._uniform.copy_(uniform)
        self._move()
        return self.tokens


@torch.inference_mode()
def generate(
    model: MambaForPretraining,
    draws: Sequence[Draw],
    length: int,
    sampling: Sampling,
    advance: Callable[[int], None] = lambda bases: None,
) -> Codes:
    """Draws sequences side by side.

    A prompt is read by the forward pass; from there on a base takes one recurrent step, whose time
    and memory do not depend on how long the sequence is already; with attention the time does, and
    the memory is taken for prompt and length at once. Without a prompt there is nothing
    to predict the first base from: it is A, C, G or T with equal probability.

    Args:
        model: on any device.
        draws: B of them; a prompt that several share is read once. Those whose prompts have other
            lengths are drawn one after another where the state grows with the length (attention).
        length: L, bases to draw.
        sampling: how.
        advance: told now and then how many bases have been drawn.

    Returns:
        (B, L), without the prompts.

    Raises:
        InputError: the model gives NaN.
    """
    device = model.backbone.embedding.weight.device
    lengths = [0 if draw.codes is None else len(draw.codes) for draw in draws]
    if len(set(lengths)) > 1 and not model.config.can("state"):
        whole = np.empty((len(draws), length), dtype=np.uint8)
        for wanted in sorted(set(lengths)):
            rows = [row for row, known in enumerate(lengths) if known == wanted]
            whole[rows] = generate(model, [draws[row] for row in rows], length, sampling, advance)
        return whole
    logits, state = _after_prompts(model, draws)
    step = Stepper(model, state, length)
    del state  # of attention as large as the prompts; the stepper has its own
    graph = device.type == "cuda" and length >= GRAPH_FROM
    draw = Drawing(step, logits, sampling, graph)
    drawn = np.empty((len(draws), length), dtype=np.uint8)
    for start in range(0, length, BLOCK):
        count = min(BLOCK, length - start)
        numbers = uniforms(draws, sampling.seed, start, count + -count % 4).to(device)
        block = torch.empty(len(draws), count, dtype=torch.uint8, device=device)
        for at in range(count):
            block[:, at] = draw(numbers[:, at])
            if device.type == "cpu":
                advance(len(draws))
        drawn[:, start : start + count] = block.cpu().numpy()
        if draw.logits.isnan().any():
            raise InputError(
                "the model's logits are not numbers: its weights are damaged or diverged",
                fix="Use an earlier checkpoint",
            )
        if device.type != "cpu":  # steps are only queued until here
            advance(len(draws) * count)
    return drawn


def _after_prompts(model: MambaForPretraining, draws: Sequence[Draw]) -> tuple[Tensor, MambaState]:
    """Logits (B, V) of each draw's first base, and the state (B rows) before it."""
    weight = model.backbone.embedding.weight
    read: dict[int, tuple[Tensor, MambaState]] = {}
    for draw in draws:
        if draw.prompt in read:
            continue
        if draw.codes is None:
            equal = torch.zeros(1, model.config.vocab_size, device=weight.device)
            equal[:, N] = -torch.inf
            zeros = MambaState.zeros(model.config, 1, weight.device, weight.dtype)
            read[draw.prompt] = equal, zeros
        else:
            read[draw.prompt] = read_prompt(model, draw.codes)
    chosen = [read[draw.prompt] for draw in draws]
    rows = MambaState.joined([state for _, state in chosen])
    return torch.cat([logits for logits, _ in chosen]), rows
