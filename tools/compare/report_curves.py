"""What the report draws over epochs, and from which lines of metrics.jsonl."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import mean

from markupsafe import Markup

from tools.compare.groups import Section
from tools.compare.report_chart import Line, line_chart, value_limits
from tools.compare.runs import curve

AP = {"nms/AP": "AP with NMS", "nms_free/AP": "AP NMS-free"}
OTHERS = {
    "train/loss": "Training loss, sum",
    "train/cls_loss": "Training loss, classification",
    "train/box_loss": "Training loss, boxes",
    "train/quality_loss": "Training loss, quality",
    "train/dfl_loss": "Training loss, distribution",
    "assign/positives_per_truth": "Positives per truth",
    "assign/starved": "Truths left without a positive, share",
    "assign/soft_target": "T of O2F: the highest score of a soft positive",
}


def charts(section: Section) -> Iterator[tuple[str, Markup]]:
    """Heading and SVG of each number that the runs have; the two APs share their scale."""
    ap = {key: lines for key in AP if (lines := _lines(section, key))}
    if ap:
        limits = value_limits([line for lines in ap.values() for line in lines])
        for key, lines in ap.items():
            yield AP[key], line_chart(lines, limits)
    for key, heading in OTHERS.items():
        if lines := _lines(section, key):
            yield heading, line_chart(lines)


def _lines(section: Section, key: str) -> list[Line]:
    """One line for each group that has this number: mean and range over its seeds."""
    lines = []
    for number, group in enumerate(section.groups):
        curves: list[Mapping[float, float]] = [curve(run, key) for run in group.runs]
        epochs = sorted(set().union(*curves))
        values = [[found[epoch] for found in curves if epoch in found] for epoch in epochs]
        if epochs:
            points = [(e, mean(v), min(v), max(v)) for e, v in zip(epochs, values, strict=True)]
            lines.append(Line(number, group.label, points))
    return lines
