"""metrics.jsonl: one line of numbers per window of training batches, and one per evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

METRICS = "metrics.jsonl"


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The lines of a run, in the order of training; half a line, which a killed run leaves, is left out."""
    path = directory / METRICS
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def evaluation_row(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of an evaluation as a line has them; those of further predictors begin with their name."""
    results = {"": summary} | {f"{name}/": result for name, result in summary["others"].items()}
    numbers = {
        f"{place}{selection}/{key}": value
        for place, result in results.items()
        for selection in ("nms", "nms_free")
        for key, value in result[selection].items()
        if key != "per_class"
    }
    return {**numbers, "gap": summary["gap"]}
