"""Starts a run from the weights of another: all of them, but class outputs go by the names of the classes.

Shape legend: C classes of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from engine import checkpoint
from errors import UsageError

# The convolutions of a head whose output channels are the classes: row i of their parameters is class i.
CLASS_OUTPUTS = ".class_out"


def start_from(path: Path, model: nn.Module, classes: Sequence[str]) -> str:
    """Loads the weights of a checkpoint (last.pt or best.pt of a run) into a new model.

    Where the classes differ, the rows of the class outputs go with the names: a class that the checkpoint
    knows keeps its row, wherever it stands now; the rows of the others stay as the model has them.

    Args:
        path: the checkpoint.
        model: of any classes. Nothing is loaded if anything but the classes differs.
        classes: C names, in the order of the model's class outputs.

    Returns:
        What was done, for the user.

    Raises:
        UsageError: if the file is no checkpoint, or of another kind of model; what does not fit is listed.
    """
    if not path.is_file():
        raise UsageError(f"init={path}: no such file. Give the last.pt or best.pt of a run, or null")
    state = checkpoint.load(path)
    weights, known = state["weights"], state["classes"]
    rows = [name for name in weights if CLASS_OUTPUTS in name]
    if list(classes) != known:
        own = model.state_dict()
        by_name = {name: _by_name(own[name], weights[name], classes, known) for name in rows if name in own}
        weights = {**weights, **by_name}
    problems = checkpoint.misfits(model, weights)
    if problems:
        trained = state["config"]
        raise UsageError(
            f"init={path} does not fit the model, {checkpoint.listed(problems)}\n"
            f"It was trained with model={trained['model']['name']} assigner={trained['assigner']['name']}: "
            "use those (assigner and recipe choose the head's quality branch) or another checkpoint"
        )
    model.load_state_dict(weights)
    start = f"starting from {path} ({state['config']['name']}, epoch {state['epoch']})"
    if list(classes) == known:
        return f"{start}, all {len(weights)} tensors: the classes are the same"
    new = [name for name in classes if name not in known]
    return (
        f"{start}, {len(weights) - len(rows)} of {len(weights)} tensors as they are. It was trained on other "
        f"classes ({len(known)}, here {len(classes)}), so {' and '.join(rows)} are put together by name: "
        f"{len(classes) - len(new)} classes keep their rows, {len(new)} start anew{_shown(new)}"
    )


def _by_name(own: Tensor, theirs: Tensor, classes: Sequence[str], known: Sequence[str]) -> Tensor:
    """`own` (C, ...) with the rows of the known classes from `theirs`."""
    if own.shape[1:] != theirs.shape[1:]:
        return theirs  # of another width: it will be listed as what does not fit
    rows = own.clone()
    for row, name in enumerate(classes):
        if name in known:
            rows[row] = theirs[known.index(name)]
    return rows


def _shown(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})" if names else ""
