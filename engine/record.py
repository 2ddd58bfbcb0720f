"""The preprocessing record of a run, which its checkpoints carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data.loader import PADDING_RGB
from detector.detector import IMAGENET_MEAN, IMAGENET_STD
from detector.summary import MULTIPLE
from inference.record import Normalization, Padding, Record, record_of_run


def run_record(config: Mapping[str, Any], classes: tuple[str, ...], category_ids: tuple[int, ...]) -> Record:
    """What `predict` needs to know of the detectors of this config.

    Args:
        config: the whole config of a run.
        classes, category_ids: of its data set.
    """
    padding = Padding(PADDING_RGB, MULTIPLE)
    return record_of_run(config, classes, category_ids, padding, Normalization(IMAGENET_MEAN, IMAGENET_STD))
