"""What one fill comes to: its copy, whole at last, is given to those who wait, and stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_cache.admission import completed
from asgi_cache.collapsing import LASTING
from asgi_cache.copying import BodyCopy
from asgi_cache.policy.decision import Refusal
from asgi_cache.policy.storing import declared_length, is_malformed_length

if TYPE_CHECKING:
    from asgi_cache.cache import Cache
    from asgi_cache.collapsing import Flight
    from asgi_cache.model import CarriedStamp, ResponseHead, StoredResponse
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.selection import Selection
    from asgi_cache.stores.base import Store


class Filling:
    """The way of one response into *store*, and to those who wait for *flight*."""

    __slots__ = ("_cache", "_copy", "_screened", "_selection", "_store", "flight", "kept")

    def __init__(
        self,
        cache: Cache,
        store: Store,
        screened: Screened,
        selection: Selection,
        flight: Flight | None,
    ) -> None:
        self.flight = flight
        self.kept: StoredResponse | None = None
        """What is stored, or on its way into the store."""
        self._cache = cache
        self._store = store
        self._screened = screened
        self._selection = selection
        self._copy: BodyCopy | None = None

    @property
    def has_followers(self) -> bool:
        """Whether others wait."""
        return self.flight is not None and self.flight.waiting > 0

    async def served(self) -> None:
        """Wait until nobody waits for this any more."""
        if self.flight is not None and self.flight.waiting:
            await self.flight.over()

    def announce(self, stored: StoredResponse) -> None:
        """The response may be stored; its body is still to come."""
        if self.flight is not None:
            self.flight.announce(stored)
            if stored.fresh_until <= self._cache.now():
                self._cache.note_alone(self._screened)

    def take(
        self, stored: StoredResponse, head: ResponseHead, body: object, *, last: bool, tagged: bool
    ) -> StoredResponse | Refusal | None:
        """Add a chunk to the copy: the whole response where that completes it, a refusal where

        there can be none. *tagged*: a first chunk that completes it gets an entity tag.
        """
        copy = self._copy
        if copy is None:
            copy = self._copy = BodyCopy(self._cache)
        refusal = copy.add(body)
        if refusal is not None:
            return refusal
        if last and is_malformed_length(head, copy.size):
            return Refusal.LENGTH
        if not last and copy.size != declared_length(head):
            return None
        stamps: tuple[CarriedStamp, ...] = ()
        if self._selection.available:  # else it is not stored, and followers have none either
            stamps = self._cache.carried(stored, self._screened, self._selection)
        return completed(stored, copy.joined(), stamps, tagged=last and tagged)

    def stamped(self, whole: StoredResponse) -> StoredResponse:
        """*whole* with the stamps that this fill's look-up has read."""
        return self._cache.stamped(whole, self._screened, self._selection)

    def complete(self, whole: StoredResponse) -> StoredResponse:
        """*whole* with its stamps, and to those who wait for it, unless a purge may forbid it."""
        cache, flight = self._cache, self.flight
        if not self._selection.available:
            if flight is not None:
                flight.complete(whole)
            return whole
        stored = self.kept = cache.complete(whole, self._screened, self._selection)
        if flight is not None and cache.is_joinable(stored, self._screened):
            flight.complete(stored)
        return stored

    async def keep(self, before: StoredResponse | None = None) -> Refusal | None:
        """Store what :meth:`complete` returned; the refusal where a purge or the store forbids.

        *before*: what it was before a 304 freshened it.
        """
        kept = self.kept
        try:
            if kept is None:
                return None
            lease = None if self.flight is None else self.flight.lease
            outcome = await self._cache.keep(
                kept, self._screened, self._selection, self._store, before, lease
            )
        finally:
            self.release()
        if isinstance(outcome, Refusal):
            self.kept = None
            return outcome
        if self.flight is not None:
            self.flight.complete(outcome)
        return None

    async def take_back(self) -> None:
        """Remove what was stored: its app has not kept to what it had said."""
        kept, self.kept = self.kept, None
        if kept is not None:
            await self.discard(kept)

    async def discard(self, stored: StoredResponse) -> None:
        """Remove *stored* at this fill's key."""
        cache = self._cache
        await cache.shielded(cache.discard(self._screened, stored, self._store))

    def refuse(self, refusal: Refusal) -> None:
        """Nothing will come of it: remember why, and let those go who wait."""
        if refusal.noted:
            self._cache.note(self._screened, refusal)
        if self.flight is not None:
            if refusal in LASTING:
                self._cache.note_alone(self._screened)
            self.flight.release(refusal)

    def release(self) -> None:
        """Forget the copy."""
        if self._copy is not None:
            self._copy.release()
