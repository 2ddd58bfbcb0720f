"""The keys of the config: one table that files, checks, older runs, help and docs/config.md hold to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from data.coco.dataset import CROWD_REGIONS
from detector.backbone.backbone import FREEZE_NORM
from detector.criterion import BOX_WEIGHTS, CLASSIFICATION, NORMALIZERS
from detector.detector import HEADS, NECKS
from detector.head.fcos import DISTANCES, ORIGINS
from detector.outputs import QUALITIES, SCORES
from engine.config.compose import (
    ALL,
    applicable,
    check,
    completed,
    compose_config,
    flatten,
    nested,
    replace_options,
)
from engine.config.help import reference
from engine.config.keys import EVAL_KEYS, KEYS, NEEDED, ONLY
from engine.config.unknown import explain
from errors import UsageError
from evaluation.coco_backends import BACKENDS
from tests.helpers.tiny_run import ROOT

Compose = Callable[..., DictConfig]


def test_the_page_is_that_of_the_keys() -> None:
    page = (ROOT / "docs" / "config.md").read_text()
    assert page == reference(), "python -m tools.config > docs/config.md"
    assert all(f"`{name}`" in page for name in (*ALL, *EVAL_KEYS))


def test_help_shows_every_key() -> None:
    for name, keys in (("train", ALL), ("eval", EVAL_KEYS)):
        shown = compose_config(name=name, hydra=True).hydra.help.template
        assert all(f"\n{key}=" in shown for key in keys)
        assert "$APP_CONFIG_GROUPS" in shown


@pytest.mark.parametrize(
    "words", [("data=shapes",), ("data=coco", "data.root=x"), ("model=picodet_csp_s",), ("model=fcos_r50",)]
)
def test_every_key_of_a_config_is_in_the_table_and_the_other_way_round(
    composed: Compose, words: tuple[str, ...]
) -> None:
    values = flatten(OmegaConf.to_container(composed(*words), resolve=True))
    own = applicable(values)
    assert {name for name in values if not name.startswith("assigner.")} == own.keys()
    for keys in ONLY.values():  # a YAML file of the kind gives the value that older runs are taken to have
        for name in keys.keys() & values.keys() - {"data.root", "model.neck.extra_levels"}:
            assert values[name] == keys[name].default


@pytest.mark.parametrize("key", [key for key in ALL.values() if key.default != NEEDED])
def test_defaults_are_among_the_values(key: Any) -> None:
    assert key.kind.accepts(key.default)


def test_choices_are_those_of_the_code() -> None:
    for name, known in {
        "loss.classification": CLASSIFICATION, "loss.box_weight": BOX_WEIGHTS, "loss.normalizer": NORMALIZERS,
        "model.head.quality": QUALITIES, "model.head.kind": HEADS, "model.neck.kind": NECKS,
        "eval.backend": ("auto", *BACKENDS), "model.head.score": SCORES, "model.head.distances": DISTANCES,
        "model.head.origin": ORIGINS, "model.backbone.freeze_norm": FREEZE_NORM,
        "data.crowd_regions": CROWD_REGIONS,
    }.items():  # fmt: skip
        assert ALL[name].kind.words == f"one of {', '.join(known)}"


def test_a_key_that_a_later_version_added_has_its_default_in_an_older_run() -> None:
    plain: Any = OmegaConf.to_container(compose_config("data=coco", "data.root=x", "eval.limit=7"))
    older = {**plain, "eval": {"limit": 7}, "data": {"kind": "coco", "root": "y"}}
    made = completed(older)
    assert made["eval"] == {**plain["eval"], "limit": 7}
    assert made["data"]["root"] == "y"
    assert made["data"]["categories"] == "all"
    assert "size" not in made["data"]
    assert made["assigner"] == plain["assigner"]
    assert completed(plain) == plain


def test_a_value_of_an_earlier_version_is_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    key = dataclasses.replace(KEYS["eval.metric"], earlier={"free": "nms_free"})
    monkeypatch.setitem(KEYS, "eval.metric", key)
    assert completed({"eval": {"metric": "free"}})["eval"]["metric"] == "nms_free"
    assert completed({"eval": {"metric": "nms"}})["eval"]["metric"] == "nms"


def test_nested_is_the_opposite_of_flatten() -> None:
    tree = {"a": {"b": 1, "c": [1, {"d": 2}]}, "e": None}
    assert flatten(tree) == {"a.b": 1, "a.c": [1, {"d": 2}], "e": None}
    assert nested(flatten(tree)) == tree


def test_a_reference_to_what_is_not_there_is_named(composed: Compose) -> None:
    with pytest.raises(UsageError, match=r"refers to what is not there.*data\.nam"):
        check(composed("setting=${data.nam}"))


def test_options_of_a_run_are_replaced_by_their_plain_names(composed: Compose) -> None:
    config = composed("data.size=64")
    words = ("eval.nms_iou=0.5", "data.crowd=1", "data.images.val=3")
    assert set(replace_options(config, compose_config(*words, name="eval"))) == {
        "eval.nms_iou", "data.crowd", "data.images.val",
    }  # fmt: skip
    assert (config.eval.nms_iou, config.data.crowd, config.data.images.val) == (0.5, 1, 3)
    assert (config.eval.limit, config.data.size, config.data.images.train) == (100, 64, 900)
    assert replace_options(config, compose_config(name="eval")) == []


def test_another_data_set_replaces_all_of_the_runs_data(composed: Compose) -> None:
    config = composed("data.size=64", "data.flip=0")
    replace_options(config, compose_config("data=coco", "data.root=x", "data.eval_short=9", name="eval"))
    assert (config.data.kind, config.data.root) == ("coco", "x")
    assert (config.data.eval_short, config.data.flip) == (9, 0.5)
    assert "size" not in config.data
    check(config)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data=coco", r"data\.root=\.\.\."),
        ("data.root=x", r"data has no root; it has name, kind, .*crowd"),
        ("+eval.nmsiou=0.5", r"eval has no nmsiou; it has every, .*nms_iou"),
    ],
)
def test_options_that_a_run_does_not_have_are_named(composed: Compose, word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace_options(composed(), compose_config(word, name="eval"))


def test_a_group_of_which_nothing_is_chosen() -> None:
    error = ConfigCompositionException("Could not override 'logger'.")
    keys = ["logger", "eval.limit"]
    assert explain(error, ["logger=none"], lambda: keys) == (
        "logger=none: logger is not chosen here; +logger=none adds it, but a finished run keeps its own"
    )
