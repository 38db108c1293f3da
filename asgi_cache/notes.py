"""Bounded memory of one worker about keys: what need not be found out again with each request."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from asgi_cache.model import StoredResponse
    from asgi_cache.policy.decision import Refusal

NOTE_SECONDS: Final = 120.0
NOTES: Final = 1024
"""A key may be 8 KiB long, and groups as much again: some tens of MiB at the very worst."""
STEP_SECONDS: Final = 1.0
"""A store's clock is corrected with each new connection: so far back it may go and lose no note."""

K = TypeVar("K")
V = TypeVar("V")


class Notes(Generic[K, V]):
    """Values by key, each for a while; the oldest goes when there is no room.

    Losing one costs an app call or a round trip, never a wrong answer.
    """

    __slots__ = ("_limit", "_seconds", "held")

    def __init__(self, limit: int = NOTES, seconds: float = NOTE_SECONDS) -> None:
        self._limit = limit
        self._seconds = seconds
        self.held: dict[K, tuple[float, V]] = {}
        """What is there, with its end: empty for most workers, and then not worth a call."""

    def put(self, key: K, value: V, now: float) -> None:
        """Remember *value* from *now* (seconds) on."""
        self.held.pop(key, None)
        if len(self.held) >= self._limit:
            # Several threads, each with its event loop, may share this.
            with contextlib.suppress(RuntimeError, StopIteration):
                self.held.pop(next(iter(self.held)), None)
        self.held[key] = (now + self._seconds, value)

    def get(self, key: K, now: float) -> V | None:
        """What is remembered of *key*; ``None``: nothing, or it is too old."""
        note = self.held.get(key)
        if note is None:
            return None
        until, value = note
        if now < until <= now + self._seconds + STEP_SECONDS:
            return value
        self.held.pop(key, None)
        return None

    def drop(self, key: K) -> None:
        """Forget *key*."""
        self.held.pop(key, None)


class KeyNotes:
    """What one worker remembers about keys, for all its look-ups and fills."""

    __slots__ = ("alone", "completed", "groups", "purges", "refusals")

    def __init__(self, max_ttl: float) -> None:
        self.refusals: Notes[bytes, Refusal] = Notes()
        """Why the answers at a key are no one else's (design: decision 3)."""
        self.alone: Notes[bytes, bool] = Notes()
        """Keys whose last answer was of no use to those who waited for it (decision 10)."""
        self.groups: Notes[bytes, tuple[bytes, ...]] = Notes(seconds=max_ttl)
        """Stamps of groups that only responses at a key name: read with the next look-up."""
        self.purges = 0
        """How many purges and invalidations have ended in this process, carried out or not."""
        self.completed: dict[bytes, StoredResponse] = {}
        """Responses that are whole and on their way into the store."""
