"""How long a trained detector takes in torch, ONNX Runtime and OpenVINO, NMS-free and with NMS.

    python -m benchmarks.inference.deploy checkpoint=runs/NAME/last.pt
    python -m benchmarks.inference.deploy checkpoint=runs/NAME/last.pt size=416 images=4 threads=[1]

From a uint8 batch to detections; images are read and resized before. The score threshold is set such that an
image has a given number of candidates. The second table is NMS alone, on so many candidates. What is not
installed is left out: OpenVINO comes with the extra `export`.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
import torch

from benchmarks.core.turns import medians, table, write
from benchmarks.inference.select import CLASSES, IOU, LIMIT, draw
from command_line import option, run
from detector.decode import decode
from detector.detector import Detector
from detector.export.onnx_file import OPSET, export_onnx
from detector.export.onnx_nms import nms_model
from detector.select import Detections, best_candidates, suppress
from detector.trained import predictor, read_checkpoint
from inference.onnx_model import load_onnx
from inference.record import Record, Selection

SELECTIONS = ("topk", "nms")
IN_A_ROW = 10
HEADER = ("runtime", "threads", "NMS-free, ms", "NMS, ms", "NMS / NMS-free")


@dataclass
class Options:
    """What the command line can set."""

    checkpoint: str = option(help="last.pt or best.pt of a run")
    images: int = option(1, least=1, help="of a batch")
    size: int = option(320, least=32, help="px, square; a multiple of 32")
    above: int = option(100, least=1, help="candidates of an image in the whole network")
    candidates: list[int] = option([10, 100, 1000], help="of NMS alone")
    threads: list[int] = option([1, 2], help="of each runtime")
    repeats: int = option(7, least=1, help="turns, of ten calls each")
    out: str = option("benchmarks/results/inference", help="folder of deploy.json and deploy.md")


@torch.inference_mode()
def with_candidates(network: Detector, record: Record, images_B3HW: np.ndarray, count: int) -> Record:
    """The record with the score threshold that so many pairs of an image pass, on average."""
    scores = decode(network.eval()(torch.from_numpy(images_B3HW))).scores_BPC.flatten()
    rank = max(1, len(scores) - count * len(images_B3HW))
    score = float(scores.kthvalue(rank).values)
    return msgspec.structs.replace(record, selection=msgspec.structs.replace(record.selection, score=score))


def runtimes(network: Detector, record: Record, images_B3HW: np.ndarray, folder: Path, threads: int) -> Any:
    """Calls by the name of their runtime and their selection: a batch to detections."""
    score = record.selection.score
    size_B2 = np.array([images_B3HW.shape[2:]] * len(images_B3HW))
    eager = predictor(network, record, torch.device("cpu"), "").detect
    calls: dict[tuple[str, str], Callable[[], Any]] = {}
    for select in SELECTIONS:
        file = folder / f"{select}.onnx"
        calls["torch eager", select] = partial(eager, images_B3HW, size_B2, select, score)
        inside = load_onnx(file, threads).detect
        calls["ONNX Runtime", select] = partial(inside, images_B3HW, size_B2, select, score)
        if find_spec("openvino"):
            calls["OpenVINO", select] = partial(
                compiled(onnx.load(file), threads), {"images": images_B3HW, "sizes": size_B2}
            )
    return calls


def compiled(model: onnx.ModelProto, threads: int) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    """An ONNX model in OpenVINO on the CPU, in float32 as the others."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # sends nothing, starts no process
    import openvino

    core = openvino.Core()
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    own = core.compile_model(core.read_model(model.SerializeToString()), "CPU", options)
    names = {name for one in own.inputs for name in one.names}  # "sizes", which has a default, may be none
    return lambda inputs: list(own({key: inputs[key] for key in names}).values())


def network_rows(options: Options) -> list[dict[str, Any]]:
    """A row for each runtime and number of threads: seconds with each selection."""
    rng = np.random.default_rng(0)
    images_B3HW = rng.integers(0, 256, (options.images, 3, options.size, options.size), dtype=np.uint8)
    network, record = read_checkpoint(Path(options.checkpoint))
    record = with_candidates(network, record, images_B3HW, options.above)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for select in SELECTIONS:
            export_onnx(network, record, select, Path(name) / f"{select}.onnx")
        for threads in options.threads:
            torch.set_num_threads(threads)
            calls = runtimes(network, record, images_B3HW, Path(name), threads)
            times = seconds_of({" ".join(key): call for key, call in calls.items()}, options.repeats)
            for runtime in dict.fromkeys(runtime for runtime, _ in calls):
                seconds = {select: times[f"{runtime} {select}"] for select in SELECTIONS}
                rows.append({"runtime": runtime, "threads": threads, **seconds})
    return rows


def nms_rows(options: Options) -> list[dict[str, Any]]:
    """A row for each number of candidates: seconds of NMS alone in each runtime, on one thread."""
    torch.set_num_threads(1)
    selection = Selection(default="nms", score=0.05, candidates=1000, limit=LIMIT, nms_iou=IOU)
    model = nms_model(selection, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options, providers=["CPUExecutionProvider"]
    )
    openvino = compiled(model, 1) if find_spec("openvino") else None
    rows = []
    for count in options.candidates:
        grid, predictions = draw(1, count)
        found = best_candidates(predictions, grid)[0]
        inputs = as_points(found)
        calls: dict[str, Callable[[], Any]] = {
            "torch": partial(suppress, found, IOU),
            "ONNX Runtime": partial(session.run, None, inputs),
        }
        if openvino is not None:
            calls["OpenVINO"] = partial(openvino, inputs)
        rows.append({"candidates": len(found), **seconds_of(calls, options.repeats)})
    return rows


def as_points(found: Detections) -> dict[str, np.ndarray]:
    """Candidates as the inputs of `nms_model`: a point each, with a score for its class alone."""
    scores = np.zeros((1, len(found), CLASSES), np.float32)
    scores[0, np.arange(len(found)), found.labels_N.numpy()] = found.scores_N.numpy()
    return {"boxes_in": found.boxes_N4.numpy()[None], "scores_in": scores}


def seconds_of(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The median seconds of each call, by turns of `IN_A_ROW` calls.

    Threads of a runtime wait for more work after a call and would take the cores from the next runtime's.
    """

    def in_a_row(call: Callable[[], Any]) -> None:
        for _ in range(IN_A_ROW):
            call()

    times = medians({name: partial(in_a_row, call) for name, call in calls.items()}, repeats)
    return {name: seconds / IN_A_ROW for name, seconds in times.items()}


def bench(options: Options) -> None:
    """Measures, prints both tables and writes them."""
    rows, alone = network_rows(options), nms_rows(options)
    lines = [
        [row["runtime"], f"{row['threads']}"]
        + [f"{1000 * row[select]:.1f}" for select in SELECTIONS]
        + [f"{row['nms'] / row['topk']:.2f}"]
        for row in rows
    ]
    names = [key for key in alone[0] if key != "candidates"]
    of_nms = [[f"{row['candidates']:,}", *(f"{1000 * row[name]:.3f}" for name in names)] for row in alone]
    text = (
        f"{options.checkpoint}: {options.images} images of {options.size}x{options.size} px, "
        f"{options.above} candidates of an image. "
        f"Median of {options.repeats} turns of {IN_A_ROW} calls, "
        f"{os.cpu_count()} CPU cores, {platform.machine()}.\n\n{table(HEADER, lines)}\n\n"
        f"NMS alone, IoU {IOU}, one thread:\n\n"
        + table(("candidates", *(f"{name}, ms" for name in names)), of_nms)
    )
    eager = {row["threads"]: row["topk"] for row in rows if row["runtime"] == "torch eager"}
    ratios = {
        f"torch / {row['runtime']}, {row['threads']} threads": eager[row["threads"]] / row["topk"]
        for row in rows
        if row["runtime"] != "torch eager"
    }
    write({"rows": rows, "nms": alone, "ratios": ratios}, text, options.out, "deploy")


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
