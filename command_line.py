"""Options of a command that Hydra does not compose: a dataclass, set by the key=value words that are typed.

    @dataclass
    class Options:
        runs: list[str] = option(words=True, help="run directories")   # the words without "="
        root: str = option(help="folder of the data set")              # has no default: must be given
        parts: list[str] = option(repeat=True, help="a part")          # parts=A parts=B: at least one
        seed: int = option(0, least=0, help="seed of the resamples")

    def main(words: Sequence[str] | None = None) -> None:
        run(Options, work, __doc__, words)                             # work(options: Options)

A field holds type, default, range and help of its option; `--help` prints them below the module's docstring.
Checks that concern several options stand in the dataclass's `__post_init__`, which may raise UsageError.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import Field, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from errors import UsageError, did_you_mean

T = TypeVar("T")
KINDS = {str: "TEXT", int: "INTEGER", float: "NUMBER", bool: "true|false"}


def option(
    default: Any = MISSING,
    *,
    help: str,
    least: float | None = None,
    most: float | None = None,
    choices: Sequence[str] = (),
    words: bool = False,
    repeat: bool = False,
) -> Any:
    """A field of an options dataclass.

    Args:
        default: its value unless a word sets it; a list is copied. Without one the option must be given.
        help: one line for `--help`.
        least, most: the range of a number, both ends allowed.
        choices: the texts that the option, or each member of its list, may be.
        words: takes the words that are not key=value; its default is no words.
        repeat: a list of texts, of which each word key=value adds one, as typed.
    """
    about = {"help": help, "least": least, "most": most, "choices": tuple(choices)}
    about |= {"words": words, "repeat": repeat}
    if words or isinstance(default, list):
        values = [] if words else list(default)
        return field(default_factory=lambda: list(values), metadata=about)
    return field(default=default, metadata=about)


def parse(options: type[T], words: Sequence[str]) -> T:
    """The options that the words of a command line set.

    Raises:
        UsageError: for a key that is unknown or given twice, a value that its key cannot take, or an option
            without default that is not given.
    """
    known = {one.name: one for one in fields(options) if not one.metadata["words"]}  # type: ignore[arg-type]
    rest = next((one for one in fields(options) if one.metadata["words"]), None)  # type: ignore[arg-type]
    hints, config = get_type_hints(options), OmegaConf.structured(options)
    others: list[str] = []
    given: set[str] = set()
    for word in words:
        key, equals, value = word.partition("=")
        if rest is not None and (not equals or (key not in known and Path(word).exists())):
            others.append(word)
            continue
        if not equals or key not in known:
            more = f"; other words are {rest.metadata['help']}" if rest else ""
            wrong = "arguments are key=value, and"
            if equals:
                wrong = f"there is no key {key}{did_you_mean(key, known)};"
            raise UsageError(f"{word}: {wrong} the keys are {', '.join(known)}{more}")
        if known[key].metadata["repeat"]:
            config[key] = [*(config[key] if key in given else ()), value]
            given.add(key)
            continue
        if key in given:
            raise UsageError(f"{word}: {key} is given twice")
        given.add(key)
        try:
            if hints[key] in (str, str | None) and value != "null":
                config[key] = value  # as typed: read as YAML, 007 would lose its zeros
            else:
                config.merge_with_dotlist([word])
        except OmegaConfBaseException as error:
            raise UsageError(f"{word}: {str(error).splitlines()[0]}") from error
        _check(known[key], config[key])
    for key, one in known.items():
        if OmegaConf.is_missing(config, key):
            kind = "TEXT" if known[key].metadata["repeat"] else _kind(hints[key])
            raise UsageError(f"{key}={kind} is missing: {one.metadata['help']}")
    if rest is not None:
        config[rest.name] = others
    made = OmegaConf.to_object(config)
    assert isinstance(made, options)
    return made


def _check(one: Field[Any], value: Any) -> None:
    least, most, choices = (one.metadata[name] for name in ("least", "most", "choices"))
    if value is None:
        return
    if (least is not None and value < least) or (most is not None and value > most):
        raise UsageError(f"{one.name}={value} must be {_range(least, most)}")
    members = value if OmegaConf.is_list(value) else [value]
    if choices and (not members or any(member not in choices for member in members)):
        raise UsageError(f"{one.name}={value}: choose from {', '.join(choices)}")


def run(
    options: type[T], work: Callable[[T], object], about: str | None, words: Sequence[str] | None = None
) -> None:
    """Does `work` with the options of the command line, or prints the help.

    A UsageError and Ctrl-C end the process without a stack trace, with exit status 1 and 130.

    Args:
        about: the docstring of the command's module, which begins with how it is called.
        words: default: those of the process.
    """
    words = sys.argv[1:] if words is None else words
    if {"-h", "--help"} & set(words):
        print(help_text(options, about))
        return
    try:
        work(parse(options, words))
    except UsageError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def help_text(options: type, about: str | None) -> str:
    """The docstring, then a line for each option: name, type, help, range and default."""
    hints = get_type_hints(options)
    lines = []
    for one in fields(options):
        kind = "TEXT, repeatable" if one.metadata["repeat"] else _kind(hints[one.name])
        name = "WORDS" if one.metadata["words"] else f"{one.name}={kind}"
        notes = [one.metadata["help"]]
        if one.metadata["choices"]:
            notes.append(f"of {', '.join(one.metadata['choices'])}")
        if one.metadata["least"] is not None or one.metadata["most"] is not None:
            notes.append(_range(one.metadata["least"], one.metadata["most"]))
        if not one.metadata["words"] and one.default is not None:
            notes.append(_default(one))
        lines.append((name, "; ".join(notes)))
    width = max(len(name) for name, _ in lines)
    table = "\n".join(f"  {name:<{width}}  {text}" for name, text in lines)
    return f"{(about or '').strip()}\n\nOptions:\n{table}"


def _kind(hint: Any) -> str:
    """As in out=TEXT, parts=[A,B]."""
    inner = next((kind for kind in getattr(hint, "__args__", ()) if kind is not type(None)), hint)
    return "[A,B]" if getattr(hint, "__origin__", None) is list else KINDS.get(inner, "VALUE")


def _default(one: Field[Any]) -> str:
    value = one.default_factory() if callable(one.default_factory) else one.default
    if value == MISSING:
        return "must be given"
    if isinstance(value, list):
        return f"default [{','.join(map(str, value))}]"
    return f"default {str(value).lower() if isinstance(value, bool) else value}"


def _range(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return f"at least {least}" if most is None else f"at most {most}"
    return f"in {least} to {most}"


def new_folder(path: str | Path, option: str = "out=DIR") -> Path:
    """The folder that an option names, created where it is missing; `option` is for the message.

    Raises:
        UsageError: if it cannot be.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): choose another {option}") from error
    return Path(path)
