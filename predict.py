"""Detects in images, a video or a camera: `python predict.py checkpoint=FILE source=DIR out=DIR`.

out/ gets annotated pictures or the annotated video, predictions.json (COCO's results format) and
predictions.csv. The checkpoint is last.pt or best.pt of a run, or a file of export.py; an ONNX file needs
ONNX Runtime and not torch. A broken image is named and left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from command_line import new_folder, run
from errors import UsageError
from inference.detecting import Options, detect_in_images, detect_in_video
from inference.predictor import Predictor
from inference.results import Results
from inference.sources import Video, find


def main(words: Sequence[str] | None = None) -> None:
    """Detects what the command line asks for."""
    run(Options, predict, __doc__, words)


def predict(options: Options) -> Results:
    """Detects and writes the results.

    Raises:
        UsageError: if the model cannot be read, the source holds nothing, or no image of it can be read.
    """
    console = Console(stderr=True)
    model = open_model(options.checkpoint, options.device)
    model.checked(options.select, options.score)
    source = find(options.source)
    out = Path(options.out).resolve()
    if not isinstance(source, Video) and out in {file.resolve().parent for file in source}:
        raise UsageError(f"out={options.out} holds images of the source: choose another folder")
    with Results(new_folder(options.out)) as results:
        if isinstance(source, Video):
            detect_in_video(model, source, options, results, console)
        else:
            detect_in_images(model, source, options, results, console)
    console.print(f"{results.summary()} written to {options.out}", highlight=False, soft_wrap=True)
    return results


def open_model(checkpoint: str, device: str = "auto") -> Predictor:
    """The detector of a file: an ONNX file, or a checkpoint, which needs torch."""
    if Path(checkpoint).suffix == ".onnx":
        from inference.onnx_model import load_onnx

        return load_onnx(checkpoint)
    try:
        from detector import load
    except ImportError as error:
        raise UsageError(
            f"{checkpoint} needs {error.name}, which is not installed: export it where it is "
            "(python export.py checkpoint=FILE) and give the ONNX file"
        ) from error
    return load(checkpoint, device)


if __name__ == "__main__":
    main()
