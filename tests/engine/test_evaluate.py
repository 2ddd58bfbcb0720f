from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from engine.evaluate import evaluate_checkpoint
from engine.trainer import train
from errors import UsageError

Compose = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def trained(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> tuple[DictConfig, Path]:
    from tests.helpers.tiny_run import TINY_RUN

    runs = tmp_path_factory.mktemp("evaluate")
    config = composed(*TINY_RUN, f"runs_dir={runs}", "name=one", "schedule.epochs=1")
    train(config)
    return config, runs / "one"


@pytest.fixture
def run(trained: tuple[DictConfig, Path], tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(trained[1], tmp_path / "copies" / "one"))


@pytest.fixture
def options(composed: Compose) -> Compose:
    return lambda *words: composed("device=cpu", *words, name="eval")


def numbers(file: Path) -> dict[str, object]:
    content = json.loads(file.read_text())
    return {key: content[key] for key in ("nms", "nms_free", "gap", "epoch", "images")}


def test_a_run_is_evaluated_on_its_own_data_with_the_same_result(run: Path, options: Compose) -> None:
    before = numbers(run / "eval.json")
    shutil.rmtree(run / "pictures")
    (run / "predictions.json").unlink()
    value = evaluate_checkpoint(options(f"run={run}"))
    assert numbers(run / "eval.json") == before
    assert value == (before["nms_free"]["AP"] or 0.0)  # type: ignore[index]
    assert (run / "pictures" / "predictions.png").exists()
    assert json.loads((run / "predictions.json").read_text()) is not None


def test_a_checkpoint_alone_is_enough(run: Path, options: Compose, tmp_path: Path) -> None:
    before = numbers(run / "eval.json")
    file = shutil.copy(run / "best.pt", tmp_path / "some.pt")
    evaluate_checkpoint(options(f"checkpoint={file}"))
    assert numbers(tmp_path / "some.eval" / "eval.json") == before
    evaluate_checkpoint(options(f"checkpoint={file}", f"out={tmp_path}/there"))
    assert (tmp_path / "there" / "predictions_nms.json").exists()


def test_other_data_and_options_leave_the_result_of_the_run_alone(run: Path, options: Compose) -> None:
    before = (run / "eval.json").read_text()
    words = ("data=shapes", "data.size=64", "data.images.val=3", "data.workers=0", "eval.limit=1")
    evaluate_checkpoint(options(f"run={run}", *words))
    assert (run / "eval.json").read_text() == before
    other = json.loads((run / "last.eval" / "eval.json").read_text())
    assert other["images"] == 3
    found = json.loads((run / "last.eval" / "predictions.json").read_text())
    assert len(found) <= 3


def test_options_that_change_no_result_belong_to_the_run(run: Path, options: Compose) -> None:
    (run / "predictions.json").unlink()
    evaluate_checkpoint(options(f"run={run}", "data.workers=1", "eval.batch_size=3"))
    assert (run / "predictions.json").exists()
    assert not (run / "last.eval").exists()


def test_a_finished_run_that_was_evaluated_again_stays_finished(
    trained: tuple[DictConfig, Path], options: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, directory = trained
    evaluate_checkpoint(options(f"run={directory}"))
    monkeypatch.setattr("engine.parts.build_dataset", None)
    train(config)


def test_other_classes_are_refused(run: Path, options: Compose, tiny_coco: Path) -> None:
    words = ("data=coco", f"data.root={tiny_coco}", "data.workers=0")
    with pytest.raises(UsageError) as info:
        evaluate_checkpoint(options(f"checkpoint={run}/last.pt", *words))
    for part in ("one/last.pt", "8 classes (circle", "3 classes (car, train, toothbrush)", "same categories"):
        assert part in str(info.value)


def test_other_categories_are_other_classes(coco_run: Compose, options: Compose, tiny_coco: Path) -> None:
    train(coco_run("name=one", "data.categories=one", "max_steps=1"))
    checkpoint = f"checkpoint={tiny_coco}/runs/one/last.pt"
    evaluate_checkpoint(options(checkpoint))  # its own categories
    result = json.loads((tiny_coco / "runs" / "one" / "last.eval" / "eval.json").read_text())
    assert list(result["nms"]["per_class"]) == ["object"]
    other = ("data=coco", f"data.root={tiny_coco}", "data.workers=0", "data.eval_short=64")
    with pytest.raises(UsageError, match=r"1 classes \(object\), but the data has 3 classes \(car"):
        evaluate_checkpoint(options(checkpoint, *other))
    evaluate_checkpoint(options(checkpoint, *other, "data.categories=one"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), r"run=runs/NAME or checkpoint=FILE"),
        (("run={run}x",), r"onex is not a run directory.*there: one"),
        (("checkpoint={run}/none.pt",), r"no checkpoint at .*none\.pt"),
        (("checkpoint={run}/config.yaml",), r"config\.yaml"),
        (("run={run}", "out={run}/config.yaml"), r"config\.yaml cannot be written.*out=DIR"),
        (("run={run}", "+eval.nmsiou=0.5"), r"eval has no nmsiou; it has .*nms_iou"),
        (("run={run}", "eval.metric=foo"), r"eval\.metric=foo"),
        (("run={run}", "data=coco"), r"data\.root=\.\.\."),
        (("run={run}", "data=coco", "data.root=absent"), r"no data set at absent"),
        (("run={run}", "device=tpu9x"), r"device=tpu9x"),
    ],
)
def test_what_cannot_be_evaluated_is_named(
    run: Path, options: Compose, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate_checkpoint(options(*(word.format(run=run) for word in words)))
    assert not list(run.glob("none.eval"))


def test_a_checkpoint_without_its_weights_is_named(run: Path, options: Compose) -> None:
    state = torch.load(run / "last.pt", weights_only=True)
    state["weights"].pop("head.scale")
    torch.save(state, run / "last.pt")
    with pytest.raises(UsageError, match=r"last\.pt does not fit the model.*\n.*missing head\.scale"):
        evaluate_checkpoint(options(f"run={run}"))
