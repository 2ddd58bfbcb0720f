"""The adapters of YOLOX and ultralytics by their documented calls, without the libraries."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from adapters import grid_of
from adapters.ultralytics import CallAssigner
from adapters.yolox import plug
from assigners import O2F, Assignment, GroundTruth, PointGrid, Predictions, SimOTA
from tests.helpers.assigner_batches import Batch
from tests.helpers.assigner_cases import crowded
from tests.helpers.assigner_check import check_same


@pytest.mark.parametrize("offset", [0.0, 0.5])
@pytest.mark.parametrize("size", [(64, 96), (65, 31), (40, 8)])
def test_a_grid_is_found_in_its_points(size: tuple[int, int], offset: float) -> None:
    grid = PointGrid.for_image(*size, (8, 16, 32), offset=offset)
    found = grid_of(grid.centers_P2, grid.stride_P, offset)
    assert found.shapes == grid.shapes
    assert torch.equal(found.centers_P2, grid.centers_P2)
    with pytest.raises(ValueError, match="every point of every level"):
        grid_of(grid.centers_P2[1:], grid.stride_P[1:], offset)


def direct(batch: Batch, assigner: O2F | SimOTA) -> Assignment:
    """Without an adapter, on the same grid."""
    return assigner(batch.grid, batch.predictions, batch.truth, 0.25)


def padded(truth: GroundTruth, images: int) -> tuple[Tensor, Tensor, Tensor]:
    length = int(torch.bincount(truth.image_G, minlength=images).max()) + 2
    labels, boxes, mask = (torch.zeros(images, length, n) for n in (1, 4, 1))
    for image in range(images):
        mine = truth.image_G == image
        count = int(mine.sum())
        labels[image, :count, 0] = truth.labels_G[mine].float()
        boxes[image, :count] = truth.boxes_G4[mine]
        mask[image, :count] = 1
    return labels, boxes, mask


def test_ultralytics_call() -> None:
    batch = crowded()
    adapter = CallAssigner(O2F())
    adapter.progress = 0.25
    labels, boxes, mask = padded(batch.truth, batch.images)
    inputs = batch.predictions.scores_BPC, batch.predictions.boxes_BP4, batch.grid.centers_P2
    target_labels, target_boxes, target_scores, positive, row = adapter(*inputs, labels, boxes, mask)
    found = direct(batch, O2F())
    points = len(batch.grid)
    assert torch.equal(positive, found.dense(batch.images, points) >= 0)
    assert torch.equal(target_scores, found.targets(batch.truth, batch.images, points, 3))
    at_K = found.image_K, found.point_K
    assert torch.equal(target_labels[at_K], batch.truth.labels_G[found.truth_K])
    assert torch.equal(target_boxes[at_K], batch.truth.boxes_G4[found.truth_K])
    assert torch.equal(boxes[found.image_K, row[at_K]], batch.truth.boxes_G4[found.truth_K])
    assert target_boxes[~positive].abs().max() == 0


@pytest.mark.parametrize("release", ["0.3.0", "later"])
def test_yolox_call(release: str) -> None:
    batch = crowded()
    head = SimpleNamespace()
    plug(head, SimOTA())
    head.progress = 0.25
    grid, truth, logits = batch.grid, batch.truth, batch.predictions.scores_BPC.logit()
    objectness = torch.randn(batch.images, len(grid), 1, generator=torch.Generator().manual_seed(0))
    cell_P2 = grid.centers_P2 / grid.stride_P[:, None] - 0.5

    def sizes(boxes_N4: Tensor) -> Tensor:
        return torch.cat(((boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2, boxes_N4[:, 2:] - boxes_N4[:, :2]), 1)

    for image in (0, 2):
        mine_G = truth.image_G == image
        boxes_G4, labels_G = truth.boxes_G4[mine_G], truth.labels_G[mine_G]
        place = (grid.stride_P[None], *cell_P2.T[:, None])
        words = (sizes(boxes_G4), labels_G.float(), sizes(batch.predictions.boxes_BP4[image]), *place)
        if release == "0.3.0":
            call = (image, len(boxes_G4), len(grid), *words, logits, None, objectness, None, None)
        else:
            call = (image, len(boxes_G4), *words, logits, objectness)
        classes, positive_P, score_K, row_K, count = head.get_assignments(*call)
        scores_PC = (logits[image].sigmoid() * objectness[image].sigmoid()).sqrt()
        predictions = Predictions(scores_PC[None], batch.predictions.boxes_BP4[image : image + 1])
        found = SimOTA()(grid, predictions, GroundTruth.from_list([(boxes_G4, labels_G)]), 0.25)
        assert count == len(found) > 0
        assert positive_P.nonzero().flatten().tolist() == found.point_K.tolist()
        assert torch.equal(row_K, found.truth_K)
        assert torch.equal(classes, labels_G[found.truth_K].float())
        torch.testing.assert_close(score_K, found.score_K)


def test_predictions_are_not_changed() -> None:
    batch = crowded()
    before = direct(batch, O2F())
    labels, boxes, mask = padded(batch.truth, batch.images)
    CallAssigner(O2F())(
        batch.predictions.scores_BPC, batch.predictions.boxes_BP4, batch.grid.centers_P2, labels, boxes, mask
    )
    check_same(before, direct(batch, O2F()))
