"""When a store is left alone, and what is said of it meanwhile.

Every failure counts one, every answer takes one away, and :data:`LIMIT` open the breaker: five in
a row, or five more than answers. A share of a window would have to count every answer also while
all is well; like this a store without failures costs a look at one attribute. A store that fails
less than every other time drifts back to nothing, and costs each request its deadline at most.

What must not be here: how a store is asked, and what counts as its failure.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from asgi_cache.stores.locking import ProcessLock

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT: Final = 5
"""Failures beyond the answers."""
LOG_INTERVAL: Final = 1.0
"""Seconds that a failure may wait for the breaker to open, and be said with that."""

logger = logging.getLogger("asgi_cache")


class Breaker:
    """The state of one guarded store, in all event loops and threads of this process.

    *waits* says whether something besides the breaker keeps hits from asking without a look.
    """

    __slots__ = (
        *("_failures", "_lock", "_unsaid", "_waits"),
        *("is_open", "last_error", "since", "troubled"),
    )

    def __init__(self, waits: Callable[[], bool]) -> None:
        self._failures = 0
        self._lock = ProcessLock()
        self._waits = waits
        self._unsaid: str | None = None
        """A failure that no line has been logged of: the next ones decide what is said."""
        self.is_open = False
        self.troubled = False
        """Something besides asking the store is to be done: the one attribute a hit looks at."""
        self.since = time.time()
        """When the breaker opened or closed: seconds since the epoch, by this machine's clock."""
        self.last_error: str | None = None
        """The store's last failure, also where all is well again."""

    def failed(self, error: Exception, *, counts: bool) -> bool:
        """Take note of a failure, and say whether it opened the breaker.

        Without *counts* it says nothing about whether the store answers.
        """
        self.last_error = str(error) or type(error).__name__
        with self._lock:
            if not counts or self.is_open:
                return False
            self._failures += 1
            self.troubled = True
            if self._failures < LIMIT:
                self._unsaid = self._unsaid or self.last_error
                return False
            self.is_open = True
            self._unsaid = None
            self.since = time.time()
        logger.warning(
            "the store does not answer (%s); requests go on without it, and it is asked once a "
            "second; the setting store says where it is",
            self.last_error,
        )
        return True

    def answered(self) -> None:
        """The store answered an operation that began after a failure."""
        with self._lock:
            if self._failures and not self.is_open:
                self._failures -= 1
            self._calm()

    def say(self) -> None:
        """Log a failure that has not opened the breaker, where there is one."""
        with self._lock:
            error, self._unsaid = self._unsaid, None
        if error is not None:
            logger.warning("the store failed: %s", error)

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to :meth:`say`."""
        return self._unsaid is None

    def alarm(self) -> None:
        """Something has begun to wait."""
        with self._lock:
            self.troubled = True

    def close(self) -> None:
        """The store answers: use it again where it was not."""
        with self._lock:
            was_open, away = self.is_open, time.time() - self.since
            if was_open:
                self._failures = 0
                self.is_open = False
                self.since = time.time()
            self._calm()
        if was_open:
            logger.info("the store answers again, after %.1f s", away)

    def _calm(self) -> None:
        self.troubled = self.is_open or self._failures > 0 or self._waits()
