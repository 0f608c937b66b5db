"""``genomamba merge``: the table of an array of ``classify --shard`` tasks."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """\
example:
  for i in 1 2 3 4; do
    genomamba classify reads.fa.gz --checkpoint run.ckpt --output OUT.tsv --shard $i/4 &
  done; wait
  genomamba merge OUT.tsv
"""


def main(argv: list[str]) -> int:
    """Run ``genomamba merge``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="genomamba merge",
        description="Make the table that the tasks of `genomamba classify --shard i/n` worked on. "
        "Refuses while a shard is missing or a task still runs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="the --output of the tasks")
    args = parser.parse_args(argv)

    from genomamba.inference.finish import merge

    return merge(args.output)
