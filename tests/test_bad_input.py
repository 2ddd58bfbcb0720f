"""Whatever a person gets wrong ends in one message with file, value and remedy, before any long work."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from engine.trainer import Trainer, train
from errors import UsageError

Compose = Callable[..., DictConfig]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails as soon as a step of training is taken."""
    monkeypatch.setattr(Trainer, "_train_batch", lambda *arguments, **words: pytest.fail("it trains"))


def assert_one_message(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert result.returncode not in (0, None)
    assert "Traceback" not in result.stderr + result.stdout
    for part in parts:
        assert part in result.stderr


# The command line, where each case costs an import of torch.


def test_command_unknown_assigner(command: Command) -> None:
    assert_one_message(command("train.py", "assigner=yolo"), "assigner/yolo", "atss", "o2f", "simota", "tal")


def test_command_missing_data(command: Command) -> None:
    result = command("train.py", "data=coco", "data.root=absent/coco", "logger=none")
    assert_one_message(result, "no data set at absent/coco", "data.root=DIR", "instances_train2017.json")


def test_command_evaluating_nothing(command: Command) -> None:
    assert_one_message(command("eval.py", "run=runs/none"), "runs/none is not a run directory")


def test_command_evaluating_several_runs_names_what_each_lacks(command: Command, tmp_path: Path) -> None:
    result = command("eval.py", "-m", "run=runs/none,runs/other", "out=${run}-again")
    assert result.returncode == 1
    assert all(f"{run} is not a run directory" in result.stderr for run in ("runs/none", "runs/other"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs"]  # Hydra's own files lie in runs/.sweeps


def test_command_sweep_is_continued_by_repeating_it(command: Command, tmp_path: Path) -> None:
    words = (
        "-m", "assigner=atss,o2f", "model.neck.channels=16", "model.head.channels=16", "model.head.convs=1",
        "data.size=64", "data.images.train=8", "data.images.val=4", "data.workers=0", "logger=none",
        "schedule.epochs=1", "schedule.batch_size=4",
    )  # fmt: skip
    first = command("train.py", *words)
    assert first.returncode == 0, first.stderr
    files = [tmp_path / "runs" / f"shapes-fcos_lcnet-{name}-seed0" / "last.pt" for name in ("atss", "o2f")]
    written = [file.stat().st_mtime_ns for file in files]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    second = command("train.py", *words)
    assert second.returncode == 0, second.stderr
    assert [file.stat().st_mtime_ns for file in files] == written
    assert second.stdout.count("is finished; overwrite=true starts it anew") == 2
    assert "epoch 1" in first.stdout
    assert "epoch 1" not in second.stdout


# The rest in this process: main() prints what a UsageError says.


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("schedule.epochs=0", r"schedule\.epochs=0 must be"),
        ("schedule.epochs=ten", r"schedule\.epochs=ten must be"),
        ("schedule.lr=abc", r"schedule\.lr=abc must be"),
        ("schedule.decay=linear", r"schedule\.decay=linear must be one of cosine, step"),
        ("schedule.optimizer=lion", r"schedule\.optimizer=lion must be one of sgd, adamw"),
        ("assigner.topk=0", r"assigner=o2f cannot be built: .*topk"),
        ("assigner.topk=many", r"assigner=o2f cannot be built: "),
        ("loss.classification=foo", r"loss\.classification=foo must be one of focal"),
        ("loss.normalizer=foo", r"loss\.normalizer=foo must be one of positives"),
        ("eval.metric=foo", r"eval\.metric=foo must be one of nms, nms_free"),
        ("eval.backend=foo", r"eval\.backend=foo must be one of auto, pycocotools, hotcoco, faster"),
        ("data.short=big", r"data\.short=big must be"),
        ("data.short=4", r"short=\[4\].*at least 8"),
        ("data.size=8", r"data\.size=8 must be an integer >= 32"),
        ("data.crowd=2", r"crowd=2.*0 to 1"),
        ("data.flip=2", r"flip=2.*0 to 1"),
        ("data.mosaic=2", r"data\.mosaic=2 must be a probability, 0 to 1"),
        ("data.scale_jitter=[2,1]", r"data\.scale_jitter=\[2, 1\] must be two rising factors"),
        ("data.photometric=weak", r"data\.photometric=weak must be one of false, true, strong"),
        ("data.kind=voc", r"data\.kind=voc must be one of shapes, coco"),
        ("model.head.quality=foo", r"quality=foo must be one of none, centerness, implicit"),
        ("model.backbone.name=lcnet_05", r"lcnet_05.*lcnet_050"),
        ("model.backbone.levels=[3,9]", r"levels"),
        ("model.backbone.weights=absent.pth", r"model\.backbone\.weights=absent\.pth: no such file"),
        ("+model.head.depth=3", r"model\.head has no depth; it has channels"),
        ("device=tpu9x", r"device=tpu9x"),
    ],
)
def test_wrong_values(tiny_run: Compose, untrained: None, word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train(tiny_run(word))


def test_weights_of_another_network(tiny_run: Compose, untrained: None, tmp_path: Path) -> None:
    torch.save({"conv_stem.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match=r"other\.pth does not fit lcnet_075"):
        train(tiny_run(f"model.backbone.weights={tmp_path}/other.pth"))


@pytest.mark.parametrize("place", ["runs", "runs/one"])
def test_a_run_directory_that_cannot_be_written(
    tiny_run: Compose, untrained: None, tmp_path: Path, place: str
) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("a file, not a folder")
    with pytest.raises(UsageError, match=r"runs/one cannot be written.*runs_dir=DIR"):
        train(tiny_run("name=one"))


def test_no_data_root(composed: Compose) -> None:
    with pytest.raises(UsageError, match=r"data\.root=\.\.\."):
        train(composed("data=coco", "logger=none"))


def damage_missing_image(root: Path) -> None:
    (root / "train2017" / "000000000003.jpg").unlink()


def damage_corrupt_image(root: Path) -> None:
    (root / "val2017" / "000000000002.jpg").write_bytes(b"not a picture")


def damage_missing_annotations(root: Path) -> None:
    (root / "annotations" / "instances_val2017.json").unlink()


def damage_missing_folder(root: Path) -> None:
    shutil.rmtree(root / "train2017")


def damage_not_json(root: Path) -> None:
    (root / "annotations" / "instances_train2017.json").write_text("0 0.5 0.5 0.1 0.1\n")


def damage_not_coco(root: Path) -> None:
    (root / "annotations" / "instances_train2017.json").write_text('{"objects": []}')


def damage_results_file(root: Path) -> None:
    (root / "annotations" / "instances_train2017.json").write_text("[]")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_missing_image, r"1 of 8 images are not in .*train2017: 000000000003\.jpg"),
        (damage_corrupt_image, r"1 of 4 images .*val2017 are wrong: 000000000002\.jpg: not a readable"),
        (damage_missing_annotations, r"instances_val2017\.json does not exist; .*COCO-format"),
        (damage_missing_folder, r"image folder .*train2017 does not exist"),
        (damage_not_json, r"instances_train2017\.json is not JSON .*YOLO"),
        (damage_not_coco, r"has no list of images, annotations, categories; .*COCO-format"),
        (damage_results_file, r"is a JSON list, as detection results are"),
    ],
)
def test_wrong_data(
    coco_run: Compose, tiny_coco: Path, untrained: None, damage: Callable[[Path], None], message: str
) -> None:
    damage(tiny_coco)
    with pytest.raises(UsageError, match=message):
        train(coco_run())


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.categories=[cat]", r"instances_train2017\.json has no cat; did you mean car\?"),
        ("data.categories=cars", r"data\.categories=cars must be all, supercategory, one or a list"),
        ("data.categories=supercategory", r"has no supercategory for car, train, toothbrush: .*all, one or"),
    ],
)
def test_wrong_categories(coco_run: Compose, untrained: None, word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train(coco_run(word))


@pytest.fixture
def interrupted(coco_run: Compose, monkeypatch: pytest.MonkeyPatch) -> Compose:
    """A run on tiny_coco that was cut after its first batch, and how to ask for it again."""
    with monkeypatch.context() as patch:
        original = Trainer._train_batch

        def cut(self: Trainer, *arguments: object, **words: object) -> object:
            self.interruption.asked = True
            return original(self, *arguments, **words)  # type: ignore[arg-type]

        patch.setattr(Trainer, "_train_batch", cut)
        with pytest.raises(KeyboardInterrupt):
            train(coco_run("name=cut", "schedule.lr=0.002"))
    return lambda *words: coco_run("name=cut", "schedule.lr=0.002", *words)


def test_a_checkpoint_of_another_config(interrupted: Compose, untrained: None) -> None:
    with pytest.raises(UsageError) as info:
        train(interrupted("schedule.lr=0.5", "assigner=atss"))
    for part in ("cut holds a run of another config", "schedule.lr: 0.002 in the run, 0.5 asked for",
                 "assigner.name: o2f in the run, atss asked for", "overwrite=true"):  # fmt: skip
        assert part in str(info.value)


def test_a_checkpoint_of_other_classes(interrupted: Compose, untrained: None, tiny_coco: Path) -> None:
    for split in ("train", "val"):
        file = tiny_coco / "annotations" / f"instances_{split}2017.json"
        content = json.loads(file.read_text())
        content["categories"].append({"id": 91, "name": "broom"})
        file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"cut/last\.pt was trained on other classes.*overwrite=true"):
        train(interrupted())


def test_a_damaged_checkpoint(interrupted: Compose, untrained: None, tiny_coco: Path) -> None:
    (tiny_coco / "runs" / "cut" / "last.pt").write_bytes(b"half")
    with pytest.raises(UsageError, match=r"cut/last\.pt cannot be read.*damaged"):
        train(interrupted())


def test_a_damaged_config(interrupted: Compose, untrained: None, tiny_coco: Path) -> None:
    (tiny_coco / "runs" / "cut" / "config.yaml").write_text("seed: [")
    with pytest.raises(UsageError, match=r"cut/config\.yaml"):
        train(interrupted())
