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
from typing import TYPE_CHECKING, Any, Final

from msgpack import Packer, Unpacker  # type: ignore[import-untyped]  # it has no stubs

from asgi_cache.errors import CorruptRecord, StoreError
from asgi_cache.fields import entity_tag, is_weak, opaque_of
from asgi_cache.model import NONCE_BYTES, NominatedFields, Record, StoredResponse
from asgi_cache.sharing import carried, grouped, line
from asgi_cache.stores.bodies import BINDING, Detached
from asgi_cache.stores.sealing import checked, unchecked
from asgi_cache.stores.soundness import (
    MAX_GROUPS,
    MAX_LINES,
    MAX_NOMINATED,
    MAX_STAMPS,
    RESPONSE_OBJECTS,
    are_groups,
    are_names,
    parts_of,
)

if TYPE_CHECKING:
    from asgi_cache.model import Line
    from asgi_cache.stores.sealing import Seals

_RESPONSE: Final = 0
_NOMINATED_FIELDS: Final = 1
_DETACHED: Final = 2
_NOMINATED_OBJECTS: Final = 5
_SHORT_ARRAY: Final = 16
"""Objects, from which on the head of an array of msgpack has three bytes, for 65,535 at most."""
_MAX_OBJECTS: Final = (
    RESPONSE_OBJECTS + 2 * MAX_LINES + 2 * MAX_NOMINATED + MAX_GROUPS + 2 * MAX_STAMPS
)


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
            length = len(record.body) if binding is None else _binding(objects)[1]
            parts_of(objects, length)
        else:
            objects = _nominated_objects(record, key)
            _nominated_fields(objects)
        packer.pack(objects)
    except Exception as error:
        raise StoreError(f"no record of this revision: {error}") from error
    # As one array, which takes a third of the time, and without what says that it is one.
    payload = memoryview(packer.bytes())[1 if len(objects) < _SHORT_ARRAY else 3 :]
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
    weak, opaque = (None, None) if etag is None else (is_weak(etag), opaque_of(etag))
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
        length, size, digest = _binding(objects)
        bare = _stored_response((*objects[:3], b"", *objects[4:]), size)
        return Detached(bare, length, size, digest, place)
    if objects[0] == _NOMINATED_FIELDS:
        return _nominated_fields(objects)
    raise CorruptRecord("an unknown kind of record")


def _binding(objects: tuple[Any, ...]) -> tuple[int, int, bytes]:
    length, size, digest = BINDING.unpack(objects[3])
    if length > size:
        raise CorruptRecord("a body that has grown")
    return length, size, digest


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
        and are_names(names)
        and names == tuple(sorted(set(names)))
        and are_groups(groups)
    )
    if not sound:
        raise CorruptRecord("nominated fields that cannot be")
    return NominatedFields(names, groups, discard_at)


def _stored_response(objects: tuple[Any, ...], length: int) -> StoredResponse:
    names, values, nominated_names, nominated_values, groups, stamp_names, nonces = parts_of(
        objects, length
    )
    _, _, status, body, *instants, may_be_stale, explicitly_shared, authorized_reuse = objects[:12]
    weak, opaque, last_modified, browser_ttl, emitted = objects[12:17]
    # Equal ones are one object: many of these lie near.
    generated_at, fresh_until, *later = instants
    revalidate_until, error_until, discard_at = [
        fresh_until if until == fresh_until else until for until in later
    ]
    lines = tuple(map(line, names, values))
    return StoredResponse(
        status,
        lines,
        body,
        generated_at,
        fresh_until,
        revalidate_until,
        error_until,
        may_be_stale,
        discard_at,
        None if weak is None else _etag(entity_tag(weak, opaque), names, lines),
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


def _etag(tag: bytes, names: tuple[bytes, ...], lines: tuple[Line, ...]) -> bytes:
    """*tag*, where its line has it the object that lies there."""
    value = lines[names.index(b"etag")][1] if b"etag" in names else tag
    return value if value == tag else tag
