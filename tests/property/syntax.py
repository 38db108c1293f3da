"""Field syntax for the model: written from RFC 9110 and 9111, byte by byte, slow and obvious.

Shares no code with ``asgi_cache.fields``. Texts are Latin-1. Where a text is malformed in a way
that the RFC leaves open, the reading here is the one that lets less be stored or reused.
"""

from __future__ import annotations

import calendar
import time
from typing import TypeAlias

Pairs: TypeAlias = tuple[tuple[str, str], ...]
"""Field lines: names in lower case, in order."""

TOKEN = set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
BLANK = " \t"
DATE_FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")


def values(lines: Pairs, name: str) -> list[str]:
    """The value of every line of a field."""
    return [value for line, value in lines if line == name]


def combined(lines: Pairs, name: str) -> str | None:
    """The lines of a field as one value (RFC 9110 §5.3); ``None`` where there is none."""
    found = values(lines, name)
    return ", ".join(found) if found else None


def by_name(lines: Pairs) -> dict[str, list[str]]:
    """Values by field name, in order."""
    names: dict[str, list[str]] = {}
    for name, value in lines:
        names.setdefault(name, []).append(value)
    return names


def members(value: str) -> list[str]:
    """The members of a list (RFC 9110 §5.6.1): commas within quotes do not count."""
    found, text, quoted, escaped = [], "", False, False
    for letter in value:
        if letter == "," and not quoted:
            found.append(text)
            text = ""
            continue
        text += letter
        if escaped:
            escaped = False
        elif quoted and letter == "\\":
            escaped = True
        elif letter == '"':
            quoted = not quoted
    return [member.strip(BLANK) for member in [*found, text] if member.strip(BLANK)]


class Directives:
    """Cache-Control (RFC 9111 §5.2): every occurrence of every directive."""

    def __init__(self, lines: list[str]) -> None:
        self.pairs: list[tuple[str, str | None]] = []
        for member in (member for line in lines for member in members(line)):
            end = 0
            while end < len(member) and member[end] in TOKEN:
                end += 1
            name, rest = member[:end].lower(), member[end:]
            # ``private; x`` says private, and an argument that no directive has.
            argument = rest[1:] if rest[:1] == "=" else rest
            self.pairs.append((name, argument if rest else None))

    def __contains__(self, name: str) -> bool:
        return any(name == found for found, _ in self.pairs)

    def seconds(self, name: str) -> int | None:
        """delta-seconds (§1.2.2), of several the smallest, of an invalid one 0 (§4.2.1)."""
        found = [argument for one, argument in self.pairs if one == name]
        if not found:
            return None
        return min(delta_seconds(unquote(argument or "")) or 0 for argument in found)

    def qualified(self, name: str) -> set[str] | None:
        """The fields that ``no-cache`` or ``private`` is for: empty for all, ``None`` for none."""
        found = [argument for one, argument in self.pairs if one == name]
        names: set[str] = set()
        for argument in found:
            listed = members(unquote(argument or ""))
            if not listed or any(letter not in TOKEN for one in listed for letter in one):
                return set()
            names |= {one.lower() for one in listed}
        return names if found else None


def unquote(text: str) -> str:
    """*text* without the quotes around it (§5.2 has recipients accept both forms)."""
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1].replace("\\", "") if quoted else text


def delta_seconds(text: str) -> int | None:
    """A number of seconds, at most 2^31 (RFC 9111 §1.2.2)."""
    if not text or any(letter not in "0123456789" for letter in text):
        return None
    return min(int(text), 2**31)


def instant(text: str) -> float | None:
    """An HTTP-date in any of its three forms (RFC 9110 §5.6.7)."""
    for form in DATE_FORMS:
        try:
            return float(calendar.timegm(time.strptime(text, form)))
        except ValueError:
            continue
    return None


def http_date(moment: float) -> str:
    """An IMF-fixdate."""
    return time.strftime(DATE_FORMS[0], time.gmtime(moment))


def tags(value: str) -> list[str]:
    """The entity tags of a list, ``W/`` and quotes kept (RFC 9110 §8.8.3)."""
    return [member for member in members(value) if is_tag(member)]


def is_tag(text: str) -> bool:
    """Whether *text* is one entity tag."""
    opaque = text.removeprefix("W/")
    return len(opaque) > 1 and opaque[0] == opaque[-1] == '"' and '"' not in opaque[1:-1]


def weakly_equal(one: str, other: str) -> bool:
    """RFC 9110 §8.8.3.2, weak comparison."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def strongly_equal(one: str, other: str) -> bool:
    """RFC 9110 §8.8.3.2, strong comparison."""
    return one == other and not one.startswith("W/")


def codings(value: str | None) -> tuple[str, ...]:
    """What of gzip, br, zstd is welcome, as far as each comes with those before it."""
    weights = {}
    for member in members(value or ""):
        name, _, weight = member.partition(";")
        weights[name.strip(BLANK).lower()] = weight.replace(" ", "").lower() not in ("q=0", "q=0.0")
    steps: list[str] = []
    for name in ("gzip", "br", "zstd"):
        if not weights.get(name, weights.get("*", False)):
            break
        steps.append(name)
    return tuple(steps)


def normal(name: str, value: str | None) -> object:
    """A request field's value with what does not count taken out (RFC 9111 §4.1)."""
    if name == "accept-encoding":
        return codings(value)
    if value is None:
        return None
    if name == "accept-language":
        return "".join(value.split()).lower()
    return ",".join(members(value))


def ranges(value: str, size: int) -> list[tuple[int, int]] | None:
    """The satisfiable ranges, first and last byte (RFC 9110 §14.1.2); ``None``: ignore the field.

    Empty where it is well-formed and nothing of it can be satisfied.
    """
    unit, equals, listed = value.partition("=")
    if unit.strip(BLANK).lower() != "bytes" or not equals or not members(listed):
        return None
    found = []
    for member in members(listed):
        first, dash, last = (part.strip(BLANK) for part in member.partition("-"))
        if not dash or not (first + last).isdigit() or not (first + last).isascii():
            return None
        if first and last and int(first) > int(last):
            return None
        if first:
            start, end = int(first), min(int(last) if last else size - 1, size - 1)
        else:
            start, end = max(0, size - int(last)), size - 1
        if start <= end and (first or int(last)):
            found.append((start, end))
    return found


def content_range(value: str) -> tuple[int, int, int] | None:
    """``bytes 0-4/10`` as first, last and whole (RFC 9110 §14.4)."""
    unit, _, rest = value.partition(" ")
    span, _, whole = rest.partition("/")
    first, _, last = span.partition("-")
    if unit != "bytes" or not (first.isdigit() and last.isdigit() and whole.isdigit()):
        return None
    return int(first), int(last), int(whole)


def parts(content_type: str, body: bytes) -> list[tuple[tuple[int, int, int], bytes]] | None:
    """The parts of ``multipart/byteranges`` (RFC 9110 §14.6): range and content."""
    media, _, parameter = content_type.partition(";")
    name, _, boundary = parameter.strip(BLANK).partition("=")
    if media.strip(BLANK).lower() != "multipart/byteranges" or name.lower() != "boundary":
        return None
    delimiter = b"\r\n--" + unquote(boundary).encode("latin-1")
    pieces = (b"\r\n" + body).split(delimiter)
    if len(pieces) < 3 or pieces[-1].rstrip(b"\r\n") != b"--":
        return None
    found = []
    for piece in pieces[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        spans = [
            content_range(line.partition(":")[2].strip(BLANK))
            for line in head.decode("latin-1").split("\r\n")
            if line.lower().startswith("content-range:")
        ]
        if len(spans) != 1 or spans[0] is None:
            return None
        found.append((spans[0], content))
    return found
