"""RFC 9110 §14.1, §14.2: Range as numbers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_cache.fields import MAX_PARSED_BYTES
from asgi_cache.fields.ranges import MAX_POSITION, parse_byte_ranges
from tests.policy.builders import OCTETS, untimed

RANGES = st.one_of(
    OCTETS,
    st.lists(st.sampled_from([b"bytes=", b"-", b",", b" ", b"\t", b"=", b"0", b"5", b"12", b"007"]))
    .map(b"".join)
    .map(lambda value: b"bytes=" + value),
)


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        # RFC 9110 §14.1.1, §14.1.2, §14.2.
        (b"bytes=0-499", [(0, 499)]),
        (b"bytes=500-999", [(500, 999)]),
        (b"bytes=-500", [(None, 500)]),
        (b"bytes=9500-", [(9500, None)]),
        (b"bytes=0-0,-1", [(0, 0), (None, 1)]),
        (b"bytes= 0-0, -1", [(0, 0), (None, 1)]),
        (b"bytes= 0-999, 4500-5499, -1000", [(0, 999), (4500, 5499), (None, 1000)]),
        (b"bytes=500-600,601-999", [(500, 600), (601, 999)]),
        (b"bytes=500-700,601-999", [(500, 700), (601, 999)]),
        (b"bytes=0-499,500-999", [(0, 499), (500, 999)]),
        # The unit in any case, nothing near it.
        (b"BYTES=0-1", [(0, 1)]),
        (b"Bytes=0-1", [(0, 1)]),
        (b" \tbytes=0-1\t ", [(0, 1)]),
        (b"", None),
        (b"=0-1", None),
        (b"bytes", None),
        (b"bytes0-1", None),
        (b"bytes =0-1", None),
        (b"byte=0-1", None),
        (b"bytess=0-1", None),
        (b"lines=0-1", None),
        (b"none", None),
        (b"0-1", None),
        (b"bytes:0-1", None),
        (b"bytes 0-1/2", None),
        # The list: white space around commas, empty members.
        (b"bytes=0-1 ,\t2-3", [(0, 1), (2, 3)]),
        (b"bytes=,0-1,, ,2-3,", [(0, 1), (2, 3)]),
        (b"bytes=2-3,0-1,0-1", [(2, 3), (0, 1), (0, 1)]),
        (b"bytes=", None),
        (b"bytes=,", None),
        (b"bytes= \t", None),
        (b"bytes=0-1;2-3", None),
        (b"bytes=0-1 2-3", None),
        (b'bytes="0-1"', None),
        (b'bytes="0-1,2-3"', None),
        # One wrong member spoils it all.
        (b"bytes=0-1,2-1", None),
        (b"bytes=0-1,x", None),
        (b"bytes=x,0-1", None),
        (b"bytes=0-1,5", None),
        # Members.
        (b"bytes=5-5", [(5, 5)]),
        (b"bytes=5-4", None),
        (b"bytes=10-9", None),
        (b"bytes=9-10", [(9, 10)]),
        (b"bytes=-0", [(None, 0)]),
        (b"bytes=0-", [(0, None)]),
        (b"bytes=007-0010", [(7, 10)]),
        (b"bytes=-", None),
        (b"bytes=--1", None),
        (b"bytes=-1-", None),
        (b"bytes=-1-2", None),
        (b"bytes=0--1", None),
        (b"bytes=0-1-", None),
        (b"bytes=0 -1", None),
        (b"bytes=0- 1", None),
        (b"bytes=- 1", None),
        (b"bytes=+0-1", None),
        (b"bytes=0-+1", None),
        (b"bytes=0_0-1_0", None),
        (b"bytes=0x0-1", None),
        (b"bytes=a-b", None),
        (b"bytes=0-*", None),
        (b"bytes=\xb2-3", None),
        (b"bytes=0-1\n", None),
        (b"bytes=0\n-1", None),
        (b"bytes=0-1\0", None),
        # A field sent twice.
        (b"bytes=0-1, bytes=2-3", None),
        (b"bytes=0-1, 2-3", [(0, 1), (2, 3)]),
        (b"bytes=0-1, ", [(0, 1)]),
        # Numbers of any length.
        (b"bytes=0-%d" % (10**18 - 1), [(0, 10**18 - 1)]),
        (b"bytes=0-%d" % (10**19 - 1), [(0, MAX_POSITION)]),
        (b"bytes=%d-" % 10**30, [(MAX_POSITION, None)]),
        (b"bytes=-%d" % 10**30, [(None, MAX_POSITION)]),
        (b"bytes=%d-%d" % (10**30, 5), None),
        (b"bytes=-" + b"0" * 5000 + b"7", [(None, 7)]),
        (b"bytes=" + b"0" * 5000 + b"-", [(0, None)]),
        (b"bytes=0-" + b"9" * 5000, [(0, MAX_POSITION)]),
    ],
)
def test_byte_ranges(value: bytes, ranges: list[tuple[int | None, int | None]] | None) -> None:
    assert parse_byte_ranges(value) == ranges


def test_a_longer_field_is_not_read() -> None:
    value = b"bytes=0-" + b"1".zfill(MAX_PARSED_BYTES - 8)
    assert parse_byte_ranges(value) == [(0, 1)]
    assert parse_byte_ranges(value + b" ") is None


@pytest.mark.parametrize("member", [b"0-1,", b","])
def test_of_too_many_members_none_is_read(member: bytes) -> None:
    assert parse_byte_ranges(b"bytes=" + member * 99 + b"0-1") is not None
    assert parse_byte_ranges(b"bytes=" + member * 100 + b"0-1") is None


@untimed
@given(RANGES)
def test_any_bytes_are_read(value: bytes) -> None:
    ranges = parse_byte_ranges(value)
    if ranges is None:
        return
    assert ranges
    assert value.strip().lower().startswith(b"bytes=")
    for first, last in ranges:
        assert first is not None or last is not None
        assert first is None or last is None or 0 <= first <= last <= MAX_POSITION


@untimed
@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 10**17), st.integers(0, 10**17)).map(
                lambda p: (min(p), max(p))
            ),
            st.tuples(st.integers(0, 10**17), st.none()),
            st.tuples(st.none(), st.integers(0, 10**17)),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_what_was_written_is_read(ranges: list[tuple[int | None, int | None]]) -> None:
    written = ",".join(
        "-".join("" if position is None else str(position) for position in one) for one in ranges
    )
    assert parse_byte_ranges(b"bytes=" + written.encode()) == ranges


@pytest.mark.parametrize(
    "value",
    [
        b"bytes=" + b",".join([b"0-"] * 10_000),
        b"bytes=" + b"0-,1-," * 1364,
        b"bytes=" + b"0-1," * 90,
        b"bytes=" + b"1" * 4000 + b"-" + b"2" * 4100,
        b"bytes=" + b"1" * 100_000 + b"-",
        b"bytes=" + b" " * 8000 + b"-",
        b'bytes="' + b'",' * 4000,
    ],
)
def test_r04_no_field_takes_long(value: bytes) -> None:
    spent = []
    for _ in range(5):
        began = time.process_time()
        parse_byte_ranges(value)
        spent.append(time.process_time() - began)
    assert min(spent) < 0.01
