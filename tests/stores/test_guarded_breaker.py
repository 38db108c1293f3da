"""A guarded store that fails again and again, and invalidations that wait for it."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache.errors import (
    CorruptRecord,
    StoreAway,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from asgi_cache.stores import RESPONSE_SLOT, Budget, GuardedStore, MemoryStore, Probed, probing
from asgi_cache.stores import guarded as guarded_module
from asgi_cache.stores.breaker import LIMIT
from asgi_cache.stores.journal import MOST_AT_ONCE
from tests.stores.wire import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_cache.model import Stamp
    from asgi_cache.stores import Store

ALL = b"n"
LIFE = 60.0


class Faulty(MemoryStore):
    """Raises ``error`` for the operations in ``failing``; lists what it was asked."""

    def __init__(self) -> None:
        super().__init__(2**20)
        self.asked: list[str] = []
        self.failing: set[str] = set()
        self.error: BaseException = StoreUnavailable("away")
        self.gate = asyncio.Event()
        self.gate.set()
        self.replaced: list[tuple[Sequence[bytes], Sequence[bytes]]] = []

    async def _see(self, operation: str) -> None:
        self.asked.append(operation)
        await self.gate.wait()
        if operation in self.failing or "all" in self.failing:
            raise self.error

    async def read(self, target: bytes, key: bytes, slots: Any, stamps: Any) -> Any:
        found = await super().read(target, key, slots, stamps)
        await self._see("read")
        return found

    async def settle(self, names: Sequence[bytes], life: float) -> Sequence[Stamp]:
        await self._see("settle")
        return await super().settle(names, life)

    async def replace(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
    ) -> None:
        await self._see("replace")
        self.replaced.append((list(names), list(soft_names)))
        await super().replace(names, soft_names, life)


class Pinged(Faulty):
    async def ping(self) -> None:
        await self._see("ping")


class Mute(Faulty):
    """Answers nothing but that it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.gate.clear()
        self.there = True

    async def ping(self) -> None:
        self.asked.append("ping")
        if not self.there:
            await self.gate.wait()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "INTERVAL", 0.02)
    monkeypatch.setattr(probing, "JITTER", 0.0)


async def look_up(store: Store, *names: bytes) -> list[Stamp | None]:
    return list((await store.read(b"t", b"k", RESPONSE_SLOT, names))[1])


async def fail(store: Store, times: int = LIMIT) -> None:
    for _ in range(times):
        with pytest.raises(StoreError):
            await look_up(store)


async def opened(store: Faulty) -> GuardedStore:
    guarded = GuardedStore(store)
    store.failing.add("all")
    await fail(guarded)
    assert guarded.breaker.is_open
    return guarded


def test_what_may_be_pinged() -> None:
    assert isinstance(Pinged(), Probed)
    assert not isinstance(Faulty(), Probed)


async def test_an_open_breaker_does_not_touch_the_store() -> None:
    store = Pinged()
    guarded = await opened(store)
    store.asked.clear()
    for view in (guarded, guarded.within(guarded.budget())):
        for operation in (
            look_up(view),
            view.write(b"t", b"k", {}, ()),
            view.remove(b"t", b"k", 0),
            view.settle([b"a"], LIFE),
            view.replace([b"a"], (), LIFE),
        ):
            with pytest.raises(StoreAway):
                await operation
    assert set(store.asked) <= {"ping"}
    await guarded.aclose()


@pytest.mark.parametrize(("kind", "sign"), [(Pinged, "ping"), (Faulty, "read")])
async def test_it_is_asked_in_the_background_and_closes(kind: type[Faulty], sign: str) -> None:
    store = kind()
    guarded = await opened(store)
    await until(lambda: store.asked[LIMIT:] == [sign] * 3)
    assert guarded.breaker.is_open
    store.failing.clear()
    await until(lambda: not guarded.breaker.is_open)
    assert await look_up(guarded) == []
    asked = len(store.asked)
    await asyncio.sleep(0.05)
    assert len(store.asked) == asked
    assert len(asyncio.all_tasks()) == 1


async def test_while_all_is_well_nothing_runs_in_the_background() -> None:
    guarded = GuardedStore(Pinged())
    loop: Any = asyncio.get_running_loop()
    await look_up(guarded)
    assert [handle for handle in loop._scheduled if not handle.cancelled()] == []
    await fail_once(guarded)
    assert len(asyncio.all_tasks()) == 1
    left = [handle._callback for handle in loop._scheduled if not handle.cancelled()]
    assert left == [guarded.breaker.say]


async def fail_once(guarded: GuardedStore) -> None:
    assert isinstance(guarded.store, Faulty)
    guarded.store.failing.add("read")
    await fail(guarded, 1)
    guarded.store.failing.clear()


async def test_closing_ends_the_background_task() -> None:
    store = Pinged()
    guarded = await opened(store)
    store.gate.clear()
    await until(lambda: "ping" in store.asked)
    await guarded.aclose()
    assert len(asyncio.all_tasks()) == 1


async def test_a_sign_of_life_has_to_come_as_fast_as_an_answer() -> None:
    """Connecting may take longer; a store that is slow for good stays away."""

    class Slow(Pinged):
        seconds: tuple[float, ...] = (0.0,)

        async def ping(self) -> None:
            self.asked.append("ping")
            await asyncio.sleep(self.seconds[min(len(self.asked), len(self.seconds)) - 1])

    store = Slow()
    guarded = GuardedStore(store, timeout=0.1)
    store.failing.add("read")
    await fail(guarded)
    store.asked, store.seconds = [], (0.2,)
    await until(lambda: len(store.asked) >= 4)
    assert guarded.breaker.is_open
    await guarded.aclose()
    store.asked, store.seconds = [], (0.2, 0.0)
    store.failing.clear()
    with pytest.raises(StoreAway):
        await look_up(guarded)
    await until(lambda: not guarded.breaker.is_open)
    assert store.asked[:2] == ["ping", "ping"]


@pytest.mark.parametrize(
    "error", [StoreRefused("OOM"), CorruptRecord("x"), StoreError("no record of this revision")]
)
async def test_an_answer_is_no_failure(error: StoreError) -> None:
    store = Faulty()
    store.failing, store.error = {"all"}, error
    guarded = GuardedStore(store)
    await fail(guarded, 3 * LIMIT)
    assert not guarded.breaker.is_open
    assert guarded.breaker.last_error == str(error)


@pytest.mark.parametrize("error", [ValueError(), OSError(), asyncio.CancelledError()])
async def test_whatever_else_a_store_raises_is(error: BaseException) -> None:
    store = Faulty()
    store.failing, store.error = {"all"}, error
    guarded = GuardedStore(store)
    await fail(guarded)
    assert guarded.breaker.is_open
    await guarded.aclose()


async def test_a_cancelled_caller_is_not() -> None:
    store = Faulty()
    store.gate.clear()
    guarded = GuardedStore(store)
    for _ in range(2 * LIMIT):
        store.asked.clear()
        task = asyncio.ensure_future(look_up(guarded))
        await until(lambda: bool(store.asked))
        task.cancel()
        await asyncio.wait({task})
    assert not guarded.breaker.troubled


@pytest.mark.parametrize("moments", [(0.0, 0.1), (0.035, 0.1), (0.0, 0.045)])
async def test_nor_is_a_deadline_that_passed_while_the_loop_was_blocked(
    moments: tuple[float, float],
) -> None:
    """At its end, from its beginning, and only in the middle of it."""
    begins, lasts = moments
    store = Mute()
    guarded = GuardedStore(store, timeout=0.04)
    for _ in range(2 * LIMIT):
        loop = asyncio.get_running_loop()
        loop.call_later(begins, time.sleep, lasts)
        with pytest.raises(StoreUnavailable, match="the event loop was blocked"):
            await look_up(guarded)
    assert not guarded.breaker.troubled


async def test_a_loop_that_is_always_late_finds_out_in_the_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There a probe is given time enough to be fair."""
    monkeypatch.setattr(guarded_module, "PROBE_SECONDS", 0.4)
    store = Mute()
    guarded = GuardedStore(store, timeout=0.04)

    async def late() -> None:
        asyncio.get_running_loop().call_later(0.0, time.sleep, 0.06)
        with pytest.raises(StoreUnavailable, match="the event loop was blocked"):
            await look_up(guarded)

    await late()
    await until(lambda: "ping" in store.asked)
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert not guarded.breaker.troubled
    store.there = False
    await late()
    await until(lambda: guarded.breaker.is_open)
    store.gate.set()
    await until(lambda: not guarded.breaker.is_open)


async def test_nor_one_of_what_was_left_of_a_budget() -> None:
    store = Faulty()
    store.gate.clear()
    guarded = GuardedStore(store, timeout=0.1)
    for _ in range(2 * LIMIT):
        with pytest.raises(StoreUnavailable, match="no answer"):
            await look_up(guarded.within(Budget(0.005)))
        with pytest.raises(StoreUnavailable, match="long enough"):
            await look_up(guarded.within(Budget(0.0)))
    assert not guarded.breaker.troubled


async def test_a_store_that_hangs_opens_it() -> None:
    store = Pinged()
    store.gate.clear()
    guarded = GuardedStore(store, timeout=0.02)
    await asyncio.gather(*(fail(guarded, 1) for _ in range(LIMIT)))
    # At once, unless this machine was late itself: then a probe has to find out.
    await until(lambda: guarded.breaker.is_open)
    store.gate.set()
    await until(lambda: not guarded.breaker.is_open)


# ------------------------------------------------------------------ what waits


async def waiting(store: Faulty, *names: bytes, soft: tuple[bytes, ...] = ()) -> GuardedStore:
    """A guarded store that cannot replace, in which an invalidation of *names* waits."""
    guarded = GuardedStore(store)
    await guarded.settle([ALL, b"e", b"a", b"b"], LIFE)
    store.failing, store.error = {"replace"}, StoreRefused("OOM")
    guarded.queue(names, soft, LIFE, ALL)
    return guarded


@pytest.mark.parametrize("soft", [False, True])
async def test_what_an_invalidation_that_waits_names_is_missing(soft: bool) -> None:
    store = Faulty()
    names: tuple[bytes, ...] = (b"a",)
    guarded = await waiting(store, *(() if soft else names), soft=names if soft else ())
    for view in (guarded, guarded.within(guarded.budget())):
        a, b = await look_up(view, b"a", b"b")
        assert a is None
        assert b is not None
        with pytest.raises(StoreUnavailable, match="waits"):
            await view.settle([b"b", b"a"], LIFE)
        assert list(await view.settle([b"b"], LIFE)) == [b]
    assert not guarded.breaker.is_open
    await guarded.aclose()


async def test_it_is_carried_out_as_soon_as_the_store_can() -> None:
    store = Faulty()
    guarded = await waiting(store, b"a", soft=(b"b",))
    (_, _), before = await store.read(b"t", b"k", (0, 1), [b"a", b"b"])
    await until(lambda: store.asked.count("replace") == 3)
    assert len(guarded.journal) == 2
    store.failing.clear()
    await until(lambda: not guarded.journal)
    assert store.replaced == [([b"a"], [b"b"])]
    a, b = await look_up(guarded, b"a", b"b")
    assert a is not None
    assert b is not None
    assert before[0] is not None
    assert before[1] is not None
    assert a.nonce != before[0].nonce
    assert b.nonce == before[1].nonce
    assert b.soft_nonce != before[1].soft_nonce
    assert not guarded.breaker.troubled


async def test_the_first_attempt_is_at_once() -> None:
    store = Faulty()
    guarded = await waiting(store, b"a")
    store.failing.clear()
    began = time.monotonic()
    await until(lambda: not guarded.journal)
    assert time.monotonic() - began < 0.1


async def test_it_is_carried_out_before_the_breaker_closes() -> None:
    store = Pinged()
    guarded = await opened(store)
    guarded.queue([b"a"], (), LIFE, ALL)
    open_while_replaced: list[bool] = []
    replace = store.replace

    async def seen(*arguments: Any) -> None:
        open_while_replaced.append(guarded.breaker.is_open)
        await replace(*arguments)

    store.replace = seen  # type: ignore[method-assign,assignment]
    store.failing = {"replace"}
    await until(lambda: len(open_while_replaced) >= 2)
    assert guarded.breaker.is_open
    store.failing.clear()
    await until(lambda: not guarded.breaker.is_open)
    assert not guarded.journal
    assert all(open_while_replaced)


async def test_a_store_that_answers_but_does_not_write_is_used_for_the_rest() -> None:
    store = Pinged()
    guarded = await opened(store)
    guarded.queue([b"a"], (), LIFE, ALL)
    store.failing, store.error = {"replace"}, StoreRefused("READONLY")
    await until(lambda: not guarded.breaker.is_open)
    assert len(guarded.journal) == 1
    assert await look_up(guarded, b"a") == [None]
    store.failing.clear()
    await until(lambda: not guarded.journal)


async def test_an_answer_given_before_it_was_carried_out_counts_as_one() -> None:
    """A look-up that began while it waited, and whose answer comes after it was forgotten."""
    store = Faulty()
    guarded = await waiting(store, b"a")
    store.gate.clear()
    looking = asyncio.ensure_future(look_up(guarded, b"a"))
    await until(lambda: "read" in store.asked)
    guarded.journal.done(guarded.journal.batch())
    store.gate.set()
    assert await looking == [None]


async def test_many_are_carried_out_in_parts() -> None:
    store = Faulty()
    names = [b"%d" % number for number in range(MOST_AT_ONCE + 1)]
    guarded = await waiting(store, *names)
    store.failing.clear()
    await until(lambda: not guarded.journal)
    assert [replaced for replaced, _ in store.replaced] == [names[:-1], names[-1:]]


async def test_closing_carries_it_out_where_that_is_possible() -> None:
    store = Faulty()
    guarded = await waiting(store, b"a")
    await guarded.aclose()
    assert len(guarded.journal) == 1
    store.failing.clear()
    await guarded.aclose()
    assert not guarded.journal


async def test_whoever_comes_after_a_loop_has_ended_carries_it_out() -> None:
    store = Pinged()

    async def ended() -> GuardedStore:
        guarded = await opened(store)
        guarded.queue([b"a"], (), LIFE, ALL)
        return guarded

    results: list[GuardedStore] = []
    thread = threading.Thread(target=lambda: results.append(asyncio.run(ended())))
    thread.start()
    await asyncio.to_thread(thread.join)
    (guarded,) = results
    store.failing.clear()
    with pytest.raises(StoreAway):
        await look_up(guarded)
    await until(lambda: not guarded.journal and not guarded.breaker.is_open)
