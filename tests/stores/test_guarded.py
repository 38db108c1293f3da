from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache.errors import CacheError, CorruptRecord, StoreError, StoreUnavailable
from asgi_cache.stores import RESPONSE_SLOT, Budget, GuardedStore, MemoryStore, Store
from asgi_cache.stores.deadlines import GRACE_TURNS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.conftest import Clock

FOREVER = 3600.0

OPERATIONS: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "read": lambda store: store.read(b"t", b"k", RESPONSE_SLOT, [b"n"]),
    "write": lambda store: store.write(b"t", b"k", {}, [b"n"]),
    "remove": lambda store: store.remove(b"t", b"k", 0),
    "settle": lambda store: store.settle([b"n"], 60),
    "replace": lambda store: store.replace([b"n"], [b"e"], 60),
    "aclose": lambda store: store.aclose(),
}
every_operation = pytest.mark.parametrize(
    ("name", "operation"), OPERATIONS.items(), ids=OPERATIONS.keys()
)


class FakeStore(MemoryStore):
    """Does *behaviour* instead of any operation."""

    def __init__(self, behaviour: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(2**20)
        for name in OPERATIONS:
            setattr(self, name, lambda *_, **__: behaviour())


async def hang() -> None:
    await asyncio.get_running_loop().create_future()


def views(store: Store, **options: float) -> list[Store]:
    guarded = GuardedStore(store, **options)
    return [guarded, guarded.within(Budget(FOREVER))]


@every_operation
async def test_the_stores_answer_is_passed_on(
    name: str, operation: Callable[[Store], Awaitable[Any]]
) -> None:
    answer = object()

    async def behaviour() -> object:
        return answer

    for store in views(FakeStore(behaviour)):
        expected = answer if name in ("read", "settle") else None
        assert await operation(store) is expected


@every_operation
async def test_g17_anything_raised_is_a_store_error(
    name: str, operation: Callable[[Store], Awaitable[Any]]
) -> None:
    for error in (ValueError("s3cret"), TimeoutError(), OSError(), CacheError(), RecursionError()):

        async def behaviour(error: Exception = error) -> None:
            raise error

        for store in views(FakeStore(behaviour)):
            with pytest.raises(
                StoreUnavailable, match=f"{name}: {type(error).__name__}$"
            ) as caught:
                await operation(store)
            assert caught.value.__cause__ is error


@every_operation
async def test_g17_what_is_raised_before_anything_is_awaited_as_well(
    name: str, operation: Callable[[Store], Awaitable[Any]]
) -> None:
    def behaviour() -> Awaitable[None]:
        raise AttributeError

    for store in views(FakeStore(behaviour)):
        with pytest.raises(StoreUnavailable, match=name):
            await operation(store)


@pytest.mark.parametrize("error", [StoreError("a"), CorruptRecord("b"), StoreUnavailable("c")])
async def test_the_stores_own_errors_are_passed_on(error: StoreError) -> None:
    async def behaviour() -> None:
        raise error

    for store in views(FakeStore(behaviour)):
        with pytest.raises(StoreError) as caught:
            await store.settle([b"n"], 60)
        assert caught.value is error


@every_operation
async def test_x03_an_operation_that_hangs_ends_at_its_deadline(
    name: str, operation: Callable[[Store], Awaitable[Any]]
) -> None:
    for store in views(FakeStore(hang), timeout=0.01, purge_timeout=0.01):
        with pytest.raises(StoreUnavailable, match=rf"{name}: no answer within 0\.01 s"):
            await operation(store)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("name", ["replace", "aclose"])
async def test_purges_and_closing_have_a_deadline_of_their_own(name: str) -> None:
    operation = OPERATIONS[name]
    patient = GuardedStore(FakeStore(hang), timeout=0.0, purge_timeout=0.01)
    with pytest.raises(StoreUnavailable, match=r"within 0\.01 s"):
        await operation(patient)
    # A request that invalidates does not wait as long as an operator.
    hasty = GuardedStore(FakeStore(hang), timeout=0.01, purge_timeout=FOREVER)
    with pytest.raises(StoreUnavailable, match=r"within 0\.01 s"):
        await operation(hasty.within(Budget(FOREVER)))


@every_operation
async def test_the_callers_own_end_is_passed_on(
    name: str, operation: Callable[[Store], Awaitable[Any]]
) -> None:
    began = asyncio.Event()
    ended: list[str] = []

    async def behaviour() -> None:
        began.set()
        try:
            await hang()
        finally:
            ended.append(name)

    for store in views(FakeStore(behaviour)):
        began.clear()
        task = asyncio.ensure_future(operation(store))
        await began.wait()
        task.cancel("the client is gone")
        with pytest.raises(asyncio.CancelledError, match="the client is gone"):
            await task
    assert ended == [name] * 2


async def test_a_cancellation_that_nobody_asked_for_is_the_stores_failure() -> None:
    async def behaviour() -> None:
        raise asyncio.CancelledError

    for store in views(FakeStore(behaviour)):
        with pytest.raises(StoreUnavailable, match="gave up"):
            await store.settle([b"n"], 60)


async def test_an_outer_deadline_is_the_callers() -> None:
    for store in views(FakeStore(hang)):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await store.settle([b"n"], 60)


async def test_a_store_that_turns_its_end_into_an_error_leaves_no_trace() -> None:
    async def behaviour() -> None:
        try:
            await hang()
        except asyncio.CancelledError:
            raise OSError from None

    task = asyncio.current_task()
    assert task is not None
    for store in views(FakeStore(behaviour), timeout=0.01):
        with pytest.raises(StoreUnavailable):
            await store.settle([b"n"], 60)
        assert task.cancelling() == 0


async def test_a_request_spends_one_budget_on_all_its_operations() -> None:
    guarded = GuardedStore(FakeStore(hang), timeout=0.02, request_timeout=0.03)
    budget = guarded.budget()
    assert budget.remaining == 0.03
    store = guarded.within(budget)
    with pytest.raises(StoreUnavailable, match=r"within 0\.02 s"):
        await store.settle([b"n"], 60)
    assert 0 < budget.remaining <= 0.01
    with pytest.raises(StoreUnavailable, match="no answer"):
        await store.settle([b"n"], 60)
    assert budget.remaining == pytest.approx(0, abs=1e-9)


@every_operation
async def test_with_the_budget_spent_the_store_is_not_even_asked(
    name: str, operation: Callable[[Store], Awaitable[Any]]
) -> None:
    asked: list[str] = []

    async def behaviour() -> None:
        asked.append(name)

    for remaining in (0.0, -1.0):
        store = GuardedStore(FakeStore(behaviour)).within(Budget(remaining))
        with pytest.raises(StoreUnavailable, match=f"{name}: this request"):
            await operation(store)
    assert asked == []


async def test_an_answer_at_once_costs_next_to_nothing() -> None:
    budget = Budget(0.1)
    store = GuardedStore(MemoryStore(2**20)).within(budget)
    await store.settle([b"n"], 60)
    assert 0.09 < budget.remaining < 0.1


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("turns", [0, GRACE_TURNS - 2])
async def test_a_deadline_that_passed_while_the_loop_was_blocked_reads_what_came(
    answers: bool, turns: int
) -> None:
    """The reply is in the socket's buffer when the loop wakes up, after the deadline.

    TLS, or a long reply, takes some more turns of the loop.
    """
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    asked = asyncio.Event()

    async def behaviour() -> bytes:
        asked.set()
        answer = await reader.readexactly(1)
        for _ in range(turns):
            await asyncio.sleep(0)
        return answer

    for store in views(FakeStore(behaviour), timeout=0.02):
        asked.clear()
        reading = asyncio.ensure_future(store.read(b"t", b"k", RESPONSE_SLOT, ()))
        await asked.wait()
        if answers:
            theirs.send(b"!")
        time.sleep(0.1)  # noqa: ASYNC251 - somebody's blocking call is what this is about
        if answers:
            assert await reading == b"!"  # type: ignore[comparison-overlap]  # a fake's answer
        else:
            with pytest.raises(StoreUnavailable, match="no answer"):
                await reading
    writer.close()
    await writer.wait_closed()
    theirs.close()


async def test_a_blocked_loop_costs_a_budget_no_more_than_the_deadline() -> None:
    async def behaviour() -> None:
        time.sleep(0.1)  # noqa: ASYNC251 - somebody's blocking call is what this is about

    budget = Budget(0.05)
    store = GuardedStore(FakeStore(behaviour), timeout=0.02).within(budget)
    await store.settle([b"n"], 60)
    assert budget.remaining == pytest.approx(0.03)


async def test_nothing_remains_scheduled_after_an_answer() -> None:
    loop: Any = asyncio.get_running_loop()
    store = GuardedStore(MemoryStore(2**20), timeout=FOREVER)
    await store.settle([b"n"], 60)
    assert [handle for handle in loop._scheduled if not handle.cancelled()] == []


def test_now_is_the_stores(clock: Clock) -> None:
    guarded = GuardedStore(MemoryStore(1, clock))
    assert guarded.now() == guarded.within(Budget(1)).now() == clock.now


def test_its_repr_shows_what_it_guards() -> None:
    guarded = GuardedStore(MemoryStore(5), timeout=0.25)
    assert repr(guarded) == "<GuardedStore 0.25 s around <MemoryStore 0 of 5 bytes>>"


def test_every_event_loop_may_use_it() -> None:
    guarded = GuardedStore(MemoryStore(2**20))
    threads = [
        threading.Thread(target=asyncio.run, args=(guarded.remove(b"t", b"k", 0),))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settled = [asyncio.run(settle(guarded)) for _ in range(2)]
    assert settled[0] == settled[1]


async def settle(store: Store) -> Any:
    return await store.settle([b"n"], 60)


def test_corrupt_records_are_counted_by_the_store() -> None:
    class Counting(MemoryStore):
        corrupt_records = 3

    assert GuardedStore(Counting(1)).corrupt_records == 3
    assert GuardedStore(GuardedStore(Counting(1))).corrupt_records == 3
    assert GuardedStore(MemoryStore(1)).corrupt_records == 0
