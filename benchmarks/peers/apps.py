"""Every app that is measured, in its documented best configuration: the one that is fastest.

A peer is imported where it is built: each may live in an environment of its own, without the rest.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

from benchmarks.peers.pages import (
    CACHE_CONTROL,
    LINES_OF_A_HIT,
    SECONDS,
    Calls,
    Pages,
    body_of,
    lifespan,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CONFIGURATION: Final = "ASGI_BENCHMARK_PEER"
"""The environment variable by which a server's workers learn what to serve."""
PATHS: Final[dict[str, Any]] = {"/pages/{rest:path}": SECONDS, "/misses/{rest:path}": 30}
NAMESPACE: Final = "asgi-cache-benchmark-peers"
STORE_TIMEOUT: Final = 5.0
"""Seconds. With the default of 0.1 a machine where all share too few cores mixes in misses."""
NEAR_BYTES: Final = 64 * 1024 * 1024


def make() -> Any:
    """The app that :data:`CONFIGURATION` names, for a server that takes a factory."""
    given = json.loads(os.environ[CONFIGURATION])
    return APPS[given["app"]](Calls(given["calls"]), given["redis"])


def bare(calls: Calls, _: str) -> Any:
    return Pages(calls)


def lines(calls: Calls, _: str) -> Any:
    """The bare app with a hit's lines: what a cache that cost nothing at all would come to."""
    return Pages(calls, LINES_OF_A_HIT)


def _ours(name: str, store: Callable[[str], str], near_bytes: int) -> Callable[[Calls, str], Any]:
    def build(calls: Calls, redis: str) -> Any:
        import asgi_cache

        return asgi_cache.wrap(
            Pages(calls),
            store=store(redis),
            namespace=f"{NAMESPACE}-{name}",
            paths=PATHS,
            near_bytes=near_bytes,
            keep=0,
            store_timeout=STORE_TIMEOUT,
            request_store_timeout=STORE_TIMEOUT,
        )

    return build


def plain_get(calls: Calls, redis: str) -> Any:
    """What an app without any cache does that asks Redis for its page: one GET a request."""
    from redis.asyncio import Redis

    client: Any = Redis.from_url(redis)
    heads: dict[int, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        calls.add()
        path = scope["path"]
        body = await client.get(path)
        if body is None:
            body = body_of(int(path.split("/", 3)[2]))
            await client.set(path, body, ex=SECONDS)
        start = heads.get(len(body))
        if start is None:
            lines = [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"cache-control", CACHE_CONTROL["pages"]),
            ]
            start = {"type": "http.response.start", "status": 200, "headers": lines}
            heads[len(body)] = start
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return app


def starlette_caches(calls: Calls, redis: str) -> Any:
    """Its README's quickstart; ``redis`` empty: in memory."""
    from aiocache import Cache
    from starlette_caches.middleware import CacheMiddleware

    cache = Cache.from_url(redis) if redis else Cache()
    cache.ttl = SECONDS
    pages = CacheMiddleware(Pages(calls), cache=cache)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        else:
            await pages(scope, receive, send)

    return app


def hishel(calls: Calls, redis: str) -> Any:
    """By method and URL alone (``rfc=False``), which is its faster mode."""
    from hishel import AsyncRedisStorage
    from hishel.asgi import ASGICacheMiddleware
    from redis.asyncio import Redis

    storage = AsyncRedisStorage(client=Redis.from_url(redis))
    return ASGICacheMiddleware(Pages(calls), storage=storage, rfc=False)


def fastapi_cache2(calls: Calls, redis: str) -> Any:
    """Its decorator, with the coder that takes the response as it is."""
    from contextlib import asynccontextmanager

    from fastapi import FastAPI, Response
    from fastapi_cache import FastAPICache
    from fastapi_cache.backends.redis import RedisBackend
    from fastapi_cache.coder import PickleCoder
    from fastapi_cache.decorator import cache
    from redis.asyncio import from_url

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        FastAPICache.init(RedisBackend(from_url(redis)), prefix=NAMESPACE, coder=PickleCoder)
        yield

    app = FastAPI(lifespan=life)

    async def page(size: int, number: str) -> Response:
        calls.add()
        return Response(body_of(size), media_type="application/json")

    # Not by its text, as annotations of this module are: Response is a name of this function only.
    page.__annotations__ = {"size": int, "number": str, "return": Response}
    app.get("/pages/{size}/{number}", response_model=None)(cache(expire=SECONDS)(page))
    return app


def litestar(calls: Calls, redis: str) -> Any:
    """Its response cache; ``redis`` empty: its default store, in memory."""
    from litestar import Litestar, MediaType, get
    from litestar.config.response_cache import ResponseCacheConfig
    from litestar.stores.redis import RedisStore

    async def page(size: int, number: str) -> bytes:
        calls.add()
        return body_of(size)

    page.__annotations__ = {"size": int, "number": str, "return": bytes}
    handler = get("/pages/{size:int}/{number:str}", cache=SECONDS, media_type=MediaType.JSON)(page)
    stores: Any = {"pages": RedisStore.with_client(redis)} if redis else None
    config = ResponseCacheConfig(store="pages")
    return Litestar([handler], stores=stores, response_cache_config=config, openapi_config=None)


def _in_memory(build: Callable[[Calls, str], Any]) -> Callable[[Calls, str], Any]:
    return lambda calls, _: build(calls, "")


APPS: Final[dict[str, Callable[[Calls, str], Any]]] = {
    "bare": bare,
    "lines": lines,
    "memory": _ours("memory", lambda _: "memory://", NEAR_BYTES),
    "near": _ours("near", str, NEAR_BYTES),
    "redis": _ours("redis", str, 0),
    "get": plain_get,
    "starlette-caches memory": _in_memory(starlette_caches),
    "starlette-caches redis": starlette_caches,
    "hishel redis": hishel,
    "fastapi-cache2 redis": fastapi_cache2,
    "litestar memory": _in_memory(litestar),
    "litestar redis": litestar,
}
"""By the name of the server; given the counter of calls and the URL of a Redis."""
