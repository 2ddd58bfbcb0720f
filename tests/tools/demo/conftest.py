"""A page's server on a free port, with two detectors that differ in how they score."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.helpers.exported import trained
from tools.demo.images import Samples
from tools.demo.models import open_assigners, open_models
from tools.demo.server import Server, bind
from tools.demo.session import Session


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    with bind(0) as made:
        files = [str(trained(kind)[0]) for kind in ("fcos", "centerness")]
        made.session = Session(open_models(files), open_assigners(), Samples())
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()
