"""The local server as a fixture."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from tests.helpers.local_site import Handler, Site


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("data.coco.download.WAIT", 0.0)
    result = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, result))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    result.address = f"http://127.0.0.1:{server.server_port}"
    yield result
    server.shutdown()
    server.server_close()
    thread.join()
