"""A near store in front of a far one, kept coherent: a hit near waits for nothing.

A look-up is answered near where all that it asks for is held there and the lease of the channel of
changes holds (see ``watching``); else the far store is asked for the whole of it, in one trip, and
what it gives is put near unless it may be out of date already (see ``cells``). So a hit near is at
most as old as the last push on its way, and never older than the lease.

Whatever a request asks after something has been asked far for it is asked far as well: a fill
must see the stamps, and above all the epoch, as they are, and an old stamp must not be taken as a
contradiction of a new record. For the same reason a miss near is no miss: see
:class:`~asgi_cache.stores.capabilities.Doubted`.

What is written goes far only, and comes near with the next look-up. To keep it at once one would
have to tell the push of one's own write from that of another's that came with it.

What must not be here: rules about what may be reused; sockets.
"""

from __future__ import annotations

from functools import partial
from itertools import repeat
from os import getpid
from time import monotonic
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from asgi_cache.errors import ConfigurationError
from asgi_cache.model import NominatedFields, Stamp, StoredResponse
from asgi_cache.stores.base import RESPONSE_SLOT
from asgi_cache.stores.capabilities import Budgeted, Doubted, Guarding, Leased, Watched
from asgi_cache.stores.cells import Cells
from asgi_cache.stores.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from asgi_cache.model import CarriedStamp, Record
    from asgi_cache.stores.base import Store
    from asgi_cache.stores.capabilities import Cell, Holder, Leases

EMPTY: Final = NominatedFields((), (), float("inf"))
"""Held near for a slot that is known to be empty: of two slots a variant often has one."""


class TieredStore:
    """A :class:`~asgi_cache.stores.base.Store`: *far*, with what was read of it held in *near*.

    *far*: a store whose changes can be watched, or a guard around one. *name*: a stamp that every
    response carries; reading it now and then proves that the channel is alive.
    """

    def __init__(self, near: Holder, far: Store, name: bytes = b"n") -> None:
        inner = far.store if isinstance(far, Guarding) else far
        if not isinstance(inner, Watched):
            raise ConfigurationError(
                f"far is a {type(inner).__name__}; it must be a store whose changes can be watched "
                "(RedisStore, or a GuardedStore around one)"
            )
        self.near = near
        self.far = far
        self.now: Callable[[], float] = far.now
        self.cells = Cells(near, inner)
        self.watching = Watching(inner, self.cells, name, self._is_away, self._fails)
        self.for_request: Callable[[], Store] = partial(View, tier=self, now=self.now)
        """This store for one request: what that waits for comes out of one budget. No call."""
        self.far_for_request: Callable[[], Store] = (
            far.for_request if isinstance(far, Guarding) else lambda: far
        )
        """The far store with a budget of its own, where it has any."""
        self.leased: Leased | None = (
            _Leased(inner, self.cells) if isinstance(inner, Leased) else None
        )
        """How workers agree on one fill of a key."""

    def __repr__(self) -> str:
        return f"<TieredStore {self.near!r} in front of {self.far!r}>"

    @property
    def corrupt_records(self) -> int:
        """As the far store's; 0 for one that does not count them."""
        return getattr(self.far, "corrupt_records", 0)

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        """As the far store's, or near."""
        return await self._view().read(target, key, slots, stamps)

    async def write(
        self,
        target: bytes,
        key: bytes,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
    ) -> None:
        """As the far store's."""
        await self._view().write(target, key, records, stamps)

    async def remove(self, target: bytes, key: bytes, slot: int) -> None:
        """As the far store's."""
        await self._view().remove(target, key, slot)

    async def settle(self, names: Sequence[bytes], life: float) -> Sequence[Stamp]:
        """As the far store's."""
        return await self._view().settle(names, life)

    async def replace(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
    ) -> None:
        """As the far store's; when it returns, nothing near is left of what it replaced."""
        await self._view().replace(names, soft_names, life)

    def queue(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float, everything: bytes
    ) -> bool:
        """As the guard's: what waits there is hidden near as well. ``False``: there is no guard."""
        if not isinstance(self.far, Guarding):
            return False
        kept = self.far.queue(names, soft_names, life, everything)
        self.cells.kill([*names, *soft_names, everything])
        return kept

    async def aclose(self) -> None:
        """Close the channel and the far store; near is empty then."""
        await self.watching.aclose()
        await self.far.aclose()

    def _view(self) -> View:
        return View(tier=self, now=self.now, far=self.far)

    def _is_away(self) -> bool:
        breaker: Any = getattr(self.far, "breaker", None)
        return breaker is not None and breaker.is_open

    def _fails(self) -> bool:
        breaker: Any = getattr(self.far, "breaker", None)
        return breaker is not None and breaker.troubled


class View(SimpleNamespace, Budgeted, Doubted):
    """A tiered store as one request sees it; a namespace, because making one is no Python call."""

    tier: TieredStore
    now: Callable[[], float]
    may_be_old: bool = False
    """Something has been answered near: see :class:`~asgi_cache.stores.capabilities.Doubted`."""
    is_far: bool = False
    """Nothing is answered near any more."""
    far: Store | None = None
    """Made when it is first needed."""

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        """The records in *slots* and the values of *stamps*."""
        watching = self.tier.watching
        if not self.is_far and monotonic() < watching.lease_until and getpid() == watching.pid:
            get = self.tier.cells.get
            if slots is RESPONSE_SLOT:
                # Every Python call counts here: no comprehension, no helper.
                record = get((target, key, 0))
                if record is not None:
                    values = tuple(map(get, stamps))
                    if None not in values and record.discard_at > self.now():
                        self.may_be_old = True
                        return (record,), values
            else:
                found = tuple(map(get, zip(repeat(target), repeat(key), slots, strict=False)))
                values = tuple(map(get, stamps))
                if None not in found and None not in values:
                    self.may_be_old = True
                    now = self.now()
                    return [
                        record if record is not EMPTY and record.discard_at > now else None
                        for record in found
                    ], values
        return await self._read_far(target, key, slots, stamps)

    async def write(
        self,
        target: bytes,
        key: bytes,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
    ) -> None:
        """As the far store's."""
        try:
            await self._far().write(target, key, records, stamps)
        finally:
            self.tier.cells.kill([(target, key, slot) for slot in records])

    async def remove(self, target: bytes, key: bytes, slot: int) -> None:
        """As the far store's."""
        try:
            await self._far().remove(target, key, slot)
        finally:
            self.tier.cells.kill([(target, key, slot)])

    async def settle(self, names: Sequence[bytes], life: float) -> Sequence[Stamp]:
        """As the far store's."""
        cells = self.tier.cells
        began = cells.began()
        settled = await self._far().settle(names, life)
        cells.put(began, zip(names, settled, strict=True))
        return settled

    async def replace(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
    ) -> None:
        """As the far store's; one's own purge is not waited for to be pushed."""
        try:
            await self._far().replace(names, soft_names, life)
        finally:  # also where nobody knows whether it was carried out
            self.tier.cells.kill([*names, *soft_names])

    def ask_far(self) -> None:
        """From now on nothing is answered near."""
        self.is_far, self.may_be_old = True, False

    @property
    def budget(self) -> Any:
        """What this request may still wait for the far store; ``None``: nothing bounds it."""
        return getattr(self._for_far(), "budget", None)

    async def aclose(self) -> None:
        """Requests close nothing."""

    async def _read_far(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        tier = self.tier
        tier.watching.ensure()
        began = tier.cells.began()
        records, values = await self._far().read(target, key, slots, stamps)
        tier.cells.put(began, _held(target, key, slots, records, stamps, values))
        return records, values

    def _far(self) -> Store:
        self.is_far = True
        return self._for_far()

    def _for_far(self) -> Store:
        if self.far is None:
            self.far = self.tier.far_for_request()
        return self.far


class _Leased:
    """Leases and leased writes of a far store, seen near."""

    def __init__(self, far: Leased, cells: Cells) -> None:
        self.leases: Leases = far.leases
        self._far = far
        self._cells = cells

    async def write_leased(
        self,
        target: bytes,
        key: bytes,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
        place: bytes,
        token: bytes,
    ) -> bool:
        """As the far store's."""
        try:
            return await self._far.write_leased(target, key, records, stamps, place, token)
        finally:
            self._cells.kill([(target, key, slot) for slot in records])


def _held(
    target: bytes,
    key: bytes,
    slots: Sequence[int],
    records: Sequence[Record | None],
    stamps: Sequence[bytes],
    values: Sequence[Stamp | None],
) -> Iterator[tuple[Cell, Record | Stamp]]:
    """What a look-up gave, by cells; what a stamp and a record have alike is one object."""
    carried: dict[bytes, CarriedStamp] = {}
    for slot, record in zip(slots, records, strict=True):
        if record is not None:
            if type(record) is StoredResponse:
                carried.update({stamp.name: stamp for stamp in record.stamps})
            yield (target, key, slot), record
        elif slot:
            yield (target, key, slot), EMPTY
    for name, value in zip(stamps, values, strict=True):
        if value is None:
            continue
        its = carried.get(name)
        if its is not None and its[1:] == value[:2]:
            yield its.name, Stamp(its.nonce, its.soft_nonce, value.soft_at or 0.0)
        else:
            yield name, value
