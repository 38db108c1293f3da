from __future__ import annotations

import dataclasses
import math
import pickle
import random
import struct
import time
import tracemalloc
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]  # it has no stubs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_cache.errors import CorruptRecord, StoreError
from asgi_cache.model import NONCE_BYTES, CarriedStamp, Record, Stamp, StoredResponse
from asgi_cache.stores import soundness
from asgi_cache.stores.codec import decode, encode
from asgi_cache.stores.stamping import STAMP_BYTES, decode_stamp, encode_stamp
from tests.stores.records import NONCE, nominated_fields, records, stored_response

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = b"https\0shop.example/products/1"
HEAD = b"\xffAC\x04"


def sealed(payload: bytes) -> bytes:
    """*payload* with head and checksum as they should be: what a forger would write."""
    return HEAD + struct.pack(">I", zlib.crc32(payload)) + payload


def forged(record: Record, changes: dict[int, Any], *more: Any, less: int = 0) -> bytes:
    """*record*, its objects at the positions in *changes* replaced, with *more* after them."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(encode(record, KEY)[8:])
    objects = [*unpacker]
    for at, value in changes.items():
        objects[at] = value
    objects = objects[: len(objects) - less] + list(more)
    return sealed(b"".join(map(msgpack.packb, objects)))


@given(records, st.binary())
def test_what_goes_in_comes_out(record: Record, key: bytes) -> None:
    decoded = decode(encode(record, key), key)
    assert decoded == record
    assert type(decoded) is type(record)
    assert {f.name: type(getattr(decoded, f.name)) for f in dataclasses.fields(decoded)} == {
        f.name: type(getattr(record, f.name)) for f in dataclasses.fields(record)
    }


def test_an_entity_tag_is_the_object_of_its_line() -> None:
    lines = ((b"x-a", b"1"), (b"etag", b'W/"abc"'))
    decoded = decode(encode(stored_response(lines=lines), KEY), KEY)
    assert isinstance(decoded, StoredResponse)
    assert decoded.etag is decoded.lines[1][1]
    other = stored_response(lines=((b"etag", b'"b"'),))
    assert decode(encode(other, KEY), KEY) == other


def test_order_and_repeats_and_raw_bytes_of_lines_survive() -> None:
    lines = ((b"b", b"\xff\x01 "), (b"a", b""), (b"b", b"\xff\x01 "), (b"b", b"2"))
    decoded = decode(encode(stored_response(lines=lines), KEY), KEY)
    assert getattr(decoded, "lines") == lines  # noqa: B009 - a union


def test_instants_given_as_integers_come_back_as_floats() -> None:
    decoded = decode(encode(stored_response(fresh_until=7), KEY), KEY)
    assert type(getattr(decoded, "fresh_until")) is float  # noqa: B009 - a union


def test_a_lone_surrogate_in_a_group_survives() -> None:
    record = stored_response(groups=("\ud800",))
    assert decode(encode(record, KEY), KEY) == record


@pytest.mark.parametrize(
    "record",
    [
        stored_response(body="text"),
        stored_response(status=[200]),
        stored_response(discard_at=math.inf),
        stored_response(fresh_until=math.nan),
        stored_response(lines=((b"a", b"b"),) * (soundness.MAX_LINES + 1)),
        stored_response(lines=((b"a", b"1\r\nset-cookie: a=b"),)),
        nominated_fields(names=tuple(b"%d" % at for at in range(9))),
        nominated_fields(discard_at=math.inf),
    ],
)
def test_what_would_not_be_read_is_not_written(record: Record) -> None:
    with pytest.raises(StoreError):
        encode(record, KEY)


@pytest.mark.parametrize("record", [stored_response(), nominated_fields()])
def test_k08_another_keys_record_is_refused(record: Record) -> None:
    with pytest.raises(CorruptRecord):
        decode(encode(record, KEY), KEY + b" ")


@pytest.mark.parametrize("revision", [0, 1, 2, 3, 255])
def test_s05_other_revisions_are_refused(revision: int) -> None:
    data = bytearray(encode(stored_response(), KEY))
    data[3] = revision
    with pytest.raises(CorruptRecord, match="revision"):
        decode(bytes(data), KEY)


class _Touch:
    """A pickle that would leave a trace."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (self.path, "w")


def test_s01_a_pickle_is_not_loaded(tmp_path: Any) -> None:
    path = tmp_path / "touched"
    pickled = pickle.dumps(_Touch(str(path)))
    for data in (pickled, sealed(pickled)):
        with pytest.raises(CorruptRecord):
            decode(data, KEY)
    assert not path.exists()


@given(st.binary())
def test_no_bytes_lead_to_another_exception(data: bytes) -> None:
    for each in (data, HEAD + data, sealed(data)):
        with pytest.raises(CorruptRecord):
            decode(each, KEY)


@given(st.lists(st.none() | st.booleans() | st.integers(0, 3) | st.floats() | st.binary()))
def test_no_objects_lead_to_another_exception(objects: list[Any]) -> None:
    for kind in (0, 1):
        with pytest.raises(CorruptRecord):
            decode(sealed(b"".join(map(msgpack.packb, [kind, KEY, *objects, 9]))), KEY)


@pytest.mark.parametrize("record", [stored_response(), nominated_fields()])
def test_no_prefix_is_a_record(record: Record) -> None:
    data = encode(record, KEY)
    for length in range(len(data)):
        for cut in (data[:length], sealed(data[8:length])):
            with pytest.raises(CorruptRecord):
                decode(cut, KEY)


def test_s03_flipped_bits_never_make_another_record() -> None:
    choose = random.Random(3)
    kinds: list[Record] = [stored_response(), nominated_fields(), stored_response(body=b"x" * 900)]
    accepted = 0
    for record in kinds:
        data = encode(record, KEY)
        whole = int.from_bytes(data)
        for _ in range(100_000 // len(kinds)):
            flips = 0
            for _ in range(choose.randint(1, 4)):
                flips ^= 1 << choose.randrange(8 * len(data))
            with suppress(CorruptRecord):
                accepted += decode((whole ^ flips).to_bytes(len(data)), KEY) != record
    assert accepted == 0


RESPONSE_FORGERIES: dict[str, dict[int, Any]] = {
    "status 99": {2: 99},
    "status 199": {2: 199},
    "status 600": {2: 600},
    "status 1000": {2: 1000},
    "status 206": {2: 206},
    "status 304": {2: 304},
    "status as text": {2: "200"},
    "status as bytes": {2: b"200"},
    "status as boolean": {2: True},
    "body as text": {3: "hello"},
    "no body": {3: None},
    "an integer for an instant": {4: 1},
    "infinity": {5: math.inf},
    "minus infinity": {8: -math.inf},
    "not a number": {6: math.nan},
    "infinities that cancel": {5: math.inf, 6: -math.inf},
    "an integer for a flag": {9: 1},
    "nil for a flag": {10: None},
    "text for a flag": {11: "yes"},
    "a weakness without a tag": {13: None},
    "a tag without weakness": {12: None},
    "a weakness of another type": {12: 1},
    "a tag as text": {13: "abc"},
    "a tag with a quote": {13: b'a"b'},
    "a tag with CR": {13: b"a\rb"},
    "Last-Modified as an integer": {14: 1},
    "Last-Modified infinite": {14: math.inf},
    "browser_ttl as bytes": {15: b"1"},
    "browser_ttl not a number": {15: math.nan},
    "more of our lines than there are": {16: 4},
    "fewer than none of our lines": {16: -1},
    "fewer lines than said": {17: 4},
    "more lines than said": {17: 2},
    "a negative count": {17: -1, 20: 5},
    "counts that shift": {18: 1, 19: 3},
    "a float for a count": {19: 1.0},
    "a boolean for a count": {19: True},
    "an enormous count": {17: 2**62},
    "Set-Cookie": {21: b"set-cookie", 22: b"sid=1"},
    "a name in capitals": {21: b"Content-Type"},
    "an empty name": {21: b""},
    "a name with a space": {21: b"a b"},
    "a name with CR LF": {21: b"a\r\nb"},
    "a name as text": {21: "content-type"},
    "a value as text": {22: "text/plain"},
    "a value with CR LF": {22: b"a\r\nset-cookie: sid=1"},
    "a value with LF": {22: b"a\nb"},
    "a value with NUL": {22: b"a\0b"},
    "nil for a value": {22: None},
    "a nominated name in capitals": {27: b"Accept-Language"},
    "a nominated name as text": {27: "origin"},
    "a nominated value as text": {28: "en"},
    "a group as bytes": {31: b"product:1"},
    "nil for a group": {31: None},
    "a stamp's name as text": {32: "n"},
    "nonces too short": {33: NONCE},
    "nonces too long": {33: NONCE * 3},
    "nonces as text": {33: "n" * 2 * NONCE_BYTES},
    "another kind": {0: 3},
    "a kind of another type": {0: False},
    "a key as text": {1: KEY.decode()},
    "an array": {22: [1]},
    "an empty array": {22: []},
    "a map": {22: {1: 2}},
    "an empty map": {22: {}},
    "an extension": {22: msgpack.ExtType(5, b"x")},
    "an empty extension": {22: msgpack.ExtType(5, b"")},
}


@pytest.mark.parametrize("changes", RESPONSE_FORGERIES.values(), ids=RESPONSE_FORGERIES.keys())
def test_s08_forged_responses_are_refused(changes: dict[int, Any]) -> None:
    assert decode(forged(stored_response(), {}), KEY) == stored_response()
    with pytest.raises(CorruptRecord):
        decode(forged(stored_response(), changes), KEY)


NOMINATED_FORGERIES: dict[str, dict[int, Any]] = {
    "an integer for an instant": {2: 1},
    "infinity": {2: math.inf},
    "a negative count": {3: -1, 4: 5},
    "more names than said": {3: 1},
    "a boolean for a count": {3: True},
    "fewer groups than said": {4: 3},
    "a name as text": {5: "accept-language"},
    "a name in capitals": {5: b"Accept-Language"},
    "names out of order": {5: b"z"},
    "a repeated name": {5: b"origin"},
    "a group as bytes": {7: b"products"},
    "another key": {1: b"other"},
}


@pytest.mark.parametrize("changes", NOMINATED_FORGERIES.values(), ids=NOMINATED_FORGERIES.keys())
def test_s08_forged_nominated_fields_are_refused(changes: dict[int, Any]) -> None:
    assert decode(forged(nominated_fields(), {}), KEY) == nominated_fields()
    with pytest.raises(CorruptRecord):
        decode(forged(nominated_fields(), changes), KEY)


@pytest.mark.parametrize("record", [stored_response(), nominated_fields()])
def test_objects_too_many_or_too_few_are_refused(record: Record) -> None:
    for data in (forged(record, {}, b"more"), forged(record, {}, less=1)):
        with pytest.raises(CorruptRecord):
            decode(data, KEY)


@pytest.mark.parametrize(
    ("record", "changes", "more"),
    [
        (stored_response(stamps=()), {16: 10_000}, [b"a", b"b"] * 10_000),
        (
            stored_response(nominated=(), groups=(), stamps=()),
            {16: 3 + soundness.MAX_LINES - 2},
            [b"a", b"b"] * (soundness.MAX_LINES - 2),
        ),
        (
            stored_response(nominated=(), groups=(), stamps=()),
            {17: soundness.MAX_NOMINATED + 1},
            [b"a", b"b"] * (soundness.MAX_NOMINATED + 1),
        ),
        (
            stored_response(groups=(), stamps=()),
            {18: soundness.MAX_GROUPS + 1},
            ["g"] * (soundness.MAX_GROUPS + 1),
        ),
        (
            stored_response(stamps=()),
            {19: soundness.MAX_STAMPS + 1},
            [b"n", NONCE + NONCE] * (soundness.MAX_STAMPS + 1),
        ),
    ],
    ids=["10,000 lines", "lines", "nominated", "groups", "stamps"],
)
def test_s08_more_than_the_limits_is_refused(
    record: Record, changes: dict[int, Any], more: list[Any]
) -> None:
    with pytest.raises(CorruptRecord):
        decode(forged(record, changes, *more), KEY)


def seconds_to_refuse(data: bytes) -> float:
    began = time.process_time()
    with pytest.raises(CorruptRecord):
        decode(data, KEY)
    return time.process_time() - began


BOMBS = {
    "array32 of 2**32": b"\xdd\xff\xff\xff\xff",
    "map32 of 2**32": b"\xdf\xff\xff\xff\xff",
    "bin32 of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "str32 of 4 GiB": b"\xdb\xff\xff\xff\xff",
    "ext32 of 4 GiB": b"\xc9\xff\xff\xff\xff\x01",
    "nested arrays": b"\x91" * 100_000,
    "nested maps": b"\x81\x01" * 100_000,
    "arrays in arrays": b"\xdd\x00\x10\x00\x00" * 1000,
    "empty arrays": b"\x90" * 1_000_000,
    "nil": b"\xc0" * 1_000_000,
    "a long body": b"\xc6\x00\x20\x00\x00" + bytes(0x200000),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_d12_bombs_cost_neither_time_nor_memory(bomb: bytes) -> None:
    head = b"".join(map(msgpack.packb, [0, KEY, 200]))
    for payload in (bomb, head + bomb):
        data = sealed(payload)
        took = min(seconds_to_refuse(data) for _ in range(3))
        tracemalloc.start()
        try:
            with pytest.raises(CorruptRecord):
                decode(data, KEY)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        print(f"{took * 1000:.2f} ms, {peak / 2**20:.2f} MiB")
        assert took < 0.010
        assert peak < 8 * 2**20


@given(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=16, max_size=16),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_stamps_survive(nonce: bytes, soft_nonce: bytes, soft_at: float) -> None:
    stamp = Stamp(nonce, soft_nonce, soft_at)
    data = encode_stamp(stamp)
    assert len(data) == STAMP_BYTES == 40
    assert data[:NONCE_BYTES] == nonce
    assert decode_stamp(data) == stamp


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(39),
        bytes(41),
        struct.pack(">16s16sd", NONCE, NONCE, math.nan),
        struct.pack(">16s16sd", NONCE, NONCE, math.inf),
    ],
)
def test_what_is_no_stamp_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptRecord):
        decode_stamp(data)


def test_a_missing_entity_tag_and_an_empty_one_differ() -> None:
    for etag in (None, b'""'):
        record = stored_response(etag=etag, stamps=(CarriedStamp(b"", NONCE, NONCE),))
        assert decode(encode(record, KEY), KEY) == record


@pytest.mark.parametrize(
    "changes",
    [
        {"lines": ((b"content-length", b"9"),)},
        {"lines": ((b"content-length", b"5"), (b"content-length", b"5"))},
        {"lines": ((b"content-length", b"five"),)},
        {"lines": ((b"transfer-encoding", b"chunked"),)},
        {"lines": ((b"age", b"7"),)},
        {"browser_ttl": 1.7e308},
        {"browser_ttl": -1.0},
        {"generated_at": -1.7e308},
    ],
)
def test_s08_a_response_that_would_not_go_out_whole_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(StoreError):
        encode(stored_response(**changes), b"key")


@pytest.mark.parametrize("length", [b"5", b"005"])
def test_a_true_length_is_kept_as_it_was_written(length: bytes) -> None:
    record = stored_response(lines=((b"content-length", length),))
    assert decode(encode(record, b"key"), b"key") == record
