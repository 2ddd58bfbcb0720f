"""Non-maximum suppression as ONNX nodes behind a graph of boxes and scores.

Shape legend: B images, P points, C classes, N detections of an image.
"""

from __future__ import annotations

from typing import Any

import onnx

from inference.record import Selection

# NonMaxSuppression names (image, class, point) of what is left. Scores of all else become 0, and the best of
# them are taken as in `detector.export.graph`.
NODES = """
nms (float[B,P,4] boxes_in, float[B,P,C] scores_in)
 => (float[B,{limit},4] boxes, float[B,{limit}] scores, int64[B,{limit}] labels)
<int64[1] limit = {{{limit}}}, float[1] iou = {{{iou}}}, float[1] least = {{0.0}}, float zero = {{0.0}},
 int64[2] rows = {{0,-1}}, int64[4] behind = {{0,0,0,{limit}}}, int64[1] one = {{1}}, int64[1] two = {{2}},
 int64[1] three = {{3}}, int64[1] last = {{2}}>
{{
  by_class = Transpose<perm=[0,2,1]>(scores_in)
  kept = NonMaxSuppression(boxes_in, by_class, limit, iou, least)
  score = GatherND(by_class, kept)
  zeros = Mul(by_class, zero)
  left = ScatterND(zeros, kept, score)
  by_point = Transpose<perm=[0,2,1]>(left)
  flat = Reshape(by_point, rows)
  padded = Pad(flat, behind)
  scores, index = TopK<axis=1>(padded, limit)
  shape = Shape(scores_in)
  points = Slice(shape, one, two)
  classes = Slice(shape, last, three)
  labels = Mod(index, classes)
  place = Div(index, classes)
  final = Sub(points, one)
  point = Min(place, final)
  column = Unsqueeze(point, last)
  four = Constant<value = int64[3] {{1,1,4}}>()
  wide = Expand(column, four)
  boxes = GatherElements<axis=1>(boxes_in, wide)
}}
"""


def nms_model(selection: Selection, **versions: Any) -> onnx.ModelProto:
    """NMS alone, from "boxes_in" (B, P, 4) and "scores_in" (B, P, C).

    Args:
        versions: of the operators and the format, as onnx.helper.make_model takes them.

    Returns:
        A model with the outputs boxes (B, N, 4), scores (B, N), best first, and labels (B, N); N is the
        limit, and scores are 0 where there are fewer detections.
    """
    text = NODES.format(limit=selection.limit, iou=selection.nms_iou)
    return onnx.helper.make_model(onnx.parser.parse_graph(text), **versions)


def with_nms(model: onnx.ModelProto, selection: Selection) -> onnx.ModelProto:
    """The model, whose outputs are "boxes" (B, P, 4) and "scores" (B, P, C), followed by `nms_model`."""
    behind = nms_model(selection, opset_imports=model.opset_import, ir_version=model.ir_version)
    # The names of the first part's outputs are those of the second part's.
    first = onnx.compose.add_prefix(model, "network.", rename_inputs=False)
    return onnx.compose.merge_models(
        first, behind, io_map=[("network.boxes", "boxes_in"), ("network.scores", "scores_in")]
    )
