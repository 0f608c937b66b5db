"""Codes to tokens, and the batch that carries them."""

from __future__ import annotations

import torch
from lightning.fabric.utilities import move_data_to_device

from genomamba.data.batch import Batch
from genomamba.data.tokens import (
    N_TOKEN,
    VOCABULARY,
    is_n,
    is_soft_masked,
    reverse_complement,
    tokens,
)
from genomamba_data_prep import codes as stored
from genomamba_data_prep.codes import encode


def test_tokens_are_the_bases_and_the_mask_is_apart() -> None:
    letters = b"ACGTNacgtnRyU"
    codes = torch.from_numpy(encode(letters).copy())[None]
    assert "".join(VOCABULARY[token] for token in tokens(codes)[0]) == "ACGTNACGTNNNT"
    assert tokens(codes).dtype == torch.int64
    assert is_n(codes)[0].tolist() == [letter in b"NnRy" for letter in letters]
    assert is_soft_masked(codes)[0].tolist() == [letter in b"acgtny" for letter in letters]
    assert VOCABULARY[N_TOKEN] == "N"


def test_the_other_strand_is_that_of_the_codes() -> None:
    codes = encode(b"AACGTNacgtnRyU").reshape(2, -1)
    expected = tokens(torch.from_numpy(stored.reverse_complement(codes)))
    assert reverse_complement(tokens(torch.from_numpy(codes.copy()))).equal(expected)


def test_lightning_moves_every_tensor_of_a_batch() -> None:
    batch = Batch(*(torch.zeros(2, dtype=torch.int64) for _ in range(4)))
    moved = move_data_to_device(batch, torch.device("meta"))
    assert isinstance(moved, Batch)
    assert all(tensor.is_meta for tensor in (moved.codes, moved.labels, moved.index, moved.refused))
    assert len(batch) == 2
