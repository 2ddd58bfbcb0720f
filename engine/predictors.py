"""How each predictor of a detector is trained: its assigner, its loss, and what it adds to the sum of losses.

A config without `predictors` has one, called "head", of the groups `assigner`, `loss` and `model`. In
`predictors` (configs/assigner/dual_tal.yaml) each has these under its own name; its `model` is what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from inspect import signature
from pkgutil import resolve_name
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from assigners import Assigner, ignore_inside
from data.loader import Batch
from detector.decode import decode
from detector.outputs import Outputs
from detector.scheduled_loss import Loss, build_criterion
from engine.log.statistics import AssignmentStatistics
from errors import UsageError, did_you_mean

ALONE = "head"  # the name of the only predictor of a config without `predictors`
KEYS = ("assigner", "loss", "model", "gradient", "weight", "classes_of")


@dataclass(frozen=True)
class Supervision:
    """What trains one predictor.

    Attributes:
        label: what its losses and statistics are called by: "" for a single predictor, else its name and "_".
        source: the predictor whose outputs it reads.
        classes_only: whether it sees the class logits alone, without the quality branch.
        weight: of its losses at the first and at the last epoch.
    """

    label: str
    source: str
    classes_only: bool
    assigner: Assigner
    criterion: Loss
    weight: tuple[float, float]
    statistics: AssignmentStatistics

    def losses(self, outputs: Mapping[str, Outputs], batch: Batch, progress: float) -> dict[str, Tensor]:
        """The weighted losses of a batch, by name; the assignment is counted in `statistics`.

        Args:
            outputs: of all trained predictors.
            progress: of training, 0 to 1.
        """
        own = outputs[self.source]
        if self.classes_only:
            own = replace(own, quality_BP=None)
        assignment = self.assigner(own.grid, decode(own), batch.truth, progress)
        assignment = ignore_inside(assignment, own.grid, batch.ignored, len(batch))
        self.statistics.update(assignment, batch.truth)
        start, end = self.weight
        weight = start + (end - start) * progress
        losses = self.criterion(own, batch.truth, assignment, progress)
        return {f"{self.label}{name}": weight * loss for name, loss in losses.items()}

    def numbers(self, progress: float) -> dict[str, float]:
        """What the assignments since the last call were like (collective)."""
        values = self.statistics.read()
        if (soft_target := self.assigner.soft_target(progress)) is not None:
            values["assign/soft_target"] = soft_target
        return {key.replace("/", f"/{self.label}", 1): value for key, value in values.items()}


def head_options(config: DictConfig) -> dict[str, dict[str, Any]] | None:
    """For each predictor that has a head of its own, what `build_detector` needs; None for a single one.

    Raises:
        UsageError: for an unknown key, or a predictor that is neither trained nor frozen.
    """
    entries = _entries(config)
    if list(entries) == [ALONE]:
        return None
    frozen = list(config.model.frozen)
    for name, entry in entries.items():
        unknown = [key for key in entry if key not in KEYS]
        if unknown:
            raise UsageError(f"predictors.{name} has no {', '.join(unknown)}; it has {', '.join(KEYS)}")
        if entry.get("assigner") is None and name not in frozen:
            raise UsageError(f"predictors.{name} has no assigner: give it one, or name it in model.frozen")
        source = entry.get("classes_of")
        if source is not None and (source not in entries or entries[source].get("classes_of") is not None):
            raise UsageError(f"predictors.{name}.classes_of={source} must name a predictor with a head")
    return {
        name: {"gradient": entry.get("gradient", 1.0), "head": _head(entry)}
        for name, entry in entries.items()
        if entry.get("classes_of") is None
    }


def build_supervisions(config: DictConfig, device: torch.device) -> list[Supervision]:
    """One for each predictor that is trained; a frozen one has none.

    Raises:
        UsageError: for a value that an assigner or a loss refuses.
    """
    supervisions = []
    for name, entry in _entries(config).items():
        if entry.get("assigner") is None:
            continue
        source = entry.get("classes_of")
        quality = _head(entry).get("quality", config.model.head.quality)
        weight = entry.get("weight", 1.0)
        pair = (weight, weight) if isinstance(weight, int | float) else tuple(weight)
        if len(pair) != 2 or min(pair) < 0:
            raise UsageError(
                f"predictors.{name}.weight={weight} must be a number or [first, last], 0 or more"
            )
        supervisions.append(
            Supervision(
                "" if name == ALONE else f"{name}_",
                source or name,
                source is not None,
                assigner_from(entry["assigner"], config.assigner.name),
                build_criterion(entry.get("loss") or {}, "none" if source else quality),
                pair,
                AssignmentStatistics(device),
            )
        )
    return supervisions


def assigner_from(options: Mapping[str, Any], name: str) -> Assigner:
    """The assigner whose class `_target_` names, so that a new one needs no code here.

    Raises:
        UsageError: for an option that it does not take, or a class that is no assigner.
    """
    arguments = {key: value for key, value in options.items() if key != "name"}
    try:
        assigner = instantiate(arguments)
    except InstantiationException as error:
        reason = " ".join(str(error.__cause__ or error).split())
        if isinstance(error.__cause__, TypeError):
            reason = _unknown_option(arguments) or reason
        raise UsageError(f"assigner={name} cannot be built: {reason}") from error
    if not isinstance(assigner, Assigner):
        raise UsageError(f"assigner._target_={options['_target_']} must inherit from assigners.Assigner")
    return assigner


def _unknown_option(options: Mapping[str, Any]) -> str | None:
    """Names an option that the class of an assigner, or of one that it wraps, does not take, and the nearest.

    Python's own message names neither the nearest one nor those that there are.
    """
    for value in options.values():
        if isinstance(value, Mapping) and "_target_" in value and (found := _unknown_option(value)):
            return found
    known = signature(resolve_name(options["_target_"])).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return None
    for key in options:
        if key not in known and not key.startswith("_"):
            return (
                f"{options['_target_']} takes no {key}{did_you_mean(key, known)}; it takes "
                f"{', '.join(known)} (given in configs/assigner or on the command line)"
            )
    return None


def _head(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a predictor's head differs in from model.head."""
    return (entry.get("model") or {}).get("head") or {}


def _entries(config: DictConfig) -> dict[str, dict[str, Any]]:
    """The predictors of a config, resolved."""
    # Resolved here: in the copies that Hydra makes of nested parts, references to other groups find nothing.
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return plain.get("predictors") or {ALONE: {"assigner": plain["assigner"], "loss": plain["loss"]}}
