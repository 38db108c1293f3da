"""How the store is, as far as this process knows: a value to show, made without asking anybody."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from asgi_cache.stores import GuardedStore, MemoryStore, RedisStore, TieredStore

if TYPE_CHECKING:
    from asgi_cache.stores.base import Store

PASSWORD: Final = re.compile(r"(://[^/\s:@]*:)[^/\s]*@")


@dataclass(frozen=True, slots=True)
class Health:
    """What :meth:`asgi_cache.Cache.health` returns."""

    store: str
    """``"memory"``, ``"redis"``, or the class of a store of your own."""
    available: bool
    """Requests are answered from the store; else they go to the app."""
    breaker: Literal["closed", "open", "none"]
    """Open: the store failed too often, and is left alone until it answers. Memory has none."""
    since: float | None
    """When the breaker opened or closed (or was made): seconds since the epoch."""
    last_error: str | None
    """The store's last failure, passwords left out, also where all is well again."""
    waiting: int
    """Invalidations that wait to be carried out; what they name is not served here meanwhile."""
    near: Literal["on", "off", "none"] = "none"
    """Whether hits come from memory in front of the store; off until its channel of changes is
    proven alive, and whenever it is not."""
    near_error: str | None = None
    """Why the near tier could not be opened, passwords left out; ``None`` before the first look-up,

    and while all of the store is away (see :attr:`last_error`)."""


def health_of(store: Store) -> Health:
    """The health of *store*."""
    if isinstance(store, TieredStore):
        watching = store.watching
        return replace(
            health_of(store.far),
            near="on" if watching.is_alive else "off",
            near_error=_without_password(watching.error),
        )
    if not isinstance(store, GuardedStore):
        return Health(_kind(store), True, "none", None, None, 0)
    breaker = store.breaker
    is_open, error = breaker.is_open, breaker.last_error
    return Health(
        store=_kind(store.store),
        available=not is_open,
        breaker="open" if is_open else "closed",
        since=breaker.since,
        last_error=_without_password(error),
        waiting=len(store.journal),
    )


def _without_password(error: str | None) -> str | None:
    return None if error is None else PASSWORD.sub(r"\1***@", error)


def _kind(store: Store) -> str:
    match store:
        case MemoryStore():
            return "memory"
        case RedisStore():
            return "redis"
        case _:
            return type(store).__name__
