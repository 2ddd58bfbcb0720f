"""TIDE's six kinds of error, and the AP50 that removing each kind alone would win.

Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors" (arXiv 2008.08115), sections
2.2 and 2.3, through hotcoco. A detection is a true positive at an IoU of 0.5 and of the background below 0.1.
`tests/oracles/tide.py` computes the same in plain loops, also where the paper leaves it open.

Shape legend: D detections, rows as in evaluation.overlaps.
"""

from __future__ import annotations

import contextlib
import io
from importlib.util import find_spec
from typing import Any

from evaluation.truth import Floats, Truth

TRUE_IOU, BACKGROUND_IOU = 0.5, 0.1
# Names, in the order in which they are shown, and hotcoco's.
KINDS = {
    "classification": "Cls", "localisation": "Loc", "both": "Both", "duplicate": "Dupe",
    "background": "Bkg", "missed": "Miss",
}  # fmt: skip
MISSING = "TIDE's kinds of error need hotcoco, which is not installed: uv pip install hotcoco"


def installed() -> bool:
    """Whether `tide` can be called."""
    return find_spec("hotcoco") is not None


def tide(truth: Truth, rows_D7: Floats) -> dict[str, Any]:
    """The errors of these detections by kind.

    Returns:
        AP50 (0-100); "won": the points of AP50 that removing all errors of a kind, and none else, would win;
        "counts" by kind; "false_positives" and "false_negatives": what removing all of them would win.
    """
    import hotcoco

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = hotcoco.COCOeval(truth.hotcoco, truth.hotcoco.load_res(rows_D7), "bbox")
        evaluation.evaluate()
        found = evaluation.tide_errors(TRUE_IOU, BACKGROUND_IOU)
    won = found["delta_ap"]
    return {
        "AP50": 100 * found["ap_base"],
        "won": {kind: 100 * won[theirs] for kind, theirs in KINDS.items()},
        "counts": {kind: int(found["counts"][theirs]) for kind, theirs in KINDS.items()},
        "false_positives": 100 * won["FP"],
        "false_negatives": 100 * won["FN"],
    }
