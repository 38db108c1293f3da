"""Invalidations that could not be carried out, until they are.

Names of stamps, each once, in the order in which they came: an epoch stays in front of the groups
that were purged after it. Beyond a bound everything is invalidated instead, by one stamp.

What must not be here: the stamps themselves (each attempt draws new ones), and any I/O.
"""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from asgi_cache.stores.locking import ProcessLock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

MOST_NAMES: Final = 10_000
MOST_BYTES: Final = 4 * 1024 * 1024
"""All names together: a name may be as long as a URL."""
MOST_AT_ONCE: Final = 500
"""Names of one attempt; the next begins when the store has confirmed these."""


class Batch(NamedTuple):
    """What one attempt replaces; *tokens* tells whether a name was added again meanwhile."""

    names: Sequence[bytes]
    soft_names: Sequence[bytes]
    life: float
    tokens: Mapping[bytes, int]


class Journal:
    """The invalidations that wait, in this process; any thread may add and look."""

    def __init__(self, most_names: int = MOST_NAMES, most_bytes: int = MOST_BYTES) -> None:
        self._most_names = most_names
        self._most_bytes = most_bytes
        self._tokens: dict[bytes, int] = {}
        self._soft: set[bytes] = set()
        self._bytes = 0
        self._life = 0.0
        self._overflowed = False
        self._next = count(1).__next__
        self._lock = ProcessLock()

    def __len__(self) -> int:
        return len(self._tokens)

    def add(
        self, names: Iterable[bytes], soft_names: Iterable[bytes], life: float, everything: bytes
    ) -> None:
        """Keep *names* and *soft_names*; where that is too much, *everything* in their place."""
        with self._lock:
            self._life = max(self._life, life)
            if not self._overflowed:
                for name in names:
                    self._soft.discard(name)
                    self._put(name)
                for name in soft_names:
                    if name not in self._tokens:
                        self._soft.add(name)
                    self._put(name)
                within = len(self._tokens) <= self._most_names and self._bytes <= self._most_bytes
                self._overflowed = not within
            if self._overflowed:
                # In one step, for those who look meanwhile.
                self._tokens = {everything: self._next()}
                self._soft = set()

    def hides(self, name: bytes) -> bool:
        """Whether what *name* stands for is to be taken for purged."""
        return name in self._tokens

    def batch(self) -> Batch:
        """What has waited longest."""
        with self._lock:
            tokens = dict(islice(self._tokens.items(), MOST_AT_ONCE))
            names = [name for name in tokens if name not in self._soft]
            soft_names = [name for name in tokens if name in self._soft]
            return Batch(names, soft_names, self._life, tokens)

    def done(self, batch: Batch) -> None:
        """Forget what the store has confirmed, but for what was added again since."""
        with self._lock:
            for name, token in batch.tokens.items():
                if self._tokens.get(name) == token:
                    del self._tokens[name]
                    self._soft.discard(name)
                    self._bytes -= len(name)
            if not self._tokens:
                self._bytes, self._life, self._overflowed = 0, 0.0, False

    def _put(self, name: bytes) -> None:
        if name not in self._tokens:
            self._bytes += len(name)
        self._tokens[name] = self._next()


def without(answer: Any, hidden: Sequence[bool]) -> Any:
    """A look-up's *answer* as if the *hidden* stamps were missing."""
    records, stamps, *apart = answer
    left = [None if hide else stamp for hide, stamp in zip(hidden, stamps, strict=True)]
    return type(answer)._make((records, left, *apart)) if apart else (records, left)
