"""The criterion against a plain loop over points and classes, and on empty batches."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from assigners.core.types import Assignment, GroundTruth, PointGrid
from detector import criterion as criterion_module
from detector.criterion import CLASSIFICATION, Criterion, target_centerness
from detector.decode import joint_logits
from detector.detector import build_detector
from detector.head.pico import PicoHead
from detector.losses import distribution_focal_loss, giou_loss
from detector.outputs import Outputs
from errors import UsageError

GRID = PointGrid.for_image(32, 32, (8, 16))
TRUTH = GroundTruth(
    torch.tensor([[2.0, 3, 21, 30], [1, 1, 15, 9], [5, 2, 31, 31]]),
    torch.tensor([2, 0, 1]),
    torch.tensor([0, 0, 2]),
)
ASSIGNMENT = Assignment(
    image_K=torch.tensor([0, 0, 0, 2]),
    point_K=torch.tensor([0, 5, 9, 17]),
    truth_K=torch.tensor([1, 0, 0, 2]),
    score_K=torch.tensor([1.0, 0.9, 0.3, 0.7]),
    weight_K=torch.tensor([1.0, 1.0, 0.4, 0.4]),
)
NOTHING = Assignment(*(torch.zeros(0, dtype=torch.long) for _ in range(3)), torch.zeros(0), torch.zeros(0))
NO_TRUTH = GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))


def _outputs(quality: bool) -> Outputs:
    generator = torch.Generator().manual_seed(0)
    points = len(GRID)
    return Outputs(
        GRID,
        2 * torch.randn(3, points, 3, generator=generator),
        15 * torch.rand(3, points, 4, generator=generator) + 0.5,
        torch.randn(3, points, generator=generator) if quality else None,
    )


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
    outputs = _outputs(quality != "none")
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
    outputs = _outputs(quality != "none")
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
    outputs = _outputs(False)
    by_score = Criterion("varifocal", box_weight="score", normalizer="scores")(outputs, TRUTH, weak)
    by_one = Criterion("varifocal", box_weight="one", normalizer="positives")(outputs, TRUTH, weak)
    torch.testing.assert_close(by_score["cls"], by_one["cls"])
    torch.testing.assert_close(by_score["box"], 0.1 * by_one["box"])


def test_target_centerness() -> None:
    points = torch.tensor([[5.0, 5.0], [2.0, 5.0], [0.0, 5.0], [-3.0, 5.0], [4.0, 4.0]])
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(5, 1)
    boxes[4] = 4.0  # no extent
    torch.testing.assert_close(target_centerness(points, boxes), torch.tensor([1.0, 0.5, 0.0, 0.0, 0.0]))


@pytest.mark.parametrize("quality", ["none", "centerness", "implicit"])
@pytest.mark.parametrize("empty", [True, False])
def test_every_parameter_gets_a_finite_gradient(quality: str, empty: bool) -> None:
    torch.manual_seed(0)
    detector = build_detector(
        {
            "backbone": {"name": "lcnet_050"},
            "neck": {"channels": 8, "extra_levels": 1},
            "head": {"channels": 8, "convs": 1, "quality": quality},
        },
        3,
    )
    outputs = detector(torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8))
    criterion = Criterion("soft_focal", box_weight="centerness", quality=quality)
    losses = criterion(outputs, *((NO_TRUTH, NOTHING) if empty else (TRUTH, ASSIGNMENT)))
    sum(losses.values(), torch.zeros(())).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert isinstance(detector.head.class_out, nn.Conv2d)
    assert detector.head.class_out.weight.grad.abs().sum() > 0
    assert (losses["box"] == 0) == empty
    assert (detector.head.box_out.weight.grad.abs().sum() == 0) == empty


@pytest.mark.parametrize("quality", ["none", "centerness", "implicit"])
@pytest.mark.parametrize("empty", [True, False])
def test_every_parameter_of_picodet_gets_a_finite_gradient(quality: str, empty: bool) -> None:
    torch.manual_seed(0)
    config = {
        "backbone": {"name": "lcnet_050"},
        "neck": {"kind": "csp_pan", "channels": 8},
        "head": {"kind": "pico", "channels": 8, "convs": 1, "quality": quality},
    }
    detector = build_detector(config, 3)
    outputs = detector(torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8))
    criterion = Criterion("varifocal", box_weight="score", normalizer="scores", quality=quality)
    losses = criterion(outputs, *((NO_TRUTH, NOTHING) if empty else (TRUTH, ASSIGNMENT)))
    assert (losses["dfl"] == 0) == (losses["box"] == 0) == empty
    sum(losses.values(), torch.zeros(())).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert isinstance(detector.head, PicoHead)
    gradient = sum(out.weight.grad.abs().sum() for out in detector.head.box_outs)
    assert (gradient == 0) == empty


@pytest.mark.parametrize("box_weight", ["one", "score", "centerness"])
def test_distributions_are_weighted_as_boxes_are(box_weight: str) -> None:
    plain = _outputs(False)
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


@pytest.mark.parametrize("logit", [-100.0, 100.0])
@pytest.mark.parametrize("name", list(CLASSIFICATION))
@pytest.mark.parametrize("quality", ["none", "implicit"])
def test_extreme_logits_give_finite_gradients(name: str, logit: float, quality: str) -> None:
    plain = _outputs(quality != "none")
    logits = torch.full_like(plain.logits_BPC, logit).requires_grad_()
    branch = None if plain.quality_BP is None else torch.full_like(plain.quality_BP, -logit).requires_grad_()
    losses = Criterion(name, quality=quality)(
        Outputs(GRID, logits, plain.distances_BP4, branch), TRUTH, ASSIGNMENT
    )
    losses["cls"].backward()
    assert losses["cls"].isfinite()
    for leaf in (logits, branch):
        if leaf is not None:
            assert leaf.grad is not None
            assert leaf.grad.isfinite().all()


def test_gradient_at_a_positive_is_the_positive_term_alone() -> None:
    outputs = _outputs(False)
    outputs.logits_BPC.requires_grad_()
    Criterion("soft_focal")(outputs, TRUTH, ASSIGNMENT)["cls"].backward()
    at = (ASSIGNMENT.image_K, ASSIGNMENT.point_K, TRUTH.labels_G[ASSIGNMENT.truth_K])
    # derivative of w BCE(sigmoid(x), t) is w (sigmoid(x) - t)
    p = outputs.logits_BPC.detach()[at].sigmoid()
    expected = ASSIGNMENT.weight_K * (p - ASSIGNMENT.score_K) / 4
    assert outputs.logits_BPC.grad is not None
    torch.testing.assert_close(outputs.logits_BPC.grad[at], expected, rtol=1e-4, atol=1e-6)


def test_normalisers_are_averaged_over_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second rank with 12 positives, and this one with 4: both divide by 8."""
    alone = Criterion("focal")(_outputs(False), TRUTH, ASSIGNMENT)
    monkeypatch.setattr(criterion_module.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(criterion_module.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(criterion_module.dist, "all_reduce", lambda values: values.mul_(4))
    together = Criterion("focal")(_outputs(False), TRUTH, ASSIGNMENT)
    torch.testing.assert_close(together["cls"], alone["cls"] / 2)
    torch.testing.assert_close(together["box"], alone["box"] / 2)


def test_quality_of_head_and_criterion_must_agree() -> None:
    with pytest.raises(ValueError, match="no quality"):
        Criterion("focal", quality="implicit")(_outputs(False), TRUTH, ASSIGNMENT)
    with pytest.raises(ValueError, match="a quality"):
        Criterion("focal")(_outputs(True), TRUTH, ASSIGNMENT)


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
