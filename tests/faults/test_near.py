"""The near tier under faults: whatever fails, nothing purged is served beyond the lease."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from asgi_cache import Cache
from tests.driver import HOST
from tests.faults.purges import MOST_MS, P99_MS, purges
from tests.faults.relay import relayed
from tests.faults.versions import Versioned, Worker, version_key
from tests.figures.telling import tell
from tests.machine import Stopwatch
from tests.stores.wire import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults.relay import ChannelRelay
    from tests.servers import RedisServer

URL = f"http://{HOST}/page"
CUT_OFF = 2.0
"""Seconds within which a worker that is cut off from the channel has seen a purge."""


class Publisher:
    """Who writes new versions and purges the page, without a near tier."""

    def __init__(self, client: Any, cache: Cache, key: str) -> None:
        self._client = client
        self._cache = cache
        self._key = key
        self.version = 0

    async def publish(self) -> Stopwatch:
        """A new version; how long ago its purge returned."""
        self.version += 1
        await self._client.set(self._key, self.version, px=600_000)
        await self._cache.purge(URL)
        return Stopwatch()


@pytest.fixture
async def publisher(redis_url: str, namespace: str) -> AsyncIterator[Publisher]:
    client: Any
    async with Redis.from_url(redis_url) as client:
        cache = Cache(store=redis_url, namespace=namespace, near_bytes=0)
        publisher = Publisher(client, cache, version_key(namespace))
        await publisher.publish()
        yield publisher
        await cache.aclose()


@pytest.fixture
async def relay(redis_server: RedisServer) -> AsyncIterator[ChannelRelay]:
    async with relayed(redis_server.port) as relay:
        yield relay


@asynccontextmanager
async def worker_on(url: str, namespace: str) -> AsyncIterator[Versioned]:
    worker = Versioned(url, namespace)
    try:
        await worker.warm()
        yield worker
    finally:
        await worker.aclose()


async def seen_after(worker: Versioned, version: int, since: Stopwatch) -> float:
    """Seconds from *since* to the last request that *worker* answers with less than *version*."""
    last, began = 0.0, since.seconds
    async with asyncio.timeout(10):
        while await worker.get() < version:
            await asyncio.sleep(0.001)
            last, began = began, since.seconds
    return last


async def test_a_purge_is_seen_by_every_worker(redis_url: str) -> None:
    figures = await purges(redis_url, number=200, workers=4)
    print("purge seen by every worker:", figures)
    assert figures["p99_ms"] <= P99_MS
    assert figures["max_ms"] <= MOST_MS


@pytest.mark.parametrize("stuck", ["to_server", "to_client", "both"])
async def test_x18_a_worker_whose_channel_is_stuck(
    relay: ChannelRelay, redis_url: str, publisher: Publisher, namespace: str, stuck: str
) -> None:
    """Half open in either direction, or a black hole; its other connections work."""
    async with worker_on(relay.url, namespace) as cut, worker_on(redis_url, namespace) as other:
        directions = {"both": (relay.to_server, relay.to_client)}.get(
            stuck, (getattr(relay, stuck, relay.to_server),)
        )
        for direction in directions:
            direction.clear()
        purged = await publisher.publish()
        took = await asyncio.gather(
            seen_after(cut, publisher.version, purged),
            seen_after(other, publisher.version, purged),
        )
        print(f"X18 {stuck}: seen after {took[0]:.3f} s, by others after {took[1]:.3f} s")
        tell("purges seen", f"stuck {stuck}", seconds_cut_off=took[0])
        assert took[0] <= CUT_OFF
        assert took[1] <= MOST_MS / 1000
        # While it lasts nothing is served near, and so nothing that is purged.
        await until(lambda: cut.cache.health().near == "off")
        await publisher.publish()
        assert await cut.get() == publisher.version
        for direction in directions:
            direction.set()
        async with asyncio.timeout(10):
            await cut.warm()  # it comes back by itself
        assert await cut.get() == publisher.version


async def test_x19_the_channel_is_cut_again_and_again(
    relay: ChannelRelay, publisher: Publisher, namespace: str
) -> None:
    async with worker_on(relay.url, namespace) as worker:
        took = []
        for _ in range(10):
            await worker.warm()
            await relay.cut()
            took.append(await seen_after(worker, publisher.version + 1, await publisher.publish()))
        print(f"X19: seen after {max(took):.3f} s at most")
        tell("purges seen", "cut", seconds_cut_off=max(took))
        assert max(took) <= CUT_OFF


async def test_a_worker_that_was_suspended_serves_nothing_purged_meanwhile(
    redis_url: str, publisher: Publisher, namespace: str
) -> None:
    worker = await Worker.start(redis_url, namespace)
    try:
        for suspended in (3.0, 1.2):
            worker.say("warm")
            assert await worker.hear() == "warm"
            worker.process.send_signal(signal.SIGSTOP)
            await publisher.publish()
            for _ in range(20):
                worker.say("get")  # the first thing that it finds when it goes on
            await asyncio.sleep(suspended)
            worker.process.send_signal(signal.SIGCONT)
            assert {await worker.hear() for _ in range(20)} == {publisher.version}
    finally:
        worker.process.send_signal(signal.SIGCONT)
        await worker.end()


async def test_the_store_is_away_and_hits_end_with_the_lease(
    server: RedisServer, namespace: str
) -> None:
    """Near hits go on for as long as the lease holds; then requests go to the app, as ever."""
    client: Any
    async with Redis.from_url(server.url) as client:
        await client.set(version_key(namespace), 1, px=600_000)
        async with worker_on(server.url, namespace) as worker:
            server.pause()
            began = time.monotonic()
            far, client_of_worker = worker.far, worker.client
            worker.client = _Constant(b"2")
            async with asyncio.timeout(10):
                while await worker.get() == 1:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.001)
            lasted = time.monotonic() - began
            print(f"hits went on for {lasted:.2f} s")
            assert worker.far > far
            assert lasted <= 1.0 + 0.3
            server.resume()
            worker.client = client_of_worker
            async with asyncio.timeout(10):
                await worker.warm()


class _Constant:
    """A client of Redis that needs none."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    async def get(self, _: str) -> bytes:
        return self._value
