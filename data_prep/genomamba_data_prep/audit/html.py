"""The audit as a page that stands alone: verdict, charts, tables, inputs, definitions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from genomamba_data_prep.audit.accuracy import Accuracy
from genomamba_data_prep.audit.audit import CONTROLS, KS, LONGEST_TRAINING, REPEATS, Audit
from genomamba_data_prep.audit.verdict import MOST_SHARED, SEES, TITLES, Finding
from genomamba_data_prep.locus_bootstrap import MIN_LOCI
from genomamba_data_prep.report.charts import Axis, Series, line_chart, linear_axis
from genomamba_data_prep.report.page import (
    commands,
    figure,
    key_figures,
    page,
    section,
    table,
)

BASELINES = {f"{k}-mers": f"{k}-mers" for k in KS} | {REPEATS: "repeats"}
SPREAD = 0.09  # octaves between the marks of two classifiers at one length
MARKS = {"passes": ("✓", "good"), "fails": ("✗", "bad"), "doubtful": ("!", "warn")}
INTERVAL = (
    "Bars and ±: 95 % intervals over loci, which are drawn again whole, in all species at once. "
    f"Where there are fewer than {MIN_LOCI} loci there is no bar, and nothing is judged."
)


def html_page(audit: Audit, findings: Sequence[Finding], request: Mapping[str, Any]) -> str:
    """The HTML file's content."""
    n = len(audit.classes)
    longest = audit.by_length[-1]
    best = max(longest.accuracies[name].accuracy for name in BASELINES)
    lead = (
        f"Can {', '.join(audit.classes)} be told apart by something that is not their sequence, or "
        "by sequence that was in training? Chance is 1 in "
        f"{n}: {1 / n:.3f}."
    )
    failed = sum(finding.level == "fails" for finding in findings)
    body = [
        key_figures(
            {
                "checks failed": f"{failed} of {len(CONTROLS) + 1}",
                f"best baseline at {longest.length:,} bp": f"{best:.3f}",
                "chance": f"{1 / n:.3f}",
                "test 31-mers in training, at most": f"{_most_shared(audit):.2%}",
            }
        ),
        section("Verdict", _verdict_note(findings), *map(_finding, findings)),
        section(
            "Controls that should fail",
            "Each classifier sees one thing that says nothing about a species' sequence. Above "
            "chance it has found an artefact, which a model will find too.",
            figure(_chart(audit, TITLES), INTERVAL),
            _table(audit, TITLES),
            table(
                ("control", "what it sees"),
                [(TITLES[name], SEES[name]) for name in CONTROLS],
                numeric=False,
            ),
        ),
        section(
            "Baselines",
            "Frequencies of words of k bases, both strands counted together; and of repeats of a "
            "unit of 1 to 4 bases, by their length, in which assemblies differ as well as species. "
            "What they reach, a sequence model has to exceed.",
            figure(_chart(audit, BASELINES), INTERVAL),
            _table(audit, BASELINES),
        ),
        section("Shared 31-mers", _shared_text(audit), _shared_table(audit)),
        section("Windows", _windows_text(audit), _windows_table(audit)),
        section("How it was measured", _method(request)),
        section("Inputs", "The same command gives the same figures.", _inputs(request)),
    ]
    return page("Audit of a species set", lead, body)


def _verdict_note(findings: Sequence[Finding]) -> str:
    levels = {finding.level for finding in findings}
    if "fails" in levels:
        return (
            "At least one check failed. It holds after Holm's correction for the number of "
            "controls and lengths at a familywise error of 5 %."
        )
    return "No check failed." + (" Some are doubtful." if "doubtful" in levels else "")


def _finding(finding: Finding) -> str:
    mark, style = MARKS.get(finding.level, ("·", "open"))
    advice = f"<br><span>{escape(finding.advice)}.</span>" if finding.advice else ""
    return (
        f'<p class="finding {style}"><b>{mark} {escape(finding.level)}</b> '
        f"{escape(finding.text)}.{advice}</p>"
    )


def _chart(audit: Audit, titles: Mapping[str, str]) -> str:
    lengths = [result.length for result in audit.by_length]
    x = Axis(
        "window length, bases",
        min(lengths) / 2**0.5,
        max(lengths) * 2**0.5,
        [(length, f"{length:,}") for length in lengths],
        log2=True,
    )
    chance = 1 / len(audit.classes)
    shown = [
        bound
        for result in audit.by_length
        for name in titles
        for a in [result.accuracies[name]]
        for bound in (a.accuracy, a.low, a.high)
        if bound is not None
    ]
    low, high = min([*shown, chance]), max([*shown, chance])
    margin = max(0.02, 0.06 * (high - low))
    y = linear_axis("accuracy", max(0.0, low - margin), min(1.0, high + margin), 6)
    series = [Series("chance", "chance", [x.low, x.high], [chance, chance])]
    for number, (name, title) in enumerate(titles.items()):
        shift = 2 ** (SPREAD * (number - (len(titles) - 1) / 2))
        own = [result.accuracies[name] for result in audit.by_length]
        series.append(
            Series(
                title,
                f"s{number + 1}",
                [length * shift for length in lengths],
                [a.accuracy for a in own],
                [a.accuracy if a.low is None else a.low for a in own],
                [a.accuracy if a.high is None else a.high for a in own],
                markers=True,
            )
        )
    return line_chart("accuracy by window length", x, y, series)


def _table(audit: Audit, titles: Mapping[str, str]) -> str:
    rows = [
        [f"{r.length:,}", *(_cell(r.accuracies[name]) for name in titles)] for r in audit.by_length
    ]
    return table(["bases", *titles.values()], rows)


def _cell(accuracy: Accuracy) -> str:
    if accuracy.low is None:
        return f"{accuracy.accuracy:.3f} ({accuracy.loci} loci)"
    assert accuracy.high is not None
    half = max(accuracy.accuracy - accuracy.low, accuracy.high - accuracy.accuracy)
    return f"{accuracy.accuracy:.3f} ± {half:.3f}"


def _most_shared(audit: Audit) -> float:
    pairs = zip(audit.shared.shared_any.tolist(), audit.shared.distinct.tolist(), strict=True)
    return max(any_ / max(1, n) for any_, n in pairs)


def _shared_text(audit: Audit) -> str:
    sampled = audit.shared.sampled_one_in
    sample = (
        "All words are compared."
        if sampled == 1
        else f"A sample of the words is compared, one in {sampled} by their hash."
    )
    return (
        "How much of a species' test split (rows) is, word for word, in the training split of a "
        f"species (columns), as a fraction of the test split's distinct canonical 31-mers without "
        f"N. {sample} Repeats leave a few per cent; above {MOST_SHARED:.0%} this check fails."
    )


def _shared_table(audit: Audit) -> str:
    shared = audit.shared
    rows = [
        [
            species,
            f"{distinct:,}",
            *(f"{count / max(1, distinct):.2%}" for count in row),
            f"{any_ / max(1, distinct):.2%}",
        ]
        for species, distinct, row, any_ in zip(
            audit.classes,
            shared.distinct.tolist(),
            shared.shared.tolist(),
            shared.shared_any.tolist(),
            strict=True,
        )
    ]
    return table(["test", "31-mers", *(f"in {s}" for s in audit.classes), "in any"], rows)


def _windows_text(audit: Audit) -> str:
    left_out = "".join(
        f" {length:,} bases are left out: {reason}." for length, reason in audit.left_out.items()
    )
    return f"As many of every species, at orthologous places where record names agree.{left_out}"


def _windows_table(audit: Audit) -> str:
    header = ("bases", "training bases", "training windows", "test windows", "loci", "refused")
    rows = [
        [
            f"{r.length:,}",
            f"{r.train_length:,}",
            f"{r.train_windows:,}",
            f"{r.test_windows:,}",
            f"{r.accuracies['n'].loci} of {r.locus:,} or more",
            f"{r.refused:,}",
        ]
        for r in audit.by_length
    ]
    return table(header, rows)


def _method(request: Mapping[str, Any]) -> str:
    half = int(math.log2(LONGEST_TRAINING))
    return (
        "Every classifier is linear discriminant analysis with Ledoit-Wolf shrinkage and equal "
        "priors (scikit-learn), k-mers as square roots of frequencies, repeats as frequencies, "
        "fitted to windows of the "
        f"training split every half length. Training windows have at most 2^{half} bases, and "
        "longer test windows are classified with these. Test intervals are cut in equal loci of at "
        "least two window lengths; test windows begin every quarter length and never reach over a "
        "locus's end, so that windows of different loci do not overlap. The interval is the "
        "bootstrap's standard error over loci times Student's t. Windows with more than "
        f"{request['settings']['max_n_fraction']:.0%} of N are refused. Sequence of the validation "
        "split is not used."
    )


def _inputs(request: Mapping[str, Any]) -> str:
    rows = [
        ("species set", f"{request['set']}, digest {request['set_digest']}"),
        ("splits", f"{request['splits']}, digest {request['splits_digest']}"),
        *((name.replace("_", " "), str(v)) for name, v in request["settings"].items()),
        ("versions", ", ".join(f"{name} {v}" for name, v in request["versions"].items())),
    ]
    return commands([request["command"]]) + table(("input", "value"), rows, numeric=False)
