"""Results files: COCO's format, there and back.

Shape legend: D detections, rows as in evaluation.overlaps.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from errors import UsageError
from evaluation import results
from evaluation.results import encode, predictions_file, read_results
from evaluation.truth import Truth
from tests.evaluation.test_coco_metrics import random_case, rows, truth_json


def test_the_format_is_that_of_coco() -> None:
    (one,) = json.loads(encode(rows((11, 9, [1, 2.5, 3, 4], 0.25))))
    assert one == {"image_id": 11, "category_id": 9, "bbox": [1.0, 2.5, 3.0, 4.0], "score": 0.25}
    assert isinstance(one["image_id"], int)
    assert encode(np.zeros((0, 7))) == b"[]"


@pytest.mark.parametrize("at_once", [1, 7, 4096])
def test_what_is_written_is_read_to_the_bit(tmp_path: Path, monkeypatch, at_once: int) -> None:
    monkeypatch.setattr(results, "ROWS_AT_ONCE", at_once)
    content, found_D7 = random_case(0)
    (tmp_path / "results.json").write_bytes(encode(found_D7))
    np.testing.assert_array_equal(read_results(tmp_path / "results.json", Truth(content)), found_D7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", "damaged"),
        ('[{"image_id": 10, "category_id": 4, "bbox": [1, 2, 3], "score": 1}]', "damaged"),
        ('[{"image_id": 10, "category_id": 4, "bbox": [1, 2, 3, null], "score": 1}]', "damaged"),
        ('[{"image_id": 10, "category_id": 4, "bbox": [1, 2, 3, 4]}]', "damaged"),
        ('[{"image_id": 99, "category_id": 4, "bbox": [1, 2, 3, 4], "score": 1}]', "image 99, which is not"),
        (
            '[{"image_id": 10, "category_id": 5, "bbox": [1, 2, 3, 4], "score": 1}]',
            "category 5, which is not",
        ),
    ],
)
def test_damaged_files_are_explained(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UsageError, match=rf"results\.json.*{message}"):
        read_results(tmp_path / "results.json", Truth(truth_json([])))


def test_a_further_predictor_has_files_of_its_own() -> None:
    assert predictions_file("nms") == "predictions_nms.json"
    assert predictions_file("nms_free", "many") == "predictions_many.json"
    assert predictions_file("nms", "many") == "predictions_many_nms.json"
