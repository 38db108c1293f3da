"""A shared HTTP cache for any ASGI app, in the app's own process, in one line.

``app = asgi_cache.wrap(app)``: GET and HEAD are answered from stored responses (RFC 9111), kept in
memory or in Redis; ``Cache-Control`` is honoured and emitted, ``X-Response-Time`` added.

How a request flows, in one direction::

    timing -> middleware: read_request -> screen -> select -> decide -> serve | fetch | pass

``fields``, ``settings``
    Field syntax; validated configuration, and what follows from it.
``model``
    Frozen values: heads, stored responses as numbers, stamps.
``policy``
    What RFC 9111 and the design say, pure: no clock, no loop, no store. A file per section.
``stores``
    Values in and out of memory or Redis, or both; stamps for invalidation; deadlines, circuit
    breaker; memory in front of Redis that hears of every change there.
``cache``: ``selection``, ``keeping``, ``notes``, ``metrics``, ``health``, ``handle``
    Keys and a store together: select, keep, invalidate, purge.
``messages``, ``admission``, ``trying``, ``capture``, ``anonymous``
    One fill: the app's messages, its judgement, the copy that is kept, the two runs.
``middleware``, ``timing``
    The two ASGI classes.
``cli``, ``demo``
    The command line, and a shop to see the cache work in.

Each imports only from those above it; ``tests/test_architecture.py`` enforces that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_cache.cache import Cache
from asgi_cache.errors import (
    CacheError,
    ConfigurationError,
    CorruptRecord,
    StoreAway,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from asgi_cache.handle import Handle, from_scope
from asgi_cache.health import Health
from asgi_cache.middleware import CacheMiddleware
from asgi_cache.policy.decision import Decision, Refusal
from asgi_cache.settings import Rule, Settings
from asgi_cache.stores import GuardedStore, MemoryStore, RedisStore, Store, TieredStore
from asgi_cache.timing import TimingMiddleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__version__ = "0.1.0"

__all__ = [
    "Cache",
    "CacheError",
    "CacheMiddleware",
    "ConfigurationError",
    "CorruptRecord",
    "Decision",
    "GuardedStore",
    "Handle",
    "Health",
    "MemoryStore",
    "RedisStore",
    "Refusal",
    "Rule",
    "Settings",
    "Store",
    "StoreAway",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "TieredStore",
    "TimingMiddleware",
    "__version__",
    "from_scope",
    "wrap",
]


def wrap(
    app: ASGIApp,
    settings: Settings | None = None,
    *,
    cache: Cache | None = None,
    **overrides: Any,
) -> TimingMiddleware:
    """*app* behind a cache, with its response times measured.

    Settings come from *overrides*, then from *settings*, or else from the environment and the
    file it names. *cache*: a ready :class:`Cache`, instead of either. Raises
    :class:`ConfigurationError`, whose text names the key, the value and what is allowed.
    """
    cached = CacheMiddleware(app, settings, cache=cache, **overrides)
    return TimingMiddleware(cached, style=cached.settings.response_time)
