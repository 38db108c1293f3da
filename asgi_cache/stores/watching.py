"""How long what is held near may be trusted: a lease, proven on the channel of changes itself.

Several times a second a stamp is asked for on the channel. Its answer says that whatever changed
before it was asked for has been told, and nothing about what changed later; so the lease counts
from before the question was sent, by a clock that goes on while this process stands still. A
channel that is cut, half open or stuck proves nothing, and within :data:`LEASE` nothing near is
believed any more. With the channel all cells go; a new one begins with none.

So what begins more than :data:`LEASE` after a purge has returned never gets what that purge ended:
a hit near then needs an answer to a question sent after the return, the push came before that
answer and killed the cell, and what was read before the push is not put any more (``cells``).

One event loop of the process has the channel; where that loop has ended, stands still or is a
parent's, the next one that reads takes over.

What must not be here: what lies in cells, and how a store tells of changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import random
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from asgi_cache.errors import StoreRefused
from asgi_cache.stores.capabilities import Changed
from asgi_cache.stores.locking import ProcessLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_cache.stores.capabilities import Channel, Watched
    from asgi_cache.stores.cells import Cells

LEASE: Final = 1.0
"""Seconds that an answer proves, from before it was asked for."""
BEAT: Final = 0.25
"""Seconds between two questions."""
SILENCE: Final = 2.0
"""Seconds without the answer after which a channel is given up."""
OPENING: Final = 1.0
"""Seconds that a new channel may take."""
RETRY: Final = 1.0
"""Seconds between two attempts, and up to a fifth more at random."""
REFUSED: Final = 60.0
"""The same where the server does not do it: somebody may change its rules, or the server."""
OVERDUE: Final = 10.0
"""Seconds after which a loop that is late is taken to stand still."""
CLOSING: Final = 1.0

logger = logging.getLogger("asgi_cache")


class Watching:
    """Keeps a channel of *watched*, and *cells* right by it, once :meth:`ensure` has been called.

    *name*: the stamp to ask for. *is_away*: the store is left alone. *fails*: all of it does.
    """

    def __init__(
        self,
        watched: Watched,
        cells: Cells,
        name: bytes,
        is_away: Callable[[], bool],
        fails: Callable[[], bool],
    ) -> None:
        self.lease_until = 0.0
        """By ``time.monotonic()``: until then a cell may be believed, in the process :attr:`pid`.

        A hit compares both, which is all that it does about coherence."""
        self.pid = os.getpid()
        self.error: str | None = None
        """Why there is no channel; ``None`` where there is one, or none has been needed."""
        self._failures = 0
        """Attempts in a row that have come to nothing."""
        self._is_told = False
        self._watched = watched
        self._cells = cells
        self._name = name
        self.is_away = is_away
        self._fails = fails
        self._turn: _Turn | None = None
        self._lock = ProcessLock()
        self._inherited: list[_Turn] = []

    @property
    def is_alive(self) -> bool:
        """Whether cells may be believed."""
        return monotonic() < self.lease_until and os.getpid() == self.pid

    def ensure(self) -> None:
        """See to it that there is a channel; costs next to nothing where that is so already."""
        turn = self._turn
        if turn is not None and self.pid == os.getpid() and turn.is_alive():
            return
        with self._lock:
            if self._turn is not turn:
                return
            if self.pid != os.getpid():
                self._leave_parent()
            elif turn is not None:
                self._end(turn)
            self._turn = _Turn(self)

    async def aclose(self) -> None:
        """Close the channel, until somebody asks for it again."""
        turn = self._turn
        if turn is None:
            return
        if self.pid != os.getpid():
            self._leave_parent()
            return
        self._end(turn)
        if turn.loop is asyncio.get_running_loop():
            await asyncio.wait({turn.task}, timeout=CLOSING)

    def new_channel(self) -> Channel:
        """A channel, not open yet."""
        return self._watched.channel(self._name)

    # ------------------------------------------------------------------ said by the turn

    def opened(self, turn: _Turn) -> None:
        """Every change is told from now on."""
        if self._turn is turn:
            self._cells.open()

    def told(self, turn: _Turn, change: Changed) -> None:
        """Something changed."""
        if self._turn is not turn:
            return
        if change.places is None:
            self._cells.clear()
        else:
            self._cells.pushed(change.places)

    def answered(self, turn: _Turn, stamp: object, asked_at: float) -> None:
        """All that changed before *asked_at* has been told, and *stamp* is what was asked for."""
        if self._turn is not turn:
            return
        held = self._cells.get(self._name)
        if held is not None and held != stamp:
            self._cells.clear()  # without a word of it: a server with other contents
        self.lease_until = max(self.lease_until, asked_at + LEASE)
        if self.error is not None:
            self._failures, self.error = 0, None
            if self._is_told:
                logger.info("the near tier is on again")
            self._is_told = False

    def lost(self, turn: _Turn) -> None:
        """Nothing is told any more."""
        if self._turn is turn:
            self.lease_until = 0.0
            self._cells.close()

    def failed(self, turn: _Turn, error: Exception) -> None:
        """No channel came about.

        It is said once, unless all of the store fails: that is said elsewhere.
        """
        if self._turn is not turn:
            return
        self._failures += 1
        self.error = str(error) or f"tracking: no channel within {OPENING:g} s"
        if isinstance(error, StoreRefused) or (self._failures > 1 and not self._fails()):
            if not self._is_told:
                logger.warning(
                    "the near tier (near_bytes) is off, and every look-up asks the store: %s",
                    self.error,
                )
            self._is_told = True

    def _end(self, turn: _Turn) -> None:
        self.lost(turn)
        self._turn = None
        turn.cancel()

    def _leave_parent(self) -> None:
        """After a fork: nothing is known, and what belongs to the parent is left to it."""
        turn, self._turn = self._turn, None
        self.lease_until = 0.0
        self._cells.close()
        if turn is not None:
            # Kept for ever, because finalisers would tell selectors that the parent uses, too.
            self._inherited.append(turn)
            turn.let_go()
        self.error = None
        self.pid = os.getpid()


class _Turn:
    """One event loop's time of having the channel."""

    def __init__(self, watching: Watching) -> None:
        self._watching = watching
        self._channel: Channel | None = None
        self._asked: deque[float] = deque()
        """When the questions were sent that have not been answered."""
        self._due = monotonic()
        self.loop = asyncio.get_running_loop()
        self.task = self.loop.create_task(self._run(), context=contextvars.Context())

    def is_alive(self) -> bool:
        """Whether anything may be expected of this."""
        in_time = monotonic() < self._due + OVERDUE
        return in_time and self.loop.is_running() and not self.task.done()

    def cancel(self) -> None:
        """End this, in its own loop."""
        if self.loop.is_closed():
            return
        with contextlib.suppress(RuntimeError):  # closed just now
            self.loop.call_soon_threadsafe(self.task.cancel)

    def let_go(self) -> None:
        """Close an inherited channel in this process only."""
        if self._channel is not None:
            self._channel.let_go()

    async def _run(self) -> None:
        pause = 0.0
        while True:
            await self._sleep(pause)
            if self._watching.is_away():
                pause = RETRY
                continue
            try:
                await self._follow()
            except StoreRefused as error:
                self._watching.failed(self, error)
                pause = REFUSED
            except _LostError:
                pause = 0.0  # which says nothing about a new one
            except Exception as error:
                self._watching.failed(self, error)
                pause = RETRY
            pause += RETRY / 5 * random.random()  # noqa: S311 - spreads load, keeps no secret
            if self.task.cancelling():  # which the loss of the channel, in that moment, has hidden
                return

    async def _follow(self) -> None:
        """Open a channel and take what it tells, until it is lost."""
        watching = self._watching
        channel = self._channel = watching.new_channel()
        self._asked.clear()
        answered_at: float | None = None
        try:
            async with asyncio.timeout(OPENING):
                await channel.open()
            watching.opened(self)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._beat(channel))
                while True:
                    told = await channel.next()
                    if isinstance(told, Changed):
                        watching.told(self, told)
                    else:
                        watching.answered(self, told, self._asked.popleft())
                        answered_at = answered_at or monotonic()
        except Exception as error:
            if answered_at is not None and monotonic() - answered_at > RETRY:
                raise _LostError from None
            raise _first(error) from None
        finally:
            watching.lost(self)
            await channel.aclose()

    async def _beat(self, channel: Channel) -> None:
        while True:
            self._asked.append(monotonic())
            await channel.ask()
            before = monotonic()
            await self._sleep(BEAT)
            # What is late because this process stood still, has not been read yet.
            in_time = monotonic() - before < 2 * BEAT
            if in_time and self._asked and monotonic() - self._asked[0] > SILENCE:
                raise TimeoutError("the channel does not answer")

    async def _sleep(self, seconds: float) -> None:
        self._due = monotonic() + seconds
        await asyncio.sleep(seconds)


class _LostError(Exception):
    """A channel that has worked for a while does not any more."""


def _first(error: Exception) -> Exception:
    """One of the errors that a group is made of."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
