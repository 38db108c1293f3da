"""The app that every target serves: it does no work but send a body, and counts its calls.

Only the standard library: this runs in the environment of each peer as well.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence

    Message = MutableMapping[str, Any]

SECONDS: Final = 3600
"""How long pages are fresh: longer than any run measures."""
CACHE_CONTROL: Final = {
    "pages": b"public, max-age=%d" % SECONDS,
    "misses": b"public, max-age=30",  # so many that Redis should soon be rid of them
    "private": b"private",
}
"""The kinds of paths: ``/<kind>/<size of the body>/<anything>``."""
LINES_OF_A_HIT: Final = (
    (b"etag", b'W/"d3ec2f1470a5d2cb297ce5cc2a36f71a"'),
    (b"age", b"0"),
    (b"cache-status", b"asgi-cache; hit; ttl=3599"),
    (b"x-response-time", b"0.043ms"),
)
"""What a hit of asgi_cache says besides the app's own lines: a server writes each of them."""


class Calls:
    """How often the app was called, in a file of this process's own, which the benchmark reads."""

    def __init__(self, folder: str) -> None:
        path = Path(folder, str(os.getpid()))
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")

    def add(self) -> None:
        """One more."""
        self._cells[0] += 1


def calls_in(folder: str) -> int:
    """The calls in all processes that count in *folder*."""
    return sum(int.from_bytes(path.read_bytes(), "little") for path in Path(folder).iterdir())


def body_of(size: int) -> bytes:
    """A JSON text of *size* bytes."""
    return b'{"text": "' + b"x" * (size - 12) + b'"}'


class Pages:
    """The bare app; *more*: lines to send after its own."""

    def __init__(self, calls: Calls, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._calls = calls
        self._more = more
        self._messages: dict[tuple[str, str], tuple[Message, Message]] = {}

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """The ASGI interface."""
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        self._calls.add()
        _, kind, size, _ = scope["path"].split("/", 3)
        found = self._messages.get((kind, size))
        if found is None:
            found = self._messages[kind, size] = messages_of(kind, int(size), self._more)
        start, body = found
        await send(start)
        await send(body)


def messages_of(
    kind: str, size: int, more: Sequence[tuple[bytes, bytes]] = ()
) -> tuple[Message, Message]:
    """What the app sends."""
    lines = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % size),
        (b"cache-control", CACHE_CONTROL[kind]),
        *more,
    ]
    start = {"type": "http.response.start", "status": 200, "headers": lines}
    return start, {"type": "http.response.body", "body": body_of(size)}


async def lifespan(
    receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Nothing to start and nothing to end."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
