"""Counters by decision and by refusal: what the cache did, in the words of its own tables."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from asgi_cache.errors import CacheError, StoreAway, StoreError, cause_of
from asgi_cache.policy.decision import Decision, Refusal

if TYPE_CHECKING:
    from asgi_cache.stores.base import Store

LOG_INTERVAL: Final = 1.0

logger = logging.getLogger("asgi_cache")


class Metrics:
    """Counts since construction, of this process; *store* counts its corrupt records itself.

    The lists are indexed by ``Decision.index`` and ``Refusal.index``, so that counting a hit is
    an addition and not a call.
    """

    __slots__ = (
        *("decisions", "invalidations", "purges", "refusals"),
        *("_store", "collapsed", "revalidations", "store_failures", "stores"),
    )

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self.decisions = [0] * len(Decision)
        self.refusals = [0] * len(Refusal)
        self.stores = 0
        self.collapsed = 0
        """Requests that were answered by another one's fill."""
        self.revalidations = 0
        """Requests of this cache's own, by which it revalidates in the background."""
        self.invalidations = 0
        self.purges = 0
        self.store_failures = 0

    @property
    def corrupt_records(self) -> int:
        """Values that the store read and that are no record of ours, or none with our seal."""
        return getattr(self._store, "corrupt_records", 0)

    def by_label(self) -> dict[str, int]:
        """The counters that are not zero, by ``decision.<label>``, ``refusal.<label>`` and name."""
        counts = {
            f"decision.{decision.label}": self.decisions[decision.index] for decision in Decision
        }
        counts |= {f"refusal.{refusal.label}": self.refusals[refusal.index] for refusal in Refusal}
        counts |= {
            name: getattr(self, name)
            for name in (
                "stores",
                "collapsed",
                "revalidations",
                "invalidations",
                "purges",
                "store_failures",
                "corrupt_records",
            )
        }
        return {name: count for name, count in counts.items() if count}


class Failures:
    """Where the failures of a store, and of the user's own functions, are counted and logged."""

    __slots__ = ("_logged_at", "metrics")

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self._logged_at: dict[str, float] = {}

    def see(self, operation: str, error: Exception) -> None:
        """Count *error* as a failure of the store, unless that was not asked, and log it.

        What a breaker counts it logs itself: when it opens, or a second later where it does not.
        """
        if isinstance(error, StoreAway):
            return
        self.metrics.store_failures += 1
        if not (isinstance(error, StoreError) and error.counted):
            self.log(f"store: {operation}", error)

    def log(self, operation: str, error: Exception) -> None:
        """Log *error*, at most once a second for each operation and type of error."""
        kind = f"{operation}:{type(error).__name__}"
        now = time.monotonic()
        if now - self._logged_at.get(kind, -LOG_INTERVAL) < LOG_INTERVAL:
            return
        self._logged_at[kind] = now
        expected = isinstance(error, CacheError)
        trace = None if expected else error
        logger.warning("%s failed: %s", operation, cause_of(error), exc_info=trace)
