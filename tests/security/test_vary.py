"""Cases V01 to V08: variants are told apart, and there are never many of them."""

from __future__ import annotations

import asyncio
import gzip
import random
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis
from starlette.middleware.gzip import GZipMiddleware

import asgi_cache
from asgi_cache import Rule
from tests.driver import drive
from tests.security.harness import SHARED, Origin, Reply, memory_of, read, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.driver import Exchange
    from tests.security.harness import Lines, Place, Site, Told

EVERYWHERE = {"/{rest:path}": Rule(ttl=60)}
RULED = pytest.mark.parametrize("paths", [{}, EVERYWHERE], ids=["plain", "ruled"])
MOST_VARIANTS = 32


@pytest.mark.parametrize(
    "values",
    [
        *(["*"], [" * "], ["*,*"], ["a, *"], ["*, a"], ["a", "*"], ["*", "a"], [",*"], ["\t*\t"]),
        *([" ,, * ,"], ["a,*,b"], ["* "], ["a", " *"], ["accept-encoding, *"]),
    ],
    ids=repr,
)
@RULED
async def test_v01_vary_by_anything_is_never_stored(
    place: Place, values: list[str], paths: Any
) -> None:
    lines = [("vary", value) for value in values]
    for silent in (lines, [*SHARED, *lines]):
        site = place.site(Origin(Reply(silent)), paths=paths, default_ttl=60)
        assert not await site.stores()
        assert not await site.stores(headers=[("cookie", "user=ann")])


@pytest.mark.parametrize(
    "vary",
    [
        ["accept-language ,Accept-Language"],
        ["Accept-Language", "ACCEPT-LANGUAGE"],
        ["accept-language,,,"],
        [" accept-language\t, accept-language "],
    ],
    ids=repr,
)
async def test_v02_one_field_is_one_axis(place: Place, vary: list[str]) -> None:
    site = place.site(Origin(Reply([*SHARED, *(("vary", value) for value in vary)])))
    german = await site.told(headers=[("accept-language", "de")])
    english = await site.told(headers=[("accept-language", "en")])
    none = await site.told()
    empty = await site.told(headers=[("accept-language", "")])
    assert len({told.serial for told in (german, english, none, empty)}) == 4
    assert await site.told(headers=[("accept-language", "de")]) == german
    assert await site.told(headers=[("accept-language", " DE")]) == german
    assert await site.told(headers=[("accept-language", "en")]) == english
    assert await site.told() == none
    assert await site.told(headers=[("accept-language", "")]) == empty
    assert site.calls == 4


async def test_v02_fields_are_told_apart_with_their_names(place: Place) -> None:
    """Values that join to the same text; fields that are absent, empty or swapped."""
    site = place.site(Origin(Reply([*SHARED, ("vary", "x-b, x-a")])))
    requests: list[Lines] = [
        [("x-a", "1"), ("x-b", "2")],
        [("x-a", "12"), ("x-b", "")],
        [("x-a", ""), ("x-b", "12")],
        [("x-a", "2"), ("x-b", "1")],
        [("x-a", "12")],
        [("x-b", "12")],
        [("x-a", "")],
        [("x-b", "")],
        [("x-a", ""), ("x-b", "")],
        [],
        [("x-a", "-"), ("x-b", "-")],
        [("x-a", "None")],
    ]
    pages = [await site.told(headers=headers) for headers in requests]
    assert len({page.serial for page in pages}) == len(requests)
    for headers, page in zip(requests, pages, strict=True):
        told = await site.told(headers=headers)
        # Two variants may want one slot; then one of them costs a call, and none is mixed up.
        assert told.fields == page.fields
    assert site.calls <= len(requests) + 4


async def test_v02_an_axis_that_appears_later_counts_from_then_on(place: Place) -> None:
    names = iter(["x-a", "x-b", "x-a"])

    def answer(told: Told) -> Reply:
        return Reply([*SHARED, ("vary", next(names, "x-a"))])

    site = place.site(Origin(answer))
    await site.told(headers=[("x-a", "1")])
    await site.told(headers=[("x-a", "2"), ("x-b", "1")])
    third = await site.told(headers=[("x-a", "2"), ("x-b", "2")])
    assert third.values("x-b") == ["2"]
    assert (await site.told(headers=[("x-a", "2"), ("x-b", "1")])).values("x-b") == ["1"]
    assert (await site.told(headers=[("x-a", "1")])).values("x-a") == ["1"]


async def test_v02_more_axes_than_eight_are_not_stored(place: Place) -> None:
    site = place.site(Origin(Reply([*SHARED, ("vary", ",".join(f"x-{n}" for n in range(9)))])))
    assert not await site.stores()


async def test_v02_cors_answers_vary_by_origin(place: Place) -> None:
    def answer(told: Told) -> Reply:
        origin = told.value("origin")
        return Reply([*SHARED, *([("access-control-allow-origin", origin)] if origin else [])])

    site = place.site(Origin(answer))
    for origin in ("https://a.example", "https://b.example", "null"):
        for _ in range(2):
            exchange = await site.ask(headers=[("origin", origin)])
            assert exchange.field("access-control-allow-origin") == origin
    assert site.calls == 3


async def test_v04_ten_thousand_user_agents_leave_32_variants(memory: Place) -> None:
    """The app answers the rest, memory stays flat, and other pages stay where they are."""
    site = memory.site(Origin(Reply([*SHARED, ("vary", "User-Agent")], filler=1000)))
    other = await site.told("/other", headers=[("user-agent", "kept")])
    agents = 10_000
    for number in range(500):
        await site.ask(headers=[("user-agent", f"agent {number}")])
    used = memory_of(site.cache).used_bytes
    assert used < (MOST_VARIANTS + 4) * 4_000
    resident = resident_bytes()
    for number in range(agents):
        told = await site.told(headers=[("user-agent", f"agent {number}")])
        assert told.value("user-agent") == f"agent {number}"
        site.origin.scopes.clear()
        site.origin.seen.clear()
    assert resident_bytes() - resident < 8 * 1024 * 1024
    assert abs(memory_of(site.cache).used_bytes - used) < 20_000
    assert await site.told("/other", headers=[("user-agent", "kept")]) == other
    latest = [f"agent {number}" for number in range(agents - 1_000, agents)]
    assert 8 < await answered_without_the_app(site, latest) <= MOST_VARIANTS


async def answered_without_the_app(site: Site, agents: Sequence[str]) -> int:
    """How many variants lie there: each is asked for once, and what is not there is not stored."""
    hits = 0
    for agent in agents:
        before = site.calls
        headers = [("user-agent", agent), ("cache-control", "no-store")]
        assert read((await site.ask(headers=headers)).body).value("user-agent") == agent
        hits += site.calls == before
    return hits


async def test_v04_a_flood_leaves_32_variants_in_redis(redis_place: Place) -> None:
    site = redis_place.site(Origin(Reply([*SHARED, ("vary", "User-Agent")])))
    agents = [f"agent {number}" for number in range(600)]
    for start in range(0, len(agents), 50):
        await asyncio.gather(
            *(site.ask(headers=[("user-agent", agent)]) for agent in agents[start : start + 50])
        )
    assert site.calls == len(agents)
    async with Redis.from_url(redis_place.url) as client:
        names = [name async for name in client.scan_iter(f"{redis_place.namespace}:*:*")]
    records = [name for name in names if name.rpartition(b":")[2].isdigit()]
    assert 8 < len(records) <= MOST_VARIANTS + 1
    assert 0 < await answered_without_the_app(site, agents) <= MOST_VARIANTS


@RULED
async def test_v06_whatever_accept_encoding_says_there_are_four_variants(
    place: Place, paths: Any
) -> None:
    draw = random.Random(6)
    pieces = [
        *(b"gzip", b"br", b"zstd", b"deflate", b"identity", b"*", b"x-gzip", b";q=0", b";q=1"),
        *(b";q=0.5", b",", b" ", b";", b"q", b"=", b"\xff", b"\t", b'"', b"GZIP", b"Br", b"evil"),
    ]
    site = place.site(Origin(Reply([*SHARED, ("vary", "Accept-Encoding")])), paths=paths)
    seen = set()
    for _ in range(5_000 if place.kind == "memory" else 1_000):
        value = b"".join(draw.choices(pieces, k=draw.randint(0, 12)))
        told = await site.told(headers=[("accept-encoding", value)])
        seen.add(told.value("accept-encoding"))
    assert site.calls == len(seen) <= 4
    assert seen <= {None, "gzip", "gzip, br", "gzip, br, zstd"}


async def test_v06_who_accepts_no_gzip_gets_none(place: Place) -> None:
    def answer(told: Told) -> Reply:
        if "gzip" in (told.value("accept-encoding") or ""):
            return Reply([*SHARED, ("content-encoding", "gzip")], body=gzip.compress(b"page"))
        return Reply(SHARED, body=b"page")

    site = place.site(Origin(answer))
    for value, compressed in [
        ("gzip", True),
        (None, False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("identity", False),
        ("*", True),
        ("br", False),
        ("gzip;q=0.000", False),
        ("GZip", True),
        ("", False),
        ("x-gzip", True),
    ] * 2:
        headers = [] if value is None else [("accept-encoding", value)]
        exchange = await site.ask(headers=headers)
        assert exchange.values("content-encoding") == (["gzip"] if compressed else [])
        assert exchange.body == (gzip.compress(b"page") if compressed else b"page") or compressed
        assert (gzip.decompress(exchange.body) if compressed else exchange.body) == b"page"


CLIENTS: dict[str, Lines] = {
    "gzip": [("accept-encoding", "gzip")],
    "identity": [("accept-encoding", "identity")],
    "br only": [("accept-encoding", "br")],
    "garbage": [("accept-encoding", 'gzip";q=nan;;, \xff')],
    "none": [],
    "browser": [("accept-encoding", "gzip, deflate, br, zstd")],
}


def decoded(exchange: Exchange) -> bytes:
    """The body as a client has it, for whom the response must say how it is coded."""
    coding = exchange.values("content-encoding")
    assert coding in ([], ["gzip"])
    length = exchange.field("content-length")
    assert length is None or int(length) == len(exchange.body)
    return gzip.decompress(exchange.body) if coding else exchange.body


@pytest.mark.parametrize("order", ["inside", "outside", "both"])
@pytest.mark.parametrize("first", CLIENTS)
@RULED
async def test_v08_gzip_inside_and_outside_of_the_cache(
    place: Place, order: str, first: str, paths: Any
) -> None:
    origin = Origin(Reply([*SHARED, ("content-type", "text/plain")], filler=2_000))
    inner = origin if order == "outside" else GZipMiddleware(origin, minimum_size=100)
    cached = asgi_cache.wrap(inner, cache=place.cache(paths=paths))
    app = cached if order == "inside" else GZipMiddleware(cached, minimum_size=100)
    names = [first, *CLIENTS]
    for name in [*names, *reversed(names)]:
        exchange = await drive(app, headers=CLIENTS[name])
        told = read(decoded(exchange))
        assert told.path == "/"
        if name in ("identity", "br only", "none"):
            assert exchange.values("content-encoding") == []
        if name == "gzip":
            assert exchange.values("content-encoding") == ["gzip"]
    assert origin.calls <= 4
