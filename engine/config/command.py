"""How a command that Hydra composes ends where the user got something wrong: one line, as the tools do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from hydra.errors import CompactHydraException, HydraException

from engine.config.compose import composing_error
from engine.sweep import in_sweep


class JobFailedError(CompactHydraException):
    """A job of a sweep failed, which has been said; Hydra goes on with the others."""


def run(main: Callable[[], object], name: str) -> None:
    """Calls a function that hydra.main made, with the words of the process.

    Args:
        name: of its config, "train" or "eval".
    """
    # Hydra then raises what it would otherwise print, over many lines and with advice on stack traces.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        main()
        if launched():
            from engine import distributed

            distributed.leave()
    except JobFailedError:
        sys.exit(1)
    except HydraException as error:
        words = [word for word in sys.argv[1:] if not word.startswith("-")]
        sys.exit(str(composing_error(error, words, name)))


def launched() -> bool:
    """Whether torchrun started this process; without torch, whose import takes seconds."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def end(reason: str) -> NoReturn:
    """Ends a command, or the job of a sweep, with a message."""
    if in_sweep():
        print(reason, file=sys.stderr, flush=True)
        raise JobFailedError(reason)
    raise SystemExit(reason)
