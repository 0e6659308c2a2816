"""Claims in an object store: one holder, a dead one's ends, a living one's does not, clocks play no part."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from scalelaw.runs import claims
from scalelaw.runs.store import claim
from scalelaw.runs.store.place import Place, StoreError, opened

RUN = "0123abcd"
SECONDS = 1.0


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    monkeypatch.setattr(claims, "expiry", lambda: SECONDS)
    monkeypatch.setattr(claim, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(claim, "BEATS", 20)
    return opened((tmp_path / "store").as_uri())


@contextmanager
def elsewhere() -> Iterator[None]:
    """Within, this process is one of another machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "here", lambda: claims.Place("far", "another boot", "another", 1, "1"))
        yield


def take(
    place: Place, watch: claims.Watch | None = None, act: Callable[[], None] = lambda: None
) -> claim.Holder | None:
    return claim.take(place, RUN, watch or claims.Watch(), act)


def dead_elsewhere(place: Place) -> claim.Holder:
    """A holder on another machine that has written its claim once, and no more."""
    with elsewhere():
        holder = claim.Holder(place, RUN)
        holder.write()
    return holder


def moved_on(place: Place, watch: claims.Watch) -> float:
    """Watches until only that could be told; returns how long it took."""
    began = time.monotonic()
    while claim.must_watch(place, RUN, watch) is not None:
        assert time.monotonic() < began + 100
        time.sleep(0.01)
    return time.monotonic() - began


def test_a_living_holder_keeps_its_run_and_a_released_one_is_free_at_once(place):
    first = take(place)
    assert first is not None
    assert take(place) is None
    watch = claims.Watch()
    moved_on(place, watch)
    assert claim.is_held(place, RUN, watch)
    claim.clear(place, RUN, watch)
    assert take(place, watch) is None
    first.release()
    assert not claim.is_held(place, RUN)
    second = take(place)
    assert second is not None
    second.release()
    assert place.listing() == {}


def test_a_dead_holders_claim_ends_when_it_was_silent_for_long_enough(place):
    dead_elsewhere(place)
    watch = claims.Watch()
    assert take(place, watch) is None
    assert claim.is_held(place, RUN, watch)
    assert moved_on(place, watch) >= SECONDS - 0.1
    assert not claim.is_held(place, RUN, watch)
    taken = take(place, watch)
    assert taken is not None
    taken.release()


def test_who_has_watched_clears_the_way_for_who_has_not(place):
    dead_elsewhere(place)
    watch = claims.Watch()
    claim.clear(place, RUN, watch)
    assert take(place) is None
    moved_on(place, watch)
    claim.clear(place, RUN, watch)
    taken = take(place)
    assert taken is not None
    taken.release()


def test_a_dead_process_of_this_machine_is_not_waited_for(place, monkeypatch):
    here = claims.here()
    with monkeypatch.context() as patch:
        patch.setattr(claims, "here", lambda: claims.Place(here.host, here.boot, here.namespace, 2**30, "1"))
        claim.Holder(place, RUN).write()
    assert claim.must_watch(place, RUN, claims.Watch()) is None
    taken = take(place)
    assert taken is not None
    taken.release()


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_wrong_clocks_neither_free_a_run_nor_keep_it(place, monkeypatch, jump):
    living = take(place)
    assert living is not None
    clock, clock_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: clock() + jump)
    monkeypatch.setattr(time, "time_ns", lambda: clock_ns() + int(jump * 1e9))
    watch = claims.Watch()
    moved_on(place, watch)
    assert take(place, watch) is None
    living.release()
    dead_elsewhere(place)
    watch = claims.Watch()
    moved_on(place, watch)
    taken = take(place, watch)
    assert taken is not None
    taken.release()


def test_of_many_takers_at_once_one_has_it(place, monkeypatch):
    """All look, then all write, then all read back: the last to write has it."""
    monkeypatch.setattr(claim, "SETTLE_SECONDS", 0.7)
    together = threading.Barrier(6)
    first: set[str] = set()
    found: list[claim.Holder] = []
    write = claim.Holder.write

    def at_once(self: claim.Holder) -> None:
        if self.token not in first:
            first.add(self.token)
            together.wait(30)
        write(self)

    def run() -> None:
        if (taken := take(place)) is not None:
            found.append(taken)

    monkeypatch.setattr(claim.Holder, "write", at_once)
    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
    standing = claim.read(place, RUN)
    assert standing is not None
    assert standing.token == found[0].token
    found[0].release()


def test_a_holder_that_was_taken_for_dead_hears_of_it_and_leaves_the_others_claim_alone(place):
    first = take(place)
    assert first is not None
    heard = threading.Event()
    first.when_lost = heard.set
    with elsewhere():
        second = claim.Holder(place, RUN)
    until = time.monotonic() + 20
    while not heard.wait(0.01):  # over a beat of the first's, should it fall between
        assert time.monotonic() < until
        second.write()
    assert first.lost
    first.release()
    standing = claim.read(place, RUN)
    assert standing is not None
    assert standing.token == second.token


def test_a_store_that_is_away_for_a_while_ends_no_living_holders_claim(place, monkeypatch):
    held = take(place)
    assert held is not None
    write, tries = Place.write, []

    def away(self: Place, name: str, content: bytes) -> None:
        tries.append(name)
        raise StoreError("away")

    monkeypatch.setattr(Place, "write", away)
    until = time.monotonic() + 20
    while len(tries) < 3:
        assert time.monotonic() < until
        time.sleep(0.01)
    monkeypatch.setattr(Place, "write", write)
    watch = claims.Watch()
    moved_on(place, watch)
    assert claim.is_held(place, RUN, watch)
    assert not held.lost
    held.release()


@pytest.mark.parametrize("content", [b"not JSON", b"[]", b"{}", b'{"token": "x", "place": {"pid": 1}, "seconds": 1}'])
def test_what_is_no_claim_counts_as_none(place, content):
    place.write(claim.name_of(RUN), content)
    assert claim.read(place, RUN) is None
    taken = take(place)
    assert taken is not None
    taken.release()


def test_a_claim_lives_on_while_what_it_brings_takes_long(place):
    """A large checkpoint may take longer to bring than a silent claim is left standing."""
    watch = claims.Watch()

    def bring() -> None:
        until = time.monotonic() + 3 * SECONDS
        while time.monotonic() < until:
            assert claim.is_held(place, RUN, watch), "another machine would take the run"
            time.sleep(0.02)

    taken = take(place, act=bring)
    assert taken is not None
    taken.release()
    assert place.listing() == {}


def test_who_loses_a_run_while_he_brings_what_it_needs_does_not_get_it(place):
    def bring() -> None:
        other = dead_elsewhere(place)
        until = time.monotonic() + 20
        while (standing := claim.read(place, RUN)) is None or standing.token != other.token:
            assert time.monotonic() < until  # over a beat of the first's, should it fall between
            other.write()

    before = threading.active_count()
    assert take(place, act=bring) is None
    assert threading.active_count() == before


def test_when_what_a_claim_brings_cannot_be_had_it_is_given_back(place):
    def fail() -> None:
        raise StoreError("no such thing")

    with pytest.raises(StoreError):
        take(place, act=fail)
    assert place.listing() == {}


def test_who_looks_once_goes_by_the_time_of_the_last_beat(place, monkeypatch):
    dead_elsewhere(place)
    assert claim.is_held(place, RUN)
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 3600)
    assert not claim.is_held(place, RUN)
