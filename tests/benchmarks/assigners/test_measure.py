"""What a benchmark reports is what was measured."""

import pytest
import torch

from benchmarks.assigners.cases import CASES, Case
from benchmarks.assigners.measure import implementations, in_fresh_process
from benchmarks.assigners.speed import ASSIGNERS, markdown, tabulate
from benchmarks.peers import Peer

SMALL = Case("small", 128, 128, (8, 16, 32), (4, 0), (16.0, 100.0))


@pytest.mark.parametrize("assigner", ASSIGNERS)
def test_ours_comes_first_and_answers(assigner: str) -> None:
    ours = implementations(assigner)[0]
    _, predictions, truth = inputs = SMALL.draw()
    truth_BP, score_BP = ours.dense(ours.prepare(*inputs)(), *inputs)
    assert ours.name == "matchpoint"
    assert truth_BP.shape == score_BP.shape == predictions.boxes_BP4.shape[:2]
    assert set(truth_BP.unique().tolist()) <= set(range(-1, len(truth)))
    assert (truth_BP[0] >= 0).any()
    assert (truth_BP[1] == -1).all()
    assert torch.equal(score_BP > 0, truth_BP >= 0)


def test_a_fresh_process_reports_time_and_memory() -> None:
    found = in_fresh_process(implementations("o2f")[0], CASES[0], "cpu", patience=60)
    assert isinstance(found, dict)
    assert 0 < found["seconds"] < 60
    assert 0 <= found["megabytes"] < 1000


def test_a_failure_in_the_fresh_process_is_not_hidden() -> None:
    def nothing(*_: object) -> None:
        raise AssertionError

    with pytest.raises(RuntimeError, match="StopIteration"):
        in_fresh_process(Peer("nobody", "o2f", nothing, nothing), CASES[0], "cpu", patience=60)  # type: ignore[arg-type]


def test_the_table_holds_times_ratios_and_failures() -> None:
    rows = [
        {
            "assigner": "atss",
            "case": "one",
            "name": "matchpoint",
            "megabytes": 1.2,
            "milliseconds": 2.0,
            "calls": 7,
        },
        {
            "assigner": "atss",
            "case": "one",
            "name": "other",
            "megabytes": 30.0,
            "milliseconds": 50.0,
            "calls": 3,
        },
        {
            "assigner": "atss",
            "case": "two",
            "name": "matchpoint",
            "megabytes": 0.0,
            "milliseconds": 4.0,
            "calls": 7,
        },
        {"assigner": "atss", "case": "two", "name": "other", "failed": "> 60 s"},
    ]
    header, lines = tabulate(rows, "atss")
    assert header == ["batch", "matchpoint", "other"]
    assert lines == [
        ["one", "2.0 ms, 1 MB", "50.0 ms* (25.0x), 30 MB"],
        ["two", "4.0 ms, 0 MB", "> 60 s"],
    ]
    text = markdown({"machine": "M", "repeats": 7, "rows": rows})
    assert "### ATSS" in text
    assert "| two | 4.0 ms, 0 MB | > 60 s |" in text
