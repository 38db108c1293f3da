"""The store that settings name, put together of those in ``stores``.

What must not be here: what is asked of a store, and when.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgi_cache.errors import ConfigurationError
from asgi_cache.policy.keys import NAMESPACE
from asgi_cache.stores import GuardedStore, MemoryStore, RedisStore, TieredStore
from asgi_cache.stores.base import Store
from asgi_cache.stores.capabilities import Leased, Watched
from asgi_cache.stores.cells import INDEX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_cache.settings import Settings

MAX_HEAD_BYTES: Final = 1024 * 1024
"""What a record may have besides its body: far beyond any head that a server sends."""


def open_store(settings: Settings) -> Store:
    """The store that *settings* name, guarded unless it is this process's own memory."""
    store = settings.store
    if isinstance(store, MemoryStore):
        return store
    if settings.secret and isinstance(store, Store):
        raise ConfigurationError(
            "secret = ***: allowed is [] with a store that was made elsewhere, which cannot be "
            "told it; RedisStore takes secrets=[...] itself."
        )
    if isinstance(store, GuardedStore | TieredStore):
        return store
    if isinstance(store, str) and store.startswith("memory:"):
        return MemoryStore(settings.near_bytes)
    if not isinstance(store, Store):
        store = RedisStore(
            store,
            settings.namespace,
            max_record_bytes=settings.max_body_bytes + MAX_HEAD_BYTES,
            secrets=settings.secret,
            compress_bytes=settings.compress_bytes,
        )
    guarded = GuardedStore(
        store, timeout=settings.store_timeout, request_timeout=settings.request_store_timeout
    )
    if not settings.near_bytes or not isinstance(store, Watched):
        return guarded
    near = MemoryStore(settings.near_bytes, beside=INDEX_BYTES)
    return TieredStore(near, guarded, NAMESPACE)


def per_request(store: Store) -> Callable[[], Store] | None:
    """What gives one request its own view of *store*; ``None``: it is the same for all."""
    return store.for_request if isinstance(store, GuardedStore | TieredStore) else None


def leased_of(store: Store) -> Leased | None:
    """The leases of what *store* is made of."""
    if isinstance(store, TieredStore):
        return store.leased
    inner = store.store if isinstance(store, GuardedStore) else store
    return inner if isinstance(inner, Leased) else None
