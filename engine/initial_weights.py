"""Starts a run from the weights of another: all of them, but class outputs go by the names of the classes.

A detector with several predictors starts from one with a single predictor, too.

Shape legend: C classes of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from detector.detector import Detector
from engine.predictors import ALONE
from engine.run import checkpoint
from errors import UsageError, listed

# The convolutions of a head whose output channels are the classes: row i of their parameters is class i.
CLASS_OUTPUTS = ".class_out"


def start_from(path: Path, model: Detector, classes: Sequence[str]) -> str:
    """Loads the weights of a checkpoint (last.pt or best.pt of a run) into a new model.

    Where the model has several predictors and the checkpoint one, each predictor starts from that one: a
    frozen one must fit it; of a trained one those tensors start anew that the checkpoint does not have in
    this shape.

    Where the classes differ, the rows of the class outputs go with the names: a class that the checkpoint
    knows keeps its row, wherever it is now; the rows of the others stay as the model has them.

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
    weights, anew = _for_each_predictor(model, weights)
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
    if anew:
        start += f", but for {len(anew)} tensors of predictors that it does not have ({anew[0]}, ...)"
    if list(classes) == known:
        return f"{start}, all {len(weights)} tensors: the classes are the same"
    new = [name for name in classes if name not in known]
    return (
        f"{start}, {len(weights) - len(rows)} of {len(weights)} tensors as they are. It was trained on other "
        f"classes ({len(known)}, here {len(classes)}), so {' and '.join(rows)} are put together by name: "
        f"{len(classes) - len(new)} classes keep their rows, {len(new)} start anew{_shown(new)}"
    )


def _for_each_predictor(
    model: Detector, weights: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The weights for this model's predictors, and the names of tensors that stay as the model has them."""
    single = f"{ALONE}."
    alone = {name.removeprefix(single): value for name, value in weights.items() if name.startswith(single)}
    if not alone or ALONE in model.predictors:
        return dict(weights), []
    found = {name: value for name, value in weights.items() if not name.startswith(single)}
    own, anew = model.state_dict(), []
    for predictor in model.predictors:
        if predictor in model.frozen:  # whatever does not fit will be listed
            found |= {f"{predictor}.{rest}": value for rest, value in alone.items()}
            continue
        for name in own:
            if name.startswith(f"{predictor}."):
                value = alone.get(name.removeprefix(f"{predictor}."))
                fits = value is not None and value.shape == own[name].shape
                found[name] = value if fits and value is not None else own[name]
                if not fits:
                    anew.append(name)
    return found, anew


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
    return f" ({listed(names)})" if names else ""
