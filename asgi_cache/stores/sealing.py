"""What stands in front of a payload: a checksum, or a seal that only who knows a secret can make.

    record  = checked / sealed
    checked = %xFF "AC" revision crc payload    ; CRC-32 of payload, big-endian: against accidents
    sealed  = %xFF "AS" revision mac payload    ; HMAC-SHA256 (RFC 2104): against forgers
    mac     = HMAC(secret, %xFF "AS" revision place %x00 payload)
    revision = %x04         ; of head and payload; another one is no record of ours, older or newer

The place is the name of the Redis key: namespace, target, key and slot. So a sealed record is one
only where it was put, and its payload says the text of its key besides. Neither form is ever taken
for the other: with secrets a checked record is none, and without secrets a sealed one is none.

HMAC-SHA256 rather than a keyed BLAKE2: with the processors' own instructions for SHA it takes as
long for a small page and half as long from 10 KB on, and it is there where BLAKE2 is not permitted.

What must not be here: what a payload says (``codec``).
"""

from __future__ import annotations

import hmac
import struct
from typing import TYPE_CHECKING, Final
from zlib import crc32

from asgi_cache.errors import CorruptRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

REVISION: Final = 4

_CHECKED: Final = b"\xffAC" + bytes([REVISION])
_SEALED: Final = b"\xffAS" + bytes([REVISION])
_HEAD_BYTES: Final = 4
_CHECKSUM: Final = struct.Struct(">I")
_CHECKED_AT: Final = _HEAD_BYTES + _CHECKSUM.size
_SEALED_AT: Final = _HEAD_BYTES + 32
_HASH: Final = "sha256"


def checked(payload: bytes | memoryview) -> bytes:
    """*payload* with its checksum."""
    return b"".join((_CHECKED, _CHECKSUM.pack(crc32(payload)), payload))


def unchecked(data: bytes) -> memoryview:
    """The payload that :func:`checked` made *data* of; CorruptRecord for all else."""
    if data[:_HEAD_BYTES] != _CHECKED:
        raise CorruptRecord("not a record of this revision")
    payload = memoryview(data)[_CHECKED_AT:]
    if data[_HEAD_BYTES:_CHECKED_AT] != _CHECKSUM.pack(crc32(payload)):
        raise CorruptRecord("the checksum is wrong")
    return payload


class Seals:
    """The seals of *secrets*, of which there is one at least: the first signs, all verify."""

    __slots__ = ("_states",)

    def __init__(self, secrets: Sequence[str]) -> None:
        # The state after the key and the head, which copying is cheaper than making.
        self._states = [hmac.new(secret.encode(), _SEALED, _HASH) for secret in secrets]

    def sealed(self, payload: bytes | memoryview, place: bytes) -> bytes:
        """*payload* with the first secret's seal, for *place* (without NUL) alone."""
        return b"".join((_SEALED, self._mac(self._states[0], payload, place), payload))

    def unsealed(self, data: bytes, place: bytes) -> memoryview:
        """The payload that :meth:`sealed` made *data* of for *place*; CorruptRecord for all else.

        No byte of a payload is looked at before it has been found genuine.
        """
        if data[:_HEAD_BYTES] != _SEALED:
            raise CorruptRecord("not a sealed record of this revision")
        payload, mac = memoryview(data)[_SEALED_AT:], data[_HEAD_BYTES:_SEALED_AT]
        for state in self._states:
            if hmac.compare_digest(self._mac(state, payload, place), mac):
                return payload
        raise CorruptRecord("the seal is none of ours for this place")

    @staticmethod
    def _mac(state: hmac.HMAC, payload: bytes | memoryview, place: bytes) -> bytes:
        mac = state.copy()
        mac.update(place + b"\0")
        mac.update(payload)
        return mac.digest()
