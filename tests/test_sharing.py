"""What many responses have alike is held once, is what it was, and stays bounded."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_cache.model import NONCE_BYTES, CarriedStamp
from asgi_cache.sharing import LONGEST, MOST, carried, grouped, line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TEXT = st.binary(max_size=2 * LONGEST)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=8), st.lists(st.text(max_size=40), max_size=8))
def test_what_is_shared_is_what_was_asked_for(
    lines: Sequence[tuple[bytes, bytes]], groups: Sequence[str]
) -> None:
    for name, value in [*lines, (b"vary", b"accept"), (b"vary", b"origin")]:
        assert line(name, value) == (name, value)
        stamp = carried(name, value[:NONCE_BYTES], value[NONCE_BYTES:])
        assert stamp == CarriedStamp(name, value[:NONCE_BYTES], value[NONCE_BYTES:])
        assert isinstance(stamp, CarriedStamp)
    assert grouped(tuple(groups)) == tuple(groups)


def copied(value: bytes) -> bytes:
    return bytes(bytearray(value))


def test_equal_ones_are_one() -> None:
    name, value, long = b"content-type", b"text/html", b"v" * (LONGEST + 1)
    assert line(name, value) is line(copied(name), copied(value))
    one, other = line(name, long), line(copied(name), copied(long))
    assert one[0] is other[0]
    assert one[1] is not other[1]
    assert carried(name, value, value) is carried(copied(name), copied(value), copied(value))
    assert grouped(("a", "b")) is grouped(tuple("ab"))


@pytest.fixture
def held_bytes() -> Iterator[Callable[[], int]]:
    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    yield held
    tracemalloc.stop()


def test_nothing_long_is_held(held_bytes: Callable[[], int]) -> None:
    before = held_bytes()
    long = 100_000
    for number in range(2 * MOST):
        tail = b"%d" % number
        line(b"n" * long + tail, b"v")
        line(b"name", b"v" * long + tail)
        carried(b"n" * long + tail, bytes(NONCE_BYTES), bytes(NONCE_BYTES))
        grouped(("g" * long + str(number),))
    assert held_bytes() - before < 2**20


def test_no_more_is_held_than_its_tables_have_room_for(held_bytes: Callable[[], int]) -> None:
    before = held_bytes()
    for number in range(50 * MOST):
        tail = b"%d" % number
        line(b"n" + tail, b"v" + tail)
        carried(b"n" + tail, tail, tail)
        grouped((f"g{number}",))
    assert held_bytes() - before < 2 * 2**20
