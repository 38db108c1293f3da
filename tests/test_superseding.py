"""What is stored and what supersedes it: neither a late answer nor a refused one mixes them up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache import CacheMiddleware
from asgi_cache.revalidating import RETRY_SECONDS
from tests.driver import START, Connection, SpyStore, drive, http_scope
from tests.revising import Revising

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from tests.conftest import Clock

SHORT = ("cache-control", "max-age=10")
WINDOW = ("cache-control", "max-age=10, stale-while-revalidate=60")


def cached(app: Any, clock: Clock, **settings: Any) -> CacheMiddleware:
    return CacheMiddleware(app, store=SpyStore(clock), **settings)


async def settled() -> bool:
    """Whether nothing but this test is left to run, after many turns."""
    for _ in range(1000):
        await asyncio.sleep(0)
        if asyncio.all_tasks() == {asyncio.current_task()}:
            await asyncio.sleep(0)  # for what is to be done at a task's end
            return True
    return False


async def test_a_304_about_another_version_takes_out_what_was_asked_about(clock: Clock) -> None:
    page = Revising(SHORT)
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    page.not_modified = [("etag", '"other"')]
    assert "detail=not-validated" in (await drive(app)).cache_status
    assert (await drive(app)).cache_status == "asgi-cache; fwd=uri-miss; stored"
    assert page.answers == [200, 304, 200, 200]


@pytest.mark.parametrize("vary", [False, True])
@pytest.mark.parametrize("status", [304, 404])
async def test_a_late_answer_does_no_harm_to_what_was_stored_meanwhile(
    clock: Clock, status: int, vary: bool
) -> None:
    lines = [SHORT, ("vary", "x-v")] if vary else [SHORT]
    page, newer = Revising(*lines), Revising(*lines)
    newer.version = "two"
    app = cached(page, clock)
    other = CacheMiddleware(newer, cache=app.cache)
    await drive(app)
    clock.advance(11)
    asked, gate = asyncio.Event(), asyncio.Event()

    async def wait(scope: Scope) -> None:
        asked.set()
        await gate.wait()

    page.before = wait
    if status != 304:
        page.status, page.headers = status, []
    late = asyncio.create_task(drive(app))
    await asyncio.wait_for(asked.wait(), 5)
    assert (await drive(other)).body == b"two"
    gate.set()
    exchange = await late
    assert page.answers == [200, status]
    assert (exchange.status, exchange.body[:3]) == (200 if status == 304 else 404, b"one")
    exchange = await drive(app)
    assert (exchange.body, exchange.hit) == (b"two", True)
    refusals = app.cache.metrics.by_label()
    assert refusals.get("refusal.overtaken", 0) == (status == 304)


async def test_a_late_answer_is_nobody_elses_even_while_its_client_is_slow(clock: Clock) -> None:
    lines = [SHORT, ("vary", "x-v")]
    page, newer = Revising(*lines), Revising(*lines)
    newer.version = "two"
    app = cached(page, clock)
    await drive(app)
    clock.advance(11)
    answered, gate = asyncio.Event(), asyncio.Event()

    async def overtake(scope: Scope) -> None:
        page.before = None
        assert (await drive(CacheMiddleware(newer, cache=app.cache))).body == b"two"

    async def wait(message: Message) -> None:
        answered.set()
        await gate.wait()

    page.before = overtake
    late = asyncio.create_task(Connection(http_scope(), on_send=wait).run(app))
    await asyncio.wait_for(answered.wait(), 5)
    meanwhile = await drive(app)
    gate.set()
    assert (await late).body == b"one"
    assert (meanwhile.body, meanwhile.hit) == (b"two", True)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("what", ["no-lifetime", "too-large", "too-large-at-last"])
async def test_what_replaces_it_takes_it_out_and_a_refusal_does_not(
    clock: Clock, what: str, background: bool
) -> None:
    lifetime = WINDOW if background else ("cache-control", "max-age=10")
    page = Revising(lifetime)

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        async def unmeasured(message: Message) -> None:
            if "at-last" in what and message["type"] == START:
                lines = [line for line in message["headers"] if line[0] != b"content-length"]
                message = {**message, "headers": lines}
            await send(message)

        await page(scope, receive, unmeasured)

    app = cached(site, clock, max_body_bytes=100)
    await drive(app)
    clock.advance(11)
    page.headers = []
    for status in (429, 400):
        page.status = status
        assert (await drive(app)).status == (200 if background else status)
        assert await settled()
        clock.advance(RETRY_SECONDS)
    page.status, page.version = 200, "two" * (50 if "large" in what else 1)
    page.headers = [] if what == "no-lifetime" else [lifetime]
    exchange = await drive(app)
    assert exchange.hit is background
    assert await settled()
    exchange = await drive(app)
    assert exchange.body == page.version.encode()
    assert "fwd=uri-miss" in exchange.cache_status
