"""Every choice of every group composes, and every experiment runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, TINY_COCO_RUN, TINY_MODEL
from omegaconf import DictConfig, OmegaConf

from detector.criterion import Criterion
from engine.setup import build_assigner, check
from engine.trainer import train

Compose = Callable[..., DictConfig]

GROUPS = ("assigner", "data", "debug", "experiment", "logger", "model", "recipe", "schedule")
ASSIGNERS = ("atss", "fcos", "o2f", "simota", "tal")


def choices(group: str) -> list[str]:
    return sorted(file.stem for file in (ROOT / "configs" / group).glob("*.yaml"))


def test_these_are_all_groups() -> None:
    folders = {path.parent.name for path in (ROOT / "configs").glob("*/*.yaml")}
    assert folders == {*GROUPS, "sweep"}  # tests/test_sweeps.py
    assert set(choices("assigner")) == set(ASSIGNERS)


@pytest.mark.parametrize("word", [f"{group}={choice}" for group in GROUPS for choice in choices(group)])
def test_every_choice_composes(composed: Compose, word: str) -> None:
    config = composed(word)
    if OmegaConf.is_missing(config.data, "root"):
        config.data.root = "somewhere"
    check(config)
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    group, _, choice = word.partition("=")
    if group in ("assigner", "model", "data"):
        assert plain[group]["name"] == choice
        assert choice in plain["name"]


@pytest.mark.parametrize("choice", choices("data"))
def test_every_data_set_composes_for_evaluation(composed: Compose, choice: str) -> None:
    assert composed(f"data={choice}", name="eval").data.name == choice


@pytest.mark.parametrize("assigner", ASSIGNERS)
def test_the_controlled_recipe_leaves_only_the_assigner_different(composed: Compose, assigner: str) -> None:
    published = composed(f"assigner={assigner}")
    controlled, o2f = composed(f"assigner={assigner}", "recipe=controlled"), composed("recipe=controlled")
    assert controlled.loss == o2f.loss
    assert controlled.model == o2f.model
    assert controlled.schedule == o2f.schedule
    assert controlled.assigner == published.assigner
    assert controlled.name != published.name
    for config in (published, controlled):
        build_assigner(config)
        Criterion(**config.loss, quality=config.model.head.quality)


@pytest.mark.parametrize("assigner", ASSIGNERS)
def test_the_full_setting_is_that_of_the_papers(composed: Compose, assigner: str) -> None:
    config = composed("experiment=coco_fcos_r50_1x", f"assigner={assigner}", "data.root=somewhere")
    assert config.name == f"coco-fcos_r50_1x-{assigner}-seed0"
    assert config.model.backbone.name == "resnet50"
    assert config.model.head.channels == 256
    quality = {"atss": "centerness", "fcos": "centerness", "o2f": "implicit"}.get(assigner, "none")
    assert config.model.head.quality == quality
    assert (config.data.short, config.data.eval_short, config.data.long) == (800, 800, 1333)
    schedule = config.schedule
    assert (schedule.optimizer, schedule.lr, schedule.batch_size, schedule.epochs) == ("sgd", 0.01, 16, 12)
    assert (schedule.decay, list(schedule.milestones)) == ("step", [8, 11])


# The large network takes seconds, so one assigner stands for all in its controlled recipe.
RUNS = [
    (experiment, assigner, recipe)
    for experiment in choices("experiment")
    for assigner in ASSIGNERS
    for recipe in ("published", "controlled")
    if (experiment, recipe) != ("coco_fcos_r50_1x", "controlled") or assigner == "tal"
]


@pytest.mark.parametrize(("experiment", "assigner", "recipe"), RUNS)
def test_every_experiment_runs_two_steps(
    composed: Compose, tiny_coco: Path, experiment: str, assigner: str, recipe: str
) -> None:
    words = (f"experiment={experiment}", f"assigner={assigner}", f"recipe={recipe}")
    places = (f"data.root={tiny_coco}", f"runs_dir={tiny_coco}/runs")
    value = train(composed(*words, *TINY_COCO_RUN, *TINY_MODEL, *places, "max_steps=2"))
    assert 0 <= value <= 100
    (directory,) = (tiny_coco / "runs").iterdir()
    state = torch.load(directory / "last.pt", weights_only=True)
    assert (state["epoch"], state["step"]) == (1, 2)
    assert state["config"]["assigner"]["name"] == assigner
    assert all(torch.isfinite(value).all() for value in state["weights"].values())


def test_debug_runs_two_steps(tiny_run: Compose) -> None:
    config = tiny_run("debug=steps", "schedule.epochs=1")
    train(config)
    train(config)  # again at once
    (directory,) = Path(config.runs_dir).iterdir()
    assert directory.name.startswith("debug-")
    assert torch.load(directory / "last.pt", weights_only=True)["step"] == 2
