"""One fill of a key over all workers: who has its lease, and what the others hear of it.

A lease only saves calls of the app. Where the store does not answer, each worker makes its own.
"""

from __future__ import annotations

import asyncio
import random
from hashlib import blake2b
from os import urandom
from typing import TYPE_CHECKING, Final

from asgi_cache.stores.bodies import extra_seconds
from asgi_cache.stores.capabilities import LEFT, NOTHING, Budgeted
from asgi_cache.stores.deadlines import bounded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from asgi_cache.metrics import Failures
    from asgi_cache.model import Record
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.stores.capabilities import Leased

TOKEN_BYTES: Final = 16
POLL_SECONDS: Final = (0.05, 0.1)
"""From and to: how often is looked where no message can come, at random."""
LISTENED_POLL_SECONDS: Final = (0.5, 1.0)
"""The same where messages do come, but may be lost."""


class Lease:
    """This worker's right to fill one place, until it is given back or its life ends."""

    __slots__ = ("_leasing", "_over", "place", "target", "token")

    def __init__(self, leasing: Leasing, target: bytes, place: bytes) -> None:
        self.target = target
        self.place = place
        self.token = urandom(TOKEN_BYTES)
        self._leasing = leasing
        self._over = False

    async def write(
        self, key: bytes, records: Mapping[int, Record], stamps: Sequence[bytes]
    ) -> bool:
        """Store *records* and give the lease back; ``False`` where it is another's by now."""
        leasing = self._leasing
        self._end()  # whoever ends meanwhile must not give it back under the writing
        written: bool | None = None
        try:
            method = leasing.store.write_leased
            place, token = self.place, self.token
            seconds = leasing.timeout + extra_seconds(records.values())
            written = await bounded(
                seconds, "write", method, self.target, key, records, stamps, place, token
            )
        finally:
            if written is None:
                leasing.release(self, LEFT)
        return written

    def give_back(self, *, left: bool) -> None:
        """Say at once that nothing was stored; *left*: so that somebody else may try."""
        if not self._over:
            self._end()
            self._leasing.release(self, LEFT if left else NOTHING)

    def _end(self) -> None:
        self._over = True
        self._leasing.held.pop(self, None)


class Leasing:
    """The leases of one cache; *life* and *timeout* in seconds."""

    def __init__(self, store: Leased, failures: Failures, life: float, timeout: float) -> None:
        self.store = store
        self.timeout = timeout
        self.held: dict[Lease, asyncio.AbstractEventLoop] = {}
        """What this worker has the right to fill at the moment."""
        self._failures = failures
        self._life = life
        self._tasks: set[asyncio.Task[None]] = set()

    def lease(self, screened: Screened, values: object) -> Lease:
        """The lease of a key, and of one variant there where *values* are known; not taken yet."""
        place = blake2b(b"%d:%b%b" % (len(screened.key), screened.key, repr(values).encode()))
        return Lease(self, screened.target, place.digest())

    async def take(self, lease: Lease, store: object = None) -> bool | None:
        """Take *lease*; ``False``: another worker has it, ``None``: the store did not say.

        What that takes is counted with what the request has waited for *store*.
        """
        taken: bool | None = None
        budget = store.budget if isinstance(store, Budgeted) else None
        seconds = self.timeout if budget is None else min(self.timeout, budget.remaining)
        if seconds <= 0:
            return None
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            taken = await bounded(
                seconds,
                "lease",
                self.store.leases.take,
                *(lease.target, lease.place, lease.token, self._life),
            )
            if taken:
                self.held[lease] = asyncio.get_running_loop()
        except Exception as error:
            self._failures.see("lease", error)
        finally:
            if budget is not None:
                budget.remaining -= min(clock() - began, seconds)
            if taken is None:
                # Nobody knows whether it was: whoever waits must not wait for its end.
                self.release(lease, LEFT)
        return taken

    def release(self, lease: Lease, told: bytes) -> None:
        """Give *lease* back, in the background."""
        task = asyncio.ensure_future(self._released(lease, told))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ears(self, lease: Lease) -> Ears:
        """Hear what becomes of another worker's *lease*."""
        try:
            listen = self.store.leases.listen
            return Ears(await bounded(self.timeout, "listen", listen, lease.target, lease.place))
        except Exception as error:
            self._failures.see("listen", error)
            return Ears(None)

    async def aclose(self) -> None:
        """Give back all that this event loop holds, and wait until that is done.

        Whoever fills on after this may still answer, but what comes of it is not stored; other
        workers need not wait for a process that ends.
        """
        loop = asyncio.get_running_loop()
        for lease in [lease for lease, its in self.held.items() if its is loop]:
            lease.give_back(left=True)
        tasks = [task for task in self._tasks if task.get_loop() is loop]
        if tasks:
            await asyncio.wait(tasks)

    async def _released(self, lease: Lease, told: bytes) -> None:
        try:
            release = self.store.leases.release
            place, token = lease.place, lease.token
            await bounded(self.timeout, "release", release, lease.target, place, token, told)
        except Exception as error:  # it ends by itself
            self._failures.see("release", error)


class Ears:
    """What one waiter hears; without *listening* it just waits a little."""

    def __init__(self, listening: Any) -> None:
        self._listening = listening

    async def next(self, seconds: float) -> bytes | None:
        """What became of the lease, within *seconds*; ``None``: look for yourself."""
        if self._listening is None:
            pause = random.uniform(*POLL_SECONDS)  # noqa: S311 - spreads, keeps no secret
            await asyncio.sleep(min(seconds, pause))
            return None
        pause = random.uniform(*LISTENED_POLL_SECONDS)  # noqa: S311 - spreads, keeps no secret
        told: bytes | None = await self._listening.next(min(seconds, pause))
        return told

    async def __aenter__(self) -> Ears:
        return self

    async def __aexit__(self, *raised: object) -> None:
        if self._listening is not None:
            await self._listening.__aexit__(*raised)
