"""The loss of the start of training, and the one after it."""

import pytest
import torch

from assigners import ATSS, GroundTruth, PointGrid, Predictions
from detector.criterion import Criterion
from detector.outputs import Outputs, Scoring
from detector.scheduled_loss import build_criterion
from errors import UsageError

GRID = PointGrid.for_image(64, 64, (8, 16))
TRUTH = GroundTruth.from_list([(torch.tensor([[4.0, 6, 50, 60]]), torch.tensor([1]))])
LATER = {"classification": "quality_focal", "normalizer": "scores", "box_weight": "score"}
FIRST = {"classification": "focal", "normalizer": "positives", "box_weight": "centerness"}


def test_the_first_loss_holds_until_its_share_of_training() -> None:
    torch.manual_seed(0)
    shape = (1, len(GRID))
    outputs = Outputs(
        GRID, torch.randn(*shape, 3), 20 * torch.rand(*shape, 4), torch.randn(shape), None, Scoring(True)
    )
    predictions = Predictions(torch.rand(*shape, 3), torch.rand(*shape, 4))
    call = (outputs, TRUTH, ATSS(score="iou")(GRID, predictions, TRUTH))
    loss = build_criterion({**LATER, "first": {"until": 0.3333, **FIRST}}, "implicit")
    first, later = (Criterion(**options, quality="implicit")(*call) for options in (FIRST, LATER))
    assert first["cls"] != later["cls"]
    epochs = [epoch / 11 for epoch in range(12)]
    assert [loss(*call, progress) == first for progress in epochs] == [True] * 4 + [False] * 8
    assert loss(*call, epochs[4]) == later
    assert build_criterion({**LATER, "first": None}, "implicit")(*call, 0.0) == later


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({**LATER, "first": FIRST}, "loss.first.until=None must be a number from 0 to 1"),
        ({**LATER, "first": {"until": 2}}, "loss.first.until=2"),
        ({**LATER, "first": {"until": 0.5, "gain": 1}}, "loss: .*gain"),
        ({**LATER, "first": {"until": 0.5, "box_weight": "two"}}, "box_weight=two must be one of"),
    ],
)
def test_errors(loss: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_criterion(loss, "implicit")
