"""The protocol between the cache and whatever holds its records: values in, values out.

A *target* (authority, path, query) is what purges address; a *key* selects a record under it.
Slot 0 of a key holds the response itself or, where responses vary, :class:`NominatedFields`;
slots 1 to :data:`VARIANT_SLOTS` then hold the variants. A *stamp name* is opaque to a store but
for its first byte, the kind, which tells a store with several nodes what may lie together.

What must not be here: any rule about what may be stored or reused, any wire format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

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


STORED: Final = b"1"
"""Said of a lease: there is a response now."""
NOTHING: Final = b"0"
"""Said of a lease: there will be no response, and nobody need wait for another."""
LEFT: Final = b"-"
"""Said of a lease: its holder is gone, and somebody else may try."""


class Listening(Protocol):
    """What one waiter hears of a lease."""

    async def next(self, seconds: float) -> bytes | None:
        """The next word, within *seconds*; ``None``: none came."""

    async def __aexit__(self, *_: object) -> None:
        """Hear no more."""


class Leases(Protocol):
    """Rights that one worker has at a time; raises :class:`~asgi_cache.errors.StoreError` only."""

    async def take(self, target: bytes, place: bytes, token: bytes, life: float) -> bool:
        """Take the lease of *place* for *life* seconds; ``False`` where somebody has it."""

    async def release(self, target: bytes, place: bytes, token: bytes, told: bytes) -> None:
        """Give the lease back where it still is *token*'s, and tell those who wait."""

    async def listen(self, target: bytes, place: bytes) -> Listening:
        """Hear from now on what becomes of a lease."""


@runtime_checkable
class Leased(Protocol):
    """A store by which workers agree on one fill of a key."""

    leases: Leases

    async def write_leased(
        self,
        target: bytes,
        key: bytes,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
        place: bytes,
        token: bytes,
    ) -> bool:
        """As :meth:`Records.write`, and give the lease back; ``False``: it was lost already,

        and nothing is written.
        """


@runtime_checkable
class Store(Records, Stamps, Protocol):
    """What :class:`~asgi_cache.Cache` needs. Further capabilities are protocols of their own."""


@runtime_checkable
class Probed(Protocol):
    """A store that can say whether it answers, for less than a look-up."""

    async def ping(self) -> None:
        """Return where look-ups would be answered; raises StoreError where they would not."""


@runtime_checkable
class Journalling(Protocol):
    """A store that keeps the invalidations which could not be carried out."""

    def queue(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float, everything: bytes
    ) -> bool:
        """A ``replace`` that failed: to be carried out later, and to be believed from now on.

        Whether it is kept.
        """


@runtime_checkable
class Guarding(Journalling, Protocol):
    """A store around another, which bounds what requests may wait for that."""

    store: Store

    def for_request(self) -> Store:
        """This store for a new request."""


class Changed:
    """What a :class:`Channel` tells: these places have other values now; ``None``: all may."""

    __slots__ = ("places",)

    def __init__(self, places: Sequence[bytes] | None) -> None:
        self.places = places


class Channel(Protocol):
    """One connection on which a store tells of every change by anybody, in order.

    Whatever it raises means that nothing more is told, StoreRefused that nothing will be.
    """

    async def open(self) -> None:
        """Have every change told that is made from now on."""

    async def ask(self) -> None:
        """Ask for the stamp that was named: its value comes after all that was told before."""

    async def next(self) -> Changed | Stamp | None:
        """What changed; or the answer to what was asked longest ago."""

    async def aclose(self) -> None:
        """Close it."""

    def let_go(self) -> None:
        """Close it in this process only, which has inherited it: without a byte of protocol."""


@runtime_checkable
class Watched(Protocol):
    """A store whose changes can be watched."""

    def record_place(self, target: bytes, key: bytes, slot: int) -> bytes:
        """What a change of a record is told as."""

    def stamp_place(self, name: bytes) -> bytes:
        """What a change of a stamp is told as."""

    def channel(self, name: bytes) -> Channel:
        """A new channel, not open yet, on which the stamp *name* can be asked for."""


Cell: TypeAlias = "tuple[bytes, bytes, int] | bytes"
"""Where a value is held near: target, key and slot of a record, or the name of a stamp."""


class Holder(Protocol):
    """What holds the values of a near tier, within a budget."""

    get: Callable[[Any], Any]
    """The value of a cell, or ``None``."""

    def hold(self, cell: Cell, value: Record | Stamp) -> Sequence[Cell] | None:
        """Put a value; the cells that had to go for it, or ``None``: there is no room for it."""

    def forget(self, cell: Cell) -> None:
        """Empty a cell."""

    def clear(self) -> None:
        """Empty all."""


class Doubted:
    """A store as one request sees it, of whose answers some may be a moment old.

    A class, as :class:`Budgeted`, not a protocol: each miss asks for these, and to look for members
    costs more than anything else it does.
    """

    __slots__ = ()

    may_be_old: bool
    """Something that it has said may be."""

    def ask_far(self) -> None:
        """Nothing that it says from now on is."""
        raise NotImplementedError


class Found(NamedTuple):
    """What a look-up found so far."""

    records: Sequence[Any]
    """Those that are whole are records."""
    stamps: Sequence[Stamp | None]
    apart: int = 0
    """Bytes of bodies that lie apart, and that :meth:`Joined.complete` reads."""


@runtime_checkable
class Joined(Protocol):
    """A store whose look-ups of one turn of the event loop travel together, with one deadline.

    So they need none of their own.
    """

    def look_up(
        self,
        target: bytes,
        key: bytes,
        slots: Sequence[int],
        stamps: Sequence[bytes],
        seconds: float,
    ) -> Awaitable[Found]:
        """As :meth:`Records.read`; StoreUnavailable where no answer came within *seconds*.

        They count from the end of this turn, or more where another look-up of it has more. Who
        stops waiting disturbs nobody.
        """

    async def complete(self, found: Found) -> Sequence[Record | None]:
        """The records of what was *found*, with the bodies that lie apart.

        What that may take grows with them, so it is for the caller to bound it.
        """


class Seconds(Protocol):
    """What one request may still spend on waiting for its store."""

    remaining: float


class Budgeted:
    """A store as one request sees it: what waits for the store elsewhere is taken from it, too."""

    __slots__ = ()

    @property
    def budget(self) -> Seconds | None:
        """What it may still wait; ``None``: nothing bounds it."""
        raise NotImplementedError
