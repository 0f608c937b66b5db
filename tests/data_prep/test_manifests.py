"""Frozen evaluation sets: drawn once, verified at every reading."""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from Bio.Seq import Seq

from genomamba_data_prep import splits
from genomamba_data_prep.cli import main as prepare
from genomamba_data_prep.codes import decode
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.manifest_windows import ManifestReader, check_held_out
from genomamba_data_prep.manifests import METADATA_KEY, read_manifest
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval, Splits

GENOMES = {
    species: {
        record: "".join(np.random.default_rng([number, k]).choice(list("ACGTacgtN"), 800))
        for k, record in enumerate(("chr1", "chr2", "chr3"))
    }
    for number, species in enumerate(("human", "chimp", "gorilla"))
}


@pytest.fixture
def path(write_species_set: Callable[..., Path]) -> Path:
    path = write_species_set(GENOMES)
    output = str(path.parent / "splits.tsv")
    prepare(["split", str(path), "--train", "chr1", "--test", "chr2,chr3", "--output", output])
    return path


def draw(path: Path, *options: str) -> Path:
    """What `genomamba prepare manifest` writes."""
    output = path.parent / "test.parquet"
    fixed = ["--splits", str(path.parent / "splits.tsv"), "--output", str(output)]
    given = ["--length", "60", "--windows", "100", "--max-n-fraction", "0.3", *options]
    assert prepare(["manifest", str(path), *fixed, *given]) == 0
    return output


def rewrite(manifest: Path, change: Callable[[dict[str, list]], object]) -> None:
    """Change the table and keep the metadata."""
    table = pq.read_table(manifest)
    columns = table.to_pydict()
    change(columns)
    pq.write_table(pa.table(columns, schema=table.schema), manifest)


@pytest.mark.parametrize("option", ["--weight-by-length", "--uniform-records"])
def test_windows_are_of_the_split_and_equal_a_class(path: Path, option: str) -> None:
    manifest = read_manifest(draw(path, option, "--reverse-complement"), SpeciesSet.read(path))
    rows = manifest.table.to_pylist()
    assert Counter(row["species"] for row in rows) == {"human": 34, "chimp": 33, "gorilla": 33}
    assert {row["record"] for row in rows} == {"chr2", "chr3"}
    assert {row["strand"] for row in rows} == {"+", "-"}
    assert all(row["end"] - row["start"] == 60 for row in rows)
    assert [manifest.origin.classes[label] for label in manifest.labels] == [
        row["species"] for row in rows
    ]


def test_windows_apart_share_no_base_and_are_equal_a_class(path: Path) -> None:
    manifest = read_manifest(draw(path, "--apart"), SpeciesSet.read(path))
    rows = manifest.table.to_pylist()
    counts = Counter(row["species"] for row in rows)
    assert set(counts.values()) == {26}  # 2 records of 800 bases, 13 windows each; all are wanted
    assert {row["record"] for row in rows} == {"chr2", "chr3"}
    assert {row["start"] % 60 for row in rows} == {0}
    assert len({(row["species"], row["record"], row["start"]) for row in rows}) == len(rows)
    assert [row["label"] for row in rows] == [i % 3 for i in range(len(rows))]
    few = read_manifest(draw(path, "--apart", "--windows", "20", "--force")).table.to_pylist()
    assert Counter(row["species"] for row in few) == dict.fromkeys(counts, 6)
    assert {str(row) for row in few} < {str(row) for row in rows}


def test_windows_apart_say_so_and_others_do_not(path: Path) -> None:
    """So that manifests drawn before there was the option keep their hashes."""
    for options, named in (([], False), (["--apart", "--force"], True)):
        content = pq.read_metadata(draw(path, *options)).metadata[METADATA_KEY]
        assert (b'"apart"' in content) == named


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reverse-complement"], "--apart lays windows on the FASTA's strand"),
        (["--windows", "2"], "expected at least a window a species, 3, got 2"),
        (["--split", "valid"], "the split has no interval"),
    ],
)
def test_windows_apart_that_cannot_be(path: Path, options: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw(path, "--apart", *options)


def test_windows_apart_of_intervals_that_overlap(path: Path) -> None:
    bed = path.parent / "overlap.bed"
    bed.write_text("chr2\t0\t400\ttest\nchr2\t150\t700\ttest\n")
    given = [argument for s in GENOMES for argument in ("--intervals", f"{s}={bed}")]
    output = str(path.parent / "splits.tsv")
    prepare(["split", str(path), *given, "--output", output, "--force"])
    starts = sorted(read_manifest(draw(path, "--apart")).table.to_pydict()["start"])
    assert starts == [60 * window for window in range(11) for _ in GENOMES]


def test_the_reader_gives_the_rows_letters(path: Path) -> None:
    species_set = SpeciesSet.read(path)
    manifest = read_manifest(draw(path, "--reverse-complement"), species_set)
    reader = pickle.loads(pickle.dumps(ManifestReader(manifest, species_set)))  # noqa: S301
    picked = np.array([99, 0, 0, 41])
    for row, codes in zip(picked.tolist(), reader.codes(picked), strict=True):
        species, record, start, end, strand, _ = (
            manifest.table.slice(row, 1).to_pylist()[0].values()
        )
        text = GENOMES[species][record][start:end]
        assert decode(codes).decode() == (
            text if strand == "+" else str(Seq(text).reverse_complement())
        )


def test_the_fastas_strand_by_default(path: Path) -> None:
    assert set(pq.read_table(draw(path))["strand"].to_pylist()) == {"+"}


def test_the_sidecar_is_sha256sums(path: Path) -> None:
    manifest = draw(path)
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert Path(f"{manifest}.sha256").read_text() == f"{digest}  test.parquet\n"


def test_drawn_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = draw(path)
    before = manifest.stat().st_mtime_ns
    draw(path)
    assert manifest.stat().st_mtime_ns == before
    assert "already up to date" in capsys.readouterr().err
    with pytest.raises(InputError, match="exists, and this command would write something else"):
        draw(path, "--seed", "1")
    digest = read_manifest(manifest).digest
    draw(path, "--seed", "1", "--force")
    assert read_manifest(manifest).digest != digest


def test_refusals_are_counted(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origin = read_manifest(draw(path, "--max-n-fraction", "0.1")).origin
    assert origin.refused["too many N"] > 0
    assert f"refused and drawn again: {origin.refused['too many N']} window(s)" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("windows", [1, 2])
def test_species_without_a_window_are_named(
    path: Path, capsys: pytest.CaptureFixture[str], windows: int
) -> None:
    rows = read_manifest(draw(path, "--windows", str(windows))).table.to_pylist()
    without = [species for species in GENOMES if species not in {row["species"] for row in rows}]
    assert len(without) == 3 - windows
    assert f"too few --windows: none of {', '.join(without)}\n" in capsys.readouterr().err
    draw(path, "--windows", "3", "--force")
    assert "too few" not in capsys.readouterr().err


@pytest.mark.parametrize("with_sidecar", [True, False])
@pytest.mark.parametrize(
    ("column", "value"), [("start", 1), ("label", 2), ("strand", "-"), ("record", "chr1")]
)
def test_one_changed_row_is_noticed(
    path: Path, column: str, value: object, with_sidecar: bool
) -> None:
    manifest = draw(path)
    rewrite(manifest, lambda columns: columns[column].__setitem__(57, value))
    if not with_sidecar:
        Path(f"{manifest}.sha256").unlink()
    with pytest.raises(InputError, match="changed after it was written"):
        read_manifest(manifest)


def test_a_changed_file_is_noticed_by_its_sidecar(path: Path) -> None:
    manifest = draw(path)
    table = pq.read_table(manifest)
    pq.write_table(table, manifest, compression="gzip")
    with pytest.raises(InputError, match="changed after it was written"):
        read_manifest(manifest)
    Path(f"{manifest}.sha256").unlink()
    assert len(read_manifest(manifest)) == 100  # the same rows


def test_other_metadata_are_noticed(path: Path) -> None:
    manifest = draw(path)
    Path(f"{manifest}.sha256").unlink()
    table = pq.read_table(manifest)
    text = table.schema.metadata[METADATA_KEY]
    for change, message in (
        (text.replace(b'"seed": 0', b'"seed": 5'), "changed after"),
        (text.replace(b'"format": 1', b'"format": 2'), "format version 2, this genomamba reads 1"),
        (b"{}", "metadata are damaged"),
        (b"x", "metadata are damaged"),
    ):
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: change}), manifest)
        with pytest.raises(InputError, match=message):
            read_manifest(manifest)
    pq.write_table(table.replace_schema_metadata({}), manifest)
    with pytest.raises(InputError, match="not a manifest"):
        read_manifest(manifest)


def test_not_parquet(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_text("PAR1?")
    with pytest.raises(InputError, match="not a Parquet file"):
        read_manifest(path)


def test_another_species_set(path: Path) -> None:
    manifest = draw(path)
    path.write_text("species\tstore\nchimp\tchimp\nhuman\thuman\ngorilla\tgorilla\n")
    with pytest.raises(InputError, match=r"classes are human, chimp, gorilla; .* order counts"):
        read_manifest(manifest, SpeciesSet.read(path))
    path.write_text("species\tstore\nhuman\thuman\nchimp\tchimp\ngorilla\tchimp\n")
    with pytest.raises(InputError, match="drawn from other sequences"):
        read_manifest(manifest, SpeciesSet.read(path))


def test_windows_that_are_trained_on_are_noticed(path: Path) -> None:
    species_set = SpeciesSet.read(path)
    manifest = read_manifest(draw(path), species_set)
    file = path.parent / "splits.tsv"
    check_held_out(manifest, splits.read(file, species_set))
    options = ["--train", "chr2", "--force", "--output", str(file)]
    prepare(["split", str(path), *options])
    with pytest.raises(InputError, match="overlaps the training interval 0-800"):
        check_held_out(manifest, splits.read(file, species_set))
    check_held_out(
        read_manifest(draw(path, "--split", "train", "--force")), splits.read(file, species_set)
    )


@pytest.mark.parametrize(
    ("left", "right", "overlaps"),
    [
        (-9, 0, False),
        (-9, 1, True),
        (60, 69, False),
        (59, 69, True),
        (20, 30, True),
        (-9, 69, True),
    ],
)
def test_one_base_is_enough_to_overlap(path: Path, left: int, right: int, overlaps: bool) -> None:
    species_set = SpeciesSet.read(path)
    manifest = read_manifest(draw(path, "--windows", "1"))
    species, record, start, *_ = manifest.table.to_pylist()[0].values()
    assert 9 <= start <= 800 - 69
    place = [
        Interval(species, record, start + left, start + right, "train"),
        Interval(species, record, 0, 1, "train"),
        Interval(species, record, 799, 800, "train"),
    ]
    if overlaps:
        with pytest.raises(InputError, match="the window in row 0"):
            check_held_out(manifest, Splits(species_set, place))
    else:
        check_held_out(manifest, Splits(species_set, place))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--windows", "0"), "--windows of at least 1"),
        (
            ("--length", "801"),
            "no interval of at least 801 bases .* longest record is chr1 with 800",
        ),
        (("--split", "valid"), "the split has none of it"),
        (("--max-n-fraction", "1"), "max_n_fraction"),
        (("--seed", "-3"), "seed"),
    ],
)
def test_refusals_leave_nothing(path: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw(path, *options)
    assert not [file for file in path.parent.iterdir() if "parquet" in file.name]


def test_a_manifest_for_each_length(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = path.parent / "manifests"
    fixed = ["--splits", str(path.parent / "splits.tsv"), "--windows", "9"]
    many = ["manifest", str(path), *fixed, "--max-n-fraction", "0.3", "--output", str(folder)]
    assert prepare([*many, "--lengths", "2^4..2^7"]) == 0
    names = {f"test-{length}.parquet" for length in (16, 32, 64, 128)}
    assert {p.name for p in folder.iterdir()} == names | {f"{name}.sha256" for name in names}
    for length in (16, 32, 64, 128):
        manifest = read_manifest(folder / f"test-{length}.parquet", SpeciesSet.read(path))
        assert manifest.length == length
        assert len(manifest) == 9
    single = draw(path, "--length", "64", "--windows", "9")
    assert pq.read_table(single).equals(pq.read_table(folder / "test-64.parquet"))
    capsys.readouterr()
    assert prepare([*many, "--lengths", "16,2^6"]) == 0
    assert capsys.readouterr().err.count("already up to date") == 2
    # One that differs: refused before any other is written.
    with pytest.raises(InputError, match=r"test-32\.parquet: exists"):
        prepare([*many, "--lengths", "2^5..2^8", "--seed", "2"])
    with pytest.raises(InputError, match="longest record is chr1 with 800 bases"):
        prepare([*many[:-1], str(path.parent / "new"), "--lengths", "2^4..2^10"])
    assert not (folder / "test-256.parquet").exists()
    assert not (path.parent / "new").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "2^",
        "3^2",
        "16..",
        "2^6..2^5",
        "100..2^9",
        "2^4..2^5..8",
        "2^70",
        "2^2^2",
        "\u00b2",
    ],
)
def test_refused_lengths(path: Path, text: str) -> None:
    options = ["--splits", str(path.parent / "splits.tsv"), "--windows", "9", "--output", "x"]
    with pytest.raises(InputError, match="expected --lengths"):
        prepare(["manifest", str(path), *options, "--lengths", text])


@pytest.mark.parametrize("option", ["--length", "--lengths"])
def test_a_file_is_not_a_folder(path: Path, option: str) -> None:
    output = path.parent / "taken"
    output.touch() if option == "--lengths" else output.mkdir()
    options = ["--splits", str(path.parent / "splits.tsv"), "--windows", "9", option, "32"]
    with pytest.raises(InputError, match="taken: is a f"):
        prepare(["manifest", str(path), *options, "--output", str(output)])


def test_no_window_fits(path: Path) -> None:
    (path.parent / "splits.tsv").write_text(
        "species\trecord\tstart\tend\tsplit\n"
        + "".join(f"{species}\tchr2\t5\t100\ttest\n" for species in GENOMES)
    )
    with pytest.raises(InputError, match=r"at least 200 bases .* longest is chr2 5-100, 95 bases"):
        draw(path, "--length", "200")
    with pytest.raises(InputError, match="the split has none of it"):
        draw(path, "--length", "200", "--split", "train")
