"""`genomamba init`: the shipped folders, or one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from genomamba.cli import main


def test_the_folders_are_copied_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "mine")]) == 0
    assert (tmp_path / "mine" / "configs" / "species" / "base.yaml").is_file()
    assert main(["init", str(tmp_path / "mine")]) == 2
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize("below", ["", "mine"])
def test_a_file_in_the_folders_place(
    tmp_path: Path, below: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "genome.fa").touch()
    assert main(["init", str(tmp_path / "genome.fa" / below)]) == 2
    assert "there is a file in its place" in capsys.readouterr().err
