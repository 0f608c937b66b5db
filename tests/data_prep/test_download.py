"""Downloads from a local server that misbehaves: what arrives is the file, or an error."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from genomamba.cli import main
from genomamba_data_prep import download, http_fetch, sources
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.sources import SETS, RemoteFile

LETTERS = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), 400_000).tobytes()
FASTA = gzip.compress(b">chr1\n" + LETTERS + b"\n", mtime=0)
OTHER = gzip.compress(b">chr1\n" + LETTERS[::-1] + b"\n", mtime=0)
MD5 = f"md5:{hashlib.md5(FASTA).hexdigest()}"


@dataclass
class Server:
    """What the server does, and the requests that it saw.

    Attributes:
        files: content by path.
        drop_after: bytes after which each of the first connections is cut.
        statuses: answered first, one a request.
        ignores: headers that it does not know.
        tag: its entity tag; "" for none. "weak" for a weak one.
        length: whether it tells the size.
        on_request: called with the number of each request for a file.
    """

    files: dict[str, bytes]
    drop_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ignores: set[str] = field(default_factory=set)
    tag: str = "strong"
    length: bool = True
    on_request: Callable[[int], None] = lambda number: None
    requests: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def etag(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()[:8]
        return {"": "", "weak": f'W/"{digest}"', "strong": f'"{digest}"'}[self.tag]


class Handler(BaseHTTPRequestHandler):
    server_state: Server

    def do_GET(self) -> None:
        state = self.server_state
        headers = {k: v for k, v in self.headers.items() if k not in state.ignores}
        state.requests.append(headers)
        state.on_request(len(state.requests))
        if state.statuses and (status := state.statuses.pop(0)) != 200:
            self.send_error(status)
            return
        content = state.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        etag = state.etag(content)
        start = 0
        if "Range" in headers and headers.get("If-Range", etag) == etag:
            start = int(headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if etag:
            self.send_header("ETag", etag)
        if state.length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if state.drop_after:
            body = body[: state.drop_after.pop(0)]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server({"/x/genome.fna.gz": FASTA})
    handler = type("Bound", (Handler,), {"server_state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, not slept."""
    slept: list[float] = []
    monkeypatch.setattr(http_fetch.time, "sleep", slept.append)
    return slept


def remote(server: Server, **facts: object) -> RemoteFile:
    urls = (f"{server.url}/x/genome.fna.gz",)
    return RemoteFile("human.fna.gz", "human", "hg", "GCF_1", **{"urls": urls} | facts)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


WHOLE = ["genomamba-lock.json", "human.fna.gz"]


def test_a_file_arrives_once(server: Server, tmp_path: Path) -> None:
    file = remote(server, checksum=MD5)
    assert download.bring(file, tmp_path) == "downloaded"
    assert (tmp_path / "human.fna.gz").read_bytes() == FASTA
    assert names(tmp_path) == WHOLE
    entry = json.loads((tmp_path / "genomamba-lock.json").read_text())["human.fna.gz"]
    assert entry["sha256"] == hashlib.sha256(FASTA).hexdigest()
    assert entry["checked"] == MD5
    assert download.bring(file, tmp_path) == "up to date"
    assert len(server.requests) == 1


@pytest.mark.parametrize("drops", [[1], [0, 10, 0, 50_000, 0, 1, 1], [len(FASTA) - 1], [5000] * 9])
def test_dropped_connections_are_resumed(
    server: Server, tmp_path: Path, drops: list[int], pauses: list[float]
) -> None:
    server.drop_after = list(drops)
    download.bring(remote(server, checksum=MD5), tmp_path)
    assert (tmp_path / "human.fna.gz").read_bytes() == FASTA
    assert names(tmp_path) == WHOLE
    assert len(server.requests) == len(drops) + 1
    resumed = [request["Range"] for request in server.requests if "Range" in request]
    at = np.cumsum(drops)
    assert resumed == [f"bytes={n}-" for n in at if n]
    assert len(pauses) == len(drops)


def test_a_second_run_goes_on_where_the_first_gave_up(server: Server, tmp_path: Path) -> None:
    server.drop_after = [10_000] + [0] * 6
    file = remote(server, checksum=MD5)
    with pytest.raises(InputError, match=r"failed 6 times in a row.*broke off.*goes on where"):
        download.bring(file, tmp_path)
    assert names(tmp_path) == ["human.fna.gz.part", "human.fna.gz.part.json"]
    assert (tmp_path / "human.fna.gz.part").stat().st_size == 10_000
    server.drop_after = []
    download.bring(file, tmp_path)
    assert server.requests[-1]["Range"] == "bytes=10000-"
    assert (tmp_path / "human.fna.gz").read_bytes() == FASTA
    assert names(tmp_path) == WHOLE


@pytest.mark.parametrize("ignores", [{"Range"}, {"If-Range"}, {"Range", "If-Range"}])
@pytest.mark.parametrize("tag", ["strong", "weak", ""])
def test_a_file_that_changes_between_tries_is_never_joined(
    server: Server, tmp_path: Path, ignores: set[str], tag: str
) -> None:
    server.drop_after, server.ignores, server.tag = [20_000, 30_000], ignores, tag

    def change(number: int) -> None:
        if number == 2:
            server.files["/x/genome.fna.gz"] = OTHER

    server.on_request = change
    download.bring(remote(server), tmp_path)
    assert (tmp_path / "human.fna.gz").read_bytes() == OTHER


def test_a_file_that_shrank(server: Server, tmp_path: Path) -> None:
    server.drop_after, server.ignores = [20_000], {"If-Range"}
    small = gzip.compress(b">chr1\nACGT\n", mtime=0)

    def change(number: int) -> None:
        if number == 2:
            server.files["/x/genome.fna.gz"] = small

    server.on_request = change
    download.bring(remote(server), tmp_path)
    assert (tmp_path / "human.fna.gz").read_bytes() == small


def test_a_part_that_is_whole_already(server: Server, tmp_path: Path) -> None:
    server.drop_after = [10_000] + [0] * 6
    with pytest.raises(InputError):
        download.bring(remote(server), tmp_path)
    (tmp_path / "human.fna.gz.part").write_bytes(FASTA)  # killed after the last byte
    download.bring(remote(server), tmp_path)
    assert (tmp_path / "human.fna.gz").read_bytes() == FASTA


@pytest.mark.parametrize(
    "note", [b"", b"{}", b"\xff", b'{"url": "x", "validator": "y", "bytes": 1}']
)
def test_a_part_of_which_nothing_is_known_is_begun_again(
    server: Server, tmp_path: Path, note: bytes
) -> None:
    (tmp_path / "human.fna.gz.part").write_bytes(b"something else")
    (tmp_path / "human.fna.gz.part.json").write_bytes(note)
    download.bring(remote(server), tmp_path)
    assert (tmp_path / "human.fna.gz").read_bytes() == FASTA
    assert names(tmp_path) == WHOLE


def test_a_size_that_is_not_told(server: Server, tmp_path: Path) -> None:
    server.length = False
    download.bring(remote(server), tmp_path)
    assert (tmp_path / "human.fna.gz").read_bytes() == FASTA
    server.drop_after = [5000]
    with pytest.raises(InputError, match="cut short"):
        download.bring(remote(server)._replace(name="again.gz"), tmp_path)
    assert names(tmp_path) == WHOLE


@pytest.mark.parametrize("statuses", [[503], [500, 502, 429], [503] * 5])
def test_a_server_that_recovers(server: Server, tmp_path: Path, statuses: list[int]) -> None:
    server.statuses = list(statuses)
    download.bring(remote(server, checksum=MD5), tmp_path)
    assert len(server.requests) == len(statuses) + 1


def test_pauses_grow(server: Server, tmp_path: Path, pauses: list[float]) -> None:
    server.statuses = [503] * 6
    with pytest.raises(InputError, match="failed 6 times in a row: the server answered 503"):
        download.bring(remote(server), tmp_path)
    assert pauses == [1, 2, 4, 8, 16]
    assert names(tmp_path) == []


def test_nobody_listens(tmp_path: Path) -> None:
    file = RemoteFile("a.gz", "", "", "", ("http://127.0.0.1:9/a.gz",))
    with pytest.raises(InputError, match="cannot connect"):
        download.bring(file, tmp_path)


def test_the_next_url_where_the_first_has_moved(server: Server, tmp_path: Path) -> None:
    urls = (f"{server.url}/old/genome.fna.gz", f"{server.url}/x/genome.fna.gz")
    download.bring(remote(server, urls=urls), tmp_path)
    assert (tmp_path / "human.fna.gz").read_bytes() == FASTA
    with pytest.raises(InputError, match=r"answered 404.*answered 404.*GCF_1.*--from"):
        download.bring(remote(server, urls=urls[:1] * 2)._replace(name="b.gz"), tmp_path)


@pytest.mark.parametrize("content", [FASTA[:-20], FASTA[:5000] + b"?" + FASTA[5001:], b"<html>"])
def test_damage_on_the_server_is_found_without_a_checksum(
    server: Server, tmp_path: Path, content: bytes
) -> None:
    server.files["/x/genome.fna.gz"] = content
    with pytest.raises(InputError, match=r"cut short|damaged gzip|is not gzip"):
        download.bring(remote(server), tmp_path)
    assert names(tmp_path) == []


def test_a_wrong_checksum(server: Server, tmp_path: Path) -> None:
    file = remote(server, checksum=f"md5:{'0' * 32}")
    with pytest.raises(InputError, match=r"has the md5 .*, the publisher says 0000.*was deleted"):
        download.bring(file, tmp_path)
    assert names(tmp_path) == []
    with pytest.raises(InputError, match=f"has {len(FASTA):,} bytes, the published file 7"):
        download.bring(remote(server, bytes=7), tmp_path)
    assert names(tmp_path) == []


def test_the_publishers_list_of_checksums(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = remote(server, checksums="md5checksums.txt")
    right = f"{'1' * 32}  ./other.gz\n{MD5[4:]}  ./genome.fna.gz\n".encode()
    server.files["/x/md5checksums.txt"] = right.replace(MD5[4:].encode(), b"2" * 32)
    with pytest.raises(InputError, match="the publisher says 2222"):
        download.bring(file, tmp_path)
    server.files["/x/md5checksums.txt"] = right
    download.bring(file, tmp_path)
    assert download.read_lock(tmp_path)["human.fna.gz"].checked == MD5
    del server.files["/x/md5checksums.txt"]
    (tmp_path / "b").mkdir()
    download.bring(file, tmp_path / "b")
    assert download.read_lock(tmp_path / "b")["human.fna.gz"].checked == "unknown"
    assert "does not give its checksum" in capsys.readouterr().err


def test_the_lock_file_notices_a_change_here_and_there(server: Server, tmp_path: Path) -> None:
    file = remote(server)
    download.bring(file, tmp_path)
    target = tmp_path / "human.fna.gz"
    target.write_bytes(OTHER)
    with pytest.raises(InputError, match=r"lock.json says that it was .* Restore"):
        download.bring(file, tmp_path)
    target.unlink()
    server.files["/x/genome.fna.gz"] = OTHER
    with pytest.raises(InputError, match=r"lock.json says that it was"):
        download.bring(file, tmp_path)
    assert names(tmp_path) == ["genomamba-lock.json"]
    (tmp_path / "genomamba-lock.json").write_text('{"human.fna.gz": 3}')
    with pytest.raises(InputError, match="lock file is damaged"):
        download.bring(file, tmp_path)


def test_a_full_disk_is_seen_before(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_fetch.shutil, "disk_usage", lambda _: type("U", (), {"free": 1000}))
    with pytest.raises(InputError, match="still to come, the disk has 1,000 free"):
        download.bring(remote(server), tmp_path)
    assert "human.fna.gz" not in names(tmp_path)


@pytest.mark.parametrize("name", ["human.fna.gz", "genome.fna.gz"])
def test_files_that_are_there_already(server: Server, tmp_path: Path, name: str) -> None:
    have, out = tmp_path / "have", tmp_path / "out"
    have.mkdir()
    out.mkdir()
    (have / name).write_bytes(FASTA)
    file = remote(server, checksum=MD5)
    assert download.bring(file, out, have) == "taken"
    assert (out / "human.fna.gz").read_bytes() == FASTA
    assert names(out) == WHOLE
    assert not server.requests
    (have / "again.gz").write_bytes(FASTA[:-9])
    with pytest.raises(InputError, match="cut short"):
        download.bring(file._replace(name="again.gz"), out, have)
    assert names(out) == WHOLE
    with pytest.raises(InputError, match=r"has none of the files b.gz, genome.fna.gz"):
        download.bring(file._replace(name="b.gz"), out, tmp_path)


def test_the_command(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sources.SETS, "hg38", (remote(server),))
    output = tmp_path / "new" / "hg38"
    assert main(["prepare", "download", "--set", "hg38", "--output", str(output)]) == 0
    captured = capsys.readouterr()
    assert "downloaded" in captured.err
    assert "publisher's checksum unknown" in captured.err
    assert not captured.out
    nothing = ["prepare", "download", "--set", "hg38", "--from", str(tmp_path)]
    assert main([*nothing, "--output", str(tmp_path / "n")]) == 2
    assert not (tmp_path / "n").exists()
    assert main(["prepare", "download", "--set", "hg38", "--from", str(tmp_path / "none")]) == 2


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    for name, files in SETS.items():
        assert main(["prepare", "download", "--set", name, "--list"]) == 0
        rows = capsys.readouterr().out.splitlines()
        assert len(rows) == len(files) + 1
        assert {row.count("\t") for row in rows} == {7}
    for file in (file for files in SETS.values() for file in files):
        assert all(url.startswith("https://") for url in file.urls)
        assert all(file.accession in url for url in file.urls)
    chimpanzee = SETS["great-apes"][1].urls[1]
    assert chimpanzee == (
        "https://ftp.ncbi.nlm.nih.gov/genomes/all/GCF/028/858/775/"
        "GCF_028858775.2_NHGRI_mPanTro3-v2.0_pri/GCF_028858775.2_NHGRI_mPanTro3-v2.0_pri_genomic.fna.gz"
    )
