"""Bounds that floods must not move: D01, D04, D08, D13, S15; the figures of the long runs.

``DISTINCT_URLS``, ``DISTINCT_URLS_IN_REDIS`` and ``GROUPS_OVER_TIME`` make the long runs.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import pytest
from redis.asyncio import Redis

from asgi_cache import CacheMiddleware, MemoryStore
from tests.driver import BODY, START, Connection, drive, http_scope
from tests.figures.telling import tell
from tests.security.harness import resident_bytes

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from tests.security.harness import Place

DISTINCT_URLS: Final = int(os.environ.get("DISTINCT_URLS", "20000"))
DISTINCT_URLS_IN_REDIS: Final = int(os.environ.get("DISTINCT_URLS_IN_REDIS", "2000"))
GROUPS_OVER_TIME: Final = int(os.environ.get("GROUPS_OVER_TIME", "5000"))
MIB: Final = 2**20
BODY_BYTES: Final = 10_000
AT_ONCE: Final = 50


class Numbered:
    """Each path has its own body; with ``/g`` in front a group of its own as well."""

    def __init__(self, size: int) -> None:
        self.calls = 0
        self._filler = b"-" * size

    def body_of(self, path: str) -> bytes:
        return path.encode() + self._filler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        path = scope["path"]
        lines = [(b"cache-control", b"max-age=86400")]  # longer than the long run
        if path.startswith("/g/"):
            lines.append((b"cache-groups", b'"group-%b"' % path[3:].encode()))
        await send({"type": START, "status": 200, "headers": lines})
        await send({"type": BODY, "body": self.body_of(path)})


async def nothing() -> Message:
    """There is nothing to be received."""
    raise AssertionError


async def dropped(message: Message) -> None:
    """A client that keeps nothing."""


async def test_d01_distinct_urls_stay_within_the_budget() -> None:
    """Of 10 kB each, into 16 MiB."""
    origin, store = Numbered(BODY_BYTES), MemoryStore(16 * MIB)
    app = CacheMiddleware(origin, store=store)
    resident = resident_bytes()
    most = 0
    for number in range(DISTINCT_URLS):
        await app(http_scope(f"/{number}"), nothing, dropped)
        most = max(most, store.used_bytes)
    grown = resident_bytes() - resident
    print(
        f"D01 {DISTINCT_URLS} URLs: {most / MIB:.2f} of {store.max_bytes / MIB:.0f} MiB at most, "
        f"the process grew by {grown / MIB:.2f} MiB"
    )
    tell(
        "distinct URLs",
        "memory",
        urls=DISTINCT_URLS,
        mib_beyond_budget=max(0.0, (grown - store.max_bytes) / MIB),
    )
    assert origin.calls == DISTINCT_URLS
    assert store.max_bytes / 2 < most <= store.max_bytes
    assert grown <= store.max_bytes + 16 * MIB
    assert (await drive(app, f"/{DISTINCT_URLS - 1}")).body == origin.body_of(
        f"/{DISTINCT_URLS - 1}"
    )
    assert origin.calls == DISTINCT_URLS


async def immortal_of(place: Place) -> tuple[int, int]:
    """How many keys there are in a namespace, and how many of them without an end."""
    keys = immortal = 0
    async with Redis.from_url(place.url) as client:
        names = [name async for name in client.scan_iter(f"{place.namespace}:*", count=1000)]
        for start in range(0, len(names), 1000):
            pipeline = client.pipeline(transaction=False)
            for name in names[start : start + 1000]:
                pipeline.pttl(name)
            lives = await pipeline.execute()
            keys += len(lives)
            immortal += sum(life == -1 for life in lives)
    return keys, immortal


async def test_d01_distinct_urls_in_redis_have_an_end(redis_place: Place) -> None:
    """And this process keeps nothing of them."""
    origin = Numbered(BODY_BYTES // 10)  # so that a million have room
    app = CacheMiddleware(origin, cache=redis_place.cache(store_timeout=30.0))
    for start in range(0, 500, AT_ONCE):
        await asyncio.gather(*(drive(app, f"/warm/{start + one}") for one in range(AT_ONCE)))
    resident = resident_bytes()
    for start in range(0, DISTINCT_URLS_IN_REDIS, AT_ONCE):
        await asyncio.gather(*(drive(app, f"/{start + one}") for one in range(AT_ONCE)))
    grown = resident_bytes() - resident
    keys, immortal = await immortal_of(redis_place)
    print(
        f"D01 {DISTINCT_URLS_IN_REDIS} URLs: {keys} keys, {immortal} of them without an end; "
        f"the process grew by {grown / MIB:.2f} MiB"
    )
    tell("distinct URLs", "redis", urls_in_redis=DISTINCT_URLS_IN_REDIS, without_end=immortal)
    assert keys > 2 * DISTINCT_URLS_IN_REDIS
    assert immortal == 0
    assert grown <= 16 * MIB
    assert app.cache.metrics.store_failures == 0


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_d13_groups_over_time_leave_nothing_for_ever(
    memory: Place, redis_place: Place, kind: str
) -> None:
    """Each response names a group of its own, every tenth of which is purged."""
    place = memory if kind == "memory" else redis_place
    origin, store = Numbered(100), MemoryStore(8 * MIB)
    groups = GROUPS_OVER_TIME if kind == "memory" else GROUPS_OVER_TIME // 10
    cache = place.cache(store if kind == "memory" else None, store_timeout=30.0)
    app = CacheMiddleware(origin, cache=cache)
    before = resident_bytes()

    async def one(number: int) -> None:
        await drive(app, f"/g/{number}")
        if number % 10 == 0:
            await cache.purge(group=f"group-{number}")
            calls = origin.calls
            await drive(app, f"/g/{number}")
            assert kind == "redis" or origin.calls == calls + 1

    for start in range(0, groups, AT_ONCE):
        await asyncio.gather(*(one(start + index) for index in range(AT_ONCE)))
    grown = resident_bytes() - before
    keys, immortal = (0, 0) if kind == "memory" else await immortal_of(place)
    print(
        f"D13 {kind}: {groups} groups: the process grew by {grown / MIB:.2f} MiB, "
        f"{keys} keys, {immortal} of them without an end"
    )
    assert immortal == 0
    assert store.used_bytes <= store.max_bytes
    assert grown <= 24 * MIB
    assert cache.metrics.store_failures == 0


async def test_d04_fills_at_once_share_their_bound() -> None:
    """200 of 10 MiB, each of which may be stored: what does not fit passes, whole."""
    fills, chunks = 200, 160
    patterns = [bytes([number]) * (64 * 1024) for number in range(256)]
    halfway, go = asyncio.Semaphore(0), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        lines = [(b"cache-control", b"max-age=86400")]  # longer than the long run
        await send({"type": START, "status": 200, "headers": lines})
        number = int(scope["path"][1:])
        for chunk in range(chunks):
            if chunk == chunks // 2:
                halfway.release()
                await go.wait()
            # An object of its own, so that whoever keeps it is seen.
            body = bytes(memoryview(patterns[(number + chunk) % 256]))
            await send({"type": BODY, "body": body, "more_body": chunk < chunks - 1})
            await asyncio.sleep(0)

    wrapped = CacheMiddleware(app, max_body_bytes=16 * MIB)
    cache = wrapped.cache
    most = 0

    async def one(number: int) -> None:
        """A client that keeps nothing."""
        chunk = 0

        async def send(message: Message) -> None:
            nonlocal most, chunk
            most = max(most, cache.filling_bytes)
            if message["type"] == BODY:
                assert message["body"] == patterns[(number + chunk) % 256]
                chunk += 1

        await wrapped(http_scope(f"/{number}"), Connection(http_scope()).receive, send)
        assert chunk == chunks

    resident = resident_bytes()
    requests = [asyncio.create_task(one(number)) for number in range(fills)]
    async with asyncio.timeout(60):
        for _ in range(fills):
            await halfway.acquire()
    held = resident_bytes() - resident
    go.set()
    await asyncio.gather(*requests)
    print(f"D04 {fills} fills: {most / MIB:.1f} MiB at most, the process held {held / MIB:.1f}")
    assert most <= cache.settings.fill_bytes
    assert held <= cache.settings.fill_bytes + 16 * MIB
    assert cache.filling_bytes == 0
    assert cache.metrics.stores >= 1


async def test_d08_five_thousand_on_one_miss() -> None:
    """A thousand wait; nobody gets an error; and those beyond run at once."""
    calls, all_there, go = 0, asyncio.Event(), asyncio.Event()
    requests = 5_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        if calls == requests - wrapped.settings.max_followers:
            all_there.set()
        await go.wait()
        await send({"type": START, "status": 200, "headers": [(b"cache-control", b"max-age=60")]})
        await send({"type": BODY, "body": b"the page"})

    wrapped = CacheMiddleware(app, collapse_timeout=60)
    waiting = [asyncio.create_task(Connection(http_scope()).run(wrapped)) for _ in range(requests)]
    async with asyncio.timeout(60):
        await all_there.wait()
    go.set()
    answers = await asyncio.gather(*waiting)
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"the page")}
    assert calls == requests - wrapped.settings.max_followers
    assert wrapped.cache.metrics.collapsed == wrapped.settings.max_followers
