"""Bodies that lie apart from their heads, so that a large one holds up no small one.

A body over :data:`APART_BYTES` has a key of its own, and its head says how long it is and what its
SHA-256 is. So a head that is genuine (``sealing``) has exactly one body: whatever else lies there,
of an earlier or a later write, short, or forged, is a miss.

    body   = <key of the record>:b
    binding = length digest               ; 40 octets; length: 64 bits, big-endian; SHA-256

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

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgi_cache.model import Record

APART_BYTES: Final = 64 * 1024
"""Longer bodies lie apart."""
BYTES_PER_SECOND: Final = 10_000_000
"""What a body that lies apart adds to the deadline of who reads or writes it."""
ELSEWHERE_BYTES: Final = 256 * 1024
"""A longer body is digested in a thread."""
BINDING: Final = struct.Struct(">Q32s")


class Detached(NamedTuple):
    """A response whose body lies apart."""

    response: StoredResponse
    """Without its body."""
    length: int
    digest: bytes
    place: bytes
    """Where the record lies."""

    @property
    def discard_at(self) -> float:
        """The response's."""
        return self.response.discard_at

    def whole(self, body: bytes) -> StoredResponse:
        """The response with *body*; CorruptRecord where it is another's."""
        if len(body) != self.length or sha256(body).digest() != self.digest:
            raise CorruptRecord("the body is not this head's")
        return replace(self.response, body=body)


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


def bind(body: bytes) -> bytes:
    """What a head says of *body*."""
    return BINDING.pack(len(body), sha256(body).digest())


async def binding(body: bytes) -> bytes:
    """As :func:`bind`, of a long body in a thread."""
    return await asyncio.to_thread(bind, body) if len(body) > ELSEWHERE_BYTES else bind(body)


async def joined(head: Detached, body: bytes) -> StoredResponse:
    """*head* with *body*, looked at in a thread where it is long; CorruptRecord: another's."""
    if len(body) > ELSEWHERE_BYTES:
        return await asyncio.to_thread(head.whole, body)
    return head.whole(body)
