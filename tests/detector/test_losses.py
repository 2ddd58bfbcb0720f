"""The losses against their plain formulas in float64."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from detector.losses import (
    ClassificationLoss,
    Focal,
    Matchability,
    QualityFocal,
    SoftFocal,
    Varifocal,
    distribution_focal_loss,
    giou_loss,
)

LOSSES = [Focal(), QualityFocal(), Varifocal(), SoftFocal(), Matchability()]
IDS = [type(loss).__name__ for loss in LOSSES]


def _cross_entropy(p: Tensor, t: Tensor) -> Tensor:
    return -t * torch.log(p) - (1 - t) * torch.log(1 - p)


def _plain(loss: ClassificationLoss, p: Tensor, t: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Background and positive as the papers write them."""
    zero, one = torch.zeros_like(p), torch.ones_like(p)
    if isinstance(loss, Focal):
        return 0.75 * p**2 * _cross_entropy(p, zero), w * 0.25 * (1 - p) ** 2 * _cross_entropy(p, one)
    if isinstance(loss, QualityFocal):
        return p**2 * _cross_entropy(p, zero), w * (t - p).abs() ** 2 * _cross_entropy(p, t)
    if isinstance(loss, Varifocal):
        return 0.75 * p**2 * _cross_entropy(p, zero), w * t * _cross_entropy(p, t)
    if isinstance(loss, Matchability):
        return p**1.5 * _cross_entropy(p, zero), w * _cross_entropy(p, t)
    return 0.75 * p**2 * _cross_entropy(p, zero), w * _cross_entropy(p, t)


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
def test_plain_formulas(loss: ClassificationLoss) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(200, dtype=torch.float64, generator=generator)
    score, weight = (torch.rand(200, dtype=torch.float64, generator=generator) for _ in range(2))
    background, positive = _plain(loss, logits.sigmoid(), score, weight)
    torch.testing.assert_close(loss.background(logits), background, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(loss.positive(logits, score, weight), positive, rtol=1e-7, atol=1e-9)
    single = loss.background(logits.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), background, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
def test_gradients(loss: ClassificationLoss) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = (3 * torch.randn(3, 4, 2, dtype=torch.float64, generator=generator)).requires_grad_()
    score = torch.rand(3, 4, 2, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(loss.background, (logits,))
    assert torch.autograd.gradcheck(lambda x: loss.positive(x, score, score), (logits,))


@pytest.mark.parametrize("gamma", [1.0, 1.5, 3.0])
def test_gradients_of_other_powers(gamma: float) -> None:
    logits = torch.linspace(-5, 5, 11, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(SoftFocal(gamma=gamma).background, (logits,))


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_extreme_logits_stay_finite_and_right(loss: ClassificationLoss, score: float) -> None:
    logits = torch.tensor([-100.0, -50.0, 0.0, 50.0, 100.0], requires_grad=True)
    target = torch.full_like(logits, score)
    background, positive = loss.background(logits), loss.positive(logits, target, torch.ones(5))
    (background.sum() + positive.sum()).backward()
    assert background.isfinite().all()
    assert positive.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert background[0] < 1e-30
    factor = 1.0 if isinstance(loss, QualityFocal | Matchability) else 0.75
    torch.testing.assert_close(background[-1], torch.tensor(100 * factor))


def test_weight_scales_the_positive_term() -> None:
    logits, score = torch.randn(7), torch.rand(7)
    for loss in LOSSES:
        one = loss.positive(logits, score, torch.ones(7))
        torch.testing.assert_close(loss.positive(logits, score, torch.full((7,), 0.4)), 0.4 * one)


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
def test_background_leaves_its_input_alone(loss: ClassificationLoss) -> None:
    logits = torch.randn(5, requires_grad=True)
    before = logits.detach().clone()
    term = loss.background(logits)
    gradient = torch.ones(5)
    term.backward(gradient)
    assert torch.equal(logits.detach(), before)
    assert torch.equal(gradient, torch.ones(5))


def test_giou_loss() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 2, 2], [0, 0, 1, 1]])
    targets = torch.tensor([[0.0, 0, 4, 4], [1, 1, 3, 3], [3, 0, 4, 1]])
    # same box; IoU 1/7 in a hull of 9 with union 7; apart, hull 4 with union 2
    expected = torch.tensor([0.0, 1 - (1 / 7 - 2 / 9), 1 + 2 / 4])
    torch.testing.assert_close(giou_loss(boxes, targets), expected)


def test_distribution_focal_loss_against_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(40, 4, 6, dtype=torch.float64, generator=generator)
    distances = 8 * torch.rand(40, 4, dtype=torch.float64, generator=generator) - 1.5  # some out of range
    got = distribution_focal_loss(logits, distances)
    for row in range(40):
        total = 0.0
        for side in range(4):
            exponentials = [math.exp(value) for value in logits[row, side].tolist()]
            probability = [value / sum(exponentials) for value in exponentials]
            distance = min(max(distances[row, side].item(), 0.0), 5 - 0.01)
            below = math.floor(distance)
            above = below + 1
            # GFL, equation 6: -((y_above - y) log S_below + (y - y_below) log S_above)
            total -= (above - distance) * math.log(probability[below])
            total -= (distance - below) * math.log(probability[above])
        assert got[row].item() == pytest.approx(total / 4, rel=1e-9)


def test_distribution_focal_loss_of_known_values() -> None:
    uniform = torch.zeros(1, 4, 8)
    for distance in (0.0, 3.3, 7.0, -5.0, 1e6):
        loss = distribution_focal_loss(uniform, torch.full((1, 4), distance))
        torch.testing.assert_close(loss, torch.tensor([math.log(8)]))
    # All mass on 2 and 3, as 0.7 and 0.3: the loss of a distance of 2.3 is that distribution's entropy.
    logits = torch.full((1, 4, 8), -100.0)
    logits[..., 2], logits[..., 3] = math.log(0.7), math.log(0.3)
    entropy = -0.7 * math.log(0.7) - 0.3 * math.log(0.3)
    loss = distribution_focal_loss(logits, torch.full((1, 4), 2.3))
    torch.testing.assert_close(loss, torch.tensor([entropy]))
    loss = distribution_focal_loss(logits, torch.full((1, 4), 3.0))
    torch.testing.assert_close(loss, torch.tensor([-math.log(0.3)]))


def test_distribution_focal_loss_is_least_where_the_mean_is_the_distance() -> None:
    logits = torch.zeros(1, 4, 8, requires_grad=True)
    distances = torch.tensor([[0.4, 2.3, 5.0, 6.7]])
    optimizer = torch.optim.Adam([logits], lr=0.2)
    for _ in range(400):
        optimizer.zero_grad()
        distribution_focal_loss(logits, distances).sum().backward()
        optimizer.step()
    mean = (logits.detach().softmax(-1) * torch.arange(8.0)).sum(-1)
    torch.testing.assert_close(mean, distances, rtol=0, atol=0.02)


def test_giou_loss_has_the_numbers_and_gradients_of_torchvision() -> None:
    generator = torch.Generator().manual_seed(0)
    corner_K2 = torch.randint(0, 40, (2, 500, 2), generator=generator).float()
    boxes_2K4 = torch.cat(
        (corner_K2, corner_K2 + torch.randint(0, 30, corner_K2.shape, generator=generator)), 2
    )
    found = []
    for loss in (giou_loss, partial(generalized_box_iou_loss, reduction="none")):
        boxes_K4 = boxes_2K4[0].clone().requires_grad_()
        value_K = loss(boxes_K4, boxes_2K4[1])
        value_K.sum().backward()
        found.append((value_K.detach(), boxes_K4.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-6)
