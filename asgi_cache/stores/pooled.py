"""Connections that are used by one exchange at a time: for what has to own one for a while.

An exchange that ends in any other way than with all its replies costs the connection, so that no
reply can be taken for that of a later command.

A pool of redis-py serves as a description of connections only; which of them are idle is kept here,
because giving one back to such a pool may wait, and whoever is cancelled while it waits never gives
it back.

What must not be here: what commands mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from asgi_cache.stores.line import close_here
from asgi_cache.stores.resp import checked, packed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asgi_cache.stores.joining import Part
    from asgi_cache.stores.resp import Command


class Pooled:
    """Those of one event loop, *limit* at most.

    *make* gives one that is not connected; what *started* gives is said first on each.
    """

    def __init__(self, make: Callable[[], Any], started: Callable[[], Part], limit: int) -> None:
        self._make = make
        self._started = started
        self._turns = asyncio.Semaphore(limit)
        self._idle: list[Any] = []
        self._all: set[Any] = set()
        self._ended = False

    async def exchange(
        self,
        commands: Sequence[Command],
        then: Callable[[list[Any]], Sequence[Command]] | None,
    ) -> list[Any]:
        """Send *commands* in one piece, and read the reply to each, ResponseErrors included."""
        async with self._turns:
            connection = self._idle.pop() if self._idle else self._make()
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
            close_here(getattr(connection, "_writer", None))

    async def _converse(self, connection: Any, commands: Sequence[Command]) -> list[Any]:
        new = not await _is_quiet(connection)
        first = self._started() if new else None
        if first is not None:
            await connection.disconnect(nowait=True)
            await connection.connect()
            asked = first.commands()
            commands = [*asked, *commands]
        await connection.send_packed_command(packed(commands), check_health=False)
        if first is not None:
            first.done([await _reply(connection, command) for command in asked])
            commands = commands[len(asked) :]
        return [await _reply(connection, command) for command in commands]

    async def _drop(self, connection: Any) -> None:
        self._all.discard(connection)
        with contextlib.suppress(Exception):
            await connection.disconnect(nowait=True)


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
        reply = error
    return checked(command, reply)
