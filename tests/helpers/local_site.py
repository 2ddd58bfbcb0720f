"""A local web server that can be slow, busy or unable to resume."""

from __future__ import annotations

import hashlib
import io
import zipfile
from http.server import BaseHTTPRequestHandler


class Site:
    """What the server holds and how it behaves.

    Attributes:
        files: content by path.
        resumes: whether it understands Range.
        cuts: it breaks off after so many bytes, one entry for each request.
        statuses: answers that come before any file, one for each request.
        requests: (path, Range header) of each request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.resumes = True
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.requests: list[tuple[str, str | None]] = []
        self.address = ""


class Handler(BaseHTTPRequestHandler):
    """Answers as the site says."""

    def __init__(self, site: Site, *arguments: object) -> None:
        self.site = site
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.site.requests.append((self.path, asked))
        content = self.site.files.get(self.path)
        if self.site.statuses:
            return self.send_error(self.site.statuses.pop(0))
        if content is None:
            return self.send_error(404)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.site.resumes else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            return self.end_headers()
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        end = start + self.site.cuts.pop(0) if self.site.cuts else len(content)
        self.wfile.write(content[start:end])

    def log_message(self, *arguments: object) -> None:
        pass


def zipped(folder: str, count: int = 3) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for number in range(count):
            file.writestr(f"{folder}/{number}.jpg", hashlib.sha512(bytes([number])).digest() * 50)
    return buffer.getvalue()


CONTENT = bytes(range(256)) * 40  # 10,240 bytes
