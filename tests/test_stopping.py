"""Signals that a library swallows are raised again at the next step."""

import os
import signal
import threading

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


def test_polled_work_is_not_interrupted_but_by_a_third_interrupt(listening):
    def work() -> None:
        with stopping.polled():
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
                assert stopping.asked()
            assert not stopping.asked_twice()
            os.kill(os.getpid(), signal.SIGINT)
            assert stopping.asked_twice()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            reached.append("its end")

    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["its end"]
    with pytest.raises(KeyboardInterrupt):  # and held back no longer
        os.kill(os.getpid(), signal.SIGINT)


def test_polled_work_of_another_thread_holds_nothing_back(listening):
    inside, over = threading.Event(), threading.Event()

    def work() -> None:
        with stopping.polled():
            inside.set()
            over.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(60)
    try:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        over.set()
        thread.join()
