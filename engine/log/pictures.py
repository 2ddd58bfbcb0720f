"""Pictures of predictions: the truth beside what the detector finds without NMS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize
from torchvision.utils import draw_bounding_boxes, make_grid

from data.loader import collate
from data.sample import DetectionDataset
from detector.decode import decode
from detector.select import topk

TILE = 320  # px, the longer side of each picture
SHOWN_SCORE = 0.3
COLORS = ("#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c")


@torch.inference_mode()
def draw_predictions(
    model: nn.Module, dataset: DetectionDataset, path: Path, device: torch.device, count: int = 6
) -> None:
    """Draws the first `count` images: the truth above, NMS-free detections of score >= 0.3 below."""
    samples = [dataset[index] for index in range(min(count, len(dataset)))]
    truths, found = [], []
    was_training = model.training
    model.eval()
    for sample in samples:
        # One by one: a batch would need one canvas for images of all shapes.
        outputs = model(collate([sample]).images_B3HW.to(device))
        detections = topk(decode(outputs), outputs.grid, score_threshold=SHOWN_SCORE)[0]
        detections = detections[detections.scores_N > SHOWN_SCORE]  # the threshold may act on the class alone
        truths.append(_tile(sample.image, sample.boxes_N4, sample.labels_N, dataset.class_names))
        found.append(
            _tile(sample.image, detections.boxes_N4.cpu(), detections.labels_N.cpu(), dataset.class_names)
        )
    model.train(was_training)
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = make_grid(torch.stack(truths + found), nrow=len(samples), padding=4, pad_value=255)
    Image.fromarray(grid.permute(1, 2, 0).numpy()).save(path)


def _tile(image: Tensor, boxes_N4: Tensor, labels_N: Tensor, names: Sequence[str]) -> Tensor:
    height, width = image.shape[-2:]
    scale = TILE / max(height, width)
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    canvas = torch.full((3, TILE, TILE), 255, dtype=torch.uint8)
    picture = resize(image, size, antialias=True)
    boxes_N4 = (boxes_N4 * scale).clamp(min=0)
    boxes_N4[:, 0::2].clamp_(max=size[1] - 1)
    boxes_N4[:, 1::2].clamp_(max=size[0] - 1)
    keep_N = ((boxes_N4[:, 2:] - boxes_N4[:, :2]) > 0).all(1)
    labels = labels_N[keep_N].tolist()
    if labels:
        colors = [COLORS[label % len(COLORS)] for label in labels]
        picture = draw_bounding_boxes(picture, boxes_N4[keep_N], [names[i] for i in labels], colors, width=2)
    canvas[:, : size[0], : size[1]] = picture
    return canvas
