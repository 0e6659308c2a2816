"""Signals that a library swallows are raised again at the next step."""

import gc
import importlib
import os
import signal
import sys
import threading
import time

import pytest

from scalelaw import stopping


@pytest.fixture
def listening():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    hook = sys.unraisablehook
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stopping.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    sys.unraisablehook = hook
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


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_what_a_callback_dropped_is_raised_again_and_not_printed(listening, monkeypatch, number, kind):
    """As jax's, which Python calls when it collects garbage; what else ends one is printed as ever."""
    printed: list[type[BaseException]] = []
    monkeypatch.setattr(stopping, "_told_of_others", lambda what: printed.append(what.exc_type))
    left = [lambda: os.kill(os.getpid(), number), lambda: {}["missing"]]

    def callback(phase: str, _: object) -> None:
        if phase == "stop" and left:
            left.pop()()

    def work() -> None:
        for _ in range(2):
            gc.collect()
        reached.append("its end")
        time.sleep(10)

    reached: list[str] = []
    gc.callbacks.append(callback)
    try:
        with pytest.raises(kind):
            work()
    finally:
        gc.callbacks.remove(callback)
    assert reached == ["its end"]
    assert printed == [KeyError]


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


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_module_is_loaded_whole_and_the_signal_raised_soon_after(listening, tmp_path, monkeypatch, number, kind):
    (tmp_path / f"half_loaded_{kind.__name__}.py").write_text(
        f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(0.2)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    loaded = []

    def work() -> None:
        loaded.append(importlib.import_module(f"half_loaded_{kind.__name__}"))
        time.sleep(60)  # nobody asks: the signal finds its way

    with pytest.raises(kind):
        work()
    assert loaded[0].whole


def test_a_signal_that_was_raised_already_is_not_raised_by_the_timer_too(listening, tmp_path, monkeypatch):
    (tmp_path / "asks.py").write_text(
        "import os, signal\nfrom scalelaw import stopping\n"
        "os.kill(os.getpid(), signal.SIGTERM)\nstopping.raise_if_asked()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit):
        importlib.import_module("asks")
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_module_that_never_ends_loading_ends_by_a_third_interrupt(listening, tmp_path, monkeypatch):
    (tmp_path / "endless.py").write_text("import os, signal\nwhile True:\n    os.kill(os.getpid(), signal.SIGINT)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        importlib.import_module("endless")
    assert stopping._asked == [signal.SIGINT] * 3
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
