"""RFC 9110 §14: a slice of a complete stored response, where a GET asked for one.

Range is a wish: whatever is malformed, costly or in doubt is answered with the whole response. The
bytes are those that are stored, so of a Content-Encoding they are bytes of the encoded body.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from asgi_cache.fields import entity_tag, parse_entity_tag
from asgi_cache.fields.dates import parse_date
from asgi_cache.fields.ranges import parse_byte_ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asgi_cache.model import Line, RequestHead, StoredResponse

MAX_RANGES: Final = 8
"""Ranges of one response; more get all of it (§14.2 lets a server ignore many small ones)."""

UNDATED_SLACK: Final = 60.0
"""Seconds that Last-Modified must lie back in a response without Date to be a strong validator."""

OF_THE_WHOLE: Final = frozenset(
    {b"content-digest", b"content-length", b"content-md5", b"content-range"}
)
"""Fields of a message's content (RFC 9530 §2): of the whole response they are wrong for a part."""

UNSATISFIED_FIELDS: Final = frozenset(
    {
        b"access-control-allow-credentials",
        b"access-control-allow-origin",
        b"access-control-expose-headers",
        b"age",
        b"cache-status",
        b"cross-origin-resource-policy",
        b"date",
        b"strict-transport-security",
        b"timing-allow-origin",
        b"vary",
        b"via",
    }
)
"""What a 416 has of the stored response; without the lines for other origins no script sees it.

Nothing that describes or validates the representation, for there is none in it. And nothing that
grants a lifetime, under whatever name (Cache-Control, Expires, targeted fields): another cache
could give the 416 to somebody who asked for the whole (§15.1 grants it none by itself)."""


class Part(NamedTuple):
    """The answer to a Range that is not the whole response: a 206, or a 416 with an empty body."""

    status: int
    lines: list[Line]
    body: bytes


def range_of(
    request: RequestHead, stored: StoredResponse, lines: Sequence[Line], now: float
) -> Part | None:
    """What a GET with Range gets of *stored*, a 200, after its other conditions gave no 304.

    *lines* are those that the whole response would go out with. ``None``: send it whole. *now*:
    seconds since the epoch, for dates with a year of two digits.
    """
    value = request.fields.get(b"range")
    if value is None or not is_unchanged(request.fields.get(b"if-range"), stored, now):
        return None
    ranges = parse_byte_ranges(value)
    if ranges is None:
        return None
    body = stored.body
    slices = satisfiable(ranges, len(body))
    if not slices:
        return unsatisfied(lines, len(body))
    if len(slices) == 1:
        return single_part(slices[0], lines, body)
    if len(slices) > MAX_RANGES or overlap(slices):
        return None
    return multipart(slices, lines, body)


def is_unchanged(value: bytes | None, stored: StoredResponse, now: float) -> bool:
    """Whether If-Range, where there is one, lets Range count (§13.1.5).

    Only a strong validator does: parts of two versions must never be put together.
    """
    if value is None:
        return True
    tag = parse_entity_tag(value)
    if tag is not None:
        weak, opaque = tag
        return not weak and entity_tag(weak, opaque) == stored.etag
    modified = stored.last_modified
    if modified is None or parse_date(value, now) != modified:
        return False
    return modified <= latest_strong_date(stored, now)


def latest_strong_date(stored: StoredResponse, now: float) -> float:
    """The latest Last-Modified that would be a strong validator of *stored* (§8.8.2.2).

    A second before its Date. Without a Date that can be read, the instant it was generated at
    stands in for it (§6.6.1). That is when the response began: the application had looked at
    what it sends some time before, and by another clock than the store's where that is Redis. So
    Last-Modified must be older by more than either can explain.
    """
    dates = [value for name, value in stored.lines if name == b"date"]
    date = parse_date(dates[0], now) if len(dates) == 1 else None
    return stored.generated_at - UNDATED_SLACK if date is None else date - 1


def satisfiable(
    ranges: Iterable[tuple[int | None, int | None]], length: int
) -> list[tuple[int, int]]:
    """Those of *ranges* that a body of *length* bytes has something of, held within it (§14.1.2).

    As offsets of their first and last byte, in the order of the request.
    """
    slices = []
    for first, last in ranges:
        if first is None:
            first, last = max(length - (last or 0), 0), None
        if first < length:
            slices.append((first, length - 1 if last is None else min(last, length - 1)))
    return slices


def overlap(slices: Iterable[tuple[int, int]]) -> bool:
    """Whether any byte is in two of *slices*."""
    end = -1
    for first, last in sorted(slices):
        if first <= end:
            return True
        end = last
    return False


def unsatisfied(lines: Iterable[Line], length: int) -> Part:
    """A 416 (§15.5.17) for a body of *length* bytes."""
    kept = [line for line in lines if line[0] in UNSATISFIED_FIELDS]
    kept.append((b"content-range", b"bytes */%d" % length))
    kept.append((b"content-length", b"0"))
    return Part(416, kept, b"")


def single_part(only: tuple[int, int], lines: Iterable[Line], body: bytes) -> Part:
    """A 206 with one part (§15.3.7.1)."""
    first, last = only
    kept = [line for line in lines if line[0] not in OF_THE_WHOLE]
    kept.append((b"content-range", content_range(first, last, len(body))))
    kept.append((b"content-length", b"%d" % (last + 1 - first)))
    return Part(206, kept, body[first : last + 1])


def multipart(slices: Sequence[tuple[int, int]], lines: Iterable[Line], body: bytes) -> Part | None:
    """A 206 with several parts (§14.6, §15.3.7.2); ``None`` where the whole is no longer than it.

    Nor of a body with a Content-Encoding: the field would stand over a multipart that is not
    encoded, and who decodes what they receive would find no such coding there.
    """
    kept = [line for line in lines if line[0] not in OF_THE_WHOLE]
    if any(name == b"content-encoding" for name, _ in kept):
        return None
    types = [b"Content-Type: %b\r\n" % value for name, value in kept if name == b"content-type"]
    boundary = boundary_of(b"".join(body[first : last + 1] for first, last in slices))
    pieces = []
    for first, last in slices:
        pieces += [b"--%b\r\n" % boundary, *types]
        pieces.append(b"Content-Range: %b\r\n\r\n" % content_range(first, last, len(body)))
        pieces += [body[first : last + 1], b"\r\n"]
    pieces.append(b"--%b--\r\n" % boundary)
    size = sum(map(len, pieces))
    if size >= len(body):
        return None
    kept = [line for line in kept if line[0] != b"content-type"]
    kept.append((b"content-type", b"multipart/byteranges; boundary=%b" % boundary))
    kept.append((b"content-length", b"%d" % size))
    return Part(206, kept, b"".join(pieces))


def content_range(first: int, last: int, length: int) -> bytes:
    """Content-Range of a part: its first and last byte, of *length* (§14.4)."""
    return b"bytes %d-%d/%d" % (first, last, length)


def boundary_of(content: bytes) -> bytes:
    """A delimiter that is not in *content*, always the same for it.

    A digest of it: of delimiters that can be foretold an uploaded file could be full, so that the
    search for another one took long.
    """
    boundary = digest(content)
    while boundary in content:
        boundary = digest(boundary)
    return boundary


def digest(content: bytes) -> bytes:
    """32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode("ascii")
