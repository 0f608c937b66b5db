"""Logits of windows of equal length, and of their prefixes, in one pass and bounded memory.

The model is causal, so that what it reads of a window's first l bases is the same whatever follows:
the state and the pooled sum after l bases give the head's logits of that prefix.

Letters: B windows of a batch, L their length, S readouts, T strands, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genomamba.inference.budget import Budget
from genomamba.models import MambaForClassification
from genomamba.models.backbone import grid_segment
from genomamba_data_prep.codes import BASE_BITS, Codes, reverse_complement
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


def bases_read(stops: Sequence[int], both_strands: bool) -> int:
    """Bases that the model reads of a window for its readouts."""
    return stops[-1] + (sum(stops) if both_strands else 0)


def manifest_logits(
    model: MambaForClassification,
    reader: ManifestReader,
    stops: Sequence[int],
    budget: Budget,
    done: Callable[[int], None],
    both_strands: bool = False,
) -> Logits:
    """Logits of all windows of a manifest, (S, windows, T, C), at each of ``stops``.

    Args:
        model: in evaluation mode, on any device.
        reader: of the manifest.
        stops: lengths of prefixes, increasing; the last is the windows' own.
        budget: bases at a time. A batch is as many windows as fit, or one, read in segments.
        done: is told the bases of each batch.
        both_strands: read the reverse complement too; T is 2 then, otherwise 1.
    """
    found: list[Logits] = []
    row, rows = 0, len(reader.labels)
    while row < rows:
        batch = np.arange(row, min(rows, row + max(1, budget.bases // reader.length)))
        codes, bases = reader.codes(batch), budget.bases
        logits = budget.attempt(
            lambda c=codes, b=bases: strand_logits(model, c, stops, b, both_strands)
        )
        if logits is not None:
            found.append(logits)
            row += len(batch)
            done(len(batch) * bases_read(stops, both_strands))
    return np.concatenate(found, axis=1)


def strand_logits(
    model: MambaForClassification,
    codes: Codes,
    stops: Sequence[int],
    max_bases: int,
    both_strands: bool,
) -> Logits:
    """Logits (S, B, T, C) of `prefix_logits`, of one strand or both; arguments as there."""
    forward = prefix_logits(model, codes, stops, max_bases)
    if not both_strands:
        return forward[:, :, None]
    # Read from the other end each prefix is a sequence of its own, and no state can be carried on.
    reverse = [
        prefix_logits(model, reverse_complement(codes[:, :stop]), [stop], max_bases)[0]
        for stop in stops
    ]
    return np.stack([forward, np.stack(reverse)], axis=2)


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
    state = model.backbone.initial_state(len(codes))
    pooled: Tensor | None = None  # sum over the positions so far, or the last one
    logits, add = [], model.adding()
    for begin, end in _pieces(stops, grid_segment(max(1, max_bases // len(codes)))):
        piece = tokens[:, begin:end]

        def part(hidden: Tensor, at: slice, piece: Tensor = piece) -> Tensor:
            return add(hidden, piece[:, at])

        for found, after in model.backbone.map_segments(piece, part, state=state):
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
