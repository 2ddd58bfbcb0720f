"""One line for a command line that Hydra cannot compose, which names the nearest keys or choices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from errors import did_you_mean

COMPOSING_ERRORS = (HydraException, OmegaConfBaseException)


def explain(error: Exception, words: Iterable[str], keys: Callable[[], Iterable[str]]) -> str:
    """What is wrong, and what was probably meant.

    Args:
        error: one of COMPOSING_ERRORS.
        words: of the command line.
        keys: the keys and groups that there are; called where one is unknown.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        meant = did_you_mean(name, error.options)
        return f"{group}={name}: there is no {group}/{name}{meant}; choose from {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        reason = "arguments are key=value" if "=" not in error.override else lines[0]
        return f"{error.override}: {reason}"
    if found := re.match(r"Could not override '(.+)'", lines[0]):
        key = found[1]
        word = next((word for word in words if word.partition("=")[0] == key), key)
        known = list(keys())
        if key in known:  # a group of which this command chooses nothing by itself
            return f"{word}: {key} is not chosen here; +{word} adds it, but a finished run keeps its own"
        return f"{word}: there is no key {key}{did_you_mean(key, known) or '; --help lists all keys'}"
    return lines[0]
