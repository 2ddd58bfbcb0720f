"""Selection against plain loops: thresholds, limits, ties."""

import pytest
import torch

from assigners.core.types import PointGrid, Predictions
from detector.select import Detections, nms, topk

GRID = PointGrid.for_image(32, 40, (8, 16))
Row = tuple[float, int, int]  # score, point, class


def _predictions(seed: int, ties: bool) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(3, len(GRID), 4, generator=generator)
    if ties:
        scores = (scores * 8).floor() / 8
    centers = 32 * torch.rand(3, len(GRID), 2, generator=generator)
    half = 4 + 8 * torch.rand(3, len(GRID), 2, generator=generator)
    return Predictions(scores, torch.cat((centers - half, centers + half), dim=-1))


def _iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(0.0, width) * max(0.0, height)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def _loop(
    predictions: Predictions, image: int, threshold: float, candidates: int, limit: int, iou: float | None
):
    chosen: list[Row] = []
    for part in GRID.level_slices:
        level: list[Row] = []
        for point in range(part.start, part.stop):
            for label, score in enumerate(predictions.scores_BPC[image, point].tolist()):
                if score > threshold:
                    level.append((score, point, label))
        chosen += sorted(level, key=lambda row: (-row[0], row[1], row[2]))[:candidates]
    chosen.sort(key=lambda row: (-row[0], row[1], row[2]))
    kept: list[Row] = []
    for row in chosen:
        box = predictions.boxes_BP4[image, row[1]].tolist()
        clash = iou is not None and any(
            other[2] == row[2] and _iou(box, predictions.boxes_BP4[image, other[1]].tolist()) > iou
            for other in kept
        )
        if not clash:
            kept.append(row)
    return kept[:limit]


def _check(found: Detections, rows: list[Row], predictions: Predictions, image: int) -> None:
    assert found.scores_N.tolist() == [row[0] for row in rows]
    assert found.labels_N.tolist() == [row[2] for row in rows]
    assert found.boxes_N4.tolist() == [predictions.boxes_BP4[image, row[1]].tolist() for row in rows]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("threshold", "candidates", "limit"), [(0.0, 1000, 1000), (0.5, 1000, 10), (0.25, 7, 100), (0.5, 3, 5)]
)
def test_against_plain_loops(ties: bool, threshold: float, candidates: int, limit: int) -> None:
    predictions = _predictions(limit, ties)
    best = topk(predictions, GRID, threshold, candidates, limit)
    suppressed = nms(predictions, GRID, threshold, candidates, limit, iou=0.4)
    assert len(best) == len(suppressed) == 3
    for image in range(3):
        _check(best[image], _loop(predictions, image, threshold, candidates, limit, None), predictions, image)
        _check(
            suppressed[image],
            _loop(predictions, image, threshold, candidates, limit, 0.4),
            predictions,
            image,
        )


def test_nms_drops_something() -> None:
    predictions = _predictions(0, False)
    assert len(nms(predictions, GRID, limit=1000, iou=0.4)[0]) < len(topk(predictions, GRID, limit=1000)[0])


def test_nms_is_per_class_and_exact_beside_huge_boxes() -> None:
    """A box of a million pixels must not blur the overlap of small ones."""
    boxes = torch.zeros(1, len(GRID), 4)
    boxes[0, 0] = torch.tensor([0.0, 0.0, 10.0, 10.0])
    boxes[0, 1] = torch.tensor([0.0, 0.0, 10.0, 6.1])  # IoU 0.61
    boxes[0, 2] = torch.tensor([0.0, 0.0, 10.0, 5.9])  # IoU 0.59 with the first, 0.97 with the second
    boxes[0, 3] = torch.tensor([-1e6, -1e6, 1e6, 1e6])
    scores = torch.zeros(1, len(GRID), 80)
    scores[0, :4, 79] = torch.tensor([0.9, 0.8, 0.7, 0.6])
    scores[0, 1, 3] = 0.5
    found = nms(Predictions(scores, boxes), GRID)[0]
    assert found.labels_N.tolist() == [79, 79, 79, 3]
    assert found.scores_N.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.5])


def test_threshold_is_strict_and_nan_is_nothing() -> None:
    scores = torch.full((1, len(GRID), 2), 0.25)
    scores[0, 3, 1] = 0.26
    scores[0, 4, 0] = float("nan")
    predictions = Predictions(scores, torch.rand(1, len(GRID), 4))
    assert topk(predictions, GRID, score_threshold=0.25)[0].labels_N.tolist() == [1]


@pytest.mark.parametrize("select", [topk, nms])
def test_nothing_found(select) -> None:
    predictions = Predictions(torch.zeros(2, len(GRID), 3), torch.zeros(2, len(GRID), 4))
    found = select(predictions, GRID)
    assert [len(image) for image in found] == [0, 0]
    assert found[0].boxes_N4.shape == (0, 4)
    assert found[0].labels_N.dtype == torch.int64
