"""Fields made of directives and numbers: Cache-Control, targeted fields, Age, cache groups.

What must not be here: what a directive means for storing or reuse (``policy``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from asgi_cache.fields.remembering import remembered
from asgi_cache.fields.structured import parse_dictionary, parse_list, serialize
from asgi_cache.fields.syntax import (
    MAX_PARSED_BYTES,
    TCHAR,
    is_field_name,
    split_list,
    unquoted,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DELTA_SECONDS: Final = 2**31
"""What a larger delta-seconds is read as (RFC 9111 §1.2.2)."""


def parse_seconds(value: bytes) -> int | None:
    """Read delta-seconds (RFC 9111 §1.2.2), at most ``MAX_DELTA_SECONDS``; ``None``: it is none."""
    if not value.isdigit():
        return None
    digits = value.lstrip(b"0")
    # int() is quadratic, and refuses thousands of digits.
    return min(int(digits or b"0"), MAX_DELTA_SECONDS) if len(digits) <= 10 else MAX_DELTA_SECONDS


def parse_age(lines: Iterable[bytes]) -> int:
    """Read Age in seconds: the first member counts; an invalid one is ignored (RFC 9111 §5.1)."""
    first = next(iter(split_list(b",".join(lines))), b"")
    return parse_seconds(first) or 0


class Directives:
    """Cache directives by name: what Cache-Control or a targeted field said (RFC 9111 §5.2).

    Names are in lower case. Arguments are as sent, quotes included; ``None`` where a directive
    has none. All repeats are kept. Nothing changes them: they may be shared.
    """

    __slots__ = ("_arguments",)

    def __init__(self, directives: Iterable[tuple[str, bytes | None]]) -> None:
        self._arguments: dict[str, list[bytes | None]] = {}
        for name, argument in directives:
            self._arguments.setdefault(name, []).append(argument)

    def __contains__(self, name: str) -> bool:
        return name in self._arguments

    def __bool__(self) -> bool:
        return bool(self._arguments)

    def seconds(self, name: str) -> int | None:
        """The delta-seconds of *name*, of several the smallest; ``None`` where it is absent.

        An argument that is missing or not a delta-seconds reads as 0: a response with invalid
        freshness information is stale (RFC 9111 §4.2.1). Quotes around it are tolerated (§5.2).
        """
        arguments = self._arguments.get(name)
        if arguments is None:
            return None
        if len(arguments) == 1 and (argument := arguments[0]) and argument.isdigit():
            return parse_seconds(argument)
        return min(parse_seconds(unquoted(argument or b"") or b"") or 0 for argument in arguments)

    def is_bare(self, name: str) -> bool:
        """Whether *name* stands there without an argument."""
        return None in self._arguments.get(name, ())

    def field_names(self, name: str) -> frozenset[bytes] | None:
        """The fields that *name* is qualified with, in lower case (RFC 9111 §5.2.2.4, §5.2.2.7).

        Empty where it stands without an argument, or with one that is not a list of field names:
        it applies to the whole response. ``None`` where it is absent.
        """
        arguments = self._arguments.get(name)
        if arguments is None:
            return None
        if None in arguments:
            return frozenset()
        names: set[bytes] = set()
        for argument in arguments:
            named = split_list(unquoted(argument or b"") or b"")
            if not named or not all(map(is_field_name, named)):
                return frozenset()
            names.update(field_name.lower() for field_name in named)
        return frozenset(names)


_DIRECTIVE: Final = re.compile(rb'[^"=%b]*+([%b]++)(.*+)' % (TCHAR, TCHAR), re.DOTALL)


def parse_directives(lines: Iterable[bytes]) -> Directives:
    """Read the lines of Cache-Control or of a field like it (RFC 9111 §5.2).

    A name counts with whatever stands around it (``private; max-age=60``, ``no-store x``), for
    that is what its author meant; its argument is then malformed. So it is with white space at
    the equals sign, which the grammar does not have. Lines of more than ``MAX_PARSED_BYTES`` read
    as ``no-store``.
    """
    lines = tuple(lines)
    if len(lines) == 1:
        return _parse_line(lines[0])
    if sum(map(len, lines)) > MAX_PARSED_BYTES:
        return Directives([("no-store", None)])
    return Directives(pair for line in lines for pair in _directives(line))


@remembered
def _parse_line(line: bytes) -> Directives:
    too_long = len(line) > MAX_PARSED_BYTES
    return Directives([("no-store", None)] if too_long else _directives(line))


def _directives(line: bytes) -> list[tuple[str, bytes | None]]:
    directives: list[tuple[str, bytes | None]] = []
    for member in split_list(line):
        directive = _DIRECTIVE.match(member)
        if directive:
            name, rest = directive.groups()
            argument = rest[1:] if rest.startswith(b"=") else b"" if rest else None
            directives.append((name.decode("ascii").lower(), argument))
    return directives


_SECONDS: Final = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"})
_QUALIFIABLE: Final = frozenset({"no-cache", "private"})
_BARE: Final = frozenset(
    {"immutable", "must-revalidate", "must-understand", "no-store", "no-transform"}
    | {"proxy-revalidate", "public"}
)


def parse_targeted(lines: Iterable[bytes]) -> Directives | None:
    """Read the lines of a targeted field: a structured Dictionary of directives (RFC 9213 §2.1).

    A known directive whose value has the wrong type is ignored by itself; parameters are ignored.
    A negative Integer has the right type: it reads as 0 seconds. ``None``, so that the field
    counts as absent, where it is empty, does not parse, is too long, or nothing is left of it.
    """
    directives = [
        (name, serialize(value) if type(value) in (int, str) else None)
        for name, value in parse_dictionary(lines).items()
        if _has_type(name, value)
    ]
    return Directives(directives) if directives else None


def _has_type(name: str, value: object) -> bool:
    if name in _SECONDS:
        return type(value) is int  # True is an int, too
    if name in _QUALIFIABLE:
        return value is True or type(value) is str
    return value is True or name not in _BARE


def parse_groups(lines: Iterable[bytes]) -> list[str] | None:
    """Read Cache-Groups or Cache-Group-Invalidation: a structured List of Strings (RFC 9875 §2).

    Parameters are ignored. ``None``, so that the field counts as absent, where it does not parse,
    is too long, or has a member that is not a String: violating a constraint has the effect of
    failing to parse (RFC 9651 §2).
    """
    groups = parse_list(lines)
    return groups if groups is not None and all(type(group) is str for group in groups) else None
