"""Records as bytes: what lies in a shared store, and what is believed of it.

Whoever can write to the store can write anything, so reading is total: any bytes give either a
record every part of which was checked, or :class:`~asgi_cache.errors.CorruptRecord`, in time and
memory proportional to their length. What stands in front of a payload (revision, checksum or seal)
is the duty of ``sealing``; behind a right one, too, everything is checked.

    payload   = response / nominated-fields
    response  = ( 0 key status body / 2 key status binding )    ; binding: see bodies
                generated_at fresh_until revalidate_until error_until discard_at
                may_be_stale explicitly_shared authorized_reuse
                etag_weak etag_opaque last_modified browser_ttl
                emitted-count lines-count nominated-count groups-count stamps-count
                *( name value )          ; lines, in order
                *( name value / nil )    ; nominated fields
                *group *( name nonces )  ; nonces = nonce soft_nonce
    nominated-fields = 1 key discard_at names-count groups-count *name *group

A payload is a plain sequence of msgpack objects: integers, booleans, float64s (instants), nil, bin,
str (groups); never an array, a map or an extension, so that nothing nests and no object is larger
than its bytes. Whatever changes here gets the next revision; numbers are not used again.
"""

from __future__ import annotations

from itertools import chain, islice
from math import isfinite
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

from msgpack import Packer, Unpacker  # type: ignore[import-untyped]  # it has no stubs

from asgi_cache.errors import CorruptRecord, StoreError
from asgi_cache.fields import is_field_name, is_field_value
from asgi_cache.model import (
    NONCE_BYTES,
    EntityTag,
    NominatedFields,
    Record,
    StoredResponse,
)
from asgi_cache.sharing import carried, grouped, line
from asgi_cache.stores.bodies import BINDING, Detached
from asgi_cache.stores.sealing import checked, unchecked

if TYPE_CHECKING:
    from asgi_cache.stores.sealing import Seals

MAX_LINES: Final = 1000
MAX_NOMINATED: Final = 8
MAX_GROUPS: Final = 500
MAX_STAMPS: Final = 1000

_RESPONSE: Final = 0
_NOMINATED_FIELDS: Final = 1
_DETACHED: Final = 2
_RESPONSE_OBJECTS: Final = 21
"""Objects of a response before its lines; the last five are counts."""
_FIXED_TYPES: Final = (int, bytes, int, bytes, *[float] * 5, *[bool] * 3)
_BYTES_OR_NIL: Final = frozenset({bytes, NoneType})
_NOMINATED_OBJECTS: Final = 5
_MAX_OBJECTS: Final = (
    _RESPONSE_OBJECTS + 2 * MAX_LINES + 2 * MAX_NOMINATED + MAX_GROUPS + 2 * MAX_STAMPS
)
_NEVER_STORED: Final = frozenset(
    {
        *(b"set-cookie", b"age", b"connection", b"keep-alive"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
_LAST_INSTANT: Final = 2.0**53
_PARTIAL: Final = frozenset({206, 304})


def encode(
    record: Record,
    key: bytes,
    seals: Seals | None = None,
    place: bytes = b"",
    binding: bytes | None = None,
) -> bytes:
    """The bytes of *record* under *key*, with a seal for *place* or, without *seals*, a checksum.

    With a *binding* of its body, without that. A StoreError where :func:`decode` would refuse them.
    """
    packer = Packer(autoreset=False, unicode_errors="surrogatepass")
    try:
        if isinstance(record, StoredResponse):
            objects = _response_objects(record, key, binding)
        else:
            objects = _nominated_objects(record, key)
        _record(objects, key, place)
        for each in objects:
            packer.pack(each)
    except Exception as error:
        raise StoreError(f"no record of this revision: {error}") from error
    payload = packer.bytes()
    return checked(payload) if seals is None else seals.sealed(payload, place)


def decode(
    data: bytes, key: bytes, seals: Seals | None = None, place: bytes = b""
) -> Record | Detached:
    """The record that :func:`encode` made *data* from with the same; CorruptRecord for all else."""
    payload = unchecked(data) if seals is None else seals.unsealed(data, place)
    try:
        return _record(_objects(payload), key, place)
    except CorruptRecord:
        raise
    except Exception as error:  # whatever a wrong type or length leads to
        raise CorruptRecord(f"not a record: {type(error).__name__}") from error


def _nominated_objects(record: NominatedFields, key: bytes) -> tuple[Any, ...]:
    counts = (len(record.names), len(record.groups))
    head = (_NOMINATED_FIELDS, key, float(record.discard_at), *counts)
    return head + record.names + record.groups


def _response_objects(
    response: StoredResponse, key: bytes, binding: bytes | None
) -> tuple[Any, ...]:
    etag = response.etag
    weak, opaque = (None, None) if etag is None else etag
    last_modified, browser_ttl = response.last_modified, response.browser_ttl
    return (
        _RESPONSE if binding is None else _DETACHED,
        key,
        response.status,
        response.body if binding is None else binding,
        float(response.generated_at),
        float(response.fresh_until),
        float(response.revalidate_until),
        float(response.error_until),
        float(response.discard_at),
        response.may_be_stale,
        response.explicitly_shared,
        response.authorized_reuse,
        weak,
        opaque,
        None if last_modified is None else float(last_modified),
        None if browser_ttl is None else float(browser_ttl),
        response.emitted,
        len(response.lines),
        len(response.nominated),
        len(response.groups),
        len(response.stamps),
        *chain.from_iterable(response.lines),
        *chain.from_iterable(response.nominated),
        *response.groups,
        *chain.from_iterable((name, nonce + soft) for name, nonce, soft in response.stamps),
    )


def _objects(payload: memoryview) -> tuple[Any, ...]:
    size = len(payload)
    unpacker = Unpacker(
        raw=False,
        unicode_errors="surrogatepass",
        read_size=size,
        max_buffer_size=size,
        max_array_len=0,
        max_map_len=0,
        max_ext_len=0,
    )
    unpacker.feed(payload)
    objects = tuple(islice(unpacker, _MAX_OBJECTS + 1))
    if unpacker.tell() != size:
        raise CorruptRecord("more, or less, than a record")
    return objects


def _record(objects: tuple[Any, ...], key: bytes, place: bytes) -> Record | Detached:
    if type(objects[0]) is not int or objects[1] != key:
        raise CorruptRecord("another key's record")
    if objects[0] == _RESPONSE:
        return _stored_response(objects, len(objects[3]))
    if objects[0] == _DETACHED:
        length, size, digest = BINDING.unpack(objects[3])
        if length > size:
            raise CorruptRecord("a body that has grown")
        bare = _stored_response((*objects[:3], b"", *objects[4:]), size)
        return Detached(bare, length, size, digest, place)
    if objects[0] == _NOMINATED_FIELDS:
        return _nominated_fields(objects)
    raise CorruptRecord("an unknown kind of record")


def _nominated_fields(objects: tuple[Any, ...]) -> NominatedFields:
    _, _, discard_at, names_count, groups_count = head = objects[:_NOMINATED_OBJECTS]
    if tuple(map(type, head)) != (int, bytes, float, int, int):
        raise CorruptRecord("nominated fields of the wrong types")
    groups_at = _NOMINATED_OBJECTS + names_count
    names, groups = objects[_NOMINATED_OBJECTS:groups_at], objects[groups_at:]
    sound = (
        0 <= names_count <= MAX_NOMINATED
        and len(groups) == groups_count
        and isfinite(discard_at)
        and _are_names(names)
        and names == tuple(sorted(set(names)))
        and _are_groups(groups)
    )
    if not sound:
        raise CorruptRecord("nominated fields that cannot be")
    return NominatedFields(names, groups, discard_at)


def _stored_response(objects: tuple[Any, ...], length: int) -> StoredResponse:
    fixed, counts = objects[:12], objects[16:_RESPONSE_OBJECTS]
    if tuple(map(type, fixed)) != _FIXED_TYPES or set(map(type, counts)) != {int}:
        raise CorruptRecord("a response of the wrong types")
    _, _, status, body, *instants, may_be_stale, explicitly_shared, authorized_reuse = fixed
    weak, opaque, last_modified, browser_ttl = objects[12:16]
    emitted, lines_count, nominated_count, groups_count, stamps_count = counts
    nominated_at = _RESPONSE_OBJECTS + 2 * lines_count
    groups_at = nominated_at + 2 * nominated_count
    stamps_at = groups_at + groups_count
    names = objects[_RESPONSE_OBJECTS:nominated_at:2]
    values = objects[_RESPONSE_OBJECTS + 1 : nominated_at : 2]
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
        and _are_names(names)
        and _NEVER_STORED.isdisjoint(names)
        and is_field_value(b"".join(values))
        and _is_length(names, values, length)
        and nominated_count <= MAX_NOMINATED
        and _are_names(nominated_names)
        and set(map(type, nominated_values)) <= _BYTES_OR_NIL
        and _are_groups(groups)
        and stamps_count <= MAX_STAMPS
        and set(map(type, stamp_names + nonces)) <= {bytes}
        and set(map(len, nonces)) <= {2 * NONCE_BYTES}
    )
    if not sound:
        raise CorruptRecord("a response that cannot be")
    # Equal ones are one object: many of these lie near.
    generated_at, fresh_until, *later = instants
    revalidate_until, error_until, discard_at = [
        fresh_until if until == fresh_until else until for until in later
    ]
    return StoredResponse(
        status,
        tuple(map(line, names, values)),
        body,
        generated_at,
        fresh_until,
        revalidate_until,
        error_until,
        may_be_stale,
        discard_at,
        None if weak is None else EntityTag(weak, opaque),
        last_modified,
        explicitly_shared,
        authorized_reuse,
        browser_ttl,
        emitted,
        tuple(zip(nominated_names, nominated_values, strict=True)),
        grouped(groups),
        tuple(
            [
                carried(name, both[:NONCE_BYTES], both[NONCE_BYTES:])
                for name, both in zip(stamp_names, nonces, strict=True)
            ]
        ),
    )


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


def _are_names(values: tuple[Any, ...]) -> bool:
    """Whether *values* are field names in lower case; a TypeError where they are not bytes."""
    together = b"".join(values)  # a token is a run of characters: one look does for all
    return not values or (all(values) and is_field_name(together) and together.lower() == together)


def _are_groups(values: tuple[Any, ...]) -> bool:
    return len(values) <= MAX_GROUPS and set(map(type, values)) <= {str}
