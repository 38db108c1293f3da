"""``stale-while-revalidate`` (RFC 5861 §3): the app is asked anew while clients have their answer.

The request for that is made of keyed inputs alone, so that nothing of the client that happened to
come first is in what the others get.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asgi_cache.messages import read_request
from asgi_cache.notes import Notes
from asgi_cache.policy.folding import fold
from asgi_cache.policy.reuse import Screened, screen
from asgi_cache.settings.plan import COOKIE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Message, Scope

    from asgi_cache.fetching import Fetcher
    from asgi_cache.model import CarriedStamp, Line, StoredResponse
    from asgi_cache.selection import Selection
    from asgi_cache.stores.base import Store

MOST_AT_ONCE: Final = 64
"""Background requests of one middleware; what is beyond waits for the next client."""
RETRY_SECONDS: Final = 5.0
"""How long one that brought nothing new keeps the next one waiting."""
MOST_SECONDS: Final = 60.0
"""How long one may take; what is not there by then is a failure."""
SHUTDOWN_SECONDS: Final = 1.0
USER_AGENT: Final = b"asgi-cache"

KEPT_KEYS: Final = (
    *("type", "asgi", "http_version", "scheme", "path", "raw_path", "query_string", "root_path"),
    *("server", "app", "app_root_path", "router", "route", "endpoint", "path_params"),
    *("litestar_app", "route_handler", "path_template"),
)
"""What an app may rely on in a scope: the request's own, and what frameworks outside have put there
that follows from it."""


Place: TypeAlias = tuple[bytes, tuple[tuple[bytes, bytes | None], ...]]
"""A key, and the nominated fields of one of the responses there."""

Mark: TypeAlias = "tuple[float, tuple[CarriedStamp, ...]]"
"""What tells one response at a place from the next."""


class Revalidations:
    """The background requests of one app: one at a time for a response, spaced where they fail."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._tasks: dict[Place, asyncio.Task[None]] = {}
        self._pid = os.getpid()
        self._inherited: list[object] = []
        """Kept for ever, because to end them is the parent's business."""
        self._failed: Notes[Place, bool] = Notes(seconds=RETRY_SECONDS)
        self._refreshed: Notes[Place, Mark] = Notes(seconds=RETRY_SECONDS)

    def start(
        self, scope: Scope, screened: Screened, selection: Selection, stored: StoredResponse
    ) -> bool:
        """See that *stored* is being revalidated, or has been lately, or has to wait.

        ``False`` where no request of keyed inputs alone leads to its key: the client's own has to
        be asked then.
        """
        now = self._fetcher.cache.now()
        place = (screened.key, stored.nominated)
        if self._is_running(place) or self._failed.get(place, now):
            return True
        mark = (stored.generated_at, stored.stamps)
        if self._refreshed.get(place, now) == mark:
            # Looked up before its successor was there.
            return True
        child = background_scope(scope, screened, stored, self._fetcher.state)
        own = screen(read_request(child), self._fetcher.cache.settings)
        if not isinstance(own, Screened) or (own.target, own.key) != (screened.target, place[0]):
            return False
        task = asyncio.get_running_loop().create_task(
            self._run(child, own, selection, place, mark), context=contextvars.Context()
        )
        self._tasks[place] = task
        task.add_done_callback(lambda _: self._tasks.pop(place, None))
        return True

    def _is_running(self, place: Place) -> bool:
        """Whether one is under way, or too many are.

        Those of a loop that has ended are none, nor are those of the process that forked this one.
        """
        if self._pid != os.getpid():
            self._inherited.append(self._tasks)
            self._tasks, self._pid = {}, os.getpid()
        task = self._tasks.get(place)
        if task is None and len(self._tasks) < MOST_AT_ONCE:
            return False
        for other, its in list(self._tasks.items()):
            if its.get_loop().is_closed():
                self._tasks.pop(other, None)
        return place in self._tasks or len(self._tasks) >= MOST_AT_ONCE

    async def _run(
        self, scope: Scope, screened: Screened, selection: Selection, place: Place, mark: Mark
    ) -> None:
        fetcher = self._fetcher
        cache = fetcher.cache
        store: Store = cache.local_store or cache.store_for_request()
        refreshed = asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await asyncio.get_running_loop().create_future()  # this client never leaves
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            """There is nobody to send it to."""

        cache.metrics.revalidations += 1
        try:
            async with asyncio.timeout(MOST_SECONDS):
                refreshed = await fetcher.fetch(
                    scope, receive, send, screened, selection, None, store
                )
        except Exception as error:
            cache.log("a revalidation", error)
        finally:
            if refreshed:
                self._refreshed.put(place, mark, cache.now())
            else:
                self._failed.put(place, True, cache.now())

    async def aclose(self) -> None:
        """End those of this event loop, within a second."""
        loop = asyncio.get_running_loop()
        tasks = [task for task in self._tasks.values() if task.get_loop() is loop]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=SHUTDOWN_SECONDS)


def background_scope(
    scope: Scope,
    screened: Screened,
    stored: StoredResponse,
    state: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The scope of a request for what *screened* asks for, by nobody in particular.

    Its fields are Host, those that the key has, and those that selected *stored*.
    """
    request = screened.request
    seen = fold(request, screened.shape, screened.compiled).head.fields
    fields: dict[bytes, bytes | None] = {
        b"host": request.fields.get(b"host"),
        b"accept": b"*/*",
        b"user-agent": USER_AGENT,
    }
    fields.update((name, seen.get(name)) for name in screened.shape.key_fields)
    fields.update(stored.nominated)
    if screened.compiled is not None and screened.compiled.anonymous:
        # What is left of it by folding is part of the key.
        fields[COOKIE] = seen.get(COOKIE) if screened.compiled.cookies else None
    lines: list[Line] = [(name, value) for name, value in fields.items() if value is not None]
    child = {key: scope[key] for key in KEPT_KEYS if key in scope}
    child.update(method="GET", headers=lines, client=None, extensions={})
    if "state" in scope:
        child["state"] = dict(state or {})
    return child
