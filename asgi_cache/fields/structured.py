"""Structured fields (RFC 9651) by http-sf, made total and bounded.

What must not be here: what any one field means (``fields``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import http_sf

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_STRUCTURED_BYTES: Final = 8192
"""All lines of a field together; http-sf takes up to some milliseconds for as many.

RFC 9875 §2 asks for a seventh of it: 32 groups of 32 characters."""

_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*+")
_UNPRINTABLE: Final = re.compile(r"[^ -~]")


def parse_dictionary(lines: Iterable[bytes]) -> dict[str, Any]:
    """The members of a Dictionary without their parameters, in http-sf's types.

    An empty line does not count. Empty where there are none, the field does not parse, or it is
    longer than ``MAX_STRUCTURED_BYTES``: all of which mean that it is absent.
    """
    members: Any = _parse(lines, "dictionary") or {}
    return {name: value for name, (value, _) in members.items()}


def parse_list(lines: Iterable[bytes]) -> list[Any] | None:
    """The members of a List without their parameters; else as ``parse_dictionary``.

    ``None`` where it does not parse or is too long.
    """
    members: Any = _parse(lines, "list")
    return None if members is None else [value for value, _ in members]


def _parse(lines: Iterable[bytes], kind: str) -> http_sf.StructuredType | None:
    value = b", ".join(line for line in lines if line.strip(b" \t"))
    if len(value) > MAX_STRUCTURED_BYTES:
        return None
    try:
        return http_sf.parse(value, tltype=kind)
    except (ValueError, LookupError, ArithmeticError):
        # http-sf raises the first; its release 1.0.3 an IndexError too, for an "@" without a date.
        return None


def serialize(value: Any) -> bytes:
    """Write a value that ``parse_dictionary`` or ``parse_list`` gave, as it stood in the field."""
    return http_sf.ser(value).encode("ascii")


def serialize_token_or_string(name: str) -> bytes:
    """Write *name* as a Token where it is one, else as a String (RFC 9651 §4.1).

    What a String may not contain, all but printable ASCII, becomes a question mark.
    """
    if _TOKEN.fullmatch(name):
        return name.encode("ascii")
    return serialize(_UNPRINTABLE.sub("?", name))
