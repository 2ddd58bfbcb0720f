from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from engine.trainer import Trainer, train
from errors import UsageError

Compose = Callable[..., DictConfig]
NAME = "shapes-fcos_lcnet-o2f-seed0"


@pytest.fixture(scope="module")
def whole(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The directory and the result of a run that nothing disturbed."""
    from conftest import TINY_RUN

    runs = tmp_path_factory.mktemp("trainer")
    return runs / NAME, train(composed(*TINY_RUN, f"runs_dir={runs}"))


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """stop_after(n): SIGTERM reaches the process during the n-th batch from now."""

    def arm(count: int) -> None:
        original, seen = Trainer._train_batch, [0]

        def counted(self: Trainer, *arguments: Any, **words: Any) -> Any:
            seen[0] += 1
            if seen[0] == count:
                signal.raise_signal(signal.SIGTERM)
            return original(self, *arguments, **words)

        monkeypatch.setattr(Trainer, "_train_batch", counted)

    return arm


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def repeatable(directory: Path) -> list[dict[str, Any]]:
    """The lines without times, and without the counts of an assigner that begin anew where a run is cut."""
    return [
        {key: value for key, value in line.items() if "seconds" not in key and not key.startswith("assign/")}
        for line in lines(directory)
    ]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def assert_same_run(a: Path, b: Path) -> None:
    first, second = (torch.load(path / "last.pt", weights_only=True) for path in (a, b))
    assert first.keys() == second.keys()
    for key in first.keys() - {"config"}:
        assert same(first[key], second[key]), f"{key} differs"
    assert repeatable(a) == repeatable(b)
    results = [json.loads((path / "eval.json").read_text()) for path in (a, b)]
    assert results[0]["nms"] == results[1]["nms"]
    assert (a / "predictions.json").read_text() == (b / "predictions.json").read_text()


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


# batch 2 of 3 in the first epoch, the last of it, the first of the second, the very last
@pytest.mark.parametrize("batch", [2, 3, 4, 6])
def test_a_continued_run_is_the_uninterrupted_one(
    whole: tuple[Path, float], tiny_run: Compose, stop_after: Callable[[int], None], batch: int
) -> None:
    config = tiny_run()
    directory = Path(config.runs_dir) / NAME
    stop_after(batch)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    state = torch.load(directory / "last.pt", weights_only=True)
    assert (state["epoch"], state["batch"]) == ((batch - 1) // 3, (batch - 1) % 3 + 1)
    assert not (directory / "eval.json").exists()
    torch.manual_seed(999)  # whatever else happened in between
    assert train(config) == whole[1]
    assert_same_run(whole[0], directory)


def test_a_run_cut_between_its_last_epoch_and_its_result_goes_on(
    whole: tuple[Path, float], tiny_run: Compose
) -> None:
    config = tiny_run()
    directory = Path(shutil.copytree(whole[0], Path(config.runs_dir) / NAME))
    (directory / "eval.json").unlink()
    assert train(config) == whole[1]
    assert (directory / "eval.json").exists()


def test_an_accumulation_is_not_cut(tiny_run: Compose, stop_after: Callable[[int], None]) -> None:
    words = ("schedule.accumulate=2", "schedule.batch_size=2", "schedule.ema=null", "schedule.optimizer=sgd",
             "schedule.lr=0.01", "eval.every=1")  # fmt: skip
    whole, cut = tiny_run(*words, "name=whole"), tiny_run(*words, "name=cut")
    train(whole)
    stop_after(3)
    with pytest.raises(KeyboardInterrupt):
        train(cut)
    assert torch.load(Path(cut.runs_dir) / "cut" / "last.pt", weights_only=True)["batch"] == 4
    train(cut)
    assert_same_run(Path(whole.runs_dir) / "whole", Path(cut.runs_dir) / "cut")


def test_workers_change_nothing(whole: tuple[Path, float], tiny_run: Compose) -> None:
    config = tiny_run("data.workers=2")
    train(config)
    assert_same_run(whole[0], Path(config.runs_dir) / NAME)


def test_another_number_of_workers_may_continue(
    whole: tuple[Path, float], tiny_run: Compose, stop_after: Callable[[int], None]
) -> None:
    stop_after(2)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_run("data.workers=2"))
    config = tiny_run("data.workers=0")
    train(config)
    assert_same_run(whole[0], Path(config.runs_dir) / NAME)


def test_a_signal_that_reaches_the_workers_too_interrupts(
    tiny_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signal_to_all(self: Trainer, *arguments: Any, **words: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        # From another process: a worker takes its parent's own signal for an orderly end.
        workers = [str(worker.pid) for worker in multiprocessing.active_children()]
        subprocess.run(["kill", "-TERM", *workers], check=True)
        time.sleep(10)  # the end of a worker is noticed at once
        pytest.fail("still there")

    monkeypatch.setattr(Trainer, "_train_batch", signal_to_all)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_run("data.workers=1"))


def test_a_second_signal_ends_it_at_once(tiny_run: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(self: Trainer, *arguments: Any, **words: Any) -> None:
        # The handler itself is called: from a raised signal it may run inside somebody's garbage collection
        # callback, where an exception is lost.
        handler = signal.getsignal(signal.SIGINT)
        assert callable(handler)
        handler(signal.SIGINT, None)
        handler(signal.SIGINT, None)
        pytest.fail("still there")

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Trainer, "_train_batch", twice)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_run())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_returns_its_result_without_any_work(
    whole: tuple[Path, float], tiny_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run("data.workers=1")
    directory = Path(shutil.copytree(whole[0], Path(config.runs_dir) / NAME))
    result = json.loads((directory / "eval.json").read_text())
    result["nms_free"]["AP"] = 12.5
    (directory / "eval.json").write_text(json.dumps(result))
    monkeypatch.setattr("engine.trainer.build_dataset", None)
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
        inner, (with_nms, without) = self.evaluator, next(aps)

        def evaluator(*arguments: Any) -> Any:
            evaluation = inner(*arguments)
            evaluation.summary["nms"]["AP"], evaluation.summary["nms_free"]["AP"] = with_nms, without
            return evaluation

        self.evaluator = evaluator  # type: ignore[assignment]
        try:
            return real(self, tracker)
        finally:
            self.evaluator = inner

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


def test_splits_with_different_classes_are_refused(coco_run: Compose, tiny_coco: Path) -> None:
    file = tiny_coco / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    content["categories"][0]["name"] = "broom"
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"the splits differ in classes.*toothbrush.*broom"):
        train(coco_run())
