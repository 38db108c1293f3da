"""Something that is done about once a second for as long as there is a reason to, by no request.

Between two times only a timer waits, in one event loop, so that nothing has to be ended when that
loop ends; where it has ended, stands still or belongs to a parent process, whoever calls
:meth:`Probing.ensure` next has its own loop take over.

What must not be here: what is done, and why.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import random
import time
from typing import TYPE_CHECKING, Final

from asgi_cache.stores.locking import ProcessLock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

INTERVAL: Final = 1.0
"""Seconds from the beginning of one probe to that of the next, at least."""
JITTER: Final = 0.2
"""Seconds that are added at random, so that many workers do not ask at the same time."""
OVERDUE: Final = 10.0
"""Seconds after which a loop that is late is taken to stand still."""


class Probing:
    """Awaits *probe* until it returns ``True``, once :meth:`ensure` has asked for it.

    The first time at once, unless the last is less than an interval ago.
    """

    def __init__(self, probe: Callable[[], Awaitable[bool]]) -> None:
        self._probe = probe
        self._turn: _Turn | None = None
        self._next_at = -INTERVAL
        self._lock = ProcessLock()

    def ensure(self) -> None:
        """See to it that *probe* is awaited; costs next to nothing where that is so already."""
        turn = self._turn
        if turn is not None and turn.is_alive():
            return
        with self._lock:
            if self._turn is turn:
                self._turn = _Turn(self)
                self._turn.wait(max(self._next_at - time.monotonic(), 0.0))

    async def stop(self) -> None:
        """End what is under way and cancel what is to come, until somebody asks for it again."""
        turn, self._turn = self._turn, None
        if turn is not None:
            await turn.stop()

    async def once(self, turn: _Turn) -> None:
        """One probe of *turn*, and the wait for the next."""
        if self._turn is not turn:
            return  # another loop has taken over
        # The module's own generator: forked workers must not draw the same.
        jitter = JITTER * random.random()  # noqa: S311 - spreads load, keeps no secret
        self._next_at = time.monotonic() + INTERVAL + jitter
        done = False
        try:
            done = await self._probe()
        finally:
            if self._turn is turn and done:
                self._turn = None
        if self._turn is turn:
            turn.wait(max(self._next_at - time.monotonic(), 0.0))


class _Turn:
    """One event loop's time of being responsible."""

    def __init__(self, probing: Probing) -> None:
        self._probing = probing
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def is_alive(self) -> bool:
        """Whether a probe may be expected of this."""
        if self._pid != os.getpid() or not self._loop.is_running():
            return False
        return time.monotonic() < self._due + OVERDUE

    def wait(self, seconds: float) -> None:
        """Probe in so many *seconds*."""
        self._due = time.monotonic() + seconds
        self._timer = self._loop.call_later(seconds, self._start, context=contextvars.Context())

    async def stop(self) -> None:
        """Cancel timer and task, in their own loop, and wait for the end where that is this one."""
        if self._pid != os.getpid() or self._loop.is_closed():
            return
        if self._loop is not asyncio.get_running_loop():
            with contextlib.suppress(RuntimeError):  # closed just now
                self._loop.call_soon_threadsafe(self._cancel)
            return
        self._cancel()
        if self._task is not None:
            await asyncio.wait({self._task})

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._task = self._loop.create_task(self._probing.once(self))
