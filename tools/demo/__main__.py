"""Shows checkpoints in the browser: python -m tools.demo checkpoint=FILE [checkpoint=FILE ...]

Serves a page on this computer only: detections with and without NMS, checkpoints side by side, and which
points each assigner makes positive for a drawn box. Ctrl-C ends it. docs/demo.md shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from command_line import option, run
from tools.demo.images import Samples
from tools.demo.models import open_assigners, open_models
from tools.demo.server import bind
from tools.demo.session import Session


@dataclass
class Options:
    """What the command line can set."""

    checkpoint: list[str] = option(
        repeat=True, help="last.pt or best.pt of a run; several stand side by side"
    )
    data: str | None = option(
        None, help="folder of sample images, or a data set's root; drawn shapes without"
    )
    port: int = option(8000, least=0, most=65535, help="of http://localhost; 0 takes a free one")


def main(words: Sequence[str] | None = None) -> None:
    """Serves the page until Ctrl-C."""
    run(Options, serve, __doc__, words)


def serve(options: Options) -> None:
    """Serves the page until Ctrl-C.

    Raises:
        UsageError: if the port is in use, or a checkpoint or the samples cannot be read.
    """
    samples = Samples(options.data)
    # Before the checkpoints are read: a port in use is known at once.
    with bind(options.port) as server:
        server.session = Session(open_models(options.checkpoint), open_assigners(), samples)
        print(f"http://localhost:{server.server_port}  (Ctrl-C ends)", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
