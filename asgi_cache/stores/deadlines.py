"""A deadline around one operation of a store, in which every failure becomes a StoreError.

A deadline that passes while the event loop is blocked says nothing about the store: what has come
meanwhile is read first, and what is raised then says so (:attr:`NoAnswer.blocked`).

What must not be here: what follows from a failure, and any way of trying again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asgi_cache.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_T = TypeVar("_T")

LATE_SECONDS: Final = 0.01
"""A deadline noticed later than this says that the event loop was blocked, not the store slow."""

LATE_SHARE: Final = 0.25
"""Blocked for this share of its time, an operation had no fair chance.

Looked at half-way and at the end, so that a block of three quarters is seen wherever it lies.
"""

GRACE_TURNS: Final = 6
"""Turns of the event loop that a late deadline waits, so that input already there is read first.

From the socket to whoever awaits the reply takes two turns, some more with TLS, with a loop that
runs its timers before it polls, or with a long reply. Turns without work take no time.
"""


class NoAnswer(StoreUnavailable):
    """The deadline passed."""

    def __init__(self, operation: str, seconds: float, *, blocked: bool) -> None:
        reason = ": the event loop was blocked" if blocked else ""
        super().__init__(f"{operation}: no answer within {seconds:.3g} s{reason}")
        self.operation = operation
        self.seconds = seconds
        self.blocked = blocked
        """The event loop was, for so long that the store may well have answered."""


async def bounded(
    seconds: float, operation: str, method: Callable[..., Awaitable[_T]], *arguments: Any
) -> _T:
    """Await one operation; a StoreError is all that it raises, but for its caller's own end."""
    # What asyncio.timeout() does, at a third of what that costs: there are three in each fill.
    task = asyncio.current_task()
    if task is None:
        raise StoreUnavailable(f"{operation}: asked outside of a task")
    cancelling, left = task.cancelling(), 0
    expired = False

    def expire(_: bool) -> None:
        nonlocal expired
        expired = True
        task.cancel()

    deadline = Deadline(seconds, expire, 1)
    try:
        deadline.start()
        try:
            return await method(*arguments)
        finally:
            deadline.cancel()
            if expired:
                left = task.uncancel()
    except StoreError:
        raise
    except asyncio.CancelledError:
        if expired and left <= cancelling:
            raise NoAnswer(operation, seconds, blocked=deadline.blocked) from None
        if task.cancelling():
            raise
        raise StoreUnavailable(f"{operation}: the store gave up") from None
    except Exception as error:
        if expired:
            raise NoAnswer(operation, seconds, blocked=deadline.blocked) from None
        raise StoreUnavailable(f"{operation}: {type(error).__name__}") from error


class Deadline:
    """Calls *passed* after *seconds*, but not before input that has arrived was read.

    It is told whether the event loop was not there for a good part of the time. *turns* of the loop
    it waits in any case.
    """

    __slots__ = ("_handle", "_loop", "_passed", "_seconds", "_turns", "_when", "blocked")

    def __init__(self, seconds: float, passed: Callable[[bool], None], turns: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self._passed = passed
        self._seconds = seconds
        self._turns = turns
        self._when = 0.0
        self._handle: asyncio.Handle | None = None
        self.blocked = False
        """The event loop was not there for a good part of the time."""

    def start(self) -> None:
        """Begin to count."""
        now = self._loop.time()
        self._when = now + self._seconds
        # Half-way the lateness is looked at; an answer usually comes before.
        self._handle = self._loop.call_at(now + self._seconds / 2, self._half)

    def cancel(self) -> None:
        """Forget the deadline; nothing happens where it has passed."""
        if self._handle is not None:
            self._handle.cancel()

    def _half(self) -> None:
        self._look(self._when - self._seconds / 2)
        self._handle = self._loop.call_at(self._when, self._end)

    def _end(self) -> None:
        if self._look(self._when) > LATE_SECONDS:
            self._turns += GRACE_TURNS
        self._turn()

    def _look(self, when: float) -> float:
        """How late *when* is noticed."""
        late = self._loop.time() - when
        if late > max(LATE_SECONDS, self._seconds * LATE_SHARE):
            self.blocked = True
        return late

    def _turn(self) -> None:
        if self._turns:
            self._turns -= 1
            self._handle = self._loop.call_soon(self._turn)
        else:
            self._passed(self.blocked)
