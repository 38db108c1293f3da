"""Random histories: two apps of two workers each, on one event loop and one store.

Clients, users, cookies, variants, purges, unsafe requests and failing app calls at once; every
answer that comes is judged alone. ``HISTORY_RESPONSES`` and ``HISTORY_SEED`` make the long run,
or a history once more.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter, defaultdict
from itertools import count
from typing import TYPE_CHECKING, Any

from asgi_cache import Rule
from tests.driver import START
from tests.security.harness import SHARED, Origin, Reply, read

if TYPE_CHECKING:
    from starlette.types import Message

    from tests.driver import Exchange, Field
    from tests.security.harness import Place, Told

RESPONSES = int(os.environ.get("HISTORY_RESPONSES", "12000"))
SEED = int(os.environ.get("HISTORY_SEED", "20"))

CLIENTS = 24
PAGES = 3
HOSTS = ["a.example", "b.example"]
PROXY = "x-forwarded-host"
LANGUAGES = ["en", "de"]

PATHS = {
    "/ruled/{n}": Rule(ttl=60, groups=["page:{n}", "pages"]),
    "/own/{n}": Rule(ttl=60, groups=["page:{n}"]),
    "/lang/{n}": Rule(ttl=60, languages=LANGUAGES),
    "/query/{n}": Rule(ttl=60, query=["q"]),
    "/error/{n}": Rule(ttl=60),
    "/taste/{n}": Rule(ttl=60, cookies=["taste"]),
}
KINDS = ["plain", "maxage", "cookie", "vary", "groups", *(path.split("/")[1] for path in PATHS)]
ANONYMOUS = {"ruled", "lang", "query", "taste"}
"""Their answers never show a user; those of ``maxage`` and ``own`` show each his own."""


class AppError(Exception):
    """What the app raises."""


class History:
    """One app and what is known of it: which version each answer must at least have."""

    def __init__(self, place: Place, name: str, seed: int) -> None:
        self.name = name
        self.draw = random.Random(f"{seed} {name}")
        serials = count(1)
        self.sites = [
            place.site(
                Origin(self._answer, worker=f"{name}{worker}", serials=serials),
                paths=PATHS,
                namespace=f"{place.namespace}-{name}",
            )
            for worker in range(2)
        ]
        self.version = 1
        self.floors: defaultdict[Any, int] = defaultdict(int)
        """The version that an answer must have, by what was purged: a URL, a path, a group."""
        self.posted: dict[str, int] = {}
        self.own_serials: set[int] = set()
        self.cookies: set[str] = set()
        self.counts: Counter[str] = Counter()

    # ------------------------------------------------------------ the app

    async def _answer(self, told: Told) -> Reply:
        draw = self.draw
        for _ in range(draw.randrange(3)):
            await asyncio.sleep(0)
        if told.method == "POST":
            self.version += 1
            self.posted[told.value("x-post") or ""] = self.version
            groups = [("cache-group-invalidation", '"h0"')] if "h0" in told.query else []
            return Reply(groups, version=self.version)
        version = self.version
        for _ in range(draw.randrange(3)):
            await asyncio.sleep(0)
        kind, number = told.path.split("/")[1:]
        lines: list[Field] = list(SHARED)
        status = 200
        if kind in ANONYMOUS or kind in ("own", "error"):
            lines = []
        match kind:
            case "maxage":
                lines = [("cache-control", "max-age=60")]
            case "own":
                lines = [("cache-control", "private")] if told.user else []
                status = 200 if told.user else 401
            case "cookie" if draw.random() < 0.3:
                lines.append(("set-cookie", f"sid={told.worker}{told.serial}"))
            case "vary":
                lines.append(("vary", "x-flavour"))
            case "groups":
                names = f'"h{int(number) % 2}"' + (', "more"' if draw.random() < 0.3 else "")
                lines.append(("cache-groups", names))
            case "error":
                status = draw.choice([200, 200, 200, 404, 500, 204])
                if draw.random() < 0.2:
                    raise AppError
        reply = Reply(lines, status, filler=draw.randrange(300), version=version)
        reply.chunks = draw.randint(1, 3)
        reply.length = draw.random() < 0.7
        return reply

    # ------------------------------------------------------------ the clients

    async def client(self, budget: Counter[str]) -> None:
        """Go on until all clients together have had their answers."""
        while budget["left"] > 0:
            await self._one(budget)

    async def _one(self, budget: Counter[str]) -> None:
        draw = self.draw
        path = f"/{draw.choice(KINDS)}/{draw.randrange(PAGES)}"
        host = draw.choice(HOSTS)
        action = draw.random()
        if action < 0.02:
            await self._purge(host, path)
        elif action < 0.03:
            await self._post(host, path)
        else:
            budget["left"] -= 1
            await self._get(host, path)

    def _floor(self, host: str, path: str, query: str) -> int:
        kind, number = path.split("/")[1:]
        scopes: list[Any] = ["all", (host, path, query), (host, path)]
        if kind in ("ruled", "own"):
            scopes.append(f"page:{number}")
        if kind == "ruled":
            scopes.append("pages")
        if kind == "groups":
            scopes += [f"h{int(number) % 2}", (host, f"h{int(number) % 2}")]
        return max(self.floors[scope] for scope in scopes)

    async def _get(self, host: str, path: str) -> None:
        draw = self.draw
        kind = path.split("/")[1]
        query = draw.choice(["", "q=1", "q=2"])
        user = draw.choice([None, None, "ann", "bob", "eve"])
        lines: list[tuple[str, str]] = []
        cookies = [f"user={user}"] if user else []
        taste = draw.choice([None, "sweet"]) if kind == "taste" else None
        if taste:
            cookies.append(f"taste={taste}")
        if user and draw.random() < 0.3:
            lines.append(("authorization", user))
        if cookies:
            lines.append(("cookie", "; ".join(cookies)))
        proxy = draw.choice([None, None, None, "evil.example"])
        if proxy:
            lines.append((PROXY, proxy))
        flavour = draw.choice([None, "x", "y"])
        if flavour:
            lines.append(("x-flavour", flavour))
        language = draw.choice([None, "de", "en-GB, de;q=0.5", "DE , xx", "fr"])
        if language:
            lines.append(("accept-language", language))
        sent = query + (draw.choice(["", f"&junk={draw.random()}"]) if kind == "query" else "")
        if draw.random() < 0.1:
            lines.append(("cache-control", draw.choice(["no-cache", "no-store", "max-age=0"])))
        method = "HEAD" if draw.random() < 0.04 else "GET"
        floor = self._floor(host, path, query)
        site = draw.choice(self.sites)
        try:
            exchange = await site.ask(f"{path}?{sent}", lines, host=host, method=method)
        except AppError:
            assert kind == "error"
            self.counts["raised"] += 1
            return
        self.counts["hits"] += exchange.hit
        self.counts["judged"] += 1
        if method == "HEAD":
            assert exchange.body == b""
            return
        told = read(exchange.body)
        assert told.worker.rstrip("01") == self.name, "another app's"
        assert told.path == path
        assert told.value("host") == host
        assert told.value(PROXY) == proxy
        assert floor <= told.version <= self.version, f"{told.version}, {floor} was purged"
        shared = exchange.hit or "; stored" in exchange.cache_status
        assert told.query in ((query,) if shared else (query, sent))
        if kind == "vary":
            assert told.value("x-flavour") == flavour
        if kind == "taste":
            taste_seen = (told.value("cookie") or "").partition("taste=")[2] or None
            assert taste_seen == taste
        if kind == "lang" and shared:
            expected = {None: None, "de": "de", "fr": None, "DE , xx": "de"}.get(language, "en")
            assert told.value("accept-language") == expected
        self._judge_user(kind, told, user, exchange, shared=shared)

    def _judge_user(
        self, kind: str, told: Told, user: str | None, exchange: Exchange, *, shared: bool
    ) -> None:
        if kind in ANONYMOUS and shared:
            assert told.user is None
        if kind in ("maxage", "own"):
            assert told.user == user
        if told.user is not None:
            assert told.user == user or "public" in (exchange.field("cache-control") or "")
        if kind in ("maxage", "own") and user is not None:
            assert not shared
            assert told.serial not in self.own_serials
            self.own_serials.add(told.serial)
        if kind == "error" and exchange.status != 200:
            assert not exchange.hit
        for cookie in exchange.values("set-cookie"):
            assert cookie == f"sid={told.worker}{told.serial}"
            assert cookie not in self.cookies, "one cookie for two clients"
            self.cookies.add(cookie)

    # ------------------------------------------------------------ what makes answers invalid

    async def _purge(self, host: str, path: str) -> None:
        draw = self.draw
        number = path.split("/")[2]
        query = draw.choice(["", "q=1", "q=2"])
        url = f"https://{host}{path}?{query}"
        cache = draw.choice(self.sites).cache
        soft = draw.random() < 0.4
        self.version += 1
        version = self.version
        scopes: list[Any]
        match draw.choice(["url", "path", "group", "rare"]):
            case "url":
                scopes = [(host, path, query)]
                await cache.purge(url, soft=soft)
            case "path":
                scopes = [(host, path), (host, path, "")]
                await cache.purge(url, all_queries=True, soft=soft)
            case "group":
                group = draw.choice([f"page:{number}", "h0", "h1", "nobody's"])
                scopes = [group]
                await cache.purge(group=group, soft=soft)
            case _ if draw.random() < 0.3:
                scopes = ["all"]
                await cache.purge_all(soft=soft)
            case _:
                scopes = ["pages"]
                await cache.purge(group="pages", soft=soft)
        self._acknowledge(scopes, version)

    async def _post(self, host: str, path: str) -> None:
        draw = self.draw
        query = draw.choice(["", "q=1", "q=2", "h0"])
        name = str(draw.random())

        def acknowledged(message: Message) -> None:
            if message["type"] == START:
                scopes: list[Any] = [(host, path, query)]
                if query == "h0":
                    scopes.append((host, "h0"))
                self._acknowledge(scopes, self.posted.pop(name))

        site = draw.choice(self.sites)
        target = f"{path}?{query}"
        lines = [("x-post", name)]
        await site.ask(target, lines, host=host, method="POST", on_send=acknowledged)

    def _acknowledge(self, scopes: list[Any], version: int) -> None:
        self.counts["purges"] += 1
        for scope in scopes:
            self.floors[scope] = max(self.floors[scope], version)


async def test_c18_random_histories(place: Place) -> None:
    """Every answer: its own key's inputs, whole, its own user's, and not from before a purge."""
    share = RESPONSES * 2 // 3 if place.kind == "memory" else RESPONSES // 3
    budget = Counter(left=share)
    histories = [History(place, name, SEED) for name in ("first", "second")]
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(histories[number % 2].client(budget))
    except* AssertionError as errors:
        raise AssertionError(f"seed {SEED}: {errors.exceptions[0]}") from errors.exceptions[0]
    counts = sum((history.counts for history in histories), Counter[str]())
    print(f"\n{place.kind}: {dict(counts)}, seed {SEED}: 0 wrong")
    assert counts["judged"] > 0.95 * share
    assert counts["hits"] > 0.15 * share
    assert counts["purges"] > 0.02 * share
