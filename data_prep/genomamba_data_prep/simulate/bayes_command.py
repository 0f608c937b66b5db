"""Print the best accuracy that any classifier can reach on a Markov simulation.

The table on stdout has, by window length: the number of windows, the optimum's accuracy, its
standard error, and the fraction of these windows that the optimum classified right.

--lengths 1024,2048      fresh windows of the simulation's sources, the same number of every species
--manifest FILE --set TSV  exactly the windows of a frozen manifest
"""

from __future__ import annotations

import argparse
from pathlib import Path

DEFAULT_LENGTHS = [2**exponent for exponent in range(10, 17)]


def _lengths(text: str) -> list[int]:
    try:
        lengths = [int(part) for part in text.split(",")]
    except ValueError:
        lengths = []
    if not lengths or min(lengths) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected lengths such as 1024,2048")
    return lengths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "simulation", type=Path, metavar="DIR", help="the simulation's folder, or its truth.json"
    )
    parser.add_argument(
        "--lengths",
        type=_lengths,
        default=DEFAULT_LENGTHS,
        metavar="L,L",
        help="bases a window; default: powers of two from 1024 to 65536",
    )
    parser.add_argument("--windows", type=int, default=1000, metavar="N", help="default 1000")
    parser.add_argument("--seed", type=int, default=0, help="of the windows; default 0")
    parser.add_argument(
        "--max-n-fraction",
        type=float,
        default=0.1,
        metavar="F",
        help="redraw windows with more N, as the model's data do; default 0.1",
    )
    parser.add_argument("--manifest", type=Path, metavar="FILE", help="a manifest (Parquet)")
    parser.add_argument(
        "--set", type=Path, metavar="TSV", dest="species_set", help="the manifest's species set"
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    import json

    from genomamba_data_prep.errors import InputError
    from genomamba_data_prep.progress import Progress
    from genomamba_data_prep.simulate.bayes import Optimum, optimal_accuracy
    from genomamba_data_prep.simulate.truth import read_markov

    truth = read_markov(args.simulation)
    if (args.manifest is None) != (args.species_set is None):
        raise InputError("--manifest and --set belong together", fix="Give both or none")
    if args.manifest is not None:
        from genomamba_data_prep.simulate.bayes_manifest import manifest_accuracy

        optima = [manifest_accuracy(truth, args.manifest, args.species_set)]
    else:
        with Progress("bayes", sum(args.lengths) * args.windows) as progress:
            optima = optimal_accuracy(
                truth,
                args.lengths,
                args.windows,
                args.seed,
                max_n_fraction=args.max_n_fraction,
                progress=progress.advance,
            )
    if args.json:
        print(json.dumps([optimum._asdict() for optimum in optima], indent=1))
        return 0
    print("\t".join(Optimum._fields))
    for length, windows, accuracy, error, hits in optima:
        print(f"{length}\t{windows}\t{accuracy:.4f}\t{error:.4f}\t{hits:.4f}")
    return 0
