"""What a key of the config may hold: the kinds of values that `config_keys` names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A set of values.

    Attributes:
        words: the set in words, to follow "must be".
        accepts: whether a value, as YAML reads it, is in the set.
    """

    words: str
    accepts: Callable[[Any], bool]


text = Kind("a text", lambda value: isinstance(value, str | int | float) and not isinstance(value, bool))
mapping = Kind("a mapping", lambda value: isinstance(value, dict))
yes_no = Kind("true or false", lambda value: isinstance(value, bool))
probability = Kind("a probability, 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
factors = Kind(
    "two rising factors above 0, as [0.5,2.0]",
    lambda value: (
        isinstance(value, list)
        and len(value) == 2
        and all(map(_is_number, value))
        and 0 < value[0] <= value[1]
    ),
)


def whole(least: int) -> Kind:
    """Integers from `least` on."""
    return Kind(f"an integer >= {least}", lambda value: _is_whole(value) and value >= least)


def odd(least: int) -> Kind:
    """Odd integers from `least` on."""
    return Kind(
        f"an odd integer >= {least}", lambda value: _is_whole(value) and value >= least and value % 2 == 1
    )


def number(least: float | None = None, above: float | None = None, most: float | None = None) -> Kind:
    """Finite numbers in a range."""
    if above is not None:
        words = f"a number > {above:g}"
    else:
        words = f"a number from {least:g} to {most:g}" if most is not None else f"a number >= {least:g}"
    low = -math.inf if least is None else least

    def accepts(value: Any) -> bool:
        inside = _is_number(value) and low <= value <= (math.inf if most is None else most)
        return inside and (above is None or value > above)

    return Kind(words, accepts)


def choice(*values: Any) -> Kind:
    """One of the values, of the same type as there: 1 is not true."""
    shown = ", ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in values)
    known = {(type(value), value) for value in values}
    return Kind(
        f"one of {shown}", lambda value: not isinstance(value, list | dict) and (type(value), value) in known
    )


def or_null(kind: Kind) -> Kind:
    """The same, or nothing."""
    return Kind(f"{kind.words} or null", lambda value: value is None or kind.accepts(value))


def list_of(kind: Kind) -> Kind:
    """A list, perhaps an empty one."""
    return Kind(
        f"a list, each member {kind.words}",
        lambda value: isinstance(value, list) and all(map(kind.accepts, value)),
    )


def one_or_list_of(kind: Kind) -> Kind:
    """One value, or a list of several."""
    return Kind(
        f"{kind.words} or a list",
        lambda value: (
            bool(value) and all(map(kind.accepts, value)) if isinstance(value, list) else kind.accepts(value)
        ),
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))
