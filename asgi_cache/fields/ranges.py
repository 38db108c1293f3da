"""Range (RFC 9110 §14.1, §14.2): the byte ranges that a request asks for, as numbers.

What must not be here: how long a body is, hence what can be satisfied (``policy.ranges``).
"""

from __future__ import annotations

import re
from typing import Final

from asgi_cache.fields.syntax import MAX_PARSED_BYTES, split_list

MAX_READ: Final = 100
"""Members of Range that are looked at, empty ones among them; with more it is not read."""

MAX_POSITION: Final = 10**18
"""What a larger position or length is read as, in bytes: no body reaches it."""

_INT_OR_SUFFIX: Final = re.compile(rb"([0-9]++)-([0-9]*+)|-([0-9]++)")


def parse_byte_ranges(value: bytes) -> list[tuple[int | None, int | None]] | None:
    """Read Range with the unit ``bytes``, in any case: its ranges in the order sent, at least one.

    ``(first, last)`` are offsets, both included; ``(first, None)``: from there to the end;
    ``(None, length)``: the last bytes, perhaps more than there are. ``None`` for another unit,
    where any member is malformed or ends before it begins (§14.1.1), without a member, with more
    than ``MAX_READ``, and over ``MAX_PARSED_BYTES``. White space before the first member is
    tolerated: §14.1.2 has it.
    """
    if len(value) > MAX_PARSED_BYTES or value.count(b",") >= MAX_READ:
        return None
    unit, _, range_set = value.strip(b" \t").partition(b"=")
    if unit.lower() != b"bytes":
        return None
    ranges: list[tuple[int | None, int | None]] = []
    for member in split_list(range_set):
        spec = _INT_OR_SUFFIX.fullmatch(member)
        if spec is None:
            return None
        if spec[3]:
            ranges.append((None, _position(spec[3])))
            continue
        first, last = _position(spec[1]), _position(spec[2]) if spec[2] else None
        if last is not None and last < first:
            return None
        ranges.append((first, last))
    return ranges or None


def _position(digits: bytes) -> int:
    digits = digits.lstrip(b"0")
    # int() is quadratic, and refuses thousands of digits.
    return int(digits or b"0") if len(digits) <= 18 else MAX_POSITION
