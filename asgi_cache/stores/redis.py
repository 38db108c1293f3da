"""Records and stamps in Redis 6.2 or later, or Valkey.

Every key has a time to live, and is one string:

    <namespace>:{<target>}:<key>:<slot>   a record: see codec and sealing
    <namespace>:{<target>}:t              the stamp of a target, whose name is "t" target
    <namespace>:<kind>:<name>             any other stamp; kind: the first byte of its name
    <namespace>:ping                      never written: read to see whether reading is possible

<target>, <key> and <name> are digests, 256 bits in 43 characters without colons or braces. No form
can be read as another, nor as the end of another, so neither two names nor two namespaces can meet
in a key. The braces put what a look-up reads of one target into one slot of a cluster.

What must not be here: rules about what may be stored or reused; KEYS, SCAN, FLUSHDB, Lua; and, as
commands that write a nonce must not be sent twice, any way of trying again (see connections).
"""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b
from itertools import repeat
from math import ceil
from operator import add, attrgetter
from os import urandom
from typing import TYPE_CHECKING, Final

from asgi_cache.errors import ConfigurationError, CorruptRecord, StoreUnavailable
from asgi_cache.model import NONCE_BYTES, Stamp
from asgi_cache.stores.codec import decode, decode_stamp, encode, encode_stamp
from asgi_cache.stores.connections import Connections
from asgi_cache.stores.leases import RedisLeases
from asgi_cache.stores.sealing import Seals
from asgi_cache.stores.tracking import Tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redis.asyncio import Redis

    from asgi_cache.model import Record
    from asgi_cache.stores.connections import Command

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
    its place is a miss.
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
    ) -> None:
        if not namespace or not namespace.isprintable() or set(namespace) & set("{} "):
            raise ConfigurationError(
                f"namespace is {namespace!r}; it must be printable, without spaces and braces"
            )
        self.corrupt_records = 0
        """How many values were read that are no record, another key's, or without our seal."""
        self._connections = Connections(
            store, clock=clock, connect_timeout=connect_timeout, limit=max_connections
        )
        # The server's time, as far as it is known: clock() + offset. A hit asks three times, so it
        # is put together of what costs no Python call.
        offsets = map(attrgetter("offset"), repeat(self._connections))
        self.now: Callable[[], float] = map(add, iter(clock, None), offsets).__next__
        self._prefix = namespace.encode() + b":"
        self._max_record_bytes = max_record_bytes
        self._seals = Seals(secrets) if secrets else None
        self._digest = lru_cache(maxsize=256)(_digest)
        self.leases = RedisLeases(
            self._connections,
            self._prefix,
            lambda target, place: (
                b"{%b}:%b%b" % (self._digest(target), place[:2], self._digest(place[2:]))
            ),
        )

    def __repr__(self) -> str:
        return f"<RedisStore {self._prefix.decode()[:-1]} {self._connections!r}>"

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        """The records in *slots* and the values of *stamps*, in one round trip."""
        prefix = self._record_prefix(target, key)
        places = [b"%b%d" % (prefix, slot) for slot in slots]
        # Not GET: what lies there may be no record of ours, and 512 MB long.
        last = b"%d" % self._max_record_bytes
        commands: list[Command] = [(b"GETRANGE", place, b"0", last) for place in places]
        if stamps:
            commands.append((b"MGET", *map(self._stamp_place, stamps)))
        replies = await self._connections.exchange("read", commands)
        now = self.now()
        records = [
            self._record(data, key, place, now)
            for data, place in zip(replies, places, strict=False)
        ]
        return records, [_stamp(data) for reply in replies[len(slots) :] for data in reply]

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
        commands, places, longest = self._write_commands(target, key, records, stamps)
        replies = await self._connections.exchange("write", commands)
        await self._renew(places, replies[len(records) :], longest)

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
        commands, places, longest = self._write_commands(target, key, records, stamps)
        replies = await self.leases.write(target, place, token, commands)
        if replies is None:
            return False
        await self._renew(places, replies[len(records) :], longest)
        return True

    def _write_commands(
        self,
        target: bytes,
        key: bytes,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
    ) -> tuple[list[Command], list[bytes], int]:
        """What puts *records* into their slots, then asks how long *stamps* live; these, and the

        longest life of a record in milliseconds.
        """
        prefix, now = self._record_prefix(target, key), self.now()
        commands: list[Command] = []
        longest = 0
        for slot, record in records.items():
            place = b"%b%d" % (prefix, slot)
            data = encode(record, key, self._seals, place)
            life = ceil((record.discard_at - now) * 1000)
            if life > 0 and len(data) <= self._max_record_bytes:
                commands.append((b"SET", place, data, b"PX", b"%d" % life))
                longest = max(longest, life)
            else:
                commands.append((b"UNLINK", place))
        places = [self._stamp_place(name) for name in stamps] if longest else []
        commands += [(b"PTTL", place) for place in places]
        return commands, places, longest

    async def _renew(self, places: Sequence[bytes], lives: Sequence[int], longest: int) -> None:
        """Make stamps outlive the records that carry them."""
        # Twice what is needed, so that a renewal, which near tiers see, is rare. Never by SET.
        renewals: list[Command] = [
            (b"PEXPIRE", place, b"%d" % (2 * longest))
            for place, life in zip(places, lives, strict=True)
            if life < longest and life != _GONE
        ]
        await self._connections.exchange("write", renewals)

    async def remove(self, target: bytes, key: bytes, slot: int) -> None:
        """Forget one slot."""
        place = b"%b%d" % (self._record_prefix(target, key), slot)
        await self._connections.exchange("remove", [(b"UNLINK", place)])

    async def settle(self, names: Sequence[bytes], life: float) -> Sequence[Stamp]:
        """Give each of *names* that is missing a new stamp, and return what is there now.

        One round trip; a second where something lies there that is no stamp, which NX keeps.
        """
        places = [self._stamp_place(name) for name in names]
        stamps = await self._settle(places, life, b"NX")
        wrong = [place for place, stamp in zip(places, stamps, strict=True) if stamp is None]
        replaced = iter(await self._settle(wrong, life))
        settled = [stamp or next(replaced) for stamp in stamps]
        present = [stamp for stamp in settled if stamp is not None]
        if len(present) < len(names):
            raise StoreUnavailable("settle: a stamp does not stay where it was put")
        return present

    async def replace(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
    ) -> None:
        """New stamps for *names*, in order, then new soft parts for *soft_names*; one exchange."""
        if soft_names and not self._connections.offset_is_known:
            await self._connections.exchange("replace", [(b"PING",)])
        live = _milliseconds(life)
        commands: list[Command] = [
            (b"SET", self._stamp_place(name), _new_stamp(), b"PX", live) for name in names
        ]
        for name in soft_names:
            place = self._stamp_place(name)
            soft_part = _new_stamp(self.now())[NONCE_BYTES:]
            # A read, a change and a write would undo a hard purge in between; SETRANGE alone would
            # make the same stamp twice where it had been evicted.
            commands += (
                (b"MULTI",),
                (b"SET", place, _new_stamp(), b"PX", live, b"NX"),
                (b"SETRANGE", place, b"%d" % NONCE_BYTES, soft_part),
                (b"PEXPIRE", place, live),
                (b"EXEC",),
            )
        await self._connections.exchange("replace", commands)

    def record_place(self, target: bytes, key: bytes, slot: int) -> bytes:
        """The Redis key of a record."""
        return b"%b%d" % (self._record_prefix(target, key), slot)

    def stamp_place(self, name: bytes) -> bytes:
        """The Redis key of a stamp."""
        return self._stamp_place(name)

    def channel(self, name: bytes) -> Tracking:
        """Where the server tells of every change; *name*: the stamp that can be asked for."""
        return Tracking(self._connections, self._prefix, self._stamp_place(name))

    async def ping(self) -> None:
        """Return where the server answers and lets us read; one round trip."""
        place = b"%bping" % self._prefix
        await self._connections.exchange("ping", [(b"PING",), (b"GETRANGE", place, b"0", b"0")])

    async def aclose(self) -> None:
        """Close every connection that this store made; it makes new ones where it is used again."""
        await self.leases.aclose()
        await self._connections.aclose()

    async def _settle(
        self, places: Sequence[bytes], life: float, *condition: bytes
    ) -> list[Stamp | None]:
        if not places:
            return []
        live = _milliseconds(life)
        commands: list[Command] = [
            (b"SET", place, _new_stamp(), b"PX", live, *condition) for place in places
        ]
        commands.append((b"MGET", *places))
        replies = await self._connections.exchange("settle", commands)
        return [_stamp(data) for data in replies[-1]]

    def _record_prefix(self, target: bytes, key: bytes) -> bytes:
        return b"%b{%b}:%b:" % (self._prefix, self._digest(target), self._digest(key))

    def _stamp_place(self, name: bytes) -> bytes:
        kind = name[:1]
        if kind == b"t":
            return b"%b{%b}:t" % (self._prefix, self._digest(name[1:]))
        return b"%b%b:%b" % (self._prefix, kind if kind.islower() else b"_", self._digest(name))

    def _record(self, data: bytes | None, key: bytes, place: bytes, now: float) -> Record | None:
        if data == b"":  # what GETRANGE says of a key that is not there
            return None
        try:
            if data is None or len(data) > self._max_record_bytes:
                raise CorruptRecord("no string, or too long a one")
            record = decode(data, key, self._seals, place)
        except CorruptRecord:
            self.corrupt_records += 1
            return None
        return record if record.discard_at > now else None


def _digest(text: bytes) -> bytes:
    return urlsafe_b64encode(blake2b(text, digest_size=32).digest()).rstrip(b"=")


def _milliseconds(seconds: float) -> bytes:
    return b"%d" % max(1, ceil(seconds * 1000))


def _new_stamp(soft_at: float = 0.0) -> bytes:
    return encode_stamp(Stamp(urandom(NONCE_BYTES), urandom(NONCE_BYTES), soft_at))


def _stamp(data: bytes | None) -> Stamp | None:
    """The stamp in *data*; what is none is as good as missing, and missing means invalid."""
    if data is None:
        return None
    try:
        return decode_stamp(data)
    except CorruptRecord:
        return None
