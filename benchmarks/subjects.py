"""The kinds of hits whose cost ``python -m benchmarks.hit`` measures, each with its app."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import asgi_cache

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    Lines = list[tuple[bytes, bytes]]

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
NAMESPACE: Final = "asgi-cache-benchmark-hit"
PATHS: Final[dict[str, Any]] = {"/products/{id}": 3600}
GROUPED: Final[dict[str, Any]] = {
    "/products/{id}": {"ttl": 3600, "groups": ["product:{id}", "products"]}
}
NEAR_BYTES: Final = 16 * 1024 * 1024
STORE_TIMEOUT: Final = 5.0


class App:
    """Answers at once, with what a small JSON page has and *lines*.

    One that *hangs* answers its first call only, as an app does that takes long to revalidate.
    """

    def __init__(self, *lines: tuple[bytes, bytes], hangs: bool = False) -> None:
        self.calls = 0
        self._hangs = hangs
        self._lines = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(BODY)),
            (b"etag", TAG),
            *lines,
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        if self._hangs and self.calls > 1:
            await asyncio.Event().wait()
        await send({"type": "http.response.start", "status": 200, "headers": self._lines})
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
    """What is measured, what it is asked, and what it must prove to be."""

    name: str
    app: ASGIApp
    origin: App
    headers: Lines
    status: int = 200
    hits: bool = True
    store: Literal["none", "memory", "near", "redis"] = "memory"
    cache: asgi_cache.Cache | None = None
    """What has to be closed at the end."""


def subjects(redis: str) -> list[Subject]:
    """All of them; the bare app first, with which the others are compared."""
    bare, passed, alone = App(), App(), App()
    conditional = [*BROWSER, (b"if-none-match", TAG)]
    found = [
        Subject("bare app", bare, bare, BROWSER, hits=False, store="none"),
        Subject("do-nothing middleware", PassingOn(passed), passed, BROWSER, 200, False, "none"),
        _wrapped("memory, Host only", App(), [HOST]),
        _wrapped("memory", App()),
        _wrapped("memory, 304", App(), conditional, 304),
        _wrapped("memory, range", App(), [*BROWSER, (b"range", b"bytes=0-99")], 206),
        _wrapped("memory, Vary", App((b"vary", b"Accept-Language"))),
        _wrapped("memory, stale", App((b"cache-control", _STALE), hangs=True)),
        _wrapped("memory, two groups", App(), paths=GROUPED),
        Subject(
            "memory, CacheMiddleware alone",
            asgi_cache.CacheMiddleware(alone, store="memory://", paths=PATHS),
            alone,
            BROWSER,
        ),
    ]
    kinds: list[tuple[Literal["near", "redis"], int]] = [("near", NEAR_BYTES), ("redis", 0)]
    for store, near_bytes in kinds:
        far: dict[str, Any] = {
            "store": redis,
            "near_bytes": near_bytes,
            "store_timeout": STORE_TIMEOUT,
            "request_store_timeout": STORE_TIMEOUT,
        }
        apps: list[tuple[str, App, dict[str, Any]]] = [
            ("", App(), {}),
            (", Vary", App((b"vary", b"Accept-Language")), {}),
            (", two groups", App(), {"paths": GROUPED}),
        ]
        for what, app, more in apps:
            name = f"{store}{what}"
            space = f"{NAMESPACE}-{name.replace(', ', '-').replace(' ', '-')}"
            of_store = _wrapped(name, app, **(far | {"namespace": space} | more))
            found.append(of_store._replace(store=store))
        of_store = _wrapped(
            f"{store}, 304", App(), conditional, 304, **far, namespace=f"{NAMESPACE}-{store}-304"
        )
        found.append(of_store._replace(store=store))
    return found


_STALE: Final = b"public, max-age=0, stale-while-revalidate=86400"


def _wrapped(
    name: str,
    origin: App,
    headers: Lines = BROWSER,
    status: int = 200,
    **options: Any,
) -> Subject:
    cache = asgi_cache.Cache(**({"store": "memory://", "paths": PATHS} | options))
    app = asgi_cache.wrap(origin, cache=cache)
    return Subject(name, app, origin, headers, status, cache=cache)
