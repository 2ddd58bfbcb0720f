"""The criterion against a plain loop over points and classes, and on empty batches."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from assigners.core.types import Assignment
from detector import criterion as criterion_module
from detector.criterion import CLASSIFICATION, Criterion, target_centerness
from detector.decode import joint_logits
from detector.losses import distribution_focal_loss, giou_loss
from detector.outputs import Outputs
from errors import UsageError
from tests.helpers.criterion_case import ASSIGNMENT, GRID, TRUTH, small_outputs


def _centerness(point: int, truth: int) -> float:
    x, y = GRID.centers_P2[point].tolist()
    x1, y1, x2, y2 = TRUTH.boxes_G4[truth].tolist()
    sides = [x - x1, x2 - x], [y - y1, y2 - y]
    return (
        math.sqrt(max(0.0, math.prod(min(pair) / max(pair) for pair in sides)))
        if min(map(min, sides)) > 0
        else 0.0
    )


def _box(outputs: Outputs, image: int, point: int) -> Tensor:
    distance, middle = outputs.distances_BP4[image, point], GRID.centers_P2[point]
    return torch.cat((middle - distance[:2], middle + distance[2:]))


def _target(name: str, outputs: Outputs, k: int) -> Tensor:
    """The score of positive k, which the matchability loss multiplies by IoU^1.5."""
    if name != "matchability":
        return ASSIGNMENT.score_K[k : k + 1]
    image, point, truth = (
        int(rows[k]) for rows in (ASSIGNMENT.image_K, ASSIGNMENT.point_K, ASSIGNMENT.truth_K)
    )
    x1, y1, x2, y2 = _box(outputs, image, point).tolist()
    a1, b1, a2, b2 = TRUTH.boxes_G4[truth].tolist()
    shared = max(0.0, min(x2, a2) - max(x1, a1)) * max(0.0, min(y2, b2) - max(y1, b1))
    iou = shared / ((x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - shared)
    return ASSIGNMENT.score_K[k : k + 1] * iou**1.5


@pytest.mark.parametrize(
    ("name", "box_weight", "normalizer", "quality"),
    [
        *product(CLASSIFICATION, ["one"], ["positives"], ["none"]),
        *product(["varifocal"], ["one", "score", "centerness"], ["positives", "scores"], ["none"]),
        ("soft_focal", "weight", "truths", "none"),
        *product(["focal", "soft_focal"], ["centerness"], ["positives"], ["centerness", "implicit"]),
        ("varifocal", "score", "scores", "centerness"),
    ],
)
def test_against_a_plain_loop(name: str, box_weight: str, normalizer: str, quality: str) -> None:
    outputs = small_outputs(quality != "none")
    got = Criterion(name, 1.5, 2.5, box_weight, normalizer, 0.5, quality)(outputs, TRUTH, ASSIGNMENT)
    loss = CLASSIFICATION[name]()
    logits = joint_logits(outputs.logits_BPC, outputs.quality_BP if quality == "implicit" else None)
    row_of = {
        (int(i), int(p)): k
        for k, (i, p) in enumerate(zip(ASSIGNMENT.image_K, ASSIGNMENT.point_K, strict=True))
    }
    cls = box = weights = quality_sum = 0.0
    for image, point, label in product(range(3), range(len(GRID)), range(3)):
        logit = logits[image, point, label].reshape(1)
        k = row_of.get((image, point))
        if k is not None and TRUTH.labels_G[ASSIGNMENT.truth_K[k]] == label:
            score = _target(name, outputs, k)
            cls += loss.positive(logit, score, ASSIGNMENT.weight_K[k : k + 1]).item()
        else:
            cls += loss.background(logit).item()
    for (image, point), k in row_of.items():
        truth = int(ASSIGNMENT.truth_K[k])
        center = _centerness(point, truth)
        weight = {
            "one": 1.0,
            "score": ASSIGNMENT.score_K[k].item(),
            "centerness": center,
            "weight": ASSIGNMENT.weight_K[k].item(),
        }[box_weight]
        predicted = _box(outputs, image, point)
        box += weight * giou_loss(predicted[None], TRUTH.boxes_G4[truth][None]).item()
        weights += weight
        if quality == "centerness":
            assert outputs.quality_BP is not None
            quality_sum += bce(outputs.quality_BP[image, point], torch.tensor(center)).item()
    count = {"positives": 4, "scores": 2.9, "truths": 3}[normalizer]
    expected = {"cls": 1.5 * cls / count, "box": 2.5 * box / max(1.0, weights)}
    if quality == "centerness":
        expected["quality"] = 0.5 * quality_sum / 4
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert got[key].shape == ()
        assert got[key].item() == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("quality", ["none", "implicit"])
@pytest.mark.parametrize("name", list(CLASSIFICATION))
def test_weighted_background_against_a_dense_loop(name: str, quality: str) -> None:
    """Rows at background weigh all classes, rows at positives the background term of the truth's class."""
    weights = {(0, 1): 0.0, (0, 5): 0.25, (1, 19): 0.0, (2, 17): 1.5, (2, 3): 0.5}
    image_N, point_N = torch.tensor(list(weights)).unbind(1)
    rows = {"image_N": image_N, "point_N": point_N, "weight_N": torch.tensor(list(weights.values()))}
    weighted = replace(ASSIGNMENT, **rows)
    outputs = small_outputs(quality != "none")
    outputs.logits_BPC.requires_grad_()
    got = Criterion(name, quality=quality)(outputs, TRUTH, weighted)
    loss = CLASSIFICATION[name]()
    logits = joint_logits(outputs.logits_BPC, outputs.quality_BP if quality == "implicit" else None)
    places = zip(ASSIGNMENT.image_K.tolist(), ASSIGNMENT.point_K.tolist(), strict=True)
    row_of = {place: k for k, place in enumerate(places)}
    total = torch.zeros(())
    for image, point, label in product(range(3), range(len(GRID)), range(3)):
        logit, k = logits[image, point, label].reshape(1), row_of.get((image, point))
        if k is None:
            total = total + weights.get((image, point), 1.0) * loss.background(logit).sum()
        elif TRUTH.labels_G[ASSIGNMENT.truth_K[k]] == label:
            target, weight = _target(name, outputs, k), ASSIGNMENT.weight_K[k : k + 1]
            total = total + loss.positive(logit, target, weight).sum()
            total = total + weights.get((image, point), 0.0) * loss.background(logit).sum()
        else:
            total = total + loss.background(logit).sum()
    assert got["cls"].item() == pytest.approx(total.item() / 4, rel=1e-5)
    (slope,) = torch.autograd.grad(got["cls"], outputs.logits_BPC, retain_graph=True)
    (expected,) = torch.autograd.grad(total / 4, outputs.logits_BPC)
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-7)
    assert slope[0, 1].abs().max() == slope[1, 19].abs().max() == 0
    without = Criterion(name, quality=quality)(outputs, TRUTH, ASSIGNMENT)
    assert got["cls"] != without["cls"]
    assert torch.equal(got["box"], without["box"])


def test_sums_below_one_do_not_blow_up() -> None:
    """One positive of score 0.1: both normalisers stay at 1."""
    weak = Assignment(
        torch.tensor([0]), torch.tensor([5]), torch.tensor([0]), torch.tensor([0.1]), torch.tensor([1.0])
    )
    outputs = small_outputs(False)
    by_score = Criterion("varifocal", box_weight="score", normalizer="scores")(outputs, TRUTH, weak)
    by_one = Criterion("varifocal", box_weight="one", normalizer="positives")(outputs, TRUTH, weak)
    torch.testing.assert_close(by_score["cls"], by_one["cls"])
    torch.testing.assert_close(by_score["box"], 0.1 * by_one["box"])


def test_target_centerness() -> None:
    points = torch.tensor([[5.0, 5.0], [2.0, 5.0], [0.0, 5.0], [-3.0, 5.0], [4.0, 4.0]])
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(5, 1)
    boxes[4] = 4.0  # no extent
    torch.testing.assert_close(target_centerness(points, boxes), torch.tensor([1.0, 0.5, 0.0, 0.0, 0.0]))


@pytest.mark.parametrize("box_weight", ["one", "score", "centerness"])
def test_distributions_are_weighted_as_boxes_are(box_weight: str) -> None:
    plain = small_outputs(False)
    generator = torch.Generator().manual_seed(1)
    distribution = 2 * torch.randn(3, len(GRID), 4, 6, generator=generator)
    outputs = replace(plain, distribution_BP4E=distribution)
    options = {"box_weight": box_weight, "normalizer": "scores"}
    with_it = Criterion("varifocal", **options, dfl_gain=0.5)(outputs, TRUTH, ASSIGNMENT)
    without = Criterion("varifocal", **options, dfl_gain=0.5)(plain, TRUTH, ASSIGNMENT)
    assert with_it.keys() - without.keys() == {"dfl"}
    assert all(torch.equal(with_it[key], without[key]) for key in without)
    total = weights = 0.0
    for k, (image, point) in enumerate(zip(ASSIGNMENT.image_K, ASSIGNMENT.point_K, strict=True)):
        truth = int(ASSIGNMENT.truth_K[k])
        weight = {
            "one": 1.0,
            "score": ASSIGNMENT.score_K[k].item(),
            "centerness": _centerness(int(point), truth),
        }
        x, y = GRID.centers_P2[point].tolist()
        x1, y1, x2, y2 = TRUTH.boxes_G4[truth].tolist()
        strides = torch.tensor([[x - x1, y - y1, x2 - x, y2 - y]]) / GRID.stride_P[point]
        loss = distribution_focal_loss(distribution[image, point][None], strides).item()
        total += weight[box_weight] * loss
        weights += weight[box_weight]
    assert with_it["dfl"].item() == pytest.approx(0.5 * total / max(1.0, weights), rel=1e-5)


def test_normalisers_are_averaged_over_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second rank with 12 positives, and this one with 4: both divide by 8."""
    alone = Criterion("focal")(small_outputs(False), TRUTH, ASSIGNMENT)
    monkeypatch.setattr(criterion_module.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(criterion_module.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(criterion_module.dist, "all_reduce", lambda values: values.mul_(4))
    together = Criterion("focal")(small_outputs(False), TRUTH, ASSIGNMENT)
    torch.testing.assert_close(together["cls"], alone["cls"] / 2)
    torch.testing.assert_close(together["box"], alone["box"] / 2)


def test_quality_of_head_and_criterion_must_agree() -> None:
    with pytest.raises(ValueError, match="no quality"):
        Criterion("focal", quality="implicit")(small_outputs(False), TRUTH, ASSIGNMENT)
    with pytest.raises(ValueError, match="a quality"):
        Criterion("focal")(small_outputs(True), TRUTH, ASSIGNMENT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classification": "bce"}, "classification=bce must be one of focal, quality_focal"),
        ({"box_weight": "two"}, "box_weight=two must be one of one, score, centerness, weight"),
        ({"normalizer": "max"}, "normalizer=max must be one of positives, scores, truths"),
        ({"quality": "iou"}, "quality=iou must be one of none, centerness, implicit"),
    ],
)
def test_unknown_names(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Criterion(**{"classification": "focal", **options})
