"""The exceptions of this package, one tree: whoever catches :class:`CacheError` catches them all.

None of them reaches a client: a store's failure costs a hit, a bad record is a miss, and a wrong
configuration is refused when the application is built.
"""

from __future__ import annotations


class CacheError(Exception):
    """The root of everything that this package raises by itself."""


class ConfigurationError(CacheError, ValueError):
    """A setting, rule or argument is wrong; the text names the key, the value, what is allowed."""


class StoreError(CacheError):
    """A store could not do what it was asked for. Stores raise this, its subclasses, no others."""

    counted = False
    """A breaker counts it, and says so itself: one line for one cause."""


class StoreUnavailable(StoreError):  # noqa: N818 - a state, as in HTTP's 503
    """The store did not answer: unreachable, over its deadline, or refusing commands."""


class StoreAway(StoreUnavailable):
    """The store was not even asked: it has failed too often, or an invalidation waits for it."""


class InvalidationWaits(StoreAway):
    """The store was not asked, since it does not know yet of an invalidation that waits here."""


class StoreRefused(StoreUnavailable):
    """The store answered that it does not write now: out of memory, read-only, not permitted."""


class CorruptRecord(StoreError):  # noqa: N818 - names what was found
    """Stored bytes that are not a record of this version, or not the record of this key."""


def cause_of(error: BaseException) -> str:
    """What a log line says of *error*: its type, and its text where it has one."""
    text, name = str(error), type(error).__name__
    return f"{name}: {text}" if text else name
