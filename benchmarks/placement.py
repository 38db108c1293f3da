"""Which process runs on which core: a load generator must not take time from what it measures."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Placement:
    """The cores of the server's workers, of Redis, and of the load generator."""

    server: tuple[int, ...]
    redis: tuple[int, ...]
    load: tuple[int, ...]

    @classmethod
    def over(cls, cores: list[int], workers: int) -> Self:
        """One core for each worker first, then one for Redis, then one for the load.

        Where there are too few, Redis and the load share the last; on one core all share it.
        """
        server = tuple(cores[:workers])
        others = cores[workers:] or cores[-1:]
        return cls(server, (others[0],), (others[min(1, len(others) - 1)],))

    @classmethod
    def here(cls, workers: int = 1) -> Self | None:
        """That for this machine; ``None`` where processes cannot be pinned."""
        if not hasattr(os, "sched_setaffinity"):
            return None
        return cls.over(sorted(os.sched_getaffinity(0)), workers)

    def in_words(self) -> dict[str, Any]:
        """For JSON."""
        return {"server": self.server, "redis": self.redis, "load": self.load}


@contextlib.contextmanager
def pinned(cores: tuple[int, ...] | None) -> Iterator[None]:
    """What is started inside runs on *cores*; ``None``: wherever it likes."""
    if cores is None:
        yield
        return
    # A child inherits the cores of the thread that starts it, from its first instruction on.
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
