from __future__ import annotations

from pathlib import Path

import pytest

from genomamba.cli import main
from genomamba.demo import run as demo
from genomamba.demo.shell import LINE, Shell, StepFailed


def test_a_foreign_folder_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "demo").mkdir()
    precious = tmp_path / "demo" / "thesis.txt"
    precious.write_text("years of work")
    assert main(["demo", "--output", str(tmp_path / "demo")]) == 2
    assert "not an earlier demonstration" in capsys.readouterr().err
    assert precious.read_text() == "years of work"
    assert main(["demo", "--output", str(precious)]) == 2
    assert main(["demo", "--output", str(tmp_path / "no" / "demo")]) == 2


def test_an_earlier_demonstration_is_replaced(tmp_path: Path) -> None:
    output = tmp_path / "demo"
    demo._clear(output)
    (output / "old").touch()
    demo._clear(output)
    assert not (output / "old").exists()


def test_a_failed_step_says_which_and_why(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    shell = Shell(tmp_path)
    store = tmp_path / "no-store"
    with pytest.raises(StepFailed, match="step 'look'") as failure:
        shell.run("look", ["prepare", "inspect", store], ["prepare", "inspect", "never run"])
    assert "no-store" in str(failure.value)
    assert (tmp_path / "look.log").is_file()
    assert len(shell.lines) == 1
    assert "prepare inspect" in capsys.readouterr().err


def test_printed_commands_can_be_pasted(tmp_path: Path) -> None:
    import shlex

    arguments = ["prepare", "inspect", "a b", *(f"file-{i}" * 3 for i in range(20))]
    shell = Shell(tmp_path)
    with pytest.raises(StepFailed):
        shell.run("look", arguments)
    assert max(map(len, shell.lines[0].splitlines())) <= LINE + 2
    assert shlex.split(shell.lines[0].replace("\\\n", "")) == ["genomamba", *arguments]
