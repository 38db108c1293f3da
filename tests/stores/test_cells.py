"""Every way in which replies, pushes, losses and one's own changes can come: a state machine.

What must hold after each step: what is held near is what the far store has, or a push of it is on
its way on the channel that is open. Then a lease proven on that channel is all that a hit needs.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from asgi_cache.model import Stamp
from asgi_cache.stores import MemoryStore
from asgi_cache.stores import cells as cells_module
from asgi_cache.stores.cells import NEVER, Cells

NAMES = [b"%d" % number for number in range(4)]
names = st.sampled_from(NAMES)


class Places:
    """What the far store calls its stamps."""

    def __init__(self) -> None:
        self.same_hash = False

    def stamp_place(self, name: bytes) -> bytes:
        return b"place " + (name[:0] if self.same_hash else name)

    def record_place(self, target: bytes, key: bytes, slot: int) -> bytes:
        raise AssertionError("only stamps here")

    def channel(self, name: bytes) -> Any:
        raise AssertionError("no channel here")


class Coherence(RuleBasedStateMachine):
    """Stamps of a far store as numbers that only grow, read and changed in any order."""

    @initialize(room=st.sampled_from([900, 2000, 100_000]), same_hash=st.booleans())
    def begin(self, room: int, same_hash: bool) -> None:
        places = Places()
        places.same_hash = same_hash
        self.places = places
        self.cells = Cells(MemoryStore(room), places)
        self.versions = count(1)
        self.far = dict.fromkeys(NAMES, 0)
        self.is_open = False
        self.coming: list[list[bytes] | None] = []
        """Pushes on their way."""
        self.asked: list[tuple[int, bytes]] = []
        """Reads on their way to the far store."""
        self.replies: list[tuple[int, bytes, int]] = []
        """Replies on their way back."""

    @rule()
    def open(self) -> None:
        if not self.is_open:
            self.is_open = True
            self.cells.open()

    @rule()
    def lose_the_channel(self) -> None:
        self.is_open = False
        self.coming.clear()
        self.cells.close()

    @rule(changed=st.lists(names, min_size=1, max_size=3))
    def change(self, changed: list[bytes]) -> None:
        for name in changed:
            self.far[name] = next(self.versions)
        if self.is_open:  # pushes of one cycle come as one
            self.coming.append([self.places.stamp_place(name) for name in changed])

    @rule()
    def flush(self) -> None:
        for name in NAMES:
            self.far[name] = next(self.versions)
        if self.is_open:
            self.coming.append(None)

    @rule()
    def a_push_comes(self) -> None:
        if self.coming:
            places = self.coming.pop(0)
            if places is None:
                self.cells.clear()
            else:
                self.cells.pushed(places)

    @rule(name=names)
    def ask(self, name: bytes) -> None:
        self.asked.append((self.cells.began(), name))

    @rule(which=st.integers(0, 10))
    def the_far_store_reads(self, which: int) -> None:
        if self.asked:
            began, name = self.asked.pop(which % len(self.asked))
            self.replies.append((began, name, self.far[name]))

    @rule(which=st.integers(0, 10))
    def a_reply_comes(self, which: int) -> None:
        if self.replies:
            began, name, version = self.replies.pop(which % len(self.replies))
            self.cells.put(began, [(name, Stamp(b"", b"", version))])

    @rule(name=names)
    def look(self, name: bytes) -> None:
        """What is read at once, for a tier in which something is held."""
        self.cells.put(self.cells.began(), [(name, Stamp(b"", b"", self.far[name]))])

    @rule(name=names)
    def own_purge(self, name: bytes) -> None:
        self.change([name])
        self.cells.kill([name])
        assert self.cells.get(name) is None

    @invariant()
    def what_is_held_is_right_or_its_push_is_coming(self) -> None:
        if not hasattr(self, "cells"):
            return
        coming = {place for places in self.coming if places is not None for place in places}
        everything = None in self.coming
        for name in NAMES:
            held = self.cells.get(name)
            if held is None:
                continue
            assert self.is_open, "held without a channel"
            right = held.soft_at == self.far[name]
            assert right or everything or self.places.stamp_place(name) in coming

    @invariant()
    def nothing_is_left_behind(self) -> None:
        if hasattr(self, "cells"):
            holder: Any = self.cells._holder
            assert len(self.cells._index) == len(holder._values)


TestCoherence = Coherence.TestCase
TestCoherence.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


def value(number: int) -> Stamp:
    return Stamp(b"", b"", float(number))


def test_who_began_before_what_is_remembered_puts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_module, "MOST_REMEMBERED", 3)
    cells = Cells(MemoryStore(10_000), Places())
    cells.open()
    began = cells.began()
    cells.kill([b"0"])
    for number in range(1, 20):
        cells.kill([b"%d" % number])
    assert len(cells._recent) + len(cells._older) <= 8
    cells.put(began, [(b"0", value(0)), (b"x", value(0))])
    assert cells.get(b"0") is None
    assert cells.get(b"x") is None
    cells.put(cells.began(), [(b"0", value(1))])
    assert cells.get(b"0") == value(1)


def test_what_is_remembered_of_the_older_half_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_module, "MOST_REMEMBERED", 3)
    cells = Cells(MemoryStore(10_000), Places())
    cells.open()
    began = cells.began()
    for number in range(5):
        cells.kill([b"%d" % number])
    assert cells._older
    for number in range(5):
        cells.put(began, [(b"%d" % number, value(0))])
        assert cells.get(b"%d" % number) is None
    cells.put(began, [(b"x", value(0))])
    assert cells.get(b"x") == value(0)


def test_closed_it_holds_nothing() -> None:
    cells = Cells(MemoryStore(10_000), Places())
    assert cells.began() == NEVER
    cells.put(cells.began(), [(b"0", value(0))])
    assert cells.get(b"0") is None


_MEASURE = """
import gc, os, sys
from asgi_cache import MemoryStore, RedisStore
from asgi_cache.model import CarriedStamp, Stamp, StoredResponse
from asgi_cache.stores.cells import INDEX_BYTES, Cells

URLS, BUDGET, BODY = map(int, sys.argv[1:])

def resident():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

near = MemoryStore(BUDGET, beside=INDEX_BYTES)
cells = Cells(near, RedisStore("redis://127.0.0.1:1/0", "asgi-cache"))
cells.open()
before = resident()
for number in range(URLS):
    target = b"shop.example/products/%d?page=%d" % (number, number)
    key = b"5:https0:%b" % target
    response = StoredResponse(
        200,
        ((b"content-type", b"application/json"), (b"etag", b'"%d"' % number)),
        os.urandom(BODY), 1.0 * number, 2.0 * number, 3.0 * number, 4.0 * number, True,
        5.0 * number, None, None, False, False, None, 0, (), (), (
            CarriedStamp(b"n", os.urandom(16), os.urandom(16)),
            CarriedStamp(b"t" + target, os.urandom(16), os.urandom(16)),
        ),
    )
    stamp = Stamp(os.urandom(16), os.urandom(16), 0.0)
    cells.put(cells.began(), [((target, key, 0), response), (b"t" + target, stamp)])
    cells.pushed([b"asgi-cache:{%d}:t" % number])
print(resident() - before, len(cells._index))
"""


def grown(urls: int, budget: int, body: int) -> tuple[int, int]:
    """By how much a process grows that holds so many near, and how many cells it has then."""
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(urls), str(budget), str(body)],
        check=True,
        capture_output=True,
        text=True,
    )
    growth, held = map(int, ran.stdout.split())
    return growth, held


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_d01_the_near_tier_keeps_to_its_budget() -> None:
    budget = 64 * 2**20
    growth, held = grown(100_000, budget, 200)
    print(f"100,000 URLs: {growth / 2**20:.1f} MiB for {budget / 2**20:.0f}; {held} cells held")
    assert growth <= budget + 16 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_response_costs_near() -> None:
    responses, body = 20_000, 2000
    growth, held = grown(responses, 2**30, body)
    print(f"a response near, with its stamp: its body and {growth / responses - body:.0f} bytes")
    assert held == 2 * responses
    assert growth / responses <= body + 2304
