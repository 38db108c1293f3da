"""Clients of one worker: they ask at random, purge, change things, and go away in between."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, deque
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from asgi_cache import StoreError
from asgi_cache.stores.watching import LEASE
from tests.driver import START, Connection, http_scope
from tests.security.checker.app import TOLD, posted_scopes
from tests.security.checker.asking import question
from tests.security.checker.bodies import BrokenError, instant, told_by
from tests.security.checker.driving import MOST_SECONDS, exchange
from tests.security.checker.exchange import Got
from tests.security.checker.judge import SECOND, Fault, is_shared, judge
from tests.security.checker.pages import (
    DRAWN,
    GROUPS,
    HOSTS,
    PAGES,
    QUERIES,
    scopes_of,
)

if TYPE_CHECKING:
    from starlette.types import Message

    from asgi_cache import Cache, TimingMiddleware
    from tests.security.checker.app import App
    from tests.security.checker.asking import Tags
    from tests.security.checker.board import Board
    from tests.security.checker.exchange import Asked
    from tests.security.checker.judge import Wrong

WATCH_NANOSECONDS: Final = 5_000_000
MARGIN_SECONDS: Final = 0.05
"""What clocks may disagree by."""
HOT_SHARE: Final = 0.3
HOT_NANOSECONDS: Final = SECOND
"""So long all workers' clients often go to one page, then to another."""
REMEMBERED: Final = 4000
"""Events that are kept, for the history of a wrong answer."""
SHOWN: Final = 5
"""Wrong answers of one worker that are told in full."""


class Site:
    """One app of this worker behind its cache."""

    def __init__(self, app: App, cache: Cache, wrapped: TimingMiddleware) -> None:
        self.app = app
        self.cache = cache
        self.wrapped = wrapped
        self.name = app.site


class Clients:
    """All clients of one worker, and what came of what they asked."""

    def __init__(self, sites: list[Site], worker: int, board: Board, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.shown: list[dict[str, Any]] = []
        self.added: dict[str, Counter[int]] = {"hit": Counter(), "other": Counter()}
        """Milliseconds that answers took beyond the app's own time."""
        self.events: deque[tuple[int, str, str]] = deque(maxlen=REMEMBERED)
        """What happened when, to which path."""
        self._sites = sites
        self._worker = worker
        self._board = board
        self._seed = seed
        self._asks = count(1)
        self._tags: Tags = {}
        self.longest_stall = 0
        """Nanoseconds that the event loop, or all of the process, once stood still."""
        self._lag = 0
        self._due = instant()

    async def run(self, number: int) -> None:
        """Go on until all processes are to end."""
        watch = asyncio.ensure_future(self._watch())
        try:
            async with asyncio.TaskGroup() as group:
                for client in range(number):
                    draw = random.Random(f"{self._seed} {self._worker} {client}")
                    group.create_task(self._client(draw))
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        """How late the event loop is, added up."""
        while True:
            self._due = instant() + WATCH_NANOSECONDS
            await asyncio.sleep(WATCH_NANOSECONDS / SECOND)
            late = max(0, instant() - self._due)
            self._lag += late
            self.longest_stall = max(self.longest_stall, late)

    def _stalled(self) -> int:
        """Nanoseconds of lateness so far; what is ready may run before :meth:`_watch` sees it."""
        return self._lag + max(0, instant() - self._due)

    async def _client(self, draw: random.Random) -> None:
        while not self._board.stopped:
            site, host, path, query = self._place(draw)
            action = draw.random()
            if action < 0.01:
                await self._purge(draw, site, host, path, query)
            elif action < 0.02:
                await self._post(site, host, path, query)
            # And at once asked for: a purge that has not done its work shows there.
            await self._ask(draw, site, host, path, query)

    def _place(self, draw: random.Random) -> tuple[Site, str, str, str]:
        """Where to go: often where all clients of all workers go at the moment."""
        query = draw.choice(["", "", *QUERIES])
        if draw.random() < HOT_SHARE:
            draw = random.Random(f"{self._seed} {instant() // HOT_NANOSECONDS}")
            query = QUERIES[0]
        site = draw.choice(self._sites)
        host = HOSTS[draw.random() < 0.25]
        page = min(draw.randrange(PAGES), draw.randrange(PAGES))
        return site, host, f"/{draw.choice(DRAWN)}/{page}", query

    # ------------------------------------------------------------ questions

    async def _ask(self, draw: random.Random, site: Site, host: str, path: str, query: str) -> None:
        ask = f"{self._worker}-{next(self._asks)}"
        asked, lines = question(draw, ask, self._tags, (site.name, host, path, query))
        got = Got()
        stalled = self._stalled()
        leaves = draw.random() < 0.02
        after = draw.choice([0, 1, 2]) if leaves and draw.random() < 0.6 else None
        seconds = draw.expovariate(200.0) if leaves and after is None else MOST_SECONDS
        target = f"{path}?{asked.sent}" if asked.sent else path
        scope = http_scope(target, headers=lines, host=host, method=asked.method)
        scopes = scopes_of(site.name, host, path, query)
        asked.purged = self._board.latest_for(self._worker, "purged", scopes)
        asked.softened = self._board.latest_for(self._worker, "softened", scopes)
        asked.began = instant()
        before = self._store_seen(site)
        await exchange(site.wrapped, scope, got, after, seconds)
        got.ended = instant()
        if got.collapsed and (self._store_seen(site) != before or not before[1]):
            # Where the store is away from a worker it makes one call for all who ask meanwhile,
            # and cannot know of what others purge.
            asked.purged = asked.softened = 0
        got.stalled = self._stalled() - stalled
        got.app_time = site.app.spent.pop(asked.ask, 0)
        if got.hung_at:
            text = f"no end within {MOST_SECONDS:g} s: {got.hung_at}"
            self._see_wrong(asked, got, [(Fault.LATE, text)])
            return
        self._see(asked, got)

    @staticmethod
    def _store_seen(site: Site) -> tuple[int, bool]:
        """How often the store has failed in this process, and whether it is asked at all."""
        return site.cache.metrics.store_failures, site.cache.health().available

    # ------------------------------------------------------------ what is seen

    def _see(self, asked: Asked, got: Got) -> None:
        board = self._board
        board.count(self._worker, "judged")
        counts = self.counts
        counts["left"] += got.left
        counts["raised"] += got.raised is not None
        counts["hits"] += got.hit
        counts["under a fault"] += board.fault > 0
        counts[f"status {got.status}"] += 1
        counts["collapsed"] += got.collapsed
        wrong = judge(asked, got, self._issued)
        added = max(0, got.ended - asked.began - got.app_time) // 1_000_000
        self.added["hit" if got.hit else "other"][added] += 1
        line = got.value(TOLD)
        if line is not None and not wrong:
            told = told_by(line)
            if is_shared(asked, told):
                counts["shared"] += 1
                counts["another worker's"] += told.worker != self._worker
                counts["freshened"] += str(told.version) != got.value("x-confirmed")
            tag = got.value("etag")
            if tag is not None and not asked.proxy and not told.user:
                self._tags[asked.site, asked.host, asked.path, asked.query] = tag, told
        told_text = (line or got.value("x-head-told") or "-").partition(',"fields"')[0]
        text = f"{asked.ask} {asked.method} {got.status} {got.value('cache-status')} {told_text}"
        self.events.append((got.ended, _place_of(asked), text))
        if wrong:
            self._see_wrong(asked, got, wrong)

    def _issued(self, worker: int) -> int:
        return self._board.count_of(worker, "serial")

    def _see_wrong(self, asked: Asked, got: Got, wrong: list[Wrong]) -> None:
        self._board.count(self._worker, "wrong")
        for fault, _ in wrong:
            self.wrong[fault.value] += 1
        if len(self.shown) >= SHOWN:
            return
        told = None
        with contextlib.suppress(BrokenError):
            told = repr(told_by(got.value(TOLD) or got.value("x-head-told") or ""))
        self.shown.append(
            {
                "worker": self._worker,
                "at": got.ended,
                "place": _place_of(asked),
                "wrong": [f"{fault.value}: {text}" for fault, text in wrong],
                "asked": repr(asked),
                "got": f"{got.status} {got.headers} {got.body[:200]!r}",
                "told": told,
                "timing": [asked.began, got.started, got.ended, got.app_time, got.stalled],
                "fault": self._board.fault,
            }
        )

    # ------------------------------------------------------------ what makes answers invalid

    async def _purge(
        self, draw: random.Random, site: Site, host: str, path: str, query: str
    ) -> None:
        soft = draw.random() < 0.4
        url = f"https://{host}{path}?{query}".rstrip("?")
        name = site.name
        options: dict[str, Any] = {"url": url}
        what = draw.choices(["url", "path", "group", "all"], [40, 30, 25, 1])[0]
        scopes: list[tuple[str, ...]] = [(name, "url", host, path, query)]
        if what == "path":
            scopes = [(name, "path", host, path)]
            options["all_queries"] = True
        elif what == "group":
            group = draw.choice(GROUPS)
            scopes = [(name, "group", group)]
            options = {"group": group}
        elif what == "all":
            scopes = [(name, "all")]
        board = self._board
        before = instant()
        if not soft:
            board.note(self._worker, "changed", scopes, instant())
        text = f"purge {what} {'soft' if soft else 'hard'}"
        self.events.append((before, " ".join(scopes[0]), f"{text} begins"))
        try:
            async with asyncio.timeout(MOST_SECONDS):
                if what == "all":
                    await site.cache.purge_all(soft=soft)
                else:
                    await site.cache.purge(soft=soft, **options)
        except StoreError as error:
            self.counts["purges refused"] += 1
            self.events.append((instant(), " ".join(scopes[0]), f"{text}: {error}"))
            return
        self._note("softened" if soft else "purged", scopes, before)
        self.events.append((instant(), " ".join(scopes[0]), f"{text} done"))
        self.counts["purges"] += 1

    def _note(self, table: str, scopes: list[Any], before: int) -> None:
        """What was done has to be known here, and when the lease has ended to every worker."""
        self._board.note(self._worker, table, scopes, before)
        known = partial(self._board.note, self._worker, f"known {table}", scopes, before)
        asyncio.get_running_loop().call_later(LEASE + MARGIN_SECONDS, known)

    async def _post(self, site: Site, host: str, path: str, query: str) -> None:
        """A POST: once its start has come, what it changed must be seen."""
        before = instant()
        failures = site.cache.metrics.store_failures
        scopes = posted_scopes(site.name, host, path, query)

        def see(message: Message) -> None:
            # What waits for the store is seen by this process alone.
            failed = site.cache.metrics.store_failures != failures
            done = not failed and site.cache.health().waiting == 0
            if message["type"] == START and message["status"] == 200 and done:
                self._note("purged", scopes, before)
                self.events.append((instant(), " ".join(scopes[0]), "POST done"))
                self.counts["POSTs"] += 1

        scope = http_scope(f"{path}?{query}".rstrip("?"), host=host, method="POST")
        async with asyncio.timeout(MOST_SECONDS):
            await Connection(scope, b"x", see).run(site.wrapped)


def _place_of(asked: Asked) -> str:
    return f"{asked.site} url {asked.host} {asked.path} {asked.query}"
