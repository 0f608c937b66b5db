"""Tokenizer files that transformers loads: one token a letter, as ``genomamba_data_prep`` reads.

A, C, G, T, N are 0 to 4 in either case; U is T; white space is dropped; every other letter is N.
(Our FASTA reader refuses letters that stand for no nucleotide; a tokenizer cannot.)
"""

from __future__ import annotations

from typing import Any

from genomamba_data_prep.codes import BASES

_LETTERS = {letter.lower(): letter for letter in BASES} | {"U": "T", "u": "T"}


def tokenizer_files() -> dict[str, dict[str, Any]]:
    """Contents of the JSON files by name."""
    replaced = [
        {"type": "Replace", "pattern": {"String": old}, "content": new}
        for old, new in _LETTERS.items()
    ]
    white_space = {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": ""}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        # No special tokens: a special N would be dropped by decode(skip_special_tokens=True).
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [white_space, *replaced]},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": "."},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "WordLevel",
            "vocab": {letter: token for token, letter in enumerate(BASES)},
            "unk_token": "N",
        },
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids"],
        "clean_up_tokenization_spaces": False,
        "bos_token": None,
        "eos_token": None,
        "unk_token": None,
        "pad_token": None,
    }
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": config}
