"""Exports a trained detector: `python export.py checkpoint=FILE out=FILE`.

The ONNX file takes a batch of uint8 RGB images (B, 3, H, W), H and W multiples of 32, and gives boxes, scores
and labels. `python predict.py checkpoint=FILE.onnx` runs it with ONNX Runtime, without torch. What each cut
and format is for: docs/export.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from command_line import option, run
from errors import UsageError
from inference.record import require_checkpoint


@dataclass
class Options:
    """What the command line can set."""

    checkpoint: str = option(help="last.pt or best.pt of a run")
    out: str | None = option(None, help="file to write; null: beside the checkpoint")
    format: str = option("onnx", choices=("onnx", "torch"), help="onnx, or torch for a torch.export program")
    cut: str = option("topk", choices=("topk", "nms", "raw"), help="selection inside the graph; raw: none")
    opset: int = option(18, least=18, most=23, help="of the ONNX file")


def main(words: Sequence[str] | None = None) -> None:
    """Exports what the command line names."""
    run(Options, export, __doc__, words)


def export(options: Options) -> Path:
    """Writes the exported detector and returns its path.

    Raises:
        UsageError: if the checkpoint cannot be read or the file not be written.
    """
    source = Path(options.checkpoint)
    if not source.is_dir():  # of tools.share
        require_checkpoint(source)  # before torch is imported, which takes seconds
    from detector.trained import read_checkpoint

    network, record = read_checkpoint(source)
    suffix = ".onnx" if options.format == "onnx" else ".pt2"
    path = Path(options.out) if options.out else source.with_suffix(suffix)
    if path.resolve() == source.resolve() or path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"out={path} cannot be written: name a file in a folder that is there")
    if options.format == "onnx":
        try:
            from detector.export.onnx_file import export_onnx
        except ImportError as error:
            raise UsageError(f"{error.name} is missing: pip install onnx onnxscript onnxruntime") from error
        export_onnx(network, record, options.cut, path, options.opset, {"source": source})
    else:
        from detector.export.torch_file import export_torch

        export_torch(network, record, options.cut, path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {len(record.classes)} classes, cut={options.cut}")
    return path


if __name__ == "__main__":
    main()
