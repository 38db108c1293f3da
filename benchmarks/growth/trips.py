"""Round trips to Redis, counted on the wire: a relay that sees when the direction changes.

For requests one after the other, each burst that the server is sent after it has answered is one
round trip, however many commands are in it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self
from urllib.parse import urlsplit


class Relay:
    """Forwards a loopback port to a Redis, and counts."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._far = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._url = parts
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.trips = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        user = self._url.netloc.rpartition("@")
        self.url = self._url._replace(netloc=f"{user[0]}{user[1]}127.0.0.1:{port}").geturl()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._far)
        answered = True

        async def there() -> None:
            nonlocal answered
            while read := await reader.read(1 << 16):
                if answered:
                    self.trips += 1
                    answered = False
                far_writer.write(read)
            far_writer.close()

        async def back() -> None:
            nonlocal answered
            while read := await far_reader.read(1 << 16):
                answered = True
                writer.write(read)
            writer.close()

        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await asyncio.gather(there(), back())
        finally:
            for end in (writer, far_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()
