from __future__ import annotations

import io

import pytest
from rich.console import Console

from engine.log.progress import ProgressBar


def test_without_a_terminal_a_bar_is_one_line() -> None:
    stream = io.StringIO()
    with ProgressBar(Console(file=stream), "epoch 1/2", 3) as bar:
        for _ in range(3):
            bar.advance()
            bar.show("loss 1.5")
        assert stream.getvalue() == ""
    assert stream.getvalue().startswith("epoch 1/2: 3 batches in ")
    assert stream.getvalue().rstrip().endswith("loss 1.5")
    assert stream.getvalue().count("\n") == 1


def test_on_a_terminal_the_bar_counts_from_where_a_run_was_cut() -> None:
    stream = io.StringIO()
    with ProgressBar(Console(file=stream, force_terminal=True, width=120), "epoch 2/2", 5, done=3) as bar:
        bar.advance()
    assert "4/5" in stream.getvalue()


def test_an_error_is_not_reported_as_done() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError, match="x"), ProgressBar(Console(file=stream), "epoch", 3):
        raise ValueError("x")
    assert "batches in" not in stream.getvalue()
