"""Collapsed requests: one fill of a key, its leader's, and the followers that wait for it.

Followers wait for a complete stored response, never for a live stream (design: decision 10). They
go their own ways, all at once, as soon as the leader's response is seen to be of no use to them;
where the leader is gone before anything is known, or a purge has spoilt what it brought, one of
them takes its place.

What must not be here: ASGI, keys, stores; what is stored and who may have it (``policy``).
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from asgi_cache.policy.decision import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asgi_cache.leasing import Lease
    from asgi_cache.model import Stamp, StoredResponse
    from asgi_cache.selection import Selection


LASTING: Final = frozenset(
    {
        *(refusal for refusal in Refusal if refusal.noted),
        *(Refusal.NOT_SHARED, Refusal.NO_LIFETIME, Refusal.MEDIA_TYPE, Refusal.TOO_LARGE),
        *(Refusal.VARY_TOO_MANY, Refusal.GROUPS),
    }
)
"""Reasons that will be the same next time: nobody waits for such a key's fills for a while."""
PASSING: Final = frozenset({Refusal.PURGED, Refusal.OVERTAKEN, Refusal.STORE_UNAVAILABLE})
"""Reasons that came between this fill and the store, and say nothing of the next one."""


class Verdict(Enum):
    """How a follower's waiting ends."""

    COMPLETE = "complete"
    """There is a response for it."""
    RELEASED = "released"
    """There will be none; it need not wait for another."""
    STOOD_IN = "stood-in"
    """The app failed, and something stale answered the leader."""
    LEFT = "left"
    """The leader is gone, and nothing is known of the response."""
    OVERTAKEN = "overtaken"
    """A purge, or another's fill, has come between: what the store has now is what counts."""
    LATE = "late"
    """It has waited long enough."""


class Outcome(NamedTuple):
    """What a follower is told."""

    verdict: Verdict
    stored: StoredResponse | None = None
    refusal: Refusal | None = None


Suits: TypeAlias = "Callable[[StoredResponse], bool]"
"""Whether a response, its body perhaps still to come, may answer one follower."""


class Flight:
    """One fill that others may wait for; it ends once, and what comes later changes nothing."""

    __slots__ = ("_close", "_followers", "_has_ended", "_over", "lease", "purges", "shared_read")

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self._followers: dict[asyncio.Future[Outcome], Suits] = {}
        self._has_ended = False
        self._over: asyncio.Event | None = None
        self.lease: Lease | None = None
        """The right to it over all workers; ``None``: nobody asked."""
        self.purges = 0
        """How many had ended in this process when its leader was told that the store is away."""
        self.shared_read: asyncio.Future[Mapping[bytes, Stamp | None]] | None = None
        """Stamps that all followers need and read together."""

    @property
    def waiting(self) -> int:
        """How many followers wait."""
        return len(self._followers)

    async def follow(self, suits: Suits, seconds: float) -> Outcome:
        """Wait for the end, or for what makes waiting useless; *seconds* at most."""
        if self._has_ended:
            return Outcome(Verdict.LEFT)
        told: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._followers[told] = suits
        try:
            async with asyncio.timeout(seconds):
                return await told
        except TimeoutError:
            return Outcome(Verdict.LATE)
        finally:
            self._followers.pop(told, None)

    async def over(self) -> None:
        """Wait for the end, with somebody else's patience."""
        if not self._has_ended:
            if self._over is None:
                self._over = asyncio.Event()
            await self._over.wait()

    def announce(self, stored: StoredResponse) -> None:
        """The head of the response is known: let those go that have no use for it."""
        for told, suits in list(self._followers.items()):
            if not suits(stored):
                self._tell(told, Outcome(Verdict.RELEASED))

    def complete(self, stored: StoredResponse) -> None:
        """There it is."""
        self._end(Outcome(Verdict.COMPLETE, stored))

    def release(self, refusal: Refusal | None) -> None:
        """There will be nothing for followers; *refusal* says why."""
        verdict = Verdict.OVERTAKEN if refusal in PASSING else Verdict.RELEASED
        self._end(Outcome(verdict, None, refusal))

    def stand_in(self) -> None:
        """The app failed; followers have what the leader had."""
        self._end(Outcome(Verdict.STOOD_IN))

    def leave(self) -> None:
        """The leader is gone."""
        self._end(Outcome(Verdict.LEFT))

    def _end(self, outcome: Outcome) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        if self._over is not None:
            self._over.set()
        self._close()
        if self.lease is not None and outcome.verdict is not Verdict.COMPLETE:
            self.lease.give_back(left=outcome.verdict in (Verdict.LEFT, Verdict.OVERTAKEN))
        for told in list(self._followers):
            self._tell(told, outcome)

    def _tell(self, told: asyncio.Future[Outcome], outcome: Outcome) -> None:
        self._followers.pop(told, None)
        if not told.done():
            told.set_result(outcome)


class Turn(NamedTuple):
    """What a request comes to that may have waited for another's fill."""

    selection: Selection
    """Its look-up that counts: an app call of its own carries the stamps of this one."""
    flight: Flight | None = None
    """The fill that it leads; ``None``: it goes alone, where it goes at all."""
    outcome: Outcome | None = None
    """How its waiting has ended; ``None``: it has not waited, or leads after it has."""
    waited: bool = False
    """It has waited for another's fill."""

    @property
    def collapsed(self) -> bool | None:
        """What Cache-Status says of an app call of its own (RFC 9211 §2.6)."""
        return False if self.waited else None


Place: TypeAlias = tuple[bytes, object]
"""A key, and the values of its nominated fields where they are known."""


class Flights:
    """The fills in flight of one app, by event loop and place."""

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[tuple[asyncio.AbstractEventLoop, Place], Flight] = {}

    def at(self, place: Place) -> Flight | None:
        """The fill in flight at *place*."""
        return self._flights.get((asyncio.get_running_loop(), place))

    def open(self, place: Place) -> Flight:
        """Lead at *place*; there must be nobody who does."""
        key = (asyncio.get_running_loop(), place)

        def close() -> None:
            self._flights.pop(key, None)

        flight = self._flights[key] = Flight(close)
        return flight
