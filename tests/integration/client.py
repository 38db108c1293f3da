"""A client that reads step by step, decodes nothing by itself, and can go away at any byte."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import h11

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMEOUT_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Response:
    """A whole response."""

    status: int
    lines: tuple[tuple[str, str], ...]
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        """The lines of a field."""
        return [value for line, value in self.lines if line == name]

    def value(self, name: str) -> str | None:
        """The one line of a field, or ``None``."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def cache_status(self) -> str:
        """What Cache-Status says, without this cache's name; empty where there is none."""
        return (self.value("cache-status") or "").removeprefix("asgi-cache; ")

    @property
    def is_hit(self) -> bool:
        """Whether it says that it came from the cache."""
        return self.cache_status.startswith("hit")


class Call:
    """One request on a connection of its own."""

    def __init__(
        self,
        port: int,
        method: str,
        target: str,
        host: str,
        fields: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._h11 = h11.Connection(h11.CLIENT)
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
        lines = [("Host", host), ("Connection", "close"), *fields]
        self._emit(h11.Request(method=method, target=target, headers=lines))
        self._emit(h11.EndOfMessage())
        self.body = b""
        """What has come of the body so far."""
        self._ended = False

    def _emit(self, event: h11.Event) -> None:
        self._socket.sendall(self._h11.send(event) or b"")

    def _next(self) -> h11.Event:
        while True:
            event = self._h11.next_event()
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type), f"the connection is {event}"
                return event
            self._h11.receive_data(self._socket.recv(65536))

    def head(self) -> Response:
        """The response's head, as soon as it is here."""
        event = self._next()
        while isinstance(event, h11.InformationalResponse):
            event = self._next()
        assert isinstance(event, h11.Response)
        lines = ((name.decode(), value.decode("latin-1")) for name, value in event.headers)
        return Response(event.status_code, tuple(lines))

    def read(self, size: int) -> bytes:
        """The body until *size* bytes of it are here; shorter only where it ended."""
        while len(self.body) < size and not self._ended:
            event = self._next()
            if isinstance(event, h11.Data):
                self.body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage)
                self._ended = True
        return self.body

    def whole_body(self) -> bytes:
        """The body to its end; h11.RemoteProtocolError where it is cut off."""
        while not self._ended:
            self.read(len(self.body) + 1)
        return self.body

    def whole(self) -> Response:
        """The response with its body."""
        head = self.head()
        return Response(head.status, head.lines, self.whole_body())

    def reset(self) -> None:
        """Go away with RST."""
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()

    def close(self) -> None:
        """Go away with FIN (where all that came was read)."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
