"""torchvision's FCOS with random weights, converted, against the network it came from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection import FCOS, fcos_resnet50_fpn

from detector import load
from detector.decode import decode
from detector.detector import IMAGENET_MEAN, Detector
from detector.head.fcos import FcosHead
from detector.select import nms
from engine.evaluate import evaluate_checkpoint
from engine.run import checkpoint
from engine.setup import build_model
from errors import UsageError
from inference.record import read_record
from tools.import_weights.__main__ import main
from tools.import_weights.torchvision_fcos import WEIGHTS, convert

SIZES = ((200, 260), (96, 320), (333, 150))
NAMES = WEIGHTS.meta["categories"]
IDS = [index for index, name in enumerate(NAMES) if name not in ("__background__", "N/A")]


@pytest.fixture(scope="module")
def original() -> FCOS:
    """Norms and biases far from their initial values, and outputs that spread."""
    torch.manual_seed(0)
    model = fcos_resnet50_fpn(weights=None, weights_backbone=None).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)  # type: ignore[union-attr, operator]
            module.running_var.uniform_(0.8, 1.6)  # type: ignore[union-attr, operator]
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.4, 1.1)
            nn.init.normal_(module.bias, std=0.2)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.2)
    head = model.head
    for out, std, bias in (
        (head.classification_head.cls_logits, 0.05, -2.0),
        (head.regression_head.bbox_reg, 0.05, 2.0),
        (head.regression_head.bbox_ctrness, 0.02, 0.0),
    ):
        nn.init.normal_(out.weight, std=std)
        nn.init.normal_(out.bias, bias, 0.5)
    return model


@pytest.fixture(scope="module")
def file(original: FCOS, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint that the command writes."""
    folder = tmp_path_factory.mktemp("import")
    torch.save(original.state_dict(), folder / "theirs.pth")
    main(["torchvision:fcos_resnet50_fpn", f"file={folder / 'theirs.pth'}", f"out={folder / 'ours.pt'}"])
    return folder / "ours.pt"


@pytest.fixture(scope="module")
def ours(file: Path) -> Detector:
    state = checkpoint.load(file)
    config = OmegaConf.create(state["config"])
    assert isinstance(config, DictConfig)
    detector = build_model(config, len(state["classes"]))
    detector.load_state_dict(state["weights"])
    return detector.eval()


def _padded(image: Tensor) -> Tensor:
    """On a canvas of multiples of 32, with what is 0 once normalised."""
    height, width = image.shape[-2:]
    canvas = (
        torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1).repeat(1, 1, -(-height // 32) * 32, -(-width // 32) * 32)
    )
    canvas[0, :, :height, :width] = 255 * image
    return canvas


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_the_outputs_and_the_detections_are_the_same(
    original: FCOS, ours: Detector, size: tuple[int, int]
) -> None:
    # In float64: how far float32 convolutions round differs between CPUs.
    original, ours = original.double(), ours.double()
    torch.manual_seed(size[0])
    image = torch.rand(3, *size, dtype=torch.float64)
    original.transform.min_size, original.transform.max_size = (min(size),), max(size)
    images, _ = original.transform([image])
    features = list(original.backbone(images.tensors).values())
    theirs = original.head(features)
    assert isinstance(ours.head, FcosHead)
    ours.head.origin = "center"
    outputs = ours(_padded(image))
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(outputs.logits_BPC, theirs["cls_logits"][..., IDS], **close)
    strides_BP4 = outputs.distances_BP4 / outputs.grid.stride_P[:, None]
    torch.testing.assert_close(strides_BP4, theirs["bbox_regression"], **close)
    assert outputs.quality_BP is not None
    torch.testing.assert_close(outputs.quality_BP, theirs["bbox_ctrness"][..., 0], **close)
    assert (strides_BP4 == 0).any()

    ours.head.origin = "corner"
    outputs = ours(_padded(image))
    predictions = decode(outputs)
    best = predictions.scores_BPC.flatten().sort(descending=True).values
    # A threshold in a wide gap, so that rounding does not decide.
    gap = int((best[300:400] - best[301:401]).argmax()) + 300
    original.score_thresh = float(best[gap : gap + 2].mean())
    original.detections_per_img = 10_000
    found = original([image])[0]
    kept = torch.isin(found["labels"], torch.tensor(IDS))
    kept &= (found["boxes"][:, 2:] > found["boxes"][:, :2]).all(dim=1)  # it keeps boxes without extent
    expected = {key: value[kept][:100] for key, value in found.items()}
    got = nms(predictions, outputs.grid, original.score_thresh, iou=0.6, size_B2=torch.tensor([size]))[0]
    assert len(got) == len(expected["labels"]) > 20
    assert torch.tensor(IDS)[got.labels_N].tolist() == expected["labels"].tolist()
    torch.testing.assert_close(got.scores_N, expected["scores"], **close)
    torch.testing.assert_close(got.boxes_N4, expected["boxes"], rtol=1e-5, atol=1e-3)


def test_eval_reads_the_checkpoint(file: Path, composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    """On two images in COCO's format and with its 80 categories, under their ids."""
    (tmp_path / "val2017").mkdir()
    (tmp_path / "annotations").mkdir()
    for index in (1, 2):
        Image.new("RGB", (64, 48), (90 * index, 80, 60)).save(tmp_path / "val2017" / f"{index}.png")
    truth = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in (1, 2)],
        "categories": [{"id": i, "name": NAMES[i]} for i in IDS],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 90, "bbox": [8, 8, 20, 20], "area": 400, "iscrowd": 0}
        ],
    }
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(truth))
    words = ("data=coco", f"data.root={tmp_path}", "data.eval_short=48", "data.workers=0", "device=cpu")
    evaluate_checkpoint(composed(f"checkpoint={file}", f"out={tmp_path / 'out'}", *words, name="eval"))
    rows = json.loads((tmp_path / "out" / "predictions_nms.json").read_text())
    assert {row["category_id"] for row in rows} <= set(IDS)
    assert json.loads((tmp_path / "out" / "eval.json").read_text())["images"] == 2


def test_the_checkpoint_describes_its_inference(file: Path) -> None:
    record = read_record(checkpoint.load(file)["record"], file)
    assert (record.category_ids, record.classes) == (tuple(IDS), tuple(NAMES[i] for i in IDS))
    assert (record.selection.default, record.selection.score) == ("nms", 0.2)
    load(file)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing: name one source, of torchvision:fcos_resnet50_fpn"),
        (["torchvision:ssd"], "torchvision:ssd: "),
    ],
)
def test_unknown_sources(words: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main([*words, "out=x.pt"])


def test_weights_of_another_network(original: FCOS, tmp_path: Path) -> None:
    state = dict(original.state_dict())
    state["backbone.body.layer9.weight"] = state.pop("backbone.body.conv1.weight")
    torch.save(state, tmp_path / "other.pth")
    words = ["torchvision:fcos_resnet50_fpn", f"file={tmp_path / 'other.pth'}", f"out={tmp_path / 'x.pt'}"]
    with pytest.raises(SystemExit, match=r"missing backbone\.features\.conv1\.weight"):
        main(words)
    assert not (tmp_path / "x.pt").exists()
    classes = "head.classification_head.cls_logits.bias"
    torch.save(state | {classes: state[classes][:5]}, tmp_path / "few.pth")
    with pytest.raises(UsageError, match="has 91 class outputs, this file has 5"):
        convert(tmp_path / "few.pth")


def test_without_network_the_message_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(UsageError, match=r"no route to host.*file=FILE"):
        convert(None)
