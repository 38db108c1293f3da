"""Look-ups: what is stored for a request and still valid.

One round trip for a plain response; a second one where responses vary, or where a response names
groups that this worker had not seen at its key. Whatever a store raises is a miss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_cache.model import NominatedFields, StoredResponse
from asgi_cache.policy.decision import Decision
from asgi_cache.policy.folding import fold
from asgi_cache.policy.keys import EPOCH, nominated_values, variant_slots
from asgi_cache.scopes import group_names, required_names
from asgi_cache.selection import Selection, softened, validity
from asgi_cache.stores.base import RESPONSE_SLOT, VARIANT_SLOTS

if TYPE_CHECKING:
    from asgi_cache.metrics import Failures
    from asgi_cache.model import Record
    from asgi_cache.notes import KeyNotes
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.stores.base import Store


class Selector:
    """The look-ups of one cache."""

    __slots__ = ("_failures", "_notes")

    def __init__(self, notes: KeyNotes, failures: Failures) -> None:
        self._notes = notes
        self._failures = failures

    async def select(self, screened: Screened, store: Store) -> Selection:
        """What is stored for a request and valid; never raises what a store raised."""
        key = screened.key
        required = required_names(screened)
        names = required
        if self._notes.groups.held:
            names += self._notes.groups.get(key, store.now()) or ()
        try:
            (record,), values = await store.read(
                screened.target, key, RESPONSE_SLOT, (*names, EPOCH)
            )
        except Exception as error:
            return self._unavailable(required, "look-up", error)
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
                selection = Selection(required, names, record)
                if store.now() < record.fresh_until:
                    return selection
        selection = Selection(required, names, None)
        selection.stamps = dict(zip(names, values, strict=False))
        selection.epoch = values[-1]
        try:
            await self._look_closer(selection, record, screened, store)
        except Exception as error:
            return self._unavailable(required, "look-up", error)
        return selection

    async def _look_closer(
        self, selection: Selection, record: Record | None, screened: Screened, store: Store
    ) -> None:
        """Everything but a plain, valid, fresh response: variants, groups, soft purges."""
        completed = self._notes.completed.get(screened.key)
        if completed is not None:
            await self._selects(selection, completed, screened, store)
            if selection.stored is not None:
                return
        if type(record) is StoredResponse:
            await self._selects(selection, record, screened, store)
        elif type(record) is NominatedFields:
            selection.nominated = record
            request = fold(screened.request, screened.shape, screened.compiled).head
            values = nominated_values(record.names, request, screened.compiled)
            selection.slots = variant_slots(values, VARIANT_SLOTS)
            unread = [
                name
                for name in group_names(record.groups, screened.authority)
                if name not in selection.stamps
            ]
            found, stamps = await store.read(screened.target, screened.key, selection.slots, unread)
            selection.stamps.update(zip(unread, stamps, strict=True))
            selection.names += tuple(unread)
            selection.miss = Decision.VARY_MISS
            candidates: list[StoredResponse | None] = []
            for variant in found:
                valid = type(variant) is StoredResponse and await self._selects(
                    selection, variant, screened, store
                )
                candidates.append(variant if valid and type(variant) is StoredResponse else None)
            selection.candidates = candidates

    async def _selects(
        self, selection: Selection, stored: StoredResponse, screened: Screened, store: Store
    ) -> bool:
        """Whether *stored* is valid; it is selected where it also matches the request (§4.1)."""
        state = validity(stored, selection.stamps, selection.required)
        if state.unread:
            _, stamps = await store.read(screened.target, screened.key, (), state.unread)
            selection.stamps.update(zip(state.unread, stamps, strict=True))
            selection.names += state.unread
            self._notes.groups.put(
                screened.key,
                tuple(name for name in selection.names if name not in selection.required),
                store.now(),
            )
            state = validity(stored, selection.stamps, selection.required)
        if not state.holds:
            return False
        if stored.nominated:
            request = fold(screened.request, screened.shape, screened.compiled).head
            names = [name for name, _ in stored.nominated]
            if nominated_values(names, request, screened.compiled) != stored.nominated:
                selection.miss = Decision.VARY_MISS
                return True
        if state.soft_at is not None:
            stored = softened(stored, state.soft_at, store.now())
        best = selection.stored
        if best is None or best.generated_at <= stored.generated_at:
            selection.stored = stored
        return True

    def _unavailable(
        self, required: tuple[bytes, ...], operation: str, error: Exception
    ) -> Selection:
        self._failures.see(operation, error)
        selection = Selection(required, required, None)
        selection.available = False
        return selection
