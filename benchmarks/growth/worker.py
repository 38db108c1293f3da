"""One process with one cache and a number of stored responses; measures a round when it is told.

``python -m benchmarks.growth.worker STORE REDIS COUNT``: fills, says a line of JSON on stdout, then
one for each line on stdin, and ends with stdin.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asgi_cache
from benchmarks.commandstats import commands
from benchmarks.growth.trips import Relay
from benchmarks.processes import NotAHitError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY: Final = b"x" * 256
NEAR_BYTES: Final = 8 * 1024**3
"""More than a million responses need: nothing is to be evicted while the cost of many is shown."""
SAMPLE: Final = 500
"""Stored responses that are asked in a round, drawn from all of them."""
STORES: Final = 200
PURGES: Final = 50
AT_ONCE: Final = 50
"""Fills under way at a time."""
GROUPS: Final = 100
TIMEOUT: Final = 30.0


class Origin:
    """The app: a small body, at once."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        lines = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        # Its own, as a page's is, and so is the tag that is made of it.
        await send({"type": "http.response.body", "body": scope["raw_path"].ljust(len(BODY), b"x")})


class Grown:
    """A cache with *count* stored responses."""

    def __init__(self, store: str, url: str, count: int) -> None:
        self.count = count
        self._store = store
        self._origin = Origin()
        options: dict[str, Any] = {
            "store": "memory://" if store == "memory" else url,
            "near_bytes": 0 if store == "redis" else NEAR_BYTES,
            "namespace": f"asgi-cache-benchmark-growth-{store}",
            "store_timeout": TIMEOUT,
            "request_store_timeout": TIMEOUT,
            "paths": {"/{group}/{page}": {"ttl": 86400, "groups": ["{group}"]}},
        }
        self.cache = asgi_cache.Cache(**options)
        self.app: ASGIApp = asgi_cache.wrap(self._origin, cache=self.cache)
        self._draw = random.Random(7)
        self._next = count

    async def get(self, number: int) -> bytes:
        """The Cache-Status of the answer for one page."""
        status = b""

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = dict(message["headers"])[b"cache-status"]

        path = f"/g{number % GROUPS}/{number}"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"shop.example"), (b"cookie", b"session=1")],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
        }
        await self.app(scope, _receive, send)
        return status

    async def fill(self) -> None:
        """Store all, many at a time."""
        numbers = iter(range(self.count))

        async def some() -> None:
            for number in numbers:
                await self.get(number)

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))
        if self._origin.calls != self.count:
            raise NotAHitError(f"{self._origin.calls} calls of the app for {self.count} fills")

    async def round(self) -> dict[str, float]:
        """Microseconds of a hit, a store, and purges; what was purged is stored again."""
        sample = self._draw.sample(range(self.count), min(SAMPLE, self.count))
        for number in sample:  # into this processor's caches, and into the near tier
            await self.get(number)
        gc.collect()
        calls = self._origin.calls
        hit = await _timed(self.get, sample)
        if self._origin.calls != calls:
            raise NotAHitError(f"{self._origin.calls - calls} of {len(sample)} were no hits")
        new = range(self._next, self._next + STORES)
        self._next += STORES
        store = await _timed(self.get, new)
        if self._origin.calls != calls + STORES or b"hit" not in await self.get(new[0]):
            raise NotAHitError("new pages were not stored")

        async def purge_unused(number: int) -> None:
            await self.cache.purge(group=f"h{number}")

        group = await _timed(purge_unused, range(PURGES))
        return {"hit": hit, "store": store, "purge_group": group}

    async def end(self) -> dict[str, float]:
        """Microseconds of purges that leave nothing, and the proof that they do."""
        page = self._draw.randrange(self.count)
        if b"hit" not in await self.get(page):
            raise NotAHitError("what was to be purged was not stored")
        began = time.perf_counter()
        await self.cache.purge(group=f"g{page % GROUPS}")
        one = time.perf_counter() - began
        if b"hit" in await self.get(page):
            raise NotAHitError("a page was a hit after its group had been purged")

        async def purge_all(_: int) -> None:
            await self.cache.purge_all()

        everything = await _timed(purge_all, range(PURGES))
        if b"hit" in await self.get(page):
            raise NotAHitError("a page was a hit after everything had been purged")
        return {"purge_full_group": one * 1e6, "purge_all": everything}


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _timed(do: Callable[[int], Awaitable[Any]], numbers: Any) -> float:
    """Microseconds of one, the median of all: a pause of the machine is none of ours."""
    times = []
    for number in numbers:
        began = time.perf_counter()
        await do(number)
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2] * 1e6


def resident() -> int:
    """Bytes of memory that this process has; 0 where that cannot be known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


async def trips_of(store: str, url: str, redis: Any) -> dict[str, dict[str, float]]:
    """Round trips and commands of each kind of request, where each comes alone."""
    async with Relay(url) as relay:
        grown = Grown(store, relay.url, 20)
        await grown.fill()
        for number in range(20):
            await grown.get(number)
        kinds: dict[str, tuple[Callable[[int], Awaitable[Any]], range]] = {
            "hit": (grown.get, range(20)),
            "stored miss": (grown.get, range(100, 120)),
            "purge of a group": (lambda n: grown.cache.purge(group=f"g{n}"), range(20)),
            "purge of everything": (lambda _: grown.cache.purge_all(), range(20)),
        }
        found = {}
        for name, (do, numbers) in kinds.items():
            trips, asked = relay.trips, commands(redis)[0]
            for number in numbers:
                await do(number)
            found[name] = {
                "trips": (relay.trips - trips) / len(numbers),
                "commands": (commands(redis)[0] - asked) / len(numbers),
            }
        await grown.cache.aclose()
    prove_trips(store, found["hit"]["commands"])
    return found


def prove_trips(store: str, commands_a_hit: float) -> None:
    """:class:`NotAHitError` where hits asked Redis that were not to, or the reverse."""
    if (commands_a_hit >= 1) is not (store == "redis") or 0.5 < commands_a_hit < 1:
        wanted = "at least one" if store == "redis" else "none"
        raise NotAHitError(
            f"{store}: a hit made {commands_a_hit:g} commands in Redis, where {wanted} was to be"
        )


async def serve(store: str, url: str, count: int) -> None:
    """Fill, then do what stdin says."""
    from redis import Redis

    redis = Redis.from_url(url)
    trips = {} if store == "memory" else await trips_of(store, url, redis)
    far_before = redis.info("memory")["used_memory"]
    grown = Grown(store, url, count)
    await grown.cache.purge_all()  # connected, and everything imported, before memory is looked at
    gc.collect()
    before = resident()
    await grown.fill()
    if store == "near":  # what is stored goes far, and comes near when it is asked for
        for number in range(count):
            await grown.get(number)
    gc.collect()
    near = (resident() - before) / count
    far = (redis.info("memory")["used_memory"] - far_before) / count
    print(json.dumps({"near_bytes": near, "far_bytes": far, "trips": trips}), flush=True)
    for line in sys.stdin:
        done = await (grown.end() if line.strip() == "end" else grown.round())
        print(json.dumps(done), flush=True)
    await grown.cache.aclose()
    redis.close()


def main() -> None:
    import uvloop

    store, url, count = sys.argv[1:]
    try:
        uvloop.run(serve(store, url, int(count)))
    except NotAHitError as error:
        print(json.dumps({"failed": str(error)}), flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
