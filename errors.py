"""UsageError, the exception whose message is for the user, and what its messages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher


class UsageError(Exception):
    """Wrong input: a file, a value or a key that the user can correct.

    The message names what is wrong, its value and the remedy. Commands print it without a stack trace; any
    other exception is a bug and keeps its trace.
    """


def listed(names: Sequence[str], most: int = 5) -> str:
    """As in "a, b, c, ...": the first names of a list that may be long."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """As in " (did you mean topk?)", to follow a name; empty where no known name looks like it."""
    names = nearest(name, known)
    return f" (did you mean {', '.join(names)}?)" if names else ""


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known names that look most like `name`, best first.

    Of dotted names the last part decides, so that a forgotten or misspelt section is found as well.
    """
    likeness = {other: _likeness(name.lower(), other.lower()) for other in known}
    least = max(0.7, max(likeness.values(), default=0.0) - 0.1)
    near = [other for other in likeness if likeness[other] >= least]
    return sorted(near, key=lambda other: -likeness[other])[:most]


def _likeness(name: str, other: str) -> float:
    (section, _, last), (other_section, _, other_last) = name.rpartition("."), other.rpartition(".")
    return 0.8 * _ratio(last, other_last) + 0.2 * _ratio(section, other_section)


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()
