"""Bodies that describe themselves: a JSON line, its digest, then filler that no other body has."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

REMEMBERED_LINES: Final = 1000
"""What is read and made again and again, as a shared answer is, costs once."""
REMEMBERED_BODIES: Final = 200
_compact: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class BrokenError(Exception):
    """A body, or what describes one, is cut, mixed or changed."""


def instant() -> int:
    """Nanoseconds on the clock that all processes of this machine share."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


@dataclass(frozen=True)
class Told:
    """What an answer says of its making."""

    site: str
    worker: int
    serial: int
    """Which call of the app in its worker made it."""
    ask: str | None
    """Which request that call was for; ``None``: for nobody's."""
    method: str
    host: str
    path: str
    query: str
    fields: tuple[tuple[str, str], ...]
    """The request fields that the app looked at."""
    user: str | None
    version: int
    """When the call read its data."""
    data: int
    """When these data were last changed."""
    status: int
    length: int
    """Bytes of filler."""
    fault: str = ""
    """What the call meant to do wrong: ``cut`` or ``raise``, in the midst of its body."""

    def value(self, name: str) -> str | None:
        """The one line of a request field, or ``None``."""
        values = [value for line, value in self.fields if line == name]
        if len(values) > 1:
            raise BrokenError(f"{name} came {len(values)} times")
        return values[0] if values else None


def line_of(told: Told) -> str:
    """What stands in the first line, and in a response field."""
    return _compact(told.__dict__)


@lru_cache(REMEMBERED_LINES)
def told_by(line: str) -> Told:
    """The reverse of :func:`line_of`."""
    try:
        described = json.loads(line)
        fields = tuple((name, value) for name, value in described.pop("fields"))
        return Told(**described, fields=fields)
    except (ValueError, TypeError, KeyError) as error:
        raise BrokenError(f"{error!r} in {line[:300]!r}") from None


@lru_cache(REMEMBERED_BODIES)
def body_of(told: Told) -> bytes:
    """The one body that an answer so described has."""
    line = line_of(told).encode()
    source = f"{told.site}/{told.worker}/{told.serial}".encode()
    tail = hashlib.shake_128(source).digest(told.length)
    digest = hashlib.sha256(line + tail).hexdigest().encode()
    return b"%b\n%b\n%b" % (line, digest, tail)


def told_in(body: bytes) -> Told:
    """What *body* says, if it is whole."""
    line, _, rest = body.partition(b"\n")
    digest, _, tail = rest.partition(b"\n")
    if hashlib.sha256(line + tail).hexdigest().encode() != digest:
        raise BrokenError(f"{len(body)} bytes, not whole: {body[:300]!r}")
    told = told_by(line.decode())
    if body_of(told) != body:
        raise BrokenError(f"{len(body)} bytes, not the app's: {body[:300]!r}")
    return told
