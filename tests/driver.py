"""A raw ASGI client for tests, and an app whose answers describe themselves.

Nothing here validates: what an app sends is recorded as it came, however wrong. Nothing sleeps;
where a test needs an order it hooks ``on_send`` or waits for an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from asgi_cache import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from asgi_cache.model import Record, Stamp

Field: TypeAlias = tuple[str | bytes, str | bytes]

HOST = "shop.example"
START = "http.response.start"
BODY = "http.response.body"


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No collection in between: where Python's calls are counted, a library's callback is none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def as_bytes(text: str | bytes) -> bytes:
    """*text* as it stands in a scope."""
    return text.encode("latin-1") if isinstance(text, str) else text


def http_scope(
    target: str = "/",
    *,
    method: str = "GET",
    headers: Iterable[Field] = (),
    host: str | None = HOST,
    spec_version: str = "2.4",
    extensions: dict[str, Any] | None = None,
    **others: Any,
) -> Scope:
    """An HTTP scope as a server makes it; *others* are put in, or take the place of its own.

    *target* is path and query as sent; *host* ``None`` leaves the field out.
    """
    raw_path, _, query = target.partition("?")
    lines = [] if host is None else [(b"host", as_bytes(host))]
    lines += [(as_bytes(name).lower(), as_bytes(value)) for name, value in headers]
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": spec_version},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": method,
        "root_path": "",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": lines,
        "extensions": {} if extensions is None else extensions,
        "state": {},
    }
    return {**scope, **others}


@dataclass
class Exchange:
    """What a client has at the end of an exchange."""

    messages: list[Message] = field(default_factory=list)
    """Every message that reached the client, in order."""

    @property
    def start(self) -> Message:
        """The one start message."""
        (start,) = [message for message in self.messages if message.get("type") == START]
        return start

    @property
    def status(self) -> int:
        """Of the one start message."""
        status = self.start["status"]
        assert isinstance(status, int)
        return status

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The lines of the first start, as they came; empty where there is none."""
        starts = [message for message in self.messages if message.get("type") == START]
        return list(starts[0].get("headers", ())) if starts else []

    @property
    def body(self) -> bytes:
        """All body messages joined."""
        return b"".join(
            bytes(message.get("body", b""))
            for message in self.messages
            if message.get("type") == BODY
        )

    @property
    def complete(self) -> bool:
        """Whether the final body message came, once, as the last one."""
        finals = [
            message.get("type") == BODY and not message.get("more_body", False)
            for message in self.messages
        ]
        return bool(finals) and finals[-1] and sum(finals) == 1

    def values(self, name: str) -> list[str]:
        """The value of each line of a field."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for line, value in self.headers if line.lower() == wanted]

    def field(self, name: str) -> str | None:
        """The lines of a field joined, or ``None`` where there is none."""
        values = self.values(name)
        return ", ".join(values) if values else None

    @property
    def cache_status(self) -> str:
        """Cache-Status, or an empty text."""
        return self.field("cache-status") or ""

    @property
    def hit(self) -> bool:
        """Whether Cache-Status says so; ask the app's counter, too."""
        return "; hit" in self.cache_status

    @property
    def collapsed(self) -> bool | None:
        """What Cache-Status says of another request's fill (RFC 9211 §2.6); ``None``: nothing."""
        for one in self.cache_status.split("; "):
            if one.startswith("collapsed"):
                return one == "collapsed"
        return None

    @property
    def told(self) -> dict[str, Any]:
        """What the body of a :class:`Recorder` says."""
        told = json.loads(self.body)
        assert isinstance(told, dict)
        return told

    @property
    def serial(self) -> int:
        """Which call of the :class:`Recorder` made this body."""
        serial = self.told["serial"]
        assert isinstance(serial, int)
        return serial


class Connection:
    """One client's side of one exchange: ``receive`` and ``send``.

    *body*: one or several messages' content. *on_send* is awaited with each message that reached
    the client: to disconnect, or to wait at a barrier.
    """

    def __init__(
        self,
        scope: Scope,
        body: bytes | Sequence[bytes] = b"",
        on_send: Callable[[Message], Awaitable[None] | None] | None = None,
    ) -> None:
        chunks = [body] if isinstance(body, bytes) else list(body)
        self.scope = scope
        self.exchange = Exchange()
        self.gone = asyncio.Event()
        """The client has disconnected, or has its whole response."""
        self.received: list[Message] = []
        """What the app was given."""
        self.on_send = on_send
        self._raises = tuple(map(int, scope["asgi"]["spec_version"].split("."))) >= (2, 4)
        self._left = [
            {"type": "http.request", "body": chunk, "more_body": index < len(chunks)}
            for index, chunk in enumerate(chunks, 1)
        ]
        self._disconnected = False

    def disconnect(self) -> None:
        """Go away: later messages are lost, with an OSError from spec version 2.4 on."""
        self._disconnected = True
        self.gone.set()

    async def receive(self) -> Message:
        """The request's content, then the disconnect, once there is one."""
        if self._left:
            message: Message = self._left.pop(0)
        else:
            await self.gone.wait()
            message = {"type": "http.disconnect"}
        self.received.append(message)
        return message

    async def send(self, message: Message) -> None:
        """Record *message*."""
        if self._disconnected:
            if self._raises:
                raise OSError("the client is gone")
            return
        self.exchange.messages.append(message)
        if self.on_send is not None:
            waited = self.on_send(message)
            if waited is not None:
                await waited
        if message.get("type") == BODY and not message.get("more_body", False):
            self.gone.set()

    async def run(self, app: ASGIApp) -> Exchange:
        """Call *app* and return what the client has."""
        await app(self.scope, self.receive, self.send)
        return self.exchange


async def drive(
    app: ASGIApp,
    target: str = "/",
    *,
    body: bytes | Sequence[bytes] = b"",
    scope: Scope | None = None,
    disconnect_after: int | None = None,
    **options: Any,
) -> Exchange:
    """One exchange with *app*; *options* as for :func:`http_scope`, unless *scope* is given.

    *disconnect_after*: how many messages the client takes before it goes away.
    """
    connection = Connection(http_scope(target, **options) if scope is None else scope, body)
    if disconnect_after is not None:
        if disconnect_after == 0:
            connection.disconnect()

        def count(message: Message) -> None:
            if len(connection.exchange.messages) == disconnect_after:
                connection.disconnect()

        connection.on_send = count
    return await connection.run(app)


class Recorder:
    """An app that counts its calls and answers with what it saw, as JSON.

    *headers*: the lines of every answer. *before* is awaited with the scope before the start: to
    wait at a barrier, or to answer otherwise by raising.
    """

    def __init__(
        self,
        headers: Iterable[Field] = (),
        *,
        status: int = 200,
        length: bool = True,
        before: Callable[[Scope], Awaitable[None]] | None = None,
    ) -> None:
        self.headers = [(as_bytes(name), as_bytes(value)) for name, value in headers]
        self.status = status
        self.length = length
        self.before = before
        self.calls = 0
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        assert scope["type"] == "http"
        self.calls += 1
        serial = self.calls
        self.scopes.append(scope)
        if self.before is not None:
            await self.before(scope)
        body = self.answer(scope, serial)
        length = [(b"content-length", b"%d" % len(body))] if self.length else []
        lines = [(b"content-type", b"application/json"), *length, *self.headers]
        await send({"type": START, "status": self.status, "headers": lines})
        await send({"type": BODY, "body": b"" if scope["method"] == "HEAD" else body})

    def answer(self, scope: Scope, serial: int) -> bytes:
        """The body: everything that the app could have seen."""
        return json.dumps(
            {
                "serial": serial,
                "method": scope["method"],
                "path": scope["path"],
                "query": scope["query_string"].decode("latin-1"),
                "headers": [
                    [name.decode("latin-1"), value.decode("latin-1")]
                    for name, value in scope["headers"]
                ],
                "user": scope.get("user"),
                "state": sorted(scope.get("state") or ()),
            }
        ).encode()


class SpyStore(MemoryStore):
    """A memory store that lists its operations, and raises what ``failing`` says for each."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__(16 * 1024 * 1024, clock)
        self.operations: list[str] = []
        self.failing: dict[str, BaseException] = {}

    def _see(self, operation: str) -> None:
        self.operations.append(operation)
        if operation in self.failing:
            raise self.failing[operation]

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        """As the memory store's."""
        self._see("read")
        return await super().read(target, key, slots, stamps)

    async def write(
        self, target: bytes, key: bytes, records: Mapping[int, Record], stamps: Sequence[bytes]
    ) -> None:
        """As the memory store's."""
        self._see("write")
        await super().write(target, key, records, stamps)

    async def remove(self, target: bytes, key: bytes, slot: int) -> None:
        """As the memory store's."""
        self._see("remove")
        await super().remove(target, key, slot)

    async def settle(self, names: Sequence[bytes], life: float) -> Sequence[Stamp]:
        """As the memory store's."""
        self._see("settle")
        return await super().settle(names, life)

    async def replace(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
    ) -> None:
        """As the memory store's."""
        self._see("replace")
        await super().replace(names, soft_names, life)

    async def aclose(self) -> None:
        """As the memory store's."""
        self._see("aclose")
        await super().aclose()
