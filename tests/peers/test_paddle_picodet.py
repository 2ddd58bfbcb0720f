"""PaddleDetection's PicoDet and PP-LCNet with random weights, imported: the same outputs to 1e-4."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from detector.backbone.backbone import Backbone
from detector.backbone.paddle_file import read_arrays
from detector.decode import decode
from detector.detector import build_detector
from tests.helpers.tiny_run import ROOT
from tools.import_weights.paddle_picodet import own_weights

paddle = pytest.importorskip("paddle")
pytest.importorskip("ppdet")
from ppdet.modeling.backbones.lcnet import LCNet  # noqa: E402
from ppdet.modeling.heads.pico_head import PicoFeat, PicoHeadV2  # noqa: E402
from ppdet.modeling.necks.lc_pan import LCPAN  # noqa: E402


def _randomised(module: Any) -> Any:
    """Norms with statistics, scales and shifts of their own: those of a fresh network hide a mistake."""
    random = np.random.default_rng(0)
    for name, value in module.state_dict().items():
        if name.endswith("project"):  # the values of a distance, 0 to 7
            continue
        if name.endswith(("_mean", "bias")):
            value.set_value(value.numpy() + random.normal(0, 0.1, value.shape).astype("float32"))
        elif name.endswith("_variance") or value.ndim == 1:
            value.set_value(random.uniform(0.5, 2.0, value.shape).astype("float32"))
    module.eval()
    return module


class _PicoDet(paddle.nn.Layer):  # type: ignore[name-defined, misc]
    def __init__(self, scale: float, width: int, convs: int) -> None:
        super().__init__()
        self.backbone = LCNet(scale=scale, feature_maps=[3, 4, 5])
        self.neck = LCPAN(
            self.backbone._out_channels, width, num_features=4, spatial_scales=[0.125, 0.0625, 0.03125]
        )
        loss = type("Loss", (), {"use_sigmoid": False})()
        self.head = PicoHeadV2(
            PicoFeat(width, width, 4, convs, "bn", True, "hard_swish", True), num_classes=80,
            fpn_stride=[8, 16, 32, 64], loss_class=loss, loss_dfl=None, loss_bbox=None, static_assigner=None,
            assigner=None, reg_max=7, feat_in_chan=width, cell_offset=0.5,
        )  # fmt: skip

    def forward(self, images: Any) -> Any:
        return self.head(self.neck(self.backbone({"image": images})))


@pytest.mark.parametrize(
    ("name", "scale", "width", "convs", "size"),
    [("s", 0.75, 96, 2, (256, 416)), ("m", 1.5, 128, 4, (192, 192)), ("l", 2.0, 160, 4, (320, 320))],
)
def test_picodet(
    name: str, scale: float, width: int, convs: int, size: tuple[int, int], tmp_path: Path
) -> None:
    paddle.seed(0)
    theirs = _randomised(_PicoDet(scale, width, convs))
    paddle.save(theirs.state_dict(), str(tmp_path / "picodet.pdparams"))
    config: Any = OmegaConf.to_container(OmegaConf.load(ROOT / f"configs/model/picodet_{name}.yaml"))
    config["head"] |= {"quality": "implicit", "score": "geometric_mean"}
    ours = build_detector(config, 80).eval()
    weights = own_weights(read_arrays(tmp_path / "picodet.pdparams"))
    lacking, unknown = ours.load_state_dict(weights, strict=False)
    assert not unknown
    assert all(key.endswith("num_batches_tracked") for key in lacking)
    images_B3HW = torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        found = decode(ours(images_B3HW))
        normalised = (images_B3HW - ours.mean) * ours.inverse_std
    scores, boxes = theirs(paddle.to_tensor(normalised.numpy()))
    scores_BPC = torch.from_numpy(scores.numpy()).transpose(1, 2)
    torch.testing.assert_close(found.scores_BPC, scores_BPC, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.boxes_BP4, torch.from_numpy(boxes.numpy()), atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize(("name", "scale"), [("lcnet_150", 1.5), ("lcnet_200", 2.0)])
def test_backbone(name: str, scale: float, tmp_path: Path) -> None:
    theirs = _randomised(LCNet(scale=scale, feature_maps=[3, 4, 5]))
    paddle.save(theirs.state_dict(), str(tmp_path / "lcnet.pdparams"))
    ours: nn.Module = Backbone(name, (3, 4, 5), weights=str(tmp_path / "lcnet.pdparams")).eval()
    images_B3HW = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = ours(images_B3HW)
    for map_, expected in zip(found, theirs({"image": paddle.to_tensor(images_B3HW.numpy())}), strict=True):
        expected = torch.from_numpy(expected.numpy())
        assert (map_ - expected).abs().max() < 1e-4 * expected.abs().max()
