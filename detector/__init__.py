"""The detector: backbone, neck, head, criterion and the selection of detections."""
