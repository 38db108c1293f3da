"""RFC 9110 §14, §13.1.5, §15.3.7, §15.5.17: slices of a complete stored response."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from email import message_from_bytes
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_cache.policy import ranges
from asgi_cache.policy.ranges import Part, boundary_of, range_of
from tests.policy.builders import (
    NOW,
    OCTETS,
    any_headers,
    lines_of,
    request,
    respond_with,
    stored,
    untimed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import Message

    from asgi_cache.model import Line, StoredResponse
    from tests.policy.builders import Headers

AT_NOW: Final = "Tue, 14 Nov 2023 22:13:20 GMT"
SECOND_BEFORE: Final = "Tue, 14 Nov 2023 22:13:19 GMT"
MINUTE_BEFORE: Final = "Tue, 14 Nov 2023 22:12:20 GMT"
LESS_THAN_A_MINUTE_BEFORE: Final = "Tue, 14 Nov 2023 22:12:21 GMT"
MINUTE_BEFORE_IN_RFC_850: Final = "Tuesday, 14-Nov-23 22:12:20 GMT"

FRESH: Final = {"Cache-Control": "max-age=60"}
BODY: Final = bytes(number * 7 % 251 for number in range(10_000))
"""As long as that of the examples in RFC 9110 §14.1.2; no byte is like its neighbour."""


def page(body: bytes = BODY, headers: Headers | None = None) -> StoredResponse:
    return replace(stored(respond_with(200, FRESH if headers is None else headers)), body=body)


def ask(
    wish: str | None,
    response: StoredResponse,
    *,
    condition: str | None = None,
    lines: Sequence[Line] | None = None,
) -> Part | None:
    headers = {"Range": wish, "If-Range": condition}
    head = request(headers={name: value for name, value in headers.items() if value is not None})
    return range_of(head, response, response.lines if lines is None else lines, NOW)


def field(part: Part, name: bytes) -> bytes:
    """The value of a field that must stand there once."""
    (value,) = [value for line_name, value in part.lines if line_name == name]
    return value


def names(part: Part) -> set[bytes]:
    return {name for name, _ in part.lines}


def parts_of(part: Part) -> list[tuple[Message, bytes]]:
    """The parts of a multipart, as the parser of another package finds them."""
    whole = message_from_bytes(
        b"Content-Type: %b\r\n\r\n%b" % (field(part, b"content-type"), part.body)
    )
    assert whole.get_content_type() == "multipart/byteranges"
    found = []
    for one in whole.walk():
        assert not one.defects
        if one is not whole:
            payload = one.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found.append((one, payload))
    assert not whole.preamble
    assert not whole.epilogue
    return found


def offsets_of(content_range: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", content_range)
    assert found, content_range
    return int(found[1]), int(found[2]), int(found[3])


# --- which bytes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "length", "first", "last"),
    [
        # RFC 9110 §14.1.2.
        ("bytes=0-499", 10_000, 0, 499),
        ("bytes=500-999", 10_000, 500, 999),
        ("bytes=-500", 10_000, 9500, 9999),
        ("bytes=9500-", 10_000, 9500, 9999),
        # The edges of the body.
        ("bytes=0-", 10, 0, 9),
        ("bytes=0-0", 10, 0, 0),
        ("bytes=0-8", 10, 0, 8),
        ("bytes=0-9", 10, 0, 9),
        ("bytes=0-10", 10, 0, 9),
        ("bytes=9-9", 10, 9, 9),
        ("bytes=9-10", 10, 9, 9),
        ("bytes=9-", 10, 9, 9),
        ("bytes=-1", 10, 9, 9),
        ("bytes=-9", 10, 1, 9),
        ("bytes=-10", 10, 0, 9),
        ("bytes=-11", 10, 0, 9),
        ("bytes=0-0", 1, 0, 0),
        ("bytes=2-" + "9" * 5000, 10, 2, 9),
        ("bytes=-" + "9" * 5000, 10, 0, 9),
        # What cannot be satisfied is dropped.
        ("bytes=2-3,10-", 10, 2, 3),
        ("bytes=10-,2-3,-0,11-12", 10, 2, 3),
        ("bytes=-0,-1", 10, 9, 9),
    ],
)
def test_one_slice(wish: str, length: int, first: int, last: int) -> None:
    body = BODY[:length]
    part = ask(wish, page(body))
    assert part is not None
    assert part.status == 206
    assert part.body == body[first : last + 1]
    assert field(part, b"content-range") == b"bytes %d-%d/%d" % (first, last, length)
    assert field(part, b"content-length") == b"%d" % (last - first + 1)


@pytest.mark.parametrize(
    ("wish", "length"),
    [
        ("bytes=10000-", 10_000),
        ("bytes=10-", 10),
        ("bytes=10-10", 10),
        ("bytes=11-20", 10),
        ("bytes=-0", 10),
        ("bytes=10-,-0", 10),
        ("bytes=" + ",".join(["10-"] * 20), 10),
        ("bytes=" + "9" * 5000 + "-", 10),
        ("bytes=0-", 0),
        ("bytes=0-0", 0),
        ("bytes=-5", 0),
        ("bytes=-0", 0),
        ("bytes=1-", 1),
    ],
)
def test_nothing_can_be_satisfied(wish: str, length: int) -> None:
    part = ask(wish, page(BODY[:length]))
    assert part is not None
    assert (part.status, part.body) == (416, b"")
    assert field(part, b"content-range") == b"bytes */%d" % length
    assert field(part, b"content-length") == b"0"


@pytest.mark.parametrize(
    "wish",
    [
        *(None, "", "bytes", "bytes=", "bytes=-", "bytes=x", "bytes=2-1", "lines=0-1", "0-1"),
        *("bytes=0-1,2-1", "bytes=0-1, bytes=2-3", "bytes=0-1;2-3", "bytes =0-1"),
        # Overlapping, in whatever order, by one byte or all.
        *("bytes=500-700,601-999", "bytes=0-5,5-9", "bytes=5-9,0-5", "bytes=0-9,2-3"),
        *("bytes=2-3,0-9", "bytes=0-1,0-1", "bytes=0-1,8-9,1-2", "bytes=0-,-1"),
        "bytes=0-0,100-199,0-0",
        # More than eight.
        "bytes=" + ",".join(f"{first}-{first}" for first in range(0, 18, 2)),
        "bytes=" + ",".join(["0-500"] * 10_000),
    ],
)
def test_the_whole(wish: str | None) -> None:
    assert ask(wish, page()) is None


@pytest.mark.parametrize(
    ("wish", "slices"),
    [
        # RFC 9110 §14.1.2; the order is the request's.
        ("bytes=0-0,-1", [(0, 0), (9999, 9999)]),
        ("bytes= 0-999, 4500-5499, -1000", [(0, 999), (4500, 5499), (9000, 9999)]),
        ("bytes=500-600,601-999", [(500, 600), (601, 999)]),
        ("bytes=5-9,0-4", [(5, 9), (0, 4)]),
        ("bytes=-1,0-0", [(9999, 9999), (0, 0)]),
        ("bytes=0-0,10000-,2-2,-0", [(0, 0), (2, 2)]),
        # Eight, and eight of which more were asked for.
        (
            "bytes=" + ",".join(f"{first}-{first}" for first in range(0, 16, 2)),
            [(first, first) for first in range(0, 16, 2)],
        ),
        (
            "bytes=10000-," + ",".join(f"{first}-{first}" for first in range(0, 16, 2)),
            [(first, first) for first in range(0, 16, 2)],
        ),
    ],
)
def test_several_slices(wish: str, slices: list[tuple[int, int]]) -> None:
    part = ask(wish, page(headers={**FRESH, "Content-Type": "image/png; a=b"}))
    assert part is not None
    assert part.status == 206
    assert field(part, b"content-length") == b"%d" % len(part.body)
    assert b"content-range" not in names(part)
    found = parts_of(part)
    assert len(found) == len(slices)
    for (one, payload), (first, last) in zip(found, slices, strict=True):
        assert one.items() == [
            ("Content-Type", "image/png; a=b"),
            ("Content-Range", f"bytes {first}-{last}/10000"),
        ]
        assert payload == BODY[first : last + 1]


def test_the_bytes_of_a_multipart() -> None:
    """Written out, against a parser that is too kind."""
    body = b"0123456789" * 30
    part = ask("bytes=1-2,-3", page(body))
    assert part is not None
    mark = boundary_of(b"12789")
    assert part == Part(
        206,
        [
            (b"cache-control", b"max-age=60"),
            (b"content-type", b"multipart/byteranges; boundary=" + mark),
            (b"content-length", b"%d" % len(part.body)),
        ],
        b"--%b\r\nContent-Range: bytes 1-2/300\r\n\r\n12\r\n"
        b"--%b\r\nContent-Range: bytes 297-299/300\r\n\r\n789\r\n"
        b"--%b--\r\n" % (mark, mark, mark),
    )
    assert ask("bytes=1-2,-3", page(body)) == part


def test_a_multipart_is_shorter_than_the_whole() -> None:
    part = ask("bytes=0-0,2-2", page(bytes(999)))
    assert part is not None
    size = len(part.body)
    assert 100 < size < 999
    shorter = ask("bytes=0-0,2-2", page(bytes(size + 1)))
    assert shorter is not None
    assert len(shorter.body) == size
    assert ask("bytes=0-0,2-2", page(bytes(size))) is None
    assert ask("bytes=0-4999,5000-", page()) is None


@untimed
@given(
    body=st.binary(max_size=40),
    wishes=st.lists(
        st.one_of(
            st.tuples(st.integers(0, 45), st.integers(0, 45)),
            st.tuples(st.integers(0, 45), st.none()),
            st.tuples(st.none(), st.integers(0, 45)),
        ),
        min_size=1,
        max_size=10,
    ),
    stretch=st.sampled_from([1, 500]),
)
def test_slices_are_those_found_byte_by_byte(
    body: bytes, wishes: list[tuple[int | None, int | None]], stretch: int
) -> None:
    body += bytes(range(256)) * 8 if stretch > 1 else b""
    length = len(body)
    wanted = []
    malformed = False
    for first, last in wishes:
        if first is None:
            assert last is not None
            wanted.append([at for at in range(length) if at >= length - last])
        else:
            malformed = malformed or (last is not None and last < first)
            wanted.append(
                [at for at in range(length) if at >= first and (last is None or at <= last)]
            )
    wanted = [one for one in wanted if one]
    texts = ("-".join("" if at is None else str(at) for at in wish) for wish in wishes)
    part = ask("bytes=" + ",".join(texts), page(body))
    if malformed:
        assert part is None
    elif not wanted:
        assert part is not None
        assert part.status == 416
    elif len(wanted) == 1:
        assert part is not None
        assert part.status == 206
        assert part.body == bytes(body[at] for at in wanted[0])
    elif len(wanted) > 8 or sum(map(len, wanted)) > len(set().union(*wanted)):
        assert part is None
    elif part is None:
        assert sum(map(len, wanted)) + 80 * len(wanted) + 38 >= length
    else:
        assert len(part.body) < length
        assert [payload for _, payload in parts_of(part)] == [
            bytes(body[at] for at in one) for one in wanted
        ]


# --- its lines --------------------------------------------------------------------------------

LINES: Final = lines_of(
    [
        ("Date", AT_NOW),
        ("Content-Type", "text/html"),
        ("Content-Length", "10000"),
        ("Content-Length", "10000"),
        ("Content-Range", "bytes 0-9/10"),
        ("Content-Digest", "sha-256=:AA==:"),
        ("Content-MD5", "AA=="),
        ("Repr-Digest", "sha-256=:AA==:"),
        ("Content-Language", "de"),
        ("Content-Location", "/x"),
        ("Content-Disposition", "inline"),
        ("Cache-Control", "max-age=60"),
        ("CDN-Cache-Control", "max-age=60"),
        ("Expires", AT_NOW),
        ("ETag", '"a"'),
        ("Last-Modified", MINUTE_BEFORE),
        ("Vary", "accept"),
        ("Vary", "origin"),
        ("Access-Control-Allow-Origin", "https://a.example"),
        ("Accept-Ranges", "bytes"),
        ("X-A", "1"),
        ("Age", "3"),
        ("Cache-Status", "asgi-cache; hit; ttl=57"),
    ]
)


def test_the_lines_of_one_slice() -> None:
    part = ask("bytes=0-9", page(), lines=LINES)
    assert part is not None
    replaced = {b"content-length", b"content-range", b"content-digest", b"content-md5"}
    assert part.lines == [
        *(line for line in LINES if line[0] not in replaced),
        (b"content-range", b"bytes 0-9/10000"),
        (b"content-length", b"10"),
    ]


def test_the_lines_of_several_slices() -> None:
    part = ask("bytes=0-9,20-29", page(), lines=LINES)
    assert part is not None
    replaced = {b"content-length", b"content-range", b"content-digest", b"content-md5"}
    mark = boundary_of(BODY[:10] + BODY[20:30])
    assert part.lines == [
        *(line for line in LINES if line[0] not in replaced | {b"content-type"}),
        (b"content-type", b"multipart/byteranges; boundary=" + mark),
        (b"content-length", b"%d" % len(part.body)),
    ]


def test_the_lines_of_a_416() -> None:
    """Nothing of the representation, nothing that would let another cache store it."""
    part = ask("bytes=10000-", page(), lines=LINES)
    assert part is not None
    assert part.lines == [
        *lines_of(
            [
                ("Date", AT_NOW),
                ("Vary", "accept"),
                ("Vary", "origin"),
                ("Access-Control-Allow-Origin", "https://a.example"),
                ("Age", "3"),
                ("Cache-Status", "asgi-cache; hit; ttl=57"),
            ]
        ),
        (b"content-range", b"bytes */10000"),
        (b"content-length", b"0"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("access-control-allow-credentials", "access-control-allow-origin"),
        *("access-control-expose-headers", "age", "cache-status", "cross-origin-resource-policy"),
        *("date", "strict-transport-security", "timing-allow-origin", "vary", "via"),
    ],
)
def test_a_416_keeps_what_is_not_of_the_representation(name: str) -> None:
    part = ask("bytes=10000-", page(), lines=lines_of({name: "x"}))
    assert part is not None
    assert field(part, name.encode()) == b"x"


def test_lines_are_those_given_and_stay_as_they_are() -> None:
    response = page(headers={**FRESH, "X-Stored": "1"})
    lines = [(b"x-given", b"1")]
    for wish in ("bytes=0-1", "bytes=0-1,4-5"):
        part = ask(wish, response, lines=lines)
        assert part is not None
        assert b"x-given" in names(part)
        assert b"x-stored" not in names(part)
    ask("bytes=10000-", response, lines=lines)
    assert lines == [(b"x-given", b"1")]


def test_several_slices_of_an_encoded_body_are_not_cut_out() -> None:
    response = page(headers={**FRESH, "Content-Encoding": "gzip"})
    part = ask("bytes=2-5", response)
    assert part is not None
    assert part.body == BODY[2:6]
    assert field(part, b"content-encoding") == b"gzip"
    assert ask("bytes=2-5,7-8", response) is None


def test_a_boundary_is_not_in_what_it_delimits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch(rb"[0-9a-f]{32}", boundary_of(BODY))
    assert boundary_of(BODY) == boundary_of(BODY)
    assert boundary_of(BODY) != boundary_of(BODY[1:])
    following = {b"..one..two..": b"one", b"one": b"two", b"two": b"three"}
    monkeypatch.setattr(ranges, "digest", following.__getitem__)
    assert boundary_of(b"..one..two..") == b"three"


# --- If-Range ---------------------------------------------------------------------------------

TAGGED: Final = {**FRESH, "ETag": '"a"'}
WEAK: Final = {**FRESH, "ETag": 'W/"a"'}
DATED: Final = {**FRESH, "Date": AT_NOW, "Last-Modified": MINUTE_BEFORE}


@pytest.mark.parametrize(
    ("headers", "condition", "counts"),
    [
        (FRESH, None, True),
        (TAGGED, None, True),
        # Entity tags are compared strongly.
        (TAGGED, '"a"', True),
        (TAGGED, ' "a"\t', True),
        (TAGGED, 'W/"a"', False),
        (WEAK, '"a"', False),
        (WEAK, 'W/"a"', False),
        (TAGGED, '"b"', False),
        (TAGGED, '"A"', False),
        (TAGGED, '""', False),
        (FRESH, '"a"', False),
        (DATED, '"a"', False),
        ([*TAGGED.items(), ("ETag", '"a"')], '"a"', False),
        # One validator, well-formed.
        (TAGGED, '"a", "a"', False),
        (TAGGED, '"b", "a"', False),
        (TAGGED, "a", False),
        (TAGGED, '"a', False),
        (TAGGED, "*", False),
        (TAGGED, "", False),
        (FRESH, "", False),
        (DATED, "", False),
        (DATED, "*", False),
        # Dates are compared exactly.
        (DATED, MINUTE_BEFORE, True),
        (DATED, MINUTE_BEFORE_IN_RFC_850, True),
        ({**TAGGED, **DATED}, MINUTE_BEFORE, True),
        ({**WEAK, **DATED}, MINUTE_BEFORE, True),
        (DATED, f"{MINUTE_BEFORE}, {MINUTE_BEFORE}", False),
        (DATED, LESS_THAN_A_MINUTE_BEFORE, False),
        (DATED, "Tue, 14 Nov 2023 22:12:19 GMT", False),
        (DATED, AT_NOW, False),
        (DATED, "Tue, 14 Nov 2023 22:12:20", False),
        (TAGGED, MINUTE_BEFORE, False),
        (FRESH, "now", False),
        ({**DATED, "Last-Modified": "then"}, "then", False),
        ([*DATED.items(), ("Last-Modified", MINUTE_BEFORE)], MINUTE_BEFORE, False),
        # And are strong validators a second after, by the same clock.
        ({**DATED, "Last-Modified": SECOND_BEFORE}, SECOND_BEFORE, True),
        ({**DATED, "Last-Modified": AT_NOW}, AT_NOW, False),
        ({**DATED, "Date": SECOND_BEFORE, "Last-Modified": AT_NOW}, AT_NOW, False),
        # Or a minute, where that is the store's.
        ({**FRESH, "Last-Modified": MINUTE_BEFORE}, MINUTE_BEFORE, True),
        ({**FRESH, "Last-Modified": LESS_THAN_A_MINUTE_BEFORE}, LESS_THAN_A_MINUTE_BEFORE, False),
        ({**FRESH, "Age": "1", "Last-Modified": MINUTE_BEFORE}, MINUTE_BEFORE, False),
        ({**DATED, "Date": "today", "Last-Modified": SECOND_BEFORE}, SECOND_BEFORE, False),
        ({**DATED, "Date": "today"}, MINUTE_BEFORE, True),
        (
            [*FRESH.items(), *[("Date", AT_NOW)] * 2, ("Last-Modified", SECOND_BEFORE)],
            SECOND_BEFORE,
            False,
        ),
        ([*DATED.items(), ("Date", MINUTE_BEFORE)], MINUTE_BEFORE, True),
    ],
)
def test_if_range(headers: Headers, condition: str | None, counts: bool) -> None:
    part = ask("bytes=2-5", page(headers=headers), condition=condition)
    assert (part is not None) is counts


def test_if_range_comes_before_what_can_be_satisfied() -> None:
    response = page(headers=TAGGED)
    assert ask("bytes=10000-", response, condition='"b"') is None
    refused = ask("bytes=10000-", response, condition='"a"')
    assert refused is not None
    assert refused.status == 416
    assert ask("bytes=0-1,4-5", response, condition='"b"') is None
    assert ask("bytes=0-1,4-5", response, condition='"a"') is not None


def test_if_range_alone_is_nothing() -> None:
    assert ask(None, page(headers=TAGGED), condition='"a"') is None


# --- and whatever else comes ------------------------------------------------------------------

STORED: Final = [
    page(body, headers)
    for body in (b"", b"a", BODY)
    for headers in (TAGGED, DATED, {**FRESH, "Content-Encoding": "br"})
]
FIELDS: Final = frozenset({b"content-type", b"content-length", b"content-range", b"date", b"etag"})


@untimed
@given(
    wish=st.one_of(OCTETS, OCTETS.map(lambda value: b"bytes=" + value)),
    condition=st.one_of(st.none(), OCTETS, st.sampled_from([b'"a"', MINUTE_BEFORE.encode()])),
    response=st.sampled_from(STORED),
    lines=any_headers(FIELDS),
)
def test_any_request_is_answered(
    wish: bytes, condition: bytes | None, response: StoredResponse, lines: tuple[Line, ...]
) -> None:
    fields = {b"range": wish} if condition is None else {b"range": wish, b"if-range": condition}
    part = range_of(request()._replace(fields=fields), response, lines, NOW)
    if part is None:
        return
    assert field(part, b"content-length") == b"%d" % len(part.body)
    if part.status == 416:
        assert part.body == b""
        assert field(part, b"content-range") == b"bytes */%d" % len(response.body)
    elif b"content-range" in names(part):
        first, last, length = offsets_of(field(part, b"content-range").decode())
        assert length == len(response.body)
        assert part.body == response.body[first : last + 1]
    else:
        assert field(part, b"content-type").startswith(b"multipart/byteranges; boundary=")
        assert len(part.body) < len(response.body)


@pytest.mark.parametrize(
    "wish",
    [
        "bytes=" + ",".join("0-500" for _ in range(17_000)),
        "bytes=" + ",".join(f"{first}-{first + 5}" for first in range(10_000)),
        "bytes=" + "0-," * 2700,
        "bytes=" + ",".join(["0-0"] * 100),
        "bytes=" + ",".join(["20000-"] * 100),
    ],
)
def test_r04_thousands_of_ranges_cost_nothing(wish: str) -> None:
    response = page()
    head = request(headers={"Range": wish})
    spent = []
    for _ in range(5):
        began = time.process_time()
        part = range_of(head, response, response.lines, NOW)
        spent.append(time.process_time() - began)
        assert part is None or part.status == 416
    assert min(spent) < 0.01
