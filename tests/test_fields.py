from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asgi_cache import fields

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 7, 1, tzinfo=UTC).timestamp()

# Bytes in which the characters that mean something are as frequent as the others together.
TEXT = st.one_of(
    st.binary(),
    st.lists(st.sampled_from([bytes([byte]) for byte in b'",;=\\ \t()*?:@%[]W/qQ-.01Aaz\xff']))
    .map(b"".join),
)  # fmt: skip


# --- lists and tokens -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (b"", []),
        (b" ,\t, ,", []),
        (b"a", [b"a"]),
        (b" a ,\tb\t,, c", [b"a", b"b", b"c"]),
        (b"a b , c", [b"a b", b"c"]),
        (b"\x0ba,\xa0b", [b"\x0ba", b"\xa0b"]),
        (b'a="b, c", d', [b'a="b, c"', b"d"]),
        (b'a, "b, c" , d', [b"a", b'"b, c"', b"d"]),
        (rb'"a\", b", c', [rb'"a\", b"', b"c"]),
        (rb'"a\\", b', [rb'"a\\"', b"b"]),
        (rb"a\, b", [b"a\\", b"b"]),
        (b'"a""b,"c, d', [b'"a""b,"c', b"d"]),
        (b'"a\nb,"c', [b'"a\nb,"c']),
        (b'"\\\n,", c', [b'"\\\n,"', b"c"]),
        # A quote that is never closed is an ordinary character, and what follows is seen.
        (b'"', [b'"']),
        (b'a="b, no-store', [b'a="b', b"no-store"]),
        (b'"a, b", c="d, e', [b'"a, b"', b'c="d', b"e"]),
        (b'"a, b"c"d, e', [b'"a, b"c"d', b"e"]),
        (b'"a,b","c,d', [b'"a,b"', b'"c', b"d"]),
        (rb'"\"a\", b', [rb'"\"a\"', b"b"]),
        (b'"a\\', [b'"a\\']),
    ],
)
def test_split_list(value: bytes, members: list[bytes]) -> None:
    assert fields.split_list(value) == members


@settings(deadline=None)
@given(TEXT)
def test_split_list_agrees_with_one_written_byte_by_byte(value: bytes) -> None:
    members, start, position = [], 0, 0
    quotes_count = True
    while position < len(value):
        byte = value[position : position + 1]
        if byte == b'"' and quotes_count:
            closing = position + 1
            while closing < len(value) and value[closing : closing + 1] != b'"':
                closing += 2 if value[closing : closing + 1] == b"\\" else 1
            if closing < len(value):
                position = closing
            else:
                quotes_count = False
        elif byte == b",":
            members.append(value[start:position])
            start = position + 1
        position += 1
    members.append(value[start:])
    expected = [member.strip(b" \t") for member in members if member.strip(b" \t")]
    assert fields.split_list(value) == expected


TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("byte", range(256))
def test_a_token_has_these_bytes_and_no_other(byte: int) -> None:
    expected = byte in TCHAR
    for value in (bytes([byte]), b"a%ca" % byte):
        assert fields.is_token(value) is expected
        assert fields.is_field_name(value) is expected


def test_the_empty_value_is_no_token() -> None:
    assert not fields.is_token(b"")
    assert not fields.is_field_name(b"")


@pytest.mark.parametrize("byte", range(256))
def test_a_field_value_has_every_byte_but_three(byte: int) -> None:
    assert fields.is_field_value(b"a%cb" % byte) is (byte not in b"\r\n\0")


# --- directives -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0),
        (b"60", 60),
        (b"003600", 3600),
        (b"2147483647", 2**31 - 1),
        (b"2147483648", 2**31),
        (b"2147483649", 2**31),
        (b"9999999999", 2**31),
        (b"99999999999", 2**31),
        (b"0" * 5000 + b"7", 7),
        (b"9" * 5000, 2**31),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.0", None),
        (b"1_0", None),
        (b" 1", None),
        (b"1 ", None),
        (b"0x1", None),
        (b"1e3", None),
        (b"\xd9\xa1", None),  # an Arabic digit
        (b"\xb2", None),
    ],
)
def test_parse_seconds(value: bytes, seconds: int | None) -> None:
    assert fields.parse_seconds(value) == seconds


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([b"max-age=3600"], 3600),
        ([b"MaX-aGe=3600"], 3600),
        ([b"\t max-age=3600 \t"], 3600),
        ([b"foobar, max-age=3600"], 3600),
        ([b",, max-age=3600,"], 3600),
        ([b"max-age=003600"], 3600),
        ([b"max-age=99999999999"], 2**31),
        ([b'max-age="3600"'], 3600),
        ([rb'max-age="3\600"'], 3600),
        # Of several, the smallest.
        ([b"max-age=1800, max-age=1"], 1),
        ([b"max-age=1, max-age=1800"], 1),
        ([b"max-age=1800", b"max-age=1"], 1),
        ([b"max-age=1800, max-age=x"], 0),
        # What is in a quoted-string of another directive is no directive.
        ([b'extension="max-age=3600", max-age=1'], 1),
        ([b'max-age=3600, extension="max-age=1"'], 3600),
        ([b'extension="max-age=3600"'], None),
        ([b'"max-age=3600"'], None),
        ([rb'extension="\", max-age=1", max-age=60'], 60),
        # A wrong argument means stale.
        ([b"max-age"], 0),
        ([b"max-age="], 0),
        ([b'max-age=""'], 0),
        ([b"max-age=-3600"], 0),
        ([b"max-age=3600.0"], 0),
        ([b"max-age='3600'"], 0),
        ([b'max-age="3600'], 0),
        ([b'max-age=3600"'], 0),
        ([b"max-age=a3600"], 0),
        ([b"max-age=3600a"], 0),
        ([b"max-age=3600;a"], 0),
        ([b"max-age =3600"], 0),
        ([b"max-age= 3600"], 0),
        ([b"max-age: 3600"], 0),
        ([b"max-age=3600\n"], 0),
        ([], None),
        ([b""], None),
        ([b"=, =3600"], None),
        ([b"x-max-age=60, max-age-x=60"], None),
    ],
)
def test_seconds_of_a_directive(lines: list[bytes], seconds: int | None) -> None:
    assert fields.parse_directives(iter(lines)).seconds("max-age") == seconds


@pytest.mark.parametrize(
    ("lines", "present"),
    [
        ([b"private"], True),
        ([b"Private"], True),
        ([b"public,PRIVATE"], True),
        ([b" \tprivate\t "], True),
        ([b"public", b"private"], True),
        ([b"private="], True),
        ([b'private="set-cookie"'], True),
        ([b"private; max-age=60"], True),
        ([b"private max-age=60"], True),
        ([b"private\xa0"], True),
        ([b"\x0bprivate"], True),
        ([b";private"], True),
        ([b'x="a, private'], True),
        ([b'x="a"b"c, private'], True),
        ([b'x=", private, "'], False),
        ([b'"private"'], False),
        ([b"=private"], False),
        ([b"privat, private-x, x-private"], False),
        ([], False),
    ],
)
def test_presence_of_a_directive(lines: list[bytes], present: bool) -> None:
    assert ("private" in fields.parse_directives(lines)) is present


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([b"public"], None),
        ([b"private"], frozenset()),
        ([b'private="Set-Cookie"'], {b"set-cookie"}),
        ([b'private="a, B ,,c"'], {b"a", b"b", b"c"}),
        ([b"private=Set-Cookie"], {b"set-cookie"}),
        ([b'private="a"', b'private="b"'], {b"a", b"b"}),
        # Unqualified or malformed: the whole response.
        ([b'private="a", private'], frozenset()),
        ([b'private, private="a"'], frozenset()),
        ([b"private="], frozenset()),
        ([b'private=""'], frozenset()),
        ([b'private=" , "'], frozenset()),
        ([b'private="a b"'], frozenset()),
        ([b'private="a, \xff"'], frozenset()),
        ([b'private="a'], frozenset()),
        ([b'private="a"b'], frozenset()),
        ([b"private=a b"], frozenset()),
        ([b'private ="a"'], frozenset()),
        ([b'private= "a"'], frozenset()),
    ],
)
def test_field_names_of_a_directive(lines: list[bytes], names: set[bytes] | None) -> None:
    assert fields.parse_directives(lines).field_names("private") == names


def test_directives_are_true_where_there_is_one() -> None:
    assert fields.parse_directives([b"x"])
    assert not fields.parse_directives([b", ="])
    assert not fields.parse_directives([])


def test_directives_too_long_to_read_forbid_storing() -> None:
    fits = b"public," + b"x" * (fields.MAX_PARSED_BYTES - 7)
    assert "public" in fields.parse_directives([fits])
    for lines in ([fits + b"x"], [fits, b"x"]):
        directives = fields.parse_directives(lines)
        assert "no-store" in directives
        assert "public" not in directives


@pytest.mark.parametrize(
    ("lines", "age"),
    [
        ([b"7200"], 7200),
        ([b" 7200\t"], 7200),
        ([b"2147483649"], 2**31),
        # The first member of the first line that has one.
        ([b"7200, 0"], 7200),
        ([b"0,7200"], 0),
        ([b"7200", b"0"], 7200),
        ([b"0", b"7200"], 0),
        ([b"", b"7200"], 7200),
        # Invalid: ignored.
        ([b"abc, 7200"], 0),
        ([b"-7200"], 0),
        ([b"7200.0"], 0),
        ([b"7200;foo=bar"], 0),
        ([b'"7200"'], 0),
        ([b""], 0),
        ([], 0),
    ],
)
def test_parse_age(lines: list[bytes], age: int) -> None:
    assert fields.parse_age(lines) == age


# --- targeted fields and groups ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([b"max-age=3600"], 3600),
        ([b"foobar, max-age=3600"], 3600),
        ([b"max-age=3600;x=1"], 3600),
        ([b"no-store", b"max-age=3600"], 3600),
        ([b"", b"max-age=3600", b" \t"], 3600),
        ([b"max-age=99999999999"], 2**31),
        ([b"max-age=1, max-age=2"], 2),
        ([b"max-age=-1"], 0),
        # The wrong type: this one is ignored, the others are not.
        ([b'no-store, max-age="3600"'], None),
        ([b"no-store, max-age=3600.0"], None),
        ([b"no-store, max-age"], None),
        ([b"no-store, max-age=?1"], None),
        ([b"no-store, max-age=a"], None),
        ([b"no-store, max-age=(1)"], None),
        ([b"no-store, max-age=@1"], None),
    ],
)
def test_seconds_of_a_targeted_directive(lines: list[bytes], seconds: int | None) -> None:
    directives = fields.parse_targeted(iter(lines))
    assert directives is not None
    assert directives.seconds("max-age") == seconds


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b""],
        [b" ", b"\t"],
        [b"max-age=3600, &&&&&"],
        [b"max-age =3600"],
        [b"max-age= 3600"],
        [b"MaX-aGe=3600"],
        [b"no-store,"],
        [b"max-age=9999999999999999"],
        [b"no-store, \xff"],
        # Nothing is left of it.
        [b'max-age="3600"'],
        [b"no-store=?0"],
    ],
)
def test_a_targeted_field_that_counts_as_absent(lines: list[bytes]) -> None:
    assert fields.parse_targeted(lines) is None


@pytest.mark.parametrize(
    "name", ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"]
)
def test_targeted_directives_that_take_seconds(name: str) -> None:
    directives = fields.parse_targeted([b"%b=7" % name.encode()])
    assert directives is not None
    assert directives.seconds(name) == 7
    assert fields.parse_targeted([name.encode()]) is None
    assert fields.parse_targeted([b'%b="7"' % name.encode()]) is None


@pytest.mark.parametrize(
    "name",
    [
        *("immutable", "must-revalidate", "must-understand", "no-store"),
        *("no-transform", "proxy-revalidate", "public"),
    ],
)
def test_targeted_directives_that_take_nothing(name: str) -> None:
    directives = fields.parse_targeted([name.encode()])
    assert directives is not None
    assert name in directives
    for value in (b"?0", b"1", b'"a"', b"a", b"()"):
        assert fields.parse_targeted([b"%b=%b" % (name.encode(), value)]) is None


@pytest.mark.parametrize("name", ["no-cache", "private"])
@pytest.mark.parametrize(
    ("value", "names"),
    [
        (b"", frozenset()),
        (b"=?1", frozenset()),
        (b'="Set-Cookie, b"', {b"set-cookie", b"b"}),
        (b'=""', frozenset()),
        (rb'="a\"b"', frozenset()),
        (b"=?0", None),
        (b"=a", None),
        (b"=1", None),
        (b"=(a)", None),
    ],
)
def test_targeted_directives_that_may_name_fields(
    name: str, value: bytes, names: set[bytes] | None
) -> None:
    directives = fields.parse_targeted([b"public, %b%b" % (name.encode(), value)])
    assert directives is not None
    assert directives.field_names(name) == names


@pytest.mark.parametrize("value", [b"none", b"a=1", b"a=?0", b"a=()", b"a=(b c)", b"a=:YQ==:"])
def test_a_targeted_field_of_unknown_directives_is_not_absent(value: bytes) -> None:
    directives = fields.parse_targeted([value])
    assert directives is not None
    assert value.partition(b"=")[0].decode() in directives


@pytest.mark.parametrize(
    ("lines", "groups"),
    [
        ([], []),
        ([b""], []),
        ([b'"a"'], ["a"]),
        ([b'"a", "B c",\t"d,e"'], ["a", "B c", "d,e"]),
        ([b'"a"', b'"b"'], ["a", "b"]),
        ([b'"a"', b"", b'"b"'], ["a", "b"]),
        ([b'"a";x=1;y, "b"'], ["a", "b"]),
        ([rb'"a\"\\"'], ['a"\\']),
        ([b'""'], [""]),
        ([b'"a", b'], None),
        ([b'"a", 1'], None),
        ([b'"a", ("b")'], None),
        ([b'"a", ?1'], None),
        ([b'%"a"'], None),
        ([b'"a'], None),
        ([b'"a",'], None),
        ([b'"\xc3\xa9"'], None),
        ([b'"a" "b"'], None),
        ([b", ".join(b'"%032d"' % n for n in range(32))], [f"{n:032}" for n in range(32)]),
    ],
)
def test_parse_groups(lines: list[bytes], groups: list[str] | None) -> None:
    assert fields.parse_groups(iter(lines)) == groups


def test_structured_fields_too_long_to_read_count_as_absent() -> None:
    fits = b'"%b"' % (b"g" * 8190)
    assert fields.parse_groups([fits]) == ["g" * 8190]
    assert fields.parse_groups([fits[:-1] + b'g"']) is None
    assert fields.parse_groups([fits, b'"g"']) is None
    assert fields.parse_targeted([b"x" * 8192]) is not None
    assert fields.parse_targeted([b"x" * 8193]) is None


@pytest.mark.parametrize(
    ("name", "serialized"),
    [
        ("asgi-cache", b"asgi-cache"),
        ("*a/b:c!", b"*a/b:c!"),
        ("Edge", b"Edge"),
        ("1st", b'"1st"'),
        ("my cache", b'"my cache"'),
        ('a"b\\c', rb'"a\"b\\c"'),
        ("", b'""'),
        ("a\r\né", b'"a???"'),
        ("a\n", b'"a?"'),
    ],
)
def test_serialize_token_or_string(name: str, serialized: bytes) -> None:
    assert fields.serialize_token_or_string(name) == serialized


@settings(deadline=None)
@given(st.text())
def test_every_name_can_be_serialized(name: str) -> None:
    assert fields.parse_targeted([b"name=%b" % fields.serialize_token_or_string(name)])


# --- dates ------------------------------------------------------------------------------------


def instant(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # The three forms.
        (b"Sun, 06 Nov 1994 08:49:37 GMT", instant(1994, 11, 6, 8, 49, 37)),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", instant(1994, 11, 6, 8, 49, 37)),
        (b"Sun Nov  6 08:49:37 1994", instant(1994, 11, 6, 8, 49, 37)),
        (b"Sun Nov 16 08:49:37 1994", instant(1994, 11, 16, 8, 49, 37)),
        (b" \tSun, 06 Nov 1994 08:49:37 GMT\t ", instant(1994, 11, 6, 8, 49, 37)),
        (b"Tue, 19 Jan 2038 14:14:08 GMT", instant(2038, 1, 19, 14, 14, 8)),
        (b"Sun, 21 Nov 2286 04:46:39 GMT", instant(2286, 11, 21, 4, 46, 39)),
        (b"Thursday, 18-Aug-50 02:01:18 GMT", instant(2050, 8, 18, 2, 1, 18)),
        (b"Thu Aug  8 02:01:18 2050", instant(2050, 8, 8, 2, 1, 18)),
        # In any case.
        (b"THU, 18 Aug 2050 02:01:18 GMT", instant(2050, 8, 18, 2, 1, 18)),
        (b"Thu, 18 AUG 2050 02:01:18 GMT", instant(2050, 8, 18, 2, 1, 18)),
        (b"Thu, 18 Aug 2050 02:01:18 gMT", instant(2050, 8, 18, 2, 1, 18)),
        (b"thursday, 18-aug-50 02:01:18 gmt", instant(2050, 8, 18, 2, 1, 18)),
        # The calendar.
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (b"Wed, 31 Dec 1969 23:59:59 GMT", -1.0),
        (b"Mon, 01 Jan 0001 00:00:00 GMT", instant(1, 1, 1)),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", instant(9999, 12, 31, 23, 59, 59)),
        (b"Thu, 29 Feb 2024 00:00:00 GMT", instant(2024, 2, 29)),
        (b"Wed, 29 Feb 2023 00:00:00 GMT", None),
        (b"Thu, 30 Feb 2024 00:00:00 GMT", None),
        (b"Thu, 31 Apr 2025 00:00:00 GMT", None),
        (b"Thu, 00 Jan 2025 00:00:00 GMT", None),
        (b"Sat, 01 Jan 0000 00:00:00 GMT", None),
        (b"Monday, 31-Feb-25 00:00:00 GMT", None),
        # A leap second is the instant after it, and exists at the end of a day.
        (b"Sat, 31 Dec 2016 23:59:60 GMT", instant(2017, 1, 1)),
        (b"Fri, 31 Dec 9999 23:59:60 GMT", instant(9999, 12, 31, 23, 59, 59) + 1),
        (b"Sat, 31 Dec 2016 22:59:60 GMT", None),
        (b"Sat, 31 Dec 2016 23:58:60 GMT", None),
        (b"Sat, 31 Dec 2016 23:59:61 GMT", None),
        (b"Sat, 31 Dec 2016 24:00:00 GMT", None),
        (b"Sat, 31 Dec 2016 23:60:00 GMT", None),
        # Nothing looser.
        (b"", None),
        (b"0", None),
        (b"-1", None),
        (b"1994-11-06T08:49:37Z", None),
        (b"Thu, 18 Aug 2050 02:01:18 UTC", None),
        (b"Thu, 18 Aug 2050 02:01:18 AEST", None),
        (b"Thu, 18 Aug 2050 02:01:18 +0000", None),
        (b"Thu, 18 Aug 2050 02:01:18", None),
        (b"Thu, 18 Aug 50 02:01:18 GMT", None),
        (b"Thu 18 Aug 2050 02:01:18 GMT", None),
        (b"Thu, 18  Aug  2050 02:01:18 GMT", None),
        (b"Thu,  18 Aug 2050 02:01:18 GMT", None),
        (b"Thu, 18 Aug 2050  02:01:18 GMT", None),
        (b"Thu, 18-Aug-2050 02:01:18 GMT", None),
        (b"Thu, 18-Aug-50 02:01:18 GMT", None),
        (b"Thu, 18 Aug 2050 02.01.18 GMT", None),
        (b"Thu, 18 Aug 2050 2:01:18 GMT", None),
        (b"Thu, 8 Aug 2050 02:01:18 GMT", None),
        (b"Thu,  8 Aug 2050 02:01:18 GMT", None),
        (b"Thursday, 18 Aug 2050 02:01:18 GMT", None),
        (b"Thursday, 18-Aug-2050 02:01:18 GMT", None),
        (b"Thu Aug 8 02:01:18 2050", None),
        (b"Thu Aug  8 02:01:18 2050 GMT", None),
        (b"Thu Aug  8 02:01:18 50", None),
        (b"Xyz, 18 Aug 2050 02:01:18 GMT", None),
        (b"Thu, 18 Xyz 2050 02:01:18 GMT", None),
        (b"Thu, 18 August 2050 02:01:18 GMT", None),
        (b"Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT", None),
        (b"Thu, 18 Aug 2050 02:01:18 GMT\n", None),
    ],
)
def test_parse_date(value: bytes, expected: float | None) -> None:
    assert fields.parse_date(value, NOW) == expected


@pytest.mark.parametrize(
    ("value", "now", "year"),
    [
        (b"Thursday, 01-Jul-76 00:00:00 GMT", NOW + 86_400, 2076),
        (b"Thursday, 01-Jul-76 00:00:00 GMT", NOW - 86_400, 1976),
        (b"Thursday, 01-Jul-77 00:00:00 GMT", NOW, 1977),
        (b"Thursday, 01-Jul-25 00:00:00 GMT", NOW, 2025),
        (b"Thursday, 01-Jul-10 00:00:00 GMT", instant(2090, 1, 1), 2110),
        (b"Thursday, 01-Jul-99 00:00:00 GMT", instant(2101, 1, 1), 2099),
        (b"Thursday, 01-Jul-00 00:00:00 GMT", instant(1999, 1, 1), 2000),
    ],
)
def test_a_two_digit_year_is_at_most_fifty_years_ahead(value: bytes, now: float, year: int) -> None:
    assert fields.parse_date(value, now) == instant(year, 7, 1)


def test_the_last_of_february_needs_a_leap_year_in_its_century() -> None:
    value = b"Thursday, 29-Feb-00 00:00:00 GMT"
    assert fields.parse_date(value, NOW) == instant(2000, 2, 29)
    assert fields.parse_date(value, instant(2080, 1, 1)) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (784111777.0, b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (784111777.999, b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (0.0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (-0.5, b"Wed, 31 Dec 1969 23:59:59 GMT"),
        (float("-inf"), b"Mon, 01 Jan 0001 00:00:00 GMT"),
        (float("inf"), b"Fri, 31 Dec 9999 23:59:59 GMT"),
    ],
)
def test_format_date(value: float, text: bytes) -> None:
    assert fields.format_date(value) == text


@settings(deadline=None)
@given(st.datetimes().map(lambda moment: moment.replace(microsecond=0, tzinfo=UTC).timestamp()))
def test_dates_survive_formatting(moment: float) -> None:
    assert fields.parse_date(fields.format_date(moment), NOW) == moment


# --- entity tags ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        (b'"a"', (False, b"a")),
        (b'W/"a"', (True, b"a")),
        (b' \t"a" ', (False, b"a")),
        (b'""', (False, b"")),
        (b'"!#,\\~\x80\xff"', (False, b"!#,\\~\x80\xff")),
        (b'w/"a"', None),
        (b'W/ "a"', None),
        (b"a", None),
        (b'"a', None),
        (b'a"', None),
        (b'"', None),
        (b'"a b"', None),
        (b'"a\x7f"', None),
        (b'"a\tb"', None),
        (b'"a"b"', None),
        (b'"a", "b"', None),
        (b"*", None),
        (b"", None),
    ],
)
def test_parse_entity_tag(value: bytes, tag: tuple[bool, bytes] | None) -> None:
    assert fields.parse_entity_tag(value) == tag
    if tag is not None:
        spelled = fields.entity_tag(*tag)
        assert spelled == value.strip(b" \t")
        assert (fields.is_weak(spelled), fields.opaque_of(spelled)) == tag


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (b"", []),
        (b" , ,", []),
        (b'"a"', [(False, b"a")]),
        (b'"a", W/"b" ,\t"c",', [(False, b"a"), (True, b"b"), (False, b"c")]),
        (b'"a,b","c\\","d"', [(False, b"a,b"), (False, b"c\\"), (False, b"d")]),
        (b'"", W/""', [(False, b""), (True, b"")]),
        # Malformed members match nothing, and neither does what stands inside them.
        (b'a, "b"', [(False, b"b")]),
        (b'"a" x, "b"', [(False, b"b")]),
        (b'x"a", "b"', [(False, b"b")]),
        (b'w/"a", "b"', [(False, b"b")]),
        (b'"a b", "c"', [(False, b"c")]),
        (b'"a ,b", "c"', [(False, b"c")]),
        (b'"a""b", "c"', [(False, b"c")]),
        (b'"a", "b', [(False, b"a")]),
        (b'"a ", x" , "b", "c"', []),
        (b"*", []),
        (b'*, "a"', [(False, b"a")]),
    ],
)
def test_parse_entity_tags(value: bytes, tags: list[tuple[bool, bytes]]) -> None:
    assert fields.parse_entity_tags(value) == tags


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), TEXT)))
@example([(False, b"a"), (True, b"b,")])
def test_every_well_formed_member_and_no_other_is_found(pairs: list[tuple[bool, bytes]]) -> None:
    etagc = bytes([0x21, *range(0x23, 0x7F), *range(0x80, 0x100)])
    tags = [(weak, bytes(byte for byte in text if byte in etagc)) for weak, text in pairs]
    value = b", ".join(b'%b"%b"' % (b"W/" if weak else b"", opaque) for weak, opaque in tags)
    assert fields.parse_entity_tags(value) == tags
    assert [fields.parse_entity_tag(b'"%b"' % opaque) for _, opaque in tags] == [
        (False, opaque) for _, opaque in tags
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"*", True), (b" *\t", True), (b'"*"', False), (b"*, *", False), (b"", False)],
)
def test_is_any(value: bytes, expected: bool) -> None:
    assert fields.is_any(value) is expected


# --- what requests carry ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "pairs"),
    [
        (b"", []),
        (b" ; ;", []),
        (b"a=1", [(b"a", b"1")]),
        (b"b=2; a=1;a=0", [(b"b", b"2"), (b"a", b"1"), (b"a", b"0")]),
        (b" a\t= 1 ", [(b"a", b"1")]),
        (b"a=b=c", [(b"a", b"b=c")]),
        (b'a="x; y=1"', [(b"a", b'"x'), (b"y", b'1"')]),
        (b"a=%41\xff", [(b"a", b"%41\xff")]),
        (b"alone; =x; y=", [(b"", b"alone"), (b"", b"x"), (b"y", b"")]),
        (b"a=1, b=2", [(b"a", b"1, b=2")]),
    ],
)
def test_parse_cookies(value: bytes, pairs: list[tuple[bytes, bytes]]) -> None:
    assert fields.parse_cookies(value) == pairs


def test_cookies_too_long_to_split_are_one_without_a_name() -> None:
    fits = b"a=1;" + b"x" * (fields.MAX_COOKIE_BYTES - 4)
    assert len(fields.parse_cookies(fits)) == 2
    assert fields.parse_cookies(fits + b"x") == [(b"", fits + b"x")]


@pytest.mark.parametrize(
    ("value", "weights"),
    [
        (b"", []),
        (b"gzip", [(b"gzip", 1.0)]),
        (b"br, GZip", [(b"br", 1.0), (b"gzip", 1.0)]),
        (b"gzip;q=0.5,br ;\tQ=1.000", [(b"gzip", 0.5), (b"br", 1.0)]),
        (b"a;q=0, b;q=0., c;q=1., d;q=0.123", [(b"a", 0), (b"b", 0), (b"c", 1), (b"d", 0.123)]),
        (b"de-CH, *;q=0.1", [(b"de-ch", 1.0), (b"*", 0.1)]),
        # Anything else after the semicolon: not acceptable.
        (b"a;q=2, b;q=1.1, c;q=-1, d;q=0.1234", [(b"a", 0), (b"b", 0), (b"c", 0), (b"d", 0)]),
        (b"a;q=, b;q, c;, d;x=1, e;q = 1", [(b"a", 0), (b"b", 0), (b"c", 0), (b"d", 0), (b"e", 0)]),
        (b"a;q=.5, b;q=1;q=1, c;q=1x", [(b"a", 0), (b"b", 0), (b"c", 0)]),
    ],
)
def test_parse_weights(value: bytes, weights: list[tuple[bytes, float]]) -> None:
    assert fields.parse_weights(value) == weights


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        (b"", []),
        (b"for=1.2.3.4", [[(b"for", b"1.2.3.4")]]),
        (
            b'For="[2001:db8::1]:80";PROTO=https;host="a.example", for=b',
            [
                [(b"for", b"[2001:db8::1]:80"), (b"proto", b"https"), (b"host", b"a.example")],
                [(b"for", b"b")],
            ],
        ),
        (b"for=a ; host=b", [[(b"for", b"a"), (b"host", b"b")]]),
        (rb'host="a\"\\b,;c"', [[(b"host", b'a"\\b,;c')]]),
        (b'host=""', [[(b"host", b"")]]),
        (b'host="\\\n"', [[(b"host", b"\n")]]),
        (b"for=a;", [[(b"for", b"a")]]),
        (b";;for=a;;, ;", [[(b"for", b"a")], []]),
        (b"for", None),
        (b"for=", None),
        (b"=a", None),
        (b"for =a", None),
        (b"for= a", None),
        (b"for=a b", None),
        (b"for=a:80", None),
        (b'for="a', None),
        (b'for="a"b', None),
        (b"for=a, for", None),
        (b"host=a;for=b;HOST=a", None),
    ],
)
def test_parse_forwarded(value: bytes, elements: list[list[tuple[bytes, bytes]]] | None) -> None:
    assert fields.parse_forwarded(value) == elements


def test_request_fields_too_long_to_read() -> None:
    long = fields.MAX_PARSED_BYTES
    assert len(fields.parse_weights(b"a" * long)) == 1
    assert fields.parse_weights(b"a" * (long + 1)) == []
    assert len(fields.parse_entity_tags(b'"%b"' % (b"a" * (long - 2)))) == 1
    assert fields.parse_entity_tags(b'"%b"' % (b"a" * (long - 1))) == []
    assert fields.parse_forwarded(b"a=" + b"b" * (long - 2)) is not None
    assert fields.parse_forwarded(b"a=" + b"b" * (long - 1)) is None


@pytest.mark.parametrize(
    "value",
    [
        b"localhost",
        b"shop.Example:8080",
        b"a_b-c.~!$&'()*+,;=",
        b"%41%fF.example",
        b"127.0.0.1",
        b"127.0.0.1:80",
        b"a:",
        b"a:0",
        b"a:65535",
        b"a:00080",
        b"[::1]",
        b"[::1]:443",
        b"[::ffff:1.2.3.4]",
        b"[2001:DB8:0:0:0:0:0:1]",
        b"a" * 255,
    ],
)
def test_a_host(value: bytes) -> None:
    assert fields.is_host(value)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b":80",
        b"user@a",
        b"user:pw@a",
        b"a:65536",
        b"a:99999999",
        b"a:b",
        b"a:-1",
        b"a:80:80",
        b"a b",
        b" a",
        b"a ",
        b"a\t",
        b"a\n",
        b"a, b",
        b"a/b",
        b"a?b",
        b"a#b",
        b"a\\b",
        b'"a"',
        b"a<b",
        b"a%",
        b"a%4",
        b"a%4g",
        b"a\x00",
        b"\xc3\xa9.example",
        b"::1",
        b"[]",
        b"[::1",
        b"::1]",
        b"[::1]a",
        b"a[::1]",
        b"[1:2]",
        b"[:::]",
        b"[::1%25eth0]",
        b"[v1.a]",
        b"[1.2.3.4]",
        b"[::1]:65536",
        b"a" * 256,
    ],
)
def test_no_host(value: bytes) -> None:
    assert not fields.is_host(value)


# --- every parser, any bytes ------------------------------------------------------------------


def names_of(value: bytes) -> object:
    return fields.parse_directives([value]).field_names("private")


def seconds_of(value: bytes) -> object:
    return fields.parse_directives([value]).seconds("max-age")


PARSERS: dict[str, Callable[[bytes], object]] = {
    "is_any": fields.is_any,
    "is_field_name": fields.is_field_name,
    "is_field_value": fields.is_field_value,
    "is_host": fields.is_host,
    "is_token": fields.is_token,
    "is_weak": fields.is_weak,
    "parse_age": lambda value: fields.parse_age([value, value]),
    "parse_cookies": fields.parse_cookies,
    "parse_date": lambda value: fields.parse_date(value, NOW),
    "parse_directives": lambda value: fields.parse_directives([value, value]),
    "parse_directives.field_names": names_of,
    "parse_directives.seconds": seconds_of,
    "parse_entity_tag": fields.parse_entity_tag,
    "parse_entity_tags": fields.parse_entity_tags,
    "parse_forwarded": fields.parse_forwarded,
    "parse_groups": lambda value: fields.parse_groups([value]),
    "parse_seconds": fields.parse_seconds,
    "parse_targeted": lambda value: fields.parse_targeted([value]),
    "parse_weights": fields.parse_weights,
    "split_list": fields.split_list,
}


def test_what_is_no_tag_has_nothing_between_its_quotes() -> None:
    assert [fields.opaque_of(value) for value in (b"", b"x", b'W/"', b'""')] == [b""] * 4


def test_every_parser_is_in_the_table() -> None:
    readers = {name for name in vars(fields) if name.startswith(("is_", "parse_", "split_"))}
    readers -= {"parse_dictionary", "parse_list"}
    assert readers == {name.partition(".")[0] for name in PARSERS}


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@settings(deadline=None)
@given(value=TEXT)
def test_no_bytes_make_a_parser_raise(parse: Callable[[bytes], object], value: bytes) -> None:
    parse(value)
    parse(b"max-age=" + value)
    parse(b'private="%b"' % value)


@settings(deadline=None)
@given(TEXT)
def test_no_value_of_a_targeted_directive_makes_reading_it_raise(value: bytes) -> None:
    for name in ("max-age", "private", "other"):
        directives = fields.parse_targeted([b"%b=%b" % (name.encode(), value)])
        if directives is not None:
            directives.seconds(name)
            directives.field_names(name)


HOSTILE = (
    *(b",", b";", b'"', b"\\", b" ", b"\t", b"9", b"a", b"%", b"%41", b"=", b"(", b":", b"["),
    *(b"a,", b"a=1,", b"a;", b"a;q=1,", b" ,", b'"\\', b'\\"', b'"",', b'a"', b'="', b"=\\"),
    *(b"W/", b'W/"a",', b'" ",', b'"a', b"a b,", b"a=b;", b"\xff", b"\0", b'"a", ', b"a;b", b"1,"),
)


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
def test_time_is_linear_or_bounded(parse: Callable[[bytes], object]) -> None:
    """Quadratic time on 100 KB takes many seconds; linear time takes milliseconds."""
    for unit in HOSTILE:
        for head, tail in ((b"", b""), (b'"', b"\n"), (b"private=", b'"')):
            for size in (100_000, fields.MAX_COOKIE_BYTES - 16, fields.MAX_PARSED_BYTES - 16):
                value = head + unit * (size // len(unit)) + tail
                started = time.process_time()
                parse(value)
                assert time.process_time() - started < 0.5, (unit, head, tail, size)
