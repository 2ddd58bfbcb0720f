"""Every key of the config: its default, its values, and what it means. A new key is one entry here.

`engine.config.compose` makes from it the base that the files of configs/ change, the check of a config, and
docs/config.md. The options of an assigner are not here: its class checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.config.values import (
    Kind,
    choice,
    factors,
    list_of,
    mapping,
    number,
    odd,
    one_or_list_of,
    or_null,
    probability,
    text,
    whole,
    yes_no,
)

NEEDED = "???"  # Hydra's mark for a value that must be given


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        default: its value where neither a file of configs/ nor the command line gives one, and what a run
            of an earlier version that lacks it is taken to have.
        kind: its values.
        help: what it means, in one line.
        free: it cannot change the result, so a run may be continued with another value.
        earlier: values that earlier versions wrote, and what they are called in this one.
    """

    default: Any
    kind: Kind
    help: str
    free: bool = False
    earlier: Mapping[Any, Any] = field(default_factory=dict)


def _named(sections: Mapping[str, Mapping[str, Key]]) -> dict[str, Key]:
    return {
        f"{section}.{name}" if section else name: key
        for section, keys in sections.items()
        for name, key in keys.items()
    }


KEYS = _named({
    "": {
        "name": Key("${setting}-${assigner.name}-seed${seed}", text, "name of the run directory"),
        "setting": Key("${data.name}-${model.name}", text, "the first part of `name`", free=True),
        "seed": Key(0, whole(0), "of the weights, the order of images and their augmentation"),
        "device": Key("auto", text, "auto (a GPU where there is one), cpu or cuda", free=True),
        "precision": Key("auto", choice("auto", "bf16", "float32"),
                         "of the network; auto: bf16 on a GPU that has it, and on a CPU that has it where no "
                         "convolution is depthwise; float32 elsewhere"),
        "runs_dir": Key("runs", text, "folder of the run directories", free=True),
        "predictors": Key(None, or_null(mapping),
                          "several predictors on one neck, by name: see configs/assigner/dual_tal.yaml"),
        "init": Key(None, or_null(text), "a checkpoint (last.pt or best.pt) whose weights start the run"),
        "overwrite": Key(False, yes_no, "replace a run of this name that is there", free=True),
        "max_steps": Key(None, or_null(whole(1)), "batches after which each epoch ends, for a dry run"),
    },
    "schedule": {
        "epochs": Key(12, whole(1), "passes over the training images"),
        "batch_size": Key(16, whole(1), "images of a batch, of all processes together"),
        "accumulate": Key(1, whole(1), "batches per optimizer step"),
        "optimizer": Key("sgd", choice("sgd", "adamw"), "of the weights"),
        "lr": Key(0.01, number(above=0), "learning rate after the warm-up"),
        "momentum": Key(0.9, number(least=0), "of sgd"),
        "weight_decay": Key(1.0e-4, number(least=0), "on all weights but norms and biases"),
        "warmup_steps": Key(500, whole(0), "steps in which the learning rate rises linearly"),
        "decay": Key("step", choice("cosine", "step"), "how the learning rate falls"),
        "decay_epochs": Key(None, or_null(whole(1)), "epochs in which a cosine falls to 0; null: `epochs`"),
        "milestones": Key([], list_of(whole(0)), "epochs at which `decay=step` divides the rate by ten"),
        "clip_norm": Key(None, or_null(number(above=0)), "largest norm of the gradients of a step"),
        "ema": Key(None, or_null(number(above=0)), "decay of the moving average that is evaluated"),
    },
    "data": {
        "name": Key(NEEDED, text, "the part of a run's name that tells the data"),
        "kind": Key(NEEDED, choice("shapes", "coco"), "drawn pictures, or files in COCO's format"),
        "short": Key(800, one_or_list_of(whole(1)),
                     "px of the shorter side in training; of a list, one is drawn for each image"),
        "long": Key(1333, whole(1), "px that the longer side never exceeds in training"),
        "square": Key(False, yes_no, "resize to squares of `short` px, all images of a step to one, and of "
                      "`eval_short` px; ratios are not kept and `long` has no effect"),
        "eval_short": Key(800, whole(1), "px of the shorter side in evaluation"),
        "eval_long": Key(1333, whole(1), "px that the longer side never exceeds in evaluation"),
        "flip": Key(0.5, probability, "of a horizontal flip"),
        "photometric": Key(False, choice(False, True, "strong", "distort"),
                           "true: colours vary a little; strong: as in SSD; distort: as in PaddleDetection"),
        "expand": Key(0.0, probability, "of a place on a larger canvas"),
        "crop": Key(0.0, probability, "of a crop around an object"),
        "scale_jitter": Key(None, or_null(factors),
                            "resize by such a factor and cut to a square of side `long`"),
        "mosaic": Key(0.0, probability, "of four images in one"),
        "mixup": Key(0.0, probability, "of a second image laid over"),
        "plain_epochs": Key(0, whole(0),
                            "last epochs without expand, crop, scale_jitter, mosaic and mixup"),
        "workers": Key(4, whole(0),
                       "processes that load images, for each training process; at most one per core",
                       free=True),
    },
    "model": {
        "name": Key(NEEDED, text, "the part of a run's name that tells the model"),
        "backbone.name": Key(NEEDED, text, "a network of timm"),
        "backbone.weights": Key(None, or_null(text), "imagenet (timm's hub), a file, or null: random"),
        "backbone.levels": Key([3, 4, 5], list_of(whole(1)), "feature levels; level n has stride 2^n"),
        "backbone.freeze_stages": Key(0, whole(0), "so many stages, and the stem, are not trained"),
        "backbone.freeze_norm": Key("none", choice("none", "statistics", "all"),
                                    "what batch norms keep: nothing, statistics, or scale and shift, too",
                                    earlier={False: "none", True: "all"}),
        "frozen": Key([], list_of(text), "parts that are not trained, such as [backbone,neck]"),
        "neck.kind": Key("fpn", choice("fpn", "csp_pan", "lc_pan"), "kind of feature pyramid"),
        "neck.channels": Key(256, whole(1), "of every feature level"),
        "head.kind": Key("fcos", choice("fcos", "pico", "task_aligned"), "kind of head"),
        "head.channels": Key(256, whole(1), "of the towers"),
        "head.convs": Key(4, whole(0), "convolutions of each tower"),
        "head.quality": Key("none", choice("none", "centerness", "implicit"),
                            "branch whose probability multiplies the class score"),
        "head.score": Key("product", choice("product", "geometric_mean"), "how class and quality combine"),
        "head.max_filter": Key(False, yes_no, "the implicit quality is DeFCN's 3D max filtering"),
    },
    "loss": {
        "classification": Key(NEEDED, choice("focal", "quality_focal", "varifocal", "soft_focal",
                                              "matchability"),
                              "loss of the class scores"),
        "normalizer": Key("positives", choice("positives", "scores", "truths"),
                          "what divides it: number of positives, sum of their scores, number of truths"),
        "box_weight": Key("one", choice("one", "score", "centerness", "weight"),
                          "weight of each positive in the box loss"),
        "cls_gain": Key(1.0, number(least=0), "factor of the classification loss"),
        "box_gain": Key(2.0, number(least=0), "factor of the box loss (GIoU)"),
        "quality_gain": Key(1.0, number(least=0), "factor of the centerness loss"),
        "dfl_gain": Key(0.25, number(least=0), "factor of the distribution focal loss (PicoDet's head)"),
        "first": Key(None, or_null(mapping),
                     "what differs while the progress of training, 0 to 1, is below first.until"),
    },
    "eval": {
        "every": Key(8, whole(1), "epochs between evaluations; the last epoch is always evaluated"),
        "batch_size": Key(16, whole(1), "images of each process", free=True),
        "metric": Key("nms_free", choice("nms", "nms_free"),
                      "which AP picks best.pt and is returned to a sweep"),
        "score_threshold": Key(0.05, number(least=0), "least score of a detection"),
        "candidates": Key(1000, whole(1), "detections that each feature level may contribute"),
        "limit": Key(100, whole(1), "detections per image"),
        "nms_iou": Key(0.6, number(least=0), "IoU above which NMS drops the lower score"),
        "peak_window": Key(None, or_null(odd(3)),
                           "without NMS, the best of the 3x3 (5x5) points around a local maximum counts"),
        "predictor": Key(None, or_null(text), "of several predictors the one of inference; null: the first"),
        "backend": Key("auto", choice("auto", "pycocotools", "hotcoco", "faster"),
                       "what computes AP, with the same numbers; auto: hotcoco where it is installed",
                       free=True),
    },
    "speed": {
        "compile": Key(False, yes_no, "torch.compile for the network; minutes at the start"),
        "tf32": Key("convolutions", choice("none", "convolutions", "all"),
                    "what a GPU computes in TensorFloat-32 where float32 is asked for"),
        "cudnn_benchmark": Key(False, yes_no, "a GPU searches the fastest convolution of each canvas size"),
        "fused": Key(False, yes_no, "on a GPU one kernel for the whole step of the optimizer, as on a CPU"),
        "recompute": Key(False, yes_no, "activations of the backbone are computed again, for memory"),
        "static_graph": Key(False, yes_no, "DDP plans for the same graph in every step; not with accumulate"),
        "sync_norm": Key(False, yes_no, "batch norms measure the images of all GPUs, as in PicoDet's recipe"),
    },
    "logger": {
        "wandb": Key(True, yes_no, "log to Weights & Biases beside metrics.jsonl", free=True),
        "project": Key("matchpoint", text, "of wandb", free=True),
        "group": Key(None, or_null(text), "of wandb: runs that may be compared", free=True),
    },
})  # fmt: skip

# Keys that only one kind of data, neck or head has. Their values stand in the YAML files of that kind.
ONLY: dict[tuple[str, str], dict[str, Key]] = {
    ("data.kind", "shapes"): {
        "data.images.train": Key(900, whole(1), "pictures of an epoch"),
        "data.images.val": Key(500, whole(1), "pictures of an evaluation"),
        "data.size": Key(160, whole(32), "px, square"),
        "data.crowd": Key(0.0, number(least=0, most=1),
                          "0: 1 to 8 shapes a picture; 1: clusters of 30 and more"),
    },
    ("data.kind", "coco"): {
        "data.root": Key(NEEDED, text, "folder that the other paths start from"),
        "data.train.images": Key("train2017", text, "folder of the training images"),
        "data.train.annotations": Key("annotations/instances_train2017.json", text, "a COCO-format file"),
        "data.val.images": Key("val2017", text, "folder of the validation images"),
        "data.val.annotations": Key("annotations/instances_val2017.json", text, "a COCO-format file"),
        "data.categories": Key("all", one_or_list_of(text),
                               "all, supercategory, one, or a list of names: the classes to distinguish"),
        "data.crowd_regions": Key("drop", choice("drop", "ignore"),
                                  "training: crowd boxes are background, or points inside are ignored"),
        "data.filter_empty": Key(False, yes_no, "training leaves out images without a box to learn from"),
        "data.cache": Key(None, or_null(choice("ram", "disk")),
                          "keeps decoded images: ram (of each training process) or disk (cache_dir)",
                          free=True),
        "data.draft": Key(False, yes_no, "decode JPEGs at 1/2, 1/4 or 1/8 where they shrink by more"),
        "data.cache_dir": Key("runs/.cache", or_null(text),
                              "for what is read once, such as large annotation files; null: read each time",
                              free=True),
    },
    ("model.neck.kind", "fpn"): {
        "model.neck.extra_levels": Key(2, whole(0), "coarser levels beyond those of the backbone"),
    },
    ("model.head.kind", "fcos"): {
        "model.head.distances": Key("exp", choice("exp", "relu"), "how distances are kept above 0"),
        "model.head.tower_bias": Key(False, yes_no, "biases in the towers, as in torchvision's FCOS"),
        "model.head.origin": Key("center", choice("center", "corner"), "where in its cell a point lies"),
    },
    ("model.head.kind", "pico"): {
        "model.head.reg_max": Key(7, whole(1), "largest distance to a side of a box, in strides"),
        "model.head.squeeze": Key(False, yes_no, "squeeze-and-excitation, as in PicoDet of 2022"),
    },
}  # fmt: skip

# The options of eval.py. Besides, the keys of data and eval are given by their own names.
EVAL_KEYS = {
    "run": Key(None, or_null(text), "a run directory"),
    "checkpoint": Key(None, or_null(text), "a checkpoint file; with `run` the default is its last.pt"),
    "out": Key(None, or_null(text), "folder of the results; default: the run directory, or FILE.eval/ "
               "where data, options or checkpoint are not the run's own"),
    "device": Key("auto", text, "auto (a GPU where there is one), cpu or cuda"),
    "precision": Key(None, or_null(choice("auto", "bf16", "float32")), "default: that of the run"),
}  # fmt: skip
