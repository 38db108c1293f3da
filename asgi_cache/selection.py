"""What a look-up found: whether a record's stamps still hold, and what a fill will carry.

The invariant that this keeps (design: invalidation): a response is valid only while every scope
it belongs to still has the stamp that was read before its app was called. Missing means invalid.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from asgi_cache.model import CarriedStamp
from asgi_cache.policy.decision import Decision

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asgi_cache.model import NominatedFields, Stamp, StoredResponse


class Selection:
    """The outcome of one look-up, for the request that made it."""

    __slots__ = (
        "available",
        "candidates",
        "epoch",
        "miss",
        "names",
        "nominated",
        "required",
        "slots",
        "stamps",
        "stored",
    )

    def __init__(
        self, required: tuple[bytes, ...], names: tuple[bytes, ...], stored: StoredResponse | None
    ) -> None:
        self.required = required
        """Names of the stamps that every response to this request carries."""
        self.names = names
        """Those, and what else was read because the key is known to need it."""
        self.stored = stored
        """Valid as far as purges go; fresh or stale is another question."""
        self.miss = Decision.URI_MISS
        """The decision where ``stored`` is ``None``."""
        self.available = True
        """The store answered."""
        self.stamps: dict[bytes, Stamp | None] = {}
        """Values that reached this worker before the app call."""
        self.epoch: Stamp | None = None
        self.nominated: NominatedFields | None = None
        self.slots: tuple[int, int] | None = None
        self.candidates: Sequence[StoredResponse | None] = ()
        """What lies in ``slots``, where it is valid."""


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
    return replace(
        stored,
        fresh_until=min(end, now),
        revalidate_until=end + (stored.revalidate_until - stored.fresh_until),
        error_until=end + (stored.error_until - stored.fresh_until),
    )


def carry(names: Iterable[bytes], stamps: Mapping[bytes, Stamp | None]) -> tuple[CarriedStamp, ...]:
    """What a response takes along of the stamps read before its app call."""
    carried = []
    for name in names:
        stamp = stamps[name]
        if stamp is not None:
            carried.append(CarriedStamp(name, stamp.nonce, stamp.soft_nonce))
    return tuple(carried)
