"""Deadline and circuit breaker around any store: the only memory of its failures.

Whatever a store raises leaves here as a :class:`~asgi_cache.errors.StoreError`, so that nothing
above needs to know what can go wrong below. A request's operations share a :class:`Budget`: a
slow store costs a request no more than that, however often it is asked. A store that fails again
and again is left alone, and asked in the background whether it answers.

An invalidation that could not be carried out waits here in a journal. While it does, look-ups find
what it names missing and fills cannot settle it, in this process; everything else goes on. It is
tried again in the background, at once and then about once a second, and where the breaker is
open, before that closes.

What must not be here: retries on behalf of a request (no operation is ever repeated), and how any
particular store works.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asgi_cache.errors import (
    InvalidationWaits,
    StoreAway,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from asgi_cache.stores.base import RESPONSE_SLOT
from asgi_cache.stores.bodies import BYTES_PER_SECOND, extra_seconds
from asgi_cache.stores.breaker import LIMIT, LOG_INTERVAL, Breaker
from asgi_cache.stores.capabilities import Budgeted, Joined, Probed
from asgi_cache.stores.deadlines import NoAnswer, bounded
from asgi_cache.stores.journal import Journal, without
from asgi_cache.stores.operations import Budget, Operations
from asgi_cache.stores.probing import Probing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from asgi_cache.model import Record, Stamp
    from asgi_cache.stores.base import Store
    from asgi_cache.stores.capabilities import Found, Seconds

_T = TypeVar("_T")

PROBE_SECONDS: Final = 1.0
"""What a probe may take to connect; once connected an answer has to come as fast as any other."""


class GuardedStore(Operations):
    """A :class:`~asgi_cache.stores.base.Store` that answers in time or raises StoreUnavailable.

    *timeout* bounds one operation, *request_timeout* those of one request together (see
    :meth:`within`), *purge_timeout* closing and a :meth:`replace` that no request pays for;
    seconds. A store that does not answer is left alone: see :mod:`asgi_cache.stores.breaker`.
    """

    def __init__(
        self,
        store: Store,
        *,
        timeout: float = 0.1,
        request_timeout: float = 0.15,
        purge_timeout: float = 2.0,
    ) -> None:
        self.store = store
        self.now = store.now
        self.timeout = timeout
        self.request_timeout = request_timeout
        self.purge_timeout = purge_timeout
        self.journal = Journal()
        self.breaker = Breaker(waits=lambda: len(self.journal) > 0)
        self.look_up = store.look_up if isinstance(store, Joined) else None
        """Look-ups that need no deadline of their own; ``None``: all of this store's do."""
        self._complete = store.complete if isinstance(store, Joined) else None
        self.clock = time.monotonic
        self._probing = Probing(self._mend)
        self._suspected = False
        """Deadlines passed while the event loop was blocked: the background has to find out."""

    def __repr__(self) -> str:
        return f"<GuardedStore {self.timeout:g} s around {self.store!r}>"

    def budget(self) -> Budget:
        """What a new request may spend."""
        return Budget(self.request_timeout)

    def within(self, budget: Budget) -> Store:
        """This store for one request: what its operations wait for is taken from *budget*."""
        return _BudgetedStore(self, budget)

    def for_request(self) -> Store:
        """This store for a new request."""
        return _BudgetedStore(self)

    def queue(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float, everything: bytes
    ) -> bool:
        """A :meth:`replace` that failed: to be carried out as soon as the store can.

        Until then this process takes what is named for purged. *everything*: a stamp that every
        response carries, replaced where too much waits. Always ``True``: it is kept.
        """
        self.journal.add(names, soft_names, life, everything)
        self.breaker.alarm()
        self._probing.ensure()
        return True

    async def aclose(self) -> None:
        """As the store's, in time; what waits is tried once more, unless the breaker is open."""
        await self._probing.stop()
        if self.journal and not self.breaker.is_open:
            with contextlib.suppress(StoreError):
                await self._replay()
        self.breaker.say()
        await bounded(self.purge_timeout, "aclose", self.store.aclose)

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        """As the store's, in time."""
        if self.look_up is None:
            return await self._run("read", self.store.read, target, key, slots, stamps)
        timeout = self.timeout
        found = await self._run("read", self.look_up, target, key, slots, stamps, timeout)
        return await self.complete(found)

    async def complete(
        self, found: Found
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        """What was *found*, with the bodies that lie apart, in the time that these need.

        No request's budget pays for that: it is how long the response is, not the store.
        """
        if not found.apart or self._complete is None:
            return found.records, found.stamps
        seconds = self.timeout + found.apart / BYTES_PER_SECOND
        return await self.ask(seconds, "body", self._complete, found), found.stamps

    async def ask(
        self, seconds: float, operation: str, method: Callable[..., Awaitable[_T]], *arguments: Any
    ) -> _T:
        """Ask the store, for so many *seconds*, unless it is to be left alone."""
        if self.breaker.troubled:
            return await self._ask_warily(seconds, operation, method, *arguments)
        try:
            return await bounded(seconds, operation, method, *arguments)
        except StoreError as error:
            self.failed(error)
            raise

    async def _run(
        self, operation: str, method: Callable[..., Awaitable[_T]], *arguments: Any
    ) -> _T:
        seconds = self.purge_timeout if operation == "replace" else self.timeout
        if operation == "write":
            seconds += extra_seconds(arguments[2].values())
        return await self.ask(seconds, operation, method, *arguments)

    async def _ask_warily(
        self, seconds: float, operation: str, method: Callable[..., Awaitable[_T]], *arguments: Any
    ) -> _T:
        breaker, journal = self.breaker, self.journal
        if breaker.is_open or journal:
            self._probing.ensure()
        hidden: list[bool] = []
        if journal and operation == "read":
            # Looked at before the store is asked: what waits now may have been carried out, and
            # be forgotten, when an answer arrives that was given before.
            hidden = [journal.hides(name) for name in arguments[3]]
        elif journal and operation == "settle" and any(map(journal.hides, arguments[0])):
            # What is there is what is to be replaced: a fill must not begin with it.
            raise InvalidationWaits("settle: an invalidation waits to be carried out")
        if breaker.is_open:
            kind = InvalidationWaits if any(hidden) else StoreAway
            raise kind(f"{operation}: the store is left alone until it answers again")
        try:
            answer = await bounded(seconds, operation, method, *arguments)
        except StoreError as error:
            self.failed(error)
            raise
        breaker.answered()
        return without(answer, hidden) if any(hidden) else answer

    def failed(self, error: StoreError) -> None:
        """Count *error*, unless it says nothing about whether the store answers."""
        match error:
            case NoAnswer():
                # Nor does one say much that was given less than half of the usual time.
                counts = not error.blocked and error.seconds >= self.timeout / 2
                if error.blocked:
                    # In a loop that is never on time this would be all that is ever seen.
                    self._suspected = True
                    self._probing.ensure()
            case StoreRefused():
                counts = False
            case _:
                counts = isinstance(error, StoreUnavailable)
        error.counted = counts
        was_silent = self.breaker.is_silent
        if self.breaker.failed(error, counts=counts):
            self._probing.ensure()
        elif was_silent and not self.breaker.is_silent:
            loop = asyncio.get_running_loop()
            loop.call_later(LOG_INTERVAL, self.breaker.say, context=contextvars.Context())

    async def _mend(self) -> bool:
        """Ask whether the store answers and carry out what waits; whether all is well again."""
        breaker = self.breaker
        suspected, self._suspected = self._suspected, False
        try:
            if breaker.is_open or suspected:
                await self._ping()
            suspected = False
            await self._replay()
        except StoreRefused as error:
            # It answers, but does not write: what waits stays hidden, and the rest may go on.
            breaker.failed(error, counts=False)
        except StoreError as error:
            # A probe that had a second, and no answer, is worth as many failures as it takes.
            for _ in range(LIMIT if suspected else 1):
                self.failed(error)
            return False
        breaker.close()
        return not self.journal

    async def _ping(self) -> None:
        """Ask the store for a sign of life, at the speed that look-ups need."""
        clock = asyncio.get_running_loop().time
        for seconds in (max(PROBE_SECONDS, self.timeout), self.timeout):
            began = clock()
            if isinstance(self.store, Probed):
                await bounded(seconds, "ping", self.store.ping)
            else:
                await bounded(seconds, "ping", self.store.read, b"", b"", RESPONSE_SLOT, ())
            if clock() - began <= self.timeout:
                return

    async def _replay(self) -> None:
        """Carry out what waits, with new stamps; a StoreError leaves the rest waiting."""
        while self.journal:
            batch = self.journal.batch()
            replace = self.store.replace
            seconds = self.purge_timeout
            await bounded(seconds, "replace", replace, batch.names, batch.soft_names, batch.life)
            self.journal.done(batch)


class _BudgetedStore(Operations, Budgeted):
    """A guarded store as one request sees it."""

    __slots__ = ("_budget", "_guarded", "now", "remaining", "store")

    def __init__(self, guarded: GuardedStore, budget: Budget | None = None) -> None:
        # Every request comes by here; it is its own budget unless one is given.
        self.store = guarded.store
        self.now = guarded.now
        self._guarded = guarded
        self.remaining = guarded.request_timeout
        self._budget = budget  # not itself: a cycle would have to be collected

    @property
    def budget(self) -> Seconds:
        """Where the seconds that are left are counted."""
        return self if self._budget is None else self._budget

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        """As the store's, in time."""
        guarded = self._guarded
        budget: Seconds = self if self._budget is None else self._budget
        look_up, seconds = guarded.look_up, guarded.timeout
        if look_up is None:
            return await self._run("read", self.store.read, target, key, slots, stamps)
        if budget.remaining < seconds or guarded.breaker.troubled:
            found = await self._run("read", look_up, target, key, slots, stamps, seconds)
        else:
            began = guarded.clock()
            try:
                found = await look_up(target, key, slots, stamps, seconds)
            except StoreError as error:
                guarded.failed(error)
                raise
            finally:
                budget.remaining -= min(guarded.clock() - began, seconds)
        if found[2]:
            return await guarded.complete(found)
        return found[:2]

    async def _run(
        self, operation: str, method: Callable[..., Awaitable[_T]], *arguments: Any
    ) -> _T:
        guarded, budget = self._guarded, self.budget
        seconds = min(guarded.timeout, budget.remaining)
        if seconds <= 0:
            raise StoreUnavailable(f"{operation}: this request has waited long enough")
        # The client has its bytes by then: a budget pays for a store that is slow, not for length.
        extra = extra_seconds(arguments[2].values()) if operation == "write" else 0.0
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            return await guarded.ask(seconds + extra, operation, method, *arguments)
        finally:
            # What a blocked event loop added is not the store's.
            budget.remaining -= min(clock() - began, seconds)
