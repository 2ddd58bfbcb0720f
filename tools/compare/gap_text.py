"""The gap report as Markdown and CSV."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from evaluation.bootstrap import Difference
from tools.compare.gap_numbers import GapRow, MeanRow, best_row, words
from tools.compare.report_text import csv_lines, markdown_table

NOTE = (
    "AP is COCO's, 0-100, mean over seeds (AP at 300 detections where an image holds over 100 objects). The "
    "gap is AP with NMS minus AP without; its interval holds 95% of draws of validation images and seeds. "
    "Duplicates are per object, NMS-free, at a score of 0.3 and above. Usable recall (%) is recall at the "
    "lowest score with at most 0.05 duplicates per object."
)
SETS_NOTE = (
    "Means over the data sets that all rows have; their 95% intervals, by Student's t, are over sets. "
    '"Behind" is NMS-free AP minus the best AP with NMS of any row on the same set. Usable recall is a share '
    "of that with NMS."
)
PER_SET = (
    "row", "seeds", "AP, NMS", "AP, NMS-free", "gap (95%)", "duplicates", "usable, NMS", "usable, NMS-free",
)  # fmt: skip
OVER_SETS = (
    "row", "sets", "AP, NMS", "AP, NMS-free", "gap (95%)", "behind (95%)", "duplicates", "usable recall",
)  # fmt: skip


def markdown(rows: Sequence[GapRow], over_sets: Sequence[MeanRow], left_out: Mapping[str, str]) -> str:
    """The means over the sets, a table of each set, and the words of the best row."""
    parts = [
        "## Over data sets",
        SETS_NOTE,
        markdown_table(OVER_SETS, [_over_sets(row) for row in over_sets]),
    ]
    best = best_row(over_sets)
    if best is not None:
        parts.append(f"Best row: {shlex.join(words(best))}")
    incomplete = [f"{row.label}: no {', '.join(row.missing)}" for row in over_sets if row.missing]
    if incomplete:
        parts.append("Rows that lack sets: " + "; ".join(incomplete) + ".")
    parts += ["## By data set", NOTE]
    for data in dict.fromkeys(row.data for row in rows):
        own = [row for row in rows if row.data == data]
        parts += [f"### {data}, {own[0].metric}", _per_set(own)]
    if left_out:
        parts += ["## Left out", "\n".join(f"- {path}: {reason}" for path, reason in left_out.items())]
    return "\n\n".join(parts) + "\n"


def _per_set(rows: Sequence[GapRow]) -> str:
    several = any(row.other_nms is not None for row in rows)
    heads = [*PER_SET, *(["AP, NMS, other predictor"] if several else [])]
    lines = [
        [
            row.label, str(row.seeds), f"{row.nms:.1f}", f"{row.nms_free:.1f}", _interval(row.gap),
            _number(row.duplicates, 2), _number(row.recall_nms), _number(row.recall),
            *([_number(row.other_nms)] if several else []),
        ]
        for row in rows
    ]  # fmt: skip
    return markdown_table(heads, lines)


def _over_sets(row: MeanRow) -> list[str]:
    share = "-" if row.recall_share is None else f"{row.recall_share:.0%}"
    return [
        row.label, str(row.sets), f"{row.nms:.1f}", f"{row.nms_free:.1f}", _interval(row.gap),
        _interval(row.behind), _number(row.duplicates, 2), share,
    ]  # fmt: skip


def _interval(found: Difference) -> str:
    """As in "0.8 (0.2 to 1.4)"; one data set has no interval over sets."""
    if found.low != found.low:
        return f"{found.mean:.1f}"
    return f"{found.mean:.1f} ({found.low:.1f} to {found.high:.1f})"


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def csv_text(rows: Iterable[GapRow]) -> str:
    """One line per data set and row."""
    head = [
        "data", "row", "seeds", "metric", "nms", "nms_free", "gap", "low", "high", "duplicates",
        "usable_recall_nms", "usable_recall_nms_free", "nms_other_predictor",
    ]  # fmt: skip
    return csv_lines(
        head,
        [
            [row.data, row.label, row.seeds, row.metric, row.nms, row.nms_free, row.gap.mean, row.gap.low,
             row.gap.high, row.duplicates, row.recall_nms, row.recall, row.other_nms]
            for row in rows
        ],
    )  # fmt: skip
