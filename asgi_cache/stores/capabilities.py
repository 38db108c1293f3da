"""What some stores can do besides keeping records and stamps, and what is asked of them for it.

Who needs one of these looks whether the store is one; without it everything works, at another
price: leases (:class:`Leased`), changes that are told (:class:`Watched`), look-ups that
travel together (:class:`Joined`), invalidations that wait (:class:`Journalling`).

What must not be here: records and stamps themselves (``base``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from asgi_cache.model import Record, Stamp
    from asgi_cache.stores.base import Store

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
