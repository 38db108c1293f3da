"""Collapsed requests over several workers, each with its own cache on one real Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio

from asgi_cache import CacheMiddleware, RedisStore
from asgi_cache.leasing import Lease
from asgi_cache.stores import GuardedStore
from asgi_cache.stores.capabilities import Leased
from tests.driver import Connection, drive, http_scope
from tests.stores.wire import until
from tests.test_collapsing import FRESH, Gated, turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import Message

WORKERS = 4


@pytest.fixture
async def workers(redis_url: str, namespace: str) -> AsyncIterator[Callable[..., Any]]:
    """Middlewares with caches of their own, as many processes have them."""
    made: list[CacheMiddleware] = []

    def make(app: Any, count: int = WORKERS, **settings: Any) -> list[CacheMiddleware]:
        options = {"store_timeout": 5.0, "request_store_timeout": 10.0, **settings}
        new = [
            CacheMiddleware(app, store=redis_url, namespace=namespace, **options)
            for _ in range(count)
        ]
        made.extend(new)
        return new

    yield make
    for worker in made:
        await worker.cache.aclose()


def waiting(worker: Any) -> int:
    """How many requests wait for a call of their worker's, or hear of another worker's."""
    followers = sum(each.waiting for each in worker._fetcher._turns._flights._flights.values())
    ears = worker.cache.leasing.store.leases._ears.values()
    listeners: int = sum(len(each) for one in ears for each in one._listeners.values())
    return int(followers) + listeners


async def all_wait(gated: Gated, workers: list[Any], count: int) -> None:
    """Return when each of *count* requests is in the app, or waits for one that is."""
    await until(lambda: gated.inside + sum(map(waiting, workers)) == count)


async def gather_at_gate(
    gated: Gated, workers: list[Any], tasks: list[asyncio.Task[Any]]
) -> list[Any]:
    await all_wait(gated, workers, len(tasks))
    gated.gate.set()
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)


def test_redis_has_leases(redis_url: str) -> None:
    assert isinstance(RedisStore(redis_url, "x"), Leased)


async def test_c02_a_thousand_misses_over_four_workers_are_one_call(
    workers: Callable[..., Any],
) -> None:
    gated = Gated(FRESH)
    four = workers(gated)
    tasks = [asyncio.create_task(drive(worker)) for worker in four for _ in range(250)]
    answers = await gather_at_gate(gated, four, tasks)
    assert gated.calls == 1
    assert {exchange.body for exchange in answers} == {b"1;"}
    assert sum(exchange.collapsed is True for exchange in answers) == 999


async def test_those_who_wait_are_woken_by_a_push(
    workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asgi_cache.leasing.LISTENED_POLL_SECONDS", (60.0, 61.0))
    gated = Gated(FRESH)
    two = workers(gated, 2, collapse_timeout=30)
    tasks = [asyncio.create_task(drive(worker)) for worker in two]
    answers = await gather_at_gate(gated, two, tasks)
    assert gated.calls == 1
    assert {exchange.body for exchange in answers} == {b"1;"}


async def test_without_a_push_they_look_for_themselves(
    workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = Gated(FRESH)
    two = workers(gated, 2)

    asked = asyncio.Event()

    async def deaf(*_: object) -> None:
        asked.set()
        raise OSError("no such channel")

    for worker in two:
        monkeypatch.setattr(worker.cache.leasing.store.leases, "listen", deaf)
    tasks = [asyncio.create_task(drive(worker)) for worker in two]
    await asyncio.wait_for(asked.wait(), 10)
    gated.gate.set()
    answers = await asyncio.wait_for(asyncio.gather(*tasks), 20)
    assert gated.calls == 1
    assert {exchange.body for exchange in answers} == {b"1;"}


@pytest.mark.parametrize("near_bytes", [0, 1 << 20])
async def test_a_fill_that_ended_between_look_up_and_lease_is_not_made_again(
    workers: Callable[..., Any],
    redis_url: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    near_bytes: int,
) -> None:
    """The second worker has found nothing; before it asks for the lease the first has stored."""
    gated = Gated(FRESH)
    gated.gate.set()
    one, two = workers(gated, 2, near_bytes=near_bytes)
    assert (await drive(one)).body == b"1;"
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        records = [key async for key in client.scan_iter(f"{namespace}:*:0")]
        await client.delete(*records)
    take = two.cache.leasing.take

    async def late(*arguments: object) -> object:
        monkeypatch.undo()
        assert (await drive(one)).body == b"2;"
        return await take(*arguments)

    monkeypatch.setattr(two.cache.leasing, "take", late)
    exchange = await drive(two)
    assert exchange.body == b"2;"
    assert exchange.collapsed is True
    assert gated.calls == 2
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        for _ in range(100):
            if not [key async for key in client.scan_iter(f"{namespace}:*:l:*")]:
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("the lease was not given back")


async def test_l14_an_unusable_answer_releases_the_followers_of_all_workers(
    workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asgi_cache.leasing.LISTENED_POLL_SECONDS", (60.0, 61.0))
    gated = Gated(("cache-control", "private"))
    two = workers(gated, 2, collapse_timeout=30)
    tasks = [asyncio.create_task(drive(worker)) for worker in two for _ in range(10)]
    answers = await gather_at_gate(gated, two, tasks)
    assert gated.calls == 20
    assert len({exchange.body for exchange in answers}) == 20


async def test_c04_a_leader_that_raises_is_followed_by_another_worker(
    workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asgi_cache.leasing.LISTENED_POLL_SECONDS", (60.0, 61.0))
    gated = Gated(FRESH)
    gated.failure = ValueError("first")

    async def first_only(serial: int) -> None:
        if serial > 1:
            gated.failure = None

    gated.each = first_only
    two = workers(gated, 2, collapse_timeout=30)
    tasks = [asyncio.create_task(drive(worker)) for worker in two]
    answers = await gather_at_gate(gated, two, tasks)
    assert sorted(type(answer).__name__ for answer in answers) == ["Exchange", "ValueError"]
    assert gated.calls == 2


async def test_c09_a_late_finish_overwrites_nothing(
    workers: Callable[..., Any], redis_url: str, namespace: str
) -> None:
    """The leader's lease ends while it works; what its successor has stored stays."""
    slow, quick = Gated(FRESH), Gated(FRESH)
    quick.calls = 100
    quick.gate.set()
    late, next_one = workers(slow, 1)[0], workers(quick, 1)[0]
    first = asyncio.create_task(drive(late))
    await asyncio.wait_for(slow.entered.wait(), 10)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        (lease,) = [key async for key in client.scan_iter(f"{namespace}:*:l:*")]
        assert await client.pttl(lease) > 0
        await client.delete(lease)  # as if its life had ended
        assert (await drive(next_one)).body == b"101;"
        await client.set(lease, b"somebody else's", px=60_000)
        slow.gate.set()
        exchange = await first
        assert exchange.body == b"1;"
        assert await client.get(lease) == b"somebody else's"
        await client.delete(lease)
    assert late.cache.metrics.by_label()["refusal.overtaken"] == 1
    for worker in (late, next_one):
        assert (await drive(worker)).body == b"101;"


async def test_a_leader_that_hangs_is_replaced_when_its_lease_ends(
    workers: Callable[..., Any],
) -> None:
    hung, quick = Gated(FRESH), Gated(FRESH)
    quick.gate.set()
    one, two = workers(hung, 1, collapse_timeout=0.3)[0], workers(quick, 1)[0]
    first = asyncio.create_task(drive(one))
    await asyncio.wait_for(hung.entered.wait(), 10)
    exchange = await asyncio.wait_for(drive(two), 5)
    assert exchange.body == b"1;"
    assert "stored" in exchange.cache_status
    hung.gate.set()
    await first


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("url", ["http://shop.example/", None])
async def test_c18_those_of_after_a_purge_make_one_further_call_over_all_workers(
    workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, url: str | None, soft: bool
) -> None:
    monkeypatch.setattr("asgi_cache.leasing.LISTENED_POLL_SECONDS", (60.0, 61.0))
    gated = Gated(FRESH)
    four = workers(gated, collapse_timeout=30)
    early = [asyncio.create_task(drive(worker)) for worker in four for _ in range(3)]
    await all_wait(gated, four, len(early))
    purge = four[0].cache.purge_all(soft=soft) if url is None else None
    await (purge or four[0].cache.purge(url, soft=soft))
    late = [asyncio.create_task(drive(worker)) for worker in four for _ in range(10)]
    answers = await gather_at_gate(gated, four, [*early, *late])
    assert {exchange.body for exchange in answers[:12]} <= {b"1;", b"2;"}
    assert {exchange.body for exchange in answers[12:]} == {b"2;"}
    # The second may begin while the first, all its bytes sent, has not returned yet.
    assert gated.calls == 2
    for worker in four:
        assert (await drive(worker)).hit


async def test_c18_who_is_handed_a_lease_fills_with_the_stamps_of_now(
    workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge came while it waited for another worker's lease, and nobody asked after it."""
    monkeypatch.setattr("asgi_cache.leasing.LISTENED_POLL_SECONDS", (60.0, 61.0))
    gated = Gated(FRESH)
    one, two = workers(gated, 2, collapse_timeout=30)
    first = asyncio.create_task(drive(one))
    await asyncio.wait_for(gated.entered.wait(), 10)
    second = asyncio.create_task(drive(two))
    await all_wait(gated, [one, two], 2)
    await one.cache.purge_all()
    gated.gate.set()
    assert (await first).body == b"1;"
    exchange = await asyncio.wait_for(second, 5)
    assert (exchange.body, exchange.collapsed) == (b"2;", False)
    assert "stored" in exchange.cache_status
    for worker in (one, two):
        assert (await drive(worker)).body == b"2;"
    assert gated.calls == 2


async def test_c18_a_purged_fill_is_waited_for_no_longer_than_its_app_call(
    workers: Callable[..., Any],
) -> None:
    """Its client takes nothing; those of after the purge need not wait until it has."""
    gated = Gated(FRESH)
    (worker,) = workers(gated, 1, collapse_timeout=30)
    stuck = asyncio.Event()

    async def slow(message: Message) -> None:
        if message.get("body"):
            await stuck.wait()

    connection = Connection(http_scope(), on_send=slow)
    first = asyncio.create_task(connection.run(worker))
    await asyncio.wait_for(gated.entered.wait(), 10)
    await worker.cache.purge_all()
    late = [asyncio.create_task(drive(worker)) for _ in range(5)]
    await all_wait(gated, [worker], 6)
    gated.gate.set()
    answers = await asyncio.wait_for(asyncio.gather(*late), 5)
    assert {exchange.body for exchange in answers} == {b"2;"}
    assert not first.done()
    stuck.set()
    assert (await first).body == b"1;"
    exchange = await drive(worker)
    assert (exchange.hit, exchange.body) == (True, b"2;")


async def test_c08_they_wait_no_longer_than_the_timeout(workers: Callable[..., Any]) -> None:
    hung, quick = Gated(FRESH), Gated(FRESH)
    quick.gate.set()
    one = workers(hung, 1, collapse_timeout=30)[0]
    two = workers(quick, 1, collapse_timeout=0.3)[0]
    first = asyncio.create_task(drive(one))
    await asyncio.wait_for(hung.entered.wait(), 10)
    answers = await asyncio.wait_for(asyncio.gather(*(drive(two) for _ in range(3))), 5)
    assert {exchange.cache_status for exchange in answers} == {
        "asgi-cache; fwd=uri-miss; collapsed=?0; detail=leader-late"
    }
    hung.gate.set()
    assert "stored" in (await first).cache_status


async def test_variants_are_led_apart_once_they_are_known(workers: Callable[..., Any]) -> None:
    gated = Gated(FRESH, ("vary", "x-v"))
    gated.gate.set()
    two = workers(gated, 2)
    await drive(two[0], headers=[("x-v", "0")])
    gated.gate.clear()
    tasks = [
        asyncio.create_task(drive(worker, headers=[("x-v", value)]))
        for worker in two
        for value in ("a", "b")
        for _ in range(5)
    ]
    await all_wait(gated, two, len(tasks))
    gated.gate.set()
    await asyncio.gather(*tasks)
    assert gated.calls == 3


async def test_nothing_is_left_behind(
    workers: Callable[..., Any], redis_url: str, namespace: str
) -> None:
    gated = Gated(FRESH)
    two = workers(gated, 2)
    tasks = [
        asyncio.create_task(drive(worker, f"/{number % 5}"))
        for worker in two
        for number in range(30)
    ]
    await all_wait(gated, two, len(tasks))
    for task in tasks[::4]:
        task.cancel()
    gated.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: not any(worker.cache.leasing._tasks for worker in two))
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert [key async for key in client.scan_iter(f"{namespace}:*:l:*")] == []
    for worker in two:
        assert worker._fetcher._turns._flights._flights == {}
        ears = worker.cache.leasing.store.leases._ears
        assert all(not one._listeners for one in ears.values())
        await worker.cache.aclose()
    await turns()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_store_that_does_not_answer_costs_no_more_than_its_deadline(
    workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = Gated(FRESH)
    gated.gate.set()
    (worker,) = workers(gated, 1, store_timeout=0.05)

    async def never(*_: object) -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(worker.cache.leasing.store.leases, "take", never)
    exchange = await asyncio.wait_for(drive(worker), 2)
    assert "stored" in exchange.cache_status
    assert (await drive(worker)).hit


async def test_what_a_lease_waits_for_comes_out_of_the_request_s_time(
    workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (worker,) = workers(Gated(FRESH), 1)
    leasing, asked = worker.cache.leasing, 0

    async def never(*_: object) -> bool:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(leasing.store.leases, "take", never)
    lease = Lease(leasing, b"target", b"place")
    store = worker.cache.store_for_request()  # with a near tier: the budget is the far store's
    store.budget.remaining = 0.03
    assert await asyncio.wait_for(leasing.take(lease, store), 2) is None
    assert store.budget.remaining <= 0
    assert await leasing.take(lease, store) is None
    assert asked == 1


def test_memory_needs_none() -> None:
    worker = CacheMiddleware(Gated(FRESH))
    assert worker.cache.leasing is None
    assert not isinstance(worker.cache.store, GuardedStore)


async def test_a_client_that_goes_while_the_lease_is_taken_leaves_none(
    workers: Callable[..., Any], redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = Gated(FRESH)
    gated.gate.set()
    one, two = workers(gated, 2, collapse_timeout=30)
    leases, taken = one.cache.leasing.store.leases, asyncio.Event()
    take = leases.take

    async def slow(*arguments: Any) -> bool:
        done = await take(*arguments)
        taken.set()
        await asyncio.sleep(10)
        return bool(done)

    monkeypatch.setattr(leases, "take", slow)
    task = asyncio.create_task(drive(one))
    await asyncio.wait_for(taken.wait(), 10)
    task.cancel()
    await asyncio.wait({task})
    exchange = await asyncio.wait_for(drive(two), 5)
    assert "stored" in exchange.cache_status


async def test_a_waiter_does_not_hang_with_the_connection_it_listens_on(
    workers: Callable[..., Any], redis_url: str
) -> None:
    gated = Gated(FRESH)
    two = workers(gated, 2, collapse_timeout=1.0, store_timeout=0.2)
    first = asyncio.create_task(drive(two[0]))
    await asyncio.wait_for(gated.entered.wait(), 10)
    second = asyncio.create_task(drive(two[1]))
    await all_wait(gated, two, 2)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.client_kill_filter(_type="pubsub")
    gated.gate.set()
    answers = await asyncio.wait_for(asyncio.gather(first, second), 3)
    assert {exchange.body for exchange in answers} <= {b"1;", b"2;"}


async def test_an_app_that_is_cancelled_while_its_response_is_written_does_not_undo_that(
    workers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = Gated(FRESH)
    gated.gate.set()
    (worker,) = workers(gated, 1)
    store, writing, go_on = worker.cache.leasing.store, asyncio.Event(), asyncio.Event()
    write = store.write_leased

    async def slow(*arguments: Any) -> bool:
        writing.set()
        await go_on.wait()
        return bool(await write(*arguments))

    monkeypatch.setattr(store, "write_leased", slow)
    task = asyncio.create_task(drive(worker))
    await asyncio.wait_for(writing.wait(), 10)
    task.cancel()
    await asyncio.wait({task})
    await turns()
    go_on.set()
    await until(lambda: worker.cache.metrics.stores == 1)
    assert (await drive(worker)).hit
    assert gated.calls == 1
