"""Records and stamps in this process: one least-recently-used cache, bounded in bytes.

It holds the values themselves, so a hit neither decodes nor copies: what comes out is the object
that went in. Stamps lie among the records and may be evicted like them, because a missing stamp
means invalid; both are touched by every hit, so a record in use keeps its stamps.

Any number of event loops and threads may share one store. Reads take no lock; a lock orders the
changes of stamps, because a soft purge reads a stamp before it writes it.

What must not be here: serialisation, and any rule about what may be reused.
"""

from __future__ import annotations

import threading
import time
from itertools import repeat
from os import urandom
from typing import TYPE_CHECKING, Any, Final

from cachebox import LRUCache

from asgi_cache.errors import ConfigurationError
from asgi_cache.model import NONCE_BYTES, Stamp, StoredResponse
from asgi_cache.stores.base import RESPONSE_SLOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from asgi_cache.model import Record
    from asgi_cache.stores.capabilities import Cell

# What CPython 3.11 to 3.14 on 64 bits spend, rounded up; tests/stores/test_memory.py compares the
# sums with what a process really grows by.
_BYTES_OBJECT: Final = 48
"""A ``bytes`` without its content: header, terminator, and what the allocator rounds up."""
_TUPLE: Final = 64
"""A tuple without its slots, with the garbage collector's header."""
_SLOT: Final = 8
_NODE: Final = 112
"""The cache's own node and share of its hash table, at its worst moment, just after growing."""
_STR_OBJECT: Final = 80
_KEY: Final = _TUPLE + 3 * _SLOT
_RESPONSE: Final = 512
"""The object itself, its seven floats, status and validators without their content."""
_NOMINATED: Final = 256
_LINE: Final = _SLOT + _TUPLE + 2 * (_SLOT + _BYTES_OBJECT)
_CARRIED: Final = _SLOT + _TUPLE + 3 * (_SLOT + _BYTES_OBJECT) + 2 * NONCE_BYTES
_STAMP: Final = _TUPLE + 3 * _SLOT + 2 * (_BYTES_OBJECT + NONCE_BYTES) + 32


class MemoryStore:
    """A :class:`~asgi_cache.stores.base.Store` of at most *max_bytes*, for one process.

    A record over the whole budget is not stored. *clock* gives seconds since the epoch. *beside*:
    bytes that each value costs whoever holds values here, counted with it.
    """

    def __init__(
        self, max_bytes: int, clock: Callable[[], float] = time.time, beside: int = 0
    ) -> None:
        if max_bytes < 1:
            raise ConfigurationError(f"max_bytes is {max_bytes}; it must be at least 1")
        self.now: Callable[[], float] = clock
        # Records by (target, key, slot), stamps by name.
        size_of = _size_of if not beside else lambda place, value: _size_of(place, value) + beside
        self._size_of = size_of
        self._values: LRUCache[Cell, Any] = LRUCache(max_bytes, getsizeof=size_of)
        self.get: Callable[[Any], Any] = self._values.get
        """What lies in a cell: (target, key, slot), or the name of a stamp."""
        self._stamps_change = threading.Lock()

    def __repr__(self) -> str:
        return f"<MemoryStore {self.used_bytes} of {self.max_bytes} bytes>"

    @property
    def max_bytes(self) -> int:
        """The budget."""
        return self._values.maxsize

    @property
    def used_bytes(self) -> int:
        """What the records and stamps held are accounted with."""
        return self._values.current_size()

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        """The records in *slots* and the values of *stamps*."""
        get = self._values.get
        if slots is RESPONSE_SLOT:
            # Every Python call counts here: no comprehension, no helper.
            record = get((target, key, 0))
            if record is not None and record.discard_at <= self.now():
                record = None
            return (record,), tuple(map(get, stamps))
        now = self.now()
        found = map(get, zip(repeat(target), repeat(key), slots, strict=False))
        records = [record if record and record.discard_at > now else None for record in found]
        return records, tuple(map(get, stamps))

    async def write(
        self,
        target: bytes,
        key: bytes,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
    ) -> None:
        """Put *records* into their slots; what has ended or does not fit leaves its slot empty."""
        now = self.now()
        for slot, record in records.items():
            if record.discard_at > now:
                self._put((target, key, slot), record)
            else:
                self._values.pop((target, key, slot), None)
        for name in stamps:  # Touched after the records, so evicted after them.
            self._values.get(name)

    async def remove(self, target: bytes, key: bytes, slot: int) -> None:
        """Forget one slot."""
        self._values.pop((target, key, slot), None)

    async def settle(self, names: Sequence[bytes], life: float) -> Sequence[Stamp]:
        """Give each of *names* that is missing a new stamp, which lives until it is evicted."""
        stamps = []
        with self._stamps_change:
            for name in names:
                stamp = self._values.get(name)
                if stamp is None:
                    stamp = _new_stamp()
                    self._put(name, stamp)
                stamps.append(stamp)
        return stamps

    async def replace(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
    ) -> None:
        """Put new stamps for *names*, then new soft parts for *soft_names*."""
        with self._stamps_change:
            for name in names:
                self._put(name, _new_stamp())
            for name in soft_names:
                stamp: Stamp = self._values.get(name) or _new_stamp()
                soft = Stamp(stamp.nonce, urandom(NONCE_BYTES), self.now())
                self._put(name, soft)

    async def aclose(self) -> None:
        """Nothing is open; what is held stays."""

    def hold(self, cell: Cell, value: Record | Stamp) -> Sequence[Cell] | None:
        """Put a value; the cells that had to go for it, or ``None``: it is over the budget."""
        values = self._values
        values.pop(cell, None)
        size = self._size_of(cell, value)
        if size > values.maxsize:
            return None
        gone: list[Cell] = []
        while values.remaining_size() < size:
            place, _ = values.popitem()
            gone.append(place)
        values[cell] = value
        return gone

    def forget(self, cell: Cell) -> None:
        """Empty a cell."""
        self._values.pop(cell, None)

    def clear(self) -> None:
        """Empty all."""
        self._values.clear()

    def _put(self, place: Cell, value: Record | Stamp) -> None:
        try:
            self._values[place] = value
        except OverflowError:  # Larger than the whole budget; what it was to replace goes too.
            self._values.pop(place, None)


def _new_stamp() -> Stamp:
    nonces = urandom(2 * NONCE_BYTES)
    return Stamp(nonces[:NONCE_BYTES], nonces[NONCE_BYTES:], 0.0)


def _size_of(place: Cell, value: Record | Stamp) -> int:
    """What *value* at *place* costs this process, in bytes, an upper bound."""
    if isinstance(place, bytes) or isinstance(value, Stamp):
        return _NODE + _BYTES_OBJECT + len(place) + _STAMP
    target, key, _ = place
    size = _NODE + _KEY + 2 * _BYTES_OBJECT + len(target) + len(key)
    size += sum(_TUPLE + _STR_OBJECT + 4 * len(group) for group in value.groups)
    if not isinstance(value, StoredResponse):
        return size + _NOMINATED + sum(_SLOT + _BYTES_OBJECT + len(name) for name in value.names)
    size += _RESPONSE + _BYTES_OBJECT + len(value.body)
    for name, text in value.lines:
        size += _LINE + len(name) + len(text)
    for name, selected in value.nominated:
        size += _LINE + len(name) + len(selected or b"")
    for carried in value.stamps:
        size += _CARRIED + len(carried.name)
    if value.etag is not None:
        size += len(value.etag)
    return size
