"""The detector: backbone, neck, head, criterion, selection of detections; `load` reads a trained one."""

from detector.trained import load

__all__ = ["load"]
