"""UsageError, the exception whose message is for the user, and what its messages share."""

from __future__ import annotations

from collections.abc import Sequence


class UsageError(Exception):
    """Wrong input: a file, a value or a key that the user can correct.

    The message names what is wrong, its value and the remedy. Commands print it without a stack trace; any
    other exception is a bug and keeps its trace.
    """


def listed(names: Sequence[str], most: int = 5) -> str:
    """As in "a, b, c, ...": the first names of a list that may be long."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
