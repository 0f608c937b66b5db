"""Look for what tells species apart without their sequence, or with sequence seen in training.

    genomamba prepare audit species.tsv --splits splits.tsv --output audit.html

By window length, with intervals over loci: classifiers that should be at chance (N positions,
length, soft mask alone) and k-mer baselines (k = 1 to 6); then the 31-mers that the training and
the test split share. Writes a page and the same figures as JSON beside it; the verdict goes to
stderr.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from genomamba_data_prep.audit.audit import Settings
    from genomamba_data_prep.species_set import SpeciesSet
    from genomamba_data_prep.splits import Splits

PACKAGES = ("genomamba", "numpy", "scikit-learn", "scipy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("set", metavar="SET", help="a species set's TSV")
    parser.add_argument("--splits", required=True, metavar="TSV", help="the splits file")
    parser.add_argument(
        "--output", required=True, metavar="HTML", help="the page; the JSON has the same name"
    )
    parser.add_argument(
        "--lengths",
        metavar="LIST",
        help="window lengths, as in manifest; default 1024,4096,...,1048576 as far as the "
        "intervals allow",
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument(
        "--train-windows", type=int, default=32768, help="at most, over all species (32768)"
    )
    parser.add_argument(
        "--test-windows", type=int, default=8192, help="at most, over all species (8192)"
    )
    parser.add_argument(
        "--locus",
        type=int,
        default=131072,
        help="bases that make one locus at least; never below two window lengths (131072)",
    )
    parser.add_argument(
        "--max-n-fraction", type=float, default=0.1, help="windows above it are refused (0.1)"
    )
    parser.add_argument("--force", action="store_true", help="replace a report that differs")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    from pathlib import Path

    from genomamba_data_prep import splits
    from genomamba_data_prep.audit.audit import Settings, run_audit
    from genomamba_data_prep.audit.verdict import judge
    from genomamba_data_prep.manifest_command import read_lengths
    from genomamba_data_prep.species_set import SpeciesSet

    settings = Settings(
        None if args.lengths is None else tuple(read_lengths(args.lengths)),
        args.seed,
        args.train_windows,
        args.test_windows,
        args.locus,
        args.max_n_fraction,
    )
    html = Path(args.output)
    _check_output(html)
    species_set = SpeciesSet.open(args.set)
    assigned = splits.read(args.splits, species_set)
    request = _request(args, settings, species_set, assigned)
    if not args.force and _up_to_date(html, request):
        print(f"{html}: already up to date", file=sys.stderr)
        return 0
    audit = run_audit(species_set, assigned, settings)
    findings = judge(audit)
    _write(html, audit, findings, request)
    for finding in findings:
        advice = f". {finding.advice}" if finding.advice else ""
        print(f"{finding.level}: {finding.text}{advice}", file=sys.stderr)
    print(f"{html}: written, and {html.with_suffix('.json').name} beside it", file=sys.stderr)
    return 0


def _check_output(html: Path) -> None:
    """That both files can be written: better said before minutes of work than after."""
    import os

    from genomamba_data_prep.errors import InputError

    if html.suffix != ".html":
        raise InputError("expected an --output that ends in .html", file=html)
    if not html.parent.is_dir():
        raise InputError("its folder does not exist", file=html, fix=f"mkdir -p {html.parent}")
    if not os.access(html.parent, os.W_OK):
        raise InputError("its folder cannot be written to", file=html)
    for path in (html, html.with_suffix(".json")):
        if path.is_dir():
            raise InputError("is a folder, not a file", file=path)


def _request(
    args: argparse.Namespace, settings: Settings, species_set: SpeciesSet, assigned: Splits
) -> dict[str, Any]:
    """What is asked, of which data, with which versions: it decides every figure."""
    import shlex
    from dataclasses import asdict
    from importlib.metadata import version

    command = ["genomamba", "prepare", "audit", args.set, "--splits", args.splits]
    for name, value in asdict(settings).items():
        if value is not None:
            text = ",".join(map(str, value)) if name == "lengths" else str(value)
            command += [f"--{name.replace('_', '-')}", text]
    return {
        "command": shlex.join([*command, "--output", args.output]),
        "settings": asdict(settings) | {"lengths": settings.lengths and [*settings.lengths]},
        "set": args.set,
        "set_digest": species_set.digest,
        "splits": args.splits,
        "splits_digest": assigned.digest,
        "versions": {name: version(name) for name in PACKAGES},
    }


def _up_to_date(html: Path, request: dict[str, Any]) -> bool:
    """Whether both files are this request's.

    Raises:
        InputError: at least one is there, and is not.
    """
    import hashlib
    import json

    from genomamba_data_prep.frozen import other_content

    data = html.with_suffix(".json")
    existing = [path for path in (html, data) if path.exists()]
    if not existing:
        return False
    if len(existing) == 2:
        try:
            content = json.loads(data.read_bytes())
            same = content["request"] == request
            if same and content["html_sha256"] == hashlib.sha256(html.read_bytes()).hexdigest():
                return True
        except (ValueError, KeyError, TypeError):
            pass  # not an audit's
    raise other_content(existing[0])


def _write(html: Path, audit: Any, findings: Any, request: dict[str, Any]) -> None:
    """Both files or none."""
    import hashlib

    from genomamba_data_prep.atomic import atomic_file
    from genomamba_data_prep.audit.document import json_document
    from genomamba_data_prep.audit.html import html_page

    content = html_page(audit, findings, request).encode()
    data = json_document(audit, findings, request, hashlib.sha256(content).hexdigest())
    with atomic_file(html.with_suffix(".json")) as json_path, atomic_file(html) as html_path:
        html_path.write_bytes(content)
        json_path.write_text(data, encoding="utf-8")
