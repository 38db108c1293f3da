"""The demonstration: a story of requests to the shop, and what the cache made of each.

They go over loopback through a real server, which serves the shop twice: behind the cache, and on a
second port with the cache's kill switch. What is shown of an answer is read from its fields. What
must not be here: the shop (``shop``), how tables look (``tables``), options, sockets and errors for
people (``cli``).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import http_sf
import httpx
import uvicorn

from asgi_cache import Cache, Settings, wrap
from asgi_cache.cli.serving import url_of
from asgi_cache.demo.shop import PATHS, make_shop
from asgi_cache.demo.tables import comparison_table, story_table

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from rich.console import Console
    from starlette.types import ASGIApp, Receive, Scope, Send

NAMESPACE: Final = "asgi-cache-demo"
ROUNDS: Final = 30
"""How many times the comparison asks each of the two."""
PRODUCT: Final = "/products/7"
PRICE: Final = "/products/7/price"
SEARCH: Final = "/search?q=oak"
ANN: Final = MappingProxyType({"Cookie": "user=ann"})
BOB: Final = MappingProxyType({"Cookie": "user=bob"})


@dataclass(frozen=True)
class Step:
    """One request of the story, and why it is asked."""

    why: str
    path: str
    method: str = "GET"
    fields: Mapping[str, str] = field(default_factory=dict)
    content: str = ""
    has_copy: bool = False
    """It asks whether the copy that it has, the answer to the first step, still holds."""


BEFORE: Final = (
    Step("a first visit: asks the database", PRODUCT),
    Step("the next visitor", PRODUCT),
    Step("Ann, logged in: everybody's page", PRODUCT, fields=ANN),
    Step("a browser that has the page", PRODUCT, has_copy=True),
    Step("its header only", PRODUCT, method="HEAD"),
    Step("a search", SEARCH),
    Step("the same, by a link in a mailing", f"{SEARCH}&utm_source=mail"),
    Step("Ann's own page", "/me", fields=ANN),
    Step("Bob's own page", "/me", fields=BOB),
    Step("the page itself says max-age=3600", "/about"),
)
AFTER: Final = (
    Step("a little later", "/about"),
    Step("a new price; the shop purges", PRICE, method="POST", content="price=9.99"),
    Step("the product with its new price", PRODUCT),
    Step("searches show prices, too", SEARCH),
    Step("the next visitor", PRODUCT),
)
"""The comparison comes between the two."""


class Answer(NamedTuple):
    """What came back: *decision* and *reason* from Cache-Status, *seconds* as the client saw it."""

    status: int
    decision: str
    reason: str
    age: str
    seconds: float
    server_seconds: float
    etag: str


class Comparison(NamedTuple):
    """Medians of the same page, in seconds; *hits* of the ``ROUNDS`` cached requests were hits."""

    hits: int
    cached: float
    uncached: float
    server_cached: float
    server_uncached: float


def settings_of(store: str) -> Settings:
    """The demonstration's settings: none are taken from the environment or a file."""
    values = {name: one.default for name, one in Settings.model_fields.items()}
    values |= {"store": store, "namespace": NAMESPACE, "paths": PATHS}
    # Client, two servers, queries and cache share this process: on a busy machine its own turns
    # take longer than a store has in an application.
    values |= {"store_timeout": 2.0, "request_store_timeout": 3.0}
    return Settings(**values)


async def demonstrate(
    settings: Settings,
    cached: socket.socket,
    uncached: socket.socket,
    console: Console,
    *,
    once: bool,
) -> None:
    """Serve the shop on two listening sockets, tell the story, and go on serving unless *once*.

    Raises :class:`~asgi_cache.StoreError` where the store does not answer.
    """
    cache = Cache(settings)
    try:
        await cache.purge_all()  # what an earlier demonstration left; and whether it answers
    finally:
        await cache.aclose()
    shop = make_shop()
    without = wrap(shop, settings.model_copy(update={"enabled": False}))
    app = by_port({uncached.getsockname()[1]: without}, wrap(shop, settings))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3)
    )
    serving = asyncio.create_task(server.serve(sockets=[cached, uncached]))
    story = asyncio.create_task(tell(settings, url_of(cached), url_of(uncached), console))
    try:
        await asyncio.wait({serving, story}, return_when=asyncio.FIRST_COMPLETED)
        if not server.should_exit and not serving.done():
            story.result()
            if once:
                server.should_exit = True
            else:
                invite(settings, url_of(cached), url_of(uncached), console)
        await serving
    finally:
        server.should_exit = True
        story.cancel()
        await asyncio.gather(serving, story, return_exceptions=True)


def by_port(apps: Mapping[int, ASGIApp], other: ASGIApp) -> ASGIApp:
    """One app that is another on some ports."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _, port = scope.get("server") or ("", 0)
        await apps.get(port, other)(scope, receive, send)

    return app


# ---------------------------------------------------------------------- the story


async def tell(settings: Settings, cached: str, uncached: str, console: Console) -> None:
    """Ask, and show what happened."""
    store = settings.shown()["store"]
    console.print(
        "A small shop behind asgi-cache: 20,000 products and 100,000 sales in SQLite, "
        f"store {store}.",
        markup=False,
        highlight=False,
    )
    # Proxies of the environment have no business on loopback.
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        await client.get(uncached)  # answered when the shop has opened; and warms up both sides
        first = await asked(client, cached, BEFORE[0])
        answers = [first, *[await asked(client, cached, step, first) for step in BEFORE[1:]]]
        compared = await compare(client, cached, uncached)
        answers += [await asked(client, cached, step, first) for step in AFTER]
    console.print(story_table((*BEFORE, *AFTER), answers))
    console.print(comparison_table(compared, f"GET {PRODUCT}, median of {ROUNDS} each, in turn"))
    console.print(
        f"{compared.hits} of the {ROUNDS} cached ones were hits. Client and server share one "
        "process; uncached is the same app on a second port, with enabled = false.",
        style="dim",
        highlight=False,
    )


async def asked(
    client: httpx.AsyncClient, base: str, step: Step, first: Answer | None = None
) -> Answer:
    """The answer to *step*."""
    fields = dict(step.fields)
    if step.has_copy and first is not None:
        fields["If-None-Match"] = first.etag
    began = perf_counter()
    response = await client.request(
        step.method, base + step.path, headers=fields, content=step.content
    )
    seconds = perf_counter() - began
    milliseconds = response.headers.get("x-response-time", "0ms").removesuffix("ms")
    age = response.headers.get("age")
    return Answer(
        response.status_code,
        *told_by(response.headers.get("cache-status")),
        "" if age is None else f"{age} s",
        seconds,
        float(milliseconds) / 1e3,
        response.headers.get("etag", ""),
    )


def told_by(cache_status: str | None) -> tuple[str, str]:
    """The decision and its reason, as Cache-Status (RFC 9211) has them."""
    if cache_status is None:
        return "passed on", ""
    members: Any = http_sf.parse(cache_status.encode(), tltype="list")
    parameters = members[-1][1]
    if "hit" in parameters:
        return "hit", f"ttl={parameters['ttl']}"
    kept = "stored" if "stored" in parameters else "not stored"
    return str(parameters["fwd"]), str(parameters.get("detail", kept))


async def compare(client: httpx.AsyncClient, cached: str, uncached: str) -> Comparison:
    """The same page with the cache and without, in turn, so that both meet the same machine."""
    step = Step("", PRODUCT)
    pairs = [
        (await asked(client, cached, step), await asked(client, uncached, step))
        for _ in range(ROUNDS)
    ]
    return Comparison(
        sum(one.decision == "hit" for one, _ in pairs),
        median(one.seconds for one, _ in pairs),
        median(one.seconds for _, one in pairs),
        median(one.server_seconds for one, _ in pairs),
        median(one.server_seconds for _, one in pairs),
    )


def invite(settings: Settings, cached: str, uncached: str, console: Console) -> None:
    """Say where the shop is, and what to try."""
    lines = [
        f"The shop is open: {cached}/ (and without the cache: {uncached}/). Ctrl-C closes it.",
        "",
        f"  curl -i {cached}{PRODUCT}",
        f"  curl -i -H 'Cookie: user=ann' {cached}{PRODUCT}",
        f"  curl -i '{cached}{SEARCH}&utm_source=mail'",
        f"  curl -i -d price=12.50 {cached}{PRICE}",
    ]
    if settings.store != "memory://":
        lines.append(
            f"  ASGI_CACHE_NAMESPACE={NAMESPACE} asgi-cache purge --store "
            f"{settings.shown()['store']} --group product:7"
        )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
