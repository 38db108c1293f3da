"""What a cache says of its store, and what becomes of invalidations that it cannot carry out."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

import asgi_cache
from asgi_cache import Cache, CacheMiddleware, ConfigurationError, GuardedStore, Health
from asgi_cache.errors import StoreRefused, StoreUnavailable
from asgi_cache.stores import probing
from asgi_cache.stores.breaker import LIMIT
from tests.driver import Recorder, SpyStore, drive
from tests.stores.wire import until
from tests.test_collapsing import Gated, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

FRESH = ("cache-control", "max-age=60")
URL = "http://shop.example/page"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "INTERVAL", 0.02)
    monkeypatch.setattr(probing, "JITTER", 0.0)


@pytest.fixture
def spy() -> SpyStore:
    return SpyStore()


def middleware(spy: SpyStore, recorder: Recorder | None = None, **options: Any) -> CacheMiddleware:
    return CacheMiddleware(recorder or Recorder([FRESH]), store=GuardedStore(spy), **options)


def test_memory_has_nothing_to_report() -> None:
    assert Cache().health() == Health("memory", True, "none", None, None, 0)


def test_redis_is_available_until_it_is_not() -> None:
    health = Cache(store="redis://127.0.0.1:1/0").health()
    assert (health.store, health.available, health.breaker) == ("redis", True, "closed")
    assert (health.last_error, health.waiting) == (None, 0)
    assert health.since is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        health.available = False  # type: ignore[misc]


async def test_it_says_what_failed_and_that_the_breaker_opened(spy: SpyStore) -> None:
    app = middleware(spy)
    before = app.cache.health()
    spy.failing["read"] = StoreUnavailable(
        "read: cannot reach rediss://user:p4ss@w0rd@redis.example:1/0"
    )
    for _ in range(LIMIT):
        assert app.cache.health().available
        await drive(app)
    health = app.cache.health()
    assert (health.store, health.available, health.breaker) == ("memory", False, "open")
    assert health.last_error == "read: cannot reach rediss://user:***@redis.example:1/0"
    assert before.since is not None
    assert health.since is not None
    assert health.since > before.since
    spy.failing.clear()
    await until(lambda: app.cache.health().available)
    assert app.cache.health().last_error == health.last_error


async def test_a_request_that_does_not_ask_the_store_is_no_failure_of_it(
    spy: SpyStore, caplog: pytest.LogCaptureFixture
) -> None:
    app = middleware(spy)
    spy.failing = dict.fromkeys(("read", "settle"), StoreUnavailable("away"))
    for _ in range(3 * LIMIT):
        exchange = await drive(app)
        assert exchange.status == 200
        assert "detail=store-unavailable" in exchange.cache_status
    assert app.cache.metrics.store_failures == LIMIT
    (line,) = caplog.records  # that the breaker opened, and why
    assert line.getMessage().startswith("the store does not answer (away); ")
    await app.cache.aclose()


async def test_an_invalidation_that_fails_holds_here_at_once_and_everywhere_later(
    spy: SpyStore,
) -> None:
    here, elsewhere = (middleware(spy) for _ in range(2))
    first = await drive(here)
    other = await drive(here, "/other")
    spy.failing["replace"] = StoreRefused("OOM")
    assert (await drive(here, method="POST")).status == 200
    assert here.cache.health().waiting == 1
    assert here.cache.health().available
    again = await drive(here)
    assert not again.hit
    assert again.serial > first.serial
    # What it names is not stored anew either, and everything else is a hit.
    assert not (await drive(here)).hit
    assert (await drive(here, "/other")).serial == other.serial
    assert (await drive(elsewhere)).hit  # as documented
    spy.failing.clear()
    await until(lambda: here.cache.health().waiting == 0)
    assert not (await drive(elsewhere)).hit
    assert (await drive(here)).hit


async def test_an_invalidation_that_is_cancelled_waits_too(spy: SpyStore) -> None:
    """Its loop ends while the store is asked, and another one goes on."""
    app = middleware(spy)
    spy.failing["replace"] = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await app.cache.invalidate([b"t/"], spy)
    assert app.cache.health().waiting == 1
    spy.failing.clear()
    await until(lambda: app.cache.health().waiting == 0)


def test_a_store_of_ones_own_goes_by_its_class() -> None:
    names = ("now", "read", "write", "remove", "settle", "replace", "aclose")
    own: Any = type("Own", (), dict.fromkeys(names, lambda *_: None))()
    assert Cache(store=own).health().store == "Own"


PURGES: dict[str, Callable[[Any, str], Coroutine[Any, Any, None]]] = {
    "url": lambda cache, on_error: cache.purge(URL, on_error=on_error),
    "queries": lambda cache, on_error: cache.purge(URL, all_queries=True, on_error=on_error),
    "group": lambda cache, on_error: cache.purge(group="a", on_error=on_error),
    "all": lambda cache, on_error: cache.purge_all(on_error=on_error),
    "soft": lambda cache, on_error: cache.purge(URL, soft=True, on_error=on_error),
    "soft-group": lambda cache, on_error: cache.purge(group="a", soft=True, on_error=on_error),
    "soft-all": lambda cache, on_error: cache.purge_all(soft=True, on_error=on_error),
}
every_purge = pytest.mark.parametrize("purge", PURGES.values(), ids=PURGES)


@every_purge
async def test_a_purge_that_fails_raises(spy: SpyStore, purge: Any) -> None:
    app = middleware(spy)
    spy.failing["replace"] = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await purge(app.cache, "raise")
    assert app.cache.health().waiting == 0


@every_purge
@pytest.mark.parametrize("away", [False, True])
async def test_or_is_queued(spy: SpyStore, purge: Any, away: bool) -> None:
    recorder = Recorder([FRESH, ("cache-groups", '"a"')])
    app = middleware(spy, recorder)
    first = await drive(app, "/page")
    assert (await drive(app, "/page")).hit
    spy.failing["replace"] = StoreRefused("OOM")
    if away:
        spy.failing["read"] = StoreUnavailable("away")
        for _ in range(LIMIT):
            await drive(app, "/page")
        assert not app.cache.health().available
    await purge(app.cache, "queue")
    assert app.cache.health().waiting >= 1
    assert app.cache.metrics.purges == 0
    assert (await drive(app, "/page")).serial > first.serial
    spy.failing.clear()
    await until(lambda: app.cache.health().waiting == 0 and app.cache.health().available)
    again = await drive(app, "/page")
    assert again.serial > first.serial
    assert (await drive(app, "/page")).serial == again.serial


@every_purge
async def test_one_that_succeeds_queues_nothing(spy: SpyStore, purge: Any) -> None:
    app = middleware(spy)
    await purge(app.cache, "queue")
    assert (app.cache.health().waiting, app.cache.metrics.purges) == (0, 1)


async def test_a_handler_may_queue_too(spy: SpyStore) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        handle = asgi_cache.from_scope(scope)
        await handle.purge("/relative", on_error="queue")
        await handle.purge(group="a", on_error="queue")
        await handle.purge_all(on_error="queue")
        with pytest.raises(StoreUnavailable):
            await handle.purge("/relative")
        with pytest.raises(StoreUnavailable):
            await handle.purge_all()
        await Recorder()(scope, receive, send)

    wrapped = CacheMiddleware(app, store=GuardedStore(spy))
    spy.failing["replace"] = StoreRefused("OOM")
    assert (await drive(wrapped)).status == 200
    assert wrapped.cache.health().waiting == 4


async def test_wrong_words_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"on_error is 'ignore'.*'raise' or 'queue'"):
        await Cache().purge_all(on_error="ignore")  # type: ignore[arg-type]


async def test_a_store_without_a_guard_keeps_nothing(spy: SpyStore) -> None:
    cache = Cache(store=spy)
    spy.failing["replace"] = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await cache.purge_all(on_error="queue")


async def test_a_log_line_names_the_type_of_what_failed(
    spy: SpyStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where that has no text."""
    cache = Cache(store=spy)
    for error in (StoreRefused(), StoreUnavailable("lease: too late"), TimeoutError()):
        cache.failed("lease", error)
    assert [record.getMessage() for record in caplog.records] == [
        "store: lease failed: StoreRefused",
        "store: lease failed: StoreUnavailable: lease: too late",
        "store: lease failed: TimeoutError",
    ]


async def test_closing_says_what_was_not_carried_out(
    spy: SpyStore, caplog: pytest.LogCaptureFixture
) -> None:
    app = middleware(spy)
    spy.failing["replace"] = StoreRefused("OOM")
    await app.cache.purge(URL, on_error="queue")
    await app.cache.aclose()
    assert "close failed: StoreUnavailable: 1 invalidations were not carried out" in caplog.text


# ------------------------------------------------------------------ and who waits for whom


async def test_no_call_is_shared_while_an_invalidation_of_its_page_waits(spy: SpyStore) -> None:
    """Others may purge meanwhile, and what stands in the store is not looked at here."""
    gated = Gated(FRESH)
    app = CacheMiddleware(gated, store=GuardedStore(spy))
    spy.failing["replace"] = StoreRefused("READONLY")
    await app.cache.purge(URL, on_error="queue")
    first = asyncio.create_task(drive(app, "/page"))
    await asyncio.wait_for(gated.entered.wait(), 5)
    await turns()
    other = Cache(store=GuardedStore(spy))
    del spy.failing["replace"]
    await other.purge(URL)
    spy.failing["replace"] = StoreRefused("READONLY")
    app.cache.store.queue([b"n"], [], 60.0, b"n")  # type: ignore[attr-defined]
    second = asyncio.create_task(drive(app, "/page"))
    await turns()
    gated.gate.set()
    assert (await first).body == b"1;"
    assert (await second).body == b"2;"


@pytest.mark.parametrize("how", ["queued", "carried out", "an invalidation"])
async def test_nor_one_that_began_before_a_purge_with_the_store_away_again(
    spy: SpyStore, how: str
) -> None:
    """The store was back in between, so that nothing waits any more."""
    gated = Gated(FRESH)
    app = CacheMiddleware(gated, store=GuardedStore(spy))
    away = dict.fromkeys(("read", "replace", "settle"), StoreUnavailable("away"))
    spy.failing |= away
    first = asyncio.create_task(drive(app, "/page"))
    await asyncio.wait_for(gated.entered.wait(), 5)
    if how == "queued":
        await app.cache.purge(URL, on_error="queue")
        assert app.cache.health().waiting == 1
    spy.failing.clear()
    if how == "carried out":
        await app.cache.purge(URL)
    elif how == "an invalidation":
        await app.cache.invalidate([b"n"], app.cache.store)
    await until(lambda: app.cache.health().waiting == 0)
    spy.failing |= away
    second = asyncio.create_task(drive(app, "/page"))
    await turns()
    gated.gate.set()
    assert (await first).body != (await second).body


async def test_nor_one_that_began_before_it_with_the_store_away(spy: SpyStore) -> None:
    gated = Gated(FRESH)
    app = CacheMiddleware(gated, store=GuardedStore(spy))
    for operation in ("read", "replace", "settle"):
        spy.failing[operation] = StoreUnavailable("away")
    for number in range(LIMIT):
        task = asyncio.create_task(drive(app, f"/other/{number}"))
        await turns()
        gated.gate.set()
        await task
        gated.gate.clear()
    assert not app.cache.health().available
    calls = gated.calls
    first = [asyncio.create_task(drive(app, "/page")) for _ in range(2)]
    await turns()
    assert gated.calls == calls + 1  # the store is away: one call for all
    await app.cache.purge(URL, on_error="queue")
    second = asyncio.create_task(drive(app, "/page"))
    await turns()
    gated.gate.set()
    before = {(await task).body for task in first}
    assert (await second).body not in before
    assert gated.calls == calls + 2
