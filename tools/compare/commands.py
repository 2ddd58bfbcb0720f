"""The command that makes a run, found from its config: which choices, and which keys differ from them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from engine.config.compose import CONFIGS, compose_config, flatten
from engine.run.directory import FREE
from errors import UsageError
from tools.compare.runs import FinishedRun

GROUPS = ("model", "data", "schedule", "assigner", "recipe")
# The setting changes no result, but it is in the names of runs.
SKIPPED = (*(key for key in FREE if key != "setting"), "seed", "name")
MARKS = set(" \t,:={}[]()'\"\\#%*@?;&|<>`~!$")  # of Hydra's grammar: a text with one of them is quoted


def commands(runs: Sequence[FinishedRun]) -> list[str]:
    """The command that trains runs of one config, or one command for each run that has its own name.

    Of foreign results, which no command makes, their files are named.
    """
    if runs[0].foreign:
        return [f"# {run.config['name']}: foreign results of {run.path}" for run in runs]
    config = runs[0].config
    choices = _choices(config)
    words = [f"{group}={name}" for group, name in choices]
    for key, value in _flat(config).items():
        found = _composed(tuple(words))  # again, since a key may follow one that was just set
        if found.get(key, "absent") != value:
            words.append(f"{'' if key in found else '+'}{key}={hydra_text(value)}")
    names = [
        _composed((*words, f"seed={run.seed}"), named=True)["name"] == run.config["name"] for run in runs
    ]
    if all(names):
        seeds = ",".join(str(run.seed) for run in runs)
        return [_line([*words, f"seed={seeds}"], sweep=len(runs) > 1)]
    return [
        _line([*words, f"seed={run.seed}", f"name={hydra_text(run.config['name'])}"], False) for run in runs
    ]


def hydra_text(value: Any) -> str:
    """A value as Hydra's command line reads it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(hydra_text(member) for member in value)}]"
    if isinstance(value, str):
        plain = value and not MARKS & set(value) and not _is_number_or_word(value)
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return value if plain else f"'{quoted}'"
    return str(value)


def _is_number_or_word(text: str) -> bool:
    """Whether YAML would read something else than a text."""
    if text.lower() in ("null", "true", "false", "nan", "inf"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _line(words: Sequence[str], sweep: bool) -> str:
    return " ".join(["python train.py", *(["-m"] if sweep else []), *map(shlex.quote, words)])


def _choices(config: dict[str, Any]) -> list[tuple[str, str]]:
    """For each group of configs the choice that leaves the fewest keys to be set, one group after another.

    Where the config itself names a choice, the others are not tried: composing takes 0.1 s.
    """
    wanted, chosen = _flat(config), dict[str, str]()
    for group in GROUPS:
        names = sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
        own = config[group].get("name") if group in config else None
        if own in names:
            names = [own]
        open_keys = {}
        for name in names:
            try:
                found = _composed(tuple(f"{g}={n}" for g, n in (chosen | {group: name}).items()))
            except UsageError:
                continue  # does not go together with what is chosen
            open_keys[name] = _apart(found, wanted)
        chosen[group] = min(open_keys, key=lambda name: open_keys[name])
    # What the defaults choose anyway is not said.
    kept = list(chosen.items())
    least = _apart(_composed(tuple(f"{g}={n}" for g, n in kept)), wanted)
    for pair in list(kept):
        rest = [other for other in kept if other != pair]
        same = _apart(_composed(tuple(f"{g}={n}" for g, n in rest)), wanted) == least
        if same and pair[0] != "assigner":
            kept = rest
    return kept


def _apart(found: dict[str, Any], wanted: dict[str, Any]) -> int:
    return sum(found.get(key, "absent") != wanted.get(key, "absent") for key in found.keys() | wanted.keys())


@cache
def _composed(words: tuple[str, ...], named: bool = False) -> dict[str, Any]:
    """The config of a command line, flat and without what does not change the result."""
    config = compose_config(*words)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return {"name": plain["name"]} if named else _flat(plain)


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    flat = flatten(config)
    return {
        key: value
        for key, value in flat.items()
        if value != {} and not any(key == name or key.startswith(name + ".") for name in SKIPPED)
    }
