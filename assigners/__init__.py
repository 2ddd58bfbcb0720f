"""Label assignment for dense detectors: pure tensor code that needs torch and nothing else.

grid = PointGrid.for_image(640, 640, strides=(8, 16, 32, 64, 128))
positives = O2F()(grid, Predictions(scores_BPC, boxes_BP4), GroundTruth.from_list(images), progress=0.3)
"""

from .atss import ATSS
from .core.ignore import ignore_inside
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions
from .dsla import DSLA
from .dw import DualWeighting
from .fcos import FCOS
from .hungarian import Hungarian
from .max_iou import MaxIoU
from .o2f import O2F
from .poto import POTO
from .quality_atss import QualityATSS
from .relabel import OneToFewLabels
from .rfla import RFLA
from .scheduled import Scheduled
from .simota import SimOTA
from .task_aligned import TaskAligned

__all__ = [
    "ATSS",
    "DSLA",
    "FCOS",
    "O2F",
    "POTO",
    "RFLA",
    "Assigner",
    "Assignment",
    "DualWeighting",
    "GroundTruth",
    "Hungarian",
    "MaxIoU",
    "OneToFewLabels",
    "PointGrid",
    "Predictions",
    "QualityATSS",
    "Scheduled",
    "SimOTA",
    "TaskAligned",
    "ignore_inside",
]
