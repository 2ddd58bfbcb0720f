"""Runs with several predictors: their losses, their numbers, and that a single one is what it is without."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from assigners import POTO, GroundTruth, QualityATSS
from data.loader import Batch
from detector.criterion import Criterion
from detector.decode import decode
from detector.scheduled_loss import build_criterion
from engine.evaluate import evaluate_checkpoint
from engine.predictors import build_supervisions
from engine.setup import build_assigner, build_model
from engine.trainer import train
from errors import UsageError
from tests.helpers.tiny_run import TINY_COCO_RUN, TINY_MODEL
from tools.compare.runs import read

Compose = Callable[..., DictConfig]
CPU = torch.device("cpu")
TRUTH = GroundTruth.from_list(
    [
        (torch.tensor([[4.0, 4, 40, 40], [20, 30, 60, 60]]), torch.tensor([0, 1])),
        (torch.tensor([[10.0, 8, 50, 58]]), torch.tensor([2])),
    ]
)
IMAGES = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
SIZES = torch.full((2, 2), 64)
BATCH = Batch(IMAGES, TRUTH, torch.arange(2), SIZES, SIZES, [], GroundTruth.from_list([]))


def losses(config: DictConfig, progress: float) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    outputs = build_model(config, 3).eval().outputs(IMAGES)
    found: dict[str, torch.Tensor] = {}
    for supervision in build_supervisions(config, CPU):
        found |= supervision.losses(outputs, BATCH, progress)
    return found


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_each_predictor_has_its_own_assigner_loss_and_weight(tiny_run: Compose, progress: float) -> None:
    """Against the same computed by hand from the rules of `dual_tal_scheduled`."""
    config = tiny_run("assigner=dual_tal_scheduled", "model=picodet_s")
    torch.manual_seed(0)
    outputs = build_model(config, 3).eval().outputs(IMAGES)
    many_weight = 0.1 + 0.7 * (1 - progress)
    expected = {}
    for name, weight, topk, keep in (("many", many_weight, 10, None), ("one", 1 - many_weight, 7, 1)):
        plain = tiny_run("assigner=tal", "model=picodet_s", f"assigner.topk={topk}", "assigner.alpha=0.5")
        assigner = build_assigner(plain)
        assigner.keep = keep
        own = outputs[name]
        assignment = assigner(own.grid, decode(own), TRUTH)
        found = build_criterion(plain.loss, "none")(own, TRUTH, assignment, progress)
        expected |= {f"{name}_{key}": weight * loss for key, loss in found.items()}
    got = losses(config, progress)
    assert (
        got.keys() == expected.keys() == {f"{n}_{k}" for n in ("one", "many") for k in ("cls", "box", "dfl")}
    )
    for key, loss in expected.items():
        torch.testing.assert_close(got[key], loss)


def test_one_predictor_written_out_is_the_plain_run(tiny_run: Compose) -> None:
    """The loop has no case for one and none for two: the same losses under another name."""
    plain = tiny_run("assigner=o2f")
    written = tiny_run("assigner=o2f")
    OmegaConf.set_struct(written, False)
    written.predictors = {"own": {"assigner": plain.assigner, "loss": plain.loss}}
    first, second = losses(plain, 0.5), losses(written, 0.5)
    assert {f"own_{key}": loss.item() for key, loss in first.items()} == {
        key: loss.item() for key, loss in second.items()
    }


DUALS = ("dual_tal", "dual_tal_scheduled", "dual_o2f")


@pytest.mark.parametrize("assigner", DUALS)
def test_a_run_reports_both_predictors(tiny_run: Compose, assigner: str) -> None:
    config = tiny_run(f"assigner={assigner}", "model=picodet_s", "schedule.epochs=1", "max_steps=2")
    value = train(config)
    directory = Path(config.runs_dir) / config.name
    result = json.loads((directory / "eval.json").read_text())
    assert result["predictor"] == "one"
    assert list(result["others"]) == ["many"]
    assert value == result["nms_free"]["AP"]
    assert set(result["others"]["many"]) == {"nms", "nms_free", "gap"}
    files = {path.name for path in directory.glob("predictions*.json")}
    assert files == {f"predictions{own}{nms}.json" for own in ("", "_many") for nms in ("", "_nms")}
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    keys: set[str] = set().union(*lines)
    assert {
        "train/one_cls_loss",
        "train/many_cls_loss",
        "assign/one_starved",
        "many/nms/AP",
        "nms/AP",
    } <= keys


def test_evaluation_takes_either_predictor(tiny_run: Compose, composed: Compose) -> None:
    config = tiny_run("assigner=dual_o2f", "schedule.epochs=1", "max_steps=2")
    train(config)
    directory = Path(config.runs_dir) / config.name
    trained = json.loads((directory / "eval.json").read_text())
    words = (f"run={directory}", f"out={directory}/many", "eval.predictor=many", "device=cpu")
    evaluate_checkpoint(composed(*words, name="eval"))
    other = json.loads((directory / "many" / "eval.json").read_text())
    assert (other["predictor"], list(other["others"])) == ("many", ["one"])
    assert other["nms"] == trained["others"]["many"]["nms"]
    assert other["others"]["one"]["nms_free"] == trained["nms_free"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"loss": {}}, r"predictors\.many has no assigner: give it one, or name it in model\.frozen"),
        ({"assigner": {}, "classes_of": "few"}, r"predictors\.many\.classes_of=few must name"),
        ({"assigner": {}, "depth": 2}, r"predictors\.many has no depth; it has assigner, "),
    ],
)
def test_wrong_predictors_are_refused(tiny_run: Compose, entry: dict[str, Any], message: str) -> None:
    config = tiny_run()
    OmegaConf.set_struct(config, False)
    config.predictors = {"many": entry}
    with pytest.raises(UsageError, match=message):
        build_model(config, 3)


def test_a_wrong_weight_is_refused(tiny_run: Compose) -> None:
    config = tiny_run("assigner=dual_tal", "predictors.one.weight=[1,2,3]")
    with pytest.raises(UsageError, match=r"predictors\.one\.weight=\[1, 2, 3\] must be a number or"):
        build_supervisions(config, CPU)


def test_an_auxiliary_loss_reads_the_class_logits_of_a_predictor(tiny_run: Compose) -> None:
    """`poto_3dmf_aux`: POTO on class x filter, the one-to-many focal loss on the classes alone."""
    config = tiny_run("assigner=poto_3dmf_aux")
    torch.manual_seed(0)
    model = build_model(config, 3).eval()
    assert model.predictors == ("one",)
    one = model.outputs(IMAGES)["one"]
    bare = replace(one, quality_BP=None)
    expected = {}
    for name, own, quality, assigner in (
        ("one", one, "implicit", POTO()),
        ("auxiliary", bare, "none", QualityATSS()),
    ):
        assignment = assigner(own.grid, decode(own), TRUTH)
        expected[name] = Criterion("focal", quality=quality)(own, TRUTH, assignment)
    got = losses(config, 0.5)
    torch.testing.assert_close(got["one_cls"], expected["one"]["cls"])
    torch.testing.assert_close(got["one_box"], expected["one"]["box"])
    torch.testing.assert_close(got["auxiliary_cls"], expected["auxiliary"]["cls"])
    assert got["auxiliary_box"] == 0


def nms_free(composed: Compose, tiny_coco: Path, init: Path, *words: str) -> DictConfig:
    places = (f"data.root={tiny_coco}", f"runs_dir={tiny_coco}/runs", f"init={init}")
    config = composed("experiment=nms_free", *TINY_COCO_RUN, *TINY_MODEL, *places, "max_steps=2", *words)
    assert isinstance(config, DictConfig)
    return config


def test_a_frozen_detector_gets_a_second_predictor(
    coco_run: Compose, composed: Compose, tiny_coco: Path
) -> None:
    first = coco_run("assigner=tal", "model=picodet_s", "max_steps=2", *TINY_MODEL)
    train(first)
    init = Path(first.runs_dir) / first.name / "last.pt"
    before = torch.load(init, weights_only=True)["weights"]
    config = nms_free(composed, tiny_coco, init)
    train(config)
    directory = Path(config.runs_dir) / config.name
    after = torch.load(directory / "last.pt", weights_only=True)["model"]
    for name, value in before.items():
        assert torch.equal(after[name.replace("head.", "many.")], value), name
    changed = [
        name
        for name in before
        if name.startswith("head.") and not torch.equal(after[name.replace("head.", "one.")], before[name])
    ]
    assert any("class_outs" in name for name in changed)
    # The detector's own result is in the report of the run that trained beside it.
    own = json.loads((init.parent / "eval.json").read_text())
    result = json.loads((directory / "eval.json").read_text())
    assert result["others"]["many"]["nms"]["AP"] == own["nms"]["AP"]


def test_a_frozen_predictor_must_fit(coco_run: Compose, composed: Compose, tiny_coco: Path) -> None:
    first = coco_run("assigner=atss", "model=picodet_s", "max_steps=1", *TINY_MODEL)
    train(first)
    init = Path(first.runs_dir) / first.name / "last.pt"
    with pytest.raises(UsageError, match=r"unknown many\.quality_outs"):
        train(nms_free(composed, tiny_coco, init))
    train(nms_free(composed, tiny_coco, init, "predictors.many.model.head.quality=centerness"))


def test_an_evaluation_with_other_options_is_a_row_of_its_own(tiny_run: Compose, composed: Compose) -> None:
    config = tiny_run("schedule.epochs=1", "max_steps=2")
    train(config)
    directory = Path(config.runs_dir) / config.name
    words = (f"run={directory}", f"out={directory}-peaks", "eval.peak_window=3", "device=cpu")
    evaluate_checkpoint(composed(*words, name="eval"))
    row = read(Path(f"{directory}-peaks"))
    assert (row.config["eval"]["peak_window"], row.config["name"]) == (3, config.name)
    assert row.lines == read(directory).lines
