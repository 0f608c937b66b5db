"""A job that is killed, repeated, run twice at once, dealt out to an array and merged."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from genomamba.cli import main
from genomamba.inference import parts as parts_module
from genomamba.inference.classifier import WindowClassifier
from genomamba.inference.parts import Parts, differences

DRIVER = Path(__file__).with_name("kill_driver.py")
RECORDS = {"long": 3000, "short": 20, "gap": "N" * 200} | {f"r{i}": 50 + 37 * i for i in range(20)}
SMALL = ["--shard-bases", "512", "--max-bases", "256", "--device", "cpu"]


@pytest.fixture
def command(tmp_path: Path, checkpoint: Path, write_fasta) -> list[str]:
    fasta = write_fasta(RECORDS)
    output = ["--output", str(tmp_path / "out.tsv"), "--windows-output", str(tmp_path / "w.tsv")]
    return ["classify", str(fasta), "--checkpoint", str(checkpoint), *output, *SMALL]


def _drive(mode: str, trials: int, command: list[str]) -> dict:
    call = [sys.executable, DRIVER, mode, str(trials), "0", *command]
    done = subprocess.run(call, capture_output=True, text=True, timeout=570)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"stderr": done.stderr}


def test_killed_runs_end_with_the_same_bytes(command, tmp_path: Path, request) -> None:
    trials = request.config.getoption("--kills")
    found = _drive("kill", trials, command)
    print({name: found[name] for name in ("trials", "killed", "kept_shards", "equal")})
    assert found["equal"] == trials
    assert found["killed"] >= trials
    # On a busy machine many have not begun when they are killed.
    assert found["kept_shards"] >= trials // 4
    assert not (tmp_path / "out.tsv.parts").exists()
    assert (tmp_path / "out.tsv.journal.jsonl").is_file()


def test_two_runs_at_once_leave_one_whole_table(command, tmp_path: Path) -> None:
    found = _drive("race", 1, command)
    # On a busy machine one may end before the other has begun.
    assert found["codes"] in ([0, 2], [0, 0])
    assert found["codes"] == [0, 0] or "is working on this output" in found["stderr"]
    first = (tmp_path / "out.tsv").read_bytes()
    assert main(command) == 0
    assert (tmp_path / "out.tsv").read_bytes() == first


def test_a_lock_names_its_holder_and_dies_with_it(command, tmp_path: Path, capsys) -> None:
    parts = tmp_path / "out.tsv.parts"
    parts.mkdir()
    (parts / "lock").write_text('{"pid": 1, "host": "dead"}')  # left by a process that was killed
    with parts_module.locked(parts / "lock"):
        assert main(command) == 2
    assert "process" in capsys.readouterr().err
    assert main(command) == 0


def _stop_after(shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a run write some shards and then fails it as a full disk would."""
    write, count = Parts.write, iter(range(shards))

    def failing(self: Parts, index: int, results):
        if next(count, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.shard(index)))
        return write(self, index, results)

    monkeypatch.setattr(Parts, "write", failing)


def test_a_full_disk_is_said_and_the_run_goes_on_afterwards(
    command, tmp_path: Path, capsys, monkeypatch
) -> None:
    out = tmp_path / "out.tsv"
    assert main(command) == 0
    expected = out.read_bytes()
    out.unlink()
    with monkeypatch.context() as patch:
        _stop_after(3, patch)
        assert main(command) == 2
    error = capsys.readouterr().err
    assert "No space left" in error
    assert "run the same command" in error
    assert not out.exists()
    assert len(list((tmp_path / "out.tsv.parts").glob("shard-*"))) == 3
    assert main(command) == 0
    assert out.read_bytes() == expected
    entries = [json.loads(s) for s in Path(f"{out}.journal.jsonl").read_text().splitlines()]
    shards = [entry["shard"] for entry in entries if entry["event"] == "shard"]
    assert shards == list(range(len(shards)))  # none was done twice


@pytest.mark.parametrize("what", ["option", "input", "checkpoint", "name"])
def test_a_changed_job_is_refused_with_what_changed(
    what: str, command, tmp_path: Path, checkpoint: Path, write_fasta, capsys, monkeypatch
) -> None:
    with monkeypatch.context() as patch:
        _stop_after(2, patch)
        assert main(command) == 2
    capsys.readouterr()
    if what == "option":
        command, said = [*command, "--window", "32"], "option window: 64 then, 32 now"
    elif what == "input":
        write_fasta(RECORDS, seed=1)
        said = "input 1 sha256"
    elif what == "checkpoint":
        content = torch.load(checkpoint, weights_only=True)
        content["extra"] = 1
        torch.save(content, checkpoint)
        said = "checkpoint sha256"
    else:
        (tmp_path / "in.fa").rename(tmp_path / "other.fa")
        command[1] = str(tmp_path / "other.fa")
        said = "input 1 file"
    assert main(command) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out.tsv").exists()


def test_an_array_merges_to_the_table_of_one_run(command, tmp_path: Path, capsys) -> None:
    out, windows = tmp_path / "out.tsv", tmp_path / "w.tsv"
    assert main(command) == 0
    expected = out.read_bytes(), windows.read_bytes()
    out.unlink()
    windows.unlink()
    for task in (3, 1):
        assert main([*command, "--shard", f"{task}/3"]) == 0
    capsys.readouterr()
    assert main(["merge", str(out)]) == 2
    assert "missing" in capsys.readouterr().err
    assert not out.exists()
    with parts_module.locked(tmp_path / "out.tsv.parts" / "lock", shared=True):  # as a task does
        assert main(["merge", str(out)]) == 2
    assert main([*command, "--shard", "2/3"]) == 0
    assert main(["merge", str(out)]) == 0
    assert (out.read_bytes(), windows.read_bytes()) == expected
    assert main(["merge", str(out)]) == 2


@pytest.mark.parametrize("damage", ["removed", "other bytes", "other windows"])
def test_merge_refuses_gaps_overlaps_and_damage(
    damage: str, command, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "out.tsv"
    assert main([*command, "--shard", "1/1"]) == 0
    parts = Parts(out)
    if damage == "removed":
        parts.shard(1).unlink()
        said = "missing: 1"
    elif damage == "other bytes":
        parts.shard(1).write_bytes(parts.shard(0).read_bytes())
        said = "damaged"
    else:
        results = parts.read(1, parts.done()[1])
        digest = parts.write(1, results._replace(start=results.start - 1))
        with (parts.path / "journal.1-of-1.jsonl").open("a") as file:
            file.write(json.dumps({"event": "shard", "shard": 1, "sha256": digest}) + "\n")
        said = "gaps or overlaps"
    assert main(["merge", str(out)]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_journal_line_cut_short_is_dropped(command, tmp_path: Path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        _stop_after(2, patch)
        assert main(command) == 2
    with (tmp_path / "out.tsv.parts" / "journal.jsonl").open("a") as file:
        file.write('{"event": "sha')
    assert main(command) == 0


def test_out_of_memory_halves_the_budget(command, tmp_path: Path, capsys, monkeypatch) -> None:
    command = [*command, "--max-bases", "4096", "--shard-bases", "4096"]
    assert main(command) == 0
    expected = pd.read_csv(tmp_path / "out.tsv", sep="\t")
    call, sizes = WindowClassifier.__call__, []

    def failing(self: WindowClassifier, windows) -> np.ndarray:
        if sum(map(len, windows)) > 2048:
            raise torch.OutOfMemoryError("CUDA out of memory (simulated)")
        sizes.append(sum(map(len, windows)))
        return call(self, windows)

    with monkeypatch.context() as patch:
        patch.setattr(WindowClassifier, "__call__", failing)
        assert main(command) == 3
        assert "2,048 bases at a time" in capsys.readouterr().err
        assert '"max_bases": 2048' in (tmp_path / "out.tsv.journal.jsonl").read_text()
        assert max(sizes) > 1024
        found = pd.read_csv(tmp_path / "out.tsv", sep="\t")
        pd.testing.assert_frame_equal(found, expected, atol=1e-5, rtol=0)
        assert main([*command, "--max-bases", "2040"]) == 0

        def hopeless(self: WindowClassifier, windows) -> np.ndarray:
            raise torch.OutOfMemoryError("CUDA out of memory (simulated)")

        patch.setattr(WindowClassifier, "__call__", hopeless)
        assert main(command) == 2
    assert "larger GPU" in capsys.readouterr().err


def test_a_file_that_changes_while_it_is_read_is_refused(
    command, tmp_path: Path, write_fasta, capsys, monkeypatch
) -> None:
    call = WindowClassifier.__call__

    def meddling(self: WindowClassifier, windows) -> np.ndarray:
        write_fasta(RECORDS, seed=2)
        return call(self, windows)

    monkeypatch.setattr(WindowClassifier, "__call__", meddling)
    assert main(command) == 2
    assert "has changed" in capsys.readouterr().err
    assert not (tmp_path / "out.tsv").exists()


def test_differences_name_what_changed() -> None:
    then = {"a": 1, "b": {"c": [1, 2], "d": [1]}}
    now = {"a": 2, "b": {"c": [1, 3], "d": [1, 2]}}
    assert list(differences(then, now)) == [
        "a: 1 then, 2 now",
        "b c 2: 2 then, 3 now",
        "b d: 1 then, 2 now",
    ]
