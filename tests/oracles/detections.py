"""Plain loops for what eval.json says of detections beside COCO's numbers.

Detections are dicts (image, category, box, score); boxes are x, y, width, height.
"""

from __future__ import annotations

from typing import Any

import numpy as np

CERTAIN, DUPLICATE, IGNORED, FALSE = "certain", "duplicate", "ignored", "false"


def as_dicts(rows: list[list[float]]) -> list[dict[str, Any]]:
    return [{"image": r[0], "category": r[6], "box": r[1:5], "score": r[5]} for r in rows]


def intersection(a: list[float], b: list[float]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def iou(a: list[float], b: list[float]) -> float:
    inter = intersection(a, b)
    return inter / (a[2] * a[3] + b[2] * b[3] - inter)


def outcomes(content: dict[str, Any], found: list[dict[str, Any]]) -> list[str]:
    """One word for each detection, in their order."""
    taken: set[int] = set()
    words = [""] * len(found)
    for row in sorted(range(len(found)), key=lambda row: -found[row]["score"]):
        one = found[row]
        here = [
            a for a in content["annotations"]
            if a["image_id"] == one["image"] and a["category_id"] == one["category"]
        ]  # fmt: skip
        objects = [a for a in here if not a["iscrowd"] and iou(one["box"], a["bbox"]) >= 0.5]
        free = [a for a in objects if a["id"] not in taken]
        area = one["box"][2] * one["box"][3]
        crowds = [a for a in here if a["iscrowd"] and intersection(one["box"], a["bbox"]) >= 0.5 * area]
        if free:
            taken.add(max(free, key=lambda a: iou(one["box"], a["bbox"]))["id"])
            words[row] = CERTAIN
        else:
            words[row] = DUPLICATE if objects else IGNORED if crowds else FALSE
    return words


def objects(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [a for a in content["annotations"] if not a["iscrowd"]]


def duplicate_rate(content: dict[str, Any], found: list[dict[str, Any]]) -> float:
    words = outcomes(content, found)
    count = sum(w == DUPLICATE and one["score"] >= 0.3 for w, one in zip(words, found, strict=True))
    return count / len(objects(content))


def usable(content: dict[str, Any], found: list[dict[str, Any]]) -> tuple[float, float, float] | None:
    """Score, recall and precision at the lowest score with at most 0.05 duplicates per object."""
    total, best = len(objects(content)), None
    for threshold in sorted({one["score"] for one in found}, reverse=True):
        words = outcomes(content, [one for one in found if one["score"] >= threshold])
        if words.count(DUPLICATE) <= 0.05 * total:
            kept = len(words) - words.count(IGNORED)
            best = threshold, words.count(CERTAIN) / total, words.count(CERTAIN) / kept if kept else 0.0
    return best


def calibration_error(content: dict[str, Any], found: list[dict[str, Any]]) -> float:
    pairs = [
        (one["score"], word == CERTAIN)
        for one, word in zip(found, outcomes(content, found), strict=True)
        if word != IGNORED
    ]
    error = 0.0
    for number in range(15):
        own = [p for p in pairs if number / 15 <= p[0] < (number + 1) / 15 or (number == 14 and p[0] == 1)]
        if own:
            mean_score, right = sum(s for s, _ in own) / len(own), sum(r for _, r in own) / len(own)
            error += len(own) / len(pairs) * abs(mean_score - right)
    return error


def crowded_half(content: dict[str, Any]) -> list[int]:
    """Image ids: repeatedly the one with the most objects, of equal ones the lowest id."""
    left = sorted(image["id"] for image in content["images"])
    chosen = []
    for _ in range((len(left) + 1) // 2):
        counts = [sum(a["image_id"] == image for a in objects(content)) for image in left]
        chosen.append(left.pop(counts.index(max(counts))))
    return sorted(chosen)


def average_precision(content: dict[str, Any], found: list[dict[str, Any]], limit: int) -> float:
    """COCO's AP, 0-100, of sets without crowd regions and without equal scores, in its definition's words."""
    per_class = []
    for category in {a["category_id"] for a in content["annotations"]}:
        truths = [a for a in content["annotations"] if a["category_id"] == category]
        own: list[dict[str, Any]] = []
        for image in {one["image"] for one in found}:
            here = [one for one in found if (one["image"], one["category"]) == (image, category)]
            own += sorted(here, key=lambda one: -one["score"])[:limit]
        own.sort(key=lambda one: -one["score"])
        for threshold in (0.5 + 0.05 * n for n in range(10)):
            taken: set[int] = set()
            points, right = [], 0
            for place, one in enumerate(own, start=1):
                free = [
                    (iou(one["box"], a["bbox"]), a["id"]) for a in truths
                    if a["image_id"] == one["image"] and a["id"] not in taken
                ]  # fmt: skip
                if free and max(free)[0] >= threshold:
                    taken.add(max(free)[1])
                    right += 1
                points.append((right / len(truths), right / place))
            recalls = np.linspace(0, 1, 101).tolist()  # COCO's, bit for bit
            at = [max((p for r, p in points if r >= recall), default=0.0) for recall in recalls]
            per_class.append(sum(at) / 101)
    return 100 * sum(per_class) / len(per_class)
