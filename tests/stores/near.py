"""A far store in memory that tells of its changes when the test says so, and its replies as well.

So that a reply and a push can overtake each other in every way that two connections permit.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from asgi_cache.errors import StoreError, StoreUnavailable
from asgi_cache.stores import MemoryStore, TieredStore
from asgi_cache.stores.capabilities import Changed
from tests.stores.wire import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from asgi_cache.model import Record, Stamp
    from asgi_cache.stores.capabilities import Cell

NAME = b"n"
"""The stamp that proves the channel alive."""


class FakeChannel:
    """What the server has said on one channel, and how much of it has arrived."""

    def __init__(self, far: Far, name: bytes) -> None:
        self.far = far
        self.name = name
        self.is_open = False
        self.said: list[Changed | Stamp | None] = []
        """Said by the server, and on its way."""
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()

    async def open(self) -> None:
        if self.far.refuses is not None:
            raise self.far.refuses
        self.is_open = True

    async def ask(self) -> None:
        self.far.asked += 1
        self.say(self.far.get(self.name))

    async def next(self) -> Changed | Stamp | None:
        told = await self._arrived.get()
        if isinstance(told, Exception):
            raise told
        return told  # type: ignore[no-any-return]  # a queue of what is said

    async def aclose(self) -> None:
        self.is_open = False

    def let_go(self) -> None:
        """Nothing is open."""

    def say(self, what: Changed | Stamp | None) -> None:
        self.said.append(what)
        if self.far.delivers:
            self.deliver()

    def deliver(self, most: int | None = None) -> None:
        """Have the first *most* of what was said arrive, or all of it."""
        arriving, self.said = self.said[:most], self.said[len(self.said[:most]) :]
        for each in arriving:
            self._arrived.put_nowait(each)

    def cut(self) -> None:
        """The connection breaks: what was on its way is lost."""
        self.is_open = False
        self.said.clear()
        self._arrived.put_nowait(StoreUnavailable("cut"))


class Far(MemoryStore):
    """A store that can be watched; replies wait while ``answering`` is not set."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(16 * 2**20, clock)
        self.answering = asyncio.Event()
        self.answering.set()
        self.reached = asyncio.Event()
        """Set when an operation has been carried out, its reply on its way."""
        self.delivers = True
        """What is said arrives at once."""
        self.refuses: StoreError | None = None
        self.fails: StoreError | None = None
        """Raised in place of every reply; what was asked for is done."""
        self.channels: list[FakeChannel] = []
        self.asked = 0
        self.reads = 0

    @property
    def channel_now(self) -> FakeChannel:
        return self.channels[-1]

    def record_place(self, target: bytes, key: bytes, slot: int) -> bytes:
        return b"r %b %b %d" % (target, key, slot)

    def stamp_place(self, name: bytes) -> bytes:
        return b"s " + name

    def channel(self, name: bytes) -> FakeChannel:
        channel = FakeChannel(self, name)
        self.channels.append(channel)
        return channel

    def push(self, places: Sequence[bytes] | None) -> None:
        for channel in self.channels:
            if channel.is_open:
                channel.say(Changed(places))

    def lose(self, cell: Cell) -> None:
        """As an eviction, an expiry or a DEL by anybody."""
        self.forget(cell)
        place = self.stamp_place(cell) if isinstance(cell, bytes) else self.record_place(*cell)
        self.push([place])

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        self.reads += 1
        found = await super().read(target, key, list(slots), stamps)
        await self._reply()
        return found

    async def write(
        self,
        target: bytes,
        key: bytes,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
    ) -> None:
        await super().write(target, key, records, stamps)
        self.push([self.record_place(target, key, slot) for slot in records])
        await self._reply()

    async def remove(self, target: bytes, key: bytes, slot: int) -> None:
        self.lose((target, key, slot))
        await self._reply()

    async def settle(self, names: Sequence[bytes], life: float) -> Sequence[Stamp]:
        missing = [name for name in names if self.get(name) is None]
        settled = await super().settle(names, life)
        if missing:
            self.push([self.stamp_place(name) for name in missing])
        await self._reply()
        return settled

    async def replace(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
    ) -> None:
        await super().replace(names, soft_names, life)
        self.push([self.stamp_place(name) for name in (*names, *soft_names)])
        await self._reply()

    async def _reply(self) -> None:
        self.reached.set()
        await self.answering.wait()
        if self.fails is not None:
            raise self.fails


@asynccontextmanager
async def tiered(far: Far, near_bytes: int = 2**20) -> AsyncIterator[TieredStore]:
    """*far* with a near tier whose channel is alive."""
    tier = TieredStore(MemoryStore(near_bytes, far.now), far, NAME)
    try:
        await tier.read(b"", b"", (), [NAME])
        await until(lambda: tier.watching.is_alive or far.refuses is not None)
        yield tier
    finally:
        await tier.aclose()
