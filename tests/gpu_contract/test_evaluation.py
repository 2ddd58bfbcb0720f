"""The evaluation of a batch as a GPU would run it: where it waits, and that it detects the same."""

import numpy as np
import pytest
import torch

from engine.config.compose import compose_config
from engine.evaluator import Evaluator
from tests.gpu_contract.device import CUDA, Contract, on_device
from tests.gpu_contract.steps import batch, detector, words


class Images:
    """What `Evaluator` asks of a data set, for the batches of `steps`."""

    category_ids = (1, 2, 3)

    def __len__(self) -> int:
        return 3

    def coco_json(self) -> dict[str, object]:
        return {
            "images": [{"id": place, "width": 64, "height": 64} for place in range(3)],
            "categories": [{"id": own, "name": str(own)} for own in self.category_ids],
            "annotations": [],
        }


def detect(assigner: str, device: torch.device, window: int | None) -> tuple[dict[str, np.ndarray], Contract]:
    """The rows of each predictor and selection, and what was counted."""
    config = compose_config(*words(assigner), "eval.score_threshold=0.001")
    model = detector(config).eval()
    model.peak_window = window
    if device == CUDA:
        on_device(model)
    evaluator = Evaluator(Images(), [], config.eval, device)  # type: ignore[arg-type]
    # Its inference mode is taken off: tensors of a class of one's own have no views in it.
    inner = Evaluator._detect.__wrapped__  # type: ignore[attr-defined]
    with Contract() as contract, torch.no_grad():
        found = evaluator._rows(batch(), inner(evaluator, model, batch()))
    return {"/".join(key): rows for key, rows in found.items()}, contract


@pytest.mark.parametrize("assigner", ["o2f", "tal", "dual_o2f", "tood"])
@pytest.mark.parametrize("window", [None, 3, 5])
def test_the_detections_are_those_of_the_cpu(assigner: str, window: int | None) -> None:
    found, contract = detect(assigner, CUDA, window)
    expected, _ = detect(assigner, torch.device("cpu"), window)
    assert found.keys() == expected.keys()
    for key, rows_D7 in expected.items():
        assert len(rows_D7), key
        np.testing.assert_allclose(found[key], rows_D7, rtol=1e-5, atol=1e-4, err_msg=key)
    # Everything that was found reaches the host in one copy; torchvision's NMS waits once for each image.
    predictors = len(found) // 2
    assert contract.waits.pop("cpu") == 1
    assert contract.waits.pop("nms") == predictors * len(batch())
    assert contract.waits.total() <= 7 * predictors * (1 if window is None else 2)
