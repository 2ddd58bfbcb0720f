"""Downloading one large file: resumed where it broke off, kept beside its name until it is whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from errors import UsageError

TIMEOUT = 60.0  # seconds without a byte
TRIES = 5  # in a row that bring nothing
WAIT = 2.0  # seconds before the second try, twice as long before each further one
CHUNK = 1 << 20  # bytes
TEMPORARY = (408, 425, 429, 500, 502, 503, 504)  # statuses after which a server may be asked again

Show = Callable[[int, int | None], None]  # bytes that are there, bytes of the whole where it is known


def fetch(url: str, target: Path, show: Show) -> None:
    """Downloads `url` to `target`, by way of `target`.part, from which an interrupted download goes on.

    Raises:
        UsageError: if the server cannot be reached, has no such file, or the disk is full; what has come so
            far is kept.
    """
    part = partial(target)
    failures = 0
    while True:
        before = size(part)
        try:
            _go_on(url, part, show)
            break
        except (OSError, HTTPException) as error:
            failures = 1 if size(part) > before else failures + 1
            final = isinstance(error, HTTPError) and error.code not in TEMPORARY
            if final or failures >= TRIES:
                raise UsageError(
                    f"{url} cannot be downloaded ({error}). What has come is kept, and the same command goes "
                    f"on from there. Or name a mirror with source=URL, or put the file at {target} by hand"
                ) from error
            time.sleep(WAIT * 2 ** (failures - 1))
    os.replace(part, target)


def partial(target: Path) -> Path:
    """Where a file lies until it is whole."""
    return target.with_name(target.name + ".part")


def size(path: Path) -> int:
    """Bytes of a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def _go_on(url: str, part: Path, show: Show) -> None:
    """Adds to `part` what is missing, in one request."""
    start = size(part)
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416 or not start:
            raise
        # Nothing lies beyond our part: it is the whole file, or no part of this one.
        if _whole(error.headers.get("Content-Range")) == start:
            return
        part.unlink()
        return _go_on(url, part, show)
    with response:
        content_range = response.headers.get("Content-Range", "")
        goes_on = response.status == 206 and content_range.startswith(f"bytes {start}-")
        length = response.headers.get("Content-Length")
        whole = _whole(content_range) if goes_on else int(length) if length else None
        # A server that cannot resume sends everything again.
        done = _write(response, part, start if goes_on else 0, whole, show)
    if whole is not None and done != whole:
        raise ConnectionError(f"the connection ended after {done} of {whole} bytes")


def _write(response: HTTPResponse, part: Path, start: int, whole: int | None, show: Show) -> int:
    """Writes the answer at `start` and returns how many bytes there are then."""
    done = start
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        show(done, whole)
        while chunk := response.read(CHUNK):
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                raise UsageError(
                    f"{part} cannot be written ({error.strerror}): free space and give the same command again"
                ) from error
            done += len(chunk)
            show(done, whole)
    return done


def _whole(content_range: str | None) -> int | None:
    """The size of the whole file, from "bytes 5-9/10" or "bytes */10"."""
    _, _, total = (content_range or "").partition("/")
    return int(total) if total.isdigit() else None
