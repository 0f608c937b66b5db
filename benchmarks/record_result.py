"""Writes the results file of a run that ``genomamba fit`` trained and that was then tested.

    python benchmarks/record_result.py runs/induction --output results/induction.json
    python benchmarks/record_result.py runs/five.run --evaluation runs/five.test.json \\
        --baselines runs/five.kmers.json --against runs/five.less.6-mers.json \\
        --output results/distant_five.json

All it says is read from the run's folder: commands.jsonl (commands, commits, hardware, seed),
metrics.csv (accuracy by step) and test.json, which ``genomamba test`` wrote (the metrics). With
--evaluation the metrics are those of ``genomamba evaluate`` on frozen manifests, with --baselines
beside them those that docs/real-data/kmers.py found on the same windows, with --against differences
from other classifiers, window by window, of docs/real-data/compare.py. With --folds it also says
what that script found of the same recipe in folds (docs/real-data/run.sh apes_folds), which
--fold-runs trained and which are not counted. Commands that continued the run are in it too, and
with --after those of earlier runs, whose weights it began with (``model.init_args.pretrained``):
their tokens and seconds are counted. A commit that ends with "-dirty" had changed files: commit
before a run that is to be published.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genomamba.training.run_files import COMMANDS, read_metrics
from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError

TEST = "test.json"
STEPS = 24  # of the curve by step
ENDS = ("difference", "low", "high")  # of a comparison


def result(
    run: Path,
    evaluation: Path | None = None,
    baselines: Path | None = None,
    against: Sequence[Path] = (),
    after: Sequence[Path] = (),
    folds: Sequence[Path] = (),
    fold_runs: Sequence[Path] = (),
) -> dict[str, Any]:
    """The content of a run's results file.

    Raises:
        InputError: the run has not been trained and then tested, or the baselines or comparisons
            are of other windows or another classifier than the evaluation, or those of folds than
            each other.
    """
    begun, ends = log_lines(run / COMMANDS)
    fits = [line for line in begun if line["subcommand"] == "fit"]
    tested = ("test", "evaluate")  # the latter of benchmarks/clade.py
    if not fits or (evaluation is None and begun[-1]["subcommand"] not in tested):
        raise InputError(
            "expected a run that was trained and whose last command was `genomamba test`",
            file=run / COMMANDS,
            fix=f"genomamba test --config ... --run {run} --ckpt_path last, or name the document "
            "of `genomamba evaluate` with --evaluation",
        )
    if evaluation is None:
        metrics, commands = _json(run / TEST), [*fits, begun[-1]]
    else:
        rows = _evaluated(evaluation, baselines)
        for comparison in against:
            _add_differences(rows, comparison)
        request = _json(evaluation)["request"]
        evaluated = {name: request[name] for name in ("checkpoint_sha256", "both_strands")}
        metrics, commands = {"accuracy_by_length": rows, "evaluation": evaluated}, fits
    if folds:
        metrics = {**metrics, "folds": _in_folds(folds, fold_runs)}
    training = metrics.get("training") or _training(ends, run)
    tokens, seconds = training["tokens"], training["seconds"]
    if after:
        stages = [(earlier, *log_lines(earlier / COMMANDS)) for earlier in after]
        own = {"run": run.name, "steps": training["steps"], "tokens": tokens, "seconds": seconds}
        trained = [{"run": at.name, **_training(ends, at)} for at, _, ends in stages]
        metrics = {**metrics, "stages": [*trained, own]}
        commands = [line for _, begun, _ in stages for line in begun] + commands
        tokens += sum(stage["tokens"] for stage in trained)
        seconds += sum(stage["seconds"] for stage in trained)
    return {
        "command": " && ".join(_unique(line["command"] for line in commands)),
        "commit": ", ".join(_unique(line["commit"] for line in commands)),
        "hardware": ", ".join(_unique(line["hardware"] for line in commands)),
        "seed": fits[0]["seed"],
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "metrics": {**metrics, "training": training, "accuracy_by_step": _by_step(run)},
        "ended_by": training["ended_by"],
    }


def _evaluated(evaluation: Path, baselines: Path | None) -> dict[str, Any]:
    """Accuracy and interval at each length of the manifests, beside the baselines'."""
    beside = {} if baselines is None else _json(baselines)
    found: dict[str, Any] = {}
    document = _json(evaluation)
    if not document.keys() >= {"request", "results"}:
        raise InputError(
            "expected the document of an evaluation",
            file=evaluation,
            fix="Give the JSON that `genomamba evaluate` wrote",
        )
    results = [r for r in document["results"] if r["quantity"] == "manifest"]
    for one in sorted(results, key=lambda r: r["length"]):
        accuracy, length = one["accuracy"], str(one["length"])
        row: dict[str, Any] = {
            "accuracy": accuracy["value"],
            "low": accuracy["low"],
            "high": accuracy["high"],
            "examples": one["windows"],
            "loci": one["loci"],
            "accuracy_by_class": {n: v["value"] for n, v in one["accuracy_by_class"].items()},
        }
        if baselines is not None:
            others = beside.get(length, {"test_windows": None})
            if others["test_windows"] != one["windows"]:
                raise InputError(
                    f"at {length} bases they are of {others['test_windows']} windows, the "
                    f"evaluation of {one['windows']}",
                    file=baselines,
                    fix="Give docs/real-data/kmers.py the evaluation's manifests",
                )
            row["baselines"] = {n: v for n, v in others.items() if isinstance(v, dict)}
        found[length] = row
    return found


def _add_differences(rows: dict[str, Any], path: Path) -> None:
    """Puts the differences of a comparison into the evaluation's rows, by the other's name."""
    comparison = _comparison(path)
    other = comparison["second"]["classifier"]
    for length, row in rows.items():
        found = comparison["by_length"].get(length, {"windows": None, "first": None})
        if (found["windows"], found["first"]) != (row["examples"], row["accuracy"]):
            raise InputError(
                f"at {length} bases its first classifier has the accuracy {found['first']} on "
                f"{found['windows']} windows, the evaluation {row['accuracy']} on "
                f"{row['examples']}",
                file=path,
                fix="Give docs/real-data/compare.py first what the same `genomamba evaluate` "
                "command wrote with --predictions",
            )
        if other in row.setdefault("against", {}):
            raise InputError(f"is a second comparison with {other}", file=path, fix="Give one")
        row["against"][other] = {end: found[end] for end in ENDS}


def _in_folds(paths: Sequence[Path], runs: Sequence[Path]) -> dict[str, Any]:
    """Rows like an evaluation's, of comparisons of the folds' predictions with others, and what
    trained the folds."""
    rows: dict[str, Any] = {}
    for path in paths:
        comparison = _comparison(path)
        other, lengths = comparison["second"]["classifier"], comparison["by_length"]
        is_same = not rows or rows.keys() == lengths.keys()
        for length, found in lengths.items():
            own = {"accuracy": found["first"], "examples": found["windows"], "loci": found["loci"]}
            row = rows.setdefault(length, {**own, "baselines": {}, "against": {}})
            if not (is_same and own.items() <= row.items()) or other in row["against"]:
                raise InputError(
                    f"at {length} bases it is not of the first classifier and windows of "
                    f"{paths[0]}, less another one",
                    file=path,
                    fix="Give comparisons of the same folds, one a baseline",
                )
            row["baselines"][other] = {"accuracy": found["second"]}
            row["against"][other] = {end: found[end] for end in ENDS}
    begun = [line for run in runs for line in log_lines(run / COMMANDS)[0]]
    names = ("command", "commit", "hardware")
    return {
        **{name: _unique(line[name] for line in begun) for name in names},
        "accuracy_by_length": rows,
    }


def _comparison(path: Path) -> dict[str, Any]:
    found = _json(path)
    if not found.keys() >= {"first", "second", "by_length"}:
        raise InputError(
            "expected a comparison of two classifiers",
            file=path,
            fix="Give what docs/real-data/compare.py wrote",
        )
    return found


def write_result(
    run: Path,
    output: Path,
    command: str | None = None,
    evaluation: Path | None = None,
    baselines: Path | None = None,
    against: Sequence[Path] = (),
    after: Sequence[Path] = (),
    folds: Sequence[Path] = (),
    fold_runs: Sequence[Path] = (),
) -> dict[str, Any]:
    """Writes a run's results file and returns its content.

    Args:
        run: the run's folder.
        output: the file.
        command: that ran the commands in the folder's log; those by default.
        evaluation: the JSON of ``genomamba evaluate``, instead of the run's test.json.
        baselines: the JSON of docs/real-data/kmers.py on the evaluation's windows.
        against: JSON files of docs/real-data/compare.py, the evaluation's predictions first.
        after: folders of the runs before this one, each of which gave the next its weights.
        folds: JSON files of docs/real-data/compare.py, the predictions of the same recipe in folds
            first.
        fold_runs: the folders of those runs.

    Raises:
        InputError: as ``result``.
    """
    content = result(run, evaluation, baselines, against, after, folds, fold_runs)
    content |= {} if command is None else {"command": command}
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(output) as path:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return content


def log_lines(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Those of commands that began, and of trainings that ended."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise InputError(
            "no such file: the folder is not that of a run", file=path, fix="Name a run's folder"
        ) from error
    begun = [line for line in lines if "command" in line]
    return begun, [line for line in lines if "command" not in line]


def _by_step(run: Path) -> dict[int, float]:
    """Accuracy on the validation set after so many steps, ``STEPS`` times at most and the last.

    Of a model that judges several lengths, the mean over them: the longest is not trained at first.
    """
    lengths: dict[int, list[float]] = {}
    whole: dict[int, float] = {}
    for step, metric, value in read_metrics(run / "metrics.csv"):
        if metric == "valid/accuracy":
            whole[step + 1] = value
        elif metric.startswith("valid/accuracy/") and metric.rpartition("/")[2].isdigit():
            lengths.setdefault(step + 1, []).append(value)
    means = {step: sum(values) / len(values) for step, values in lengths.items()}
    found = list((means or whole).items())
    every = max(1, -(-len(found) // STEPS))
    return dict(found[::every] + found[-1:])


def _training(ends: list[dict[str, Any]], run: Path) -> dict[str, Any]:
    """Of a task that does not count for itself."""
    if not ends:
        raise InputError("no training of this run ended, it was killed", file=run / COMMANDS)
    seconds = sum(end["seconds"] for end in ends)
    last = ends[-1]
    return {
        "steps": last["steps"],
        "tokens": last["tokens"],
        "seconds": seconds,
        "ended_by": "budget",
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("no such file: the task writes none", file=path) from error
    except ValueError as error:
        raise InputError(f"expected JSON: {error}", file=path) from error


def _unique(values: Any) -> list[str]:
    """In order, each once."""
    return list(dict.fromkeys(values))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON")
    parser.add_argument("--evaluation", type=Path, metavar="JSON", help="of `genomamba evaluate`")
    parser.add_argument("--baselines", type=Path, metavar="JSON", help="of the same windows")
    parser.add_argument(
        "--against", type=Path, nargs="+", default=(), metavar="JSON", help="of the same windows"
    )
    parser.add_argument(
        "--after", type=Path, nargs="+", default=(), metavar="RUN", help="it began with, in order"
    )
    parser.add_argument(
        "--folds", type=Path, nargs="+", default=(), metavar="JSON", help="of the same recipe"
    )
    parser.add_argument(
        "--fold-runs", type=Path, nargs="+", default=(), metavar="RUN", help="that trained them"
    )
    args = parser.parse_args()
    if (args.baselines is not None or args.against) and args.evaluation is None:
        parser.error("--baselines and --against stand beside an --evaluation")
    if bool(args.folds) != bool(args.fold_runs):
        parser.error("--folds and --fold-runs go together")
    try:
        content = write_result(
            args.run,
            args.output,
            evaluation=args.evaluation,
            baselines=args.baselines,
            against=args.against,
            after=args.after,
            folds=args.folds,
            fold_runs=args.fold_runs,
        )
    except InputError as error:
        print(f"record_result: error: {error}", file=sys.stderr)
        return 2
    if "dirty" in content["commit"]:
        print(f"warning: commit {content['commit']}: the code was changed", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
