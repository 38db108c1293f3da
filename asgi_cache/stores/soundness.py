"""Whether the objects of a payload can be a response's: every type, every bound, all that a field

may say. Reading asks before it makes anything of them, writing before it sends them.

What must not be here: how objects become bytes, and their order but for counts (``codec``).
"""

from __future__ import annotations

from math import isfinite
from types import NoneType
from typing import Any, Final

from asgi_cache.errors import CorruptRecord
from asgi_cache.fields import is_field_name, is_field_value
from asgi_cache.model import NONCE_BYTES

MAX_LINES: Final = 1000
MAX_NOMINATED: Final = 8
MAX_GROUPS: Final = 500
MAX_STAMPS: Final = 1000

RESPONSE_OBJECTS: Final = 21
"""Objects of a response before its lines; the last five are counts."""
_FIXED_TYPES: Final = (int, bytes, int, bytes, *[float] * 5, *[bool] * 3)
_BYTES_OR_NIL: Final = frozenset({bytes, NoneType})
_NEVER_STORED: Final = frozenset(
    {
        *(b"set-cookie", b"age", b"connection", b"keep-alive"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
_LAST_INSTANT: Final = 2.0**53
_PARTIAL: Final = frozenset({206, 304})


def parts_of(objects: tuple[Any, ...], length: int) -> tuple[tuple[Any, ...], ...]:
    """The lists behind the counts of a response, names and values apart; CorruptRecord where

    anything in it cannot be: nothing made of it raises. *length*: of its body.
    """
    fixed, counts = objects[:12], objects[16:RESPONSE_OBJECTS]
    if tuple(map(type, fixed)) != _FIXED_TYPES or set(map(type, counts)) != {int}:
        raise CorruptRecord("a response of the wrong types")
    status, instants = fixed[2], fixed[4:9]
    weak, opaque, last_modified, browser_ttl = objects[12:16]
    emitted, lines_count, nominated_count, groups_count, stamps_count = counts
    nominated_at = RESPONSE_OBJECTS + 2 * lines_count
    groups_at = nominated_at + 2 * nominated_count
    stamps_at = groups_at + groups_count
    names = objects[RESPONSE_OBJECTS:nominated_at:2]
    values = objects[RESPONSE_OBJECTS + 1 : nominated_at : 2]
    nominated_names = objects[nominated_at:groups_at:2]
    nominated_values = objects[nominated_at + 1 : groups_at : 2]
    groups = objects[groups_at:stamps_at]
    stamp_names, nonces = objects[stamps_at::2], objects[stamps_at + 1 :: 2]
    sound = (
        min(counts) >= 0
        and len(objects) == stamps_at + 2 * stamps_count
        and 200 <= status <= 599
        and status not in _PARTIAL
        and isfinite(sum(instants))  # so each of them is
        and max(map(abs, instants)) < _LAST_INSTANT
        and _is_etag(weak, opaque)
        and _is_number_or_nil(last_modified)
        and _is_number_or_nil(browser_ttl)
        and (browser_ttl is None or 0 <= browser_ttl < _LAST_INSTANT)
        and emitted <= lines_count <= MAX_LINES
        and are_names(names)
        and _NEVER_STORED.isdisjoint(names)
        and is_field_value(b"".join(values))
        and _is_length(names, values, length)
        and nominated_count <= MAX_NOMINATED
        and are_names(nominated_names)
        and set(map(type, nominated_values)) <= _BYTES_OR_NIL
        and are_groups(groups)
        and stamps_count <= MAX_STAMPS
        and set(map(type, stamp_names + nonces)) <= {bytes}
        and set(map(len, nonces)) <= {2 * NONCE_BYTES}
    )
    if not sound:
        raise CorruptRecord("a response that cannot be")
    return names, values, nominated_names, nominated_values, groups, stamp_names, nonces


def _is_length(names: tuple[Any, ...], values: tuple[Any, ...], length: int) -> bool:
    """Whether there is no Content-Length, or one that is true."""
    if b"content-length" not in names:
        return True
    said = values[names.index(b"content-length")].lstrip(b"0") or b"0"
    return names.count(b"content-length") == 1 and bool(said == b"%d" % length)


def _is_etag(weak: Any, opaque: Any) -> bool:
    if weak is None or opaque is None:
        return weak is opaque
    return type(weak) is bool and b'"' not in opaque and is_field_value(opaque)


def _is_number_or_nil(value: Any) -> bool:
    return value is None or (type(value) is float and isfinite(value))


def are_names(values: tuple[Any, ...]) -> bool:
    """Whether *values* are field names in lower case; a TypeError where they are not bytes."""
    together = b"".join(values)  # a token is a run of characters: one look does for all
    return not values or (all(values) and is_field_name(together) and together.lower() == together)


def are_groups(values: tuple[Any, ...]) -> bool:
    """Whether *values* are groups, and not too many."""
    return len(values) <= MAX_GROUPS and set(map(type, values)) <= {str}
