"""What must not change an assignment: dtype, batching, layout, autocast, gradient, progress, device."""

import pytest
import torch

from assigners import GroundTruth, PointGrid, Predictions
from tests.helpers.assigner_cases import CASES, GRID, crowded
from tests.helpers.assigner_check import check_same, check_wellformed, rows

each = pytest.mark.parametrize("name", CASES)


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_equal_float32_of_the_same_values(name: str, dtype: torch.dtype) -> None:
    batch = crowded(seed=3)
    scores, boxes = batch.predictions.scores_BPC.to(dtype), batch.predictions.boxes_BP4.to(dtype)
    low = CASES[name][0](GRID, Predictions(scores, boxes), batch.truth)
    high = CASES[name][0](GRID, Predictions(scores.float(), boxes.float()), batch.truth)
    assert len(low) > 0
    check_same(low, high)
    check_wellformed(low, GRID, batch.predictions, batch.truth)


@each
def test_batch_equals_each_image_alone(name: str) -> None:
    batch = crowded(images=5, count=25, seed=4)
    whole = CASES[name][0](GRID, batch.predictions, batch.truth)
    found = {}
    for image in range(batch.images):
        mine = batch.truth.image_G == image
        first = int((batch.truth.image_G < image).sum())
        truth = GroundTruth(
            batch.truth.boxes_G4[mine],
            batch.truth.labels_G[mine],
            torch.zeros(int(mine.sum()), dtype=torch.long),
        )
        part = slice(image, image + 1)
        predictions = Predictions(batch.predictions.scores_BPC[part], batch.predictions.boxes_BP4[part])
        alone = rows(CASES[name][0](GRID, predictions, truth))
        found |= {(image, p): (t + first, s, w) for (_, p), (t, s, w) in alone.items()}
    expected = rows(whole)
    assert {key: row[0] for key, row in found.items()} == {key: row[0] for key, row in expected.items()}
    for key, row in found.items():
        assert row[1:] == pytest.approx(expected[key][1:], rel=1e-6)


@each
@pytest.mark.parametrize("style", ["near", "coarse", "constant", "broken"])
def test_same_input_same_output_and_input_untouched(name: str, style: str) -> None:
    batch = crowded(style=style, seed=5)
    before = [batch.predictions.scores_BPC.clone(), batch.predictions.boxes_BP4.clone()]
    boxes_before = batch.truth.boxes_G4.clone()
    first = CASES[name][0](GRID, batch.predictions, batch.truth)
    check_same(first, CASES[name][0](GRID, batch.predictions, batch.truth))
    after = [batch.predictions.scores_BPC, batch.predictions.boxes_BP4]
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(after, before, strict=True))
    assert torch.equal(batch.truth.boxes_G4, boxes_before)


@each
def test_strided_input(name: str) -> None:
    """Heads permute (B, C, H, W), so scores and boxes often are not contiguous."""
    batch = crowded(seed=6)
    scores = batch.predictions.scores_BPC.transpose(1, 2).contiguous().transpose(1, 2)
    boxes = batch.predictions.boxes_BP4.transpose(1, 2).contiguous().transpose(1, 2)
    strided = CASES[name][0](GRID, Predictions(scores, boxes), batch.truth)
    check_same(strided, CASES[name][0](GRID, batch.predictions, batch.truth))


@each
def test_autocast_and_gradient_leave_no_trace(name: str) -> None:
    batch = crowded(seed=7)
    plain = CASES[name][0](GRID, batch.predictions, batch.truth)
    scores = batch.predictions.scores_BPC.clone().requires_grad_()
    boxes = batch.predictions.boxes_BP4.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = CASES[name][0](GRID, Predictions(scores, boxes), batch.truth)
    assert not cast.score_K.requires_grad
    assert not cast.weight_K.requires_grad
    check_same(plain, cast)


@each
def test_who_reads_progress(name: str) -> None:
    """O2F and its labels in their scores, Scheduled in everything, the others not at all."""
    batch = crowded(seed=8)
    start = CASES[name][0](GRID, batch.predictions, batch.truth)
    end = CASES[name][0](GRID, batch.predictions, batch.truth, progress=1.0)
    assert torch.equal(start.truth_K, end.truth_K) == (name != "tal-then-atss")
    assert torch.equal(start.score_K, end.score_K) == (name not in ("o2f", "tal-one-to-few", "tal-then-atss"))


@each
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_equals_cpu(name: str) -> None:
    batch = crowded(seed=9)
    here = CASES[name][0](GRID, batch.predictions, batch.truth)
    grid = PointGrid.for_image(64, 96, (8, 16, 32), device="cuda")
    moved = Predictions(batch.predictions.scores_BPC.cuda(), batch.predictions.boxes_BP4.cuda())
    there = CASES[name][0](grid, moved, batch.truth.to("cuda"))
    assert torch.equal(here.dense(3, len(GRID)), there.dense(3, len(GRID)).cpu())
    assert torch.allclose(here.score_K, there.score_K.cpu(), rtol=1e-5)
