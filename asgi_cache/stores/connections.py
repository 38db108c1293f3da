"""Exchanges with a Redis: the only module that imports redis-py, and that knows of sockets.

Commands leave in one piece, once. Nothing is ever sent again, because a stamp that is written a
second time, late, would revive what another purge had ended; so redis-py's own ``execute_command``
with its retries is not used. An exchange that ends in any other way than with all its replies
costs the connection, so that no reply can be taken for that of a later command.

Connections belong to one event loop and to one process. A pool of redis-py serves as a description
of connections only; which of them are idle is kept here, because giving one back to such a pool
may wait, and whoever is cancelled while it waits never gives it back.

What must not be here: keys, values, and what commands mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError, ResponseError

from asgi_cache.errors import ConfigurationError, StoreError, StoreRefused, StoreUnavailable
from asgi_cache.stores.forking import let_go
from asgi_cache.stores.pools import pool_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Command: TypeAlias = tuple[bytes, ...]

READING: Final = ("read", "ping")
"""Operations that write nothing: what is said to them is said of every look-up."""


class Connections:
    """The connections to *server*, a URL or a client of redis-py, in every event loop.

    At most *limit* in each loop; *connect_timeout* in seconds. *clock* is what :attr:`offset` is
    measured against.
    """

    def __init__(
        self,
        server: str | Redis,
        *,
        clock: Callable[[], float],
        connect_timeout: float,
        limit: int,
    ) -> None:
        # Any: redis-py's pools are not typed.
        self._pool: Any
        if isinstance(server, str):
            self._pool = pool_of(server, connect_timeout, limit)
        elif isinstance(server, Redis):
            self._pool = server.connection_pool
        else:
            raise ConfigurationError(
                f"store is a {type(server).__name__}; it must be a URL or a redis.asyncio.Redis"
            )
        if self._pool.get_encoder().decode_responses:
            raise ConfigurationError("store has decode_responses set; its replies must be bytes")
        self._limit = min(limit, self._pool.max_connections)
        self.clock = clock
        self.offset = 0.0
        """Seconds that the server's clock is ahead, known when :attr:`offset_is_known`."""
        self.offset_is_known = False
        # No WeakKeyDictionary: connections refer to their loop, so no loop would ever leave it.
        self._by_loop: dict[asyncio.AbstractEventLoop, _LoopConnections] = {}
        self._pid = os.getpid()
        self._inherited: list[object] = []

    def __repr__(self) -> str:
        options = self._pool.connection_kwargs
        known = [name for name in ("host", "port", "path", "db") if name in options]
        return " ".join(f"{name}={options[name]}" for name in known)

    async def exchange(
        self,
        operation: str,
        commands: Sequence[Command],
        then: Callable[[list[Any]], Sequence[Command]] | None = None,
    ) -> list[Any]:
        """Send *commands* and give their replies; StoreUnavailable unless all were carried out.

        StoreRefused: the server does not write. *then*: what to send next on the same connection,
        by the replies; theirs are given then. A GETRANGE of what is no string gives ``None``.
        """
        if not commands:
            return []
        try:
            replies = await self._of_this_loop().exchange(commands, then)
        except Exception as error:
            raise StoreUnavailable(self.text(operation, error)) from None
        for reply in replies:
            if isinstance(reply, ResponseError):
                if isinstance(reply, ReadOnlyError):
                    # By now its address may lead to another server.
                    await self._of_this_loop().close_idle()
                refused = operation not in READING and _is_refusal(reply)
                kind = StoreRefused if refused else StoreUnavailable
                raise kind(self.text(operation, reply)) from None
        return replies

    async def aclose(self) -> None:
        """Close this loop's connections now, and have other loops close theirs."""
        self._leave_parent()
        here = asyncio.get_running_loop()
        for loop in list(self._by_loop):
            connections = self._by_loop.pop(loop, None)
            if connections is not None and loop is here:
                await connections.aclose()
            elif connections is not None and not loop.is_closed():
                with contextlib.suppress(RuntimeError):  # closed just now
                    loop.call_soon_threadsafe(connections.end)

    def make(self, **options: Any) -> Any:
        """A new connection, not connected yet; with other *options* than usual."""
        if options:
            return self._pool.connection_class(**(self._pool.connection_kwargs | options))
        return self._pool.make_connection()

    async def send(self, connection: Any, command: Command) -> None:
        """Send one command whose reply :meth:`push` gives."""
        await connection.send_packed_command(_packed([command]), check_health=False)

    async def push(self, connection: Any) -> Any:
        """The next message on a connection that is subscribed."""
        if str(connection.protocol) == "3":
            return await connection.read_response(push_request=True)
        return await connection.read_response()

    def observe(self, sent_at: float, time_reply: Any) -> None:
        """Learn the server's clock from its reply to a TIME sent at *sent_at* and just received."""
        if isinstance(time_reply, ResponseError):  # not permitted: then clocks have to agree
            return
        seconds, microseconds = map(int, time_reply)
        server = seconds + microseconds / 1e6
        least, most = server - self.clock(), server - sent_at
        # One that may still be right stays, so that a slow exchange does not blur it.
        if not (self.offset_is_known and least <= self.offset <= most):
            self.offset = (least + most) / 2
        self.offset_is_known = True

    def _of_this_loop(self) -> _LoopConnections:
        self._leave_parent()
        loop = asyncio.get_running_loop()
        connections = self._by_loop.get(loop)
        if connections is None:
            for other in list(self._by_loop):
                if other.is_closed():
                    self._by_loop.pop(other, None)
            connections = self._by_loop[loop] = _LoopConnections(self, self._limit)
        return connections

    def _leave_parent(self) -> None:
        """After a fork: let go of the parent's connections, without a byte of protocol."""
        if self._pid == os.getpid():
            return
        # Kept for ever, because finalisers would end a TLS session and tell selectors.
        self._inherited.append(self._by_loop)
        for connections in self._by_loop.values():
            connections.let_go()
        self._by_loop = {}
        self._pid = os.getpid()

    def text(self, operation: str, error: Exception) -> str:
        """What to say of *error*, without the password."""
        text = f"{operation}: {type(error).__name__}: {error}"
        password = self._pool.connection_kwargs.get("password")
        # A server that does not know AUTH repeats its arguments.
        return text.replace(password, "***") if password else text


class _LoopConnections:
    """The connections of one event loop, each used by one exchange at a time."""

    def __init__(self, connections: Connections, limit: int) -> None:
        self._connections = connections
        self._turns = asyncio.Semaphore(limit)
        self._idle: list[Any] = []
        self._all: set[Any] = set()
        self._ended = False
        self._ending: asyncio.Task[None] | None = None

    async def exchange(
        self,
        commands: Sequence[Command],
        then: Callable[[list[Any]], Sequence[Command]] | None,
    ) -> list[Any]:
        """Send *commands* in one piece, and read the reply to each, ResponseErrors included."""
        async with self._turns:
            connection = self._idle.pop() if self._idle else self._connections.make()
            self._all.add(connection)
            try:
                replies = await self._converse(connection, commands)
                if then is not None:
                    if any(isinstance(reply, ResponseError) for reply in replies):
                        await self._drop(connection)  # what was watched, say, still is
                        return replies
                    replies = await self._converse(connection, then(replies))
            except BaseException:  # cancelled, too: replies may come late
                await self._drop(connection)
                raise
            if self._ended:
                await self._drop(connection)
            else:
                self._idle.append(connection)
            return replies

    def end(self) -> None:
        """As :meth:`aclose`, in a task of its own; only in this event loop."""
        self._ending = asyncio.create_task(self.aclose())

    async def aclose(self) -> None:
        """Close what is idle now, and what is in use after its exchange."""
        self._ended = True
        await self.close_idle()

    async def close_idle(self) -> None:
        """Close what is idle now."""
        while self._idle:
            connection = self._idle.pop()
            self._all.discard(connection)
            with contextlib.suppress(Exception):
                await connection.disconnect()

    def let_go(self) -> None:
        """Close these sockets in this process only, and tell neither server nor event loop."""
        for connection in self._all:
            let_go(connection)

    async def _converse(self, connection: Any, commands: Sequence[Command]) -> list[Any]:
        new = not await _is_quiet(connection)
        if new:
            await connection.disconnect(nowait=True)
            await connection.connect()
            commands = [(b"TIME",), *commands]
        sent_at = self._connections.clock()
        await connection.send_packed_command(_packed(commands), check_health=False)
        if new:
            self._connections.observe(sent_at, await _reply(connection, commands[0]))
            commands = commands[1:]
        return [await _reply(connection, command) for command in commands]

    async def _drop(self, connection: Any) -> None:
        self._all.discard(connection)
        with contextlib.suppress(Exception):
            await connection.disconnect(nowait=True)


def _is_refusal(reply: ResponseError) -> bool:
    """Whether *reply* says that the server does not write, and nothing about reading."""
    kinds = (OutOfMemoryError, ReadOnlyError, NoPermissionError)
    return isinstance(reply, kinds) or str(reply).startswith(("MISCONF ", "NOREPLICAS "))


def _packed(commands: Sequence[Command]) -> bytes:
    """*commands* as RESP arrays; redis-py's ``pack_commands`` takes five times as long."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        parts += [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in command]
    return b"".join(parts)


async def _is_quiet(connection: Any) -> bool:
    """Whether *connection* is open, and nothing came on it that nobody asked for."""
    if not connection.is_connected:
        return False
    has_input = getattr(connection, "can_read", None) or connection.can_read_destructive
    try:
        return not await has_input()
    except Exception:
        return False


async def _reply(connection: Any, command: Command) -> Any:
    """The reply to *command*, or its ResponseError; a StoreError where it cannot be one to it."""
    try:
        reply = await connection.read_response()
    except ResponseError as error:
        if command[0] == b"GETRANGE" and str(error).startswith("WRONGTYPE"):
            return None
        return error
    match command[0]:
        case b"GETRANGE":
            fits = type(reply) is bytes
        case b"MGET":
            fits = type(reply) is list and len(reply) == len(command) - 1
            fits = fits and set(map(type, reply)) <= {bytes, NoneType}
        case b"TIME":
            fits = type(reply) is list
        case b"EXEC":  # nil: what was watched has changed
            fits = reply is None or type(reply) is list
        case b"PTTL" | b"PEXPIRE" | b"UNLINK":
            fits = type(reply) is int or reply == b"QUEUED"
        case _:
            fits = True
    if not fits:
        raise StoreError(f"an impossible reply to {command[0].decode()}")
    if command[0] == b"EXEC" and reply is not None:
        return next((each for each in reply if isinstance(each, ResponseError)), reply)
    return reply
