"""An evaluation as a page that stands alone: accuracy by length, confusion, calibration, inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from genomamba.inference.evaluate_metrics import BINS, Estimate, count_of_loci
from genomamba.inference.evaluate_results import Evaluation, Quantity, Result
from genomamba_data_prep.locus_bootstrap import MIN_LOCI
from genomamba_data_prep.report.charts import Axis, Series, line_chart, linear_axis
from genomamba_data_prep.report.page import (
    confusion_matrix,
    details,
    figure,
    key_figures,
    page,
    section,
    table,
)

COLOURS = 6  # line styles of the page, s1 to s6
FEW_TICKS = 6  # lengths that have room for all their digits
LENGTHS = "length, bases"
INTERVAL = (
    "Bars: 95 % intervals over loci, which are drawn again whole, never over windows; none "
    f"where there are fewer than {MIN_LOCI} loci."
)


def html_page(evaluation: Evaluation) -> str:
    """The HTML file's content."""
    drawn = _of(evaluation, "manifest")
    longest = drawn[-1].measurement
    body = [
        key_figures(
            accuracy_figures(evaluation) | {"calibration error (ECE)": f"{longest.ece.value:.3f}"}
        ),
        *sections(evaluation),
        _inputs(evaluation),
    ]
    splits = sorted({result.manifest.split for result in drawn})
    lead = (
        f"A classifier of {', '.join(evaluation.classes)} on frozen windows of the split "
        f"{' and '.join(splits)}."
    )
    if "train" in splits:
        lead += " The split train is what it learned from: its figures are no test."
    return page("Evaluation of a classifier", lead, body)


def accuracy_figures(evaluation: Evaluation) -> dict[str, str]:
    """What to see first: the accuracy on the longest windows, its interval, and chance."""
    longest = _of(evaluation, "manifest")[-1]
    accuracy = longest.measurement.accuracy
    return {
        f"accuracy at {longest.length:,} bp": f"{accuracy.value:.3f}",
        "95 % interval": _interval(accuracy, 2).replace(" ", ""),
        "chance": f"{1 / len(evaluation.classes):.3f}",
    }


def sections(evaluation: Evaluation) -> list[str]:
    """Accuracy by length and by class, calibration, confusion at each length."""
    drawn = _of(evaluation, "manifest")
    return [
        _accuracy(evaluation),
        _by_class(evaluation),
        _calibration(evaluation),
        _at_length(evaluation, drawn[-1]),
        *(
            details(_title(result), _at_length(evaluation, result))
            for result in reversed(drawn[:-1])
        ),
    ]


def _of(evaluation: Evaluation, quantity: Quantity) -> list[Result]:
    return [result for result in evaluation.results if result.quantity == quantity]


def _prefixes_of_longest(evaluation: Evaluation) -> list[Result]:
    found = _of(evaluation, "prefix")
    return [result for result in found if result.manifest == found[-1].manifest]


def _tables(
    evaluation: Evaluation, header: Sequence[str], cells: Callable[[Result], Sequence[str]]
) -> list[str]:
    """A row a manifest; and, to be unfolded, one a prefix that is shorter than its windows."""
    shorter = [r for r in _of(evaluation, "prefix") if r.length < r.manifest.length]
    found = []
    for kind, results in (("manifest", _of(evaluation, "manifest")), ("prefixes of", shorter)):
        rows = [(r.manifest.name, f"{r.length:,}", *cells(r)) for r in results]
        found.append(table((kind, "bases", *header), rows))
    return [found[0], details("The prefixes", found[1])] if shorter else found[:1]


def _series(name: str, style: str, x: Sequence[float], found: Sequence[Estimate]) -> Series:
    return Series(
        name,
        style,
        x,
        [e.value for e in found],
        [e.value if e.low is None else e.low for e in found],
        [e.value if e.high is None else e.high for e in found],
        markers=True,
    )


def _length_axis(results: Sequence[Result]) -> Axis:
    lengths = sorted({result.length for result in results})
    few = len(lengths) <= FEW_TICKS
    ticks = [(n, f"{n:,}" if few else _short(n)) for n in lengths]
    label = LENGTHS if few else f"{LENGTHS} (K = 1,024; M = 1,048,576)"
    return Axis(label, lengths[0] / 1.2, lengths[-1] * 1.2, ticks, log2=True)


def _short(length: int) -> str:
    for unit, size in (("M", 1 << 20), ("K", 1 << 10)):
        if length % size == 0:
            return f"{length // size}{unit}"
    return f"{length:,}"


def _accuracy(evaluation: Evaluation) -> str:
    drawn, prefixes = _of(evaluation, "manifest"), _of(evaluation, "prefix")
    x = _length_axis(evaluation.results)
    chance = 1 / len(evaluation.classes)
    lines = [Series("chance", "chance", [x.low, x.high], [chance, chance])]
    text = "The fraction of windows whose most probable species is the true one."
    if prefixes:
        shown = _prefixes_of_longest(evaluation)
        window = shown[-1].manifest.length
        lines.append(
            _series(
                f"prefixes of the {window:,} bp windows",
                "s2",
                [r.length for r in shown],
                [r.measurement.accuracy for r in shown],
            )
        )
        text += (
            " Prefixes are another quantity than windows drawn at that length: the first bases of "
            "longer windows, all at the same places, with the state carried through each window "
            "once. The table has those of every manifest."
        )
    # On top: at the longest length both are the same windows.
    lines.append(_manifests("windows drawn at each length", drawn))
    chart = line_chart("Accuracy by length", x, linear_axis("accuracy", 0, 1), lines)

    def cells(result: Result) -> Sequence[str]:
        found = result.measurement
        accuracy = f"{found.accuracy.value:.3f}"
        apart = result.strand_disagreement
        strands = () if apart is None else (f"{apart:.3f}",)
        return (
            f"{found.windows:,}",
            f"{found.loci:,}",
            accuracy,
            _interval(found.accuracy),
            *strands,
        )

    header = ("windows", "loci", "accuracy", "95 % interval")
    if drawn[-1].strand_disagreement is not None:
        header = (*header, "strands apart")
        text += (
            " Both strands were read and their log-probabilities averaged; how far their "
            "probabilities lie apart, 0 to 1, is a mean over windows."
        )
    if any(result.measurement.accuracy.low is None for result in drawn):
        text += f" An interval takes {MIN_LOCI} loci or more; – stands where there are fewer."
    drawing = [figure(chart, INTERVAL)] if len(x.ticks) > 1 else []
    return section("Accuracy by length", text, *drawing, *_tables(evaluation, header, cells))


def _manifests(name: str, results: Sequence[Result]) -> Series:
    return _series(
        name, "s1", [r.length for r in results], [r.measurement.accuracy for r in results]
    )


def _interval(estimate: Estimate, digits: int = 3) -> str:
    if estimate.low is None:
        return "–"
    return f"{estimate.low:.{digits}f} – {estimate.high:.{digits}f}"


def _by_class(evaluation: Evaluation) -> str:
    drawn, classes = _of(evaluation, "manifest"), evaluation.classes
    text = "Of the windows of each species, those that were taken for it."
    elements = []
    if len(drawn) > 1 and len(classes) <= COLOURS:
        x = _length_axis(drawn)
        lines = []
        for i, name in enumerate(classes):
            own = [(r.length, r.measurement.by_class[i].value) for r in drawn]
            own = [(length, value) for length, value in own if not math.isnan(value)]
            lengths, values = [length for length, _ in own], [value for _, value in own]
            lines.append(Series(name, f"s{i + 1}", lengths, values, markers=True))
        chart = line_chart("Accuracy by class and length", x, linear_axis("accuracy", 0, 1), lines)
        elements.append(figure(chart, "Their intervals are in the table."))
    tables = _tables(
        evaluation, classes, lambda result: [_plus_minus(e) for e in result.measurement.by_class]
    )
    return section("Accuracy by class", text, *elements, *tables)


def _plus_minus(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return "–" if math.isnan(estimate.value) else f"{estimate.value:.2f}"
    half = max(estimate.value - estimate.low, estimate.high - estimate.value)
    return f"{estimate.value:.2f} ± {half:.2f}"


def _with_interval(estimate: Estimate) -> str:
    interval = "" if estimate.low is None else f" ({_interval(estimate)})"
    return f"{estimate.value:.3f}{interval}"


def _title(result: Result) -> str:
    return f"At {result.length:,} bp: confusion and reliability"


def _at_length(evaluation: Evaluation, result: Result) -> str:
    found = result.measurement
    used = [one for one in found.bins if one.windows]
    shown = [one for one in used if one.accuracy.low is not None]
    bars = (
        f"Bars: 95 % intervals over loci; bins with windows of fewer than {MIN_LOCI} loci are in "
        "the table only."
        if shown
        else f"Without intervals: no bin has windows of {MIN_LOCI} loci."
    )
    shown = shown or used
    reliability = _series(
        "accuracy", "s1", [one.confidence for one in shown], [one.accuracy for one in shown]
    )
    chart = line_chart(
        f"Reliability at {result.length:,} bases",
        linear_axis("probability of the predicted class", 0, 1),
        linear_axis("accuracy", 0, 1),
        [Series("perfectly calibrated", "chance", [0, 1], [0, 1]), reliability],
    )
    header = ("probability", "windows", "mean probability", "accuracy", "95 % interval")
    cells = [
        (
            f"{one.low:.3f} – {one.high:.3f}",
            f"{one.windows:,}",
            f"{one.confidence:.3f}",
            f"{one.accuracy.value:.3f}",
            _interval(one.accuracy),
        )
        for one in used
    ]
    return section(
        _title(result),
        f"{result.manifest.name}, {found.windows:,} windows of {count_of_loci(found.loci)}. Rows "
        "are the true species, columns the predicted ones.",
        confusion_matrix(found.confusion, evaluation.classes),
        figure(
            chart,
            f"Windows in {BINS} bins of the predicted class's probability. {bars}",
        ),
        details("The bins", table(header, cells)),
    )


def _calibration(evaluation: Evaluation) -> str:
    text = (
        "Log loss (nats) and Brier score (0 to 2) judge the probabilities, less is better; ECE is "
        "how far accuracy and probability lie apart, averaged over windows; sampling noise alone "
        f"makes it positive. Logits are divided by the temperature {evaluation.temperature:.4f}."
    )
    elements = []
    if evaluation.calibration is not None:
        found = evaluation.calibration
        note = (
            f"The temperature {found.temperature:.4f} was fitted to these {found.windows:,} "
            f"windows by log loss: {found.log_loss_before:.4f} nats without it, "
            f"{found.log_loss_after:.4f} with it. Figures on the same windows flatter it a little."
        )
        elements.append(f"<p>{escape(note)}</p>")

    def cells(result: Result) -> Sequence[str]:
        found = result.measurement
        return [_with_interval(e) for e in (found.log_loss, found.brier, found.ece)]

    tables = _tables(evaluation, ("log loss", "Brier score", "ECE"), cells)
    return section("Calibration", text, *elements, *tables)


def _inputs(evaluation: Evaluation) -> str:
    request = evaluation.request
    locus = request["locus"]
    facts = [
        ("checkpoint", f"{request['checkpoint']}, SHA-256 {request['checkpoint_sha256']}"),
        ("species set", f"{request['species_set']}, digest {request['species_set_digest']}"),
        *(
            (m["name"], f"split {m['split']}, {m['windows']:,} windows, digest {m['digest']}")
            for m in request["manifests"]
        ),
        (
            "locus",
            f"{locus:,} bases of a record"
            if locus
            else "a record, or 1,000,000 bases of it, or four windows where these are more",
        ),
        ("strands", "both" if request.get("both_strands") else "the windows' own"),
        ("bases at a time, device", f"{request['max_bases']:,}, {request['device']}"),
        ("versions", ", ".join(f"{name} {v}" for name, v in request["versions"].items())),
    ]
    return section(
        "Inputs",
        "What a second run needs to give the same figures.",
        table(("input", "value"), facts, numeric=False),
    )
