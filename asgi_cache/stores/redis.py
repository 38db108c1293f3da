"""Records and stamps in Redis 6.2 or later, or Valkey.

Every key has a time to live, and is one string; ``places`` says where it lies.

What must not be here: rules about what may be stored or reused; KEYS, SCAN, FLUSHDB, Lua; as nonces
must not be sent twice, any way of trying again (see connections).
"""

from __future__ import annotations

import time
from asyncio import get_running_loop
from functools import lru_cache
from itertools import repeat
from operator import add, attrgetter
from typing import TYPE_CHECKING, Final

from asgi_cache.errors import CorruptRecord, StoreUnavailable
from asgi_cache.model import NONCE_BYTES, Stamp
from asgi_cache.stores.bodies import Detached, body_place, joined, lies_apart
from asgi_cache.stores.codec import decode
from asgi_cache.stores.connections import Connections
from asgi_cache.stores.joining import PATIENCE
from asgi_cache.stores.leases import RedisLeases
from asgi_cache.stores.lookups import LookUps, Memo, Unreadable
from asgi_cache.stores.places import Places
from asgi_cache.stores.readings import Readings
from asgi_cache.stores.sealing import Seals
from asgi_cache.stores.stamping import milliseconds, new_stamp, stamp_of
from asgi_cache.stores.tracking import Tracking
from asgi_cache.stores.writing import written

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from redis.asyncio import Redis

    from asgi_cache.model import Record, StoredResponse
    from asgi_cache.stores.capabilities import Found
    from asgi_cache.stores.resp import Command

MAX_RECORD_BYTES: Final = 32 * 1024 * 1024
_GONE: Final = -2
"""What PTTL says of a key that is not there."""


class RedisStore:
    """A :class:`~asgi_cache.stores.base.Store` in the Redis at a URL, or behind a client.

    *store* is a ``redis://``, ``rediss://`` or ``unix://`` URL, or a ``redis.asyncio.Redis`` whose
    replies are bytes; it is never closed here, but lends its options to connections of this
    store's own, *max_connections* at most in each event loop. No operation has a deadline of its
    own: see :class:`~asgi_cache.stores.guarded.GuardedStore`. A record over *max_record_bytes* is
    neither written nor read. *clock* gives seconds since the epoch; the server's TIME corrects it.
    With *secrets* records are sealed: the first signs, all verify, and what none of them sealed for
    its place is a miss. A body over *compress_bytes* and 64 KiB is deflated where that helps; 0:
    none is, but all are read.
    """

    def __init__(
        self,
        store: str | Redis,
        namespace: str,
        *,
        clock: Callable[[], float] = time.time,
        connect_timeout: float = 1.0,
        max_connections: int = 16,
        max_record_bytes: int = MAX_RECORD_BYTES,
        secrets: Sequence[str] = (),
        compress_bytes: int = 0,
    ) -> None:
        self.corrupt_records = 0
        """How many values were found that are no record, another key's, or without our seal."""
        self._unreadable = Unreadable()
        self._connections = Connections(
            store, clock=clock, connect_timeout=connect_timeout, limit=max_connections
        )
        # The server's time, as far as it is known: clock() + offset. A hit asks three times, so it
        # is put together of what costs no Python call.
        offsets = map(attrgetter("offset"), repeat(self._connections.server_clock))
        self.now: Callable[[], float] = map(add, iter(clock, None), offsets).__next__
        places = self._places = Places(namespace)
        self._prefix = places.prefix
        self._max_record_bytes = max_record_bytes
        self._compress_bytes = compress_bytes
        self._seals = Seals(secrets) if secrets else None
        self._memo = Memo()
        self._readings = Readings(self._with_body)
        self._turn: LookUps | None = None
        """Those of a turn that may still be under way: a short cut past ``connections``."""
        self.record_place = places.record
        self.stamp_place = places.stamp
        self.stamp = lru_cache(maxsize=1024)(stamp_of)
        self.unavailable = self._connections.unavailable
        self.leases = RedisLeases(self._connections, self._prefix, places.lease)

    def __repr__(self) -> str:
        return f"<RedisStore {self._prefix.decode()[:-1]} {self._connections!r}>"

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        """The records in *slots* and the values of *stamps*, in one round trip."""
        found = await self.look_up(target, key, slots, stamps, PATIENCE)
        return await self.complete(found), found.stamps

    def look_up(
        self,
        target: bytes,
        key: bytes,
        slots: Sequence[int],
        stamps: Sequence[bytes],
        seconds: float,
    ) -> Awaitable[Found]:
        """As :meth:`read`, with all that is read in this turn of the event loop; in *seconds*."""
        turn = self._turn
        if turn is None or turn.loop is not get_running_loop() or turn.seconds < seconds:
            turn = self._connections.joining().shared(self._begin, seconds)
            turn.seconds = max(turn.seconds, seconds)
            self._turn = turn
        return turn.ask((target, key, tuple(slots), tuple(stamps)))

    async def complete(self, found: Found) -> Sequence[Record | None]:
        """Read the bodies that lie apart, each on a connection that nothing else waits for."""
        if not found.apart:
            return found.records
        records = list(found.records)
        for at, head in enumerate(records):
            if type(head) is Detached:
                records[at] = await self._readings.of(head)
        return records

    async def _with_body(self, head: Detached) -> StoredResponse | None:
        # One byte more than there should be, so that a longer one is seen.
        command = (b"GETRANGE", body_place(head.place), b"0", b"%d" % head.length)
        (body,) = await self._connections.exchange("read", [command])
        if body == b"":  # evicted, or overwritten by a small one
            return None
        try:
            return await joined(head, body or b"")
        except CorruptRecord:
            self.corrupt_records += 1
            return None

    def _begin(self, loop: asyncio.AbstractEventLoop) -> LookUps:
        return LookUps(loop, self, self._places, self._memo, b"%d" % self._max_record_bytes)

    async def write(
        self,
        target: bytes,
        key: bytes,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
    ) -> None:
        """Put *records* into their slots: one round trip, a second where a stamp ends too soon.

        What has ended, or is too large, leaves its slot empty.
        """
        commands, places, longest = await self._write_commands(target, key, records, stamps)
        # A large one must not hold up what others wait for.
        is_large = any(map(lies_apart, records.values()))
        send = self._connections.exchange if is_large else self._connections.join
        replies = await send("write", [*commands, *[(b"PTTL", place) for place in places]])
        await self._renew(places, replies[len(commands) :], longest)

    async def write_leased(
        self,
        target: bytes,
        key: bytes,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
        place: bytes,
        token: bytes,
    ) -> bool:
        """As :meth:`write`, and give back the lease; ``False``: it was lost, nothing is written."""
        commands, places, longest = await self._write_commands(target, key, records, stamps)
        asked: list[Command] = [(b"PTTL", place) for place in places]
        is_large = any(map(lies_apart, records.values()))
        lives = await self.leases.write(target, place, token, commands, asked, is_large=is_large)
        if lives is None:
            return False
        await self._renew(places, lives, longest)
        return True

    async def _write_commands(
        self,
        target: bytes,
        key: bytes,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
    ) -> tuple[list[Command], list[bytes], int]:
        """What puts *records* into their slots; where the stamps lie that must outlive them, and

        the longest life of a record in milliseconds.
        """
        placed = {self.record_place(target, key, slot): records[slot] for slot in records}
        self._unreadable.forget(placed)
        bounds = (self._max_record_bytes, self._compress_bytes)
        commands, longest = await written(placed, key, self._seals, self.now(), *bounds)
        places = [self.stamp_place(name) for name in stamps] if longest else []
        return commands, places, longest

    async def _renew(self, places: Sequence[bytes], lives: Sequence[int], longest: int) -> None:
        """Make stamps outlive the records that carry them."""
        # Twice what is needed, so that a renewal, which near tiers see, is rare. Never by SET.
        renewals: list[Command] = [
            (b"PEXPIRE", place, b"%d" % (2 * longest))
            for place, life in zip(places, lives, strict=True)
            if life < longest and life != _GONE
        ]
        if renewals:
            await self._connections.join("write", renewals)

    async def remove(self, target: bytes, key: bytes, slot: int) -> None:
        """Forget one slot."""
        place = self.record_place(target, key, slot)
        await self._connections.join("remove", [(b"UNLINK", place, body_place(place))])

    async def settle(self, names: Sequence[bytes], life: float) -> Sequence[Stamp]:
        """Give each of *names* that is missing a new stamp, and return what is there now.

        One round trip; a second where something lies there that is no stamp, which NX keeps.
        """
        places = [self.stamp_place(name) for name in names]
        stamps = await self._settle(places, life, b"NX")
        wrong = [place for place, stamp in zip(places, stamps, strict=True) if stamp is None]
        replaced = iter(await self._settle(wrong, life) if wrong else ())
        settled = [stamp or next(replaced) for stamp in stamps]
        present = [stamp for stamp in settled if stamp is not None]
        if len(present) < len(names):
            raise StoreUnavailable("settle: a stamp does not stay where it was put")
        return present

    async def replace(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
    ) -> None:
        """New stamps for *names*, in order, then new soft parts for *soft_names*; one exchange."""
        if soft_names and not self._connections.server_clock.is_known:
            await self._connections.exchange("replace", [(b"PING",)])
        live = milliseconds(life)
        commands: list[Command] = [
            (b"SET", self.stamp_place(name), new_stamp(), b"PX", live) for name in names
        ]
        for name in soft_names:
            place = self.stamp_place(name)
            soft_part = new_stamp(self.now())[NONCE_BYTES:]
            # A read, a change and a write would undo a hard purge in between; SETRANGE alone would
            # make the same stamp twice where it had been evicted.
            commands += (
                (b"MULTI",),
                (b"SET", place, new_stamp(), b"PX", live, b"NX"),
                (b"SETRANGE", place, b"%d" % NONCE_BYTES, soft_part),
                (b"PEXPIRE", place, live),
                (b"EXEC",),
            )
        await self._connections.exchange("replace", commands)

    def channel(self, name: bytes) -> Tracking:
        """Where the server tells of every change; *name*: the stamp that can be asked for."""
        return Tracking(self._connections, self._prefix, self.stamp_place(name))

    async def ping(self) -> None:
        """Return where the server answers and lets us read; one round trip."""
        place = b"%bping" % self._prefix
        await self._connections.join("ping", [(b"PING",), (b"GETRANGE", place, b"0", b"0")])

    async def aclose(self) -> None:
        """Close every connection that this store made; it makes new ones where it is used again."""
        await self.leases.aclose()
        await self._connections.aclose()

    async def _settle(
        self, places: Sequence[bytes], life: float, *condition: bytes
    ) -> list[Stamp | None]:
        if not places:
            return []
        live = milliseconds(life)
        # Whom another of this turn settles with NX already has that one's nonce.
        settled = self._connections.joining().shared(self._begin, 0.0).settled
        commands: list[Command] = []
        for place in places:
            if not condition or settled.get(place) != live:
                commands.append((b"SET", place, new_stamp(), b"PX", live, *condition))
            if condition:
                settled[place] = live
        commands.append((b"MGET", *places))
        replies = await self._connections.join("settle", commands)
        return [self.stamp(data) for data in replies[-1]]

    def decoded(self, data: bytes | None, key: bytes, place: bytes) -> Record | Detached | None:
        """The record in what lies at *place*; ``None``, and counted, where there is none."""
        try:
            if data is None or len(data) > self._max_record_bytes:
                raise CorruptRecord("no string, or too long a one")
            record = decode(data, key, self._seals, place)
            if type(record) is Detached and record.size > self._max_record_bytes:
                raise CorruptRecord("too long a body")
        except CorruptRecord:
            self.corrupt_records += self._unreadable.is_new(place, data)
            return None
        self._unreadable.forget((place,))
        return record
