"""Case O08: clocks of workers that differ by hours, and that jump while a worker runs.

All of them go by Redis's clock: the proxy in front of it answers TIME with the test's own, so that
time passes when the test says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from asgi_cache import Cache, CacheMiddleware, GuardedStore, RedisStore, TimingMiddleware
from tests.driver import Recorder, drive
from tests.faults.proxy import FaultProxy, proxied
from tests.stores.wire import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Scope

    from tests.conftest import Clock
    from tests.servers import RedisServer

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR


class Clocks:
    """Workers on one Redis, each with a clock of its own."""

    def __init__(self, proxy: FaultProxy, namespace: str, clock: Clock) -> None:
        self.clock = clock
        self.made: dict[int, float] = {}
        """When which call of the app was."""
        self.page = Recorder(
            [("cache-control", "max-age=60, stale-while-revalidate=30")], before=self._make
        )
        self.caches: list[Cache] = []
        self._apps: list[CacheMiddleware] = []
        self._proxy = proxy
        self._namespace = namespace
        proxy.answer = self._time

    async def _make(self, _: Scope) -> None:
        self.made[self.page.calls] = self.clock()

    def _time(self, command: list[bytes]) -> bytes | None:
        if command[0] != b"TIME":
            return None
        seconds = b"%d" % int(self.clock())
        return b"*2\r\n$%d\r\n%b\r\n$1\r\n0\r\n" % (len(seconds), seconds)

    def worker(self, skew: list[float]) -> TimingMiddleware:
        """One whose clock is ahead by the one number in *skew*, which may change."""
        store = RedisStore(self._proxy.url, self._namespace, clock=lambda: self.clock() + skew[0])
        guarded = GuardedStore(store, timeout=5.0, request_timeout=10.0)
        cached = CacheMiddleware(self.page, cache=Cache(store=guarded))
        self.caches.append(cached.cache)
        self._apps.append(cached)
        return TimingMiddleware(cached)

    async def settled(self) -> None:
        """Return when nothing is being revalidated."""
        await until(lambda: not any(app._revalidations._tasks for app in self._apps))


@pytest.fixture
async def clocks(redis_server: RedisServer, namespace: str, clock: Clock) -> AsyncIterator[Clocks]:
    async with proxied(redis_server.port) as proxy:
        made = Clocks(proxy, namespace, clock)
        yield made
        for cache in made.caches:
            await cache.aclose()


@pytest.mark.parametrize("hours", [-9, -1, 1, 9])
async def test_o08_what_one_stores_others_judge_right(clocks: Clocks, hours: int) -> None:
    one, two = clocks.worker([hours * HOUR]), clocks.worker([-hours * HOUR])
    assert not (await drive(one)).hit
    for passed, age in ((0, "0"), (30, "30"), (29, "59")):
        clocks.clock.advance(passed)
        for app in (two, one):
            exchange = await drive(app)
            assert (exchange.hit, exchange.field("age")) == (True, age)
    clocks.clock.advance(2)
    stale = await drive(two)
    assert "ttl=-1" in stale.cache_status
    await clocks.settled()
    assert clocks.page.calls == 2
    clocks.clock.advance(10)
    for app in (one, two):
        exchange = await drive(app)
        assert (exchange.hit, exchange.field("age")) == (True, "10")
    clocks.clock.advance(90)
    assert not (await drive(one)).hit
    assert (await drive(two)).hit
    assert clocks.page.calls == 3


@pytest.mark.parametrize("hours", [-9, 9])
async def test_o08_a_soft_purge_counts_from_when_it_was(clocks: Clocks, hours: int) -> None:
    one, two = clocks.worker([hours * HOUR]), clocks.worker([-hours * HOUR])
    await drive(one)
    clocks.clock.advance(20)
    await clocks.caches[1].purge_all(soft=True)
    clocks.clock.advance(31)  # more than the window from the purge, less than the lifetime
    assert not (await drive(one)).hit
    assert (await drive(two)).hit
    assert clocks.page.calls == 2


@pytest.mark.parametrize("jump", [DAY, -DAY, 400 * DAY, -400 * DAY])
async def test_o08_a_clock_that_jumps_makes_nothing_immortal(clocks: Clocks, jump: float) -> None:
    """No worker serves anything for longer than its lifetime, and times stay positive."""
    skew = [0.0]
    jumpy, steady = clocks.worker(skew), clocks.worker([0.0])
    await drive(jumpy)
    assert (await drive(steady)).hit
    skew[0] = jump
    for _ in range(12):
        for app in (jumpy, steady):
            exchange = await drive(app)
            assert clocks.clock() - clocks.made[exchange.serial] <= 90
            assert float((exchange.field("x-response-time") or "").removesuffix("ms")) >= 0
            assert int(exchange.field("age") or 0) >= 0
            await clocks.settled()
        clocks.clock.advance(20)
    # The next connection finds it out.
    for cache in clocks.caches:
        await cache.aclose()
    await drive(jumpy)
    assert (await drive(jumpy)).hit
    assert (await drive(steady)).hit
