"""Who leads and who waits at a key, and whether what the leader brings may answer a follower."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asgi_cache.collapsing import Flight, Flights, Outcome, Verdict
from asgi_cache.policy.decision import Refusal
from asgi_cache.policy.keys import nominated_values, plain_values
from asgi_cache.policy.reuse import may_answer
from asgi_cache.stores.base import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_cache.cache import Cache
    from asgi_cache.model import Stamp, StoredResponse
    from asgi_cache.policy.folding import Folded
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.selection import Selection
    from asgi_cache.stores.base import Store

MOST_LEADERS_LOST = 2
"""A request that was left so often runs by itself."""


class Turns:
    """The fills of one app that others may wait for."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._flights = Flights()

    async def take(
        self,
        screened: Screened,
        selection: Selection,
        folded: Folded,
        store: Store,
        *,
        leads: bool,
    ) -> Flight | Outcome | None:
        """A flight to lead, or what came of waiting for another's; ``None``: go alone.

        *leads*: this request's fill may be of use to others.
        """
        cache = self._cache
        settings = cache.settings
        nominated = selection.nominated
        values = (
            None
            if nominated is None
            else nominated_values(nominated.names, folded.head, screened.compiled)
        )
        place = (screened.key, values)
        clock = asyncio.get_running_loop().time
        until = clock() + settings.collapse_timeout
        follower = _Follower(cache, screened, selection, folded)
        outcome = None
        for _ in range(MOST_LEADERS_LOST):
            flight = self._flights.at(place)
            if flight is None and outcome is not None:
                # Left by one leader: another may have come and gone since.
                found = (await cache.select(screened, store)).stored
                if found is not None and follower.may_have(found):
                    return Outcome(Verdict.COMPLETE, found)
                flight = self._flights.at(place)
            if flight is None:
                if not leads:
                    return None
                flight = self._flights.open(place)
                try:
                    return await self._agreed(flight, values, follower, store, until)
                except BaseException:
                    flight.leave()
                    raise
            if flight.waiting >= settings.max_followers or not settings.collapse_timeout:
                return None
            outcome = await flight.follow(follower.may_have, until - clock())
            if outcome.verdict is Verdict.COMPLETE and outcome.stored is not None:
                if await follower.holds(outcome.stored, flight, store):
                    return outcome
                return Outcome(Verdict.RELEASED)
            if outcome.verdict is not Verdict.LEFT:
                return outcome
        return outcome

    async def _agreed(
        self,
        flight: Flight,
        values: object,
        follower: _Follower,
        store: Store,
        until: float,
    ) -> Flight | Outcome:
        """*flight* where no other worker is at it, else what came of that one's fill."""
        leasing = self._cache.leasing
        if leasing is None or not follower.selection.available:
            return flight
        lease = leasing.lease(follower.screened, values)
        taken = await leasing.take(lease)
        if taken is not False:
            flight.lease = lease if taken else None
            return flight
        clock = asyncio.get_running_loop().time
        told: bytes | None = None
        async with await leasing.ears(lease) as ears:
            while clock() < until:
                # Asked again before the first wait: it may have ended before anything was heard.
                found = (await self._cache.select(follower.screened, store)).stored
                if found is not None and follower.may_have(found):
                    flight.complete(found)
                    return Outcome(Verdict.COMPLETE, found)
                if told == NOTHING:
                    flight.release(None)
                    return Outcome(Verdict.RELEASED)
                taken = await leasing.take(lease)
                if taken is not False:
                    flight.lease = lease if taken else None
                    # It may have been given back, with a response, since the store was read.
                    found = (await self._cache.select(follower.screened, store)).stored
                    if found is None or not follower.may_have(found):
                        return flight
                    lease.give_back(left=True)
                    flight.complete(found)
                    return Outcome(Verdict.COMPLETE, found)
                told = await ears.next(until - clock())
        flight.release(Refusal.LEADER_LATE)
        return Outcome(Verdict.LATE)


class _Follower:
    """One request that waits."""

    def __init__(
        self, cache: Cache, screened: Screened, selection: Selection, folded: Folded
    ) -> None:
        self.screened = screened
        self.selection = selection
        self._cache = cache
        self._folded = folded

    def may_have(self, stored: StoredResponse) -> bool:
        """Whether *stored*, its body perhaps still to come, may answer this request."""
        screened = self.screened
        if stored.fresh_until <= self._cache.now():
            return False
        if screened.personal and not may_answer(screened.shape, stored):
            return False
        names = [name for name, _ in stored.nominated]
        values = nominated_values(names, self._folded.head, screened.compiled)
        return stored.nominated in (values, plain_values(values))

    async def holds(self, stored: StoredResponse, flight: Flight, store: Store) -> bool:
        """Whether no purge lies between the leader's look-up and this request's.

        Each stamp that *stored* carries must be the one that this request read; those of groups
        that only the response names are read now, once for all who waited.
        """
        selection = self.selection
        if not self.may_have(stored):
            return False
        if not selection.available:
            return not stored.stamps  # nor could the leader ask the store
        stamps: Mapping[bytes, Stamp | None] = selection.stamps
        carried = {name for name, _, _ in stored.stamps}
        if not carried.issuperset(selection.required):
            return False
        unread = [name for name in carried if name not in stamps]
        if unread:
            others = [name for name in carried if name not in selection.required]
            stamps = {**await self._read_together(others, flight, store), **stamps}
        return all(
            (stamp := stamps.get(name)) is not None
            and (stamp.nonce, stamp.soft_nonce) == (nonce, soft_nonce)
            for name, nonce, soft_nonce in stored.stamps
        )

    async def _read_together(
        self, names: list[bytes], flight: Flight, store: Store
    ) -> Mapping[bytes, Stamp | None]:
        if flight.shared_read is None:
            flight.shared_read = asyncio.ensure_future(self._read(names, store))
        await asyncio.wait({flight.shared_read})
        found: Mapping[bytes, Stamp | None] = flight.shared_read.result()
        return found

    async def _read(self, names: list[bytes], store: Store) -> Mapping[bytes, Stamp | None]:
        screened = self.screened
        try:
            _, stamps = await store.read(screened.target, screened.key, (), names)
        except Exception as error:
            self._cache.failed("look-up", error)
            return {}
        return dict(zip(names, stamps, strict=True))
