"""What every assigner makes of empty, degenerate, crowded and extreme input."""

import math
from dataclasses import replace

import pytest
import torch

from assigners import FCOS, O2F, POTO, GroundTruth, PointGrid, Predictions, SimOTA
from assigners.core.types import Assigner
from tests.helpers.assigner_batches import Batch, random_predictions
from tests.helpers.assigner_cases import BOX, CASES, GRID, copies, crowd, crowded, truths
from tests.helpers.assigner_check import check_same, check_wellformed, compare

BAD = [
    [math.nan, 6.0, 74.0, 50.0],
    [math.nan] * 4,
    [-math.inf, 6.0, 74.0, 50.0],
    [10.0, 6.0, math.inf, 50.0],
    [-math.inf, -math.inf, math.inf, math.inf],
    [10.0, 6.0, 10.0, 50.0],
    [20.0, 20.0, 20.0, 20.0],
    [74.0, 6.0, 10.0, 50.0],
    [74.0, 50.0, 10.0, 6.0],
    [-9.0, -9.0, -9.0, -9.0],
]

each = pytest.mark.parametrize("name", CASES)


@each
def test_all_images_empty(name: str) -> None:
    predictions = copies(GRID, None, BOX)
    assignment = CASES[name][0](GRID, predictions, truths([], []))
    assert len(assignment) == 0
    check_wellformed(assignment, GRID, predictions, truths([], []))
    assert torch.equal(assignment.dense(2, len(GRID)), torch.full((2, len(GRID)), -1))


@each
@pytest.mark.parametrize("place", [0, 1, 2])
def test_empty_image_among_others(name: str, place: int) -> None:
    images = [[BOX], [BOX]]
    images.insert(place, [])
    truth, predictions = truths(*images), copies(GRID, BOX, BOX, BOX)
    assignment = CASES[name][0](GRID, predictions, truth)
    check_wellformed(assignment, GRID, predictions, truth)
    assert set(assignment.image_K.tolist()) == {0, 1, 2} - {place}


@each
def test_one_box_with_perfect_predictions(name: str) -> None:
    batch = Batch(GRID, copies(GRID, BOX), truths([BOX]), 1, "copies")
    seen = compare(*CASES[name], batch)
    assert seen["with positives"] == 1


@each
def test_of_duplicate_boxes_the_first_wins(name: str) -> None:
    predictions = copies(GRID, BOX)
    once = CASES[name][0](GRID, predictions, truths([BOX]))
    twice = CASES[name][0](GRID, predictions, truths([BOX, BOX, BOX]))
    assert len(once) > 0
    if name == "tal-small":  # each of them takes two free points
        assert sorted(twice.truth_K.tolist()) == [0, 0, 1, 1, 2, 2]
    elif name in ("poto", "hungarian"):  # one-to-one: each of them gets a point of its own
        assert sorted(twice.truth_K.tolist()) == [0, 1, 2]
    else:
        check_same(once, twice)


@each
def test_the_first_of_many_duplicates_wins_whatever_the_iou(name: str) -> None:
    """The same pair must get the same number wherever it lies in a long tensor (SIMD body or tail)."""
    grid, box = PointGrid.for_image(8, 8, (8,)), [0.0, 0.0, 8.0, 8.0]
    for quarters in range(1, 32):
        predictions = copies(grid, [0.0, 0.0, 8.0, quarters / 4], score=0.09375)
        found = CASES[name][0](grid, predictions, truths([box] * 37))
        # Of an IoU of up to 0.3, TaskAligned's t is below 1e-9 here; the anchor of MaxIoU has 64 px.
        none = (name.startswith("tal") or name == "max-iou-paper") and len(found) == 0
        assert found.truth_K.tolist() == [0] or none, quarters


@each
def test_box_that_covers_no_point(name: str) -> None:
    tiny = [13.0, 13.0, 15.0, 15.0]
    truth, predictions = truths([tiny]), copies(GRID, tiny)
    assignment = CASES[name][0](GRID, predictions, truth)
    check_wellformed(assignment, GRID, predictions, truth)
    compare(*CASES[name], Batch(GRID, predictions, truth, 1, "copies"))
    if name in ("atss-force", "simota", "simota-varifocal", "simota-center", "max-iou", "rfla", "tal-small"):
        assert len(assignment) >= 1, "the centre square, forced match, field or raised side still reaches it"
    else:
        assert len(assignment) == 0


@each
@pytest.mark.parametrize("shift", [-2000.0, 2000.0])
def test_box_far_outside(name: str, shift: float) -> None:
    far = [v + shift for v in BOX]
    alone = CASES[name][0](GRID, copies(GRID, far), truths([far]))
    assert len(alone) == 0
    with_far = CASES[name][0](GRID, copies(GRID, BOX), truths([BOX, far]))
    check_same(with_far, CASES[name][0](GRID, copies(GRID, BOX), truths([BOX])))


@each
@pytest.mark.parametrize("bad", BAD, ids=str)
def test_degenerate_truth_gets_nothing(name: str, bad: list[float]) -> None:
    assigner = CASES[name][0]
    assert len(assigner(GRID, copies(GRID, None), truths([bad]))) == 0
    assert len(assigner(GRID, copies(GRID, bad, score=1.0), truths([bad]))) == 0


@each
def test_degenerate_truths_change_nothing(name: str) -> None:
    batch = crowded()
    without = CASES[name][0](GRID, batch.predictions, batch.truth)
    truth, row_of = _interleave(batch.truth, torch.tensor(BAD))
    with_bad = CASES[name][0](GRID, batch.predictions, truth)
    check_same(with_bad, replace(without, truth_K=row_of[without.truth_K]))


def _interleave(truth: GroundTruth, bad_N4: torch.Tensor) -> tuple[GroundTruth, torch.Tensor]:
    """Puts bad boxes before every image's own; says where each old row went."""
    boxes, labels, owners, row_of, row = [], [], [], [], 0
    for image in range(3):
        mine_N4 = truth.boxes_G4[truth.image_G == image]
        boxes += [bad_N4, mine_N4]
        labels += [torch.zeros(len(bad_N4), dtype=torch.long), truth.labels_G[truth.image_G == image]]
        owners.append(torch.full((len(bad_N4) + len(mine_N4),), image))
        row_of += list(range(row + len(bad_N4), row + len(bad_N4) + len(mine_N4)))
        row += len(bad_N4) + len(mine_N4)
    return GroundTruth(torch.cat(boxes), torch.cat(labels), torch.cat(owners)), torch.tensor(row_of)


@each
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (8, 16)])
def test_one_cell_levels(name: str, size: tuple[int, int]) -> None:
    grid = PointGrid.for_image(*size, (8, 64))
    box = [0.0, 0.0, 33.0, 33.0]
    batch = Batch(grid, copies(grid, box), truths([box]), 1, "copies")
    seen = compare(*CASES[name], batch)
    # Plain ATSS: of two candidates that differ, neither reaches mean + deviation. FCOS: the first point lies
    # outside the centre square, the second is made for larger boxes. MaxIoU: anchors of 64 and 512 px.
    assert seen["with positives"] == (name not in ("atss", "atss-iou", "fcos", "max-iou-paper"))


@each
def test_crowd_of_300(name: str) -> None:
    pairs = crowd(1, 300, 96)
    predictions = random_predictions(GRID, pairs, 3, "near", seed=1)
    batch = Batch(GRID, predictions, GroundTruth.from_list(pairs), 1, "near")
    compare(*CASES[name], batch)
    assert len(CASES[name][0](GRID, predictions, batch.truth)) > 20


@each
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_scores_at_the_ends(name: str, score: float) -> None:
    batch = Batch(GRID, copies(GRID, BOX, score=score), truths([BOX, [2.0, 2.0, 30.0, 60.0]]), 1, "copies")
    seen = compare(*CASES[name], batch)
    # Scores of 0 leave nothing to choose by; min_points takes a point all the same.
    empty = score == 0.0 and name.startswith(("tal", "quality-atss")) and name != "tal-small"
    assert seen["undecided"] or bool(seen["with positives"]) != empty


@each
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_count_as_zero(name: str, value: float) -> None:
    batch = crowded(seed=10)
    scores_BPC = batch.predictions.scores_BPC.clone()
    hit_BPC = torch.rand(scores_BPC.shape, generator=torch.Generator().manual_seed(10)) < 0.2
    bad = Predictions(scores_BPC.masked_fill(hit_BPC, value), batch.predictions.boxes_BP4)
    zero = Predictions(scores_BPC.masked_fill(hit_BPC, 0.0), batch.predictions.boxes_BP4)
    check_same(CASES[name][0](GRID, bad, batch.truth), CASES[name][0](GRID, zero, batch.truth))


@each
def test_predictions_without_a_finite_number(name: str) -> None:
    nothing = torch.full((1, len(GRID), 4), math.nan)
    predictions = Predictions(torch.full((1, len(GRID), 2), math.nan), nothing)
    assignment = CASES[name][0](GRID, predictions, truths([BOX]))
    check_wellformed(assignment, GRID, predictions, truths([BOX]))
    assert bool(assignment.score_K.isfinite().all())


@pytest.mark.parametrize("assigner", [FCOS, O2F, POTO, SimOTA])
def test_a_center_square_without_extent(assigner: type[Assigner]) -> None:
    with pytest.raises(ValueError, match=r"center_radius must be above 0.*got -1"):
        assigner(center_radius=-1.0)
