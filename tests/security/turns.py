"""Forced interleavings: actors that go on one step at a time, and a store that is a step each.

An actor runs until it comes to a gate: before and after each operation of its store, and wherever
the origin has one. Then it stands still until its next turn. So a test, or a seeded draw, chooses
the order of everything that concurrent requests and purges do, on any store, without a sleep.
One that waits for another's fill stands still as well, and has no turn until that has ended.
A background revalidation is an actor of its own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from asgi_cache.collapsing import Flight
from asgi_cache.following import _Follower
from asgi_cache.revalidating import Revalidations

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    import pytest

    from asgi_cache.model import Record, Stamp
    from asgi_cache.stores import Store

T = TypeVar("T")

ACTOR: ContextVar[str | None] = ContextVar("ACTOR", default=None)
TURNS: ContextVar[Turns | None] = ContextVar("TURNS", default=None)
FOLLOWS = "follows"
PATIENCE = 3600.0
"""Seconds that a follower waits: turns, and not the clock, end its waiting."""


def with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have followers, who wait for another's fill, and revalidations take part in the turns."""
    follow, read_together = Flight.follow, _Follower._read_together
    revalidate = Revalidations._run

    async def stepped_follow(self: Flight, suits: Any, seconds: float) -> Any:
        turns = TURNS.get()
        if turns is None:
            return await follow(self, suits, seconds)
        turns.took_part["followers"] += 1
        turns.stand(FOLLOWS)
        outcome = await follow(self, suits, PATIENCE)
        await turns.gate("followed")
        return outcome

    async def stepped_read(self: _Follower, names: Any, flight: Flight) -> Any:
        turns = TURNS.get()
        if turns is None or flight.shared_read is None:
            return await read_together(self, names, flight)
        turns.stand(FOLLOWS)
        found = await read_together(self, names, flight)
        await turns.gate("read by another")
        return found

    async def stepped_revalidation(self: Revalidations, *arguments: Any) -> None:
        store: Any = self._fetcher.cache.store
        turns: Turns = store.store.turns  # beneath the guard
        turns.took_part["revalidations"] += 1
        turns.join(f"revalidation {turns.took_part['revalidations']}")
        await turns.gate("revalidation begins")
        await revalidate(self, *arguments)

    monkeypatch.setattr(Revalidations, "_run", stepped_revalidation)
    monkeypatch.setattr(Flight, "follow", stepped_follow)
    monkeypatch.setattr(_Follower, "_read_together", stepped_read)


class Turns:
    """The actors of one test, by name."""

    def __init__(self) -> None:
        self.at: dict[str, str] = {}
        """At which gate each waiting actor stands."""
        self.stamps: set[bytes] = set()
        """The name of every stamp that a store was asked for."""
        self.took_part: Counter[str] = Counter()
        """How many did what a purge is to catch in flight."""
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._gates: dict[str, asyncio.Future[None]] = {}
        self._still: dict[str, asyncio.Event] = {}

    async def gate(self, label: str) -> None:
        """Wait for the next turn of whoever comes here; who is no actor does not wait."""
        actor = ACTOR.get()
        if actor is None:
            return
        gate = self._gates[actor] = asyncio.get_running_loop().create_future()
        self.stand(label)
        await gate

    def stand(self, label: str) -> None:
        """Say that whoever comes here stands still."""
        actor = ACTOR.get()
        if actor is not None:
            self.at[actor] = label
            self._still[actor].set()

    async def ready(self) -> list[str]:
        """Who can have a turn, in order; empty when all have ended."""
        for turn in range(1000):
            found = sorted(actor for actor, label in self.at.items() if label != FOLLOWS)
            # A revalidation that has just been started comes to its first gate by itself.
            if found or (not self.at and turn > 2):
                return found
            await asyncio.sleep(0)
        raise AssertionError(f"nobody leads those who follow: {self.at}")

    async def start(self, actor: str, work: Coroutine[Any, Any, Any]) -> None:
        """Let *actor* do *work* up to its first gate."""
        context = copy_context()
        context.run(ACTOR.set, actor)
        context.run(TURNS.set, self)
        still = self._still[actor] = asyncio.Event()
        task = asyncio.get_running_loop().create_task(work, context=context)
        task.add_done_callback(lambda _: still.set())
        self._tasks[actor] = task
        await self._stand(actor)

    def join(self, actor: str) -> None:
        """Have the present task be *actor* from now on."""
        ACTOR.set(actor)
        TURNS.set(self)
        still = self._still[actor] = asyncio.Event()
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: still.set())
        self._tasks[actor] = task

    async def step(self, actor: str) -> None:
        """Give *actor* a turn: up to its next gate, or its end."""
        del self.at[actor]
        self._still[actor].clear()
        self._gates.pop(actor).set_result(None)
        await self._stand(actor)

    async def run_to(self, actor: str, label: str) -> None:
        """Give *actor* turns until it stands at *label*."""
        while not self.at[actor].startswith(label):
            await self.step(actor)

    async def finish(self, actor: str) -> Any:
        """Give *actor* all the turns it needs, and whoever it follows; what its work gave."""
        while actor in self.at:
            ready = await self.ready()
            await self.step(actor if actor in ready else ready[0])
        return await self._tasks[actor]

    async def _stand(self, actor: str) -> None:
        async with asyncio.timeout(30):
            await self._still[actor].wait()


class SteppedStore:
    """*store* with a gate before and after each operation.

    A purge of several stamps comes in several steps, in its order, as it does on a cluster.
    """

    def __init__(self, store: Store, turns: Turns) -> None:
        self.store = store
        self.turns = turns
        self.now = store.now

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        self.turns.stamps.update(stamps)
        return await self._stepped("read", self.store.read(target, key, slots, stamps))

    async def write(
        self, target: bytes, key: bytes, records: Mapping[int, Record], stamps: Sequence[bytes]
    ) -> None:
        await self._stepped("write", self.store.write(target, key, records, stamps))

    async def remove(self, target: bytes, key: bytes, slot: int) -> None:
        await self._stepped("remove", self.store.remove(target, key, slot))

    async def settle(self, names: Sequence[bytes], life: float) -> Sequence[Stamp]:
        self.turns.stamps.update(names)
        return await self._stepped("settle", self.store.settle(names, life))

    async def replace(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
    ) -> None:
        for name in names:
            await self._stepped("replace", self.store.replace([name], [], life))
        for name in soft_names:
            await self._stepped("replace", self.store.replace([], [name], life))

    async def aclose(self) -> None:
        await self.store.aclose()

    async def _stepped(self, label: str, operation: Coroutine[Any, Any, T]) -> T:
        try:
            await self.turns.gate(f"{label} to come")
        except BaseException:
            operation.close()
            raise
        outcome = await operation
        await self.turns.gate(f"{label} done")
        return outcome
