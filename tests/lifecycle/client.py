"""A client that keeps its connection, and can go away at any byte of an exchange."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from tests.security.harness import Told, read

if TYPE_CHECKING:
    from collections.abc import Iterable

HOST: Final = "shop.example"
MOST_SECONDS: Final = 30.0
LIMIT: Final = 1 << 20


@dataclass(frozen=True)
class Answer:
    """A whole response."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def is_hit(self) -> bool:
        """Whether Cache-Status says so."""
        return "; hit" in self.fields.get("cache-status", "")

    @property
    def told(self) -> Told:
        """What the body says; fails where it is not whole."""
        assert self.status == 200
        return read(self.body)


class Client:
    """One connection to a worker, made when it is first needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(
        self, target: str, fields: Iterable[tuple[str, str]] = (), method: str = "GET"
    ) -> None:
        """A request and no more."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}"]
        lines += [f"{name}: {value}" for name, value in fields]
        await self._write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def begin(self, target: str, size: int) -> None:
        """The first *size* bytes of a request."""
        await self._write(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n".encode()[:size])

    async def _write(self, text: bytes) -> None:
        if self._writer is None:
            streams = await asyncio.open_connection("127.0.0.1", self._port, limit=LIMIT)
            self._reader, self._writer = streams
        self._writer.write(text)
        await self._writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and fields of a response."""
        assert self._reader is not None
        first, *lines = (
            (await self._reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
        )
        fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name = name.lower()
            fields[name] = f"{fields[name]}, {value.strip()}" if name in fields else value.strip()
        return int(first.split()[1]), fields

    async def body(self, fields: dict[str, str]) -> bytes:
        """The body after :meth:`head`; an IncompleteReadError where it is cut off."""
        reader = self._reader
        assert reader is not None
        if "content-length" in fields:
            return await reader.readexactly(int(fields["content-length"]))
        assert fields["transfer-encoding"] == "chunked"
        pieces = []
        while size := int((await reader.readuntil(b"\r\n")), 16):
            pieces.append((await reader.readexactly(size + 2))[:-2])
        await reader.readexactly(2)
        return b"".join(pieces)

    async def some(self, size: int) -> bytes:
        """At least one byte, at most *size*; nothing at the end."""
        assert self._reader is not None
        return await self._reader.read(size)

    async def ask(
        self, target: str, fields: Iterable[tuple[str, str]] = (), method: str = "GET"
    ) -> Answer:
        """One exchange; an OSError or an EOFError where the worker is gone."""
        async with asyncio.timeout(MOST_SECONDS):
            await self.send(target, fields, method)
            status, got = await self.head()
            return Answer(status, got, await self.body(got))

    def leave(self, *, reset: bool = False) -> None:
        """Go away, by FIN or by RST."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is None:
            return
        if reset:
            own: socket.socket = writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()


async def asked(port: int, target: str, fields: Iterable[tuple[str, str]] = ()) -> Answer:
    """One exchange on a connection of its own."""
    async with Client(port) as client:
        return await client.ask(target, fields)
