"""Who leads and who waits at a key, and whether what the leader brings may answer a follower."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from asgi_cache.collapsing import Flight, Flights, Outcome, Place, Turn, Verdict
from asgi_cache.policy.decision import Refusal
from asgi_cache.policy.keys import nominated_values, plain_values
from asgi_cache.policy.reuse import may_answer
from asgi_cache.policy.validation import conditional_fields
from asgi_cache.stores.capabilities import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asgi_cache.cache import Cache
    from asgi_cache.leasing import Lease
    from asgi_cache.model import Stamp, StoredResponse
    from asgi_cache.policy.folding import Folded
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.selection import Selection
    from asgi_cache.stores.base import Store

MOST_LEADERS_LOST: Final = 2
"""A request that was left so often runs by itself."""
MOST_TURNS_RETAKEN: Final = 2
"""So often takes a request another turn that what it has waited for was purged meanwhile."""


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
        leads: Callable[[Selection], bool],
    ) -> Turn:
        """A flight to lead, or what came of waiting for another's; else the request goes alone.

        Whoever has waited in vain looks up anew before anything else, so that its fill carries
        the stamps of now, and those of others who have waited with it: one of them leads the
        rest. *leads*: whether a fill made after a look-up may be of use to others.
        """
        settings = self._cache.settings
        clock = asyncio.get_running_loop().time
        until = clock() + settings.collapse_timeout
        follower = _Follower(self._cache, screened, selection, folded, store)
        outcome: Outcome | None = None
        lost = retaken = 0
        while lost < MOST_LEADERS_LOST and retaken <= MOST_TURNS_RETAKEN:
            if not follower.selection.shares:
                break
            place = follower.place
            flight = self._flights.at(place)
            if flight is None:
                if not leads(follower.selection):
                    break
                flight = self._flights.open(place)
                flight.purges = follower.selection.purges
                try:
                    turn = await self._agreed(flight, follower, leads, until)
                except BaseException:
                    flight.leave()
                    raise
                return turn if outcome is None else turn._replace(waited=True)
            if flight.waiting >= settings.max_followers or not settings.collapse_timeout:
                break
            outcome = await flight.follow(follower.may_have, until - clock())
            if outcome.verdict is Verdict.COMPLETE and outcome.stored is not None:
                outcome = await follower.joins(outcome.stored, flight)
            if outcome.verdict not in (Verdict.LEFT, Verdict.OVERTAKEN):
                break
            # Whether or not it takes another turn: what it does carries the stamps of now.
            found = await follower.look_again()
            if found is not None:
                outcome = Outcome(Verdict.COMPLETE, found)
                break
            if outcome.verdict is Verdict.LEFT:
                lost += 1
            else:
                retaken += 1
                if flight.lease is not None and follower.selection.available:
                    # A purge has spoilt it: nobody need wait until its client has it.
                    flight.lease.give_back(left=True)
        return Turn(follower.selection, None, outcome, waited=outcome is not None)

    async def _agreed(
        self,
        flight: Flight,
        follower: _Follower,
        leads: Callable[[Selection], bool],
        until: float,
    ) -> Turn:
        """*flight* where no other worker is at it, else what came of that one's fill."""
        leasing = self._cache.leasing
        if leasing is None or not follower.selection.available:
            return Turn(follower.selection, flight)
        lease = leasing.lease(follower.screened, follower.place[1])
        taken = await leasing.take(lease, follower.store)
        if taken is not False:
            flight.lease = lease if taken else None
            if follower.selection.is_first:
                return Turn(follower.selection, flight)
            return await self._taken(flight, follower, leads, lease, waited=False)
        clock = asyncio.get_running_loop().time
        told: bytes | None = None
        waited = False
        async with await leasing.ears(lease) as ears:
            while clock() < until:
                # Asked again before the first wait: it may have ended before anything was heard.
                found = await follower.look_again()
                if found is not None:
                    flight.complete(found)
                    outcome = Outcome(Verdict.COMPLETE, found)
                    return Turn(follower.selection, None, outcome, waited=True)
                if told == NOTHING:
                    flight.release(None)
                    outcome = Outcome(Verdict.RELEASED)
                    return Turn(follower.selection, None, outcome, waited=True)
                taken = await leasing.take(lease)
                if taken is not False:
                    flight.lease = lease if taken else None
                    return await self._taken(flight, follower, leads, lease, waited=waited)
                # The lease may have been on its way back: what is taken at once was not waited for.
                waited = True
                told = await ears.next(until - clock())
        flight.release(Refusal.LEADER_LATE)
        return Turn(follower.selection, None, Outcome(Verdict.LATE), waited=True)

    async def _taken(
        self,
        flight: Flight,
        follower: _Follower,
        leads: Callable[[Selection], bool],
        lease: Lease,
        *,
        waited: bool,
    ) -> Turn:
        """*flight* under *lease*, unless what another worker has stored or purged since the store

        was read says otherwise: its fill may have ended between that and the lease.
        """
        found = await follower.look_again()
        if found is None and leads(follower.selection):
            return Turn(follower.selection, flight, waited=waited)
        lease.give_back(left=True)
        if found is None:
            flight.leave()
            return Turn(follower.selection, None, Outcome(Verdict.LEFT), waited=True)
        flight.complete(found)
        return Turn(follower.selection, None, Outcome(Verdict.COMPLETE, found), waited=True)


class _Follower:
    """One request that waits."""

    def __init__(
        self,
        cache: Cache,
        screened: Screened,
        selection: Selection,
        folded: Folded,
        store: Store,
    ) -> None:
        self.screened = screened
        self.selection = selection
        """Its latest look-up, with every stamp settled."""
        self._cache = cache
        self._folded = folded
        self.store = store
        self._unusable = selection.stored

    @property
    def place(self) -> Place:
        """Where it takes its turn."""
        screened, nominated = self.screened, self.selection.nominated
        if nominated is None:
            return screened.key, None
        values = nominated_values(nominated.names, self._folded.head, screened.compiled)
        return screened.key, values

    async def look_again(self) -> StoredResponse | None:
        """What there is by now that may answer this request; from now on with new stamps."""
        cache = self._cache
        selection = await cache.select(self.screened, self.store)
        found = selection.stored
        if found is not None and found != self._unusable and self.may_have(found):
            self.selection = selection
            return found
        if selection.available:
            await cache.settle(selection, self.store)
        self.selection = selection
        return None

    async def joins(self, stored: StoredResponse, flight: Flight) -> Outcome:
        """What *stored*, which *flight* has brought, is to this request."""
        if not self.may_have(stored):
            return Outcome(Verdict.RELEASED)
        if await self.holds(stored, flight):
            return Outcome(Verdict.COMPLETE, stored)
        return Outcome(Verdict.OVERTAKEN)

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

    async def holds(self, stored: StoredResponse, flight: Flight) -> bool:
        """Whether no purge lies between the leader's look-up and this request's.

        Each stamp that *stored* carries must be the one that this request read; those of groups
        that only the response names are read now, once for all who waited.
        """
        selection = self.selection
        if not selection.available:
            # Nor could the leader ask the store: then nothing else may have been purged since.
            return selection.shares and not stored.stamps and selection.purges == flight.purges
        stamps: Mapping[bytes, Stamp | None] = selection.stamps
        carried = {name for name, _, _ in stored.stamps}
        if not carried.issuperset(self.screened.required):
            return False
        unread = [name for name in carried if name not in stamps]
        if unread:
            others = [name for name in carried if name not in self.screened.required]
            stamps = {**await self._read_together(others, flight), **stamps}
        return all(
            (stamp := stamps.get(name)) is not None
            and (stamp.nonce, stamp.soft_nonce) == (nonce, soft_nonce)
            for name, nonce, soft_nonce in stored.stamps
        )

    async def _read_together(
        self, names: list[bytes], flight: Flight
    ) -> Mapping[bytes, Stamp | None]:
        if flight.shared_read is None:
            flight.shared_read = asyncio.ensure_future(self._read(names))
        await asyncio.wait({flight.shared_read})
        found: Mapping[bytes, Stamp | None] = flight.shared_read.result()
        return found

    async def _read(self, names: list[bytes]) -> Mapping[bytes, Stamp | None]:
        screened = self.screened
        try:
            _, stamps = await self.store.read(screened.target, screened.key, (), names)
        except Exception as error:
            self._cache.failed("look-up", error)
            return {}
        return dict(zip(names, stamps, strict=True))


def standing(screened: Screened, selection: Selection) -> StoredResponse | None:
    """What is stored and may answer this client, as far as its credentials go."""
    stored = selection.stored
    if stored is not None and screened.personal and not may_answer(screened.shape, stored):
        return None
    return stored


def may_lead(screened: Screened, anonymous: bool, selection: Selection) -> bool:
    """Whether what the app answers after the look-up *selection* may be of use to others.

    A condition of the client's that the app gets to see makes it one client's; an *anonymous* fill
    shows none.
    """
    if not screened.shape.conditional or anonymous:
        return True
    before = standing(screened, selection)
    return before is not None and bool(conditional_fields(before))
