"""A training step of YOLOX on ten images, with its own SimOTA and with ours."""

import copy

import pytest
import torch
from torch import Tensor

yolox = pytest.importorskip("yolox.models")

from adapters.yolox import plug  # noqa: E402
from assigners import ATSS, O2F, SimOTA  # noqa: E402
from tests.helpers.peer_pictures import pictures  # noqa: E402


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    backbone = yolox.YOLOPAFPN(0.33, 0.125)
    network = yolox.YOLOX(backbone, yolox.YOLOXHead(4, 0.125))
    network.head.initialize_biases(1e-2)
    for layer in network.head.reg_preds:
        layer.bias.data[2:] = 1.2  # boxes of 3 strides, so that some truths have a dynamic k above 1
    return network.train()


def batch() -> tuple[Tensor, Tensor]:
    """Images, and truths as (class, centre x, y, width, height), padded with zeros."""
    images, truths = pictures()
    labels = torch.zeros(len(images), 5, 5)
    for image, (boxes_N4, labels_N) in enumerate(truths):
        size_N2, center_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2], (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2
        labels[image, : len(labels_N)] = torch.cat((labels_N[:, None].float(), center_N2, size_N2), 1)
    return 255 * images, labels


def test_a_step_equals_that_with_its_own_simota() -> None:
    """Truths of 24 px and more: each has k proper candidates, so that the two definitions agree."""
    own = model()
    plugged = copy.deepcopy(own)
    plug(plugged.head, SimOTA())
    expected, found = own(*batch()), plugged(*batch())
    assert found.keys() == expected.keys()
    assert found["num_fg"] == expected["num_fg"] > 1
    for name in ("total_loss", "iou_loss", "conf_loss", "cls_loss"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)
    found["total_loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in plugged.parameters())


@pytest.mark.parametrize("assigner", [ATSS(score="iou"), O2F()], ids=["atss", "o2f"])
def test_other_assigners_train_it(assigner: ATSS | O2F) -> None:
    network = model()
    plug(network.head, assigner)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    values = []
    for _ in range(6):
        loss = network(*batch())["total_loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss))
    assert values[-1] < values[0], values
