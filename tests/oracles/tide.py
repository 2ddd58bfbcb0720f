"""TIDE's errors in plain loops (arXiv 2008.08115, sections 2.2 and 2.3), for truths without crowds.

Where the definitions overlap, the order is that of the authors' program: localisation, classification,
duplicate, background, both. As in their program, a truth that a classification and a localisation error aim
at is won by the one of higher score alone, also when only the other kind is being repaired. A class whose
truths are all missed keeps its AP of 0 when they are taken away.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

WRONG = ("classification", "localisation", "both", "duplicate", "background")


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inter = max(0.0, width) * max(0.0, height)
    return inter / (a[2] * a[3] + b[2] * b[3] - inter)


def average_precision(flags: list[tuple[float, bool]], truths: int) -> float:
    """COCO's mean over 101 recalls, from (score, true positive) of one class."""
    ordered = [hit for _, hit in sorted(flags, key=lambda pair: -pair[0])]
    points = [(sum(ordered[:n]) / truths, sum(ordered[:n]) / n) for n in range(1, len(ordered) + 1)]
    return sum(
        max((precision for recall, precision in points if recall >= wanted), default=0.0)
        for wanted in np.linspace(0, 1, 101).tolist()
    ) / 101  # fmt: skip


def oracle(content: dict[str, Any], rows_N7: np.ndarray) -> dict[str, Any]:
    """{"AP50", "won", "counts"} as tools.tide gives them."""
    truths = content["annotations"]
    found: list[dict[str, Any]] = [
        {"image": int(row[0]), "category": int(row[6]), "box": row[1:5], "score": row[5]}
        for row in sorted(rows_N7.tolist(), key=lambda row: -row[5])
    ]
    taken: set[int] = set()
    for d in found:
        here = [(iou(d["box"], t["bbox"]), t) for t in truths if t["image_id"] == d["image"]]
        own = [pair for pair in here if pair[1]["category_id"] == d["category"]]
        free = [pair for pair in own if pair[1]["id"] not in taken and pair[0] >= 0.5]
        d["own"] = max(own, key=lambda pair: pair[0], default=(0.0, None))
        other = [pair for pair in here if pair not in own]
        d["other"] = max(other, key=lambda pair: pair[0], default=(0.0, None))
        d["hit"] = bool(free)
        if free:
            taken.add(max(free, key=lambda pair: pair[0])[1]["id"])
    for d in found:
        if not d["hit"]:
            d["kind"], d["aim"] = kind(d["own"], d["other"])
    aimed = {d["aim"]["id"] for d in found if not d["hit"] and d["aim"] is not None}
    missed = {t["id"] for t in truths} - taken - aimed

    def mean_ap(entries: list[tuple[int, float, bool]], without: Collection[int] = ()) -> float:
        aps = []
        for category in {t["category_id"] for t in truths}:
            count = sum(t["category_id"] == category and t["id"] not in without for t in truths)
            flags = [(score, hit) for c, score, hit in entries if c == category]
            aps.append(average_precision(flags, count) if count else 0.0)
        return 100 * sum(aps) / max(1, len(aps))

    def repaired(wrong: str) -> float:
        entries, won = [], set(taken)
        for d in found:
            aim = None if d["hit"] else d["aim"]
            if d["hit"] or d["kind"] != wrong:
                entries.append((d["category"], d["score"], d["hit"]))
            elif aim is not None and aim["id"] not in won:
                entries.append((aim["category_id"], d["score"], True))
            if aim is not None:
                won.add(aim["id"])
        return mean_ap(entries) - base

    plain = [(d["category"], d["score"], d["hit"]) for d in found]
    base = mean_ap(plain)
    won = {wrong: repaired(wrong) for wrong in WRONG}
    counts = {wrong: sum(not d["hit"] and d["kind"] == wrong for d in found) for wrong in WRONG}
    won["missed"], counts["missed"] = mean_ap(plain, missed) - base, len(missed)
    return {"AP50": base, "won": won, "counts": counts}


def kind(own: tuple[float, Any], other: tuple[float, Any]) -> tuple[str, Any]:
    """The kind of a false positive and the truth that its repair would give it, from its best overlaps."""
    if 0.1 <= own[0] < 0.5:
        return "localisation", own[1]
    if other[0] >= 0.5:
        return "classification", other[1]
    if own[0] >= 0.5:
        return "duplicate", None
    if max(own[0], other[0]) < 0.1:
        return "background", None
    return "both", None
