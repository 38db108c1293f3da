"""Leases in Redis: one worker at a time fills a key, and those of others are told when it ends.

    <namespace>:{<target>}:l:<place>     a lease: the token of its holder, PX its life
    <namespace>:{<target>}:w:<place>     a channel: what became of it, one byte

A lease is a hint for who calls the app; what makes a late holder harmless is that it writes in a
script that looks at its lease (see ``fencing``), or under ``WATCH`` of it: once another worker has
it, nothing is written. A message that is lost costs a poll.

What must not be here: who leads or waits (``following``), what a record is.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from asgi_cache.errors import StoreUnavailable
from asgi_cache.stores.capabilities import LEFT, STORED
from asgi_cache.stores.fencing import are_unwanted, failed, fenced
from asgi_cache.stores.line import close_here

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asgi_cache.stores.connections import Connections
    from asgi_cache.stores.resp import Command


UNWATCH: Final = ((b"MULTI",), (b"EXEC",))
"""Ends a WATCH with commands that are needed, and so permitted, in any case."""
CLOSING_SECONDS: Final = 0.1
MOST_CHANNELS: Final = 256
"""Channels that nobody listens to any more; beyond, the connection is made anew."""


class RedisLeases:
    """The leases of one :class:`~asgi_cache.stores.redis.RedisStore`.

    *place* is bytes of any length under *target*; *place_of* makes both into a key's middle.
    """

    def __init__(
        self, connections: Connections, prefix: bytes, place_of: Callable[[bytes, bytes], bytes]
    ) -> None:
        self._connections = connections
        self._prefix = prefix
        self._place_of = place_of
        self._names = lru_cache(maxsize=512)(self._names_of)
        self._ears: dict[asyncio.AbstractEventLoop, _Ears] = {}
        connections.after_fork(self._leave_parent)
        self._has_scripts = True
        """As far as is known: a user may be forbidden to send any."""

    async def take(self, target: bytes, place: bytes, token: bytes, life: float) -> bool:
        """Take the lease for *life* seconds; ``False`` where somebody has it."""
        lease, _ = self._names(target, place)
        live = b"%d" % max(1, round(life * 1000))
        (reply,) = await self._connections.join(
            "lease", [(b"SET", lease, token, b"PX", live, b"NX")]
        )
        return reply is not None

    async def write(
        self,
        target: bytes,
        place: bytes,
        token: bytes,
        commands: Sequence[Command],
        asked: Sequence[Command],
        *,
        is_large: bool,
    ) -> list[Any] | None:
        """Carry out *commands* and give the lease back, all or nothing; the replies to *asked*.

        ``None``: the lease is not *token*'s any more, and nothing was done. *is_large*: it must not
        hold up what others wait for.
        """
        lease, channel = self._names(target, place)
        if self._has_scripts and not is_large:
            script = fenced(lease, token, channel, STORED, commands)
            replies = await self._connections.join_unchecked("write", [script, *asked])
            if not failed(replies[0]):
                await self._connections.check("write", replies)
                return replies[1:] if replies[0] else None
            # Whatever it was: what follows needs no script, and says best what is wrong.
            self._has_scripts = not are_unwanted(replies[0])

        def then(replies: list[Any]) -> Sequence[Command]:
            if replies[1] != [token]:
                return UNWATCH
            return [
                (b"MULTI",),
                *asked,
                *commands,
                (b"UNLINK", lease),
                (b"PUBLISH", channel, STORED),
                (b"EXEC",),
            ]

        replies = await self._connections.exchange(
            "write", [(b"WATCH", lease), (b"MGET", lease)], then
        )
        done = replies[-1]
        return done[: len(asked)] if done else None

    async def release(self, target: bytes, place: bytes, token: bytes, told: bytes) -> None:
        """Give the lease back where it still is *token*'s, and say what became of it."""
        lease, channel = self._names(target, place)
        if self._has_scripts:
            script = fenced(lease, token, channel, told, ())
            replies = await self._connections.join_unchecked("release", [script])
            if not failed(replies[0]):
                return
            self._has_scripts = not are_unwanted(replies[0])

        # A server without memory queues no command; with scripts those that free some do run.
        def then(replies: list[Any]) -> Sequence[Command]:
            if replies[1] != [token]:
                return UNWATCH
            return [(b"MULTI",), (b"UNLINK", lease), (b"PUBLISH", channel, told), (b"EXEC",)]

        await self._connections.exchange("release", [(b"WATCH", lease), (b"MGET", lease)], then)

    async def listen(self, target: bytes, place: bytes) -> Listening:
        """Hear from now on what becomes of the lease; StoreUnavailable where nothing can be heard.

        Use it as a context manager.
        """
        loop = asyncio.get_running_loop()
        self._connections.leave_parent()
        for other in [one for one in self._ears if one.is_closed()]:
            self._ears.pop(other, None)
        ears = self._ears.setdefault(loop, _Ears(self._connections))
        try:
            return await ears.listen(self._names(target, place)[1])
        except Exception as error:
            raise StoreUnavailable(f"listen: {type(error).__name__}") from None

    async def aclose(self) -> None:
        """Close this loop's connection."""
        self._connections.leave_parent()
        ears = self._ears.pop(asyncio.get_running_loop(), None)
        if ears is not None:
            await ears.aclose()

    def _leave_parent(self) -> object:
        """In a forked child: hear nothing on the parent's connections, and close none of them."""
        ears, self._ears = self._ears, {}
        for one in ears.values():
            one.let_go()
        return ears

    def _names_of(self, target: bytes, place: bytes) -> tuple[bytes, bytes]:
        """The key of a lease, and its channel."""
        prefix, place_of = self._prefix, self._place_of
        lease, channel = place_of(target, b"l:" + place), place_of(target, b"w:" + place)
        return b"%b%b" % (prefix, lease), b"%b%b" % (prefix, channel)


class Listening:
    """What one waiter hears on a channel."""

    def __init__(self, ears: _Ears, channel: bytes) -> None:
        self._ears = ears
        self._channel = channel
        self._heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def next(self, seconds: float) -> bytes | None:
        """The next message, within *seconds*; ``None``: none came."""
        try:
            async with asyncio.timeout(seconds):
                told = await asyncio.shield(self._heard)
        except TimeoutError:
            return None
        self._heard = asyncio.get_running_loop().create_future()
        return told

    def hear(self, told: bytes) -> None:
        """Take a message."""
        if not self._heard.done():
            self._heard.set_result(told)

    async def __aenter__(self) -> Listening:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ears.leave(self._channel, self)


class _Ears:
    """One event loop's connection for messages, made when somebody first listens."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._connection: Any = None
        self._reading: asyncio.Task[None] | None = None
        self._listeners: dict[bytes, set[Listening]] = {}
        self._confirmed: dict[bytes, asyncio.Future[None]] = {}
        self._changing = asyncio.Lock()

    async def listen(self, channel: bytes) -> Listening:
        """Subscribe, where nobody has yet, and wait until the server says so."""
        listening = Listening(self, channel)
        async with self._changing:
            if self._reading is None or self._reading.done():
                await self._connect()
            if channel not in self._confirmed:
                self._confirmed[channel] = asyncio.get_running_loop().create_future()
                await self._send(b"SUBSCRIBE", channel)
            self._listeners.setdefault(channel, set()).add(listening)
        try:
            await asyncio.shield(self._confirmed[channel])
        except BaseException:
            await self.leave(channel, listening)
            raise
        return listening

    async def leave(self, channel: bytes, listening: Listening) -> None:
        """Stop listening; with the last one the connection ends, and every subscription."""
        listeners = self._listeners.get(channel, set())
        listeners.discard(listening)
        if not listeners:
            self._listeners.pop(channel, None)
        if not self._listeners or len(self._confirmed) > MOST_CHANNELS + len(self._listeners):
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        reading, self._reading = self._reading, None
        self._forget(StoreUnavailable("nobody listens any more"))
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading}, timeout=CLOSING_SECONDS)

    def let_go(self) -> None:
        """Close the socket in this process only, and tell neither server nor event loop."""
        close_here(getattr(self._connection, "_writer", None))

    async def _connect(self) -> None:
        self._listeners.clear()
        self._forget(StoreUnavailable("the connection is made anew"))
        connection = self._connections.make()
        await connection.connect()
        self._connection = connection
        self._reading = asyncio.create_task(self._read(connection))

    def _forget(self, error: Exception) -> None:
        """No subscription holds any more."""
        for confirmed in self._confirmed.values():
            if not confirmed.done():
                confirmed.set_exception(error)
                confirmed.exception()
        self._confirmed.clear()

    async def _send(self, *command: bytes) -> None:
        await self._connections.send(self._connection, command)

    async def _read(self, connection: Any) -> None:
        try:
            while True:
                kind, channel, told = (await self._connections.push(connection))[:3]
                if kind == b"subscribe":
                    confirmed = self._confirmed.get(channel)
                    if confirmed is not None and not confirmed.done():
                        confirmed.set_result(None)
                elif kind == b"message":
                    for listening in list(self._listeners.get(channel, ())):
                        listening.hear(told)
        except Exception as error:
            self._forget(error)
        finally:
            for listeners in list(self._listeners.values()):
                for listening in list(listeners):
                    listening.hear(LEFT)  # nothing is heard any more: look again
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)
