"""Fetches a file over HTTP into FILE.part, resumed where it broke off, until it is whole.

Beside it, FILE.part.json remembers which version of the file the part is of (RFC 9110: a strong
entity tag, otherwise the date of its last change). A part is continued with Range and If-Range, so
that the pieces of two versions are never joined: a server whose file has changed, or that ignores
Range, sends the whole file and the part is begun again.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.progress import Progress

CHUNK = 1 << 20  # bytes
TIMEOUT = 60.0  # seconds without a byte
FRUITLESS_TRIES = 6  # in a row that bring no byte; with the pauses between them about a minute
LONGEST_PAUSE = 30.0  # seconds
RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}
SPARE_BYTES = 64 << 20  # free space to leave on the disk
SMALL_FILE = 16 << 20  # bytes; more is no list of checksums

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class NotThere(Exception):
    """No URL has the file; says what each of them answered."""


class _Transient(Exception):
    """A try that failed and may succeed when repeated."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass(frozen=True)
class _Version:
    """Which file a part is of. No validator: it cannot be told, the part is never continued."""

    url: str
    validator: str | None
    bytes: int | None

    @classmethod
    def of(cls, url: str, response: HTTPResponse, size: int | None) -> _Version:
        tag = response.headers.get("ETag")
        strong = tag if tag and not tag.startswith("W/") else None
        return cls(url, strong or response.headers.get("Last-Modified"), size)


def fetch(urls: Sequence[str], target: Path) -> Path:
    """Download a file to ``target``.part; whether its content is right is the caller's to check.

    Args:
        urls: where it is; the next is asked where one has no such file.
        target: the file's place when it is checked; its folder exists.

    Returns:
        The part, which is whole.

    Raises:
        InputError: the server cannot be reached, keeps failing, or the disk is too small. What came
            so far is kept for the next run.
        NotThere: no URL has it.
    """
    answers = []
    for url in urls:
        try:
            return _fetch(url, target)
        except NotThere as error:
            answers.append(str(error))
    raise NotThere("; ".join(answers))


def read_small(url: str) -> bytes:
    """A small file's content.

    Raises:
        InputError: the server cannot be reached, keeps failing, or the file is not small.
        NotThere: there is no such file.
    """

    def once() -> bytes:
        with _open(url, {}) as response:
            content = response.read(SMALL_FILE + 1)
            size = _length(response)
        if len(content) > SMALL_FILE:
            raise InputError(f"expected at most {SMALL_FILE} bytes", file=url)
        if size is not None and len(content) < size:
            raise _Transient("the connection broke off")
        return content

    for fruitless in range(FRUITLESS_TRIES):
        try:
            return once()
        except _Transient as error:
            _pause_or_give_up(url, fruitless, error)
    raise AssertionError


def _fetch(url: str, target: Path) -> Path:
    part = _beside(target, ".part")
    fruitless = -1
    with Progress(f"downloading {target.name}", 0) as progress:
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                if _continue(url, target, progress):
                    _beside(target, ".part.json").unlink(missing_ok=True)
                    return part
                reason = _Transient("the connection broke off before the file's end")
            except _Transient as error:
                reason = error
            after = part.stat().st_size if part.exists() else 0
            fruitless = -1 if after > before else fruitless + 1
            _pause_or_give_up(url, fruitless, reason)


def _continue(url: str, target: Path, progress: Progress) -> bool:
    """One request for what is missing of the part. Returns whether the part is whole."""
    part, note = _beside(target, ".part"), _beside(target, ".part.json")
    have, version = _what_is_there(part, note, url)
    headers = {}
    if have and version:
        headers = {"Range": f"bytes={have}-", "If-Range": version.validator or ""}
    with _open(url, headers) as response:
        if response.status == 416:  # nothing is missing, or the file is shorter now
            total = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
            if total and int(total[1]) == have:
                return True
            part.unlink()
            raise _Transient("the server's file is shorter than the part of it that is here")
        start, size = _range_of(response, have)
        new = _Version.of(url, response, size)
        if start == 0 or version is None:
            start = 0
            note.write_text(json.dumps(asdict(new)), encoding="utf-8")
        elif new != version:  # a server that does not know If-Range
            part.unlink()
            raise _Transient("the server's file changed while it was downloaded")
        _check_space(target, (size or 0) - start)
        progress.total, progress.done = size or 0, start
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            done = start
            while block := _read(response):
                file.write(block)
                done += len(block)
                progress.advance(len(block))
    return size is None or done == size


def _what_is_there(part: Path, note: Path, url: str) -> tuple[int, _Version | None]:
    """Bytes of the part that may be continued, and of which version they are."""
    try:
        version = _Version(**json.loads(note.read_text(encoding="utf-8")))
        have = part.stat().st_size
    except (OSError, ValueError, TypeError):
        return 0, None
    if version.url != url or not version.validator:
        return 0, None
    return have, version


def _open(url: str, headers: dict[str, str]) -> HTTPResponse:
    # Not compressed on the way: sizes and ranges are those of the file.
    request = Request(url, headers={"Accept-Encoding": "identity", **headers})
    try:
        return urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416:
            return error  # type: ignore[return-value]  # an HTTPError is a response, too
        if error.code in RETRIED_STATUS:
            wait = error.headers.get("Retry-After", "")
            pause = float(wait) if wait.isdigit() else None
            raise _Transient(f"the server answered {error.code} {error.reason}", pause) from None
        raise NotThere(f"{url} answered {error.code} {error.reason}") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise _Transient(f"cannot connect: {reason}") from None


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise _Transient(f"the connection broke off: {error or type(error).__name__}") from None


def _length(response: HTTPResponse) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _range_of(response: HTTPResponse, have: int) -> tuple[int, int | None]:
    """Where in the file the response begins, and the whole file's size, if it is told."""
    if response.status != 206:
        return 0, _length(response)
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not match or int(match[1]) != have or int(match[2]) + 1 != int(match[3]):
        raise _Transient("the server sent another range than it was asked for")
    return have, int(match[3])


def _check_space(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if needed + SPARE_BYTES > free:
        raise InputError(
            f"{needed:,} bytes are still to come, the disk has {free:,} free",
            file=target,
            fix="Free space or choose another --output; what is there is kept and continued",
        )


def _pause_or_give_up(url: str, fruitless: int, error: _Transient) -> None:
    """Sleep before the next try, twice as long after each that brought nothing."""
    if fruitless >= FRUITLESS_TRIES - 1:
        raise InputError(
            f"the download failed {FRUITLESS_TRIES} times in a row: {error}",
            file=url,
            fix="Run the command again later: it goes on where it stopped. Files that you have "
            "already are taken with --from DIR",
        ) from None
    pause = min(error.pause or 2.0**fruitless, LONGEST_PAUSE)
    print(f"{url}: {error}; trying again in {pause:.0f} s", file=sys.stderr, flush=True)
    time.sleep(pause)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)
