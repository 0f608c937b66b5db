"""Simulate five species whose differences are known.

--signal clade    sequences evolved from one ancestor along the great apes' tree
--signal markov   one Markov source a species; the best possible accuracy is known exactly
                  (genomamba prepare bayes)

Writes OUTPUT/SPECIES.fa, with the same chromosome names in every species, and OUTPUT/truth.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

MEAN_N_RUN = 300.0
MEAN_SOFT_MASK_RUN = 300.0

COMMON = {"chromosomes": 4, "length": 1_000_000, "n_fraction": 0.002}
DEFAULTS = {
    "clade": COMMON | {"signal_strength": 1.0, "indel_rate": 0.14, "ts_tv": 2.1, "cpg": 10.0},
    "markov": COMMON | {"order": 2, "kl": 1.5e-5, "soft_mask_fraction": 0.4},
}
RANGES = {
    "chromosomes": (1, 1000),
    "length": (1000, 2**31),
    "n_fraction": (0, 0.9),
    "order": (1, 5),
    "kl": (1e-9, 1),
    "soft_mask_fraction": (0, 0.9),
    "signal_strength": (0, 10),
    "indel_rate": (0, 1),
    "ts_tv": (0.1, 100),
    "cpg": (0.1, 100),
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
    clade = parser.add_argument_group("clade")
    clade.add_argument(
        "--signal-strength",
        type=float,
        metavar="S",
        help="scales the lineages' mutation spectra and repeat insertions; 0 none, 1 (default) "
        "about that of the great apes",
    )
    clade.add_argument(
        "--indel-rate", type=float, metavar="R", help="small indels a substitution; default 0.14"
    )
    clade.add_argument(
        "--ts-tv", type=float, metavar="R", help="transitions a transversion; default 2.1"
    )
    clade.add_argument(
        "--cpg", type=float, metavar="F", help="factor of CpG transitions; default 10"
    )
    markov = parser.add_argument_group("markov")
    markov.add_argument("--order", type=int, metavar="K", help="of the sources, 1 to 5; default 2")
    markov.add_argument(
        "--kl", type=float, help="KL rate between any two species, nats a base; default 1.5e-5"
    )
    markov.add_argument(
        "--soft-mask-fraction", type=float, metavar="F", help="bases in lower case; default 0.4"
    )


def _settings(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The signal and its options' values: defaults, the preset over them, then those given."""
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
    for name, value in settings.items():
        low, high = RANGES[name]
        if not low <= value <= high:
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} {value}: expected {low:g} to {high:g}")
    if args.seed < 0:
        raise InputError(f"--seed {args.seed}: expected 0 or more")
    return signal, settings | {"seed": args.seed}


def _check_output(output: Path, force: bool) -> None:
    from genomamba_data_prep.errors import InputError

    if not output.absolute().parent.is_dir():
        raise InputError("no such folder", file=output.parent, fix="Create it first")
    if not output.exists():
        return
    if not force:
        raise InputError("already exists", file=output, fix="Replace it with --force")
    if not (output / "truth.json").is_file():
        raise InputError(
            "is not a simulation, and --force replaces nothing else",
            file=output,
            fix="Choose another --output",
        )


def run(args: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    signal, settings = _settings(args)
    _check_output(args.output, args.force)

    from genomamba_data_prep.atomic import atomic_directory
    from genomamba_data_prep.simulate.masks import Runs

    settings["n_runs"] = Runs(settings.pop("n_fraction"), MEAN_N_RUN)
    if signal == "markov":
        from genomamba_data_prep.simulate.markov_simulation import markov_truth, write_markov

        soft_mask = Runs(settings.pop("soft_mask_fraction"), MEAN_SOFT_MASK_RUN)
        truth = markov_truth(soft_mask_runs=soft_mask, **settings)
        with atomic_directory(args.output, replace=args.force) as directory:
            write_markov(directory, truth)
        return 0
    from genomamba_data_prep.simulate.clade import Clade, write_clade

    with atomic_directory(args.output, replace=args.force) as directory:
        write_clade(directory, Clade(**settings))
    return 0
