"""Makes a checkpoint of the weights of another project: python -m tools.import_weights SOURCE out=FILE

    python -m tools.import_weights torchvision:fcos_resnet50_fpn out=fcos.pt
    python eval.py checkpoint=fcos.pt data=coco data.root=DIR

eval.py evaluates it, and train.py starts from it with init=FILE and the model that the import names.
docs/models.md lists the sources.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from omegaconf import OmegaConf

from command_line import option, run
from detector.detector import build_detector
from engine.config.compose import compose_config
from engine.record import for_inference
from engine.run import checkpoint
from errors import UsageError
from tools.import_weights import paddle_picodet, torchvision_fcos
from tools.import_weights.converted import Converted

SOURCES: dict[str, Callable[[Path | None], Converted]] = {
    "torchvision:fcos_resnet50_fpn": torchvision_fcos.convert,
    **{
        f"paddle:picodet_{size}_{side}": partial(paddle_picodet.convert, size=size, side=side)
        for size in "sml"
        for side in (320, 416)
    },
}


@dataclass
class Options:
    """What the command line can set."""

    source: list[str] = option(words=True, help=f"whose weights, of {', '.join(SOURCES)}")
    out: str = option(help="the checkpoint to write")
    file: str | None = option(None, help="the weights, already here; default: they are downloaded")

    def __post_init__(self) -> None:
        if len(self.source) != 1 or self.source[0] not in SOURCES:
            given = " ".join(self.source) or "nothing"
            raise UsageError(f"{given}: name one source, of {', '.join(SOURCES)}")


def main(words: Sequence[str] | None = None) -> None:
    """Imports what the command line names."""
    run(Options, import_weights, __doc__, words)


def import_weights(options: Options) -> None:
    """Writes the checkpoint and says how to evaluate it.

    Raises:
        UsageError: if the weights cannot be had, are of another network, or `out` cannot be written.
    """
    converted = SOURCES[options.source[0]](None if options.file is None else Path(options.file))
    out = Path(options.out)
    write(converted, out)
    print(
        f"{out}: {len(converted.categories)} classes; python eval.py checkpoint={out} data=coco data.root=DIR"
    )


def write(converted: Converted, out: Path) -> None:
    """Writes a checkpoint that eval.py, init=FILE and `detector.load` read.

    Raises:
        UsageError: naming the tensors that do not fit the model, or if the file cannot be written.
    """
    config = compose_config(*converted.words)
    config.model.backbone.weights = None
    detector = build_detector(config.model, len(converted.categories))
    own = detector.state_dict()
    # Counters that nothing reads, and what the source lacks because it is constant there.
    weights = {key: own[key] for key in own if key.endswith("num_batches_tracked")} | converted.weights
    problems = checkpoint.misfits(detector, weights)
    if problems:
        raise UsageError(f"the weights are of another network than expected, {checkpoint.listed(problems)}")
    ids, classes = list(converted.categories), list(converted.categories.values())
    state = {
        "config": OmegaConf.to_container(config, resolve=True),
        "classes": classes,
        "epoch": 0,
        "weights": weights,
        **for_inference(config, classes, ids),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(out, state)


if __name__ == "__main__":
    main()
