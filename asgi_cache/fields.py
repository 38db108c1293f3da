"""Field syntax only: from bytes to values and back (RFC 9110 §5.6, §8.8.3; RFC 9111 §1.2, §5).

What must not be here: what a cache does with a value (``policy``), header lists, clocks; dates
and structured fields have modules of their own below this one. Every parser is total over bytes
and linear in their length: none raises, and bounds keep the slower ones to some milliseconds. A
wrong value is read as whatever stores and reuses least.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final

from asgi_cache.dates import format_date as format_date
from asgi_cache.dates import parse_date as parse_date
from asgi_cache.structured import parse_dictionary, parse_list, serialize
from asgi_cache.structured import serialize_token_or_string as serialize_token_or_string

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DELTA_SECONDS: Final = 2**31
"""What a larger delta-seconds is read as (RFC 9111 §1.2.2)."""

MAX_PARSED_BYTES: Final = 8192
"""All lines of a field together, where each member costs a step in Python.

Each parser that has this bound says how it reads a longer field."""

MAX_COOKIE_BYTES: Final = 32_768
MAX_HOST_BYTES: Final = 255

_OWS: Final = b" \t"
_TCHAR: Final = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
_QUOTED: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# Possessive quantifiers wherever a repeat could go back over what it has read.
_TOKEN: Final = re.compile(rb"[%b]++" % _TCHAR)
_QUOTED_STRING: Final = re.compile(_QUOTED, re.DOTALL)
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_BALANCED: Final = re.compile(rb'[^"]*+(?:%b[^"]*+)*+' % _QUOTED, re.DOTALL)
_MEMBER: Final = re.compile(rb'(?:[^",]++|%b)++' % _QUOTED, re.DOTALL)


def is_token(value: bytes) -> bool:
    """Whether *value* is a token (RFC 9110 §5.6.2)."""
    return _TOKEN.fullmatch(value) is not None


def is_field_name(value: bytes) -> bool:
    """Whether *value* can name a field (RFC 9110 §5.1), in either case."""
    return is_token(value)


def is_field_value(value: bytes) -> bool:
    """Whether *value* is without CR, LF and NUL, which would end or split it (RFC 9110 §5.5)."""
    return not (b"\r" in value or b"\n" in value or b"\0" in value)


def split_list(value: bytes) -> list[bytes]:
    """Split a comma-separated list into its members (RFC 9110 §5.6.1).

    Optional white space is stripped, empty members are dropped, and a comma inside a
    quoted-string does not split. A quote that is never closed is an ordinary character, and so
    is every quote after it: what follows is split at every comma, so that a stray quote cannot
    hide a directive.
    """
    if b'"' not in value:
        members = value.split(b",")
    else:
        rest = _BALANCED.sub(b"", value, count=1)
        balanced = value.removesuffix(rest)
        members = _MEMBER.findall(balanced)
        tail = rest.split(b",")
        if members and not balanced.endswith(b","):
            tail[0] = members.pop() + tail[0]
        members += tail
    return [stripped for member in members if (stripped := member.strip(_OWS))]


def _unquoted(value: bytes) -> bytes | None:
    """The text of a quoted-string, a token as it is; ``None`` where *value* is neither."""
    if _QUOTED_STRING.fullmatch(value):
        return _QUOTED_PAIR.sub(rb"\1", value[1:-1])
    return value if is_token(value) else None


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
    has none. All repeats are kept.
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
        return min(parse_seconds(_unquoted(argument or b"") or b"") or 0 for argument in arguments)

    def field_names(self, name: str) -> frozenset[bytes] | None:
        """The fields that *name* is qualified with, in lower case (RFC 9111 §5.2.2.4, §5.2.2.7).

        Empty where it stands without an argument, or with one that is not a list of field names:
        it applies to the whole response. ``None`` where it is absent.
        """
        arguments = self._arguments.get(name)
        if arguments is None:
            return None
        names: set[bytes] = set()
        for argument in arguments:
            named = split_list(_unquoted(argument or b"") or b"")
            if not named or not all(map(is_field_name, named)):
                return frozenset()
            names.update(field_name.lower() for field_name in named)
        return frozenset(names)


_DIRECTIVE: Final = re.compile(rb'[^"=%b]*+([%b]++)(.*+)' % (_TCHAR, _TCHAR), re.DOTALL)


def parse_directives(lines: Iterable[bytes]) -> Directives:
    """Read the lines of Cache-Control or of a field like it (RFC 9111 §5.2).

    A name counts with whatever stands around it (``private; max-age=60``, ``no-store x``), for
    that is what its author meant; its argument is then malformed. So it is with white space at
    the equals sign, which the grammar does not have. Lines of more than ``MAX_PARSED_BYTES`` read
    as ``no-store``.
    """
    lines = tuple(lines)
    if sum(map(len, lines)) > MAX_PARSED_BYTES:
        return Directives([("no-store", None)])
    directives: list[tuple[str, bytes | None]] = []
    for line in lines:
        for member in split_list(line):
            directive = _DIRECTIVE.match(member)
            if directive:
                name, rest = directive.groups()
                argument = rest[1:] if rest.startswith(b"=") else b"" if rest else None
                directives.append((name.decode("ascii").lower(), argument))
    return Directives(directives)


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


_ETAGC: Final = rb"\x21\x23-\x7e\x80-\xff"
_ENTITY_TAG: Final = re.compile(rb'(W/)?"([%b]*+)"' % _ETAGC)
_ENTITY_TAG_MEMBER: Final = re.compile(
    rb'[ \t]*+(?:(W/)?("[%b]*+")[ \t]*+|(?:[^",]++|"[^"]*+(?:"|\Z))*+)(?:,|\Z)' % _ETAGC
)


def is_any(value: bytes) -> bool:
    """Whether the value of If-Match or If-None-Match is ``*`` (RFC 9110 §13.1.1, §13.1.2)."""
    return value.strip(_OWS) == b"*"


def parse_entity_tag(value: bytes) -> tuple[bool, bytes] | None:
    """Read an ETag (RFC 9110 §8.8.3): whether it is weak, and what stands between the quotes."""
    tag = _ENTITY_TAG.fullmatch(value.strip(_OWS))
    return (tag[1] is not None, tag[2]) if tag else None


def parse_entity_tags(value: bytes) -> list[tuple[bool, bytes]]:
    """Read the list of If-Match or If-None-Match, each member as ``parse_entity_tag`` does.

    A malformed member is skipped, up to the next comma that is not between quotes. A value over
    ``MAX_PARSED_BYTES`` has no members.
    """
    if len(value) > MAX_PARSED_BYTES:
        return []
    return [(bool(weak), tag[1:-1]) for weak, tag in _ENTITY_TAG_MEMBER.findall(value) if tag]


def parse_cookies(value: bytes) -> list[tuple[bytes, bytes]]:
    """Split Cookie into its pairs, in order, nothing decoded or unquoted (RFC 6265 §4.2.1).

    White space around names and values is stripped. A piece without an equals sign is a value
    without a name, as browsers have it; an empty piece is dropped. A value over
    ``MAX_COOKIE_BYTES`` is one such piece.
    """
    if len(value) > MAX_COOKIE_BYTES:
        return [(b"", value)]
    pairs = []
    for piece in value.split(b";"):
        name, equals, text = piece.partition(b"=")
        if equals:
            pairs.append((name.strip(_OWS), text.strip(_OWS)))
        elif text := name.strip(_OWS):
            pairs.append((b"", text))
    return pairs


_WEIGHT: Final = re.compile(rb"[ \t]*+[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def parse_weights(value: bytes) -> list[tuple[bytes, float]]:
    """Read Accept-Encoding or Accept-Language: each member in lower case with its weight, in order.

    The weight is 1 where none is given, and 0, not acceptable, where what follows the semicolon
    is anything but a weight (RFC 9110 §12.4.2). A value over ``MAX_PARSED_BYTES`` has no members.
    """
    if len(value) > MAX_PARSED_BYTES:
        return []
    weights = []
    for member in split_list(value):
        name, semicolon, rest = member.partition(b";")
        weight = _WEIGHT.fullmatch(rest)
        quality = float(weight[1]) if weight else 0.0 if semicolon else 1.0
        weights.append((name.rstrip(_OWS).lower(), quality))
    return weights


_FORWARDED_PAIR: Final = re.compile(
    rb"[ \t]*+(?:([%b]++)=([%b]++|%b))?[ \t]*+(?:;|\Z)" % (_TCHAR, _TCHAR, _QUOTED), re.DOTALL
)


def parse_forwarded(value: bytes) -> list[list[tuple[bytes, bytes]]] | None:
    """Read the elements of Forwarded (RFC 7239 §4): names in lower case, values unquoted.

    ``None`` where it does not parse, where a parameter repeats within its element, and over
    ``MAX_PARSED_BYTES``. White space around semicolons is tolerated.
    """
    if len(value) > MAX_PARSED_BYTES:
        return None
    elements = []
    for member in split_list(value):
        element: dict[bytes, bytes] = {}
        position = 0
        while position < len(member):
            pair = _FORWARDED_PAIR.match(member, position)
            if not pair:
                return None
            position = pair.end()
            if pair[1]:
                name, text = pair[1].lower(), _unquoted(pair[2])
                if name in element or text is None:
                    return None
                element[name] = text
        elements.append(list(element.items()))
    return elements


_HOST: Final = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]++)\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]++|%[0-9A-Fa-f]{2})++)(?::([0-9]*+))?"
)


def is_host(value: bytes) -> bool:
    """Whether *value* can be the Host of an http URI (RFC 9110 §7.2; RFC 3986 §3.2.2, §3.2.3).

    A name, an IPv4 or a bracketed IPv6 address, not empty, then perhaps a colon and a port of at
    most 65535; ``MAX_HOST_BYTES`` in all.
    """
    host = _HOST.fullmatch(value) if len(value) <= MAX_HOST_BYTES else None
    if not host or int(host[2] or b"0") > 65_535:
        return False
    if host[1]:
        try:
            IPv6Address(host[1].decode("ascii"))
        except ValueError:
            return False
    return True
