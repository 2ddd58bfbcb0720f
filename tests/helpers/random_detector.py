"""Checkpoints of detectors that were never trained, but whose scores are spread as those of trained ones."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from data.loader import collate
from data.sample import DetectionDataset
from detector.detector import Detector
from engine.record import for_inference
from engine.run import checkpoint
from engine.setup import build_model


def random_detector(config: DictConfig, dataset: DetectionDataset, seed: int = 0) -> Detector:
    """A network with random weights and norms: about some pairs of point and class score above 0.3."""
    torch.manual_seed(seed)
    network = build_model(config, len(dataset.class_names)).eval()
    outputs = [module for name, module in network.named_modules() if name.split(".")[-1] == "class_out"]
    outputs += [module for name, module in network.named_modules() if ".class_outs." in name]
    images = collate([dataset[row] for row in range(min(4, len(dataset)))]).images_B3HW
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d | nn.GroupNorm)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(2.0, 0.1)  # nearly linear: random networks amplify rounding
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = 1.0
        for name, parameter in network.named_parameters():
            if "box_out" in name and name.endswith("weight"):
                parameter.sub_(parameter.mean(dim=1, keepdim=True)).mul_(10)
        network.train()(images)  # the statistics of these images keep the signal from fading
        logits_BPC = network.eval()(images).logits_BPC
        for module in outputs:
            module.weight.mul_(1.5 / logits_BPC.std())  # type: ignore[operator, union-attr]
            nn.init.constant_(module.bias, -3.0)  # type: ignore[arg-type]
    return network


def random_checkpoint(config: DictConfig, dataset: DetectionDataset, path: Path, seed: int = 0) -> Path:
    """The same as a checkpoint file with its record."""
    state = {
        "config": OmegaConf.to_container(config, resolve=True),
        "classes": list(dataset.class_names),
        "epoch": 0,
        "weights": random_detector(config, dataset, seed).state_dict(),
    }
    checkpoint.save(path, state | for_inference(config, dataset.class_names, dataset.category_ids))
    return path
