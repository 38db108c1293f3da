"""Bodies that lie apart, read once for all who ask meanwhile: the same bytes, the same response.

A head says which body is its own by a digest, so whoever joins gets what it would have read itself.
A reading ends with the last who waits for it; one that takes longer than it should is not joined.

What must not be here: how a body is read, and deadlines.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeAlias

from asgi_cache.stores.bodies import BYTES_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from asgi_cache.model import StoredResponse
    from asgi_cache.stores.bodies import Detached

    Read: TypeAlias = Callable[[Detached], Coroutine[Any, Any, StoredResponse | None]]

JOINED: Final = 0.1
"""Seconds, and what its length takes: an older reading is joined by nobody else."""


class Readings:
    """Those of one store, in all event loops; *read* is asked for each."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._under_way: dict[tuple[object, ...], _Reading] = {}

    async def of(self, head: Detached) -> StoredResponse | None:
        """*head* with its body; whatever *read* raises."""
        loop = asyncio.get_running_loop()
        # A forked child has what its parent began, and no answer to that.
        key = (loop, os.getpid(), head.place, head.digest, head.response)
        reading = self._under_way.get(key)
        if reading is None or monotonic() > reading.joined_until:
            until = monotonic() + JOINED + head.size / BYTES_PER_SECOND
            reading = self._under_way[key] = _Reading(
                loop.create_task(self._read(head), context=contextvars.Context()), until
            )
        reading.waiting += 1
        try:
            return await asyncio.shield(reading.task)
        finally:
            reading.waiting -= 1
            if not reading.waiting:
                reading.task.cancel()
                if self._under_way.get(key) is reading:
                    del self._under_way[key]


class _Reading:
    """One that is under way."""

    def __init__(self, task: asyncio.Task[StoredResponse | None], joined_until: float) -> None:
        self.task = task
        self.joined_until = joined_until
        self.waiting = 0
        # Who waited may have gone in the moment that it failed.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
