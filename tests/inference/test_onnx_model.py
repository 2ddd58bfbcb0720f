"""An exported file detects what its checkpoint detects."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from detector.decode import decode
from detector.select import Detections, nms, topk
from detector.trained import load
from errors import UsageError
from inference.onnx_model import load_onnx
from tests.helpers.exported import Exported, batches, exported, sizes

# cut=topk of other detectors: test_parity.py.
CASES = [("centerness", "topk"), ("centerness", "nms"), ("centerness", "raw"), ("peaks", "topk")]


def assert_same_detections(
    boxes_N4: np.ndarray, scores_N: np.ndarray, labels_N: np.ndarray, expected: Detections, least: float
) -> int:
    """Each detection has its counterpart, except where scores at the end of the list or at `least` are close.

    Boxes may differ by 0.01 px or 1e-4 of the longer side, scores by 1e-5.

    Returns: how many were compared.
    """
    columns = (expected.boxes_N4.numpy(), expected.scores_N.tolist(), expected.labels_N.tolist())
    others = list(zip(*columns, strict=True))
    border = max(least, min([*scores_N.tolist(), 1.0]), min([score for _, score, _ in others] + [1.0]))
    for box_4, score, label in zip(boxes_N4, scores_N.tolist(), labels_N.tolist(), strict=True):
        allowed = max(0.01, 1e-4 * float((box_4[2:] - box_4[:2]).max()))
        match = next(
            (row for row, (other_4, other, name) in enumerate(others)
             if name == label and abs(other - score) < 1e-5 and np.abs(other_4 - box_4).max() <= allowed),
            None,
        )  # fmt: skip
        assert match is not None or abs(score - border) < 1e-5, (box_4, score, label)
        if match is not None:
            others.pop(match)
    assert all(abs(score - border) < 1e-5 for _, score, _ in others), others
    return len(labels_N)


@pytest.mark.parametrize(("kind", "cut"), CASES)
def test_graph_selects_what_select_does(kind: str, cut: str) -> None:
    one = exported(kind, cut)
    model = load_onnx(one.file)
    options = one.record.selection
    compared = 0
    for images_B3HW in batches(1):
        with torch.no_grad():
            outputs = one.network(torch.from_numpy(images_B3HW))
        for select in model.selections:
            common = (decode(outputs), outputs.grid, options.score, options.candidates, options.limit)
            expected = topk(*common) if select == "topk" else nms(*common, options.nms_iou)
            found = model.detect(images_B3HW, sizes(images_B3HW), select, options.score)
            for raw, wanted in zip(found, expected, strict=True):
                compared += assert_same_detections(*raw, wanted, options.score)
    assert compared > 300


@pytest.mark.parametrize("kind", ["fcos", "picodet"])
def test_predictions_of_file_and_checkpoint_agree(kind: str) -> None:
    # Images of any size, through reading, resizing and padding.
    one = exported(kind, "topk")
    rng = np.random.default_rng(0)
    images = [image for batch in batches(1) for image in batch.transpose(0, 2, 3, 1)][:4]
    images.append(rng.integers(0, 256, (300, 470, 3), dtype=np.uint8))
    found, expected = (model.predict(images) for model in (load_onnx(one.file), load(one.checkpoint)))
    for a, b in zip(found, expected, strict=True):
        wanted = Detections(*map(torch.from_numpy, (b.boxes_N4, b.scores_N, b.labels_N)))
        assert_same_detections(a.boxes_N4, a.scores_N, a.labels_N, wanted, one.record.selection.score)
        assert a.size == b.size


def test_output_size_is_fixed_and_input_size_is_not() -> None:
    session = onnxruntime.InferenceSession(str(exported("picodet", "topk").file))
    (images,) = session.get_inputs()  # "sizes" has a default
    assert (images.name, images.type, images.shape[1]) == ("images", "tensor(uint8)", 3)
    for shape in ((1, 3, 32, 32), (2, 3, 64, 192)):
        boxes, scores, labels = session.run(None, {"images": np.zeros(shape, np.uint8)})
        images = shape[0]
        assert boxes.shape == (images, 100, 4)
        assert scores.shape == labels.shape == (images, 100)


def test_one_top_k_and_nothing_that_depends_on_values() -> None:
    kinds = [node.op_type for node in onnx.load(exported("fcos", "topk").file).graph.node]
    assert kinds.count("TopK") == 1
    assert not {"NonZero", "NonMaxSuppression", "Loop", "If"} & set(kinds)


def test_metadata_says_how_to_prepare_images() -> None:
    one = exported("fcos", "topk")
    about = onnxruntime.InferenceSession(str(one.file)).get_modelmeta().custom_metadata_map
    record = json.loads(about["matchpoint.record"])
    assert record == json.loads(one.record.json())
    assert record["category_ids"] == list(range(1, 9))
    assert record["padding"] == {"color": [124, 116, 104], "multiple": 32}
    assert set(json.loads(about["matchpoint.versions"])) == {"torch", "onnx", "onnxruntime"}


def changed(one: Exported, drop: str | None, path) -> None:
    model = onnx.load(one.file)
    kept = [entry for entry in model.metadata_props if drop is not None and entry.key != f"matchpoint.{drop}"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, path)


def test_files_that_are_no_export_are_named(tmp_path) -> None:
    path = tmp_path / "other.onnx"
    with pytest.raises(UsageError, match=r"other\.onnx: no such file"):
        load_onnx(path)
    path.touch()
    with pytest.raises(UsageError, match=r"other\.onnx: the file has zero bytes"):
        load_onnx(path)
    path.write_text("not a model")
    with pytest.raises(UsageError, match=r"other\.onnx: not a readable ONNX file"):
        load_onnx(path)
    for drop in (None, "record"):
        changed(exported("fcos", "topk"), drop, path)
        with pytest.raises(UsageError, match=r"other\.onnx: an ONNX file of another program") as error:
            load_onnx(path)
        assert "python export.py" in str(error.value)


def test_what_the_file_cannot_do_is_refused() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(UsageError, match=r"selection topk, not nms: export it again with cut=nms or cut=raw"):
        load_onnx(exported("fcos", "topk").file).predict(image, select="nms")
    with pytest.raises(UsageError, match=r"score=0.01: .* threshold of 0.05"):
        load_onnx(exported("centerness", "nms").file).predict(image, score=0.01)
    load_onnx(exported("fcos", "topk").file).predict(image, score=0.01)
