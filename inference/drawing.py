"""Pictures of detections, drawn by supervision."""

from __future__ import annotations

import numpy as np
import supervision as sv

from inference.found import Found


def drawn(image_HW3: np.ndarray, found: Found) -> np.ndarray:
    """A copy of an RGB image with its detections: one colour for each class, name and score above."""
    detections = as_supervision(found)
    thickness = sv.calculate_optimal_line_thickness(resolution_wh=(found.size[1], found.size[0]))
    scale = sv.calculate_optimal_text_scale(resolution_wh=(found.size[1], found.size[0]))
    picture = np.ascontiguousarray(image_HW3[..., ::-1])  # supervision draws on BGR
    picture = sv.BoxAnnotator(thickness=thickness).annotate(picture, detections)
    texts = [f"{name} {score:.2f}" for name, score in zip(found.names, found.scores_N.tolist(), strict=True)]
    labels = sv.LabelAnnotator(text_scale=scale, text_thickness=max(1, thickness // 2), text_padding=4)
    return np.ascontiguousarray(labels.annotate(picture, detections, texts)[..., ::-1])


def as_supervision(found: Found) -> sv.Detections:
    """The detections in supervision's form, with class names."""
    return sv.Detections(
        xyxy=found.boxes_N4.reshape(-1, 4),
        confidence=found.scores_N,
        class_id=found.labels_N,
        data={"class_name": np.array(found.names, dtype=str)},
    )
