"""A TCP relay between workers and Redis that can be told what to do to what passes.

Bytes in either direction stay in order. What a client has sent still reaches the server when the
client has gone meanwhile, late, as it would from a network's buffers.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Coroutine

JUNK_BYTES: Final = 64
ENDING_TURNS: Final = 3
"""Turns of the event loop until an aborted connection is closed."""


@dataclass(frozen=True)
class Weather:
    """What happens to the bytes of one worker; probabilities are of one piece that passes."""

    delay: float = 0.0
    """Seconds, in each direction."""
    cut: float = 0.0
    """Both connections end at once, without the piece."""
    swallow: float = 0.0
    """From here on nothing passes in this direction, and nobody is told."""
    flip: float = 0.0
    """One bit of a reply is another one."""
    junk: float = 0.0
    """Random bytes come in the place of a reply."""
    lose: float = 0.0
    """A piece of a reply is missing."""
    trickle: bool = False
    """Replies come in pieces of some bytes."""
    frozen: bool = False
    """Nothing passes until it is over; then all does."""
    refuses: bool = False
    """New connections end at once."""


FAIR: Final = Weather()


class Relay:
    """One worker's way to the server at *port*; an asynchronous context manager."""

    def __init__(self, port: int, seed: str) -> None:
        self.draw = random.Random(seed)
        self.weather = FAIR
        self.to = port
        self.port = 0
        self.connections = 0
        self.ends: set[_End] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def run(self, connecting: Coroutine[Any, Any, None]) -> None:
        """Have a connection made to the server."""
        task = asyncio.ensure_future(connecting)
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def __aenter__(self) -> Relay:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Near(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for end in list(self.ends):
            end.abort()
        if self._connecting:
            await asyncio.wait(self._connecting)
        for _turn in range(ENDING_TURNS):
            await asyncio.sleep(0)

    def set(self, weather: Weather) -> None:
        """From now on it is so; what was held back by frost passes."""
        thaws = self.weather.frozen and not weather.frozen
        self.weather = weather
        if thaws:
            for end in list(self.ends):
                end.go_on()

    def cut_all(self) -> None:
        """End every connection there is."""
        for end in list(self.ends):
            end.abort()


class _End(asyncio.Protocol):
    """One end of a relayed connection; what comes in here goes out at its *peer*."""

    replies = False

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.peer: _End | None = None
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._swallows = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type
        self.relay.ends.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.relay.ends.discard(self)
        self._transport = None
        self._enqueue(None)

    def data_received(self, data: bytes) -> None:
        weather, draw = self.relay.weather, self.relay.draw
        if weather.cut and draw.random() < weather.cut:
            self.abort()
            return
        if weather.swallow and draw.random() < weather.swallow:
            self._swallows = True
        if self._swallows:
            return
        if not self.replies:
            self._enqueue(data)
            return
        if weather.flip and draw.random() < weather.flip:
            changed = bytearray(data)
            changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            data = bytes(changed)
        if weather.junk and draw.random() < weather.junk:
            data = draw.randbytes(draw.randint(1, JUNK_BYTES))
        if weather.lose and draw.random() < weather.lose:
            first = draw.randrange(len(data))
            data = data[:first] + data[first + draw.randint(1, len(data)) :]
        if not weather.trickle:
            self._enqueue(data)
            return
        while data:
            size = draw.randint(1, 400)
            self._enqueue(data[:size], draw.uniform(0.0, 0.002))
            data = data[size:]

    def abort(self) -> None:
        """End both sides."""
        for end in (self, self.peer):
            if end is not None and end._transport is not None:
                end._transport.abort()

    def go_on(self) -> None:
        """Let pass what is due."""
        self._timer = None
        if self.relay.weather.frozen:
            return
        loop = asyncio.get_running_loop()
        while self._waiting:
            due, data = self._waiting[0]
            if due > loop.time():
                self._timer = loop.call_at(due, self.go_on)
                return
            self._waiting.popleft()
            self._pass(data)

    def _enqueue(self, data: bytes | None, more: float = 0.0) -> None:
        weather = self.relay.weather
        if not (self._waiting or weather.delay or weather.frozen or more):
            self._pass(data)
            return
        loop = asyncio.get_running_loop()
        last = self._waiting[-1][0] if self._waiting else loop.time()
        due = max(loop.time() + weather.delay, last) + more
        self._waiting.append((due, data))
        if self._timer is None:
            self._timer = loop.call_at(due, self.go_on)

    def _pass(self, data: bytes | None) -> None:
        transport = None if self.peer is None else self.peer._transport
        if transport is None or transport.is_closing():
            return
        if data is None:
            transport.close()
        else:
            transport.write(data)


class _Near(_End):
    """The end at the worker."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.relay.connections += 1
        if self.relay.weather.refuses:
            self.abort()
            return
        reading = cast("asyncio.Transport", transport)
        reading.pause_reading()
        self.relay.run(self._connect(reading))

    async def _connect(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, far = await loop.create_connection(
                lambda: _Far(self.relay, self), "127.0.0.1", self.relay.to
            )
        except OSError:
            transport.abort()
            return
        self.peer = far
        if self._transport is None:
            far.abort()
        else:
            transport.resume_reading()


class _Far(_End):
    """The end at the server."""

    replies = True

    def __init__(self, relay: Relay, peer: _End) -> None:
        super().__init__(relay)
        self.peer = peer
