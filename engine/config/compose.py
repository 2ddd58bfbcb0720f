"""Configs: composed from configs/, completed where an older run lacks a key, and checked before work starts.

Importing this module makes the base that configs/train.yaml and configs/eval.yaml name known to Hydra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from engine.config.help import help_template
from engine.config.keys import EVAL_KEYS, KEYS, NEEDED, ONLY, Key
from engine.config.unknown import COMPOSING_ERRORS, explain
from errors import UsageError
from evaluation.coco_backends import check_backend

CONFIGS = Path(__file__).parents[2] / "configs"
ALL = {**KEYS, **{name: key for keys in ONLY.values() for name, key in keys.items()}}
# What eval.py takes from the command line in place of the run's own value.
EVAL_SECTIONS = ("data", "eval")


def compose_config(*words: str, name: str = "train", hydra: bool = False) -> DictConfig:
    """The config that `train.py` (or another `name`) makes of these words, outside of Hydra's main.

    With `hydra` it has Hydra's own part, too.

    Raises:
        UsageError: for words that cannot be composed.
    """
    try:
        return _composed(words, name, hydra)
    except COMPOSING_ERRORS as error:
        raise composing_error(error, words, name) from None


def _composed(words: Sequence[str], name: str, hydra: bool = False) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(name, list(words), return_hydra_config=hydra)


def composing_error(error: Exception, words: Sequence[str], name: str) -> UsageError:
    """The message for words that Hydra could not compose, with the keys that were probably meant."""

    def known() -> list[str]:
        choices = [word for word in words if "/" in word or "." not in word.partition("=")[0]]
        for some in (choices, []):
            try:
                flat = flatten(OmegaConf.to_container(_composed(some, name)))
            except COMPOSING_ERRORS:
                continue
            return [*flat, *(folder.name for folder in CONFIGS.iterdir() if folder.is_dir())]
        return []

    return UsageError(explain(error, words, known))


def check(config: DictConfig) -> None:
    """Refuses values that would fail late or silently.

    Raises:
        UsageError: naming the key, its value and what it must be.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise UsageError("a value is needed: " + " ".join(f"{key}=..." for key in missing))
        values = flatten(OmegaConf.to_container(config, resolve=True))
    except OmegaConfBaseException as error:
        raise UsageError(f"the config refers to what is not there: {error}") from error
    # First the keys of one kind of data or model: others may refer to them, as data.short to data.size.
    for name, value in sorted(values.items(), key=lambda item: item[0] in KEYS):
        if name in ALL and not ALL[name].kind.accepts(value):
            raise UsageError(f"{name}={value} must be {ALL[name].kind.words}")
    check_backend(values["eval.backend"])


def completed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a run as this version would have written it.

    A key that the run does not have, since a later version added it, takes its default: defaults are chosen
    such that they leave older runs as they were.
    """
    flat = flatten(dict(stored))
    for name, key in applicable(flat).items():
        if name not in flat and not any(other.startswith(f"{name}.") for other in flat):
            if "$" not in str(key.default) and key.default != NEEDED:
                flat[name] = key.default
        elif key.earlier and not isinstance(flat.get(name), list):
            flat[name] = key.earlier.get(flat[name], flat[name])
    return {**stored, **nested(flat)}


def applicable(flat: Mapping[str, Any]) -> dict[str, Key]:
    """The keys that a flat config has: some belong to one kind of data, neck or head."""
    own = {**KEYS}
    for (name, value), keys in ONLY.items():
        if flat.get(name, KEYS[name].default) == value:
            own |= keys
    return own


def replace_options(config: DictConfig, options: DictConfig) -> list[str]:
    """Puts what the command line of eval.py gives for data and eval in place of the run's own, in place.

    Args:
        config: of the run.
        options: composed from eval.yaml, in which null stands for the run's value.

    Returns:
        The keys that were given.

    Raises:
        UsageError: for keys that there are not, or not for this kind of data.
    """
    plain: Any = OmegaConf.to_container(options, resolve=True)
    sections = {section: plain.get(section) or {} for section in EVAL_SECTIONS}
    given = {name: value for name, value in flatten(sections).items() if value is not None and value != {}}
    if given.get("data.kind"):  # another data set in place of the run's
        config.data = completed({"data": nested(given)["data"]})["data"]
    own = applicable(flatten(OmegaConf.to_container(config, resolve=True)))
    for name, value in given.items():
        if name not in own:
            section, _, rest = name.partition(".")
            known = ", ".join(key.partition(".")[2] for key in own if key.startswith(f"{section}."))
            raise UsageError(f"{section} has no {rest}; it has {known}")
        OmegaConf.update(config, name, value)
    for name in own:
        if OmegaConf.select(config, name, default=NEEDED) == NEEDED:
            raise UsageError(f"a value is needed: {name}=...")
    return list(given)


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    if not isinstance(node, dict):
        return {prefix: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of `flatten`."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def _register() -> None:
    names = [name for name in ALL if name.partition(".")[0] in EVAL_SECTIONS]
    nodes = {
        "train_keys": {name: key.default for name, key in KEYS.items()},
        "eval_keys": {name: key.default for name, key in EVAL_KEYS.items()} | dict.fromkeys(names),
    }
    helps = {"train_keys": [KEYS, *ONLY.values()], "eval_keys": [EVAL_KEYS]}
    for node, flat in nodes.items():
        hydra = {"hydra": {"help": {"template": help_template(helps[node])}}}
        ConfigStore.instance().store(node, nested(flat) | hydra)
    # For a predictor beside the first one: configs/assigner/dual_tal.yaml.
    loss = nested({name: key.default for name, key in KEYS.items()})["loss"]
    ConfigStore.instance().store("loss", loss, group="assigner/rule")


_register()
