"""Cases D01, D02, D11, D14, S13, S16: floods, silence, neighbours and a store that is emptied."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

import asgi_cache
from asgi_cache import MemoryStore, Rule
from tests.driver import HOST, drive
from tests.security.harness import SHARED, Origin, Reply, read, resident_bytes
from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.security.harness import Place, Site, Told

MIB = 1024 * 1024


async def flood(site: Site, number: int, host: str = HOST) -> None:
    await site.ask(f"/flood?q={number}", host=host)
    site.origin.seen.clear()
    site.origin.scopes.clear()


async def test_d01_every_key_in_redis_has_an_end(redis_place: Place) -> None:
    def answer(told: Told) -> Reply:
        groups = [("cache-groups", f'"g{told.serial % 7}"')] if told.serial % 3 else []
        return Reply([*SHARED, ("vary", "x-a"), *groups])

    site = redis_place.site(Origin(answer), paths={"/ruled/{x}": Rule(ttl=5, groups=["r:{x}"])})
    for number in range(300):
        await site.ask(f"/ruled/{number}", headers=[("x-a", str(number % 3))])
        await site.ask(f"/flood?{number}", host=f"h{number}.example")
        await site.ask(f"/flood?{number}", method="POST")
    await site.cache.purge("http://shop.example/flood", all_queries=True)
    for soft in (False, True):
        await site.cache.purge("http://shop.example/new", soft=soft)
        await site.cache.purge(group="g1", soft=soft)
        await site.cache.purge(group="never seen", soft=soft)
        await site.cache.purge_all(soft=soft)
    async with Redis.from_url(redis_place.url) as client:
        names = [name async for name in client.scan_iter(f"{redis_place.namespace}:*", count=1000)]
        lives = [await client.pttl(name) for name in names]
    assert len(lives) > 1_000
    assert min(lives) > 0
    assert max(lives) <= 2 * (31 * 86_400 + 3_600) * 1_000


async def test_d02_a_flood_of_hosts_stays_within_the_budget(memory: Place) -> None:
    store = MemoryStore(MIB)
    site = memory.site(Origin(Reply(SHARED, filler=1_000)), store)
    resident = resident_bytes()
    for number in range(5_000):
        await flood(site, number, host=f"host-{number}.example")
    assert store.used_bytes <= store.max_bytes
    assert resident_bytes() - resident < store.max_bytes + 16 * MIB


async def test_d02_a_flood_of_field_names_leaves_nothing_behind(memory: Place) -> None:
    site = memory.site(Origin(Reply(SHARED, filler=0)), MemoryStore(MIB))
    resident = resident_bytes()
    for number in range(5_000):
        await site.ask(headers=[(f"x-{number}-{field}", "a") for field in range(20)])
    assert site.calls == 1
    assert resident_bytes() - resident < 16 * MIB


@pytest.mark.parametrize(
    "headers",
    [
        [("cache-control", "no-cache")],
        [("cache-control", "max-age=0")],
        [("pragma", "no-cache")],
        [("cache-control", "no-cache, no-store, max-age=0, min-fresh=999999")],
        [("cache-control", "only-if-cached")],
        [("cache-control", "max-stale"), ("pragma", "no-cache")],
    ],
)
async def test_d11_clients_cannot_make_the_app_work(
    place: Place, headers: list[tuple[str, str]]
) -> None:
    site = place.site(paths={"/ruled": 60})
    for target in ("/", "/ruled"):
        page = await site.told(target)
        before = site.calls
        for _ in range(250):
            assert await site.told(target, headers) == page
        assert site.calls == before


async def test_d14_switched_off_nothing_tells_of_the_cache(place: Place) -> None:
    """Beside the Age that a response from a store must carry (RFC 9111 §5.1)."""
    answer = Reply([*SHARED, ("etag", '"x"'), ("x-own", "1")])
    site = place.site(
        Origin(answer),
        cache_status=False,
        response_time=False,
        paths={"/personal": 60, "/off": False},
    )
    bare = Origin(answer)
    for target in ("/", "/off", "/personal", "/" + "a" * 9000):
        for headers in ((), [("cookie", "user=ann")], [("range", "lines=0-1")]):
            shown = []
            for _ in range(3):
                exchange = await site.ask(target, headers)
                assert b"asgi-cache" not in repr(exchange.messages).encode()
                shown.append([line for line in exchange.headers if line[0] != b"age"])
            plain = (await drive(bare, target, headers=headers)).headers
            names = [name for name, _ in plain]
            for lines in shown:
                assert sorted(name for name, _ in lines) == sorted(names)


async def test_d14_no_key_is_shown_by_default(place: Place) -> None:
    site = place.site()
    for _ in range(2):
        exchange = await site.ask("/secret-path?secret-query", [("x-host", "secret.example")])
        shown = [line for line in exchange.headers if line[0] != b"etag"]
        assert b"secret" not in b"".join(name + value for name, value in shown)
        (time,) = exchange.values("x-response-time")
        assert re.fullmatch(r"\d+\.\d{3}ms", time)


async def test_d14_seconds_are_rounded(place: Place) -> None:
    site = place.site(response_time="s")
    for _ in range(2):
        (time,) = (await site.ask()).values("x-response-time")
        assert re.fullmatch(r"\d+\.\d{4}s", time)


# ---------------------------------------------------------------- a store that is emptied


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """A server that these tests may empty."""
    with RedisServer() as server:
        yield server.url


@pytest.fixture
async def own_redis(own_server: str, namespace: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(own_server) as client:
        yield client


@pytest.mark.parametrize("ruled", [False, True])
async def test_s13_emptied_in_mid_fill(
    redis_place: Place, own_server: str, own_redis: Redis, ruled: bool
) -> None:
    """What was read before the emptying carries stamps that are no more: it is not served."""
    empty = True
    redis_place.url = own_server

    async def answer(told: Told) -> Reply:
        if empty:
            await own_redis.flushall()
        return Reply([] if ruled else SHARED)

    paths = {"/{rest:path}": Rule(ttl=60, groups=["g"])} if ruled else {}
    site = redis_place.site(Origin(answer), paths=paths)
    for number in (1, 2, 3):
        assert (await site.told()).serial == number
    empty = False
    assert (await site.told()).serial == 4
    assert (await site.told()).serial == 4
    await own_redis.flushall()
    assert (await site.told()).serial == 5
    assert (await site.told()).serial == 5


async def test_s13_emptied_between_fill_and_purge(
    redis_place: Place, own_server: str, own_redis: Redis
) -> None:
    redis_place.url = own_server
    reached, go = asyncio.Event(), asyncio.Event()

    async def answer(told: Told) -> Reply:
        if told.serial == 1:
            reached.set()
            await go.wait()
        return Reply([*SHARED, ("cache-groups", '"h"')], version=told.serial)

    site = redis_place.site(Origin(answer))
    purges: list[Callable[[], Awaitable[None]]] = [
        partial(site.cache.purge, "http://shop.example/"),
        partial(site.cache.purge, group="h"),
        site.cache.purge_all,
    ]
    for purging in purges:
        await own_redis.flushall()
        reached.clear()
        go.clear()
        site.origin.restart()
        filling = asyncio.create_task(site.told())
        async with asyncio.timeout(30):
            await reached.wait()
        await own_redis.flushall()
        await purging()
        await own_redis.flushall()
        go.set()
        assert (await filling).serial == 1
        assert (await site.told()).serial == 2
        assert (await site.told()).serial == 2


# ---------------------------------------------------------------- neighbours


async def test_s16_two_apps_with_namespaces_of_their_own(redis_place: Place) -> None:
    one = redis_place.site(Origin(worker="one"), namespace=f"{redis_place.namespace}-a")
    two = redis_place.site(Origin(worker="two"), namespace=f"{redis_place.namespace}-b")
    nested = redis_place.site(Origin(worker="three"), namespace=f"{redis_place.namespace}-a:n")
    sites = [one, two, nested]
    pages = [await site.told() for site in sites]
    assert [page.worker for page in pages] == ["one", "two", "three"]
    await one.cache.purge_all()
    assert await two.told() == pages[1]
    assert await nested.told() == pages[2]
    assert (await one.told()).serial == 2
    await two.cache.purge("http://shop.example/")
    assert await nested.told() == pages[2]
    assert (await one.told()).serial == 2
    assert (await two.told()).serial == 2


async def test_s16_two_apps_that_share_a_namespace_are_one(redis_place: Place) -> None:
    """That is what a namespace says: the same app. Hosts, mounts and purges still count."""
    one = redis_place.site(Origin(worker="one"))
    two = redis_place.site(Origin(worker="two"))
    page = await one.told()
    assert await two.told() == page
    assert (await two.told(host="b.example")).worker == "two"
    assert (await one.told(host="b.example")).worker == "two"
    assert (await two.told("/m/", root_path="/m")).worker == "two"
    assert (await one.told("/m/")).worker == "one"
    await two.cache.purge("http://shop.example/")
    assert (await one.told()).serial == 3
    assert (await two.told()).worker == "one"


async def test_s16_one_memory_each(memory: Place) -> None:
    one, two = (asgi_cache.wrap(Origin(worker=name)) for name in ("one", "two"))
    for _ in range(2):
        assert read((await drive(one)).body).worker == "one"
        assert read((await drive(two)).body).worker == "two"
