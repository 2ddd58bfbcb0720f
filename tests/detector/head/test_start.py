"""What untrained heads predict: exactly where the features are zero, and nearly so elsewhere."""

from collections.abc import Callable

import pytest
import torch

from assigners.core.types import PointGrid
from detector.detector import Head
from detector.head.fcos import FcosHead
from detector.head.pico import PicoHead
from detector.outputs import QUALITIES

GRID = PointGrid.for_image(48, 80, (8, 16))


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(
    ("make", "options", "strides"),
    [(FcosHead, {"distances": "exp"}, 8.0), (FcosHead, {"distances": "relu"}, 8.0), (PicoHead, {}, 7.0)],
)
def test_start(make: Callable[..., Head], options: dict[str, str], strides: float, quality: str) -> None:
    """A class probability of 0.01, a quality of 0.5, and boxes of 8 strides, or of 7 for distributions."""
    torch.manual_seed(0)
    head = make(8, 3, 2, channels=16, convs=1, quality=quality, **options)
    for scale, tolerance in ((0.0, 1e-5), (1.0, 0.5)):
        outputs = head([scale * torch.randn(2, 8, *shape) for shape in GRID.shapes], GRID)
        assert outputs.logits_BPC.shape == (2, len(GRID), 3)
        assert outputs.distances_BP4.shape == (2, len(GRID), 4)
        p = outputs.logits_BPC.sigmoid()
        torch.testing.assert_close(p, torch.full_like(p, 0.01), rtol=tolerance, atol=0)
        side = outputs.distances_BP4[..., ::2].sum(-1) / GRID.stride_P
        torch.testing.assert_close(side, torch.full_like(side, strides), rtol=tolerance, atol=0)
        assert (outputs.quality_BP is None) == (quality == "none")
        if outputs.quality_BP is not None:
            q = outputs.quality_BP.sigmoid()
            torch.testing.assert_close(q, torch.full_like(q, 0.5), rtol=tolerance, atol=0)
