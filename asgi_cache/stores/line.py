"""One connection on which many exchanges are under way at a time.

Replies come in the order of the commands, so what is expected is a queue. Whatever casts a doubt
on that order ends the connection and all that waits on it: a reply that nobody asked for or that
cannot be one to its command, what is no reply, the connection's end. A reply that nobody waits for
any more is taken from the queue like any other, and given to nobody.

What must not be here: how a connection comes about, and what travels on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

import hiredis
from redis.exceptions import ResponseError

from asgi_cache.errors import StoreError
from asgi_cache.stores.resp import checked, packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_cache.stores.resp import Command

CLOSING_SECONDS: Final = 0.1
_MORE: Final = object()
"""What the parser gives where a reply is not complete."""


class Exchanges(Protocol):
    """Commands that are sent in one piece, and what becomes of them."""

    commands: list[Command]
    replies: list[Any]
    """Filled here."""

    def done(self) -> None:
        """Every reply is there."""

    def failed(self, error: Exception) -> None:
        """They will not come."""


class Line(asyncio.Protocol):
    """The protocol of one connection.

    *ended* is told when it takes no more, and when it is closed.
    """

    def __init__(self, connection: Any, ended: Callable[[Line], None]) -> None:
        # Whatever refers to the transport is kept, since finalisers close it.
        self._connection, self._writer = connection, connection._writer
        parse_error = getattr(connection._parser, "parse_error", ResponseError)
        self._parser = hiredis.Reader(
            protocolError=StoreError, replyError=parse_error, notEnoughData=_MORE
        )
        self._expected: deque[Exchanges] = deque()
        self._ended = ended
        self._retired = False
        self._error: Exception | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport = self._writer.transport
        reader, before = connection._reader, self.transport.get_protocol()
        self.transport.set_protocol(self)
        if reader.at_eof() or self.transport.is_closing():
            self.end(ConnectionResetError("closed by the server"))
        elif reader._buffer:
            self.end(StoreError("a reply that nobody asked for"))
        # From here on redis-py's connection is a description only.
        connection._writer = connection._reader = None
        before.connection_lost(None)

    @staticmethod
    def can_take(connection: Any) -> bool:
        """Whether *connection*, connected by redis-py, has a transport of asyncio's."""
        transport = getattr(getattr(connection, "_writer", None), "transport", None)
        reader = getattr(connection, "_reader", None)
        return hasattr(transport, "set_protocol") and isinstance(reader, asyncio.StreamReader)

    @property
    def has_ended(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._error is not None

    @property
    def is_over(self) -> bool:
        """Whether the connection is closed."""
        return self._closed.done()

    def expects(self, exchanges: Exchanges) -> bool:
        """Whether a reply to *exchanges* may still come."""
        return exchanges in self._expected

    def send(self, exchanges: Exchanges) -> None:
        """Send what *exchanges* has to say, now and in one piece."""
        if self._error is not None:
            exchanges.failed(self._error)
            return
        self._expected.append(exchanges)
        self.transport.write(packed(exchanges.commands))

    def end(self, error: Exception) -> None:
        """Take nothing more, tell who waits, and close the connection at once."""
        if self._error is not None:
            return
        self._error = error
        self.transport.abort()
        self._ended(self)
        while self._expected:
            self._expected.popleft().failed(error)

    def retire(self) -> None:
        """Close the connection as soon as nobody waits on it."""
        self._retired = True
        self._ended(self)
        if not self._expected and self._error is None:
            self._error = ConnectionResetError("closed")
            self.transport.close()

    async def closed(self) -> None:
        """Wait until the connection is closed, unless somebody still waits on it."""
        if not self._expected:
            await asyncio.wait({self._closed}, timeout=CLOSING_SECONDS)

    def let_go(self) -> None:
        """Close the socket in this process only, and tell neither server nor event loop."""
        self._error = ConnectionResetError("another process's")
        self._expected.clear()
        close_here(self._writer)

    # ------------------------------------------------------------------ asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Read the replies in *data*."""
        if self._error is not None:
            return
        parser, expected = self._parser, self._expected
        try:
            parser.feed(data)
            while (reply := parser.gets()) is not _MORE:
                if not expected or isinstance(reply, hiredis.PushNotification):
                    raise StoreError("a reply that nobody asked for")
                exchanges = expected[0]
                replies = exchanges.replies
                replies.append(checked(exchanges.commands[len(replies)], reply))
                if len(replies) == len(exchanges.commands):
                    exchanges.done()
                    expected.popleft()  # not before: what cannot be done has failed
            if not expected and parser.has_data():
                raise StoreError("a reply that nobody asked for")
        except Exception as error:
            self.end(error)
        else:
            if self._retired and not expected:
                self.retire()

    def eof_received(self) -> None:
        """The server says no more."""
        self.end(ConnectionResetError("closed by the server"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.end(exc or ConnectionResetError("closed by the server"))
        if not self._closed.done():
            self._closed.set_result(None)
        self._ended(self)


def close_here(writer: Any) -> None:
    """Close the socket of *writer* in this process only; neither server nor loop is told."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        descriptor = writer.get_extra_info("socket").fileno()
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)
