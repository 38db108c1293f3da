"""What parsing a value came to, remembered: clients and apps send the same values all the time.

Only for functions of bytes alone whose results cannot be changed, so that it makes no difference
who asks. Values are compared whole; how many, and how long ones, is bounded.

What must not be here: anything that depends on a setting, a clock or another field.
"""

from __future__ import annotations

from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_V = TypeVar("_V")

MOST_VALUES: Final = 512
"""For each function; the one not asked for longest goes."""
LONGEST_VALUE: Final = 512
"""Bytes; what is longer is worked out anew: bounds what a stranger makes it hold."""


def remembered(parse: Callable[[bytes], _V]) -> Callable[[bytes], _V]:
    """*parse*, asked once for each of the last values."""
    cached = lru_cache(MOST_VALUES)(parse)

    @wraps(parse)
    def look(value: bytes) -> _V:
        return cached(value) if len(value) <= LONGEST_VALUE else parse(value)

    return look
