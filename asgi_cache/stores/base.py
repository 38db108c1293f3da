"""The protocol between the cache and whatever holds its records: values in, values out.

A *target* (authority, path, query) is what purges address; a *key* selects a record under it.
Slot 0 of a key holds the response itself or, where responses vary, :class:`NominatedFields`;
slots 1 to :data:`VARIANT_SLOTS` then hold the variants. A *stamp name* is opaque to a store but
for its first byte, the kind, which tells a store with several nodes what may lie together.

What must not be here: any rule about what may be stored or reused, any wire format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_cache.model import Record, Stamp

VARIANT_SLOTS: Final = 32
RESPONSE_SLOT: Final = (0,)
"""The *slots* argument of an ordinary look-up."""


@runtime_checkable
class Records(Protocol):
    """Records by key and slot. Every method raises :class:`~asgi_cache.errors.StoreError` only.

    :class:`~asgi_cache.errors.StoreUnavailable` says that the store did not answer: who guards it
    leaves it alone after a few. :class:`~asgi_cache.errors.StoreRefused` says that it did.
    """

    def now(self) -> float:
        """The store's clock: seconds since the epoch, the same for all workers on one store."""

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        """The records in *slots* and the values of *stamps*, in one round trip.

        ``None`` stands for what is absent, expired, unreadable or another key's.
        """

    async def write(
        self,
        target: bytes,
        key: bytes,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
    ) -> None:
        """Put *records* into their slots until their ``discard_at``.

        The stamps named (those that the records carry) are made to outlive the records.
        """

    async def remove(self, target: bytes, key: bytes, slot: int) -> None:
        """Forget one slot; nothing happens where it is empty."""

    async def aclose(self) -> None:
        """Close every connection that this store made; idempotent; it may be used again."""


@runtime_checkable
class Stamps(Protocol):
    """Stamps by name; raises :class:`~asgi_cache.errors.StoreError` only."""

    async def settle(self, names: Sequence[bytes], life: float) -> Sequence[Stamp]:
        """Give each of *names* that is missing a new stamp, and return what is there now.

        One round trip. *life*: seconds that a new stamp lives at least, unless evicted.
        """

    async def replace(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
    ) -> None:
        """Purge: new stamps for *names*, in order, then new soft parts for *soft_names*.

        A soft part keeps the nonce; a missing stamp is made first. Each new nonce is sent once
        and never again, even where the outcome is unknown: then this raises.
        """


@runtime_checkable
class Store(Records, Stamps, Protocol):
    """What :class:`~asgi_cache.Cache` needs. Further capabilities are protocols of their own."""
