"""The console command. Each subcommand imports what it needs when it runs: help is instant."""

from __future__ import annotations

import os
import sys

# Read when torch is imported. OpenMP's threads spin while they wait for each other, by default so
# long that on a busy machine they keep the core from the thread they wait for, and training nearly
# stops. Asleep at once (OMP_WAIT_POLICY=PASSIVE) they wake too slowly: two thirds of the speed.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

COMMANDS = {
    "prepare": "download, encode, split, audit: FASTA in, a data set out (needs no torch)",
    "fit": "train: Lightning CLI, --config NAME_OR_FILE, repeatable, later ones overlay",
    "validate": "evaluate a checkpoint on the validation split",
    "test": "evaluate a checkpoint on the test split or a frozen manifest",
    "predict": "class probabilities of a manifest's windows",
    "evaluate": "accuracy by length, confusion and calibration of a checkpoint, with a report",
    "classify": "FASTA(.gz) and a checkpoint in, a table of predictions out",
    "embed": "the hidden vector of each record or window of a FASTA file",
    "generate": "sequences drawn from a pretrained model, as FASTA",
    "export": "a checkpoint as a folder for Hugging Face transformers or mamba-ssm",
    "import": "a checkpoint from such a folder",
    "merge": "the table of a classify job that ran as an array of tasks",
    "report": "one page of data, training, evaluation and predictions, with their hashes",
    "demo": "the whole path on a simulated clade, with a report; five minutes on two cores",
    "init": "copy the shipped configs and workflows into a folder",
}


def _usage() -> str:
    rows = "\n".join(f"  {name:<10} {text}" for name, text in COMMANDS.items())
    return (
        "usage: genomamba COMMAND [OPTION]...\n\n"
        "Train Mamba models on DNA, one token a base, and classify sequences with them.\n\n"
        f"commands:\n{rows}\n\n"
        "genomamba COMMAND --help tells more; genomamba --version prints the version.\n"
        "Exit codes: 0 done, 1 failed, 2 bad input or usage, 3 done with a smaller --max-bases\n"
        "and 4 done without the bad records (classify), 75 stopped at a signal or after max_time\n"
        "and to be continued (fit), 130 interrupted.\n"
    )


def _run(command: str, arguments: list[str]) -> int:
    if command == "prepare":
        from genomamba_data_prep.cli import main as prepare

        return prepare(arguments)
    if command in ("fit", "validate", "test", "predict"):
        from genomamba.training.cli import main as train

        return train([command, *arguments])
    if command == "classify":
        from genomamba.inference.cli import main as classify

        return classify(arguments)
    if command == "evaluate":
        from genomamba.inference.evaluate_cli import main as evaluate

        return evaluate(arguments)
    if command == "embed":
        from genomamba.inference.embed_cli import main as embed

        return embed(arguments)
    if command == "generate":
        from genomamba.inference.generate_cli import main as generate

        return generate(arguments)
    if command == "export":
        from genomamba.inference.publishing.cli import export_main

        return export_main(arguments)
    if command == "import":
        from genomamba.inference.publishing.cli import import_main

        return import_main(arguments)
    if command == "merge":
        from genomamba.inference.merge import main as merge

        return merge(arguments)
    if command == "report":
        from genomamba.inference.report.cli import main as report

        return report(arguments)
    if command == "demo":
        from genomamba.demo.cli import main as demo

        return demo(arguments)
    from genomamba.assets.cli import main as init

    return init(arguments)


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage(), end="", file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("genomamba"))
        return 0
    if arguments[0] not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(arguments[0], COMMANDS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        print(f"genomamba: no command {arguments[0]!r}.{hint}\n\n{_usage()}", file=sys.stderr)
        return 2

    from genomamba_data_prep.errors import InputError

    try:
        return _run(arguments[0], arguments[1:])
    except InputError as error:
        print(f"genomamba: error: {error}", file=sys.stderr)
        return 2
    except ValueError as error:
        # Not imported for this: a command that runs without torch has not loaded the kernels.
        kernels = sys.modules.get("genomamba_kernels.backends")
        if kernels is None or not isinstance(error, kernels.BackendError):
            raise
        print(f"genomamba: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has seen enough: `genomamba ... | head`
        sys.stdout = None
        return 0
    except OSError as error:  # unreadable file, full disk
        where = f"{error.filename}: " if error.filename else ""
        print(f"genomamba: error: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("genomamba: interrupted", file=sys.stderr)
        return 130
