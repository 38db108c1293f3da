"""Where records and stamps lie: the protocol, the stores, and what stands between them."""

from asgi_cache.stores.base import RESPONSE_SLOT, VARIANT_SLOTS, Records, Stamps, Store
from asgi_cache.stores.capabilities import Probed
from asgi_cache.stores.guarded import GuardedStore
from asgi_cache.stores.memory import MemoryStore
from asgi_cache.stores.operations import Budget
from asgi_cache.stores.redis import RedisStore
from asgi_cache.stores.tiered import TieredStore

__all__ = [
    "RESPONSE_SLOT",
    "VARIANT_SLOTS",
    "Budget",
    "GuardedStore",
    "MemoryStore",
    "Probed",
    "Records",
    "RedisStore",
    "Stamps",
    "Store",
    "TieredStore",
]
