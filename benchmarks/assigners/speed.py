"""How fast the assigners are, beside every other implementation that is installed.

    python -m benchmarks.assigners.speed                      # some minutes; writes to benchmarks/results/
    python -m benchmarks.assigners.speed device=cuda
    python -m benchmarks.assigners.speed assigners=[atss,tal] cases=["aerial crowd"]

All implementations of an assigner get the same batch and take turns, call by call, so that they share
whatever else the machine does; the median counts. Memory is what the first call in a fresh process adds.
Peers come with `uv pip install --group peers`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks.assigners.cases import CASES, Case, pairs_inside
from benchmarks.assigners.measure import implementations, in_fresh_process
from benchmarks.core.cost import seconds
from benchmarks.core.turns import machine
from command_line import new_folder, option, run
from errors import UsageError

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


@dataclass
class Options:
    """What the command line can set."""

    device: str = option("cpu", help="cpu or cuda")
    assigners: list[str] = option(list(ASSIGNERS), choices=ASSIGNERS, help="to be timed")
    cases: list[str] = option([""], help="parts of the names of the batches")
    repeats: int = option(7, least=1, help="turns")
    patience: float = option(60.0, least=1, help="seconds after which a call is given up")
    out: str = option("benchmarks/results/assigners", help="folder of speed_DEVICE.json and speed_DEVICE.md")


def bench(options: Options) -> None:
    """Measures batch by batch; prints and writes what there is so far."""
    cases = [case for case in CASES if any(part in case.name for part in options.cases)]
    if not cases:
        names = "; ".join(case.name for case in CASES)
        raise UsageError(f"cases={options.cases}: no batch is named like that, there are: {names}")
    file = new_folder(options.out) / f"speed_{options.device}.json"
    report: dict[str, Any] = {"machine": machine(options.device), "repeats": options.repeats, "rows": []}
    report["pairs"] = {case.name: pairs_inside(case.draw()) for case in cases}
    for assigner in options.assigners:
        for case in cases:
            with console.status(f"{assigner}, {case.name}"):
                rows = measure(assigner, case, options.device, options.repeats, options.patience)
            report["rows"] += rows
            report["ratios"] = ratios(report["rows"])
            file.write_text(json.dumps(report, indent=1) + "\n")
            file.with_suffix(".md").write_text(markdown(report))
            cells = "; ".join(f"{row['name']} {cell(row, rows[0])}" for row in rows)
            console.print(f"{assigner}, {case.name}: {cells}", markup=False, highlight=False)
    console.print(f"written: {file} and {file.with_suffix('.md')}", markup=False)


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How many times our milliseconds each other implementation takes, where it has an answer."""
    ours = {
        (row["assigner"], row["case"]): row["milliseconds"] for row in rows if row["name"] == "matchpoint"
    }
    return {
        f"{row['name']} / {row['assigner']}, {row['case']}": row["milliseconds"]
        / ours[row["assigner"], row["case"]]
        for row in rows
        if "matchpoint" not in row["name"] and "milliseconds" in row
    }


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
