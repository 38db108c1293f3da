"""Every change in a namespace of a Redis, told by the server on a connection of its own.

``CLIENT TRACKING ON BCAST PREFIX <namespace>:`` on a RESP3 connection has the server push the
names of keys as they change, by whatever means and whoever did it: a write, ``DEL``, expiry,
eviction; ``FLUSHDB`` is pushed as nil. The pushes of one cycle of the server come as one. Not
``NOLOOP``: the writes of this very process are other connections' anyway.

The pushes of a cycle are put out at its end, before any reply of it leaves the server; so who sends
a question after somebody was told that a change has been carried out, gets the push of that change
before the answer. (Of a change whose reply is still on its way the push may come just after.)

What must not be here: what is held near, and for how long that may be trusted.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoPermissionError, ResponseError

from asgi_cache.errors import StoreRefused, StoreUnavailable
from asgi_cache.stores.capabilities import Changed
from asgi_cache.stores.line import close_here
from asgi_cache.stores.stamping import stamp_of

if TYPE_CHECKING:
    from asgi_cache.model import Stamp
    from asgi_cache.stores.connections import Connections

INVALIDATE = b"invalidate"
NO_RESP3: Final = ("unknown command", "NOPROTO ")
"""How a server says that it does not know HELLO, or version 3 of its protocol."""


class Tracking:
    """A :class:`~asgi_cache.stores.capabilities.Channel`; *place*: what :meth:`ask` reads."""

    def __init__(self, connections: Connections, prefix: bytes, place: bytes) -> None:
        self._connections = connections
        self._prefix = prefix
        self._place = place
        self._connection: Any = None
        self._moves = 0

    async def open(self) -> None:
        """Connect, and return when the server tracks; StoreRefused where it does not."""
        connection: Any
        self._moves = self._connections.moves
        try:
            connection = self._connection = self._connections.make(protocol=3)
            await self._connect(connection)
            # A nil push could not be told from a nil reply otherwise.
            connection._parser.set_invalidation_push_handler(_taken)
            await self._send(b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", self._prefix)
            reply = await connection.read_response(timeout=math.inf)
        except ResponseError as error:
            raise StoreRefused(self._connections.text("tracking", error)) from None
        except (StoreRefused, StoreUnavailable):
            raise
        except Exception as error:
            raise StoreUnavailable(self._connections.text("tracking", error)) from None
        if reply != b"OK":
            raise StoreUnavailable("tracking: an impossible reply")

    async def _connect(self, connection: Any) -> None:
        try:
            await connection.connect()
        except ResponseError as error:
            if str(error).startswith(NO_RESP3):
                text = self._connections.text("tracking", error)
                needed = "RESP3 is needed, which Redis has from 6.0 on, and Valkey"
                raise StoreRefused(f"{text} ({needed})") from None
            if isinstance(error, NoPermissionError):
                raise
            # A database that does not exist, say, which every connection meets.
            raise StoreUnavailable(self._connections.text("tracking", error)) from None

    async def ask(self) -> None:
        """Send a read of the stamp."""
        if self._moves != self._connections.moves:
            # This one may go on for ever with a server that nobody writes to any more.
            raise StoreUnavailable("tracking: look-ups go to another server by now")
        try:
            await self._send(b"MGET", self._place)
        except Exception as error:
            raise StoreUnavailable(self._connections.text("tracking", error)) from None

    async def next(self) -> Changed | Stamp | None:
        """What changed; or the stamp asked for longest ago, ``None`` where there is none."""
        try:
            reply = await self._connection.read_response(timeout=math.inf, push_request=True)
        except Exception as error:
            raise StoreUnavailable(self._connections.text("tracking", error)) from None
        match reply:
            case Changed():
                return reply
            case [message, places] if message == INVALIDATE:  # hiredis before 3.2
                return Changed(places)
            case [None]:
                return None
            case [bytes(data)]:
                return stamp_of(data)
        raise StoreUnavailable("tracking: an impossible reply")

    async def aclose(self) -> None:
        """Close the connection, without waiting for the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)

    def let_go(self) -> None:
        """Close the socket in this process only."""
        close_here(getattr(self._connection, "_writer", None))

    async def _send(self, *command: bytes) -> None:
        await self._connections.send(self._connection, command)


async def _taken(push: Any) -> Changed:
    return Changed(push[1])
