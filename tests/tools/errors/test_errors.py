"""The analysis of a run by hand, on random detections, and from files to files.

Shape legend: D detections, rows as in evaluation.overlaps.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from engine.setup import build_dataset
from evaluation import error_analysis
from evaluation.coco_metrics import evaluate
from evaluation.error_analysis import analyse, curves, histogram
from evaluation.outcomes import CERTAIN, DUPLICATE, FALSE
from evaluation.results import encode
from evaluation.tide import KINDS, MISSING, installed
from evaluation.truth import Truth
from tools.errors.__main__ import analyse_run, error_table, main
from tools.errors.picture import errors_figure

Compose = Callable[..., DictConfig]
BOX = [100.0, 100, 100, 100]


def truth_json(count: int) -> dict[str, Any]:
    """One cat in each of `count` images; the dog is never seen."""
    return {
        "images": [{"id": n, "file_name": f"{n}", "height": 400, "width": 400} for n in range(count)],
        "categories": [{"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {"id": n + 1, "image_id": n, "category_id": 4, "bbox": BOX, "area": 1e4, "iscrowd": 0}
            for n in range(count)
        ],
    }


def detections(count: int, copies: int) -> np.ndarray:
    """Each of `count` objects found once, of score 0.8 and falling, and `copies` times more, from 0.5."""
    found = [[n, *BOX, 0.8 - 0.01 * n, 4] for n in range(count)]
    found += [[n, *BOX[:3], 90, 0.5 - 0.01 * n - 0.1 * c, 4] for n in range(count) for c in range(copies)]
    return np.array(found, dtype=float)


def test_histograms_count_each_outcome() -> None:
    found = histogram(
        np.array([0.02, 0.51, 0.52, 0.97, 1.0]), np.array([FALSE, CERTAIN, DUPLICATE, CERTAIN, CERTAIN])
    )
    assert len(found["edges"]) == 21
    assert [n for n, count in enumerate(found["certain"]) if count] == [10, 19]
    assert found["certain"][19] == 2
    assert [n for n, count in enumerate(found["duplicate"]) if count] == [10]
    assert [n for n, count in enumerate(found["false"]) if count] == [0]


def test_the_mean_of_a_curve_is_ap() -> None:
    rng = np.random.default_rng(0)
    found = detections(20, 3)
    found[:, 1:5] += rng.normal(0, 16, (80, 4))
    truth = Truth(truth_json(20))
    result, expected = curves(truth, found), evaluate(truth, found)
    assert 0 < expected["AP75"] < expected["AP50"] < 100
    assert 100 * np.mean(result["0.5"]) == pytest.approx(expected["AP50"], abs=1e-4)
    assert 100 * np.mean(result["0.75"]) == pytest.approx(expected["AP75"], abs=1e-4)


def test_without_truths_there_is_no_curve() -> None:
    content = truth_json(2) | {"annotations": []}
    assert curves(Truth(content), detections(2, 1)) == {"0.5": [], "0.75": []}


def test_duplicates_are_what_a_run_without_nms_loses() -> None:
    truth = Truth(truth_json(20))
    result = analyse(truth, {"nms": detections(20, 0), "nms_free": detections(20, 2)})
    assert sum(result["nms_free"]["histogram"]["duplicate"]) == 40
    expected = {"threshold": 0.5, "duplicates": 0.05, "recall": 1.0, "precision": 20 / 21}
    assert result["nms_free"]["usable"] == pytest.approx(expected)
    assert result["nms"]["usable"]["threshold"] == pytest.approx(0.61)
    assert result == json.loads(json.dumps(result))
    if installed():
        assert result["nms_free"]["tide"]["counts"] == dict.fromkeys(KINDS, 0) | {"duplicate": 40}


@pytest.fixture
def run(tiny_run: Compose, tmp_path: Path) -> tuple[Path, int]:
    """A directory with what a finished run on shapes leaves, of which the boxes are the truth, twice."""
    config = tiny_run()
    truth = build_dataset(config.data, "val", 0).coco_json()["annotations"]
    once = np.array([[a["image_id"], *a["bbox"], 0.9, a["category_id"]] for a in truth])
    twice = np.concatenate((once, once * [1, 1, 1, 1, 1, 0.5, 1]))
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    (tmp_path / "one" / "predictions.json").write_bytes(encode(twice))
    (tmp_path / "one" / "predictions_nms.json").write_bytes(encode(once))
    return tmp_path / "one", len(truth)


def test_from_a_run_to_its_files(run: tuple[Path, int], capsys: pytest.CaptureFixture[str]) -> None:
    directory, truths = run
    main([f"run={directory}"])
    stored = json.loads((directory / "errors.json").read_text())
    assert sum(stored["nms_free"]["histogram"]["duplicate"]) == truths
    assert sum(stored["nms"]["histogram"]["certain"]) == truths
    assert stored["nms_free"]["usable"]["threshold"] == 0.9
    assert (directory / "pictures" / "errors.png").stat().st_size > 10_000
    shown = capsys.readouterr().out
    assert "0.900" in shown
    assert ("without duplicate errors" in shown) == installed()


def test_without_hotcoco_the_rest_is_there(run: tuple[Path, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_analysis, "installed", lambda: False)
    console = Console(record=True, width=100)
    result = analyse_run(run[0], console)
    assert result["nms"]["tide"] is None
    assert result["nms_free"]["usable"]["threshold"] == 0.9
    assert MISSING in console.export_text(clear=False).replace("\n", " ")
    assert "threshold" in console.export_text()


def test_the_picture_and_the_table_stand_nothing_found() -> None:
    empty = np.zeros((0, 7))
    result = analyse(Truth(truth_json(2)), {"nms": empty, "nms_free": empty})
    figure = errors_figure(result, "nothing")
    figure.canvas.draw()
    assert [ax.get_title() for ax in figure.axes][1:] == [
        "Precision over recall, mean of classes", "Scores, NMS", "Scores, NMS-free",
    ]  # fmt: skip
    console = Console(record=True)
    console.print(error_table(result, "nothing"))
    assert "-" in console.export_text()


def damage_unfinished(directory: Path) -> None:
    (directory / "predictions_nms.json").unlink()


def damage_half(directory: Path) -> None:
    (directory / "predictions.json").write_text('[{"image_id": 1')


def damage_other_format(directory: Path) -> None:
    (directory / "predictions.json").write_text('[{"image": 1}]')


def damage_other_data(directory: Path) -> None:
    found = encode(np.array([[999, 1, 2, 3, 4, 0.5, 1]]))
    (directory / "predictions.json").write_bytes(found)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_unfinished, "has no predictions_nms.json: finish the run"),
        (damage_half, "predictions.json is damaged"),
        (damage_other_format, "predictions.json is damaged"),
        (damage_other_data, "has detections of image 999"),
    ],
)
def test_a_run_that_cannot_be_analysed(
    run: tuple[Path, int], damage: Callable[[Path], None], message: str
) -> None:
    damage(run[0])
    with pytest.raises(SystemExit, match=message):
        main([f"run={run[0]}"])
    assert not (run[0] / "errors.json").exists()


def test_no_run_there(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is not a run directory"):
        main([f"run={tmp_path}/none"])
