"""The signals that SLURM sends, as a launcher such as submitit listens for them."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from engine.run.interruption import Interruption

TERM, ANNOUNCED = signal.SIGTERM, signal.SIGUSR2


class Launcher:
    """Keeps the signals that its handler was called for; like submitit's, the handler ends the process."""

    def __init__(self) -> None:
        self.requeued: list[int] = []

    def requeue(self, number: int, frame: object) -> None:
        self.requeued.append(number)
        raise SystemExit(255)


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    previous = signal.signal(ANNOUNCED, launcher.requeue)
    yield launcher
    signal.signal(ANNOUNCED, previous)


def run(launcher: Launcher, signals: tuple[int, ...], end: BaseException | None) -> None:
    """A run that gets `signals` in a step, finishes the step, saves, and ends by `end`."""
    with Interruption(print) as interruption:
        for number in signals:
            signal.raise_signal(number)
        assert interruption.asked
        assert launcher.requeued == []
        if end is not None:
            raise end


# SLURM may send SIGTERM beside its announcement: it is not the second Ctrl-C of a person.
@pytest.mark.parametrize(
    "signals", [(ANNOUNCED,), (TERM, ANNOUNCED), (ANNOUNCED, TERM), (ANNOUNCED, ANNOUNCED)]
)
@pytest.mark.parametrize("end", [KeyboardInterrupt(), RuntimeError("DataLoader worker is killed by signal")])
def test_an_announced_end_is_requeued_after_saving(
    launcher: Launcher, signals: tuple[int, ...], end: BaseException
) -> None:
    with pytest.raises(SystemExit):
        run(launcher, signals, end)
    assert launcher.requeued == [ANNOUNCED]


def test_a_run_that_finishes_or_fails_is_not_requeued(launcher: Launcher) -> None:
    run(launcher, (ANNOUNCED,), None)
    with pytest.raises(ValueError, match="a bug"):
        run(launcher, (ANNOUNCED,), ValueError("a bug"))
    assert launcher.requeued == []


def test_sigterm_alone_is_not_requeued(launcher: Launcher) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(launcher, (TERM,), KeyboardInterrupt())
    assert launcher.requeued == []


def test_handlers_are_put_back(launcher: Launcher) -> None:
    run(launcher, (ANNOUNCED,), None)
    assert signal.getsignal(ANNOUNCED) == launcher.requeue


def test_where_nobody_listens_the_signal_is_left_alone() -> None:
    before = signal.getsignal(ANNOUNCED)
    with Interruption(print):
        assert signal.getsignal(ANNOUNCED) is before


def test_ctrl_c_after_an_announcement_does_not_keep_a_run_from_saving(launcher: Launcher) -> None:
    saved = False
    with Interruption(print):
        signal.raise_signal(ANNOUNCED)
        signal.raise_signal(signal.SIGINT)
        saved = True
    assert saved
