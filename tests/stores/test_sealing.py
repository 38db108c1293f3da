"""Seals: what is genuine, for which place, and by whose secret."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_cache.errors import CorruptRecord
from asgi_cache.stores.codec import decode, encode
from asgi_cache.stores.sealing import REVISION, Seals, checked, unchecked
from tests.stores.records import nominated_fields, records, stored_response

if TYPE_CHECKING:
    from asgi_cache.model import Record

OLD, NEW, OTHER = "the secret of before", "the secret of today", "the secret of others"
KEY = b"https\0shop.example/products/1"
PLACE = b"shop:{target}:key:0"
SEALS = Seals([NEW])
places = st.binary(max_size=60).map(lambda place: place.replace(b"\0", b""))


def test_a_seal_is_hmac_sha256_of_what_is_documented() -> None:
    head = b"\xffAS" + bytes([REVISION])
    mac = hmac.digest(NEW.encode(), head + PLACE + b"\0" + b"payload", hashlib.sha256)
    assert SEALS.sealed(b"payload", PLACE) == head + mac + b"payload"


@given(records, st.binary(), places)
def test_what_goes_in_comes_out(record: Record, key: bytes, place: bytes) -> None:
    assert decode(encode(record, key, SEALS, place), key, SEALS, place) == record


@given(st.binary(), places)
def test_only_its_place_is_its_place(payload: bytes, place: bytes) -> None:
    data = SEALS.sealed(payload, place)
    assert bytes(SEALS.unsealed(data, place)) == payload
    for other in (place + b"1", place[1:] if place else b"0", b"x" + place[1:] + b"y"):
        with pytest.raises(CorruptRecord):
            SEALS.unsealed(data, other)


@given(st.binary(), st.binary(min_size=1, max_size=8))
def test_nothing_can_be_moved_between_place_and_payload(payload: bytes, part: bytes) -> None:
    part = part.replace(b"\0", b"0")
    data = SEALS.sealed(part + payload, b"p")
    with pytest.raises(CorruptRecord):
        SEALS.unsealed(data[:36] + payload, b"p" + part)


@pytest.mark.parametrize("record", [stored_response(), nominated_fields()])
def test_s07_who_knows_none_of_the_secrets_seals_nothing(record: Record) -> None:
    genuine = encode(record, KEY, SEALS, PLACE)
    for data in (
        encode(record, KEY),
        encode(record, KEY, Seals([OTHER]), PLACE),
        encode(record, KEY, Seals([OLD, NEW]), PLACE),
        genuine[:4] + bytes(32) + genuine[36:],
        b"\xffAS\x04",
        b"",
    ):
        with pytest.raises(CorruptRecord):
            decode(data, KEY, SEALS, PLACE)
    with pytest.raises(CorruptRecord):
        decode(genuine, b"another key", SEALS, PLACE)


def test_s07_the_first_signs_and_all_verify() -> None:
    before, during, after = Seals([OLD]), Seals([NEW, OLD]), Seals([NEW])
    old, new = before.sealed(b"payload", PLACE), during.sealed(b"payload", PLACE)
    assert new == after.sealed(b"payload", PLACE) != old
    for seals, data in ((before, old), (during, old), (during, new), (after, new)):
        assert bytes(seals.unsealed(data, PLACE)) == b"payload"
    for seals, data in ((before, new), (after, old)):
        with pytest.raises(CorruptRecord, match="none of ours"):
            seals.unsealed(data, PLACE)


@pytest.mark.parametrize("revision", [0, 1, 2, 3, 255])
def test_s05_other_revisions_are_refused_whoever_sealed_them(revision: int) -> None:
    data = bytearray(SEALS.sealed(b"payload", PLACE))
    data[3] = revision
    with pytest.raises(CorruptRecord, match="revision"):
        SEALS.unsealed(bytes(data), PLACE)


def test_s05_the_two_forms_are_not_taken_for_each_other() -> None:
    """Workers that know secrets and workers that do not may share a store for a while."""
    with pytest.raises(CorruptRecord, match="revision"):
        unchecked(SEALS.sealed(b"payload", PLACE))
    with pytest.raises(CorruptRecord, match="revision"):
        SEALS.unsealed(checked(b"payload"), PLACE)


def test_no_prefix_and_no_longer_one_is_genuine() -> None:
    data = SEALS.sealed(b"payload", PLACE)
    for wrong in (*(data[:length] for length in range(len(data))), data + b"\0"):
        with pytest.raises(CorruptRecord):
            SEALS.unsealed(wrong, PLACE)


@given(st.binary(max_size=80))
def test_no_bytes_lead_to_another_exception(data: bytes) -> None:
    for each in (data, b"\xffAS\x04" + data):
        with pytest.raises(CorruptRecord):
            SEALS.unsealed(each, PLACE)


def test_a_secret_is_not_in_what_is_shown() -> None:
    assert NEW not in repr(SEALS)
    assert NEW not in repr([getattr(SEALS, name) for name in Seals.__slots__])
