"""Points that are neither positive nor background, because what they show is not annotated.

Shape legend: B images, P points, G regions of the whole batch, N ignored points.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from .pairs import points_inside
from .types import Assignment, GroundTruth, PointGrid


def ignore_inside(assignment: Assignment, grid: PointGrid, regions: GroundTruth, images: int) -> Assignment:
    """The same assignment, but background strictly inside a region has weight 0. Positives stay positive.

    Args:
        regions: boxes in which objects are not annotated one by one, as COCO's crowds; labels do not matter.
        images: how many images the batch has.
    """
    if len(regions) == 0:
        return assignment
    points = len(grid)
    boxes_G4 = regions.boxes_G4.float()
    pairs = points_inside(grid, boxes_G4)
    ignored_BP = torch.zeros(images, points, dtype=torch.bool, device=boxes_G4.device)
    ignored_BP.view(-1)[pairs.cells(regions, points)] = True
    ignored_BP[assignment.image_K, assignment.point_K] = False
    image_N, point_N = ignored_BP.nonzero(as_tuple=True)
    weight_N = assignment.weight_K.new_zeros(len(image_N))
    if len(assignment.image_N):  # what the assigner itself lists elsewhere
        kept_N = ~ignored_BP[assignment.image_N, assignment.point_N]
        image_N = torch.cat((assignment.image_N[kept_N], image_N))
        point_N = torch.cat((assignment.point_N[kept_N], point_N))
        weight_N = torch.cat((assignment.weight_N[kept_N], weight_N))
    return replace(assignment, image_N=image_N, point_N=point_N, weight_N=weight_N)
