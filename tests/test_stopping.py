"""Signals that a library swallows are raised again at the next step."""

import os
import signal

import pytest

from scalelaw import stopping


@pytest.fixture
def listening():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stopping.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    stopping._asked.clear()


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_swallowed_signal_is_raised_at_the_next_step(listening, number, kind):
    stopping.raise_if_asked()  # nothing was asked
    with pytest.raises(kind):
        os.kill(os.getpid(), number)
    for _ in range(2):  # for as long as it is swallowed
        with pytest.raises(kind) as stop:
            stopping.raise_if_asked()
    if kind is SystemExit:
        assert stop.value.code == 75


def test_an_ignored_interrupt_stays_ignored(listening):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stopping.listen()
    os.kill(os.getpid(), signal.SIGINT)
    stopping.raise_if_asked()
