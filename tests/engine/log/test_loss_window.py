from __future__ import annotations

import math

import pytest
import torch

from engine.log.loss_window import LossWindow, is_lost


def test_the_mean_is_that_of_all_batches_since_the_last_clear() -> None:
    window = LossWindow()
    for cls, box in ((1.0, 10.0), (2.0, 20.0), (6.0, 60.0)):
        window.add({"cls": torch.tensor(cls, requires_grad=True), "box": torch.tensor(box)})
    assert window.means() == pytest.approx({"cls": 3.0, "box": 30.0})
    assert window.means() == pytest.approx({"cls": 3.0, "box": 30.0})  # reading changes nothing
    window.clear()
    assert window.means() == {}
    window.add({"cls": torch.tensor(4.0), "box": torch.tensor(5.0)})
    assert window.means() == {"cls": 4.0, "box": 5.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_lost_batch_is_noticed_by_the_mean(bad: float) -> None:
    window = LossWindow()
    for value in (1.0, bad, 1.0):
        window.add({"cls": torch.tensor(value), "box": torch.tensor(1.0)})
    assert is_lost(window.means())
    assert not is_lost({"cls": 1.0})
    assert not is_lost({})
