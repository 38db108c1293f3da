"""What a HEAD's answer says of the stored response to GET (RFC 9111 §4.3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_cache.policy.decision import Refusal
from asgi_cache.policy.validation import GONE_STATUSES, freshened_by_head, is_comparable

if TYPE_CHECKING:
    from asgi_cache.admission import Admission
    from asgi_cache.cache import Cache
    from asgi_cache.model import ResponseHead, StoredResponse
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.selection import Selection
    from asgi_cache.stores.base import Store


async def freshen_by_head(
    cache: Cache,
    store: Store,
    screened: Screened,
    selection: Selection,
    admission: Admission,
    before: StoredResponse,
    head: ResponseHead,
) -> None:
    """Freshen *before* where *head* is of the same representation, else take it out.

    Only success, and the word that there is nothing any more, say something of what a GET would
    get.
    """
    merged = freshened_by_head(before, head, cache.now())
    same_status = head.status == before.status == 200
    speaks = same_status and (merged is None or is_comparable(before, head))
    if not speaks and head.status not in GONE_STATUSES:
        return
    outcome = None if merged is None else admission.judge_again(head, merged, before)
    if outcome is None or isinstance(outcome, Refusal):
        await cache.shielded(cache.discard(screened, before, store))
        return
    stored = cache.complete(outcome, screened, selection)
    await cache.shielded(_keep(cache, store, screened, selection, stored, before))


async def _keep(
    cache: Cache,
    store: Store,
    screened: Screened,
    selection: Selection,
    stored: StoredResponse,
    before: StoredResponse,
) -> None:
    await cache.keep(stored, screened, selection, store, before)
