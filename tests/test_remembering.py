"""What is remembered of a value is that value's, and no more than so much is."""

from __future__ import annotations

import pytest

from asgi_cache.fields import parse_directives
from asgi_cache.fields.remembering import LONGEST_VALUE, MOST_VALUES, remembered
from asgi_cache.messages import lower_name
from asgi_cache.policy.folding import fold_accept_encoding, fold_accept_language


class Counted:
    """A parser that counts its calls."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.look = remembered(self._parse)

    def _parse(self, value: bytes) -> bytes:
        self.calls.append(value)
        return b"<%b>" % value


def test_a_value_is_read_once() -> None:
    counted = Counted()
    assert [counted.look(b"a"), counted.look(b"a")] == [b"<a>"] * 2
    assert counted.calls == [b"a"]


def test_values_that_differ_in_one_byte_are_two() -> None:
    counted = Counted()
    value = b"x" * LONGEST_VALUE
    others = [value[:at] + b"y" + value[at + 1 :] for at in range(len(value))]
    for _ in range(2):
        assert all(counted.look(one) == b"<%b>" % one for one in (value, *others, value[:-1]))


def test_long_values_are_not_held() -> None:
    counted = Counted()
    for _ in range(2):
        counted.look(b"x" * (LONGEST_VALUE + 1))
    assert len(counted.calls) == 2


def test_the_oldest_goes() -> None:
    counted = Counted()
    counted.look(b"first")
    for number in range(MOST_VALUES):
        counted.look(b"%d" % number)
    counted.look(b"first")
    assert counted.calls.count(b"first") == 2
    counted.look(b"%d" % (MOST_VALUES - 1))
    assert counted.calls.count(b"%d" % (MOST_VALUES - 1)) == 1


@pytest.mark.parametrize("_", [1, 2])
def test_what_is_remembered_of_fields_keeps_neighbours_apart(_: int) -> None:
    """Twice: read, then remembered."""
    assert [fold_accept_encoding(value) for value in (b"gzip", b"gzi", b"gzip;q=0")] == [
        b"gzip",
        None,
        None,
    ]
    assert [fold_accept_language(value, ()) for value in (b"en", b"EN", b"de")] == [
        b"en",
        b"en",
        b"de",
    ]
    assert fold_accept_language(b"en", (b"de",)) is None
    assert fold_accept_language(b"en", (b"en",)) == b"en"
    found = [parse_directives([value]).seconds("max-age") for value in (b"max-age=1", b"max-age=2")]
    assert found == [1, 2]
    assert [lower_name(name) for name in (b"Age", b"age", b"A ge")] == [b"age", b"age", None]
