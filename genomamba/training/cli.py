"""``genomamba fit | validate | test | predict``: Lightning's command line over our tasks and data.

What it adds: ``--config`` takes the name of a shipped config as well as a file; one run has one
folder, ``--run``, that holds config, checkpoints, metrics and results under fixed names, so that
``--ckpt_path last`` finds them after a kill; a user's mistake is one message and exit code 2.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from genomamba.assets import config_names, find_config
from genomamba.data import datamodule as _data  # noqa: F401, its classes become known by name
from genomamba.data import known_answers_datamodule as _known  # noqa: F401
from genomamba.data.loader import end_processes, process_death
from genomamba.training import classification as _c  # noqa: F401
from genomamba.training import discriminant as _d  # noqa: F401
from genomamba.training import known_answers as _k  # noqa: F401
from genomamba.training import pretraining as _p  # noqa: F401
from genomamba.training.checkpoint import read_checkpoint
from genomamba.training.checkpoint_io import AtomicCheckpointIO
from genomamba.training.metrics_csv import MetricsCSV
from genomamba.training.predictions import PredictionWriter
from genomamba.training.progress import LogLines, NothingLeft
from genomamba.training.run_checkpoint import RunCheckpoint
from genomamba.training.run_files import EXIT_STOPPED
from genomamba.training.run_log import RunLog
from genomamba.training.step_seed import StepSeed
from genomamba.training.stopping import GracefulStop, Stopped, StopSignals
from genomamba.training.tensorboard import LazyTensorBoard
from genomamba_data_prep.errors import InputError

CHECKPOINTS = "checkpoints"
CONFIG = "config.yaml"
NEEDS_BASE = (
    "Begin with a whole config, such as --config species/base; overlays such as model/tiny "
    "change one"
)
# Of the parser's messages: types that say nothing to somebody who wrote a wrong option.
TYPES = re.compile(
    r"Does not validate against|Subtypes:|Errors:|- Expected a <class 'NoneType'>|Given value"
)


class Parser(LightningArgumentParser):
    """Lightning's parser, whose errors do not drown in the list of all options."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the process with exit code 2 and what is wrong, in a few lines."""
        if not self.exit_on_error:  # a parser within the parser tries whether a value fits
            super().error(message, ex)
        command = getattr(ex, "subcommand_parser", None) or self
        name = command.prog.replace(" [options]", "")
        print(f"genomamba: error: {_told(message)}\n{name} --help lists options", file=sys.stderr)
        sys.exit(2)


def _told(message: str) -> str:
    """A parser's message without types, and with what to do where it is the lack of a base."""
    lines = [line for line in message.splitlines() if not TYPES.match(line.strip())]
    is_overlay = "'lightning.Lightning" in message or "are required: fit.data" in message
    if is_overlay:
        return f"no task and data to change or run. {NEEDS_BASE}"
    known = re.search(r'key "(model|data)"(?:.*\n)*?.*class_path \'([\w.]+)\'', message)
    if known is not None:
        lines.append(f"genomamba fit --{known[1]}.help {known[2]} lists what it takes")
    return "\n".join(lines)


class SaveConfig(SaveConfigCallback):
    """Writes the run's whole config to ``RUN/config.yaml`` when training starts."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Nothing yet: data and options may still turn out to be wrong."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            folder = Path(trainer.default_root_dir)
            folder.mkdir(parents=True, exist_ok=True)
            text = self.parser.dump(self.config, skip_none=False)
            (folder / CONFIG).write_text(text, encoding="utf-8")


class RunCLI(LightningCLI):
    """Lightning's command line with a run folder, and a run that stops when it is asked to.

    Args:
        signals: what asks.
        argv: the command line as the user typed it; the other arguments are LightningCLI's.
    """

    def __init__(self, *args: Any, signals: StopSignals, argv: list[str], **kwargs: Any) -> None:
        self.signals, self.argv = signals, argv
        super().__init__(*args, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run", default="runs/default", help="folder of config, checkpoints, metrics, results"
        )
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.save_last": True,
                "checkpoint.save_top_k": 0,  # last.ckpt only, unless the user asks for more
                # A step that is trained again after a kill gives the same file again.
                "checkpoint.enable_version_counter": False,
            }
        )
        parser.link_arguments("run", "trainer.default_root_dir")
        parser.link_arguments("run", "checkpoint.dirpath", compute_fn=_checkpoints_of)

    @property
    def options(self) -> Any:
        """The subcommand's options, before anything is instantiated from them."""
        return self.config[self.config.subcommand]

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        super().parse_arguments(parser, args)
        seed = self.options.seed_everything
        if isinstance(seed, int) and not 0 <= seed < 2**32:  # NumPy's
            raise InputError(f"expected seed_everything in [0, 2^32), got {seed}")
        checkpoint = self.options.ckpt_path
        if checkpoint not in (None, "last", "best"):
            # Before Lightning looks for hyperparameters in it; the task checks the vocabulary.
            read_checkpoint(checkpoint, vocabulary=None)

    def before_instantiate_classes(self) -> None:
        run, checkpoint = Path(self.options.run), self.options.ckpt_path
        if self.subcommand == "fit":
            if checkpoint is None:
                _refuse_used_folder(run)
        elif checkpoint is None or (checkpoint == "last" and not _has_checkpoint(run)):
            raise InputError(
                f"{self.subcommand} needs a checkpoint"
                + ("" if checkpoint is None else f", and {run / CHECKPOINTS} has none"),
                fix="Name one with --ckpt_path FILE, or a run with --run DIR --ckpt_path last",
            )

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, OSError, MisconfigurationException) as error:
            raise _users_mistake(error) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        run = Path(self.options.run)
        has_terminal = sys.stderr.isatty()
        loggers: list[Logger] = [
            MetricsCSV(run / "metrics.csv"),
            LazyTensorBoard(run, name=None, version="tensorboard"),
        ]
        options = self._get(self.config_init, "trainer")  # with its classes instantiated
        if options.val_check_interval == 0:  # Lightning would divide by it in the first step
            raise InputError(
                "expected trainer.val_check_interval above 0, got 0",
                fix="Give the steps between validations; --trainer.limit_val_batches 0 has none",
            )
        logs = self.subcommand == "fit" and options.logger is not False
        stop = GracefulStop(self.signals, options.max_time)
        given = {
            "logger": loggers if logs else False,
            "plugins": [AtomicCheckpointIO(vocabulary=None), *(options.plugins or [])],
            "enable_progress_bar": has_terminal,
            "max_time": None,  # ours ends at the end of a step
            "callbacks": [
                *(options.callbacks or []),
                RichProgressBar(leave=True) if has_terminal else LogLines(),
                RunLog(self.argv, self.options.seed_everything),
                *([PredictionWriter(run)] if self.subcommand == "predict" else []),
                *([StepSeed(), stop, NothingLeft()] if self.subcommand == "fit" else []),
            ],
        }
        return super().instantiate_trainer(**given, **kwargs)


def _users_mistake(error: BaseException) -> InputError:
    """The error that a class raised, out of what the parser wraps around it."""
    while error.__cause__ is not None and not isinstance(error, InputError):
        error = error.__cause__
    if isinstance(error, InputError):
        return error
    return InputError(str(error).rstrip(".!"), fix="Change it in the config or on the command line")


def _checkpoints_of(run: str) -> str:
    return str(Path(run) / CHECKPOINTS)


def _has_checkpoint(run: Path) -> bool:
    return any((run / CHECKPOINTS).glob("*.ckpt"))


def _refuse_used_folder(run: Path) -> None:
    """A second run in the first one's folder would mix their checkpoints and curves.

    Raises:
        InputError: the folder holds checkpoints, or is a file.
    """
    if any(place.exists() and not place.is_dir() for place in (run, *run.parents)):
        raise InputError(
            "not a folder: a file is in its place", file=run, fix="Choose another --run"
        )
    if _has_checkpoint(run):
        raise InputError(
            "the folder holds checkpoints of a run",
            file=run,
            fix="Continue it with --ckpt_path last, or choose another --run",
        )


def resolve_configs(argv: list[str]) -> list[str]:
    """Arguments with every ``--config NAME`` of a shipped config turned into its file's path.

    Raises:
        InputError: neither a file nor a shipped config.
    """
    resolved, takes_value = [], False
    for argument in argv:
        if takes_value:
            resolved.append(_config_path(argument))
        elif argument.startswith("--config="):
            resolved.append(f"--config={_config_path(argument.removeprefix('--config='))}")
        else:
            resolved.append(argument)
        takes_value = not takes_value and argument in ("--config", "-c")
    return resolved


def _config_path(name: str) -> str:
    if Path(name).is_file():
        _check_config(name)
        return name
    found = find_config(name)
    if found is None:
        near = get_close_matches(name, config_names(), 3)
        raise InputError(
            f"--config {name}: neither a file nor a shipped config",
            fix=f"Shipped are {', '.join(config_names())}"
            + (f". Did you mean {' or '.join(near)}?" if near else ""),
        )
    return str(found)


def _check_config(path: str) -> None:
    """That a file holds a config: what else it holds, a genome, would be the parser's message."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except UnicodeDecodeError:
        what, line = "not a config: it is no text", None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = f"not YAML: {getattr(error, 'problem', None) or 'it cannot be parsed'}"
        line = None if mark is None else mark.line + 1
    else:
        if content is None or isinstance(content, dict):
            return
        what, line = "not a config: expected keys and values, such as `trainer: {...}`", None
    raise InputError(what, file=path, line=line, fix="Give --config a YAML file or a shipped name")


def _quieten() -> None:
    """Drop the messages that tell a user nothing to act on."""
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    warnings.filterwarnings("ignore", message=".*LeafSpec")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # Batches name their windows themselves.
    warnings.filterwarnings("ignore", message="Couldn't infer the batch indices")
    warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).addFilter(_is_worth_reading)


def _is_worth_reading(record: logging.LogRecord) -> bool:
    noise = ("TPU available", "GPU available", "💡", "LOCAL_RANK", "`Trainer.fit` stopped")
    return not any(text in record.getMessage() for text in noise)


def main(argv: list[str]) -> int:
    """Run one of Lightning's subcommands; returns the exit code."""
    _quieten()
    # Under `deterministic`, torch would write to every tensor that is made empty, gigabytes a step;
    # our kernels write what they make before they read it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore
    try:
        with StopSignals() if argv[:1] == ["fit"] else nullcontext(StopSignals()) as signals:
            RunCLI(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=SaveConfig,
                save_config_kwargs={"overwrite": True},
                parser_class=Parser,
                seed_everything_default=0,
                args=resolve_configs(argv),
                parser_kwargs={"prog": "genomamba"},
                signals=signals,
                argv=argv,
            )
    except Stopped as stopped:
        return int(stopped.code or 0)
    except SIGTERMException:  # it came while Lightning prepared the first step
        return EXIT_STOPPED
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):  # Lightning ends with 1
            raise KeyboardInterrupt from None
        raise
    except RuntimeError as error:
        message = process_death(error)
        if message is None:
            raise
        print(f"genomamba: error: {message}", file=sys.stderr)
        end_processes()
        return 1
    return 0
