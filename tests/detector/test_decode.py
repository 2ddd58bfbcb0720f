"""Joint logits against float64, decoded boxes and scores."""

import pytest
import torch

from assigners.core.types import PointGrid
from detector.decode import decode, joint_logits
from detector.detector import Outputs

GRID = PointGrid.for_image(16, 24, (8, 16))


def _outputs(quality: bool, classes: int = 3) -> Outputs:
    generator = torch.Generator().manual_seed(0)
    points = len(GRID)
    return Outputs(
        GRID,
        4 * torch.randn(2, points, classes, generator=generator),
        30 * torch.rand(2, points, 4, generator=generator) + 0.1,
        4 * torch.randn(2, points, generator=generator) if quality else None,
    )


def test_joint_logits_are_the_logit_of_the_product() -> None:
    class_, quality = torch.meshgrid(
        torch.linspace(-12, 12, 25, dtype=torch.float64), torch.linspace(-12, 12, 25).double(), indexing="ij"
    )
    p = class_.sigmoid() * quality.sigmoid()
    expected = torch.log(p) - torch.log1p(-p)
    got = joint_logits(class_.reshape(1, -1, 1), quality.reshape(1, -1)).reshape(25, 25)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    single = joint_logits(class_.float().reshape(1, -1, 1), quality.float().reshape(1, -1)).reshape(25, 25)
    torch.testing.assert_close(single.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("class_", [-100.0, -30.0, 0.0, 30.0, 100.0])
@pytest.mark.parametrize("quality", [-100.0, -30.0, 0.0, 30.0, 100.0])
def test_joint_logits_at_the_extremes(class_: float, quality: float) -> None:
    c = torch.tensor([[[class_]]], requires_grad=True)
    q = torch.tensor([[quality]], requires_grad=True)
    joint = joint_logits(c, q)
    # log of the product, which joint_logits must reproduce as logsigmoid of its result
    c64, q64 = torch.tensor(class_).double(), torch.tensor(quality).double()
    expected = -torch.log1p(torch.exp(-c64)) - torch.log1p(torch.exp(-q64))
    torch.testing.assert_close(
        torch.nn.functional.logsigmoid(joint.double()).squeeze(), expected, rtol=1e-5, atol=0
    )
    joint.sum().backward()
    assert c.grad is not None
    assert q.grad is not None
    assert 0 <= c.grad.item() <= 1
    assert 0 <= q.grad.item() <= 1


def test_joint_logits_gradient() -> None:
    torch.manual_seed(0)
    c = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    q = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(joint_logits, (c, q))


def test_without_quality_nothing_changes() -> None:
    logits = torch.randn(2, 3, 4)
    assert joint_logits(logits, None) is logits


@pytest.mark.parametrize("quality", [False, True])
def test_decode(quality: bool) -> None:
    outputs = _outputs(quality)
    predictions = decode(outputs)
    torch.testing.assert_close(
        predictions.scores_BPC, joint_logits(outputs.logits_BPC, outputs.quality_BP).sigmoid()
    )
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
