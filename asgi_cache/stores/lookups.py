"""The look-ups of one turn of the event loop, as one question: keys once, stamps once.

Who asks the same gets the same answer, decoded once. What was decoded last is remembered for each
place with the bytes it was decoded from, which are compared: nothing is ever answered without
asking, and nothing from bytes other than those that came.

What must not be here: where things lie and how they are decoded (``redis``, ``codec``).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from redis.exceptions import ResponseError

from asgi_cache.stores.bodies import Detached
from asgi_cache.stores.capabilities import Found

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Sequence

    from asgi_cache.model import Record, Stamp
    from asgi_cache.stores.places import Places
    from asgi_cache.stores.resp import Command

MOST_NAMES: Final = 256
"""Stamps in one MGET: a server does nothing else meanwhile."""
MEMO_BYTES: Final = 1024 * 1024
MEMO_ENTRY_BYTES: Final = 64 * 1024
MOST_UNREADABLE: Final = 512
"""Places remembered at which there was no record."""

Question: TypeAlias = tuple[bytes, bytes, tuple[int, ...], tuple[bytes, ...]]
"""Target, key, slots and stamps."""


class Origin(Protocol):
    """The store whose look-ups these are."""

    def now(self) -> float:
        """The store's clock."""

    def decoded(self, data: bytes | None, key: bytes, place: bytes) -> Record | Detached | None:
        """The record in what lies at *place*; ``None`` where there is none."""

    def stamp(self, data: bytes | None) -> Stamp | None:
        """The stamp in what lies at its place."""

    def unavailable(self, operation: str, error: Exception) -> Exception:
        """What *error* is to those who asked."""


class Memo(threading.local):
    """What was decoded last at each place, and of which bytes; one for each thread."""

    def __init__(self) -> None:
        self.entries: dict[bytes, tuple[bytes, bytes, Record | Detached]] = {}
        """By places: the bytes, the key, and what they were decoded to for it."""
        self._bytes = 0

    def put(self, place: bytes, data: bytes, key: bytes, record: Record | Detached) -> None:
        """Remember it in place of what was there."""
        entries = self.entries
        before = entries.pop(place, None)
        if before is not None:
            self._bytes -= len(before[0])
        if len(data) > MEMO_ENTRY_BYTES:
            return
        while entries and self._bytes + len(data) > MEMO_BYTES:
            oldest = next(iter(entries))
            self._bytes -= len(entries.pop(oldest)[0])
        entries[place] = (data, key, record)
        self._bytes += len(data)


class Unreadable:
    """What was found last that is no record, so that it is counted once: who looks again, as is

    done before a fill, finds the same.
    """

    def __init__(self) -> None:
        self._hashes: dict[bytes, int] = {}

    def is_new(self, place: bytes, data: bytes | None) -> bool:
        """Whether something else lay at *place* when this was asked last."""
        found = hash(data)
        if self._hashes.get(place) == found:
            return False
        if len(self._hashes) >= MOST_UNREADABLE:
            self._hashes.clear()
        self._hashes[place] = found
        return True

    def forget(self, places: Iterable[bytes]) -> None:
        """There are records at these *places*."""
        if self._hashes:
            for place in places:
                self._hashes.pop(place, None)


class LookUps:
    """Those of one turn."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        origin: Origin,
        places: Places,
        memo: Memo,
        longest: bytes,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = loop
        """Whose turn it is; ``None``: it is over."""
        self.seconds = 0.0
        """What the replies may take."""
        self.settled: dict[bytes, bytes] = {}
        """Stamps that are settled in this turn as well, by their places, and for how long."""
        self._future = loop.create_future
        self._origin = origin
        self._places = places
        self._memo = memo
        self._longest = longest
        self._asked: dict[Question, list[asyncio.Future[Found]]] = {}
        self._sought: list[list[bytes]] = []
        """Of each question the places of its records."""
        self._records: dict[bytes, bytes] = {}
        """Places, and the keys that their records are to be of."""
        self._names: list[bytes] = []

    def ask(self, question: Question) -> asyncio.Future[Found]:
        """Ask it when the turn is over."""
        waiter: asyncio.Future[Found] = self._future()
        self._asked.setdefault(question, []).append(waiter)
        return waiter

    def commands(self) -> Sequence[Command]:
        """A GETRANGE for each place, and an MGET for all stamps."""
        self.loop = None
        place_of, stamp_place = self._places.record, self._places.stamp
        records, sought_by = self._records, self._sought
        names: dict[bytes, None] = {}
        for target, key, slots, stamps in self._asked:
            sought = []
            for slot in slots:
                place = place_of(target, key, slot)
                records[place] = key
                sought.append(place)
            sought_by.append(sought)
            for name in stamps:
                names[name] = None
        self._names = list(names)
        # Not GET: what lies there may be no record of ours, and 512 MB long.
        last = self._longest
        commands: list[Command] = [(b"GETRANGE", place, b"0", last) for place in records]
        for at in range(0, len(self._names), MOST_NAMES):
            some = self._names[at : at + MOST_NAMES]
            commands.append((b"MGET", *map(stamp_place, some)))
        return commands

    def done(self, replies: list[Any]) -> None:
        """Decode each reply once, and answer everybody."""
        for reply in replies:
            if isinstance(reply, ResponseError):
                self.failed(reply)
                return
        origin, remembered = self._origin, self._memo.entries.get
        records: dict[bytes, Record | Detached | None] = {}
        for (place, key), data in zip(self._records.items(), replies, strict=False):
            entry = remembered(place)
            if entry is not None and entry[0] == data and entry[1] == key:
                records[place] = entry[2]
            else:
                records[place] = self._decoded(data, key, place)
        values = [data for reply in replies[len(records) :] for data in reply]
        stamps = dict(zip(self._names, map(origin.stamp, values), strict=True))
        now = origin.now()
        for ((_, _, _, names), waiters), sought in zip(
            self._asked.items(), self._sought, strict=True
        ):
            found: list[Record | Detached | None] = []
            apart = 0
            for place in sought:
                record = records[place]
                if record is not None:
                    if record.discard_at <= now:
                        record = None
                    elif type(record) is Detached:
                        apart += record.size
                found.append(record)
            answer = Found(found, [stamps[name] for name in names], apart)
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(answer)

    def failed(self, error: Exception) -> None:
        """Tell who asked."""
        for waiters in self._asked.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(self._origin.unavailable("read", error))

    def _decoded(self, data: bytes | None, key: bytes, place: bytes) -> Record | Detached | None:
        if data == b"":  # what GETRANGE says of a key that is not there
            return None
        record = self._origin.decoded(data, key, place)
        if record is not None and data is not None:
            self._memo.put(place, data, key, record)
        return record
