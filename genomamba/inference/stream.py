"""Reads a record from its first base to its last, in pieces, with the state carried between them.

Memory depends on the piece, not on the record; the result is the unsplit pass's but for rounding.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genomamba.inference.budget import Budget
from genomamba.inference.classifier import LogProbabilities, WindowClassifier
from genomamba.models.state import MambaState
from genomamba.models.wholes import Adding
from genomamba_data_prep.codes import BASE_BITS, Codes, N


class _Advance(NamedTuple):
    state: MambaState
    add: Adding
    parts: list[Tensor]  # (1, features) of each stretch


class Stream:
    """One strand of one record, fed piece by piece; then it has the readouts.

    Args:
        classifier: the network.
        budget: bases at a time.
        length: bases of the record.
        step: bases between readouts; None is one at the end.

    Attributes:
        n_counts: (readouts,) N in the stretch that ends with each readout.
    """

    def __init__(
        self, classifier: WindowClassifier, budget: Budget, length: int, step: int | None
    ) -> None:
        self._classifier, self._budget = classifier, budget
        self._length, self._step = length, step or length
        self._position = 0
        self._state = classifier.model.backbone.initial_state(1)
        self._add: Adding | None = None
        self._pooled: Tensor | None = None  # (1, features): sum of all positions, or the last one
        self._logits: list[Tensor] = []
        self.n_counts: npt.NDArray[np.int64] = np.zeros(-(-length // self._step), np.int64)

    def feed(self, codes: Codes) -> None:
        """Take the next bases; any number of them."""
        while len(codes):
            # As many as the model works on at a time, so that a piece has one state after it.
            piece = codes[: self._classifier.limit(self._budget.bases)]
            advance = self._budget.attempt(lambda piece=piece: self._advance(piece))
            if advance is not None:
                self._take(piece, advance)
                codes = codes[len(piece) :]

    def log_probabilities(self) -> LogProbabilities:
        """(readouts, classes): after each step and, the last one, after the whole record."""
        assert self._position == self._length
        return self._classifier.log_probabilities(torch.cat(self._logits))

    def _stops(self, length: int) -> list[int]:
        """Where the stretches of the next bases end: at a step, or with the bases."""
        begin, end = self._position, self._position + length
        first = begin - begin % self._step + self._step
        return [*range(first, end, self._step), end]

    @torch.inference_mode()
    def _advance(self, codes: Codes) -> _Advance:
        """What the next bases give; changes nothing, so that it can be tried again."""
        model = self._classifier.model
        bounds = [stop - self._position for stop in self._stops(len(codes))]
        tokens, add = self._classifier.tokens(codes)[None], model.adding(self._add)

        def parts(hidden: Tensor, _: slice) -> list[Tensor]:
            stretches = pairwise([0, *bounds])
            return [add(hidden[:, a:b], tokens[:, a:b]) for a, b in stretches]

        [(found, state)] = model.backbone.map_segments(tokens, parts, state=self._state)
        return _Advance(state, add, found)

    @torch.inference_mode()
    def _take(self, codes: Codes, advance: _Advance) -> None:
        head, self._state, self._add = self._classifier.model.head, advance.state, advance.add
        is_n = (codes & BASE_BITS) == N
        begin = self._position
        for stop, part in zip(self._stops(len(codes)), advance.parts, strict=True):
            # In float64: a sum over a chromosome must not lose its last terms.
            part = part.double()
            if self._pooled is not None and head.pooling != "last":
                part = part + self._pooled
            self._pooled = part
            counted = is_n[self._position - begin : stop - begin]
            self.n_counts[self._position // self._step] += np.count_nonzero(counted)
            self._position = stop
            if stop % self._step == 0 or stop == self._length:
                whole = [(slice(0, stop), self._pooled)]
                self._logits.append(head.classify(whole, torch.Size((1, stop)), None))
