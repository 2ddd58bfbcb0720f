"""The gap report as Markdown and CSV."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence

from evaluation.bootstrap import Difference
from tools.compare.gap_numbers import GapRow, MeanRow, best_row, by_label, labels_in_order, words
from tools.compare.report_text import csv_lines, markdown_table

NOTE = (
    "AP is COCO's, 0-100, mean over the seeds, whose number is in brackets where there are several (AP at "
    "300 detections where an image holds over 100 objects). The gap is AP with NMS minus AP without; its "
    "interval holds 95% of draws of validation images and seeds. Duplicates are per object, NMS-free, at a "
    "score of 0.3 and above. Usable recall (%) is recall at the lowest score with at most 0.05 duplicates "
    "per object."
)
SETS_NOTE = (
    "Means over the data sets; their 95% intervals, by Student's t, are over sets. "
    '"Behind" is NMS-free AP minus the best AP with NMS of any row on the same set. Usable recall is a share '
    "of that with NMS."
)
OVER_SETS = ("row", "AP, NMS", "AP, NMS-free", "gap (95%)", "behind (95%)", "duplicates", "usable recall")


def markdown(rows: Sequence[GapRow], over_sets: Sequence[MeanRow], left_out: Mapping[str, str]) -> str:
    """The means over the sets, the words of the best row, and rows by data sets."""
    sets = list(dict.fromkeys(row.data for row in rows))
    found = by_label(rows)
    parts = []
    if over_sets:
        table = markdown_table(OVER_SETS, [_over_sets(row) for row in over_sets])
        parts += [f"## Over {len(sets)} data set{'s' * (len(sets) > 1)}", SETS_NOTE, table]
    best = best_row(over_sets)
    if best is not None:
        parts.append(f"Best row: {shlex.join(words(best))}")
    lacking = [label for label, own in found.items() if len(own) < len(sets)]
    if lacking:
        parts.append(f"No means of rows that lack a data set: {'; '.join(lacking)}.")
    parts += ["## By data set", NOTE]
    for head, cell in CELLS.items():
        lines = [
            [label, *(cell(found[label][data]) if data in found[label] else "-" for data in sets)]
            for label in labels_in_order(rows, over_sets)
        ]
        if any(set(line[1:]) != {"-"} for line in lines):
            parts.append(markdown_table((head, *sets), lines))
    if left_out:
        parts += ["## Left out", "\n".join(f"- {path}: {reason}" for path, reason in left_out.items())]
    return "\n\n".join(parts) + "\n"


def _ap(row: GapRow) -> str:
    seeds = f" ({row.seeds})" if row.seeds > 1 else ""
    metric = "" if row.metric == "AP" else f"{row.metric} "
    return f"{metric}{row.nms:.1f} / {row.nms_free:.1f}{seeds}"


def _duplicates(row: GapRow) -> str:
    return f"{_number(row.duplicates, 2)}; {_number(row.recall_nms)} / {_number(row.recall)}"


# What a table holds of each row and data set, by its first heading.
CELLS: dict[str, Callable[[GapRow], str]] = {
    "AP, NMS / NMS-free": _ap,
    "gap (95%)": lambda row: _interval(row.gap),
    "duplicates; usable recall, NMS / NMS-free": _duplicates,
    "AP, NMS, best other predictor": lambda row: _number(row.other_nms),
}


def _over_sets(row: MeanRow) -> list[str]:
    share = "-" if row.recall_share is None else f"{row.recall_share:.0%}"
    return [
        row.label, f"{row.nms:.1f}", f"{row.nms_free:.1f}", _interval(row.gap),
        _interval(row.behind), _number(row.duplicates, 2), share,
    ]  # fmt: skip


def _interval(found: Difference) -> str:
    """As in "0.8 (0.2 to 1.4)"; one data set has no interval over sets."""
    if found.low != found.low:
        return f"{found.mean:z.1f}"
    return f"{found.mean:z.1f} ({found.low:z.1f} to {found.high:z.1f})"


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:z.{digits}f}"


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
