"""From hidden vectors to logits: the next-token head and the sequence-classification head."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import get_args

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.nn import functional

from genomamba.models.config import MambaConfig
from genomamba.models.pooling import Pooling, join, last, sums

EXPANSION = 2  # features of a classifier / d_model


class NextTokenHead(nn.Module):
    """Logits of the next token; the weight is the embedding's where they are tied.

    Shapes: hidden (B, L, d_model) -> logits (B, L, vocab_size); the padded rows stay inside.

    Logits are at least float32, under autocast too: rounding them to bfloat16 would add an error
    of more than half the size of all the layers'.
    """

    def __init__(self, config: MambaConfig, embedding: nn.Embedding) -> None:
        super().__init__()
        self.vocab_size = config.vocab_size
        if config.tie_embeddings:
            self.weight = embedding.weight
        else:
            self.weight = nn.Parameter(torch.empty_like(embedding.weight))
            nn.init.normal_(self.weight, std=config.d_model**-0.5)

    def rows(self) -> Tensor:
        """The weight (vocab_size, d_model) without the padded rows."""
        return self.weight[: self.vocab_size]

    def forward(self, hidden: Tensor) -> Tensor:
        weight = self.rows()
        dtype = torch.promote_types(torch.promote_types(hidden.dtype, weight.dtype), torch.float32)
        with torch.autocast(hidden.device.type, enabled=False):
            return functional.linear(hidden.to(dtype), weight.to(dtype))


class ClassificationHead(nn.Module):
    """Logits of whole sequences: gated features, pooled, standardised, mapped linearly.

        f_t = silu(W_a h_t) * W_g h_t
        z = (pool_t f_t - m) / s * L / L_train
        logits = W z + b, with W = b = 0 at first

    Genomes of related species differ in the frequencies of short words by a few per cent, so what
    tells them apart is a small shift of the pooled features on a large common mean. Four parts
    make such shifts quicker to learn than by a linear layer on the mean hidden vector:

    - *Gated features.* The mean of h_t itself tells the classes apart only as far as the untrained
      backbone happens to mix neighbouring bases non-linearly. Products of two projections of h_t
      hold the joint counts of the bases it remembers.
    - *Standardising.* The mean of L weakly dependent terms varies by L^-1/2 around the common mean.
      With running mean m and standard deviation s of the pooled features, z is of order one at any
      length, as the linear layer and its learning rate expect, and the gradient is not dominated by
      the common mean times the batch's chance surplus of one class. In training a batch first
      updates m and s (no gradient flows through them), so that |z| is bounded from the first step;
      in evaluation they are constants and rows do not mix.
    - *Following.* A step of the optimiser moves the features' common mean by more than the means of
      long windows differ, and m lags behind. In training a batch of S sequences is centred on m
      and its own mean, S / (S + 10) of it, through which the gradient flows: what moves all
      sequences alike changes little, and is hardly asked for. A batch of one works.
    - *Length.* Evidence adds up along a sequence: the logits of a sequence shorter than those in
      training (L_train is their running mean length) shrink in proportion. Without the factor a
      short sequence's noise would pass for certainty. It applies to mean pooling only.

    With ``lengths`` (R rungs), m, s, L_train, W and b are of a rung each, and a sequence is judged
    by the longest rung that it fills, or the shortest one: what tells classes apart in a thousand
    bases is not what does in many thousands, where differences within a genome outweigh counting
    noise. The features are shared. ``MambaForClassification.readouts`` trains all rungs at once.

    Args:
        config: gives d_model.
        n_classes: number of classes (C).
        pooling: "mean" over a sequence's positions, its "last" position, or "errors".
        lengths: of the rungs in bases, each a multiple of the one before; none is a single rung for
            all lengths. Mean pooling only.
        expansion: features / d_model.

    Raises:
        ValueError: fewer than two classes, an unknown pooling, lengths that are no rungs, no
            features, or pooling "errors" without tied embeddings, whose rows predict tokens.
    """

    averaged_batches = 10  # memory of the running statistics
    lagging = 10.0  # sequences whose mean is about as far off as the running mean lags in training
    eps = 1e-12  # far below the variance of a mean over a million bases

    running_mean: Tensor
    running_var: Tensor
    running_length: Tensor
    batches: Tensor

    def __init__(
        self,
        config: MambaConfig,
        n_classes: int,
        pooling: Pooling,
        lengths: Sequence[int] = (),
        expansion: int = EXPANSION,
    ) -> None:
        super().__init__()
        if n_classes < 2:
            raise ValueError(f"n_classes: expected at least 2, got {n_classes}")
        if expansion < 1:
            raise ValueError(f"expansion: expected at least 1, got {expansion}")
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling: expected one of {get_args(Pooling)}, got {pooling!r}")
        self.lengths = check_rungs(lengths, pooling)
        self.pooling: Pooling = pooling
        self.n_classes = n_classes
        features, rungs = expansion * config.d_model, max(1, len(self.lengths))
        self.gate_proj = nn.Linear(config.d_model, 2 * features, bias=False)
        if pooling == "errors":
            if not config.tie_embeddings:
                raise ValueError('tie_embeddings: expected true with pooling "errors", got false')
            features *= config.vocab_size - 1
        self.out_proj = nn.Linear(features, rungs * n_classes)
        nn.init.zeros_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)
        of_rungs = (rungs,) if self.lengths else ()  # a single rung has no dimension of its own
        self.register_buffer("running_mean", torch.zeros(*of_rungs, features))
        self.register_buffer("running_var", torch.ones(*of_rungs, features))
        self.register_buffer("running_length", torch.ones(of_rungs))
        self.register_buffer("batches", torch.zeros(of_rungs, dtype=torch.int64))

    def forward(self, hidden: Tensor, seq_idx: Tensor | None = None) -> Tensor:
        """Logits of each sequence; not with pooling "errors", which needs the tokens, too.

        Args:
            hidden: (B, L, d_model).
            seq_idx: (B, L), which packed sequence a position belongs to; None is one a row.

        Returns:
            (number of sequences, n_classes), row after row and in order along each row.
        """
        parts = [(slice(None), self.part(hidden, seq_idx))]
        return self.classify(parts, hidden.shape[:2], seq_idx)

    def part(self, hidden: Tensor, seq_idx: Tensor | None = None) -> Tensor:
        """What a segment of the rows adds to ``join``; arguments as ``forward``'s, of the segment.

        Returns:
            (P, features) for the P sequences that the segment meets, in at least float32.
        """
        if self.pooling == "mean":
            return sums(self.features(hidden), seq_idx)
        features = self.features(last(hidden, seq_idx))
        return features.to(torch.promote_types(features.dtype, torch.float32))

    def features(self, hidden: Tensor) -> Tensor:
        """(B, L, d_model) -> (B, L, expansion d_model)."""
        a, g = self.gate_proj(hidden).chunk(2, dim=-1)
        return functional.silu(a) * g

    def classify(
        self,
        parts: Sequence[tuple[slice, Tensor]],
        shape: torch.Size,
        seq_idx: Tensor | None,
        group: ProcessGroup | None = None,
    ) -> Tensor:
        """Logits as ``forward``'s, from each segment's positions and ``part``, in order.

        Args:
            parts: of all segments.
            shape: (B, L) of all segments together.
            seq_idx: likewise.
            group: whose ranks have the segments, each its own; all get all logits.
        """
        pooled, lengths = join(parts, self.pooling, shape, seq_idx, group)
        if not self.lengths:
            return self._judge(pooled, lengths, None)
        rungs = torch.bucketize(lengths, lengths.new_tensor(self.lengths), right=True) - 1
        logits = pooled.new_zeros(len(pooled), self.n_classes)
        for rung in range(len(self.lengths)):
            own = (rungs.clamp(min=0) == rung).nonzero().flatten()
            if len(own):
                logits[own] = self._judge(pooled[own], lengths[own], rung).to(logits)
        return logits

    def readout(self, pooled: Tensor, rung: int) -> Tensor:
        """Logits (S, C) of sequences that are as long as a rung, from their means (S, features)."""
        return self._judge(pooled, pooled.new_full((len(pooled),), self.lengths[rung]), rung)

    def _judge(self, pooled: Tensor, lengths: Tensor, rung: int | None) -> Tensor:
        """Logits of one rung, whose statistics learn in training."""
        at = ... if rung is None else rung
        mean, var, length = self.running_mean[at], self.running_var[at], self.running_length[at]
        if self.training:
            self._update(pooled.detach(), lengths, mean, var, length, self.batches[at])
            mean = mean.lerp(pooled.mean(0).to(mean), len(pooled) / (len(pooled) + self.lagging))
        z = (pooled - mean) / (var + self.eps).sqrt()
        if self.pooling != "last":
            z = z * (lengths / length)[:, None]
        z = z.to(self.out_proj.weight.dtype)
        if rung is None:
            return self.out_proj(z)
        rows = slice(rung * self.n_classes, (rung + 1) * self.n_classes)
        return functional.linear(z, self.out_proj.weight[rows], self.out_proj.bias[rows])

    @torch.no_grad()
    def _update(
        self,
        pooled: Tensor,
        lengths: Tensor,
        mean: Tensor,
        var: Tensor,
        length: Tensor,
        batches: Tensor,
    ) -> None:
        """Plain averages over the first batches, then exponential ones; in place."""
        batches += 1
        weight = (1 / batches).clamp(min=1 / self.averaged_batches)
        mean.lerp_(pooled.mean(0).to(mean), weight)
        var.lerp_((pooled - mean).square().mean(0).to(var), weight)
        length.lerp_(lengths.mean().to(length), weight)


def check_rungs(lengths: Sequence[int], pooling: Pooling) -> tuple[int, ...]:
    """The rungs' lengths, if they are some.

    Raises:
        ValueError: not increasing multiples of each other, or not for mean pooling.
    """
    rungs = tuple(lengths)
    if rungs and pooling != "mean":
        raise ValueError(f"lengths: expected none with pooling {pooling!r}, got {rungs}")
    if min(rungs, default=1) < 1 or any(b <= a or b % a for a, b in pairwise(rungs)):
        raise ValueError(
            f"lengths: expected increasing ones, each a multiple of the one before, got {rungs}"
        )
    return rungs
