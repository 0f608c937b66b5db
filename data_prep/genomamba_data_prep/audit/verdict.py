"""What the figures mean, in plain words, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

from genomamba_data_prep.audit.audit import CONTROLS, KS, REPEATS, Audit, LengthResult

LEVEL = 0.05
MOST_SHARED = 0.1  # of the distinct 31-mers; repeats leave about a thirtieth in great apes

TITLES = {
    "n": "N positions only",
    "length": "N-free length only",
    "record_length": "record length only",
    "soft_mask": "soft mask only",
}
SEES = {
    "n": "the fraction of N, the number of runs of N, and the bases in runs of N and between them "
    "by the run's length (powers of two)",
    "length": "how many bases of the window are not N",
    "record_length": "the length of the record and of the split interval that the window is from; "
    "all windows of a record have the same, so whole records are its loci",
    "soft_mask": "the same of lower-case letters as the first sees of N",
}
ADVICE = {
    "n": "Put N in all species where one has it, or use records without gaps; a smaller "
    "--max-n-fraction refuses the worst windows. Until then report this control beside the model",
    "length": "As for the positions of N",
    "record_length": "Windows of one length do not show it; never compare species by whole records "
    "of different lengths",
    "soft_mask": "The assemblies were masked differently: train without the soft mask",
}


class Finding(NamedTuple):
    """One line of the verdict.

    Attributes:
        subject: a control's name, "k-mers", "repeats" or "shared_kmers".
        level: "passes"; "doubtful", above chance beyond its interval, but not after correction for
            the number of comparisons; "fails"; "open" where there are too few loci; "note".
        text: what was found.
        advice: what to do about it, or nothing.
    """

    subject: str
    level: str
    text: str
    advice: str


def judge(audit: Audit) -> list[Finding]:
    """The verdict: each control, the baselines, the shared 31-mers."""
    significant = _holm(audit)
    findings = [_control(audit, name, significant) for name in CONTROLS]
    return [*findings, _kmers(audit), _repeats(audit), _shared(audit)]


def _holm(audit: Audit) -> set[tuple[str, int]]:
    """Controls and lengths above chance with a familywise error of 5 % (Holm 1979)."""
    tests = sorted(
        (accuracy.p_value, name, result.length)
        for result in audit.by_length
        for name, accuracy in result.accuracies.items()
        if name in CONTROLS and accuracy.p_value is not None
    )
    significant: set[tuple[str, int]] = set()
    for rank, (p_value, name, length) in enumerate(tests):
        if p_value > LEVEL / (len(tests) - rank):
            break
        significant.add((name, length))
    return significant


def _control(audit: Audit, name: str, significant: set[tuple[str, int]]) -> Finding:
    chance = 1 / len(audit.classes)
    judged = [r for r in audit.by_length if r.accuracies[name].low is not None]
    if not judged:
        loci = max(result.accuracies[name].loci for result in audit.by_length)
        return Finding(
            name,
            "open",
            f"{TITLES[name]}: {loci} independent loci are too few to judge it",
            "Give the test split more records",
        )
    above = [r for r in judged if (r.accuracies[name].low or 0) > chance]
    if not above:
        best = max(judged, key=lambda r: r.accuracies[name].accuracy)
        text = f"{TITLES[name]}: at chance at every length; at most {figure(best, name)}"
        return Finding(name, "passes", text, "")
    surely = [result for result in above if (name, result.length) in significant]
    shown = "; ".join(figure(result, name) for result in surely or above)
    if surely:
        return Finding(name, "fails", f"{TITLES[name]}: above chance, {shown}", ADVICE[name])
    text = (
        f"{TITLES[name]}: above chance beyond its interval, {shown}; not so when corrected for the "
        "number of controls and lengths"
    )
    return Finding(name, "doubtful", text, ADVICE[name])


def _kmers(audit: Audit) -> Finding:
    names = [f"{k}-mers" for k in KS]
    longest = audit.by_length[-1]
    best = max(names, key=lambda name: longest.accuracies[name].accuracy)
    text = f"a model has to beat the k-mers: {best} reach {figure(longest, best)}"
    return Finding("k-mers", "note", text, "")


def _repeats(audit: Audit) -> Finding:
    text = f"and the lengths of repeats, which reach {figure(audit.by_length[-1], REPEATS)}"
    return Finding(REPEATS, "note", text, "")


def _shared(audit: Audit) -> Finding:
    shared = audit.shared
    fractions = [
        any_ / max(1, n)
        for any_, n in zip(shared.shared_any.tolist(), shared.distinct.tolist(), strict=True)
    ]
    most = max(fractions)
    text = (
        f"shared 31-mers: {min(fractions):.2%} to {most:.2%} of a test split's distinct 31-mers "
        "are in the training split of some species"
    )
    if most <= MOST_SHARED:
        return Finding("shared_kmers", "passes", text, "")
    advice = (
        f"More than {MOST_SHARED:.0%} is more than repeats leave between distant loci: look for "
        "duplicated, overlapping or homologous records on both sides"
    )
    return Finding("shared_kmers", "fails", text, advice)


def figure(result: LengthResult, name: str) -> str:
    """A classifier's accuracy at a length, in words."""
    accuracy = result.accuracies[name]
    interval = (
        f"{accuracy.low:.3f} to {accuracy.high:.3f}"
        if accuracy.low is not None
        else f"{accuracy.loci} loci, no interval"
    )
    return f"{accuracy.accuracy:.3f} ({interval}) at {result.length:,} bases"
