from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from assigners import Assignment, GroundTruth
from detector.backbone.backbone import Backbone
from detector.criterion import Criterion
from detector.detector import Outputs
from engine.trainer import Trainer, train
from errors import UsageError
from tests.helpers.run_files import NAME, assert_same_run, lines, same

Compose = Callable[..., DictConfig]


def test_a_run_leaves_all_its_files(whole: tuple[Path, float]) -> None:
    names = {path.name for path in whole[0].iterdir()}
    assert names == {
        "config.yaml", "metrics.jsonl", "last.pt", "best.pt", "eval.json", "predictions.json",
        "predictions_nms.json", "pictures",
    }  # fmt: skip
    result = json.loads((whole[0] / "eval.json").read_text())
    assert result["epoch"] == 2
    assert whole[1] == result["nms_free"]["AP"]
    assert result["nms_free"].keys() >= {"AP", "AP50", "AR100", "per_class", "duplicate_rate"}


def test_a_run_logs_what_explains_it(whole: tuple[Path, float]) -> None:
    first, second, evaluation = lines(whole[0])
    for line in (first, second):
        assert line["train/loss"] == pytest.approx(line["train/cls_loss"] + line["train/box_loss"])
        assert line.keys() >= {
            "train/lr", "train/data_seconds", "train/step_seconds", "assign/positives_per_truth",
            "assign/starved", "assign/starved_small", "assign/mean_score", "assign/soft_target",
        }  # fmt: skip
    assert (first["step"], second["step"], evaluation["step"]) == (3, 6, 6)
    assert (first["assign/soft_target"], second["assign/soft_target"]) == pytest.approx((0.6, 0.2))
    assert second["train/lr"] == pytest.approx(0.0, abs=1e-9)
    assert evaluation.keys() >= {"nms/AP", "nms_free/AP", "gap", "nms_free/duplicate_rate"}


def test_training_changes_weights_and_averages_them(whole: tuple[Path, float]) -> None:
    state = torch.load(whole[0] / "last.pt", weights_only=True)
    assert state["step"] == 6
    assert state["ema_updates"] == 6
    assert not same(state["model"], state["weights"])
    best = torch.load(whole[0] / "best.pt", weights_only=True)
    assert same(best["weights"], state["weights"])  # evaluated once, at the end
    assert "optimizer" not in best


def test_a_run_cut_between_its_last_epoch_and_its_result_goes_on(
    whole: tuple[Path, float], tiny_run: Compose
) -> None:
    config = tiny_run()
    directory = Path(shutil.copytree(whole[0], Path(config.runs_dir) / NAME))
    (directory / "eval.json").unlink()
    assert train(config) == whole[1]
    assert (directory / "eval.json").exists()


def test_workers_change_nothing(whole: tuple[Path, float], tiny_run: Compose) -> None:
    config = tiny_run("data.workers=2")
    train(config)
    assert_same_run(whole[0], Path(config.runs_dir) / NAME)


def test_a_finished_run_returns_its_result_without_any_work(
    whole: tuple[Path, float], tiny_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run("data.workers=1")
    directory = Path(shutil.copytree(whole[0], Path(config.runs_dir) / NAME))
    result = json.loads((directory / "eval.json").read_text())
    result["nms_free"]["AP"] = 12.5
    (directory / "eval.json").write_text(json.dumps(result))
    monkeypatch.setattr("engine.parts.build_dataset", None)
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    assert train(config) == 12.5
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_overwrite_starts_anew(whole: tuple[Path, float], tiny_run: Compose) -> None:
    config = tiny_run("schedule.epochs=1", "overwrite=true")
    directory = Path(shutil.copytree(whole[0], Path(config.runs_dir) / NAME))
    (directory / "best.pt").write_text("old")
    train(config)
    assert [line["step"] for line in lines(directory)] == [3, 3]
    assert torch.load(directory / "best.pt", weights_only=True)["epoch"] == 1


def test_a_wrong_value_beside_overwrite_costs_nothing(whole: tuple[Path, float], tiny_run: Compose) -> None:
    config = tiny_run("overwrite=true", "loss.classification=foo")
    directory = Path(shutil.copytree(whole[0], Path(config.runs_dir) / NAME))
    with pytest.raises(UsageError, match=r"loss\.classification=foo"):
        train(config)
    assert (directory / "last.pt").exists()


def test_a_wrong_value_can_be_put_right(tiny_run: Compose) -> None:
    with pytest.raises(UsageError, match=r"loss\.classification=foo"):
        train(tiny_run("loss.classification=foo", "max_steps=1", "schedule.epochs=1"))
    train(tiny_run("max_steps=1", "schedule.epochs=1"))


def test_max_steps_shortens_every_epoch(tiny_run: Compose) -> None:
    config = tiny_run("max_steps=2", "eval.every=1")
    train(config)
    assert [line["step"] for line in lines(Path(config.runs_dir) / NAME)] == [2, 2, 4, 4]


def test_the_best_of_several_evaluations_is_kept(tiny_run: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    aps = iter([(30.0, 20.0), (40.0, 10.0)])
    real = Trainer._evaluate

    def scripted(self: Trainer, tracker: Any) -> Any:
        inner, (with_nms, without) = self.parts.evaluator, next(aps)

        def evaluator(*arguments: Any, **words: Any) -> Any:
            evaluation = inner(*arguments, **words)
            evaluation.summary["nms"]["AP"], evaluation.summary["nms_free"]["AP"] = with_nms, without
            return evaluation

        self.parts.evaluator = evaluator  # type: ignore[assignment]
        try:
            return real(self, tracker)
        finally:
            self.parts.evaluator = inner

    monkeypatch.setattr(Trainer, "_evaluate", scripted)
    config = tiny_run("eval.every=1", "max_steps=1")
    assert train(config) == 10.0
    assert torch.load(Path(config.runs_dir) / NAME / "best.pt", weights_only=True)["epoch"] == 1
    assert json.loads((Path(config.runs_dir) / NAME / "eval.json").read_text())["best"] == 20.0


def test_eval_metric_chooses_the_ap_that_is_returned(whole: tuple[Path, float], tiny_run: Compose) -> None:
    config = tiny_run("eval.metric=nms", "name=other", "max_steps=1", "schedule.epochs=1")
    value = train(config)
    assert value == json.loads((Path(config.runs_dir) / "other" / "eval.json").read_text())["nms"]["AP"]


def test_a_loss_that_explodes_ends_with_the_remedy(tiny_run: Compose) -> None:
    words = ("schedule.lr=1e30", "schedule.optimizer=sgd", "schedule.clip_norm=null")
    with pytest.raises(UsageError, match=r"the loss is (nan|inf) at step \d+: lower schedule\.lr"):
        train(tiny_run(*words))


def test_crowd_regions_reach_the_loss_of_training(coco_run: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the one crowd of the training images is background, with "ignore" it is not."""
    seen: list[Assignment] = []

    def watch(
        self: Criterion, outputs: Outputs, truth: GroundTruth, assignment: Assignment
    ) -> dict[str, Tensor]:
        seen.append(assignment)
        return plain(self, outputs, truth, assignment)

    plain = Criterion.__call__
    monkeypatch.setattr(Criterion, "__call__", watch)
    train(coco_run())
    assert sum(len(assignment.image_N) for assignment in seen) == 0
    seen.clear()
    train(coco_run("data.crowd_regions=ignore", "overwrite=true"))
    assert len(seen) == 4
    assert sum(len(assignment.image_N) > 0 for assignment in seen) == 1
    assert all(float(assignment.weight_N.sum()) == 0 for assignment in seen)


def test_splits_with_different_classes_are_refused(coco_run: Compose, tiny_coco: Path) -> None:
    file = tiny_coco / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    content["categories"][0]["name"] = "broom"
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"the splits differ in classes.*toothbrush.*broom"):
        train(coco_run())


def test_the_logged_loss_is_the_mean_of_its_window(
    tiny_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, seen = Trainer._train_batch, []

    def watched(self: Trainer, *arguments: Any) -> Any:
        losses = original(self, *arguments)
        seen.append(sum(float(loss.detach()) for loss in losses.values()))
        return losses

    monkeypatch.setattr(Trainer, "_train_batch", watched)
    monkeypatch.setattr("engine.trainer.LOG_EVERY", 2)
    config = tiny_run("name=window", "schedule.epochs=1")
    train(config)
    logged = [line["train/loss"] for line in lines(Path(config.runs_dir) / "window") if "train/loss" in line]
    assert logged == pytest.approx([(seen[0] + seen[1]) / 2, seen[2]])


def test_a_continued_run_fetches_no_weights_for_its_backbone(
    tiny_run: Compose, stop_after: Callable[[int], None], tmp_path: Path
) -> None:
    file = tmp_path / "backbone.pth"
    torch.save(Backbone("lcnet_075").features.state_dict(), file)
    config = tiny_run(f"model.backbone.weights={file}")
    stop_after(2)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    file.unlink()
    train(config)
