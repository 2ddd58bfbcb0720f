"""What a checkpoint carries for inference: the network's description and the preprocessing record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from data.loader import PADDING_RGB
from detector.detector import IMAGENET_MEAN, IMAGENET_STD
from detector.summary import MULTIPLE
from engine.predictors import head_options
from inference.record import Normalization, Padding, record_of_run


def for_inference(config: DictConfig, classes: Sequence[str], category_ids: Sequence[int]) -> dict[str, Any]:
    """The entries "record" and "network" of the checkpoints of a run; `detector.load` reads them.

    Args:
        config: the whole config of the run.
        classes, category_ids: of its data set.
    """
    padding, normalization = Padding(PADDING_RGB, MULTIPLE), Normalization(IMAGENET_MEAN, IMAGENET_STD)
    record = record_of_run(config, tuple(classes), tuple(category_ids), padding, normalization)
    network = {
        "model": OmegaConf.to_container(config.model, resolve=True),
        "predictors": head_options(config),
        "inference": config.eval.predictor,
        "peak_window": config.eval.peak_window,
    }
    return {"record": record.plain(), "network": network}
