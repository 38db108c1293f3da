"""Cases K01 to K16: two requests that may get different answers never share one."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from asgi_cache import Rule
from tests.driver import HOST, drive, http_scope
from tests.security.harness import SHARED, Origin, Reply, Told, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.security.harness import Place, Site

Request = dict[str, Any]


async def assert_separate(site: Site, requests: Sequence[Request]) -> None:
    """Each of *requests* costs one app call, and hits what that call gave to it ever after."""
    firsts = [await site.told(**request) for request in requests]
    assert site.calls == len(requests)
    for request, first in zip(requests, firsts, strict=True):
        assert await site.told(**request) == first
    assert site.calls == len(requests)


async def test_k01_hosts_have_their_own_responses(place: Place) -> None:
    site = place.site()
    await assert_separate(site, [{"host": "a.example"}, {"host": "b.example"}])
    assert (await site.told(host="a.example")).value("host") == "a.example"
    assert (await site.told(host="b.example")).value("host") == "b.example"


async def test_k01_the_case_of_a_host_does_not_count(place: Place) -> None:
    site = place.site()
    assert (await site.told(host="A.Example")).serial == (await site.told(host="a.eXAMPLE")).serial


async def test_k02_ports_and_schemes_have_their_own_responses(place: Place) -> None:
    requests = [
        {"host": host, "scheme": scheme}
        for host in ("a.example", "a.example:1337", "a.example:80", "a.example:443", "a.example:")
        for scheme in ("http", "https")
    ]
    await assert_separate(place.site(), requests)


async def test_k03_an_app_mounted_twice_has_two_responses(place: Place) -> None:
    requests = [
        {"target": "/x"},
        {"target": "/one/x", "root_path": "/one"},
        {"target": "/two/x", "root_path": "/two"},
        {"target": "/one/x"},
        {"target": "/one/two/x", "root_path": "/one/two"},
        {"target": "/one/two/x", "root_path": "/one"},
        {"target": "/one/two/x", "root_path": ""},
    ]
    await assert_separate(place.site(), requests)


async def test_k03_a_server_that_leaves_root_path_out_of_the_path(place: Place) -> None:
    requests = [
        {"target": "/x", "root_path": "/one"},
        {"target": "/x", "root_path": "/two"},
        {"target": "/y", "root_path": "/one"},
        {"target": "/x"},
    ]
    await assert_separate(place.site(), requests)


async def test_k03_both_ways_of_saying_root_path_in_one_app(memory: Place) -> None:
    """Outside, the path begins with the mount point; or it happens to begin like it inside."""
    requests = [{"target": "/one/x", "root_path": "/one"}, {"target": "/x", "root_path": "/one"}]
    await assert_separate(memory.site(), requests)


async def test_k03_a_mount_point_spelled_with_escapes(memory: Place) -> None:
    """Decoded, these are /a/x and /a/a/x; the mount point /a is spelled two ways."""
    requests = [
        {"target": "/%61/x", "root_path": "/a"},
        {"target": "/a/%61/x", "root_path": "/a"},
        {"target": "/a/x", "root_path": "/a"},
        {"target": "/a/a/x", "root_path": "/a"},
    ]
    await assert_separate(memory.site(), requests)


async def test_k05_queries_are_never_merged_by_default(place: Place) -> None:
    queries = [
        *("a=1&b=2", "b=2&a=1", "a=1&b=2&", "&a=1&b=2", "a=1&&b=2", "a=1&a=1&b=2", "a=1;b=2"),
        *("", "a", "a=", "a=%20", "a=+", "a=%2B", "a=1%26b=2", "A=1&b=2", "a=1&b=2#", "?a=1&b=2"),
    ]
    site = place.site(paths={"/ruled": 60})
    for path in ("/plain", "/ruled"):
        before = site.calls
        for query in queries:
            told = await site.told(f"{path}?{query}")
            assert told.query == query
        assert site.calls - before == len(queries)


async def test_k05_an_empty_query_is_none(place: Place) -> None:
    """The ASGI scope cannot tell ``/x`` from ``/x?``; nor can the app."""
    site = place.site()
    assert (await site.told("/x")).serial == (await site.told("/x?")).serial


IGNORING = {"/page": Rule(ttl=60, ignore_query=["utm_*"])}
LISTING = {"/page": Rule(ttl=60, query=["x"])}


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("x=1&utm_a=1;x=2", "x=1"),
        ("utm_a=1;x=2&x=1", "x=1"),
        ("x=1&utm_a=1%26x=2", "x=1"),
        ("x=1&%75tm_a=2", "x=1"),
        ("x=1&utm_a", "x=1"),
        ("x=1&utm_=&utm_b=2", "x=1"),
        ("utm_a=evil", ""),
        ("x=1;utm_a=1", "x=1;utm_a=1"),
        ("x=1&UTM_a=2", "x=1&UTM_a=2"),
        ("x=1&xutm_a=2", "x=1&xutm_a=2"),
        ("x=1&utm%5Fa=2", "x=1"),
    ],
)
async def test_k06_the_app_of_a_fill_sees_no_ignored_part(
    place: Place, query: str, shown: str
) -> None:
    site = place.site(paths=IGNORING)
    poisoned = await site.told(f"/page?{query}")
    assert poisoned.query == shown
    victim = await site.told("/page?x=1")
    assert victim.query == "x=1"
    assert (victim.serial == poisoned.serial) == (shown == "x=1")


@pytest.mark.parametrize(
    "query", ["x=1&y=2;x=3", "y=;x=2&x=1", "x=1&X=2", "x=1&%79=1", "x=1&x%00=2", "&x=1&"]
)
async def test_k06_parameters_that_are_not_listed_are_not_seen(place: Place, query: str) -> None:
    site = place.site(paths=LISTING)
    assert (await site.told(f"/page?{query}")).query == "x=1"
    assert (await site.told("/page?x=1")).serial == 1
    assert site.calls == 1


async def test_k06_a_repeat_counts_in_its_order(place: Place) -> None:
    await assert_separate(
        place.site(paths=LISTING),
        [{"target": f"/page?{query}"} for query in ("x=1&x=2", "x=2&x=1", "x=1", "%78=1", "")],
    )


SEPARATORS = ["\x1e", "\x1f", "\0", ":", "{", "}", "*", "|", "&", "=", "/", ";", ",", "a", "b"]
KEY_FIELDS = ("x-http-method", "x-http-method-override", "x-host")
PARTS = 20_000


def random_text(draw: random.Random, most: int) -> str:
    return "".join(draw.choices(SEPARATORS, k=draw.randint(0, most)))


def random_parts(draw: random.Random) -> tuple[Any, ...]:
    """Parts of a request, few and short enough that a bad separator lets them meet."""
    fields = tuple(
        draw.choice(["", "", "-override"]) + random_text(draw, 2) if draw.random() < 0.5 else None
        for _ in KEY_FIELDS
    )
    return (
        draw.choice(["a", "b", "a:1", "b:1"]),
        "/" + random_text(draw, 3),
        random_text(draw, 3),
        draw.choice(["a", "a/a", "a/b", ""]),
        draw.choice(["", "/a", "/b"]),
        fields,
        draw.choice([None, "", "a", "b", "a=b"]),
        random_text(draw, 1),
    )


def request_of(parts: tuple[Any, ...]) -> Request:
    host, path, query, scheme, root_path, fields, cookie, _ = parts
    lines = [
        (name, value) for name, value in zip(KEY_FIELDS, fields, strict=True) if value is not None
    ]
    if cookie is not None:
        lines.append(("cookie", f"keyed={cookie}"))
    return {
        "target": root_path + path,
        "query_string": query.encode(),
        "raw_path": (root_path + path).encode(),
        "path": root_path + path,
        "host": host,
        "scheme": scheme,
        "root_path": root_path,
        "headers": lines,
    }


def test_k08_no_two_of_twenty_thousand_requests_share_a_key(memory: Place) -> None:
    """All pairs of 20,000: 200 million. Every separator that a key might use is in every part."""
    seed = 1
    draw = random.Random(seed)
    extra = ""
    site = memory.site(paths={"/{rest:path}": Rule(ttl=60, cookies=["keyed"])}, key=lambda _: extra)
    by_key: dict[bytes, tuple[Any, ...]] = {}
    by_target: dict[bytes, tuple[Any, ...]] = {}
    seen: set[tuple[Any, ...]] = set()
    refused = 0
    while len(seen) < PARTS:
        parts = random_parts(draw)
        if parts in seen:
            continue
        seen.add(parts)
        extra = parts[-1]
        screened = site.screened(**request_of(parts))
        if screened is None:
            assert "\0" in repr(parts) or "\\x00" in repr(parts), parts
            refused += 1
            continue
        if screened.match is None:
            parts = (*parts[:6], None, parts[7])  # An odd path has no rule, and so no cookies.
        assert by_key.setdefault(screened.key, parts) == parts, f"seed {seed}"
        target = (parts[0], parts[4] + parts[1], parts[2])
        assert by_target.setdefault(screened.target, target) == target, f"seed {seed}"
    assert len(by_key) > PARTS / 2
    print(f"k08: {len(by_key)} keys of {PARTS} requests, {refused} refused, seed {seed}")


async def test_k08_absent_and_empty_differ(place: Place) -> None:
    requests: list[Request] = [
        {},
        {"headers": [("x-forwarded-host", "")]},
        {"headers": [("x-host", "")]},
        {"headers": [("x-forwarded-host", ""), ("x-host", "")]},
        {"headers": [("x-forwarded-host", "x-host")]},
        {"headers": [("x-http-method", "-override")]},
        {"headers": [("x-http-method-override", "")]},
    ]
    await assert_separate(place.site(), requests)


async def test_k08_no_part_ends_where_another_begins(place: Place) -> None:
    """Joined without a delimiter, each pair would be one text."""
    pairs: list[list[Request]] = [
        [{"target": "/ab?c"}, {"target": "/a?bc"}],
        [
            {"target": "/a/x", "scheme": "a/a", "root_path": ""},
            {"target": "/a/x", "scheme": "a", "root_path": "/a"},
        ],
        [{"headers": [("x-host", "ab")]}, {"headers": [("x-host", "a"), ("x-original-url", "b")]}],
    ]
    for pair in pairs:
        await place.move()
        await assert_separate(place.site(), pair)


async def test_k08_a_nul_anywhere_bypasses(place: Place) -> None:
    site = place.site()
    for changed in (
        {"raw_path": b"/a\0b", "path": "/a\0b"},
        {"query_string": b"a\0b"},
        {"root_path": "/a\0b"},
        {"headers": [("x-host", "a\0b")]},
    ):
        assert not await site.stores(**changed)


async def test_k08_what_lies_at_another_keys_place_is_not_served(redis_place: Place) -> None:
    """As if two digests met: the record's own text is compared. (Their purges are the same.)"""
    site = redis_place.site()
    for scheme in ("http", "https"):
        await site.told(scheme=scheme)
    async with Redis.from_url(redis_place.url) as client:
        names = [name async for name in client.scan_iter(f"{redis_place.namespace}:*:0")]
        one, other = names
        await client.rename(one, f"{redis_place.namespace}:aside")
        await client.rename(other, one)
        await client.rename(f"{redis_place.namespace}:aside", other)
    for scheme in ("http", "https"):
        assert (await site.told(scheme=scheme)).scheme == scheme
    assert site.calls == 4


async def test_k09_unicode_is_neither_normalised_nor_folded(place: Place) -> None:
    spellings = [
        *("/k-", "/k45", "/k\u212a", "/kK", "/kk", "/caf\u00e9", "/cafe\u0301", "/CAF\u00c9"),
        *("/\ufb01", "/fi", "/\u0131", "/i", "/\u00df", "/ss", "/%61", "/a", "/\uff0f", "/%2F"),
    ]
    requests: list[Request] = [
        {"target": "/", "path": path, "raw_path": None} for path in spellings if "%" not in path
    ]
    await assert_separate(place.site(), requests)
    quoted: list[Request] = [
        {"target": path}
        for path in ("/%C3%A9", "/%c3%a9", "/e%CC%81", "/%E2%84%AA", "/K", "/%4B", "/%4b")
    ]
    await assert_separate(place.site(namespace=f"{place.namespace}-q"), quoted)


async def test_k11_a_very_long_url_is_served_and_not_stored(place: Place) -> None:
    site = place.site(paths={"/{rest:path}": 60})
    for target in (f"/{'p' * 9216}", f"/?{'q' * 9216}", f"/{'p' * 5000}?{'q' * 5000}"):
        for _ in range(2):
            exchange = await site.ask(target)
            assert exchange.status == 200
            assert "detail=target-too-long" in exchange.cache_status
    assert site.calls == 6
    assert await site.stores(f"/{'p' * 4000}?{'q' * 4000}")


@pytest.mark.parametrize("absent", [False, True], ids=["None", "absent"])
async def test_k12_a_server_without_raw_path(place: Place, absent: bool) -> None:
    site = place.site(paths={"/ruled/{name}": 60})
    paths = ["/x y", "/x%20y", "/\u00e9", "/e\u0301", "/ruled/a", "/ruled/a b", "/", "/x?y"]

    async def ask(path: str, host: str) -> bytes:
        scope = http_scope("/", path=path, host=host, raw_path=None)
        if absent:
            del scope["raw_path"]
        return (await drive(site.app, scope=scope)).body

    for host in ("a.example", "b.example"):
        bodies = [await ask(path, host) for path in paths]
        for path, body in zip(paths, bodies, strict=True):
            assert (read(body).path, read(body).value("host")) == (path, host)
            assert await ask(path, host) == body
    assert site.calls == 2 * len(paths)


@pytest.mark.parametrize("raw_path", ["http://x/", "*", "@evil", "x", "", "//x/..", "?"])
async def test_k13_a_target_that_is_no_path_is_not_stored(place: Place, raw_path: str) -> None:
    site = place.site(paths={"/{rest:path}": 60}, default_ttl=60)
    site.origin.answer = Reply(SHARED)
    stored = await site.stores("/", path=raw_path, raw_path=raw_path.encode())
    assert stored == raw_path.startswith("/")
    assert (await site.told("/")).path == "/"


BAD_HOSTS = [
    *("a/b", "a/b?c", "a?c", "a#b", "a b", "a\r\nb", "a\nb", "a\0b", "a@b", "a\\b", "", " ", ":80"),
    *(
        "[::1",
        "::1",
        "a:b",
        "a:-1",
        "a:99999999",
        "[zz]",
        "a" * 300,
        "\u00e9.example",
        "a%zz",
        "\t",
    ),
]


@pytest.mark.parametrize("host", BAD_HOSTS)
async def test_k14_a_bad_host_bypasses(place: Place, host: str) -> None:
    site = place.site(paths={"/{rest:path}": 60})
    assert not await site.stores(host=host)
    assert "detail=host" in (await site.ask(host=host)).cache_status


async def test_k14_no_host_and_two_hosts_bypass(place: Place) -> None:
    site = place.site(paths={"/{rest:path}": 60})
    assert not await site.stores(host=None)
    assert not await site.stores(headers=[("host", HOST)])
    assert not await site.stores(headers=[("host", "evil.example")])
    assert not await site.stores(headers=[("host", "")])
    assert site.calls == 8
    assert await site.stores()


async def test_k14_a_host_that_is_not_served_bypasses(place: Place) -> None:
    site = place.site(authorities=["shop.example"])
    assert not await site.stores(host="evil.example")
    assert not await site.stores(host="shop.example:8080")
    assert await site.stores(host="SHOP.example")


async def test_k16_urls_with_braces_spread_over_the_slots_of_a_cluster(
    redis_place: Place,
) -> None:
    """The braces of a URL are not those of a key: else all of these would lie in one slot."""
    urls = 2_000
    site = redis_place.site(Origin(Reply(SHARED, filler=0)))
    for number in range(urls):
        await site.ask(f"/{{x}}/{number}?{{x}}", headers=[("x-host", "{x}")])
    slots: Counter[int] = Counter()
    async with Redis.from_url(redis_place.url) as client:
        async for name in client.scan_iter(f"{redis_place.namespace}:*", count=1000):
            slots[key_slot(name)] += 1
    total = slots.total()
    assert total > 2 * urls
    assert max(slots.values()) <= 0.01 * total
    for node in range(3):
        held = sum(kept for slot, kept in slots.items() if slot * 3 // 16_384 == node)
        assert 0.28 < held / total < 0.39


async def test_two_requests_for_one_key_are_told_apart_by_serial(place: Place) -> None:
    """The harness itself: without a cache each of these would have a body of its own."""

    def answer(told: Told) -> Reply:
        return Reply([("cache-control", "no-store")] if told.path == "/no" else SHARED)

    site = place.site(Origin(answer))
    assert (await site.told("/no")).serial == 1
    assert (await site.told("/no")).serial == 2
    assert (await site.told("/yes")).serial == 3
    assert (await site.told("/yes")).serial == 3
    assert site.calls == 3
