"""Exact samples of a Markov source at NumPy speed.

A sequence is a fixed function of its start context and of one uniform number a base: the base is
the number of the context's cumulative probabilities that the uniform number reaches. The sequence
is cut into segments that step side by side as one vector. A segment's start context is the end of
the one before, unknown at first, so all segments start from context 0; then each is run again from
the end of its predecessor, with the same uniform numbers, until it meets its first path. From there
on both paths are one, so that the end stands; where they never meet, the end has changed and the
next segment is run again. The result is exactly that of one step after another (a test compares).

Letters: R sequences (rows), L bases, S segments side by side, T steps a segment, k order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.codes import Codes
from genomamba_data_prep.simulate.words import Floats, Integers, conditional, left_marginal

BLOCK = 2**22  # bases generated at once; bounds the memory at about 6 bytes a base of it
SEGMENTS = (
    2**14
)  # side by side in a block: enough to hide the interpreter, few enough for the cache
Uniforms = npt.NDArray[np.uint32]


class MarkovSource:
    """One species' source.

    Args:
        word_probabilities: law of the words of k + 1 bases, (4 ** (k + 1),); see ``words``.
    """

    def __init__(self, word_probabilities: Floats) -> None:
        cumulative = conditional(word_probabilities).reshape(-1, 4).cumsum(1)[:, :3]
        # 32 bits: a probability is off by at most 2 ** -32, a KL rate by about the square of it.
        self.thresholds = np.ascontiguousarray((cumulative * 2.0**32).astype(np.uint32).T)
        self.contexts = left_marginal(word_probabilities).cumsum()
        self.n_contexts = len(self.contexts)
        self.k = (self.n_contexts.bit_length() - 1) // 2

    def start_contexts(self, rng: np.random.Generator, n: int) -> Integers:
        """Contexts from the stationary law, (n,)."""
        drawn = np.searchsorted(self.contexts, rng.random(n), side="right")
        return np.minimum(drawn, self.n_contexts - 1)  # the last sum may round below 1

    def _step(self, contexts: Integers, uniforms: Uniforms) -> Codes:
        """The next base of every context, (S,)."""
        first, second, third = (row.take(contexts) <= uniforms for row in self.thresholds)
        return np.add(first, second, dtype=np.uint8) + third

    def run(self, starts: Integers, uniforms: Uniforms) -> tuple[Codes, Integers]:
        """Step every segment from its start context.

        Args:
            starts: (S,) contexts.
            uniforms: (T, S), one number a base.

        Returns:
            bases (T, S) and the contexts after the last one, (S,).
        """
        bases = np.empty(uniforms.shape, dtype=np.uint8)
        contexts, mask = starts, self.n_contexts - 1
        for row, numbers in zip(bases, uniforms, strict=True):
            row[:] = self._step(contexts, numbers)
            contexts = ((contexts << 2) & mask) | row
        return bases, contexts

    def run_chained(
        self, starts: Integers, uniforms: Uniforms, segments: int
    ) -> tuple[Codes, Integers]:
        """Like ``run``, for R sequences of ``segments`` segments each.

        Args:
            starts: (R,) contexts before each sequence.
            uniforms: (T, R * segments), a sequence's segments side by side.

        Returns:
            bases (T, R * segments) and the contexts after each segment, (R, segments).
        """
        begins = np.zeros((len(starts), segments), dtype=np.intp)
        begins[:, 0] = starts
        bases, ends = self.run(begins.ravel(), uniforms)
        ends = ends.reshape(begins.shape)
        mask = self.n_contexts - 1
        while True:
            stale = np.zeros(begins.shape, dtype=bool)
            stale[:, 1:] = begins[:, 1:] != ends[:, :-1]
            active = np.flatnonzero(stale)
            if not len(active):
                return bases, ends
            old = begins.ravel()[active]
            begins[:, 1:] = ends[:, :-1]
            new = begins.ravel()[active]
            for row, numbers in zip(bases, uniforms, strict=True):
                stored = row[active]
                row[active] = self._step(new, numbers[active])
                old = ((old << 2) & mask) | stored
                new = ((new << 2) & mask) | row[active]
                apart = old != new
                active, old, new = active[apart], old[apart], new[apart]
                if not len(active):
                    break
            ends.ravel()[active] = new

    def sequences(self, rng: np.random.Generator, n: int, length: int) -> Codes:
        """Independent stationary sequences as codes, (n, length)."""
        out = np.empty((n, length), dtype=np.uint8)
        rows = max(1, BLOCK // max(1, length))
        for first in range(0, n, rows):
            block = out[first : first + rows]
            contexts = self.start_contexts(rng, len(block))
            for begin in range(0, length, BLOCK):
                contexts = self._fill(block[:, begin : begin + BLOCK], contexts, rng)
        return out

    def _fill(self, out: Codes, starts: Integers, rng: np.random.Generator) -> Integers:
        """Continue every sequence in ``out`` (R, L); return the contexts after it, (R,)."""
        rows, length = out.shape
        segments = max(1, min(SEGMENTS // rows, length // 64))
        steps = -(-length // segments)
        n_numbers = steps * rows * segments
        raw = rng.bit_generator.random_raw((n_numbers + 1) // 2)  # twice as fast as integers()
        uniforms = raw.view(np.uint32)[:n_numbers].reshape(steps, rows * segments)
        bases, ends = self.run_chained(starts, uniforms, segments)
        out[:] = bases.T.reshape(rows, segments * steps)[:, :length]
        # Segments overhang the length only in a sequence's last block, whose end nobody needs.
        return ends[:, -1]
