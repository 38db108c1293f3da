"""A body that lies apart is read once for all who ask meanwhile, and for nobody else."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache.errors import StoreUnavailable
from asgi_cache.stores import RESPONSE_SLOT, RedisStore, readings
from asgi_cache.stores.bodies import APART_BYTES, Detached
from asgi_cache.stores.readings import Readings
from tests.stores.records import stored_response
from tests.stores.wire import until

if TYPE_CHECKING:
    from asgi_cache.model import StoredResponse

HEAD = Detached(stored_response(body=b""), 1, 1, b"digest", b"place")


class Reader:
    """Reads when it is told to."""

    def __init__(self) -> None:
        self.begun: list[Detached] = []
        self.ended = 0
        self.go = asyncio.Event()
        self.fails: Exception | None = None

    async def read(self, head: Detached) -> StoredResponse | None:
        self.begun.append(head)
        try:
            await self.go.wait()
            if self.fails is not None:
                raise self.fails
            return stored_response(body=b"x")
        finally:
            self.ended += 1


@pytest.fixture
def reader() -> Reader:
    return Reader()


async def asked(made: Readings, *heads: Detached) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(made.of(head)) for head in heads]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_who_asks_meanwhile_gets_the_same(reader: Reader) -> None:
    made = Readings(reader.read)
    tasks = await asked(made, *[HEAD] * 5)
    tasks[0].cancel()  # the first to ask is not who reads
    reader.go.set()
    found = [await task for task in tasks[1:]]
    assert len(reader.begun) == 1
    assert all(one is found[0] for one in found)
    await made.of(HEAD)
    assert len(reader.begun) == 2  # nothing is kept


@pytest.mark.parametrize(
    "other",
    [
        HEAD._replace(digest=b"another"),
        HEAD._replace(place=b"another"),
        HEAD._replace(response=stored_response(body=b"", status=203)),
    ],
)
async def test_another_head_has_another_body(reader: Reader, other: Detached) -> None:
    tasks = await asked(Readings(reader.read), HEAD, other)
    assert reader.begun == [HEAD, other]
    reader.go.set()
    await asyncio.gather(*tasks)


async def test_it_ends_with_the_last_who_waits(reader: Reader) -> None:
    made = Readings(reader.read)
    tasks = await asked(made, HEAD, HEAD)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    assert reader.ended == 0
    tasks[1].cancel()
    again = await asked(made, HEAD)  # joins none that is ending
    await until(lambda: reader.ended == 1)
    reader.go.set()
    assert await again[0] is not None


async def test_one_that_takes_too_long_is_not_joined(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings, "JOINED", -1.0)
    tasks = await asked(Readings(reader.read), HEAD, HEAD)
    assert len(reader.begun) == 2
    reader.go.set()
    await asyncio.gather(*tasks)


async def test_all_hear_of_a_failure(reader: Reader) -> None:
    reader.fails = StoreUnavailable("cut")
    tasks = await asked(Readings(reader.read), HEAD, HEAD)
    reader.go.set()
    for task in tasks:
        with pytest.raises(StoreUnavailable, match="cut"):
            await task


async def test_a_herd_on_a_large_page_reads_it_once(redis_url: str, namespace: str) -> None:
    """It used to read it for each: deadlines passed, and the breaker opened."""
    store = RedisStore(redis_url, namespace, compress_bytes=1)
    response = stored_response(body=os.urandom(APART_BYTES) + bytes(APART_BYTES))
    await store.write(b"target", b"key", {0: response}, ())
    connections: Any = store._connections
    exchange = connections.exchange
    reads = 0

    async def counted(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return await exchange(*arguments)

    connections.exchange = counted
    asked = (store.read(b"target", b"key", RESPONSE_SLOT, ()) for _ in range(50))
    for records, _ in await asyncio.gather(*asked):
        assert list(records) == [response]
    assert reads == 1
    await store.aclose()
