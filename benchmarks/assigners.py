"""How fast the assigners are, beside every other implementation that is installed.

    python -m benchmarks.assigners                      # some minutes; writes to benchmarks/results/
    python -m benchmarks.assigners --device cuda
    python -m benchmarks.assigners --assigners atss tal --cases "aerial crowd"

All implementations of an assigner get the same batch and take turns, call by call, so that they share
whatever else the machine does; the median counts. Memory is what the first call in a fresh process adds.
Peers come with `uv pip install --group peers`.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.cases import CASES, Case, pairs_inside
from benchmarks.measure import implementations, in_fresh_process, seconds

ASSIGNERS = ("atss", "simota", "tal", "o2f")
SLOW, FEW = 5.0, 3  # a call of more seconds is made so few times
TITLES = {"atss": "ATSS", "simota": "SimOTA", "tal": "TAL", "o2f": "O2F"}
console = Console()


def measure(assigner: str, case: Case, device: str, repeats: int, patience: float) -> list[dict[str, Any]]:
    """One row per implementation: {assigner, case, name, milliseconds, megabytes} or {..., failed}."""
    rows: list[dict[str, Any]] = []
    calls = {}
    inputs = case.draw(device=device)
    for peer in implementations(assigner):
        row: dict[str, Any] = {"assigner": assigner, "case": case.name, "name": peer.name}
        rows.append(row)
        first = in_fresh_process(peer, case, device, patience)
        if isinstance(first, str):
            row["failed"] = first
        else:
            row["megabytes"] = first["megabytes"]
            row["calls"] = repeats if first["seconds"] < SLOW else FEW
            calls[peer.name] = peer.prepare(*inputs)
            if first["seconds"] < SLOW:  # warm-up, which does not matter to a slow one
                seconds(calls[peer.name], device)
                seconds(calls[peer.name], device)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats):
        for row in rows:
            if row["name"] in calls and turn < row["calls"]:
                times[row["name"]].append(seconds(calls[row["name"]], device))
    for row in rows:
        if row["name"] in times:
            row["milliseconds"] = 1000 * median(times[row["name"]])
    return rows


def cell(row: dict[str, Any], ours: dict[str, Any]) -> str:
    """Milliseconds, how many times ours, megabytes."""
    if "failed" in row:
        return str(row["failed"])
    text = f"{row['milliseconds']:,.1f} ms" + ("*" if row["calls"] == FEW else "")
    if row is not ours and "milliseconds" in ours:
        text += f" ({row['milliseconds'] / ours['milliseconds']:.1f}x)"
    return f"{text}, {max(row['megabytes'], 0):,.0f} MB"


def tabulate(rows: list[dict[str, Any]], assigner: str) -> tuple[list[str], list[list[str]]]:
    """Header and lines of one assigner's table: a line per case, a column per implementation."""
    rows = [row for row in rows if row["assigner"] == assigner]
    names = list(dict.fromkeys(row["name"] for row in rows))
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        of_case = {row["name"]: row for row in rows if row["case"] == case}
        lines.append([case, *(cell(of_case[name], of_case[names[0]]) for name in names)])
    return ["batch", *names], lines


def markdown(report: dict[str, Any]) -> str:
    """The tables of a report."""
    parts = [
        f"Median of {report['repeats']} calls that take turns, in milliseconds per batch (in brackets: how "
        f"many times ours; *: of {FEW}), and peak memory above the inputs, of a first call in a new process. "
        f"{report['machine']}."
    ]
    for assigner in dict.fromkeys(row["assigner"] for row in report["rows"]):
        header, lines = tabulate(report["rows"], assigner)
        parts.append(f"### {TITLES[assigner]}")
        rule = ["---"] * len(header)
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines)))
    return "\n\n".join(parts) + "\n"


def machine(device: str) -> str:
    name = torch.cuda.get_device_name() if device != "cpu" else f"{torch.get_num_threads()} CPU threads"
    return f"{name}, {platform.machine()}, torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the assigners beside their installed peers.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--assigners", nargs="+", choices=ASSIGNERS, default=ASSIGNERS)
    parser.add_argument("--cases", nargs="+", default=[""], help="parts of the names of the batches to take")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds after which a call is given up")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    words = parser.parse_args()
    cases = [case for case in CASES if any(part in case.name for part in words.cases)]
    if not cases:
        parser.error(f"no batch is named like {words.cases}; there are: {[case.name for case in CASES]}")
    words.out.mkdir(parents=True, exist_ok=True)
    file = words.out / f"assigners_{words.device}.json"
    report: dict[str, Any] = {"machine": machine(words.device), "repeats": words.repeats, "rows": []}
    report["pairs"] = {case.name: pairs_inside(case.draw()) for case in cases}
    for assigner in words.assigners:
        for case in cases:
            with console.status(f"{assigner}, {case.name}"):
                rows = measure(assigner, case, words.device, words.repeats, words.patience)
            report["rows"] += rows
            file.write_text(json.dumps(report, indent=1))
            file.with_suffix(".md").write_text(markdown(report))
            console.print(
                f"{assigner}, {case.name}:", "; ".join(f"{r['name']} {cell(r, rows[0])}" for r in rows)
            )
    for assigner in words.assigners:
        header, lines = tabulate(report["rows"], assigner)
        table = Table(*header, title=TITLES[assigner])
        for line in lines:
            table.add_row(*line)
        console.print(table)
    console.print(f"written: {file} and {file.with_suffix('.md')}")


if __name__ == "__main__":
    main()
