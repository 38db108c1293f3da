"""Bodies that lie apart from their heads, so that a large one holds up no small one.

A body over :data:`APART_BYTES` has a key of its own, and its head says how long what lies there is
and what its SHA-256 is. So a head that is genuine (``sealing``) has exactly one body: whatever else
lies there, of an earlier or a later write, short, or forged, is a miss, and is not inflated.

    body    = <key of the record>:b       ; as it is, or one Zstandard frame (RFC 8878), shorter
    binding = length size digest          ; 48 octets: length of what lies there and size of the
                                          ; body, 64 bits each, big-endian; SHA-256 of what lies
                                          ; there; it is a frame where length and size differ

What must not be here: sockets, and what a head says besides.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from asgi_cache.errors import CorruptRecord
from asgi_cache.model import StoredResponse
from asgi_cache.stores.zstd import deflated, inflated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgi_cache.model import Record

APART_BYTES: Final = 64 * 1024
"""Longer bodies lie apart."""
BYTES_PER_SECOND: Final = 10_000_000
"""What a body that lies apart adds to the deadline of who reads or writes it."""
ELSEWHERE_BYTES: Final = 256 * 1024
"""A longer body is digested, deflated and inflated in a thread."""
BINDING: Final = struct.Struct(">QQ32s")


class Detached(NamedTuple):
    """A response whose body lies apart."""

    response: StoredResponse
    """Without its body."""
    length: int
    """Of what lies apart."""
    size: int
    """Of the body."""
    digest: bytes
    place: bytes
    """Where the record lies."""

    @property
    def discard_at(self) -> float:
        """The response's."""
        return self.response.discard_at

    def whole(self, data: bytes) -> StoredResponse:
        """The response with the body that *data* is; CorruptRecord where it is another's."""
        if len(data) != self.length or sha256(data).digest() != self.digest:
            raise CorruptRecord("the body is not this head's")
        body = data if self.length == self.size else inflated(data, self.size)
        return replace(self.response, body=body)


class Packed(NamedTuple):
    """A body as it lies apart."""

    data: bytes
    binding: bytes
    """What its head says of it."""


def body_place(place: bytes) -> bytes:
    """Where the body of the record at *place* lies."""
    return place + b":b"


def lies_apart(record: Record) -> bool:
    """Whether the body of *record* gets its own key."""
    return type(record) is StoredResponse and len(record.body) > APART_BYTES


def extra_seconds(records: Iterable[Record]) -> float:
    """What those of the bodies of *records* that lie apart add to a deadline."""
    sizes = [
        len(record.body)
        for record in records
        if type(record) is StoredResponse and len(record.body) > APART_BYTES
    ]
    return sum(sizes) / BYTES_PER_SECOND


def pack(body: bytes, compress_bytes: int) -> Packed:
    """*body* as it lies apart: deflated if that helps and it is over *compress_bytes*; 0: never."""
    data = deflated(body) if 0 < compress_bytes < len(body) else body
    return Packed(data, BINDING.pack(len(data), len(body), sha256(data).digest()))


async def packed(body: bytes, compress_bytes: int) -> Packed:
    """As :func:`pack`, of a long body in a thread."""
    if len(body) > ELSEWHERE_BYTES:
        return await asyncio.to_thread(pack, body, compress_bytes)
    return pack(body, compress_bytes)


async def joined(head: Detached, data: bytes) -> StoredResponse:
    """*head* with the body that *data* is, in a thread where it is long; or CorruptRecord."""
    if head.size > ELSEWHERE_BYTES:
        return await asyncio.to_thread(head.whole, data)
    return head.whole(data)
