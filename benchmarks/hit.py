"""What one hit in memory costs, in microseconds: ``python -m benchmarks.hit [--quick]``.

With ``--redis URL`` also what one costs in the near tier in front of that Redis.

No server and no socket: the app is called as a server calls it, with a ``send`` that does nothing
but keep the message. Beside the cache stand the bare app and the same app in a middleware that only
passes on, which is the least that any middleware costs. Rounds are interleaved, so that a machine
that slows down slows all of them; the spread is that between the first and the third quartile.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import asgi_cache

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from asgi_cache.stores import Store

BODY: Final = b'{"products": [' + b", ".join([b'{"id": 1, "name": "teak"}'] * 40) + b"]}"
HOST: Final = (b"host", b"shop.example")
BROWSER: Final = [
    HOST,
    (b"connection", b"keep-alive"),
    (b"sec-ch-ua", b'"Chromium";v="131", "Not_A Brand";v="24"'),
    (b"upgrade-insecure-requests", b"1"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"sec-fetch-site", b"none"),
    (b"sec-fetch-mode", b"navigate"),
    (b"referer", b"https://shop.example/"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"accept-language", b"en-GB,en;q=0.9,de;q=0.8"),
    (b"cookie", b"session=abc123; theme=dark"),
]
TAG: Final = b'"v1"'


class App:
    """Answers at once, with what a small JSON page has."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(BODY)),
                    (b"etag", TAG),
                ],
            }
        )
        await send({"type": "http.response.body", "body": BODY})


class PassingOn:
    """The least that a middleware does which looks at what is sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def passing_send(message: Message) -> None:
            await send(message)

        await self.app(scope, receive, passing_send)


class Subject(NamedTuple):
    """What is measured: an app, the request that it gets, and whether it must hit."""

    name: str
    app: ASGIApp
    origin: App
    headers: list[tuple[bytes, bytes]]
    status: int
    hits: bool
    tier: asgi_cache.TieredStore | None = None
    """Where hits are to be answered near, and nothing is to be asked far."""


def near(url: str, paths: dict[str, int]) -> Subject:
    """A hit in the near tier in front of the Redis at *url*."""
    origin = App()
    cache = asgi_cache.Cache(store=url, namespace="benchmarks-hit", paths=paths)
    tier = cache.store
    assert isinstance(tier, asgi_cache.TieredStore)
    app = asgi_cache.wrap(origin, cache=cache)
    return Subject("wrap(), a hit near, a browser's request", app, origin, BROWSER, 200, True, tier)


def subjects(redis: str | None) -> list[Subject]:
    """The bare app first: the others are compared with it."""
    paths = {"/products/{id}": 600}
    conditional = [*BROWSER, (b"if-none-match", TAG)]

    def wrapped(name: str, headers: list[tuple[bytes, bytes]], status: int = 200) -> Subject:
        origin = App()
        return Subject(name, asgi_cache.wrap(origin, paths=paths), origin, headers, status, True)

    bare, passed, alone = App(), App(), App()
    return [
        Subject("bare app", bare, bare, BROWSER, 200, False),
        Subject("middleware that passes on", PassingOn(passed), passed, BROWSER, 200, False),
        wrapped("wrap(), a hit, Host only", [HOST]),
        wrapped("wrap(), a hit, a browser's request", BROWSER),
        wrapped("wrap(), a 304, a browser's request", conditional, 304),
        Subject(
            "CacheMiddleware alone, a browser's request",
            asgi_cache.CacheMiddleware(alone, paths=paths),
            alone,
            BROWSER,
            200,
            True,
        ),
        *([] if redis is None else [near(redis, paths)]),
    ]


async def receive() -> Message:
    """The request has no content."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def measure(subject: Subject, count: int) -> float:
    """Microseconds a call, over *count* calls; proves that they were what they should be."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent[:] = (*sent[-1:], message)

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "root_path": "",
        "path": "/products/1",
        "raw_path": b"/products/1",
        "query_string": b"",
        "headers": subject.headers,
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "extensions": {},
        "state": {},
    }
    app, origin = subject.app, subject.origin
    await app(scope, receive, send)
    tier = subject.tier
    if tier is not None:
        # These calls let nothing else run: the lease is renewed before, and lasts for a second.
        while not (tier.watching.lease_until > time.monotonic() + 0.9 and tier.near.get((b"n",))):
            await app(scope, receive, send)
            await asyncio.sleep(0.01)
        tier.far_for_request = _never  # type: ignore[method-assign]
        tier.watching.lease_until += 60.0
    calls = origin.calls
    began = time.perf_counter()
    for _ in range(count):
        await app(scope, receive, send)
    seconds = time.perf_counter() - began
    if tier is not None:
        del tier.far_for_request
        tier.watching.lease_until -= 60.0
    start = sent[0]
    status = dict(start["headers"]).get(b"cache-status", b"")
    if start["status"] != subject.status or (b"; hit" in status) is not subject.hits:
        raise SystemExit(f"{subject.name}: not what was to be measured: {start}")
    if origin.calls - calls != (0 if subject.hits else count):
        raise SystemExit(f"{subject.name}: {origin.calls - calls} calls of the app")
    return seconds / count * 1e6


def _never() -> Store:
    raise SystemExit("a hit that was to be near asked far")


async def run(rounds: int, count: int, redis: str | None) -> None:
    """Print a table of medians and spreads."""
    measured = subjects(redis)
    times: list[list[float]] = [[] for _ in measured]
    for number in range(rounds + 1):
        for subject, figures in zip(measured, times, strict=True):
            figure = await measure(subject, count)
            if number:  # the first round only warms up
                figures.append(figure)
    bare = statistics.median(times[0])
    print(f"Python {platform.python_version()}, {rounds} rounds of {count} calls; microseconds")
    print(f"{'':44}{'median':>8}{'spread':>16}{'over bare':>11}")
    for subject, figures in zip(measured, times, strict=True):
        low, median, high = statistics.quantiles(figures, n=4)
        print(f"{subject.name:44}{median:8.2f}{f'{low:.2f} - {high:.2f}':>16}{median - bare:11.2f}")
    for subject in measured:
        if subject.tier is not None:
            await subject.tier.aclose()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hit", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds, rougher figures")
    parser.add_argument("--redis", metavar="URL", help="a Redis, for a hit near")
    options = parser.parse_args()
    quick = options.quick
    rounds, count = (7, 2_000) if quick else (31, 10_000)
    asyncio.run(run(rounds, count, options.redis))


if __name__ == "__main__":
    main()
