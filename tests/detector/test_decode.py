"""Joint logits against float64, decoded boxes and scores."""

from itertools import product

import pytest
import torch

from assigners.core.types import PointGrid
from detector.decode import decode, joint_logits
from detector.outputs import Outputs, Scoring
from detector.select import topk
from errors import UsageError

PRODUCT = Scoring()
GRID = PointGrid.for_image(16, 24, (8, 16))


def _outputs(quality: bool, scoring: Scoring = PRODUCT) -> Outputs:
    generator = torch.Generator().manual_seed(0)
    points = len(GRID)
    return Outputs(
        GRID,
        4 * torch.randn(2, points, 3, generator=generator),
        30 * torch.rand(2, points, 4, generator=generator) + 0.1,
        4 * torch.randn(2, points, generator=generator) if quality else None,
        scoring=scoring,
    )


@pytest.mark.parametrize("geometric", [False, True])
def test_joint_logits_are_the_logit_of_the_score(geometric: bool) -> None:
    class_, quality = torch.meshgrid(
        torch.linspace(-12, 12, 25, dtype=torch.float64), torch.linspace(-12, 12, 25).double(), indexing="ij"
    )
    p = class_.sigmoid() * quality.sigmoid()
    p = p.sqrt() if geometric else p
    expected = torch.log(p) - torch.log1p(-p)
    pair = class_.reshape(1, -1, 1), quality.reshape(1, -1)
    got = joint_logits(*pair, geometric).reshape(25, 25)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    single = joint_logits(pair[0].float(), pair[1].float(), geometric).reshape(25, 25)
    torch.testing.assert_close(single.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("class_", [-100.0, -30.0, 0.0, 30.0, 100.0])
@pytest.mark.parametrize("quality", [-100.0, -30.0, 0.0, 30.0, 100.0])
@pytest.mark.parametrize("geometric", [False, True])
def test_joint_logits_at_the_extremes(class_: float, quality: float, geometric: bool) -> None:
    c = torch.tensor([[[class_]]], requires_grad=True)
    q = torch.tensor([[quality]], requires_grad=True)
    joint = joint_logits(c, q, geometric)
    assert joint.isfinite()
    # log of the score, which joint_logits must reproduce as logsigmoid of its result
    c64, q64 = torch.tensor(class_).double(), torch.tensor(quality).double()
    expected = (-torch.log1p(torch.exp(-c64)) - torch.log1p(torch.exp(-q64))) / (2 if geometric else 1)
    torch.testing.assert_close(
        torch.nn.functional.logsigmoid(joint.double()).squeeze(), expected, rtol=1e-5, atol=1e-37
    )
    joint.sum().backward()
    assert c.grad is not None
    assert q.grad is not None
    assert 0 <= c.grad.item() <= 1
    assert 0 <= q.grad.item() <= 1


@pytest.mark.parametrize("geometric", [False, True])
def test_joint_logits_gradient(geometric: bool) -> None:
    torch.manual_seed(0)
    c = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    q = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(joint_logits, (c, q, geometric))


def test_without_quality_nothing_changes() -> None:
    logits = torch.randn(2, 3, 4)
    assert joint_logits(logits, None) is logits


@pytest.mark.parametrize(
    ("quality", "scoring"), [(False, PRODUCT), (True, PRODUCT), (True, Scoring(geometric_mean=True))]
)
def test_decode(quality: bool, scoring: Scoring) -> None:
    outputs = _outputs(quality, scoring)
    predictions = decode(outputs)
    joint = joint_logits(outputs.logits_BPC, outputs.quality_BP, scoring.geometric_mean)
    torch.testing.assert_close(predictions.scores_BPC, joint.sigmoid())
    for image in range(2):
        for point in range(len(GRID)):
            x, y = GRID.centers_P2[point].tolist()
            left, top, right, bottom = outputs.distances_BP4[image, point].tolist()
            expected = torch.tensor([x - left, y - top, x + right, y + bottom])
            torch.testing.assert_close(predictions.boxes_BP4[image, point], expected)


def test_decode_leaves_the_graph() -> None:
    outputs = _outputs(True)
    outputs.logits_BPC.requires_grad_()
    outputs.distances_BP4.requires_grad_()
    predictions = decode(outputs)
    assert not predictions.scores_BPC.requires_grad
    assert not predictions.boxes_BP4.requires_grad


@pytest.mark.parametrize(
    ("quality", "score"),
    [("none", "product"), *product(["centerness", "implicit"], ["product", "geometric_mean"])],
)
def test_the_threshold_acts_on_the_class_for_a_supervised_centerness_alone(quality: str, score: str) -> None:
    outputs = _outputs(quality != "none", Scoring.of(quality, score))
    found = topk(decode(outputs), GRID, 0.3)
    class_, branch = outputs.logits_BPC.sigmoid(), outputs.quality_BP
    factor = torch.ones(2, len(GRID), 1) if branch is None else branch.sigmoid().unsqueeze(-1)
    scores = (class_ * factor).sqrt() if score == "geometric_mean" else class_ * factor
    by_class = quality == "centerness" and score == "product"
    kept = scores[0][(class_ if by_class else scores)[0] > 0.3].sort(descending=True).values
    torch.testing.assert_close(found[0].scores_N, kept)
    assert by_class == bool((kept <= 0.3).any())


def test_unknown_score() -> None:
    with pytest.raises(UsageError, match="score=sum must be one of product, geometric_mean"):
        Scoring.of("implicit", "sum")
