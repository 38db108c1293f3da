"""A relay in front of a Redis that does to the traffic what networks and servers do.

It goes command by command: each is passed on (or answered by the test) and its reply passed back,
so that any one reply can be replaced without disturbing the others.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

from tests.stores.wire import read_command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


class FaultProxy:
    """The faults are attributes, to be set at any moment."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        """The port that new connections lead to."""
        self.delay = 0.0
        """Seconds that commands and replies take each."""
        self.trickle = 0.0
        """Seconds between the bytes of a reply; 0: all at once."""
        self.answer: Callable[[list[bytes]], bytes | None] | None = None
        """What is said to a command in place of the server; ``None``: the server is asked."""
        self.flowing = asyncio.Event()
        """While it is not set nothing comes through, and connections stay."""
        self.flowing.set()
        self.port = 0
        self.accepted: list[float] = []
        """When connections came, by ``time.monotonic``."""
        self.asked: list[tuple[float, bytes]] = []
        """When which command came."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def count(self) -> Counter[bytes]:
        """Commands by name."""
        return Counter(name for _, name in self.asked)

    def times(self, name: bytes) -> list[float]:
        """When a command came."""
        return [when for when, asked in self.asked if asked == name]

    async def listen(self) -> None:
        """Take connections, on the same port as before."""
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Take no connections any more, and cut those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def cut(self) -> None:
        """End every connection."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted.append(time.monotonic())
        to_close = [writer]
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self.upstream)
                to_close.append(to_server)
                await self._relay(reader, writer, from_server, to_server)
        finally:
            for each in to_close:
                each.close()
            self._tasks.discard(task)

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        commands: asyncio.Queue[tuple[float, list[bytes]] | None] = asyncio.Queue()

        async def read() -> None:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    command = await read_command(reader)
                    self.asked.append((time.monotonic(), command[0]))
                    commands.put_nowait((time.monotonic(), command))
            commands.put_nowait(None)

        reading = asyncio.create_task(read())
        try:
            while (asked := await commands.get()) is not None:
                await self._pass(*asked, writer, from_server, to_server)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _pass(
        self,
        came_at: float,
        command: list[bytes],
        writer: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        if self.delay:
            # There and back; what came together arrives together.
            await asyncio.sleep(came_at + 2 * self.delay - time.monotonic())
        await self.flowing.wait()
        reply = None if self.answer is None else self.answer(command)
        if reply is None:
            to_server.write(b"*%d\r\n" % len(command))
            to_server.writelines([b"$%d\r\n%b\r\n" % (len(part), part) for part in command])
            reply = await read_reply(from_server)
        await self.flowing.wait()
        if self.trickle:
            for byte in reply:
                writer.write(bytes((byte,)))
                await asyncio.sleep(self.trickle)
        else:
            writer.write(reply)


async def read_reply(reader: asyncio.StreamReader) -> bytes:
    """One reply of RESP 2, as it came."""
    head = await reader.readuntil(b"\r\n")
    number = int(head[1:]) if head[:1] in b"$*" else -1
    if head[:1] == b"$" and number >= 0:
        return head + await reader.readexactly(number + 2)
    if head[:1] == b"*":
        return head + b"".join([await read_reply(reader) for _ in range(max(number, 0))])
    return head


@asynccontextmanager
async def proxied(upstream: int) -> AsyncIterator[FaultProxy]:
    """A relay to the Redis at port *upstream*."""
    proxy = FaultProxy(upstream)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.refuse()


@contextmanager
def full_backlog(port: int = 0) -> Iterator[str]:
    """The URL of a server to which connections do not even come about: SYNs are dropped."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(0)
    fillers = []
    try:
        while True:
            filler = socket.socket()
            fillers.append(filler)
            filler.settimeout(0.2)
            try:
                filler.connect(listener.getsockname())
            except TimeoutError:
                break
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
    finally:
        for each in (*fillers, listener):
            each.close()
