"""Label assignment for dense detectors: pure tensor code that needs torch and nothing else.

grid = PointGrid.for_image(640, 640, strides=(8, 16, 32, 64, 128))
positives = O2F()(grid, Predictions(scores_BPC, boxes_BP4), GroundTruth.from_list(images), progress=0.3)
"""

from assigners.atss import ATSS
from assigners.dsla import DSLA
from assigners.fcos import FCOS
from assigners.o2f import O2F
from assigners.poto import POTO
from assigners.relabel import OneToFewLabels
from assigners.scheduled import Scheduled
from assigners.simota import SimOTA
from assigners.task_aligned import TaskAligned
from assigners.types import Assignment, GroundTruth, PointGrid, Predictions

__all__ = [
    "ATSS",
    "DSLA",
    "FCOS",
    "O2F",
    "POTO",
    "Assignment",
    "GroundTruth",
    "OneToFewLabels",
    "PointGrid",
    "Predictions",
    "Scheduled",
    "SimOTA",
    "TaskAligned",
]
