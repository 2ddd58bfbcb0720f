"""A checkpoint alone predicts what the evaluation of its run found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data.loader import eval_loader
from data.shapes.dataset import ShapesDataset
from detector import load
from detector.trained import read_checkpoint
from engine.evaluator import Evaluator
from engine.run import checkpoint
from engine.setup import build_dataset
from errors import UsageError
from evaluation.results import encode
from tests.helpers.random_detector import random_checkpoint
from tests.helpers.same_rows import assert_same_rows
from tests.helpers.tiny_run import TINY_RUN
from tools.record import Options, add_record, main


def pictures() -> list[np.ndarray]:
    """The validation set of `trained`."""
    return [sample.image.permute(1, 2, 0).numpy() for sample in ShapesDataset(4, 64, seed=0)]


@pytest.fixture(scope="module")
def trained(composed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a detector for drawn shapes."""
    path = tmp_path_factory.mktemp("trained") / "best.pt"
    return random_checkpoint(composed(*TINY_RUN), ShapesDataset(4, 64, seed=0), path)


@pytest.mark.parametrize("kind", ["shapes", "coco"])
def test_predicts_the_rows_of_the_evaluation(
    kind: str, trained: Path, tiny_run, coco_run, tiny_coco: Path
) -> None:
    # One image a batch: the canvas of a batch of several sizes is that of the largest.
    words = ("model=picodet_s",) if kind == "shapes" else ("assigner=fcos",)  # the latter with centerness
    config = (tiny_run if kind == "shapes" else coco_run)("eval.batch_size=1", *words)
    dataset = build_dataset(config.data, "val", config.seed)
    path = random_checkpoint(config, dataset, tiny_coco / "best.pt")
    model = load(path)
    evaluator = Evaluator(dataset, eval_loader(dataset, 1, 0), config.eval, torch.device("cpu"))
    evaluation = evaluator(read_checkpoint(path)[0])
    truth = dataset.coco_json()["images"]
    files = pictures() if kind == "shapes" else [tiny_coco / "val2017" / row["file_name"] for row in truth]
    for select, name in (("topk", "nms_free"), ("nms", "nms")):
        found = model.predict(files, select=select)
        rows = [row for one, image in zip(found, truth, strict=True) for row in one.coco(image["id"])]
        assert len(rows) > 20
        assert_same_rows(rows, json.loads(encode(evaluation.rows[name])))


def test_takes_a_path_a_picture_an_array_or_a_list(trained: Path, tmp_path: Path) -> None:
    model = load(trained)
    image = pictures()[0]
    Image.fromarray(image).save(tmp_path / "one.png")
    found = [model.predict(image) for image in (image, Image.fromarray(image), tmp_path / "one.png")]
    for one in (*found[1:], *model.predict([str(tmp_path / "one.png")])):
        assert np.array_equal(one.boxes_N4, found[0].boxes_N4)
        assert np.array_equal(one.scores_N, found[0].scores_N)
    assert len(found[0]) > 0
    assert set(found[0].names) <= set(ShapesDataset.class_names)
    few = model.predict(image, score=float(found[0].scores_N[2]))
    assert few.scores_N.tolist() == found[0].scores_N[:2].tolist()


def test_boxes_are_in_pixels_of_the_original_image(trained: Path) -> None:
    model = load(trained)
    image = np.repeat(np.repeat(pictures()[1], 3, axis=0), 3, axis=1)  # 192 px, resized to 64 px
    found = model.predict(image)
    assert found.size == (192, 192)
    assert 64 < found.boxes_N4.max() <= 192
    assert found.boxes_N4.min() >= 0


def test_a_broken_image_costs_no_other_its_result(trained: Path, tmp_path: Path) -> None:
    model = load(trained)
    (tmp_path / "empty.jpg").touch()
    image = pictures()[0]
    found = model.predict([image, tmp_path / "empty.jpg", image])
    assert [one.problem is None for one in found] == [True, False, True]
    assert "empty.jpg" in str(found[1].problem)
    assert len(found[1]) == 0
    assert len(found[0]) == len(found[2]) > 0
    with pytest.raises(UsageError, match=r"empty\.jpg"):
        model.predict(tmp_path / "empty.jpg")


def test_a_checkpoint_without_the_record_says_how_to_add_it(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.load(trained, weights_only=True)
    record, network = state.pop("record"), state.pop("network")
    path = tmp_path / "old.pt"
    checkpoint.save(path, state)
    with pytest.raises(UsageError, match=f"python -m tools.record checkpoint={path}"):
        load(path)
    main([f"checkpoint={path}"])
    assert "record added, 8 classes" in capsys.readouterr().out
    added = torch.load(path, weights_only=True)
    assert (added["record"], added["network"]) == (record, network)
    assert load(path).record.category_ids == ShapesDataset.category_ids


def test_the_record_can_come_from_an_annotation_file(trained: Path, tmp_path: Path, tiny_coco: Path) -> None:
    truth = ShapesDataset(2, 64, seed=5).coco_json()
    for category in truth["categories"]:
        category["id"] += 40
    for annotation in truth["annotations"]:
        annotation["category_id"] += 40
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    path = tmp_path / "old.pt"
    checkpoint.save(path, torch.load(trained, weights_only=True))
    add_record(Options(str(path), str(tmp_path / "truth.json")))
    assert load(path).record.category_ids == tuple(range(41, 49))
    with pytest.raises(UsageError, match=r"was trained on 8 classes .*, the data has 3 classes"):
        add_record(Options(str(path), str(tiny_coco / "annotations" / "instances_val2017.json")))


def broken_checkpoint(kind: str, state: dict[str, Any], path: Path) -> None:
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("no checkpoint")
    elif kind == "foreign":
        torch.save({"model": state["weights"]}, path)
    elif kind == "key":
        state["record"]["resize"]["short"] = 0
        checkpoint.save(path, state)
    elif kind == "classes":
        state["record"]["category_ids"] = [1]
        checkpoint.save(path, state)
    elif kind == "weights":
        state["weights"].popitem()
        checkpoint.save(path, state)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("missing", "no checkpoint at"), ("empty", "zero bytes"), ("text", "damaged or of another kind"),
     ("foreign", "not a checkpoint of this project"), ("key", "resize.short"),
     ("classes", "8 classes and 1 category ids"), ("weights", "do not fit")],
)  # fmt: skip
def test_bad_checkpoints_are_named(trained: Path, tmp_path: Path, kind: str, words: str) -> None:
    path = tmp_path / "broken.pt"
    broken_checkpoint(kind, torch.load(trained, weights_only=True), path)
    with pytest.raises(UsageError, match=words) as error:
        load(path)
    assert str(path) in str(error.value)
