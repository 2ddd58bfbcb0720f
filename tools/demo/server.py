"""HTTP for the page: on 127.0.0.1 only, and for requests that a page of this server makes.

A foreign site could otherwise reach it through the visitor's browser: by a name that it lets point to
127.0.0.1 (the Host header tells), or by a form or script of its own (the Origin header tells).
"""

from __future__ import annotations

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from errors import UsageError
from tools.demo.images import MOST_BYTES, decode_upload
from tools.demo.session import Session

PAGE = Path(__file__).with_name("page")
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/common.js": ("common.js", "text/javascript; charset=utf-8"),
    "/select.js": ("select.js", "text/javascript; charset=utf-8"),
    "/detect.js": ("detect.js", "text/javascript; charset=utf-8"),
    "/assign.js": ("assign.js", "text/javascript; charset=utf-8"),
}
SOURCES = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"
MOST_JSON = 10_000


class Server(ThreadingHTTPServer):
    """A server of one session."""

    daemon_threads = True
    session: Session


def bind(port: int) -> Server:
    """A server that listens; its `session` must be set before it serves.

    Raises:
        UsageError: if the port cannot be taken.
    """
    try:
        return Server(("127.0.0.1", port), Handler)
    except OSError as error:
        raise UsageError(
            f"port={port} cannot be used ({error.strerror}): choose another, port=0 takes a free one"
        ) from error


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds; an upload that stops would hold its thread

    def do_GET(self) -> None:
        """The page, its parts, samples and images."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """An upload, or a question to the assigners."""
        self._answer(self._post)

    def log_message(self, *_: Any) -> None:
        """Requests are not logged."""

    def _answer(self, work: Any) -> None:
        names = {f"{name}:{self.server.server_port}" for name in ("localhost", "127.0.0.1")}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") not in names:
            return self._fail(HTTPStatus.FORBIDDEN, "open the page as http://localhost")
        if origin is not None and origin.removeprefix("http://") not in names:
            return self._fail(HTTPStatus.FORBIDDEN, "requests of other sites are refused")
        try:
            work()
        except UsageError as error:
            self._fail(HTTPStatus.BAD_REQUEST, str(error))
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _get(self) -> None:
        url = urlsplit(self.path)
        session = self.server.session
        if url.path in FILES:
            name, kind = FILES[url.path]
            return self._send((PAGE / name).read_bytes(), kind)
        if url.path == "/api/about":
            return self._json(session.about())
        if url.path == "/api/sample":
            return self._json(session.show(session.samples[self._number(url.query)]))
        if url.path == "/api/image":
            return self._send(session.picture(self._number(url.query)), "image/png")
        self._fail(HTTPStatus.NOT_FOUND, f"no page {url.path}")

    def _post(self) -> None:
        session = self.server.session
        if self.path == "/api/image":
            content = self._body(MOST_BYTES)
            if content is not None:
                self._json(session.show(decode_upload(content)))
        elif self.path == "/api/assign":
            content = self._body(MOST_JSON)
            if content is not None:
                try:
                    asked = json.loads(content)
                except (ValueError, RecursionError) as error:
                    raise UsageError("the request is no JSON") from error
                self._json(session.assign(asked))
        else:
            self._fail(HTTPStatus.NOT_FOUND, f"no page {self.path}")

    def _number(self, query: str) -> int:
        text = parse_qs(query).get("number", [""])[0]
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise UsageError(f"number={text} must be a whole number")
        return int(text)

    def _body(self, most: int) -> bytes | None:
        """The body of a request, or None after an answer with the reason why it is refused."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._fail(HTTPStatus.LENGTH_REQUIRED, "the request has no length")
        elif len(length) > 12 or int(length) > most:
            limit = f"{most // 2**20} MiB" if most >= 2**20 else f"{most} bytes"
            self._fail(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"too large: at most {limit} are taken")
        else:
            content = self.rfile.read(int(length))
            if len(content) == int(length):
                return content
            self.close_connection = True
        return None

    def _json(self, value: Any) -> None:
        self._send(json.dumps(value, separators=(",", ":")).encode(), "application/json")

    def _fail(self, status: HTTPStatus, problem: str) -> None:
        # Its body is perhaps not read: the next request of the connection could not be separated from it.
        self.close_connection = True
        self._send(json.dumps({"problem": problem}).encode(), "application/json", status)

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", SOURCES)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
