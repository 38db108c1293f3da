"""Exchanges with a Redis: the one module that makes connections, with redis-py.

Commands leave in one piece, once. Nothing is ever sent again, because a stamp that is written a
second time, late, would revive what another purge had ended; so redis-py's own ``execute_command``
with its retries is not used. An exchange that ends in any other way than with all its replies
costs the connection, so that no reply can be taken for that of a later command.

What is short goes on one connection of each event loop, together with all that is asked in the same
turn (``joining``). What has to own its connection for a while (WATCH, a large body, a purge, whose
deadline is another) takes one of a pool.

Connections belong to one event loop and to one process.

What must not be here: keys, values, and what commands mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError, ResponseError

from asgi_cache.errors import ConfigurationError, StoreRefused, StoreUnavailable, cause_of
from asgi_cache.stores.deadlines import NoAnswer
from asgi_cache.stores.joining import Joining
from asgi_cache.stores.pooled import Pooled
from asgi_cache.stores.pools import pool_of
from asgi_cache.stores.resp import is_refusal, packed
from asgi_cache.stores.server_clock import ServerClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asgi_cache.stores.resp import Command

READING: Final = ("read", "ping")
"""Operations that write nothing: what is said to them is said of every look-up."""


class Connections:
    """The connections to *server*, a URL or a client of redis-py, in every event loop.

    At most *limit* in each loop; *connect_timeout* in seconds. *clock*: this process's.
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
        self._connect_timeout = connect_timeout
        self.server_clock = ServerClock(clock)
        self.moves = 0
        """How often another server than before was found to be the one that is meant."""
        self._peer: object = None
        # No WeakKeyDictionary: connections refer to their loop, so no loop would ever leave it.
        self._by_loop: dict[asyncio.AbstractEventLoop, _LoopConnections] = {}
        self._pid = os.getpid()
        self._inherited: list[object] = []
        self._others: list[Callable[[], object]] = []

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
            replies = await self._of_this_loop().pooled.exchange(commands, then)
        except Exception as error:
            raise self.unavailable(operation, error) from None
        await self.check(operation, replies)
        return replies

    async def join(self, operation: str, commands: Sequence[Command]) -> list[Any]:
        """As :meth:`exchange`, together with all that this turn of the event loop has to say."""
        replies = await self.join_unchecked(operation, commands)
        for reply in replies:
            if isinstance(reply, ResponseError):
                await self.check(operation, replies)
        return replies

    async def join_unchecked(self, operation: str, commands: Sequence[Command]) -> list[Any]:
        """As :meth:`join`, with what was not carried out among the replies: see :meth:`check`."""
        if not commands:
            return []
        try:
            return await self._of_this_loop().joining.exchange(commands)
        except Exception as error:
            raise self.unavailable(operation, error) from None

    def joining(self) -> Joining:
        """What this turn of the event loop has to say."""
        return self._of_this_loop().joining

    def unavailable(self, operation: str, error: Exception) -> StoreUnavailable:
        """What is raised where *error* ended an exchange."""
        if isinstance(error, NoAnswer):
            return NoAnswer(operation, error.seconds, blocked=error.blocked)
        return StoreUnavailable(self.text(operation, error))

    async def check(self, operation: str, replies: Sequence[Any]) -> None:
        """StoreUnavailable or StoreRefused where one of *replies* is an error."""
        for reply in replies:
            if isinstance(reply, ResponseError):
                if isinstance(reply, ReadOnlyError):
                    # By now its address may lead to another server.
                    self.moves += 1
                    await self._of_this_loop().renew()
                refused = operation not in READING and is_refusal(reply)
                kind = StoreRefused if refused else StoreUnavailable
                raise kind(self.text(operation, reply)) from None

    async def aclose(self) -> None:
        """Close this loop's connections now, and have other loops close theirs."""
        self.leave_parent()
        here = asyncio.get_running_loop()
        for loop in list(self._by_loop):
            connections = self._by_loop.pop(loop, None)
            if connections is not None and loop is here:
                await connections.aclose()
            elif connections is not None and not loop.is_closed():
                with contextlib.suppress(RuntimeError):  # closed just now
                    loop.call_soon_threadsafe(connections.end)

    def make(self, **options: Any) -> Any:
        """A new connection, not connected yet; with other *options* than usual.

        Whoever keeps it tells :meth:`after_fork` how to let go of it.
        """
        if options:
            return self._pool.connection_class(**(self._pool.connection_kwargs | options))
        return self._pool.make_connection()

    def after_fork(self, let_go: Callable[[], object]) -> None:
        """Have *let_go* called in a forked child; what it gives is kept there for ever."""
        self._others.append(let_go)

    async def send(self, connection: Any, command: Command) -> None:
        """Send one command whose reply :meth:`push` gives."""
        await connection.send_packed_command(packed([command]), check_health=False)

    async def push(self, connection: Any) -> Any:
        """The next message on a connection that is subscribed."""
        if str(connection.protocol) == "3":
            return await connection.read_response(push_request=True)
        return await connection.read_response()

    def reached(self, connection: Any) -> None:
        """Note where a new connection leads."""
        ask = getattr(getattr(connection, "_writer", None), "get_extra_info", None)
        peer = None if ask is None else ask("peername")
        if self._peer not in (None, peer):
            self.moves += 1
        self._peer = peer

    def _of_this_loop(self) -> _LoopConnections:
        self.leave_parent()
        loop = asyncio.get_running_loop()
        connections = self._by_loop.get(loop)
        if connections is None:
            for other in list(self._by_loop):
                if other.is_closed():
                    self._by_loop.pop(other, None)
            connections = self._by_loop[loop] = _LoopConnections(
                self, self._limit, self._connect_timeout
            )
        return connections

    def leave_parent(self) -> None:
        """After a fork: let go of the parent's connections, without a byte of protocol."""
        if self._pid == os.getpid():
            return
        # Kept for ever, because finalisers would end a TLS session and tell selectors.
        self._inherited.append(self._by_loop)
        for connections in self._by_loop.values():
            connections.let_go()
        self._inherited += [let_go() for let_go in self._others]
        self._by_loop = {}
        self._pid = os.getpid()

    def text(self, operation: str, error: Exception) -> str:
        """What to say of *error*, without the password."""
        text = f"{operation}: {cause_of(error)}"
        password = self._pool.connection_kwargs.get("password")
        # A server that does not know AUTH repeats its arguments.
        return text.replace(password, "***") if password else text


class _LoopConnections:
    """The connections of one event loop."""

    def __init__(self, connections: Connections, limit: int, connect_timeout: float) -> None:
        self._connections = connections
        self._connect_timeout = connect_timeout
        self._ending: asyncio.Task[None] | None = None
        asking = connections.server_clock.asking
        self.pooled = Pooled(connections.make, asking, limit)
        self.joining = Joining(
            self._connect,
            lambda commands: self.pooled.exchange(commands, None),
            asking,
        )

    def end(self) -> None:
        """As :meth:`aclose`, in a task of its own; only in this event loop."""
        self._ending = asyncio.create_task(self.aclose())

    async def aclose(self) -> None:
        """Close what is idle now, and what is in use after its exchange."""
        await self.pooled.aclose()
        await self.joining.aclose()

    async def renew(self) -> None:
        """Use new connections from here on."""
        self.joining.retire()
        await self.pooled.close_idle()

    def let_go(self) -> None:
        """Close these sockets in this process only, and tell neither server nor event loop."""
        self.joining.let_go()
        self.pooled.let_go()

    async def _connect(self) -> Any:
        connection = self._connections.make()
        try:
            async with asyncio.timeout(self._connect_timeout):
                await connection.connect()
            self._connections.reached(connection)
        except BaseException as error:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)
            if isinstance(error, TimeoutError):  # which says nothing itself
                text = f"no connection within {self._connect_timeout:g} s"
                raise TimeoutError(text) from None
            raise
        return connection
