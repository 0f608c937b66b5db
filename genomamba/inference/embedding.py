"""Hidden vectors of sequences of any length, pooled, in bounded memory.

All sequences of a file follow one another in one row of bases, which the model reads a segment at a
time: short ones share a segment, packed without padding, and a long one carries its state from one
segment to the next. ``seq_idx`` restarts the model where a sequence begins, exactly.

Letters: L bases of a segment, P sequences that it meets, F = d_model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from genomamba.models import MambaBackbone, MambaState
from genomamba.models.pooling import Pooling, last, sums
from genomamba_data_prep.codes import BASE_BITS, Codes, N
from genomamba_data_prep.compression import decompressed, raw_blocks
from genomamba_data_prep.fasta import read_pieces


class Stretch(NamedTuple):
    """Consecutive bases of one sequence; ``is_first`` where the sequence begins at ``start``."""

    record: str
    start: int
    is_first: bool
    codes: Codes


class Embedding(NamedTuple):
    """A sequence's vector (F,) float32; [start, end) is 0-based, half-open, on the record."""

    record: str
    start: int
    end: int
    n_fraction: float
    vector: npt.NDArray[np.float32]


def read_stretches(path: Path, window: int | None) -> Iterator[Stretch]:
    """A FASTA file's records, or their windows, as stretches.

    Windows follow one another from the record's first base; the last one ends with the record.

    Raises:
        InputError: not nucleotide FASTA; says where.
    """
    start = done = 0  # of the sequence; bases read of the record
    for piece in read_pieces(decompressed(raw_blocks(path), path), path):
        if piece.is_first:
            start = done = 0
        at = 0
        while at < len(piece.codes):
            is_first = done == 0 or (window is not None and done - start == window)
            start = done if is_first else start
            room = len(piece.codes) if window is None else start + window - done
            codes = piece.codes[at : at + room]
            yield Stretch(piece.name, start, is_first, codes)
            at, done = at + len(codes), done + len(codes)


@dataclass(slots=True)
class _Sequence:
    record: str
    start: int
    length: int = 0
    unknown: int = 0  # N among them
    here: int = 0  # bases in the segment that fills
    sum: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(()))


class Embedder:
    """Pools the hidden vectors of a stream of stretches.

    Args:
        backbone: on any device, in evaluation mode.
        pool: "mean" over a sequence's positions, or its "last" position.
        segment: L, bases that the model reads at a time; bounds the memory, and changes the
            result by rounding only.
    """

    def __init__(self, backbone: MambaBackbone, pool: Pooling, segment: int) -> None:
        self.backbone, self.pool, self.segment = backbone, pool, segment

    @torch.inference_mode()
    def __call__(self, stretches: Iterable[Stretch]) -> Iterator[Embedding]:
        """The sequences' vectors, in order, soon after each is read."""
        waiting: list[_Sequence] = []  # the first may have begun in an earlier segment
        codes: list[Codes] = []
        state: MambaState | None = None
        filled = 0
        for stretch in stretches:
            if stretch.is_first:
                waiting.append(_Sequence(stretch.record, stretch.start))
            at = 0
            while at < len(stretch.codes):
                part = stretch.codes[at : at + self.segment - filled]
                sequence = waiting[-1]
                sequence.here += len(part)
                sequence.unknown += int(np.count_nonzero((part & BASE_BITS) == N))
                codes.append(part)
                filled, at = filled + len(part), at + len(part)
                if filled == self.segment:
                    state = self._read(waiting, codes, state)
                    yield from map(self._finish, waiting[:-1])
                    waiting, codes, filled = waiting[-1:], [], 0
        if filled:
            self._read(waiting, codes, state)
        yield from map(self._finish, waiting)

    def _read(
        self, waiting: list[_Sequence], codes: list[Codes], state: MambaState | None
    ) -> MambaState:
        """One segment; returns the state after it."""
        device = self.backbone.embedding.weight.device
        met = [sequence for sequence in waiting if sequence.here]
        lengths = torch.tensor([sequence.here for sequence in met])
        seq_idx = None
        if len(met) > 1:
            numbers = torch.arange(len(met), dtype=torch.int32)
            seq_idx = torch.repeat_interleave(numbers, lengths)[None].to(device)
        if not met[0].length:
            state = None  # it belongs to a sequence that ended with the last segment
        tokens = torch.from_numpy(np.concatenate(codes) & BASE_BITS).to(device)
        hidden, after = self.backbone(tokens[None], state=state, return_state=True, seq_idx=seq_idx)
        pooled = (sums if self.pool == "mean" else last)(hidden, seq_idx)
        for sequence, part in zip(met, pooled.double().cpu().numpy(), strict=True):
            sequence.sum = sequence.sum + part if self.pool == "mean" else part
            sequence.length += sequence.here
            sequence.here = 0
        return after

    def _finish(self, sequence: _Sequence) -> Embedding:
        vector = sequence.sum / sequence.length if self.pool == "mean" else sequence.sum
        return Embedding(
            sequence.record,
            sequence.start,
            sequence.start + sequence.length,
            sequence.unknown / sequence.length,
            vector.astype(np.float32),
        )
