"""Which classes of a COCO-format file are distinguished: `data.categories`.

Shape legend:
    I images, A annotations of all images, C categories of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.coco.annotations import Annotations
from errors import UsageError, listed, nearest

ONE = "object"  # the name of the class of everything


def regrouped(truth: Annotations, choice: str | Sequence[str], path: Path) -> Annotations:
    """The same images with other classes; training and ground truth both follow, crowd boxes too.

    Args:
        truth: as read from `path`.
        choice: "all" leaves everything as it is; "supercategory" merges the categories of each
            supercategory; "one" merges all; a list of names keeps these in the order of the file and drops
            the annotations of all others, though no image.
        path: the annotation file, for messages.

    Returns:
        Merged classes have the category ids 1, 2, ...; kept ones have those of the file.

    Raises:
        UsageError: if the choice is unknown, a name is not in the file, or it has no supercategories.
    """
    if choice == "all":
        return truth
    if choice == "one":
        return _merged(truth, [ONE] * len(truth.class_names))
    if choice == "supercategory":
        return _merged(truth, _supercategories(truth, path))
    if isinstance(choice, str) or not isinstance(choice, Sequence) or not choice:
        raise UsageError(
            f"data.categories={choice} must be all, supercategory, one or a list of names, such as "
            f"[{truth.class_names[0]}]"
        )
    return _kept(truth, [str(name) for name in choice], path)


def _supercategories(truth: Annotations, path: Path) -> list[str]:
    without = [
        name for name, group in zip(truth.class_names, truth.supercategories, strict=True) if group is None
    ]
    if without:
        raise UsageError(
            f"data.categories=supercategory, but {path} has no supercategory for {listed(without, 10)}: "
            "add it to the categories of the file, or choose all, one or a list of names"
        )
    return [group for group in truth.supercategories if group is not None]


def _merged(truth: Annotations, group_of_C: Sequence[str]) -> Annotations:
    groups = tuple(dict.fromkeys(group_of_C))
    label_C = np.array([groups.index(group) for group in group_of_C], dtype=np.int64)
    return replace(
        truth,
        class_names=groups,
        category_ids=tuple(range(1, len(groups) + 1)),
        supercategories=groups,
        labels_A=label_C[truth.labels_A],
    )


def _kept(truth: Annotations, names: Sequence[str], path: Path) -> Annotations:
    unknown = [name for name in names if name not in truth.class_names]
    if unknown:
        raise UsageError(
            f"data.categories: {path} has no {listed(unknown, 10)}; {_suggestion(unknown, truth.class_names)}"
        )
    old_labels = [label for label, name in enumerate(truth.class_names) if name in names]
    label_C = np.full(len(truth.class_names), -1)
    label_C[old_labels] = np.arange(len(old_labels))
    kept = truth.with_annotations(label_C[truth.labels_A] >= 0)
    return replace(
        kept,
        class_names=tuple(truth.class_names[label] for label in old_labels),
        category_ids=tuple(truth.category_ids[label] for label in old_labels),
        supercategories=tuple(truth.supercategories[label] for label in old_labels),
        labels_A=label_C[kept.labels_A].astype(np.int64),
    )


def _suggestion(unknown: Sequence[str], known: Sequence[str]) -> str:
    """Names that look alike, or the first of those that are there."""
    close = [match for name in unknown for match in nearest(name, known)]
    if close:
        return f"did you mean {', '.join(dict.fromkeys(close))}?"
    return f"its {len(known)} categories are {listed(known, 10)}"
