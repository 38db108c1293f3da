"""Field syntax only: from bytes to values and back (RFC 9110 §5.6, §8.8.3; RFC 9111 §1.2, §5).

What must not be here: what a cache does with a value (``policy``), header lists, clocks; dates
and structured fields have modules of their own below this one. Every parser is total over bytes
and linear in their length: none raises, and bounds keep the slower ones to some milliseconds. A
wrong value is read as whatever stores and reuses least.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final

MAX_PARSED_BYTES: Final = 8192
"""All lines of a field together, where each member costs a step in Python.

Each parser that has this bound says how it reads a longer field."""

MAX_COOKIE_BYTES: Final = 32_768
MAX_HOST_BYTES: Final = 255

_OWS: Final = b" \t"
TCHAR: Final = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
_QUOTED: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# Possessive quantifiers wherever a repeat could go back over what it has read.
_TOKEN: Final = re.compile(rb"[%b]++" % TCHAR)
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


def unquoted(value: bytes) -> bytes | None:
    """The text of a quoted-string, a token as it is; ``None`` where *value* is neither."""
    if _QUOTED_STRING.fullmatch(value):
        return _QUOTED_PAIR.sub(rb"\1", value[1:-1])
    return value if is_token(value) else None


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


def entity_tag(weak: bool, opaque: bytes) -> bytes:
    """An ETag of what :func:`parse_entity_tag` reads in it."""
    return b'W/"%b"' % opaque if weak else b'"%b"' % opaque


def is_weak(tag: bytes) -> bool:
    """Whether *tag*, which is well formed, is a weak one."""
    return tag.startswith(b"W/")


def opaque_of(tag: bytes) -> bytes:
    """What stands between the quotes of *tag*, which is well formed."""
    return tag.partition(b'"')[2].removesuffix(b'"')


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
    rb"[ \t]*+(?:([%b]++)=([%b]++|%b))?[ \t]*+(?:;|\Z)" % (TCHAR, TCHAR, _QUOTED), re.DOTALL
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
                name, text = pair[1].lower(), unquoted(pair[2])
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
