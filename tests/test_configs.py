"""Every choice of every group composes, and every experiment runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from detector.criterion import Criterion
from detector.scheduled_loss import build_criterion
from engine.config.compose import check, flatten
from engine.config.keys import KEYS
from engine.run import checkpoint
from engine.schedule import progress
from engine.setup import build_assigner, build_model
from engine.trainer import train
from tests.helpers.tiny_run import ROOT, TINY_COCO_RUN, TINY_MODEL

Compose = Callable[..., DictConfig]

GROUPS = ("assigner", "data", "debug", "experiment", "logger", "model", "recipe", "schedule")
ASSIGNERS = (
    "atss", "atss_tal", "dsla", "dual_o2f", "dual_tal", "dual_tal_scheduled", "dw", "fcos", "hungarian",
    "max_iou", "o2f", "o2f_max_filter", "o2f_window", "poto", "poto_3dmf_aux", "rfla", "simota", "tal",
    "tal_one_to_few", "tood",
)  # fmt: skip


def targets(node: Any) -> Iterator[dict[str, Any]]:
    """The parts of a config that name a class, at any depth."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for part in node.values():
            yield from targets(part)


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


@pytest.mark.parametrize("assigner", ASSIGNERS)
def test_every_option_of_an_assigner_can_be_given(composed: Compose, assigner: str) -> None:
    plain: Any = OmegaConf.to_container(composed(f"assigner={assigner}").assigner, resolve=True)
    parts = list(targets(plain))
    assert parts
    for part in parts:
        assert part.keys() >= signature(resolve_name(part["_target_"])).parameters.keys()


@pytest.mark.parametrize("choice", choices("data"))
def test_every_data_set_composes_for_evaluation(composed: Compose, choice: str) -> None:
    assert composed(f"data={choice}", name="eval").data.name == choice


@pytest.fixture(scope="module")
def controlled_o2f(composed: Compose) -> DictConfig:
    return composed("recipe=controlled")


@pytest.mark.parametrize("assigner", ASSIGNERS)
def test_the_controlled_recipe_leaves_only_the_assigner_different(
    composed: Compose, controlled_o2f: DictConfig, assigner: str
) -> None:
    published = composed(f"assigner={assigner}")
    controlled = composed(f"assigner={assigner}", "recipe=controlled")
    assert controlled.loss == controlled_o2f.loss
    assert controlled.model == controlled_o2f.model
    assert controlled.schedule == controlled_o2f.schedule
    assert controlled.assigner == published.assigner
    assert controlled.name != published.name
    for config in (published, controlled):
        build_assigner(config)
        build_criterion(config.loss, config.model.head.quality)


# The four differ in depth and length alone, so one stands for all assigners.
PAPER_SETTINGS = [(50, "1x", assigner) for assigner in ASSIGNERS]
PAPER_SETTINGS += [(50, "3x", "o2f"), (101, "1x", "o2f"), (101, "3x", "o2f")]


@pytest.mark.parametrize(("depth", "length", "assigner"), PAPER_SETTINGS)
def test_the_full_settings_are_those_of_the_papers(
    composed: Compose, depth: int, length: str, assigner: str
) -> None:
    name = f"fcos_r{depth}_{length}"
    config = composed(f"experiment=coco_{name}", f"assigner={assigner}", "data.root=somewhere")
    assert config.name == f"coco-{name}-{assigner}-seed0"
    # torchvision's weights: timm's default ones of the same network come from another training.
    assert config.model.backbone.name == f"resnet{depth}.tv_in1k"
    assert (config.model.backbone.freeze_stages, config.model.backbone.freeze_norm) == (1, "statistics")
    assert (config.model.head.channels, config.model.head.convs) == (256, 4)
    quality = {
        **dict.fromkeys(("atss", "fcos", "max_iou"), "centerness"),
        **dict.fromkeys(("o2f", "o2f_max_filter", "o2f_window", "dual_o2f", "poto_3dmf_aux"), "implicit"),
        **dict.fromkeys(("dw", "atss_tal", "tood"), "implicit"),
    }
    assert config.model.head.quality == quality.get(assigner, "none")
    assert (config.data.eval_short, config.data.long, config.data.eval_long) == (800, 1333, 1333)
    assert config.data.short == (800 if length == "1x" else list(range(640, 801, 32)))
    schedule = config.schedule
    assert (schedule.optimizer, schedule.lr, schedule.batch_size) == ("sgd", 0.01, 16)
    epochs, milestones = (12, [8, 11]) if length == "1x" else (36, [24, 33])
    assert (schedule.decay, schedule.epochs, list(schedule.milestones)) == ("step", epochs, milestones)


def test_o2f_window_is_o2f_but_for_t_max_and_the_window(composed: Compose) -> None:
    ours, plain = (
        flatten(OmegaConf.to_container(composed(f"assigner={name}"), resolve=True))
        for name in ("o2f_window", "o2f")
    )
    assert {key: value for key, value in ours.items() if value != plain[key]} == {
        "name": "shapes-fcos_lcnet-o2f_window-seed0", "assigner.name": "o2f_window",
        "assigner.t_max": 1.0, "eval.peak_window": 3,
    }  # fmt: skip


@pytest.mark.parametrize(("size", "channels", "convs"), [("s", 96, 2), ("m", 128, 4), ("l", 160, 4)])
@pytest.mark.parametrize("side", [320, 416])
def test_picodet_is_trained_as_published(
    composed: Compose, size: str, channels: int, convs: int, side: int
) -> None:
    config = composed(f"experiment=coco_picodet_{size}_{side}", "data.root=somewhere")
    assert config.name == f"coco-picodet_{size}_{side}-atss_tal-seed0"
    assert (config.model.neck.channels, config.model.head.channels) == (channels, channels)
    assert (config.model.head.convs, config.model.head.reg_max) == (convs, 7)
    assert (config.data.square, config.data.eval_short) == (True, side)
    assert list(config.data.short) == [side - 64, side - 32, side, side + 32, side + 64]
    schedule = config.schedule
    epochs = 250 if size == "l" or (size, side) == ("m", 416) else 300
    assert (schedule.epochs, schedule.decay_epochs or epochs) == (epochs, 300)
    assert (schedule.optimizer, schedule.weight_decay) == ("sgd", 4e-5)
    assert schedule.lr == pytest.approx(0.32 / 256 * schedule.batch_size)
    text = (ROOT / f"configs/experiment/coco_picodet_{size}_{side}.yaml").read_text()
    words = re.findall(r"assigner\.switch=\S+\d", text)[:1]  # of the command that the file names
    assigner = build_assigner(composed(f"experiment=coco_picodet_{size}_{side}", "data.root=x", *words))
    first_of_tal = next(epoch for epoch in range(epochs) if progress(epoch, epochs) >= assigner.switch)
    assert first_of_tal == 100
    assert (assigner.first.score, assigner.second.reach) == ("iou", 7)


def test_tood_is_trained_as_published(composed: Compose) -> None:
    config = composed("experiment=coco_tood_r50_1x", "data.root=somewhere")
    assert config.name == "coco-tood_r50_1x-tood-seed0"
    head = config.model.head
    assert (head.kind, head.channels, head.convs, head.quality) == ("task_aligned", 256, 6, "implicit")
    assert (config.model.neck.extra_levels, config.model.backbone.freeze_norm) == (2, "statistics")
    assigner = build_assigner(config)
    first_of_tal = next(epoch for epoch in range(12) if progress(epoch, 12) >= assigner.switch)
    assert first_of_tal == 4
    assert config.loss.first.until == assigner.switch
    assert (assigner.first.score, assigner.second.candidates) == ("one", "everywhere")
    build_criterion(config.loss, head.quality)


@pytest.mark.parametrize(("model", "reach"), [("fcos_lcnet", None), ("picodet_s", 7)])
def test_the_reach_of_tal_is_that_of_the_head(composed: Compose, model: str, reach: int | None) -> None:
    assert build_assigner(composed(f"model={model}", "assigner=tal")).reach == reach


# The large networks take seconds, so each assigner runs in one of them; `small` has all of them.
ONLY = {
    "coco_fcos_r50_1x": ("tal", "fcos"),
    "coco_fcos_r50_3x": ("atss",),
    "coco_fcos_r101_1x": ("simota",),
    "coco_fcos_r101_3x": ("o2f",),
    "coco_tood_r50_1x": ("tood",),
    "finetune": ("o2f",),
    "nms_free": ("dual_o2f", "dual_tal"),
} | {
    # Those of PicoDet differ in numbers only, so one stands for all, with every kind of quality branch.
    experiment: ("atss_tal", "fcos", "o2f", "simota", "dual_tal") if "s_320" in experiment else ("atss_tal",)
    for experiment in choices("experiment")
    if "picodet" in experiment
}
RUNS = [
    (experiment, assigner, recipe)
    for experiment in choices("experiment")
    for assigner in ONLY.get(experiment, ASSIGNERS)
    for recipe in ("published", "controlled")
    # The controlled recipe gives all assigners one loss.
    if recipe == "published" or assigner == ("tal" if "fcos" in experiment else "o2f")
]


@pytest.mark.parametrize(("experiment", "assigner", "recipe"), RUNS)
def test_every_experiment_runs_two_steps(
    composed: Compose, tiny_coco: Path, unsized: None, experiment: str, assigner: str, recipe: str
) -> None:
    words = (f"experiment={experiment}", f"assigner={assigner}", f"recipe={recipe}")
    places = (f"data.root={tiny_coco}", f"runs_dir={tiny_coco}/runs")
    config = composed(*words, *TINY_COCO_RUN, *TINY_MODEL, *places, "max_steps=2")
    if config.init is not None:
        config.init = str(tiny_coco / "other.pt")
        facts = {"config": OmegaConf.to_container(config, resolve=True), "classes": ["boat"], "epoch": 1}
        checkpoint.save(tiny_coco / "other.pt", {**facts, "weights": build_model(config, 1).state_dict()})
    value = train(config)
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


@pytest.mark.parametrize("assigner", ASSIGNERS)
def test_a_loss_block_says_only_what_differs_from_the_criterions_defaults(assigner: str) -> None:
    parameters = signature(Criterion.__init__).parameters
    base = {name.removeprefix("loss."): key.default for name, key in KEYS.items() if name.startswith("loss.")}
    assert base.pop("first") is None  # of detector.scheduled_loss
    assert base == {key: "???" if key == "classification" else parameters[key].default for key in base}
    assert {*base, "quality", "self"} == set(parameters)
    own: Any = OmegaConf.load(ROOT / "configs" / "assigner" / f"{assigner}.yaml").get("loss", {})
    assert not {key for key, value in own.items() if value == base.get(key)}
