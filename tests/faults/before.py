"""What redis-py's defaults cost one look-up when Redis hangs: ``python -m tests.faults.before``.

A server of this command's own is stopped (SIGSTOP), and asked for a key by a client as
``redis.asyncio.Redis(host=..., port=...)`` makes it, once over a connection that was open before
and once over a new one; then through this package. ``--at-most`` ends what takes longer.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import TYPE_CHECKING, Any

import redis.asyncio

from asgi_cache import Cache, StoreUnavailable
from asgi_cache.stores import RESPONSE_SLOT
from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Awaitable

AT_MOST = 180.0


async def timed(name: str, asked: Awaitable[Any], at_most: float) -> None:
    """Print how long *asked* takes, and how it ends."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(at_most):
            await asked
        end = "done"
    except TimeoutError as error:
        # redis-py's own is no builtin TimeoutError.
        end = f"still waiting, ended here ({type(error).__name__})"
    except (redis.RedisError, StoreUnavailable) as error:
        end = f"{type(error).__name__}: {error}"
    print(f"{name}: {time.monotonic() - began:.3f} s, {end}", flush=True)


async def measure(at_most: float) -> None:
    """Stop a Redis and ask it."""
    with RedisServer() as server:
        client = redis.asyncio.Redis(host="127.0.0.1", port=server.port)
        cache = Cache(store=server.url)
        read = cache.store.read
        await client.get("warm")
        await read(b"warm", b"warm", RESPONSE_SLOT, ())
        options = client.connection_pool.connection_kwargs
        retry = options.get("retry")
        shown = {name: options.get(name) for name in ("socket_timeout", "socket_connect_timeout")}
        print(f"redis-py {redis.__version__}: {shown}, retries {getattr(retry, '_retries', retry)}")
        server.pause()
        new = redis.asyncio.Redis(host="127.0.0.1", port=server.port)
        await asyncio.gather(
            timed("redis-py's defaults, a connection that was open", client.get("key"), at_most),
            timed("redis-py's defaults, a new connection", new.get("key"), at_most),
            timed("asgi_cache", read(b"key", b"key", RESPONSE_SLOT, ()), at_most),
        )
        await timed("asgi_cache, another four", four(cache), at_most)
        await timed("asgi_cache, breaker open", read(b"key", b"key", RESPONSE_SLOT, ()), at_most)
        server.resume()
        await cache.aclose()
        await client.aclose()
        await new.aclose()


async def four(cache: Cache) -> None:
    """Look-ups that open the breaker."""
    for _ in range(4):
        try:
            await cache.store.read(b"key", b"key", RESPONSE_SLOT, ())
        except StoreUnavailable:
            continue


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-most", type=float, default=AT_MOST, metavar="SECONDS")
    asyncio.run(measure(parser.parse_args().at_most))
