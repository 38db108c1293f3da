"""Parts that many stored responses have alike, held once: field lines, carried stamps, groups.

What equals something seen lately is replaced by that; all of it is immutable. The tables are
bounded, and take nothing long, so that no response can make them large.

What must not be here: what any of it means.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from asgi_cache.model import CarriedStamp

if TYPE_CHECKING:
    from asgi_cache.model import Line

MOST: Final = 1024
"""Entries of a table; the one that was used longest ago goes first."""
LONGEST: Final = 64
"""Bytes of a name or value, or groups, that are looked up at all."""


def line(name: bytes, value: bytes) -> Line:
    """The field line of *name* and *value*."""
    if len(name) > LONGEST:
        return name, value
    return _short_line(name, value) if len(value) <= LONGEST else (_name(name), value)


def carried(name: bytes, nonce: bytes, soft_nonce: bytes) -> CarriedStamp:
    """The stamp of *name* as a response carries it."""
    short = len(name) <= LONGEST
    return (_short_carried if short else CarriedStamp)(name, nonce, soft_nonce)


def grouped(groups: tuple[str, ...]) -> tuple[str, ...]:
    """*groups*."""
    return _short_groups(groups) if sum(map(len, groups)) <= LONGEST else groups


@lru_cache(maxsize=MOST)
def _name(name: bytes) -> bytes:
    return name


@lru_cache(maxsize=MOST)
def _short_line(name: bytes, value: bytes) -> Line:
    return _name(name), value


@lru_cache(maxsize=MOST)
def _short_groups(groups: tuple[str, ...]) -> tuple[str, ...]:
    return groups


_short_carried = lru_cache(maxsize=MOST)(CarriedStamp)
