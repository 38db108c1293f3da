"""A relay that knows which connections are channels of changes, and does harm to those only."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TRACKING = b"TRACKING"
"""Who says this is one."""


class ChannelRelay:
    """Passes bytes on to the Redis at port *upstream* and back."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self.to_server = asyncio.Event()
        """While it is not set nothing that channels say goes through, and they stay open."""
        self.to_client = asyncio.Event()
        """The same for what is said on them."""
        self.to_server.set()
        self.to_client.set()
        self.channels: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def cut(self) -> None:
        """End every channel."""
        channels = list(self.channels)
        for task in channels:
            task.cancel()
        await asyncio.gather(*channels, return_exceptions=True)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        to_close = [writer]
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self.upstream)
                to_close.append(to_server)
                back = asyncio.ensure_future(self._back(task, from_server, writer))
                try:
                    while data := await reader.read(2**16):
                        if TRACKING in data:
                            self.channels.add(task)
                        if task in self.channels:
                            await self.to_server.wait()
                        to_server.write(data)
                finally:
                    back.cancel()
                    await asyncio.gather(back, return_exceptions=True)
        finally:
            for each in to_close:
                each.close()
            self._tasks.discard(task)
            self.channels.discard(task)

    async def _back(
        self,
        task: asyncio.Task[None],
        from_server: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        while data := await from_server.read(2**16):
            if task in self.channels:
                await self.to_client.wait()
            writer.write(data)
        writer.close()

    async def end(self) -> None:
        """End everything."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def relayed(upstream: int) -> AsyncIterator[ChannelRelay]:
    """A relay to the Redis at port *upstream*."""
    relay = ChannelRelay(upstream)
    server = await asyncio.start_server(relay.handle, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        await relay.end()
