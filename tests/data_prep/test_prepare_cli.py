"""The prepare command: help, and usage errors with exit code 2."""

from __future__ import annotations

import pytest

from genomamba.cli import main
from genomamba_data_prep.cli import SUBCOMMANDS


def test_help_lists_the_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["prepare", "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in SUBCOMMANDS)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_each_subcommand_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["prepare", name, "--help"])
    assert stop.value.code == 0
    assert f"usage: genomamba prepare {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [[], ["encodee"], ["encode"], ["encode", "x.fa"], ["inspect"], ["encode", "x", "--speces=y"]],
    ids=str,
)
def test_bad_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["prepare", *arguments])
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert "usage: genomamba prepare" in captured.err
    assert not captured.out
