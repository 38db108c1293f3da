"""What a hit in memory costs: at most 15 Python calls, and nothing that admission could have done.

Calls are counted as ``sys.setprofile`` reports them; a coroutine that is entered counts as one.
The count is of ``wrap``'s whole stack, metrics and response time included; the server's ``send``
is not ours.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

import asgi_cache
from tests.driver import Recorder, drive, http_scope, uncollected
from tests.stores.wire import until

if TYPE_CHECKING:
    from types import FrameType

    from starlette.types import ASGIApp, Message, Scope

MOST_CALLS = 15

BROWSER = [
    ("connection", "keep-alive"),
    ("sec-ch-ua", '"Chromium";v="131", "Not_A Brand";v="24"'),
    ("upgrade-insecure-requests", "1"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("sec-fetch-site", "none"),
    ("sec-fetch-mode", "navigate"),
    ("referer", "https://shop.example/"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    ("cookie", "session=abc123; theme=dark"),
]
"""With Host, twelve fields."""

SLOW = {
    "parse_date",
    "parse_directives",
    "parse_targeted",
    "admit",
    "fold",
    "shape",
    "authority",
    "match",
    "blake2b",
    "hexdigest",
    "warning",
    "log",
    "isEnabledFor",
    "acquire",
    "__enter__",
    "timeout",
    "create_future",
    "Headers",
}
"""Names of functions, ours and built in, that a hit has no use for."""


def profiled(app: ASGIApp, scope: Scope) -> tuple[list[str], set[str], list[Message]]:
    """One exchange by hand, without an event loop: a hit in memory waits for nothing.

    The Python functions called in order, the names of all that was called, and what was sent.
    """
    sent: list[Message] = []
    calls: list[str] = []
    builtins: set[str] = set()

    async def receive() -> Message:
        raise AssertionError("a hit reads no body")

    async def send(message: Message) -> None:
        sent.append(message)

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is not send.__code__:
            calls.append(frame.f_code.co_name)
        elif event == "c_call":
            builtins.add(getattr(argument, "__name__", ""))

    coroutine = app(scope, receive, send)
    with uncollected():
        sys.setprofile(profile)
        try:
            # An Awaitable, and in truth a coroutine.
            coroutine.send(None)  # type: ignore[attr-defined]
        except StopIteration:
            pass
        else:
            raise AssertionError("a hit in memory waited for something")
        finally:
            sys.setprofile(None)
    return calls, builtins | set(calls), sent


async def filled(
    options: dict[str, Any], target: str, headers: list[tuple[str, str]]
) -> tuple[ASGIApp, Recorder]:
    """An app with a stored response for what follows."""
    recorder = Recorder([] if "paths" in options else [("cache-control", "max-age=60")])
    app = asgi_cache.wrap(recorder, **options)
    for _ in range(2):  # the first fills, the second may still learn
        await drive(app, target, headers=headers)
    return app, recorder


RULE: dict[str, Any] = {"paths": {"/products/{id}": 60}}
GROUPS: dict[str, Any] = {
    "paths": {"/products/{id}": {"ttl": 60, "groups": ["product:{id}", "products"]}}
}


@pytest.mark.parametrize(
    ("options", "target", "headers"),
    [
        ({}, "/products/1", []),
        ({}, "/products/1?colour=red", []),
        (RULE, "/products/1", []),
        (RULE, "/products/1", BROWSER),
        (RULE, "/products/1?colour=red", BROWSER),
        ({"paths": {"/products/{id}": {"ttl": 60, "browser_ttl": 5}}}, "/products/1", BROWSER),
        (RULE | {"cache_status": False, "response_time": False}, "/products/1", BROWSER),
        (GROUPS, "/products/1", BROWSER),
        (GROUPS, "/products/1?colour=red", BROWSER),
    ],
    ids=[
        *("plain", "query", "rule", "browser", "browser-query", "browser-ttl", "quiet"),
        *("groups", "groups-query"),
    ],
)
async def test_a_hit_costs_few_calls(
    options: dict[str, Any], target: str, headers: list[tuple[str, str]]
) -> None:
    app, recorder = await filled(options, target, headers)
    calls, names, sent = profiled(app, http_scope(target, headers=headers))
    assert (recorder.calls, sent[0]["status"]) == (1, 200)
    print(f"{len(calls)} calls:", *calls)
    assert len(calls) <= MOST_CALLS
    assert not names & SLOW


@pytest.mark.parametrize(
    ("options", "target", "headers"),
    [
        ({}, "/products/1", []),
        (RULE, "/products/1", BROWSER),
        (RULE, "/products/1?colour=red", BROWSER),
        (GROUPS, "/products/1", BROWSER),
    ],
    ids=["plain", "browser", "browser-query", "groups"],
)
async def test_a_hit_near_costs_what_one_in_memory_does(
    options: dict[str, Any],
    target: str,
    headers: list[tuple[str, str]],
    redis_url: str,
    namespace: str,
) -> None:
    """The lease is one comparison, the store's clock no call; no guard, no budget, no digest."""
    recorder = Recorder([] if "paths" in options else [("cache-control", "max-age=60")])
    cache = asgi_cache.Cache(store=redis_url, namespace=namespace, **options)
    app = asgi_cache.wrap(recorder, cache=cache)
    await drive(app, target, headers=headers)
    await until(lambda: cache.health().near == "on")
    async with asyncio.timeout(10):
        while True:  # what is stored is held near once its own push has come
            reads = await commands(redis_url)
            await drive(app, target, headers=headers)
            if await commands(redis_url) == reads:
                break
    assert isinstance(cache.store, asgi_cache.TieredStore)
    watching = cache.store.watching
    await until(lambda: watching.lease_until > time.monotonic() + 0.5)
    calls, names, sent = profiled(app, http_scope(target, headers=headers))
    assert (recorder.calls, sent[0]["status"]) == (1, 200)
    print(f"{len(calls)} calls:", *calls)
    assert len(calls) <= MOST_CALLS
    assert not names & SLOW
    await cache.aclose()


async def commands(url: str) -> int:
    """How often a value was looked for in the Redis at *url*."""
    async with Redis.from_url(url) as client:
        found = await client.info("commandstats")
    return int(found.get("cmdstat_getrange", {}).get("calls", 0))


async def test_a_304_costs_no_more_than_its_condition() -> None:
    """One entity tag is compared, no date is read."""
    app, recorder = await filled(RULE, "/products/1", BROWSER)
    etag = (await drive(app, "/products/1")).field("etag")
    assert etag is not None
    for condition, most in ((etag, MOST_CALLS + 7), ("*", MOST_CALLS + 4)):
        headers = [*BROWSER, ("if-none-match", condition)]
        for _ in range(2):  # what is asked again is remembered
            await drive(app, "/products/1", headers=headers)
        calls, names, sent = profiled(app, http_scope("/products/1", headers=headers))
        assert (recorder.calls, sent[0]["status"]) == (1, 304)
        print(f"{len(calls)} calls:", *calls)
        assert len(calls) <= most
        assert not names & SLOW


async def test_a_slow_call_would_be_seen() -> None:
    """What the counting itself is worth: a fill does what a hit must not."""
    app = asgi_cache.wrap(Recorder(), **RULE)
    calls, names, sent = profiled(app, http_scope("/products/1"))
    assert len(sent) == 2
    assert len(calls) > MOST_CALLS
    assert names >= {"admit", "fold", "shape", "match", "parse_directives", "hexdigest"}
