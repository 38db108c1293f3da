"""Fills: what is settled before the app is called, and how its response comes to be stored."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from asgi_cache.errors import StoreRefused
from asgi_cache.model import NominatedFields, StoredResponse
from asgi_cache.policy.decision import Refusal
from asgi_cache.policy.grouping import MAX_GROUPS
from asgi_cache.policy.keys import EPOCH, variant_slots
from asgi_cache.policy.scopes import group_names
from asgi_cache.selection import carry
from asgi_cache.stores.base import VARIANT_SLOTS
from asgi_cache.stores.capabilities import Doubted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_cache.leasing import Lease
    from asgi_cache.metrics import Failures
    from asgi_cache.model import CarriedStamp, Record
    from asgi_cache.notes import KeyNotes
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.selection import Selection
    from asgi_cache.stores.base import Store


class Keeper:
    """The fills of one cache; *life*: seconds that a new stamp lives at least."""

    __slots__ = ("_failures", "_life", "_notes")

    def __init__(self, notes: KeyNotes, failures: Failures, life: float) -> None:
        self._notes = notes
        self._failures = failures
        self._life = life

    async def settle(self, selection: Selection, store: Store) -> bool:
        """Give every stamp found missing a value before the app is called.

        ``False``: the store did not answer, so that nothing of this fill may be stored.
        """
        if isinstance(store, Doubted):
            # What is read from here on, above all the epoch, forbids or permits storing.
            store.ask_far()
        if selection.unpacked is not None:
            # Those that the look-up read: a purge since then must not be missed.
            selection.stamps = dict(zip(selection.names, selection.unpacked, strict=False))
            selection.epoch, selection.unpacked = selection.unpacked[-1], None
        missing = [name for name in selection.names if selection.stamps.get(name) is None]
        selection.is_first = selection.names[1] in missing  # the target's
        if selection.epoch is None:
            missing.append(EPOCH)
        if not missing:
            return True
        try:
            settled = await store.settle(missing, self._life)
        except Exception as error:
            self._failures.see("settle", error)
            selection.unavailable(error, self._notes.purges)
            return False
        selection.stamps.update(zip(missing, settled, strict=True))
        selection.epoch = selection.stamps.pop(EPOCH, selection.epoch)
        return True

    def stamped(
        self, stored: StoredResponse, screened: Screened, selection: Selection
    ) -> StoredResponse:
        """*stored* with the stamps known by now."""
        return replace(stored, stamps=self.carried(stored, screened, selection))

    def carried(
        self, stored: StoredResponse, screened: Screened, selection: Selection
    ) -> tuple[CarriedStamp, ...]:
        """The stamps of *stored* that are known by now."""
        return carry(self._carried_names(stored, selection, screened), selection.stamps)

    def complete(
        self, stored: StoredResponse, screened: Screened, selection: Selection
    ) -> StoredResponse:
        """*stored* with the stamps known by now; requests of this worker hit it from here on,

        before its last bytes are sent, unless its groups have to be asked for first.
        """
        names = self._carried_names(stored, selection, screened)
        stamps = carry(names, selection.stamps)
        if stored.stamps != stamps:
            stored = replace(stored, stamps=stamps)
        if len(stamps) == len(names):
            self._notes.completed[screened.key] = stored
        return stored

    def is_joinable(self, stored: StoredResponse, screened: Screened) -> bool:
        """Whether :meth:`complete` has found every stamp of *stored* known."""
        return self._notes.completed.get(screened.key) is stored

    async def keep(
        self,
        stored: StoredResponse,
        screened: Screened,
        selection: Selection,
        store: Store,
        before: StoredResponse | None = None,
        lease: Lease | None = None,
    ) -> StoredResponse | Refusal:
        """Store what :meth:`complete` returned, and return it as it is stored.

        The refusal where a purge or the store forbids, or where it is *before*, freshened, and
        something newer has been stored since (RFC 9111 §4.3.4); where *lease* has gone to another
        worker, that one's is what counts.
        """
        try:
            if before is not None and await self.is_overtaken(before, screened, store):
                return Refusal.OVERTAKEN
            names = self._carried_names(stored, selection, screened)
            if len(stored.stamps) < len(names):
                if not await self._settle_groups(names, screened, selection, store):
                    return Refusal.PURGED
                stored = replace(stored, stamps=carry(names, selection.stamps))
            records = self._placed(stored, selection)
            stamps = [name for name, _, _ in stored.stamps]
            if not await self._written(screened, store, records, stamps, lease):
                return Refusal.OVERTAKEN
        except Exception as error:
            self._failures.see("write", error)
            return Refusal.STORE_UNAVAILABLE
        finally:
            self._notes.completed.pop(screened.key, None)
        self._failures.metrics.stores += 1
        self._notes.refusals.drop(screened.key)
        if stored.fresh_until > store.now():
            self._notes.alone.drop(screened.key)
        return stored

    async def _settle_groups(
        self, names: Sequence[bytes], screened: Screened, selection: Selection, store: Store
    ) -> bool:
        """Groups that only the response names: settle them, and *then* read the epoch.

        A group purge replaces the epoch before it writes its stamps: an epoch that is still the
        one read before the app call proves that none of these was purged since.
        """
        unread = [name for name in names if selection.stamps.get(name) is None]
        selection.stamps.update(zip(unread, await store.settle(unread, self._life), strict=True))
        _, (epoch,) = await store.read(screened.target, screened.key, (), (EPOCH,))
        # Remembered either way: the next fill reads these first, so that purges of other groups
        # cannot keep this one from being stored for ever.
        extra = tuple(name for name in names if name not in screened.required)
        self._notes.groups.put(screened.key, extra, store.now())
        noted = selection.epoch
        return epoch is not None and noted is not None and epoch.nonce == noted.nonce

    def _placed(self, stored: StoredResponse, selection: Selection) -> Mapping[int, Record]:
        """Which record goes into which slot (decision 8)."""
        if not stored.nominated:
            return {0: stored}
        known = selection.nominated
        names = tuple(name for name, _ in stored.nominated)
        groups = stored.groups if known is None else (*known.groups, *stored.groups)
        until = stored.discard_at if known is None else max(known.discard_at, stored.discard_at)
        first, second = variant_slots(stored.nominated, VARIANT_SLOTS)
        slot = first
        if selection.slots == (first, second):
            one, other = selection.candidates
            if one is not None and one.nominated != stored.nominated:
                replaces = (
                    other is None
                    or other.nominated == stored.nominated
                    or other.generated_at < one.generated_at
                )
                slot = second if replaces else first
        fields = NominatedFields(names, tuple(dict.fromkeys(groups))[:MAX_GROUPS], until)
        return {0: fields, slot: stored}

    async def _written(
        self,
        screened: Screened,
        store: Store,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
        lease: Lease | None,
    ) -> bool:
        """Write *records*; ``False`` where the lease for them has gone to another worker."""
        if lease is not None:
            with contextlib.suppress(StoreRefused):  # then without: it only saves calls
                return await lease.write(screened.key, records, stamps)
        await store.write(screened.target, screened.key, records, stamps)
        return True

    async def is_overtaken(self, before: StoredResponse, screened: Screened, store: Store) -> bool:
        """Whether another response than *before* has been stored in its place since."""
        slots = (0,) if not before.nominated else variant_slots(before.nominated, VARIANT_SLOTS)
        found, _ = await store.read(screened.target, screened.key, slots, ())
        return any(
            isinstance(record, StoredResponse)
            and record.nominated == before.nominated
            and record.generated_at > before.generated_at
            and record.body != before.body
            for record in found
        )

    async def discard(self, screened: Screened, stored: StoredResponse, store: Store) -> None:
        """Remove *stored* from its place, unless something newer has taken that."""
        slots = (0,) if not stored.nominated else variant_slots(stored.nominated, VARIANT_SLOTS)
        try:
            if await self.is_overtaken(stored, screened, store):
                return
            for slot in slots:
                await store.remove(screened.target, screened.key, slot)
        except Exception as error:
            self._failures.see("remove", error)

    def _carried_names(
        self, stored: StoredResponse, selection: Selection, screened: Screened
    ) -> tuple[bytes, ...]:
        """The scopes that *stored* belongs to: the request's, and its own groups."""
        if not stored.groups:
            return screened.required
        groups = group_names(stored.groups, screened.authority)
        return tuple(dict.fromkeys((*screened.required, *groups)))
