"""The cache without ASGI: select, keep, invalidate, purge. Keys and a store meet here.

Store errors stop here, each at its verb: a look-up that fails is a miss, a write that fails is
not stored, and only a purge that cannot be carried out raises.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from asgi_cache.errors import ConfigurationError, StoreError, StoreUnavailable
from asgi_cache.fill_bytes import FillBytes
from asgi_cache.health import health_of
from asgi_cache.keeping import Keeper
from asgi_cache.leasing import Leasing
from asgi_cache.metrics import Failures, Metrics
from asgi_cache.notes import KeyNotes
from asgi_cache.opening import leased_of, open_store, per_request
from asgi_cache.policy.keys import EPOCH, NAMESPACE, Target, group_stamps, target_of
from asgi_cache.policy.scopes import purged_names
from asgi_cache.selection import Selector
from asgi_cache.settings import Settings
from asgi_cache.stores.capabilities import Journalling

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from asgi_cache.health import Health
    from asgi_cache.policy.decision import Refusal
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.stores.base import Store

OnError: TypeAlias = Literal["raise", "queue"]
STAMP_LIFE_FLOOR: Final = 7200.0
"""Seconds that a stamp lives at least: what carries it is usually younger."""


class Cache:
    """A cache and its store: the handle to purge by, and what the middleware asks.

    *settings* and keyword *overrides* as for :class:`Settings`. Raises
    :class:`ConfigurationError`. Nothing is connected before the first look-up.
    """

    def __init__(self, settings: Settings | None = None, **overrides: Any) -> None:
        if settings is None:
            settings = Settings(**overrides)
        elif not isinstance(settings, Settings):
            raise ConfigurationError(
                f"settings is {type(settings).__name__}; it must be asgi_cache.Settings"
            )
        elif overrides:
            settings = settings.model_copy(update=overrides)
        self.settings = settings
        self.store = open_store(settings)
        for_request = per_request(self.store)
        self.local_store = self.store if for_request is None else None
        """The store where it needs no guard: this process's memory."""
        self.store_for_request = for_request or (lambda: self.store)
        """The store as one request sees it: all of its waiting comes out of one budget."""
        self.metrics = Metrics(self.store)
        self._filling = FillBytes()
        self.now = self.store.now
        """The store's clock: seconds since the epoch."""
        self.status_name = settings.plan.cache_status_name if settings.cache_status else None
        """What ``Cache-Status`` calls this cache; ``None``: it is not emitted."""
        self._life = stamp_life(settings)
        self._failures = Failures(self.metrics)
        self.failed = self._failures.see
        self.log = self._failures.log
        self._notes = KeyNotes(settings.max_ttl)
        self._writes: set[asyncio.Future[None]] = set()
        self._draw = random.Random().random  # noqa: S311 - spreads expiry, keeps no secret
        self.select = Selector(self._notes, self._failures).select
        keeper = Keeper(self._notes, self._failures, self._life)
        self.settle = keeper.settle
        self.stamped = keeper.stamped
        self.carried = keeper.carried
        self.complete = keeper.complete
        leased = leased_of(self.store)
        life, timeout = settings.collapse_timeout, settings.store_timeout
        self.leasing = (
            Leasing(leased, self._failures, life, timeout) if life and leased is not None else None
        )
        """How workers agree on one fill of a key; ``None``: there is one worker."""
        self.is_joinable = keeper.is_joinable
        self.keep = keeper.keep
        self.discard = keeper.discard

    # ------------------------------------------------------------------ for a request

    @property
    def filling(self) -> FillBytes:
        """Where the fills of this process count their bytes."""
        self._filling = self._filling.here()
        return self._filling

    @property
    def filling_bytes(self) -> int:
        """Bodies of all fills in flight together; bounded by ``fill_bytes``."""
        return self.filling.held

    async def invalidate(self, names: Sequence[bytes], store: Store) -> None:
        """Replace the stamps that a successful unsafe request spoils (RFC 9111 §4.4).

        Where the store cannot, that waits until it can.
        """
        self.metrics.invalidations += 1
        try:
            await store.replace(names, (), self._life)
        except asyncio.CancelledError:
            self._queue(names, ())
            raise
        except Exception as error:
            self._queue(names, ())
            self.failed("invalidation", error)
        finally:
            self._notes.purges += 1

    def _queue(self, names: Sequence[bytes], soft_names: Sequence[bytes]) -> bool:
        """Have *names* replaced later; ``False``: this store does not keep what waits."""
        store = self.store
        return isinstance(store, Journalling) and store.queue(
            names, soft_names, self._life, NAMESPACE
        )

    async def shielded(self, write: Coroutine[Any, Any, None]) -> None:
        """Wait for *write*, which goes on where whoever waits is cancelled."""
        if self.local_store is not None:
            await write  # never suspends
            return
        # What asyncio.shield() does, at half of what that costs: each fill comes by here.
        loop = asyncio.get_running_loop()
        task, over = loop.create_task(write), loop.create_future()
        self._writes.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._writes.discard(task)
            if not over.done():
                over.set_result(None)
            elif not task.cancelled():
                task.exception()  # nobody is there to see it

        task.add_done_callback(ended)
        await over
        task.result()

    def note(self, screened: Screened, refusal: Refusal) -> None:
        """Remember for two minutes that this key's answers are no one else's (decision 3)."""
        self._notes.refusals.put(screened.key, refusal, self.now())

    def noted(self, screened: Screened) -> Refusal | None:
        """What :meth:`note` remembered."""
        refusals = self._notes.refusals
        return refusals.get(screened.key, self.now()) if refusals.held else None

    def note_alone(self, screened: Screened) -> None:
        """Remember for two minutes that there is no use in waiting for this key's fills."""
        self._notes.alone.put(screened.key, True, self.now())

    def goes_alone(self, screened: Screened) -> bool:
        """What :meth:`note` or :meth:`note_alone` remembered."""
        alone, key = self._notes.alone, screened.key
        if alone.held and alone.get(key, self.now()):
            return True
        return self.noted(screened) is not None

    def draw(self) -> float:
        """A number from [0, 1) for ``ttl_jitter``."""
        return self._draw() if self.settings.ttl_jitter else 0.0

    # ------------------------------------------------------------------ for people

    async def purge(
        self,
        url: str | None = None,
        *,
        group: str | None = None,
        all_queries: bool = False,
        soft: bool = False,
        on_error: OnError = "raise",
    ) -> None:
        """Make everything stored for a URL (every variant), or of a group, invalid.

        *url* is absolute; where ``authorities`` is set, a path will do and means each of them.
        *all_queries*: whatever the query. *soft*: stale instead of gone. A request that begins
        after this has returned is not answered with a response whose fill began before. Raises
        :class:`ConfigurationError` for a URL that names nothing, :class:`StoreError` where the
        store could not carry it out; *on_error* ``"queue"``: it is then kept in this process, and
        carried out as soon as the store can. Until then this process answers no request from
        what was purged; others do.
        """
        if (url is None) == (group is None):
            raise ConfigurationError("purge takes a URL or group=..., one of them, or purge_all()")
        if group is not None:
            if all_queries:
                raise ConfigurationError("purge: all_queries goes with a URL, not with a group")
            names = [group_stamps(group, b"")[0]]
            await self._replace([EPOCH], names, soft=soft, on_error=on_error)
        elif url is not None:
            names = self._stamps_of(url, all_queries)
            await self._replace([], names, soft=soft, on_error=on_error)

    def _stamps_of(self, url: str, all_queries: bool) -> list[bytes]:
        """The stamps that a purge of *url* replaces."""
        if url.startswith("/") and not url.startswith("//"):
            bases = [Target(name.encode(), b"/", b"") for name in self.settings.authorities]
            targets = [target_of(url, self.settings, base) for base in bases]
        else:
            targets = [target_of(url, self.settings)]
        found = [target for target in targets if target is not None]
        if not found or len(found) < len(targets):
            raise ConfigurationError(
                f"purge: {url!r} names no host; give an absolute URL such as "
                "'https://shop.example/products/1', or set authorities"
            )
        return purged_names(found, all_queries)

    async def purge_targets(
        self,
        targets: Sequence[Target],
        *,
        all_queries: bool = False,
        soft: bool = False,
        on_error: OnError = "raise",
    ) -> None:
        """As :meth:`purge`, for targets that were resolved elsewhere."""
        await self._replace([], purged_names(targets, all_queries), soft=soft, on_error=on_error)

    async def purge_all(self, *, soft: bool = False, on_error: OnError = "raise") -> None:
        """Make everything in this cache's namespace invalid; *soft*: stale instead of gone.

        *on_error* as for :meth:`purge`.
        """
        await self._replace([], [NAMESPACE], soft=soft, on_error=on_error)

    async def _replace(
        self, first: list[bytes], names: list[bytes], *, soft: bool, on_error: OnError
    ) -> None:
        if on_error not in ("raise", "queue"):
            raise ConfigurationError(f"on_error is {on_error!r}; it must be 'raise' or 'queue'")
        hard, soft_names = (first, names) if soft else (first + names, [])
        try:
            await self.store.replace(hard, soft_names, self._life)
        except Exception as error:
            if on_error == "queue" and self._queue(hard, soft_names):
                self.failed("purge", error)
            elif isinstance(error, StoreError):
                raise
            else:
                raise StoreUnavailable(f"the purge was not carried out: {error!r}") from error
        else:
            self.metrics.purges += 1
        finally:
            self._notes.purges += 1

    def health(self) -> Health:
        """How the store is, as far as this process knows; asks nobody, so it costs nothing."""
        return health_of(self.store)

    async def aclose(self) -> None:
        """Close the connections that this cache opened; it may be used again."""
        if self._writes:
            loop = asyncio.get_running_loop()
            writes = [task for task in self._writes if task.get_loop() is loop]
            if writes:
                await asyncio.wait(writes)
        if self.leasing is not None:
            await self.leasing.aclose()
        await self.store.aclose()
        waiting = self.health().waiting
        if waiting:
            self.log("close", StoreUnavailable(f"{waiting} invalidations were not carried out"))


def stamp_life(settings: Settings) -> float:
    """Seconds that a new stamp lives: twice what a rule's response may, and no less than 2 h.

    A response that lives longer has its stamps renewed when it is stored.
    """
    ttls = [rule.ttl for rule in settings.paths.values() if rule is not False and rule.ttl]
    longest = min(settings.max_ttl, max([*ttls, settings.default_ttl or 0.0], default=0.0))
    return max(STAMP_LIFE_FLOOR, 2 * (longest + settings.keep))
