"""The model card of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from evaluation.coco_metrics import STATS
from evaluation.results import SELECTIONS
from inference.record import read_record
from tools.compare.commands import commands
from tools.compare.runs import FinishedRun

TEMPLATE = Path(__file__).with_name("card.md")
ROWS = (*STATS, "AR100", "duplicate_rate", "usable_recall")
NAMES = {
    "AR100": "AR, 100 detections",
    "duplicate_rate": "duplicates per object",
    "usable_recall": "usable recall",
}


def card(run: FinishedRun, state: dict[str, Any], license: str, push: str | None) -> ModelCard:
    """The card of a run: data, numbers with NMS and without, commands, limits, licence.

    Args:
        state: the entries of its last.pt.
        license: of the weights, as the hub abbreviates it.
        push: USER/NAME of the card on the hub, if it goes there.
    """
    data, record = run.config["data"], read_record(state["record"], run.path)
    content = ModelCardData(
        license=license,
        library_name="matchpoint",
        pipeline_tag="object-detection",
        tags=["object-detection", run.config["assigner"]["name"], run.config["model"]["name"]],
        model_name=run.config["name"],
        eval_results=_results(run),
    )
    table = [[NAMES.get(key, key), *(_number(run.result[name][key]) for name in SELECTIONS)] for key in ROWS]
    ap_of = run.result["nms_free"]["per_class"]
    found: ModelCard = ModelCard.from_template(
        content,
        template_path=str(TEMPLATE),
        run=run.config,
        data=data,
        result=run.result,
        table=table,
        headings=list(SELECTIONS.values()),
        classes=[(name.replace("|", r"\|"), _number(ap_of.get(name))) for name in record.classes],
        resize=record.resize,
        selection=record.selection,
        command=commands([run])[0],
        license=license,
        push=push,
    )
    return found


def _results(run: FinishedRun) -> list[EvalResult]:
    """AP of each selection, where there was something to measure, in the hub's form."""
    data = run.config["data"]["name"]
    return [
        EvalResult(
            task_type="object-detection", dataset_type=data, dataset_name=data, dataset_split="validation",
            metric_type="mAP", metric_name=f"AP, {title}", metric_value=run.result[name]["AP"],
        )
        for name, title in SELECTIONS.items()
        if run.result[name]["AP"] is not None
    ]  # fmt: skip


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
