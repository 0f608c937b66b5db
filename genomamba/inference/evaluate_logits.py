"""Logits of windows of equal length, and of their prefixes, in one pass and bounded memory.

The model is causal, so that what it reads of a window's first l bases is the same whatever follows:
the state and the pooled sum after l bases give the head's logits of that prefix.

Letters: B windows of a batch, L their length, S readouts, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genomamba.inference.budget import Budget
from genomamba.models import MambaForClassification, MambaState
from genomamba_data_prep.codes import BASE_BITS, Codes
from genomamba_data_prep.manifest_windows import ManifestReader

FIRST_PREFIX = 1 << 10

Logits = npt.NDArray[np.float64]


def prefix_lengths(length: int) -> list[int]:
    """The powers of two from ``FIRST_PREFIX`` on below ``length``, and ``length``."""
    powers = []
    power = FIRST_PREFIX
    while power < length:
        powers.append(power)
        power *= 2
    return [*powers, length]


def manifest_logits(
    model: MambaForClassification,
    reader: ManifestReader,
    stops: Sequence[int],
    budget: Budget,
    done: Callable[[int], None],
) -> Logits:
    """Logits of all windows of a manifest, (S, windows, C), at each of ``stops``.

    Args:
        model: in evaluation mode, on any device.
        reader: of the manifest.
        stops: lengths of prefixes, increasing; the last is the windows' own.
        budget: bases at a time. A batch is as many windows as fit, or one, read in segments.
        done: is told the bases of each batch.
    """
    found: list[Logits] = []
    row, rows = 0, len(reader.labels)
    while row < rows:
        batch = np.arange(row, min(rows, row + max(1, budget.bases // reader.length)))
        codes, bases = reader.codes(batch), budget.bases
        logits = budget.attempt(lambda c=codes, b=bases: prefix_logits(model, c, stops, b))
        if logits is not None:
            found.append(logits)
            row += len(batch)
            done(codes.size)
    return np.concatenate(found, axis=1)


@torch.inference_mode()
def prefix_logits(
    model: MambaForClassification, codes: Codes, stops: Sequence[int], max_bases: int
) -> Logits:
    """Logits (S, B, C) of the first ``stops`` bases of windows (B, L), read once from the left.

    Args:
        model: in evaluation mode.
        codes: (B, L), soft-mask bit or not.
        stops: lengths of prefixes, increasing, at most L.
        max_bases: bases that the model takes at a time, over the batch.
    """
    head, device = model.head, model.backbone.embedding.weight.device
    tokens = torch.from_numpy(codes & BASE_BITS).to(device)
    state: MambaState | None = None
    pooled: Tensor | None = None  # sum over the positions so far, or the last one
    logits = []

    def part(hidden: Tensor, _: slice) -> Tensor:
        return head.part(hidden)

    for begin, end in _pieces(stops, max(1, max_bases // len(codes))):
        for found, after in model.backbone.map_segments(tokens[:, begin:end], part, state=state):
            added = found.double()  # a sum over a million bases must not lose its last terms
            pooled = added if pooled is None or head.pooling == "last" else pooled + added
            state = after
        if end in stops:
            assert pooled is not None
            whole = [(slice(0, end), pooled)]
            logits.append(head.classify(whole, torch.Size((len(codes), end)), None).double())
    return torch.stack(logits).cpu().numpy()


def _pieces(stops: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """Cuts [0, stops[-1]) at every stop and into pieces of at most ``size``."""
    begin = 0
    for stop in stops:
        for start in range(begin, stop, size):
            yield start, min(start + size, stop)
        begin = stop
