"""The audit: loci, intervals, controls that find what was planted, shared 31-mers, the command."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genomamba.cli import main
from genomamba_data_prep import splits as splits_file
from genomamba_data_prep.audit.accuracy import score
from genomamba_data_prep.audit.audit import Settings, run_audit
from genomamba_data_prep.audit.classifiers import predict_lda
from genomamba_data_prep.audit.features import RUN_BINS, run_features
from genomamba_data_prep.audit.shared_kmers import SharedKmers, shared_kmers
from genomamba_data_prep.audit.verdict import judge
from genomamba_data_prep.audit.windows import choose_windows
from genomamba_data_prep.codes import decode, reverse_complement
from genomamba_data_prep.encode import encode_fasta
from genomamba_data_prep.intervals import wilson
from genomamba_data_prep.locus_bootstrap import MIN_LOCI
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval, Splits
from genomamba_data_prep.store import Store

SPECIES = ("a", "b")
TRAIN, TEST = ("train1", "train2"), ("test1", "test2", "test3")
TEST_CHR1 = ("chr1:60511790-63016476", "chr1:63927557-65974636")
WRITE_SET = Callable[..., Path]


def letters(rng: np.random.Generator, n: int, p: tuple[float, ...] = (0.25,) * 4) -> str:
    return decode(rng.choice(4, n, p=p).astype(np.uint8)).decode()


def with_runs(rng: np.random.Generator, text: str, spacing: int, run: int, lower: bool) -> str:
    """Runs of N, or of lower case, at random places."""
    array = np.array(list(text))
    for start in rng.integers(0, len(text) - run, len(text) // spacing):
        place = slice(start, start + run)
        array[place] = np.char.lower(array[place]) if lower else "N"
    return "".join(array)


@pytest.fixture
def make(write_species_set: WRITE_SET, tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Writes a set of two species and its splits; ``change`` edits a species' letters."""

    def write(change: Callable[[str, str, str], str] = lambda species, name, text: text):
        genomes = {}
        for number, species in enumerate(SPECIES):
            rng = np.random.default_rng(number)
            genomes[species] = {
                name: change(species, name, letters(rng, 60_000)) for name in TRAIN + TEST
            }
        path = write_species_set(genomes)
        command = ["prepare", "split", str(path), "--train", ",".join(TRAIN)]
        output = tmp_path / "splits.tsv"
        assert main([*command, "--test", ",".join(TEST), "--output", str(output)]) == 0
        return path, output

    return write


@pytest.fixture
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the longer words, whose fits take seconds."""
    for module in ("audit", "verdict"):
        monkeypatch.setattr(f"genomamba_data_prep.audit.{module}.KS", (1, 2, 3))


def audit(made: tuple[Path, Path], **settings: int):
    species_set = SpeciesSet.read(made[0])
    defaults = {"train_windows": 800, "test_windows": 400, "locus": 8000} | settings
    return run_audit(
        species_set, splits_file.read(made[1], species_set), Settings((1024,), **defaults)
    )


def levels(result) -> dict[str, str]:
    return {finding.subject: finding.level for finding in judge(result)}


@pytest.mark.usefixtures("few_words")
def test_equal_species_pass_every_control(make: Callable[..., tuple[Path, Path]]) -> None:
    result = audit(make())
    assert levels(result) == {
        "n": "passes",
        "length": "passes",
        "record_length": "open",  # three test records are too few loci
        "soft_mask": "passes",
        "k-mers": "note",
        "repeats": "note",
        "shared_kmers": "passes",
    }
    at = result.by_length[0]
    assert at.test_windows == 400
    assert at.accuracies["n"].accuracy == 0.5  # nothing to see: one class always


@pytest.mark.parametrize(("lower", "control"), [(False, "n"), (True, "soft_mask")])
@pytest.mark.usefixtures("few_words")
def test_a_planted_artefact_is_found(
    make: Callable[..., tuple[Path, Path]], lower: bool, control: str
) -> None:
    rng = np.random.default_rng(5)

    def change(species: str, name: str, text: str) -> str:
        # As many bases in either species, in runs of another length.
        run = 10 if species == "a" else 40
        return with_runs(rng, text, 20 * run, run, lower)

    result = audit(make(change))
    found = levels(result)
    assert found[control] == "fails"
    assert found["soft_mask" if control == "n" else "n"] == "passes"
    assert result.by_length[0].accuracies[control].accuracy > 0.9


def test_composition_is_the_kmers_to_find(make: Callable[..., tuple[Path, Path]]) -> None:
    rng = np.random.default_rng(6)

    def change(species: str, name: str, text: str) -> str:
        return letters(rng, len(text), (0.2, 0.3, 0.3, 0.2)) if species == "b" else text

    accuracies = audit(make(change)).by_length[0].accuracies
    for k in range(1, 7):
        assert accuracies[f"{k}-mers"].accuracy > 0.95
    assert accuracies["n"].accuracy == 0.5


@pytest.mark.usefixtures("few_words")
def test_repeats_are_found_where_words_are_alike(make: Callable[..., tuple[Path, Path]]) -> None:
    rng = np.random.default_rng(8)

    def change(species: str, name: str, text: str) -> str:
        # As many A more in either species, in runs of 10 or 40.
        run, parts = (10 if species == "a" else 40), list(text)
        for start in rng.integers(0, len(text) - run, len(text) // (25 * run)).tolist():
            parts[start : start + run] = "A" * run
        return "".join(parts)

    accuracies = audit(make(change)).by_length[0].accuracies
    assert accuracies["repeats"].accuracy > 0.95
    assert accuracies["repeats"].accuracy > accuracies["1-mers"].accuracy + 0.2


@pytest.mark.usefixtures("few_words")
def test_same_figures_from_the_same_seed(make: Callable[..., tuple[Path, Path]]) -> None:
    made = make()
    first = audit(made)
    assert audit(made).by_length == first.by_length
    assert audit(made, seed=1).by_length != first.by_length


def test_shared_words(make: Callable[..., tuple[Path, Path]]) -> None:
    """Half of b's first test record is a's training sequence, on the other strand."""
    copied = letters(np.random.default_rng(9), 30_000)
    codes = np.array(["ACGT".index(letter) for letter in copied], dtype=np.uint8)
    other = decode(reverse_complement(codes)).decode()

    def change(species: str, name: str, text: str) -> str:
        if (species, name) == ("a", "train1"):
            return copied + text[30_000:]
        return other + text[30_000:] if (species, name) == ("b", "test1") else text

    made = make(change)
    species_set = SpeciesSet.read(made[0])
    assigned = splits_file.read(made[1], species_set)
    shared = shared_kmers(species_set, assigned.intervals("train"), assigned.intervals("test"))
    assert shared.sampled_one_in == 1
    assert shared.distinct.tolist() == [3 * (60_000 - 30)] * 2
    assert shared.shared.tolist() == [[0, 0], [30_000 - 30, 0]]
    assert shared.shared_any.tolist() == [0, 30_000 - 30]


def test_a_sample_of_words_keeps_the_fraction(
    make: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = letters(np.random.default_rng(9), 30_000)
    made = make(lambda s, name, t: copied + t[30_000:] if name in ("train1", "test1") else t)
    species_set = SpeciesSet.read(made[0])
    assigned = splits_file.read(made[1], species_set)
    sides = assigned.intervals("train"), assigned.intervals("test")
    whole = shared_kmers(species_set, *sides)
    monkeypatch.setattr("genomamba_data_prep.audit.shared_kmers.MOST_WORDS", 50_000)
    monkeypatch.setattr("genomamba_data_prep.audit.shared_kmers.BLOCK", 1000)
    sample = shared_kmers(species_set, *sides)
    assert sample.sampled_one_in == 4
    assert sample.distinct == pytest.approx(whole.distinct / 4, rel=0.02)
    exact = whole.shared_any / whole.distinct
    assert sample.shared_any / sample.distinct == pytest.approx(exact, rel=0.05)


def test_windows_are_orthologous_and_loci_do_not_overlap(write_species_set: WRITE_SET) -> None:
    rng = np.random.default_rng(0)
    records = {f"r{i}": letters(rng, 9000 + 500 * i) for i in range(4)}
    species_set = SpeciesSet.read(write_species_set({"a": records, "b": records}))
    intervals = [
        Interval(s, name, 100, len(text), "test") for s in "ab" for name, text in records.items()
    ]
    windows = choose_windows(
        species_set,
        intervals,
        1000,
        step=250,
        locus_size=2000,
        windows=60,
        seed=3,
        max_n_fraction=0.1,
    )
    assert len(windows) == 60
    a, b = windows.label == 0, windows.label == 1
    np.testing.assert_array_equal(windows.start[a], windows.start[b])
    np.testing.assert_array_equal(windows.locus[a], windows.locus[b])
    covered: dict[tuple[int, int], int] = {}
    for interval, start, locus in zip(windows.interval, windows.start, windows.locus, strict=True):
        assert intervals[interval].start <= start <= intervals[interval].end - 1000
        for base in range(start, start + 1000):
            assert covered.setdefault((interval, base), locus) == locus


def test_windows_of_n_are_refused(write_species_set: WRITE_SET) -> None:
    text = "N" * 5000 + "ACGT" * 1250
    species_set = SpeciesSet.read(write_species_set({"a": {"r": text}, "b": {"r": text}}))
    intervals = [Interval(s, "r", 0, 10_000, "test") for s in "ab"]
    windows = choose_windows(
        species_set,
        intervals,
        1000,
        step=500,
        locus_size=2000,
        windows=100,
        seed=0,
        max_n_fraction=0.1,
    )
    assert windows.start.min() == 5000
    assert windows.refused == 16  # eight in each species, two of them with some N


def test_run_features() -> None:
    track = np.zeros(100, dtype=bool)
    track[[10, 20, 21, 22, 50, 51, 52, 53]] = True
    features = run_features(track)
    assert features[:2] == pytest.approx([0.08, 0.03])
    assert features[2 : 2 + RUN_BINS][:3] == pytest.approx([0.01, 0.03, 0.04])
    assert features[2:].sum() == pytest.approx(1)  # every base is in one run
    # A window of 2^18 has the mean of its pieces of 2^16.
    long = np.random.default_rng(0).random(1 << 18) < 0.01
    pieces = [run_features(piece) for piece in np.split(long, 4)]
    np.testing.assert_allclose(run_features(long), np.mean(pieces, axis=0))


def test_lda_agrees_with_float64_and_sees_what_never_varies_within_a_class() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(0)
    labels = np.arange(600) % 3
    means = rng.normal(0, 1e-3, (3, 20))
    features = 0.02 + means[labels] + rng.normal(0, 2e-3, (600, 20))
    [predicted] = predict_lda(features, labels, [features], 3, seed=0)
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[1 / 3] * 3)
    expected = lda.fit((features - 0.02) / 2e-3, labels).predict((features - 0.02) / 2e-3)
    assert (predicted == expected).mean() > 0.99
    constant = labels[:, None].astype(float)
    assert (predict_lda(constant, labels, [constant], 3, seed=0)[0] == labels).all()
    nothing = np.ones((600, 2))
    assert not predict_lda(nothing, labels, [nothing], 3, seed=0)[0].any()


def test_interval_covers_and_respects_loci() -> None:
    """95 % intervals over 12 loci of unlike difficulty cover the truth about as often as they say;
    intervals over windows would not."""
    rng = np.random.default_rng(0)
    covered = by_window = 0
    loci = np.repeat(np.arange(12), 40)
    labels = np.arange(480) % 2
    for seed in range(100):
        hard = rng.beta(3, 3, 12)[loci]  # mean accuracy 0.5
        predicted = np.where(rng.random(480) > hard, labels, 1 - labels)
        own = score(predicted, labels, loci, 2, seed)
        assert own.low is not None
        assert own.high is not None
        covered += own.low <= 0.5 <= own.high
        low, high = wilson(int((predicted == labels).sum()), 480)
        by_window += low <= 0.5 <= high
    assert 90 <= covered <= 99
    assert by_window < 75


def test_too_few_loci_are_not_judged() -> None:
    labels = np.arange(40) // 20
    few = score(labels, labels, np.arange(40) % (MIN_LOCI - 1), 2, 0)
    assert (few.accuracy, few.low, few.high, few.p_value) == (1.0, None, None, None)
    enough = score(labels, labels, np.arange(40) % MIN_LOCI, 2, 0)
    assert (enough.low, enough.high, enough.p_value) == (1.0, 1.0, 0.0)


@pytest.mark.slow
@pytest.mark.real_data
def test_kmers_reach_the_known_figures_on_real_sequence(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 2^20 the windows are those of KMER-BASELINE.txt, made independently, and so is the
    accuracy; at 2^18, where fewer windows fit the loci, the known figure is in the interval."""
    folder = real_data / "great_apes" / "chr1"
    pattern = r"^L 2\^(\d+) k 4 .* accuracy (\S+)$"
    text = (folder / "KMER-BASELINE.txt").read_text()
    known = {1 << int(i): float(a) for i, a in re.findall(pattern, text, re.M)}
    rows, intervals = ["species\tstore"], []
    for species in ("human", "chimp", "gorilla", "orangutan"):
        store = tmp_path / species
        encode_fasta([folder / f"{species}.{part}.fa.gz" for part in ("train", "test")], store)
        for name, record in Store.open(store).records.items():
            part = "test" if name in TEST_CHR1 else "train"
            intervals.append(Interval(species, name, 0, record.length, part))
        rows.append(f"{species}\t{species}")
    path = tmp_path / "species.tsv"
    path.write_text("\n".join(rows) + "\n")
    species_set = SpeciesSet.read(path)
    monkeypatch.setattr("genomamba_data_prep.audit.audit.KS", (4,))
    nothing = SharedKmers(1, *(np.zeros(4, dtype=np.int64) for _ in range(3)))
    monkeypatch.setattr("genomamba_data_prep.audit.audit.shared_kmers", lambda *_: nothing)
    result = run_audit(species_set, Splits(species_set, intervals), Settings((1 << 18, 1 << 20)))
    shorter, longest = (own.accuracies["4-mers"] for own in result.by_length)
    assert longest.windows == 36
    assert longest.accuracy == pytest.approx(known[1 << 20], abs=1.5 / 36)
    assert shorter.low is not None
    assert shorter.high is not None
    assert shorter.low <= known[1 << 18] <= shorter.high
