"""The write that follows a response: joined before it, not lost with its app, awaited."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import asgi_cache
from asgi_cache import GuardedStore
from tests.driver import BODY, START, Recorder, SpyStore, drive, http_scope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.types import Message, Receive, Scope, Send

    from asgi_cache.model import Record, Stamp

HEADERS = (("cache-control", "max-age=60"),)


class GatedStore(SpyStore):
    """A store whose writes, and reads when told, wait at a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.writing = asyncio.Event()
        self.write_gate = asyncio.Event()
        self.read_done = asyncio.Event()
        self.read_gate = asyncio.Event()
        self.read_gate.set()

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        found = await super().read(target, key, slots, stamps)
        self.read_done.set()
        await self.read_gate.wait()
        return found

    async def write(
        self, target: bytes, key: bytes, records: Mapping[int, Record], stamps: Sequence[bytes]
    ) -> None:
        self.writing.set()
        await self.write_gate.wait()
        await super().write(target, key, records, stamps)


def guarded(store: GatedStore) -> GuardedStore:
    return GuardedStore(store, timeout=30, request_timeout=30)


class Listening:
    """An app that stops as soon as its client has gone, or has everything: as Django does."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        await receive()
        answer = asyncio.ensure_future(self.answer(send))
        gone = asyncio.ensure_future(receive())
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        for task in (answer, gone):
            task.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)

    async def answer(self, send: Send) -> None:
        headers = [(b"cache-control", b"max-age=60"), (b"content-length", b"4")]
        await send({"type": START, "status": 200, "headers": headers})
        await send({"type": BODY, "body": b"page"})


async def test_an_app_that_stops_at_the_end_of_its_response_does_not_stop_the_write() -> None:
    store = GatedStore()
    inner = Listening()
    app = asgi_cache.wrap(inner, store=guarded(store))
    first = await drive(app)
    assert first.body == b"page"
    await store.writing.wait()
    store.write_gate.set()
    await app.app.cache.aclose()  # type: ignore[attr-defined] # wrap() nests a CacheMiddleware
    assert (await drive(app)).hit
    assert inner.calls == 1


async def test_who_asks_again_before_the_write_has_ended_hits() -> None:
    store = GatedStore()
    inner = Recorder(HEADERS)
    app = asgi_cache.wrap(inner, store=guarded(store))
    filling = asyncio.ensure_future(drive(app))
    await store.writing.wait()
    assert (await drive(app)).hit
    store.write_gate.set()
    assert (await filling).serial == (await drive(app)).serial
    assert inner.calls == 1


async def test_a_look_up_that_began_before_the_write_and_ends_after_it_hits() -> None:
    """The store had not got it yet when it read, and this worker has let it go meanwhile."""
    store = GatedStore()
    inner = Recorder(HEADERS)
    app = asgi_cache.wrap(inner, store=guarded(store))
    filling = asyncio.ensure_future(drive(app))
    await store.writing.wait()
    store.read_done.clear()
    store.read_gate.clear()
    asking = asyncio.ensure_future(drive(app))
    await store.read_done.wait()
    store.write_gate.set()
    await filling
    store.read_gate.set()
    assert (await asking).hit
    assert inner.calls == 1


async def test_closing_waits_for_what_is_being_written() -> None:
    store = GatedStore()
    app = asgi_cache.wrap(Listening(), store=guarded(store))
    await drive(app)
    await store.writing.wait()
    closing = asyncio.ensure_future(app.app.cache.aclose())  # type: ignore[attr-defined] # as above
    store.write_gate.set()
    await closing
    assert store.operations[-2:] == ["write", "aclose"]


async def test_the_client_gone_at_the_last_byte_costs_nobody_the_page() -> None:
    store = GatedStore()
    store.write_gate.set()
    inner = Recorder(HEADERS)
    app = asgi_cache.wrap(inner, store=guarded(store))

    async def send(message: Message) -> None:
        if message["type"] == BODY:
            raise OSError("the client is gone")

    async def receive() -> Message:
        return {"type": "http.request"}

    with pytest.raises(OSError, match="the client is gone"):
        await app(http_scope(), receive, send)
    assert (await drive(app)).hit
    assert inner.calls == 1
