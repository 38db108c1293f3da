"""A Redis to be stopped and killed, a proxy in front of it, and an app that is cached behind it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache import CacheMiddleware
from tests.driver import Recorder, drive
from tests.faults.proxy import FaultProxy, proxied
from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    Site = Callable[..., AbstractAsyncContextManager[CacheMiddleware]]

FRESH = ("cache-control", "max-age=600")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is promised here is promised in milliseconds, which other processes can take from any

    run: the best of three counts.
    """
    for item in items:
        if item.path.parent.name == "faults":
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=1))


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of this test's own."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[FaultProxy]:
    """In front of the Redis that all tests share."""
    async with proxied(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def site(namespace: str) -> Site:
    """Makes a cached app on the store given, with nothing near in front of it (that is

    ``test_near.py``); closed at the end.
    """

    @asynccontextmanager
    async def make(store: Any, **options: Any) -> AsyncIterator[CacheMiddleware]:
        options = {"near_bytes": 0, **options}
        app = CacheMiddleware(Recorder([FRESH]), store=store, namespace=namespace, **options)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(app.cache.aclose)
            yield app

    return make


async def warm(app: CacheMiddleware, *targets: str) -> None:
    """Have *targets* stored."""
    for target in targets or ("/page",):
        for _ in range(20):
            if (await drive(app, target)).hit:
                break
        else:
            raise AssertionError(f"{target} is not stored")
