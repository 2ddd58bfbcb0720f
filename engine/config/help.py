"""The keys of the config as text: for `--help`, and for docs/config.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from engine.config.keys import EVAL_KEYS, KEYS, NEEDED, ONLY, Key

INTRODUCTION = """\
# Keys of the config

Written by `python -m tools.config > docs/config.md` from [keys.py](../engine/config/keys.py);
`python train.py --help` shows the same. A value comes from the command line, else from the chosen files of
[configs](../configs), else it is the default below. Options of assigners: [assigners.md](assigners.md). A run
may be continued with another value of a key marked *; any other difference is refused."""


def help_template(groups: Iterable[Mapping[str, Key]]) -> str:
    """What Hydra prints for `--help`; it puts the groups and their choices in place of $APP_CONFIG_GROUPS."""
    lines = []
    for keys in groups:
        for name, key in keys.items():
            lines.append(f"{name}={_shown(key.default)}\n    {key.help}: {_values(key)}")
    return (
        "${hydra.help.header}\n\n== Groups: GROUP=CHOICE takes another file of configs/ ==\n\n"
        "$APP_CONFIG_GROUPS\n\n== Keys and their defaults, which the files of configs/ change ==\n\n"
        + "\n".join(lines)
        + "\n\n${hydra.help.footer}\n"
    )


def reference() -> str:
    """docs/config.md."""
    parts = [INTRODUCTION]
    sections: dict[str, dict[str, Key]] = {}
    for name, key in KEYS.items():
        section = name.partition(".")[0] if "." in name else ""
        sections.setdefault(section, {})[name] = key
    for section, keys in sections.items():
        parts.append(f"## {section or 'The run'}\n\n{_table(keys)}")
        for (condition, value), only in ONLY.items():
            if condition.startswith(f"{section}."):
                parts.append(f"With `{condition}={value}`:\n\n{_table(only)}")
    parts.append(
        "## Options of eval.py\n\nBesides, the keys of `data` and `eval` by their own names, as in "
        "`eval.nms_iou=0.5` or `data=coco data.root=DIR`; what is not given is the run's.\n\n"
        + _table(EVAL_KEYS)
    )
    return "\n\n".join(parts) + "\n"


def _table(keys: Mapping[str, Key]) -> str:
    lines = ["| key | default | values | meaning |", "|---|---|---|---|"]
    for name, key in keys.items():
        star = " *" if key.free else ""
        lines.append(f"| `{name}`{star} | `{_shown(key.default)}` | {_values(key)} | {key.help} |")
    return "\n".join(lines)


def _values(key: Key) -> str:
    return re.sub("^(one of|an?) ", "", key.kind.words)


def _shown(value: Any) -> str:
    """A default as the command line has it; "<key>" stands for the value of another key."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if value == NEEDED:
        return "to be given"
    return str(value).replace("${", "<").replace("}", ">")
