"""RFC 9111 §4.3.2, RFC 9110 §13.2.2: which conditions a stored response answers with a 304."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from asgi_cache.policy.validation import is_not_modified, not_modified_lines
from tests.policy.builders import (
    NOW,
    OCTETS,
    PLAIN,
    request,
    respond_with,
    stored,
    untimed,
)

if TYPE_CHECKING:
    from tests.policy.builders import Headers

MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"
EARLIER = "Tue, 14 Nov 2023 22:13:19 GMT"
LATER = "Tue, 14 Nov 2023 22:13:21 GMT"
FRESH = {"Cache-Control": "max-age=60"}
TAGGED = {**FRESH, "ETag": '"a"'}
WEAK = {**FRESH, "ETag": 'W/"a"'}
DATED = {**FRESH, "Last-Modified": MODIFIED}
BOTH = {**TAGGED, "Last-Modified": MODIFIED}


@pytest.mark.parametrize(
    ("status", "headers", "conditions", "not_modified"),
    [
        # Without a condition never (a wrong version: a 304 to an unconditional client).
        (200, BOTH, {}, False),
        (200, BOTH, {"If-Range": '"a"'}, False),
        # Entity tags are compared weakly.
        (200, TAGGED, {"If-None-Match": '"a"'}, True),
        (200, TAGGED, {"If-None-Match": 'W/"a"'}, True),
        (200, WEAK, {"If-None-Match": '"a"'}, True),
        (200, TAGGED, {"If-None-Match": '"b", W/"c" ,"a"'}, True),
        (200, TAGGED, {"If-None-Match": '"b"'}, False),
        (200, TAGGED, {"If-None-Match": '"A"'}, False),
        (200, TAGGED, {"If-None-Match": "a"}, False),
        (200, TAGGED, {"If-None-Match": ""}, False),
        (200, FRESH, {"If-None-Match": '"a"'}, False),
        (200, FRESH, {"If-None-Match": "*"}, True),
        (200, TAGGED, {"If-None-Match": " *\t"}, True),
        (200, TAGGED, {"If-None-Match": '"*"'}, False),
        # Dates count only without them.
        (200, DATED, {"If-Modified-Since": MODIFIED}, True),
        (200, DATED, {"If-Modified-Since": LATER}, True),
        (200, DATED, {"If-Modified-Since": "Tuesday, 14-Nov-23 22:13:20 GMT"}, True),
        (200, DATED, {"If-Modified-Since": EARLIER}, False),
        (200, DATED, {"If-Modified-Since": "now"}, False),
        (200, DATED, {"If-Modified-Since": ""}, False),
        (200, TAGGED, {"If-Modified-Since": LATER}, False),
        (200, {**FRESH, "Date": EARLIER}, {"If-Modified-Since": LATER}, False),
        (200, BOTH, {"If-None-Match": '"b"', "If-Modified-Since": LATER}, False),
        (200, BOTH, {"If-None-Match": '"a"', "If-Modified-Since": EARLIER}, True),
        (200, DATED, {"If-None-Match": '"a"', "If-Modified-Since": LATER}, False),
        # What is not a success is sent whole.
        (204, TAGGED, {"If-None-Match": '"a"'}, True),
        (299, TAGGED, {"If-None-Match": '"a"'}, True),
        (301, TAGGED, {"If-None-Match": '"a"'}, False),
        (404, BOTH, {"If-None-Match": "*"}, False),
        (404, DATED, {"If-Modified-Since": LATER}, False),
    ],
)
def test_conditions(status: int, headers: Headers, conditions: Headers, not_modified: bool) -> None:
    response = stored(respond_with(status, headers))
    assert is_not_modified(request(headers=conditions), response, NOW) is not_modified


@untimed
@given(tags=OCTETS, since=OCTETS)
def test_any_condition_is_answered(tags: bytes, since: bytes) -> None:
    response = stored(respond_with(200, BOTH), PLAIN)
    head = request()
    for fields in (
        {b"if-none-match": tags},
        {b"if-modified-since": since},
        {b"if-none-match": tags, b"if-modified-since": since},
    ):
        found = is_not_modified(head._replace(fields=fields), response, NOW)
        assert not found or b"a" in tags or tags.strip() == b"*" or b"if-none-match" not in fields


def test_what_a_304_carries() -> None:
    kept = [
        *("age", "cache-control", "cache-status", "content-location", "date", "etag", "expires"),
        *("last-modified", "vary"),
    ]
    left_out = ["content-type", "content-length", "content-encoding", "x-a", "set-cookie", "link"]
    lines = [(name.encode(), b"x") for name in (*left_out, *kept, "vary")]
    assert not_modified_lines(tuple(lines)) == [(name.encode(), b"x") for name in (*kept, "vary")]
