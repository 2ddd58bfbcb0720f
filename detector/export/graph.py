"""A detector as one graph from uint8 images to detections, made to be exported.

Shape legend: B images, H and W of the network input, P points of all levels, C classes, N detections of an
image, V values.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from assigners.core.types import PointGrid
from detector.decode import Decoded, decode
from detector.detector import Detector
from detector.peaks import keep_peaks
from inference.record import Record


class DetectionGraph(nn.Module):
    """Images to detections without a shape that depends on values: every tensor's size follows from B, H, W.

    Unlike `Detector`, it derives the points from the sizes of the feature maps, uses no in-place operation
    and no memory format, which exporters would have to undo.

    Args:
        network: is copied.
        record: holds the score threshold and the limits of the selection.
        cut: where the graph ends. "raw": boxes and scores of all points; "topk": the NMS-free selection of
            `detector.select`; "nms": the candidates of NMS, which `onnx_nms` adds to an ONNX file.

    Attributes:
        applies_threshold: whether the graph itself leaves out what scores below the record's threshold.
    """

    applies_threshold: bool

    def __init__(self, network: Detector, record: Record, cut: str) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu().eval()
        self.selection, self.cut = record.selection, cut
        head: Any = network.get_submodule(network.inference)
        self.applies_threshold = bool(cut == "nms" or head.scoring.class_threshold)
        for module in self.network.modules():
            if hasattr(module, "inplace"):
                module.inplace = False  # type: ignore[assignment]

    def forward(self, images_B3HW: Tensor, size_B2: Tensor | None = None) -> tuple[Tensor, ...]:
        """Detects in uint8 RGB images whose sides are multiples of the record's padding.

        Args:
            size_B2: int64, height and width of each image inside the padding; None: there is no padding.

        Returns:
            "raw": boxes (B, P, 4) and scores (B, P, C). "nms": the same, boxes clipped to the image and
            scores that do not take part 0. "topk": boxes (B, N, 4), scores (B, N), best first, and labels
            (B, N) int64, N the limit; scores are 0 where there are fewer detections. Boxes are float32 xyxy
            in pixels of the input.
        """
        predictions, grid = self._predictions(images_B3HW)
        boxes_BP4, scores_BPC = predictions.boxes_BP4, self._thresholded(predictions)
        if self.cut == "raw":
            return boxes_BP4, scores_BPC
        most_B2 = torch.tensor([images_B3HW.shape[2:]], dtype=torch.float32)
        if size_B2 is not None:
            most_B2 = torch.minimum(most_B2, size_B2.float())
        boxes_BP4 = torch.minimum(boxes_BP4.clamp(min=0), most_B2.flip(1).repeat(1, 2).unsqueeze(1))
        scores_BPC = scores_BPC * (boxes_BP4[..., 2:] > boxes_BP4[..., :2]).all(dim=-1, keepdim=True)
        if self.cut == "nms":
            return boxes_BP4, self._best_of_levels(scores_BPC, grid)
        return _best(boxes_BP4, scores_BPC, self.selection.limit)

    def _predictions(self, images_B3HW: Tensor) -> tuple[Decoded, PointGrid]:
        network = self.network
        features = network.neck(network.backbone((images_B3HW.float() - network.mean) * network.inverse_std))
        shapes = [(feature.shape[2], feature.shape[3]) for feature in features]
        grid = PointGrid.for_maps(shapes, network.strides, images_B3HW.shape[2], images_B3HW.shape[3])
        predictions = decode(network.head_outputs(features, grid))
        return keep_peaks(predictions, grid) if self.cut == "topk" else predictions, grid

    def _thresholded(self, predictions: Decoded) -> Tensor:
        """The scores, 0 where they are below a threshold that the reader of the outputs cannot apply."""
        scores_BPC = predictions.scores_BPC
        if not self.applies_threshold:
            return scores_BPC
        least: float | Tensor = self.selection.score
        if predictions.quality_BP is not None:
            least = least * predictions.quality_BP.unsqueeze(-1)
        return scores_BPC * (scores_BPC > least)

    def _best_of_levels(self, scores_BPC: Tensor, grid: PointGrid) -> Tensor:
        """The scores, 0 below the last of the best `candidates` of their level."""
        kept = []
        for part in grid.level_slices:
            level_BPC = scores_BPC[:, part]
            padded_BV = pad(level_BPC.flatten(1), (0, self.selection.candidates))
            least_B11 = padded_BV.topk(self.selection.candidates).values[:, -1, None, None]
            kept.append(torch.where(level_BPC >= least_B11, level_BPC, 0.0))
        return torch.cat(kept, dim=1)


def _best(boxes_BP4: Tensor, scores_BPC: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `limit` best (point, class) pairs of each image: boxes, scores and labels.

    One top-k over all levels gives what the best `candidates` of each level would, since those are more than
    the limit. Zeros behind the last point make its size fixed for images of few points.
    """
    classes, points = scores_BPC.shape[2], scores_BPC.shape[1]
    scores_BN, index_BN = pad(scores_BPC.flatten(1), (0, limit)).topk(limit)
    point_BN = torch.div(index_BN, classes, rounding_mode="floor").clamp(max=points - 1)
    boxes_BN4 = boxes_BP4.gather(1, point_BN.unsqueeze(-1).expand(-1, -1, 4))
    return boxes_BN4, scores_BN, index_BN % classes
