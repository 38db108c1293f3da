"""Joined round trips: what one turn of the event loop has to say leaves in one piece.

The first to say something has the turn's batch sent when the turn is over, which is before the loop
waits for anything: a lone request waits for nothing. The next turn's batch does not wait for this
one's replies. Nothing is ever sent again.

A batch has one deadline, the most patient one's of those that name one; where that passes, the
connection is in doubt and ends with all that waits on it. A connection that takes too long to come
about costs the batches that wait for it, but goes on until *connect_timeout*.

What must not be here: what commands mean, and how replies are read (``line``).
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from asgi_cache.errors import StoreUnavailable
from asgi_cache.stores.deadlines import Deadline, NoAnswer
from asgi_cache.stores.line import Line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from asgi_cache.stores.resp import Command

PATIENCE: Final = 2.0
"""Seconds after which a reply is overdue that nobody gave a deadline."""

_P = TypeVar("_P", bound="Part")


class Part(Protocol):
    """What travels in a batch: some commands, which stay together, and what becomes of them."""

    def commands(self) -> Sequence[Command]:
        """What to send; asked once, when the turn is over."""

    def done(self, replies: list[Any]) -> None:
        """The replies, ResponseErrors included."""

    def failed(self, error: Exception) -> None:
        """They will not come."""


class Exchange:
    """The commands of one waiter."""

    def __init__(self, commands: Sequence[Command], waiter: asyncio.Future[list[Any]]) -> None:
        self._commands = commands
        self._waiter = waiter

    def commands(self) -> Sequence[Command]:
        """All of them: others of the same turn may build on them, even where who asked is gone."""
        return self._commands

    def done(self, replies: list[Any]) -> None:
        """Give the waiter its replies."""
        if not self._waiter.done():
            self._waiter.set_result(replies)

    def failed(self, error: Exception) -> None:
        """Tell the waiter."""
        if not self._waiter.done():
            self._waiter.set_exception(error)


class Batch:
    """What leaves in one piece."""

    def __init__(self) -> None:
        self.shared: Any = None
        """The part that everybody in this turn may add to."""
        self.parts: list[Part] = []
        self.seconds = 0.0
        self.commands: list[Command] = []
        self.replies: list[Any] = []
        self._counts: list[int] = []
        self.deadline: Deadline | None = None

    def pack(self) -> None:
        """Nobody adds anything any more."""
        for part in self.parts:
            said = part.commands()
            self.commands += said
            self._counts.append(len(said))

    def done(self) -> None:
        """Hand out the replies."""
        self._in_time()
        at = 0
        for part, count in zip(self.parts, self._counts, strict=True):
            part.done(self.replies[at : at + count])
            at += count

    def failed(self, error: Exception) -> None:
        """Tell who waits."""
        self._in_time()
        for part in self.parts:
            part.failed(error)

    def _in_time(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None  # it knows this batch: as a cycle all replies would stay


class Joining:
    """The joined round trips of one event loop.

    *connect* gives a connection of redis-py, connected; *converse* is used for exchanges where that
    has no transport of asyncio's. What *started* gives is said first on each connection.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        converse: Callable[[Sequence[Command]], Awaitable[list[Any]]],
        started: Callable[[], Part],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._connect = connect
        self._converse = converse
        self._started = started
        self._batch: Batch | None = None
        self.line: Line | None = None
        self._lines: set[Line] = set()
        self._waiting: list[Batch] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting: asyncio.Task[None] | None = None
        self._can_join = True
        self._ended = False
        self._left = False

    def shared(self, make: Callable[[asyncio.AbstractEventLoop], _P], seconds: float) -> _P:
        """The part that everybody adds to in this turn, made by *make* for the first.

        *seconds*: what its replies may take.
        """
        batch = self._batch
        if batch is None:
            batch = self._begin()
        if batch.shared is None:
            batch.shared = make(self._loop)
            batch.parts.append(batch.shared)
        if batch.seconds < seconds:
            batch.seconds = seconds
        part: _P = batch.shared
        return part

    def exchange(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send *commands* with this turn's batch; their replies."""
        batch = self._batch
        if batch is None:
            batch = self._begin()
        waiter: asyncio.Future[list[Any]] = self._loop.create_future()
        batch.parts.append(Exchange(commands, waiter))
        return waiter

    def retire(self) -> None:
        """Use a new connection from here on; this one ends when nobody waits on it."""
        if self.line is not None:
            self.line.retire()

    async def aclose(self) -> None:
        """Close the connection, now or after what is under way; wait for no reply."""
        self._ended = True
        if not self._waiting and self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        self.retire()
        for line in list(self._lines):
            await line.closed()

    def let_go(self) -> None:
        """Forget everything in a forked process, without a byte of protocol."""
        self._left = True
        for line in self._lines:
            line.let_go()

    def _begin(self) -> Batch:
        batch = self._batch = Batch()
        self._loop.call_soon(self._leave)
        return batch

    def _leave(self) -> None:
        """The turn is over: its batch leaves."""
        batch, self._batch = self._batch, None
        if batch is None or self._left:
            return
        if self._pid != os.getpid():  # forked in this turn: the connection is the parent's
            batch.failed(StoreUnavailable("asked before a fork"))
            return
        batch.pack()
        if not batch.commands:
            batch.done()
            return
        seconds = batch.seconds or PATIENCE
        batch.deadline = Deadline(seconds, lambda blocked: self._overdue(batch, seconds, blocked))
        batch.deadline.start()
        if self.line is not None:
            self.line.send(batch)
        elif self._can_join:
            self._waiting.append(batch)
            if self._connecting is None:
                self._connecting = self._task(self._open())
        else:
            self._task(self._pass(batch))

    def _overdue(self, batch: Batch, seconds: float, blocked: bool) -> None:
        error = NoAnswer("exchange", seconds, blocked=blocked)
        if batch in self._waiting:
            self._waiting.remove(batch)
            batch.failed(error)
            return
        for line in list(self._lines):
            if line.expects(batch):
                line.end(error)
                return
        batch.failed(error)

    async def _open(self) -> None:
        line: Line | None = None
        try:
            connection = await self._connect()
            if Line.can_take(connection):
                line = Line(connection, self._line_ended)
                self._lines.add(line)
                self.line = None if line.has_ended else line
                batch = Batch()
                batch.parts.append(self._started())
                batch.pack()
                line.send(batch)
            else:
                self._can_join = False
                with contextlib.suppress(Exception):
                    await connection.disconnect(nowait=True)
        except BaseException as error:
            waiting, self._waiting = self._waiting, []
            for batch in waiting:
                batch.failed(error if isinstance(error, Exception) else StoreUnavailable("closed"))
            if not isinstance(error, Exception):
                raise
        finally:
            self._connecting = None
        waiting, self._waiting = self._waiting, []
        for batch in waiting:
            if line is not None:
                line.send(batch)
            else:
                self._task(self._pass(batch))
        if self._ended:
            self.retire()

    async def _pass(self, batch: Batch) -> None:
        try:
            batch.replies += await self._converse(batch.commands)
        except Exception as error:
            batch.failed(error)
        else:
            batch.done()

    def _line_ended(self, line: Line) -> None:
        if self.line is line:
            self.line = None
        if line.is_over:
            self._lines.discard(line)

    def _task(self, work: Any) -> asyncio.Task[None]:
        # A context of its own: it serves more requests than the one that was first.
        task = self._loop.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
