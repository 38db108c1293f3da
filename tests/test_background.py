"""Background requests end, are nobody's, are spaced, and never cost a client anything."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache import CacheMiddleware, Rule, revalidating
from asgi_cache.revalidating import RETRY_SECONDS
from tests.driver import BODY, START, SpyStore, drive
from tests.revising import Revising

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tests.conftest import Clock

WINDOW = ("cache-control", "max-age=10, stale-while-revalidate=60")
ALICE = ("cookie", "user=alice; loc=de")
MANY = 200
"""How often an app goes on that is not told to stop."""


def cached(app: Any, clock: Clock, **settings: Any) -> CacheMiddleware:
    return CacheMiddleware(app, store=SpyStore(clock), **settings)


async def settled() -> bool:
    """Whether nothing but this test is left to run, after many turns."""
    for _ in range(10 * MANY):
        await asyncio.sleep(0)
        if asyncio.all_tasks() == {asyncio.current_task()}:
            await asyncio.sleep(0)  # for what is to be done at a task's end
            return True
    return False


# ------------------------------------------------------------------ what it carries


async def test_it_carries_no_cookie_that_is_not_keyed(clock: Clock) -> None:
    """Without a lifetime of its own a rule does not key the cookies that it names."""
    for rule, cookies in (
        (Rule(cookies=["loc"]), None),
        (Rule(ttl=10, cookies=["loc"]), b"loc=de"),
    ):
        page = Revising(("cache-control", "public, max-age=10, stale-while-revalidate=60"))
        app = cached(page, clock, paths={"/": rule})
        await drive(app, headers=[("cookie", "loc=de")])
        clock.advance(11)
        assert (await drive(app, headers=[ALICE])).hit
        assert await settled()
        assert page.answers == [200, 304]
        assert page.fields().get(b"cookie") == cookies


async def test_who_looked_up_before_it_ended_starts_no_other(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    store, read, late = app.cache.store, app.cache.store.read, asyncio.Event()
    found = asyncio.Event()

    async def delayed(*arguments: Any) -> Any:
        answer = await read(*arguments)
        found.set()
        await late.wait()
        return answer

    monkeypatch.setattr(store, "read", delayed)
    slow = asyncio.create_task(drive(app))
    await asyncio.wait_for(found.wait(), 5)
    monkeypatch.setattr(store, "read", read)
    assert (await drive(app)).hit
    for _ in range(200):  # the background request ends, and is stored
        await asyncio.sleep(0)
    assert page.answers == [200, 304]
    late.set()
    assert (await asyncio.wait_for(slow, 5)).hit
    assert await settled()
    assert page.answers == [200, 304]
    clock.advance(11)
    assert (await drive(app)).hit
    assert await settled()
    assert page.answers == [200, 304, 304]


# ------------------------------------------------------------------ how it ends


class Endless:
    """A page that is short the first time, and ``kind`` afterwards; it tells how far it went."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.calls = self.chunks = 0
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        lines = [(b"cache-control", WINDOW[1].encode()), (b"content-length", b"3")]
        if self.calls == 1:
            await send({"type": START, "status": 200, "headers": lines})
            await send({"type": BODY, "body": b"one"})
            return
        try:
            if self.kind == "hangs":
                await asyncio.Event().wait()
            if self.kind == "stream":
                lines = [(b"content-type", b"text/event-stream")]
            await send({"type": START, "status": 200, "headers": lines[:1]})
            while self.chunks < MANY:
                self.chunks += 1
                await send({"type": BODY, "body": b"x" * 100, "more_body": True})
            await asyncio.Event().wait()
        finally:
            self.ended.set()


@pytest.mark.parametrize("kind", ["stream", "large"])
async def test_one_whose_answer_is_of_no_use_is_ended_at_once(
    clock: Clock, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revalidating, "MOST_AT_ONCE", 1)
    endless, page = Endless(kind), Revising(WINDOW)

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        await (endless if scope["path"] == "/endless" else page)(scope, receive, send)

    app = cached(site, clock, max_body_bytes=1000)
    for path in ("/endless", "/page"):
        await drive(app, path)
    clock.advance(11)
    assert (await drive(app, "/endless")).body == b"one"
    assert await settled()
    assert endless.ended.is_set()
    assert endless.chunks <= 12
    await drive(app, "/page")
    assert await settled()
    assert page.answers == [200, 304]  # its slot is free again


async def test_one_that_hangs_is_ended_and_spaced(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revalidating, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(revalidating, "MOST_SECONDS", 0.01, raising=False)
    page = Endless("hangs")
    app = cached(page, clock)
    for path in ("/", "/other"):
        await drive(app, path)
        page.calls = 0
    page.calls = 1
    clock.advance(11)
    for calls, seconds in ((2, 0.0), (3, RETRY_SECONDS)):
        clock.advance(seconds)
        page.ended.clear()
        assert (await drive(app)).body == b"one"
        await asyncio.wait_for(page.ended.wait(), 2)
        assert await settled()
        for _ in range(3):
            assert (await drive(app)).body == b"one"
            assert await settled()
        assert page.calls == calls
    page.ended.clear()
    await drive(app, "/other")
    await asyncio.wait_for(page.ended.wait(), 2)  # its slot is free again
    assert await settled()


@pytest.mark.parametrize("status", [304, 503])
@pytest.mark.parametrize("kind", ["here", "apart", "background"])
async def test_an_app_that_goes_on_after_the_answer_is_told_to_stop(
    clock: Clock, kind: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What it raises then is no failure; its final message is none either."""
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first = b"if-none-match" not in dict(scope["headers"])
        lines = [(b"etag", b'"one"')]
        if kind != "apart":
            windows = b"stale-while-revalidate=60" if kind == "background" else b"stale-if-error=60"
            lines.append((b"cache-control", b"max-age=10, " + windows))
        await send({"type": START, "status": 200 if first else status, "headers": lines})
        try:
            for _ in range(0 if first else MANY):
                told.append("sent")
                await send({"type": BODY, "body": b"x", "more_body": True})
        except OSError:
            told.append("stop")
            await send({"type": BODY, "body": b""})
            raise ValueError("not to be seen") from None
        await send({"type": BODY, "body": b"one"})

    paths = {"/": Rule(ttl=10, stale_if_error=60)} if kind == "apart" else {}
    wrapped = cached(app, clock, paths=paths)
    await drive(wrapped)
    clock.advance(11)
    with caplog.at_level(logging.DEBUG):
        headers = [ALICE] if kind == "apart" else []
        exchange = await drive(wrapped, headers=headers)
        assert await settled()
    assert (exchange.status, exchange.body, exchange.complete) == (200, b"one", True)
    assert told == ["sent", "stop"]
    assert caplog.records == []


async def test_one_that_is_answered_about_another_version_asks_once(clock: Clock) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.not_modified = [("etag", '"other"')]
    assert (await drive(app)).hit
    assert await settled()
    assert page.answers == [200, 304]


# ------------------------------------------------------------------ how often


async def test_each_variant_is_revalidated_whatever_becomes_of_the_others(clock: Clock) -> None:
    page = Revising(WINDOW, ("vary", "x-v"))
    app = cached(page, clock)
    a, b = [("x-v", "a")], [("x-v", "b")]
    for variant in (a, b):
        await drive(app, headers=variant)
    clock.advance(11)

    async def fail(scope: Scope) -> None:
        if (b"x-v", b"a") in scope["headers"]:
            raise ValueError("away")

    page.before = fail
    for variant in (a, b, a, a):
        assert (await drive(app, headers=variant)).hit
        assert await settled()
    assert page.calls == 4  # the one that fails is spaced as before
    assert (await drive(app, headers=b)).cache_status == "asgi-cache; hit; ttl=10"


async def test_one_variant_that_hangs_does_not_keep_the_others_waiting(clock: Clock) -> None:
    page = Revising(WINDOW, ("vary", "x-v"))
    app = cached(page, clock)
    gate = asyncio.Event()
    a, b = [("x-v", "a")], [("x-v", "b")]
    for variant in (a, b):
        await drive(app, headers=variant)
    clock.advance(11)

    async def wait(scope: Scope) -> None:
        if (b"x-v", b"a") in scope["headers"]:
            await gate.wait()

    page.before = wait
    for variant in (a, b):
        assert (await drive(app, headers=variant)).hit
        assert not await settled()
    assert (await drive(app, headers=b)).cache_status == "asgi-cache; hit; ttl=10"
    gate.set()
    assert await settled()


async def test_one_that_is_cancelled_from_inside_is_spaced_too(clock: Clock) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.failure = asyncio.CancelledError()
    for calls in (2, 3):
        for _ in range(3):
            assert (await drive(app)).hit
            assert await settled()
        assert page.calls == calls
        clock.advance(RETRY_SECONDS)


def test_one_that_a_closed_loop_has_left_does_not_block_the_next(clock: Clock) -> None:
    page = Revising(WINDOW)
    app = cached(page, clock)
    left: list[Any] = []

    async def hang(scope: Scope) -> None:
        await asyncio.Event().wait()

    async def until_it_hangs() -> None:
        await drive(app)
        clock.advance(11)
        page.before = hang
        await drive(app)
        assert not await settled()
        left.extend(asyncio.all_tasks() - {asyncio.current_task()})

    async def again() -> bool:
        page.before = None
        await drive(app)
        return await settled()

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(until_it_hangs())
    finally:
        loop.close()  # with the task pending, as some test clients do
    try:
        assert asyncio.run(again())
        assert page.answers == [200, 304]
    finally:
        for task in left:  # now, and not in the midst of another test
            task._log_destroy_pending = False
            task.get_coro().close()
