"""``genomamba init DIR``."""

from __future__ import annotations

import argparse
from pathlib import Path

from genomamba.assets import copy_to
from genomamba_data_prep.errors import InputError


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="genomamba init",
        description="Copy the shipped configs/ and workflows/ into a folder, to read and change.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR")
    directory = parser.parse_args(argv).directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(
            "cannot be made: there is a file in its place", file=directory, fix="Choose another DIR"
        ) from error
    for path in copy_to(directory):
        print(path)
    return 0
