"""A deadline around any store, and the one place where its failures become one exception.

Whatever a store raises leaves here as a :class:`~asgi_cache.errors.StoreError`, so that nothing
above needs to know what can go wrong below. A request's operations share a :class:`Budget`: a
slow store costs a request no more than that, however often it is asked.

What must not be here: retries (no operation is ever repeated), and how any particular store works.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asgi_cache.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from asgi_cache.model import Record, Stamp
    from asgi_cache.stores.base import Store

_T = TypeVar("_T")

LATE_SECONDS: Final = 0.01
"""A deadline noticed later than this says that the event loop was blocked, not the store slow."""

GRACE_TURNS: Final = 6
"""Turns of the event loop that a late deadline waits, so that input already there is read first.

From the socket to whoever awaits the reply takes two turns, some more with TLS, with a loop that
runs its timers before it polls, or with a long reply. Turns without work take no time.
"""


class Budget:
    """How many seconds one request may still spend on waiting for its store."""

    __slots__ = ("remaining",)

    def __init__(self, seconds: float) -> None:
        self.remaining = seconds


class _Bounded:
    """The operations of *store*, each handed to :meth:`_run`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now: Callable[[], float] = store.now

    @property
    def corrupt_records(self) -> int:
        """As the store's; 0 for one that does not count them."""
        return getattr(self.store, "corrupt_records", 0)

    async def _run(
        self, operation: str, method: Callable[..., Awaitable[_T]], *arguments: Any
    ) -> _T:
        raise NotImplementedError

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        """As the store's, in time."""
        return await self._run("read", self.store.read, target, key, slots, stamps)

    async def write(
        self,
        target: bytes,
        key: bytes,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
    ) -> None:
        """As the store's, in time."""
        await self._run("write", self.store.write, target, key, records, stamps)

    async def remove(self, target: bytes, key: bytes, slot: int) -> None:
        """As the store's, in time."""
        await self._run("remove", self.store.remove, target, key, slot)

    async def settle(self, names: Sequence[bytes], life: float) -> Sequence[Stamp]:
        """As the store's, in time."""
        return await self._run("settle", self.store.settle, names, life)

    async def replace(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
    ) -> None:
        """As the store's, in time."""
        await self._run("replace", self.store.replace, names, soft_names, life)

    async def aclose(self) -> None:
        """As the store's, in time."""
        await self._run("aclose", self.store.aclose)


class GuardedStore(_Bounded):
    """A :class:`~asgi_cache.stores.base.Store` that answers in time or raises StoreUnavailable.

    *timeout* bounds one operation, *request_timeout* those of one request together (see
    :meth:`within`), *purge_timeout* closing and a :meth:`replace` that no request pays for;
    seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        timeout: float = 0.1,
        request_timeout: float = 0.15,
        purge_timeout: float = 2.0,
    ) -> None:
        super().__init__(store)
        self.timeout = timeout
        self.request_timeout = request_timeout
        self.purge_timeout = purge_timeout

    def __repr__(self) -> str:
        return f"<GuardedStore {self.timeout:g} s around {self.store!r}>"

    def budget(self) -> Budget:
        """What a new request may spend."""
        return Budget(self.request_timeout)

    def within(self, budget: Budget) -> Store:
        """This store for one request: what its operations wait for is taken from *budget*."""
        return _BudgetedStore(self, budget)

    async def _run(
        self, operation: str, method: Callable[..., Awaitable[_T]], *arguments: Any
    ) -> _T:
        patient = operation in ("replace", "aclose")
        seconds = self.purge_timeout if patient else self.timeout
        return await _bounded(seconds, operation, method, *arguments)


class _BudgetedStore(_Bounded):
    """A guarded store as one request sees it."""

    def __init__(self, guarded: GuardedStore, budget: Budget) -> None:
        super().__init__(guarded.store)
        self._timeout = guarded.timeout
        self._budget = budget

    async def _run(
        self, operation: str, method: Callable[..., Awaitable[_T]], *arguments: Any
    ) -> _T:
        budget = self._budget
        seconds = min(self._timeout, budget.remaining)
        if seconds <= 0:
            raise StoreUnavailable(f"{operation}: this request has waited long enough")
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            return await _bounded(seconds, operation, method, *arguments)
        finally:
            # What a blocked event loop added is not the store's.
            budget.remaining -= min(clock() - began, seconds)


async def _bounded(
    seconds: float, operation: str, method: Callable[..., Awaitable[_T]], *arguments: Any
) -> _T:
    """Await one operation; a StoreError is all that it raises, but for its caller's own end."""
    scope = asyncio.timeout(None)
    try:
        async with scope:
            deadline = _Deadline(scope, seconds)
            try:
                return await method(*arguments)
            finally:
                deadline.cancel()
    except StoreError:
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise StoreUnavailable(f"{operation}: the store gave up") from None
    except Exception as error:
        if scope.expired():
            raise StoreUnavailable(f"{operation}: no answer within {seconds:.3g} s") from None
        raise StoreUnavailable(f"{operation}: {type(error).__name__}") from error


class _Deadline:
    """Ends *scope* after *seconds*, but not before input that has arrived was read."""

    __slots__ = ("_handle", "_loop", "_scope", "_turns", "_when")

    def __init__(self, scope: asyncio.Timeout, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._scope = scope
        self._turns = 0
        self._when = self._loop.time() + seconds
        self._handle: asyncio.Handle = self._loop.call_at(self._when, self._passed)

    def cancel(self) -> None:
        """Forget the deadline; nothing happens where it has passed."""
        self._handle.cancel()

    def _passed(self) -> None:
        if self._loop.time() - self._when > LATE_SECONDS:
            self._turns = GRACE_TURNS
        self._turn()

    def _turn(self) -> None:
        if self._turns:
            self._turns -= 1
            self._handle = self._loop.call_soon(self._turn)
        else:
            self._scope.reschedule(self._when)
