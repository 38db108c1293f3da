"""Look-ups: what is stored for a request and still valid, and what a fill will carry.

The invariant kept here (design: invalidation): a response is valid only while every scope it
belongs to still has the stamp that was read before its app was called. Missing means invalid.

One round trip for a plain response; a second one where responses vary, or where a response names
groups that this worker had not seen at its key. Whatever a store raises is a miss.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from asgi_cache.errors import InvalidationWaits, StoreUnavailable
from asgi_cache.model import NominatedFields, StoredResponse
from asgi_cache.policy.decision import Decision
from asgi_cache.policy.folding import fold
from asgi_cache.policy.keys import EPOCH, nominated_values, plain_values, variant_slots
from asgi_cache.policy.scopes import group_names
from asgi_cache.sharing import carried
from asgi_cache.stores.base import RESPONSE_SLOT, VARIANT_SLOTS
from asgi_cache.stores.capabilities import Doubted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asgi_cache.metrics import Failures
    from asgi_cache.model import CarriedStamp, Record, Stamp
    from asgi_cache.notes import KeyNotes
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.stores.base import Store


class Selection:
    """The outcome of one look-up, for the request that made it."""

    miss = Decision.URI_MISS
    """The decision where ``stored`` is ``None``."""
    available = True
    """The store answered."""
    shares = True
    """An app call may be shared although the store did not: no invalidation of what it is about

    waits in this process, of which a call that is under way might know nothing."""
    is_first = False
    """Nobody had filled the page since its stamp was lost: when the store was read there was none,

    so no other fill of it can have been under way."""
    purges = 0
    """How many had ended in this process when the store did not answer: one that has ended

    since then may have been carried out, and be waited for by nobody."""
    epoch: Stamp | None = None
    nominated: NominatedFields | None = None
    slots: tuple[int, int] | None = None
    values: Sequence[tuple[tuple[bytes, bytes | None], ...]] = ()
    """The request's values of the fields in ``nominated``, normalised and plain."""
    candidates: Sequence[StoredResponse | None] = ()
    """What lies in ``slots``, where it is valid."""

    # What is usual stands in the class: a hit makes one of these and has no use for most of it.
    def __init__(
        self,
        names: tuple[bytes, ...],
        stored: StoredResponse | None = None,
        unpacked: Sequence[Stamp | None] | None = None,
    ) -> None:
        self.names = names
        """The stamps that were read: those that every response to this request carries, and what

        else the key is known to need."""
        self.stored = stored
        """Valid as far as purges go; fresh or stale is another question."""
        self.unpacked = unpacked
        """The values of ``names`` and the epoch, where ``stamps`` has not been made of them."""
        self.stamps: dict[bytes, Stamp | None] = {}
        """Values that reached this worker before the app call."""

    def unavailable(self, error: Exception, purges: int) -> None:
        """The store did not answer but raised *error*, when so many *purges* had ended here."""
        self.available = False
        self.shares = not isinstance(error, InvalidationWaits)
        self.purges = purges


class Validity(NamedTuple):
    """What the stamps read so far say of a record."""

    holds: bool
    unread: tuple[bytes, ...]
    """Stamps that it carries and that have not been read: nothing is certain before they are."""
    soft_at: float | None
    """When the earliest soft purge that it has not seen took place; ``None``: none."""


def validity(
    stored: StoredResponse,
    stamps: Mapping[bytes, Stamp | None],
    required: Iterable[bytes],
) -> Validity:
    """Whether *stored* carries every required stamp, each present with the same nonce."""
    carried = {name for name, _, _ in stored.stamps}
    if not carried.issuperset(required):
        return Validity(False, (), None)
    unread = []
    soft_at: float | None = None
    for name, nonce, soft_nonce in stored.stamps:
        if name not in stamps:
            unread.append(name)
            continue
        stamp = stamps[name]
        if stamp is None or stamp.nonce != nonce:
            return Validity(False, (), None)
        if stamp.soft_nonce != soft_nonce:
            soft_at = stamp.soft_at if soft_at is None else min(soft_at, stamp.soft_at)
    return Validity(True, tuple(unread), soft_at)


def softened(stored: StoredResponse, soft_at: float, now: float) -> StoredResponse:
    """*stored* after a soft purge: stale at once, its stale windows counted from the purge."""
    end = min(stored.fresh_until, soft_at)
    stale = replace(
        stored,
        fresh_until=min(end, now, stored.generated_at),
    )
    # Where there is no window it must not open for as long as the purger's clock is ahead.
    windows = stored.revalidate_until - stored.fresh_until, stored.error_until - stored.fresh_until
    revalidate_until, error_until = [
        end + window if window > 0 else stale.fresh_until for window in windows
    ]
    return replace(stale, revalidate_until=revalidate_until, error_until=error_until)


def carry(names: Iterable[bytes], stamps: Mapping[bytes, Stamp | None]) -> tuple[CarriedStamp, ...]:
    """What a response takes along of the stamps read before its app call."""
    taken = []
    for name in names:
        stamp = stamps.get(name)
        if stamp is not None:
            taken.append(carried(name, stamp.nonce, stamp.soft_nonce))
    return tuple(taken)


class Selector:
    """The look-ups of one cache."""

    __slots__ = ("_failures", "_notes")

    def __init__(self, notes: KeyNotes, failures: Failures) -> None:
        self._notes = notes
        self._failures = failures

    async def select(self, screened: Screened, store: Store) -> Selection:
        """What is stored for a request and valid; never raises what a store raised."""
        key = screened.key
        names = screened.required
        if self._notes.groups.held:
            names += self._notes.groups.get(key, store.now()) or ()
        completed = None
        if self._notes.completed:
            # Asked before the look-up: a response whose write ends while this waits may lie
            # neither there when the store reads, nor here any more afterwards.
            completed = self._notes.completed.get(key)
        try:
            (record,), values = await store.read(
                screened.target, key, RESPONSE_SLOT, (*names, EPOCH)
            )
            if len(values) <= len(names):
                raise StoreUnavailable("look-up: fewer stamps than were asked for")
            epoch = values[-1]
        except Exception as error:
            return self._unavailable(screened, "look-up", error)
        if type(record) is StoredResponse and len(record.stamps) == len(names):
            # The same as validity(), for the usual case and without a call.
            for (name, nonce, soft_nonce), stamp, wanted in zip(
                record.stamps, values, names, strict=False
            ):
                if name != wanted or stamp is None:
                    break
                if stamp[0] != nonce or stamp[1] != soft_nonce:
                    break
            else:
                if store.now() < record.fresh_until:
                    return Selection(names, record, values)
        selection = Selection(names)
        selection.stamps = dict(zip(names, values, strict=False))
        selection.epoch = epoch
        try:
            if completed is not None:
                await self._selects(selection, completed, screened, store)
            if selection.stored is None and record is not None:
                await self._look_closer(selection, record, screened, store)
        except Exception as error:
            return self._unavailable(screened, "look-up", error)
        if selection.stored is None and isinstance(store, Doubted) and store.may_be_old:
            # Nothing, or a record and a stamp that contradict each other: as held near it is no
            # miss yet.
            store.ask_far()
            return await self.select(screened, store)
        return selection

    async def _look_closer(
        self, selection: Selection, record: Record | None, screened: Screened, store: Store
    ) -> None:
        """Everything but a plain, valid, fresh response: variants, groups, soft purges."""
        if type(record) is StoredResponse:
            await self._selects(selection, record, screened, store)
        elif type(record) is NominatedFields:
            selection.nominated = record
            request = fold(screened.request, screened.shape, screened.compiled).head
            values = nominated_values(record.names, request, screened.compiled)
            selection.slots = variant_slots(values, VARIANT_SLOTS)
            slots: tuple[int, ...] = selection.slots
            plain = plain_values(values)
            selection.values = (values, plain)
            if plain != values:
                slots += variant_slots(plain, VARIANT_SLOTS)
            unread = [
                name
                for name in group_names(record.groups, screened.authority)
                if name not in selection.stamps
            ]
            found, stamps = await store.read(screened.target, screened.key, slots, unread)
            selection.stamps.update(zip(unread, stamps, strict=True))
            selection.names += tuple(unread)
            selection.miss = Decision.VARY_MISS
            candidates: list[StoredResponse | None] = []
            for variant in found:
                # One that does not know a field which appeared later cannot tell by it.
                valid = (
                    type(variant) is StoredResponse
                    and {name for name, _ in variant.nominated}.issuperset(record.names)
                    and await self._selects(selection, variant, screened, store)
                )
                candidates.append(variant if valid and type(variant) is StoredResponse else None)
            selection.candidates = candidates[:2]

    async def _selects(
        self, selection: Selection, stored: StoredResponse, screened: Screened, store: Store
    ) -> bool:
        """Whether *stored* is valid; it is selected where it also matches the request (§4.1)."""
        state = validity(stored, selection.stamps, screened.required)
        if state.unread:
            _, stamps = await store.read(screened.target, screened.key, (), state.unread)
            selection.stamps.update(zip(state.unread, stamps, strict=True))
            selection.names += state.unread
            self._notes.groups.put(
                screened.key,
                tuple(name for name in selection.names if name not in screened.required),
                store.now(),
            )
            state = validity(stored, selection.stamps, screened.required)
        if not state.holds:
            return False
        if stored.nominated and stored.nominated not in selection.values:
            # It names other fields than what lies at the key, or was selected by other values.
            request = fold(screened.request, screened.shape, screened.compiled).head
            names = [name for name, _ in stored.nominated]
            values = nominated_values(names, request, screened.compiled)
            if stored.nominated not in (values, plain_values(values)):
                selection.miss = Decision.VARY_MISS
                return True
        if state.soft_at is not None:
            stored = softened(stored, state.soft_at, store.now())
        best = selection.stored
        if best is None or best.generated_at <= stored.generated_at:
            selection.stored = stored
        return True

    def _unavailable(self, screened: Screened, operation: str, error: Exception) -> Selection:
        self._failures.see(operation, error)
        selection = Selection(screened.required)
        selection.unavailable(error, self._notes.purges)
        return selection
