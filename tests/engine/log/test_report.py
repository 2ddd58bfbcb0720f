from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from engine.log.report import METRICS, print_result, show


def summary(unreadable: int = 0) -> dict[str, Any]:
    empty = dict.fromkeys(METRICS)
    return {
        "nms": {**empty, "AP": 41.26, "AR100": 60.0, "duplicate_rate": 0.0125},
        "nms_free": {**empty, "AP": 39.0, "AR100": 61.5, "duplicate_rate": 0.5},
        "unreadable": unreadable,
    }


def printed(content: dict[str, Any]) -> str:
    stream = io.StringIO()
    print_result(Console(file=stream, width=120), "shapes-o2f", content, "runs/shapes-o2f")
    return stream.getvalue()


def row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if name in line.split("│")[1:2] or f" {name} " in line)
    return [cell.strip() for cell in line.strip("│ ").split("│")]


def test_the_table_shows_both_selections_the_gap_and_the_duplicates() -> None:
    text = printed(summary())
    assert row(text, "AP") == ["AP", "41.3", "39.0", "+2.3"]
    assert row(text, "AR100") == ["AR100", "60.0", "61.5", "-1.5"]
    assert row(text, "AP_small") == ["AP_small", "-", "-", "-"]
    assert row(text, "duplicates per object")[1:3] == ["0.013", "0.500"] or "0.012" in text
    assert "runs/shapes-o2f/pictures" in text
    assert "could not be read" not in text


def test_unreadable_images_are_counted() -> None:
    assert "3 images could not be read" in printed(summary(unreadable=3))


@pytest.mark.parametrize(("value", "shown"), [(None, "-"), (0.0, "0.0"), (99.96, "100.0")])
def test_show(value: float | None, shown: str) -> None:
    assert show(value) == shown
