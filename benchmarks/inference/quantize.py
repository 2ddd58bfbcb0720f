"""What ONNX Runtime's static INT8 quantisation does to a trained detector: its AP and its time.

    python -m benchmarks.inference.quantize checkpoint=runs/NAME/last.pt calibration=DIR \
        source=DIR annotations=FILE

`calibration` is a folder of training images, `source` and `annotations` are the validation set. Weights
become int8 per channel, activations uint8, by QDQ nodes. Times are of one image on one thread.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

from benchmarks.core.turns import machine, table, write
from benchmarks.inference.deploy import seconds_of
from command_line import option, run
from detector.export.onnx_file import export_onnx
from detector.trained import read_checkpoint
from evaluation.coco_metrics import evaluate
from evaluation.results import read_results
from evaluation.truth import Truth
from inference.detecting import Options as PredictOptions
from inference.onnx_model import load_onnx
from inference.pixels import read, resized
from inference.sources import find
from predict import predict

VARIANTS: dict[str, dict[str, Any]] = {
    "all": {},
    "convolutions": {"op_types_to_quantize": ["Conv"]},
    "convolutions, percentile": {
        "op_types_to_quantize": ["Conv"], "calibrate_method": CalibrationMethod.Percentile
    },
}  # fmt: skip


@dataclass
class Options:
    """What the command line can set."""

    checkpoint: str = option(help="last.pt or best.pt of a run")
    calibration: str = option(help="folder of training images")
    source: str = option(help="folder of validation images")
    annotations: str = option(help="their COCO-format file")
    images: int = option(100, least=1, help="of the calibration")
    height: int = option(256, least=64, help="px of the image that is timed and calibrated with")
    width: int = option(320, least=64, help="px")
    repeats: int = option(15, least=1, help="turns, of ten calls each")
    out: str = option("benchmarks/results/inference", help="folder of quantize.json and quantize.md")


class Images(CalibrationDataReader):
    """The inputs that the ranges of activations are measured on."""

    def __init__(self, options: Options) -> None:
        self.left = self._inputs(options)

    def _inputs(self, options: Options) -> Iterator[dict[str, np.ndarray]]:
        files = find(options.calibration)
        assert isinstance(files, list)
        for file in files[: options.images]:
            image = resized(read(file), options.height, options.width)
            yield {"images": np.ascontiguousarray(image.transpose(2, 0, 1)[None])}

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next image as a batch of one; None after the last."""
        return next(self.left, None)


def average_precision(file: Path, truth: Truth, score: float, options: Options) -> float:
    """NMS-free AP of an ONNX file on the validation images."""
    with tempfile.TemporaryDirectory() as folder:
        words = PredictOptions(str(file), options.source, folder, "topk", score)
        words.annotations, words.draw = options.annotations, False
        predict(words)
        found = read_results(Path(folder) / "predictions.json", truth)
    return float(evaluate(truth, found)["AP"] or 0.0)


def bench(options: Options) -> None:
    """Quantises, evaluates, times, prints the table and writes it."""
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser advises at each file
    network, record = read_checkpoint(Path(options.checkpoint))
    rng = np.random.default_rng(0)
    image_13HW = rng.integers(0, 256, (1, 3, options.height, options.width), dtype=np.uint8)
    size_12 = np.array([[options.height, options.width]])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        files = {"nothing": Path(name) / "float.onnx"}
        export_onnx(network, record, "topk", files["nothing"])
        for variant, changes in VARIANTS.items():
            files[variant] = Path(name) / f"{variant}.onnx"
            kinds = {"weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8, "per_channel": True}
            quantize_static(files["nothing"], files[variant], Images(options), **kinds, **changes)
            keep_metadata(files["nothing"], files[variant])
        score = record.selection.score
        calls: dict[str, Callable[[], Any]] = {
            variant: partial(load_onnx(file, 1).detect, image_13HW, size_12, "topk", score)
            for variant, file in files.items()
        }
        times = seconds_of(calls, options.repeats)
        truth = Truth(json.loads(Path(options.annotations).read_text()))
        rows: list[dict[str, Any]] = [
            {
                "quantised": variant,
                "AP": average_precision(file, truth, score, options),
                "seconds": times[variant],
            }
            for variant, file in files.items()
        ]
    lines = [[row["quantised"], f"{row['AP']:.1f}", f"{1000 * row['seconds']:.1f}"] for row in rows]
    text = f"{options.checkpoint}, {options.height}x{options.width} px, {machine()}.\n\n" + table(
        ("quantised", "AP, NMS-free", "ms"), lines
    )
    ratios = {row["quantised"]: rows[0]["seconds"] / row["seconds"] for row in rows[1:]}
    write({"rows": rows, "ratios": ratios}, text, options.out, "quantize")


def keep_metadata(source: Path, target: Path) -> None:
    """Copies the record of an exported file, which the quantiser drops."""
    model = onnx.load(target)
    if not model.metadata_props:
        model.metadata_props.extend(onnx.load(source).metadata_props)
        onnx.save(model, target)


def main(words: Sequence[str] | None = None) -> None:
    """Measures what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
