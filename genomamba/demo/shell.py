"""Runs genomamba commands one after another, printed as a user would type them, each with a log."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

LOG_EVERY = 20.0  # seconds between lines where stderr is not a terminal
POLL = 0.25  # seconds
LINE, INDENT = 94, "      "  # width of a printed command, start of its further lines
TAIL = 15  # lines of a failed command's output to show


class StepFailed(Exception):
    """A command of the demonstration ended with an error; the message tells which and where."""


class Shell:
    """Prints to stderr; a command's own output goes to ``logs/NAME.log``.

    Attributes:
        lines: the commands so far, as typed in a shell.
        seconds: wall time by step name.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.lines: list[str] = []
        self.seconds: dict[str, float] = {}
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str = "") -> None:
        """Print a line."""
        self._console.print(text, markup=False)

    def heading(self, text: str) -> None:
        """Print what the next commands do."""
        self._console.print(f"\n{text}", style="bold", markup=False)

    def run(self, name: str, *commands: Sequence[str | int | Path]) -> None:
        """Run genomamba commands in order.

        Args:
            name: of the step, for its log and times.
            commands: each command's arguments, without ``genomamba``.

        Raises:
            StepFailed: a command's exit code is not 0; the ones after it are not run.
        """
        begin = time.monotonic()
        log = self.logs / f"{name}.log"
        for command in commands:
            arguments = [str(argument) for argument in command]
            self.lines.append(_typed(["genomamba", *arguments]))
            self._console.print(f"  $ {self.lines[-1]}", style="cyan", markup=False)
            code = self._run_one(arguments, log)
            if code:
                tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
                raise StepFailed(
                    "\n".join([f"step {name!r} failed with exit code {code}", *tail, f"log: {log}"])
                )
        self.seconds[name] = time.monotonic() - begin
        self._console.print(f"  {self.seconds[name]:.0f} s", style="dim", markup=False)

    def _run_one(self, arguments: list[str], log: Path) -> int:
        with log.open("ab") as output:
            # A process of its own, as in a shell: nothing of one step can leak into the next.
            process = subprocess.Popen(
                [sys.executable, "-m", "genomamba", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                self._wait(process, log)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        return process.returncode

    def _wait(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Wait for a command, showing the last line of its log now and then."""
        begin = last = time.monotonic()
        if not self._console.is_terminal:
            while process.poll() is None:
                time.sleep(POLL)
                if time.monotonic() - last >= LOG_EVERY:
                    last = time.monotonic()
                    self.say(f"    {_last_line(log)}")
            return
        with self._console.status("") as status:
            while process.poll() is None:
                status.update(f"{time.monotonic() - begin:.0f} s  {escape(_last_line(log))}")
                time.sleep(POLL)


def _typed(arguments: Sequence[str]) -> str:
    """A command as typed in a shell, with long ones continued on further lines."""
    lines = [""]
    for word in map(shlex.quote, arguments):
        if lines[-1] and len(lines[-1]) + len(word) > LINE:
            lines.append(INDENT)
        lines[-1] += word if lines[-1] in ("", INDENT) else f" {word}"
    return " \\\n".join(lines)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "working"
