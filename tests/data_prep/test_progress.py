"""Progress: silent at first, a line now and then in a log, a bar on a terminal; never on stdout."""

from __future__ import annotations

import sys

import pytest

from genomamba_data_prep import progress
from genomamba_data_prep.progress import Progress


def test_short_tasks_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("encoding", 10) as bar:
        bar.advance(10)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("total", "says"), [(8, "encoding: 25%\n"), (0, "encoding: 2 so far\n")])
def test_a_log_gets_a_line_now_and_then(
    total: int, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0)
    with Progress("encoding", total) as bar:
        for _ in range(3):
            bar.advance(2)
    assert capsys.readouterr() == ("", says)


def test_no_more_than_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0)
    with Progress("classifying", 4) as bar:
        bar.advance(6)
    assert capsys.readouterr().err == "classifying: 100%\n"


def test_a_terminal_gets_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress("encoding", 4) as bar:
        bar.advance(1)
    captured = capsys.readouterr()
    assert "encoding" in captured.err
    assert not captured.out
