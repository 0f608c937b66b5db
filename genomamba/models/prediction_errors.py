"""What a sequence says beyond what a model expects of it: pooled errors of next-token prediction.

With p_t = softmax(W h_t), the model's expectation of token x_{t+1}, and features f_t of h_t, the
sum over t of (onehot(x_{t+1}) - p_t) f_t^T is the gradient of the sequence's log-likelihood with
respect to V at V = 0, in a model that expects softmax(W h_t + V f_t): a Fisher score (Jaakkola and
Haussler 1998, "Exploiting generative models in discriminative classifiers"). To first order, how
much likelier a sequence is with a class's own V_c than with V = 0 is V_c's inner product with it:
a linear map of the score compares what the classes' own language models would say. Given what came
before, the errors have mean zero, so that what differs from place to place in a genome, but is
foreseen by the model, cancels. In the mean of f_t it does not.

Letters: B rows, L length, V vocabulary, F features, P parts (pooling.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from genomamba.models.pooling import sequence_lengths


class Position(NamedTuple):
    """What the next position needs of the one before it."""

    expected: Tensor  # (B, 1, V), p_t
    features: Tensor  # (B, 1, F)
    seq_idx: Tensor | None  # (B, 1)


class ErrorSums:
    """Each part's sum of errors times features, stretch after stretch of the same rows.

    A position's share is that of the token there, which the position before it predicts. A
    sequence's first token has none; nor has a token N, the vocabulary's last, which says nothing.
    The last position is kept for the next stretch.

    Args:
        rows: (V, d_model), W: the embedding's, which is tied to it.
        features: of hidden (B, L, d_model), (B, L, F).
        last: of the stretch before, where these rows went on in another call.
    """

    def __init__(
        self, rows: Tensor, features: Callable[[Tensor], Tensor], last: Position | None = None
    ) -> None:
        self._rows, self._features = rows, features
        self.last = last

    @torch.no_grad()
    def __call__(self, hidden: Tensor, tokens: Tensor, seq_idx: Tensor | None = None) -> Tensor:
        """(P, (V - 1) F), at least float32: errors of all tokens but N, whose the others imply.

        Args:
            hidden: (B, L, d_model).
            tokens: (B, L) at the same positions.
            seq_idx: (B, L), which packed sequence a position belongs to; None is one a row.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            rows, tokens = self._rows, tokens.to(hidden.device).long()
            dtype = torch.promote_types(rows.dtype, torch.float32)
            owners = None if seq_idx is None else seq_idx.to(hidden.device)
            expected = functional.linear(hidden.to(dtype), rows.to(dtype)).softmax(-1)
            features = self._features(hidden.to(rows.dtype)).to(dtype)
            counts = tokens != len(rows) - 1
            if self.last is None:
                counts[:, 0] = False
            if owners is not None:
                counts &= owners == _shifted(owners, self.last and self.last.seq_idx)
            errors = functional.one_hot(tokens, len(rows)) - _shifted(
                expected, self.last and self.last.expected
            )
            errors = errors[..., :-1] * counts[..., None]
            before = _shifted(features, self.last and self.last.features)
            self.last = Position(
                expected[:, -1:].clone(),
                features[:, -1:].clone(),
                None if owners is None else owners[:, -1:],
            )
            if seq_idx is None:
                return (errors.mT @ before).flatten(1)
            lengths = sequence_lengths(seq_idx)
            parts = zip(
                errors.flatten(0, 1).split(lengths),
                before.flatten(0, 1).split(lengths),
                strict=True,
            )
            return torch.stack([e.mT @ f for e, f in parts]).flatten(1)


def _shifted(x: Tensor, last: Tensor | None) -> Tensor:
    """x one position later, after the last of the stretch before or, without one, its own first."""
    return torch.cat([x[:, :1] if last is None else last, x[:, :-1]], 1)
