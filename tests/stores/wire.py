"""Servers in the test's own event loop: one relays and counts, one says what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def until(condition: Callable[[], bool]) -> None:
    """Return when *condition* holds; for what has no event of its own."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - redis-py sets no event
            await asyncio.sleep(0)


async def read_command(reader: asyncio.StreamReader) -> list[bytes]:
    """The next command on *reader*; an IncompleteReadError at its end."""
    header = await reader.readuntil(b"\r\n")
    assert header[:1] == b"*"
    command = []
    for _ in range(int(header[1:])):
        length = int((await reader.readuntil(b"\r\n"))[1:])
        command.append((await reader.readexactly(length + 2))[:-2])
    return command


async def answer_handshake(command: list[bytes], writer: asyncio.StreamWriter) -> bool:
    """Answer what redis-py sends when it connects, and TIME; whether *command* was of these."""
    match command[0]:
        case b"CLIENT" | b"SELECT" | b"AUTH":
            writer.write(b"+OK\r\n")
        case b"TIME":
            writer.write(b"*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n")
        case _:
            return False
    return True


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server on a free port that lets *handler* speak on each connection; gives its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                await handler(reader, writer)
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    scheme = "redis" if tls is None else "rediss"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


class Relay:
    """Passes bytes on to a Redis and back; counts connections and round trips."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.connections = 0
        self.trips = 0
        """How often bytes of the client came after bytes of the server, or first."""
        self.asked = asyncio.Event()
        """Set when the client sends something."""
        self.answering = asyncio.Event()
        """While it is not set, replies are held back."""
        self.answering.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        answered = True

        async def back() -> None:
            nonlocal answered
            while data := await from_server.read(2**16):
                await self.answering.wait()
                answered = True
                writer.write(data)
            writer.close()

        backwards = asyncio.create_task(back())
        try:
            while data := await reader.read(2**16):
                self.trips += answered
                answered = False
                self.asked.set()
                to_server.write(data)
        finally:
            backwards.cancel()
            to_server.close()
            await asyncio.gather(backwards, return_exceptions=True)
