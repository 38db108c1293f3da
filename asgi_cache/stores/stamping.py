"""Stamps as bytes, and names nobody has drawn before.

    stamp     = nonce soft_nonce soft_at     ; 40 octets; soft_at: float64, big-endian

A stamp has no seal. It would not bind: who can write can put back an earlier one, seal and all
(SECURITY.md says what that is good for), and a soft purge replaces half a stamp without reading it.

What must not be here: records (``codec``).
"""

from __future__ import annotations

import struct
from math import ceil, isfinite
from os import urandom
from typing import Final

from asgi_cache.errors import CorruptRecord
from asgi_cache.model import NONCE_BYTES, Stamp

STAMP_BYTES: Final = 2 * NONCE_BYTES + 8
_STAMP: Final = struct.Struct(">16s16sd")


def encode_stamp(stamp: Stamp) -> bytes:
    """The :data:`STAMP_BYTES` bytes of *stamp*; its soft part begins at :data:`NONCE_BYTES`."""
    return _STAMP.pack(*stamp)


def decode_stamp(data: bytes) -> Stamp:
    """The stamp in *data*; CorruptRecord where it is none."""
    if len(data) != STAMP_BYTES:
        raise CorruptRecord("a stamp of another length")
    stamp = Stamp._make(_STAMP.unpack(data))
    if not isfinite(stamp.soft_at):
        raise CorruptRecord("a stamp without an instant")
    return stamp


def new_stamp(soft_at: float = 0.0) -> bytes:
    """A stamp that nobody has seen yet."""
    return encode_stamp(Stamp(urandom(NONCE_BYTES), urandom(NONCE_BYTES), soft_at))


def stamp_of(data: bytes | None) -> Stamp | None:
    """The stamp in *data*; what is none is as good as missing, and missing means invalid."""
    if data is None:
        return None
    try:
        return decode_stamp(data)
    except CorruptRecord:
        return None


def milliseconds(seconds: float) -> bytes:
    """*seconds* as a time to live, one millisecond at least."""
    return b"%d" % max(1, ceil(seconds * 1000))
