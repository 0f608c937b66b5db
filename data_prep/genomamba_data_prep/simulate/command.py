"""Simulate five species whose differences are known.

--signal clade    sequences evolved from one ancestor along the great apes' tree
--signal markov   one Markov source a species; the best possible accuracy is known exactly
                  (genomamba prepare bayes)

Writes OUTPUT/SPECIES.fa, with the same chromosome names in every species, and OUTPUT/truth.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

MEAN_N_RUN = 300.0
MEAN_SOFT_MASK_RUN = 300.0

COMMON = {"chromosomes": 4, "length": 1_000_000, "n_fraction": 0.002}
DEFAULTS = {
    "markov": COMMON | {"order": 2, "kl": 1.5e-5, "soft_mask_fraction": 0.4},
}
PRESETS = {
    # 200 Mbp a species: windows of 2**20 bases, and enough of them to learn from.
    "paper": {"signal": "markov", "kl": 1.5e-5, "chromosomes": 10, "length": 20_000_000},
    # 8 Mbp a species: simulated and encoded in seconds.
    "demo": {"signal": "markov", "kl": 2e-3, "chromosomes": 8, "length": 1_000_000},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder to create"
    )
    parser.add_argument(
        "--preset", choices=list(PRESETS), help="a set of values; options override it"
    )
    parser.add_argument("--signal", choices=["clade", "markov"], help="default: clade")
    parser.add_argument("--chromosomes", type=int, metavar="N", help="a species; default 4")
    parser.add_argument(
        "--length", type=int, metavar="BASES", help="of a chromosome; default 1_000_000"
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument(
        "--n-fraction", type=float, metavar="F", help="bases in runs of N; default 0.002"
    )
    parser.add_argument("--force", action="store_true", help="replace DIR if it exists")
    markov = parser.add_argument_group("markov")
    markov.add_argument("--order", type=int, metavar="K", help="of the sources, 1 to 5; default 2")
    markov.add_argument(
        "--kl", type=float, help="KL rate between any two species, nats a base; default 1.5e-5"
    )
    markov.add_argument(
        "--soft-mask-fraction", type=float, metavar="F", help="bases in lower case; default 0.4"
    )


def _settings(args: argparse.Namespace) -> tuple[str, dict]:
    """The signal and its options' values: defaults, then the preset's, then the command line's."""
    from genomamba_data_prep.errors import InputError

    preset = dict(PRESETS.get(args.preset, {}))
    signal = preset.pop("signal", args.signal or "clade")
    if args.signal not in (None, signal):
        raise InputError(
            f"--preset {args.preset} is for --signal {signal}, not {args.signal}",
            fix="Leave one of the two options out",
        )
    known = {name for defaults in DEFAULTS.values() for name in defaults}
    given = {name: getattr(args, name) for name in known if getattr(args, name) is not None}
    for name in given.keys() - DEFAULTS[signal].keys():
        option = "--" + name.replace("_", "-")
        raise InputError(f"{option} does not apply to --signal {signal}", fix="Leave it out")
    settings = DEFAULTS[signal] | preset | given
    for name in ("chromosomes", "length"):
        if settings[name] < 1:
            raise InputError(f"--{name} {settings[name]}: expected at least 1")
    for name in ("n_fraction", "soft_mask_fraction"):
        if not 0 <= settings.get(name, 0) <= 0.9:
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} {settings[name]}: expected 0 to 0.9")
    if args.seed < 0:
        raise InputError(f"--seed {args.seed}: expected 0 or more")
    return signal, settings | {"seed": args.seed}


def run(args: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    from genomamba_data_prep.atomic import atomic_directory
    from genomamba_data_prep.errors import InputError

    _, settings = _settings(args)
    if args.output.exists() and not args.force:
        raise InputError("already exists", file=args.output, fix="Replace it with --force")
    if not args.output.parent.is_dir():
        raise InputError("no such folder", file=args.output.parent, fix="Create it first")

    from genomamba_data_prep.simulate.markov_simulation import markov_truth, write_markov
    from genomamba_data_prep.simulate.masks import Runs

    settings["n_runs"] = Runs(settings.pop("n_fraction"), MEAN_N_RUN)
    settings["soft_mask_runs"] = Runs(settings.pop("soft_mask_fraction"), MEAN_SOFT_MASK_RUN)
    truth = markov_truth(**settings)
    with atomic_directory(args.output, replace=args.force) as directory:
        write_markov(directory, truth)
    return 0
