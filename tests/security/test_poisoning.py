"""Cases P01 to P14: what one client sends shapes no answer but its own."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgpack  # type: ignore[import-untyped]  # it has no stubs
import pytest
from redis.asyncio import Redis

from asgi_cache import Rule, Settings
from asgi_cache.stores.sealing import REVISION, checked
from tests.driver import drive
from tests.security.harness import MAX_AGE, SHARED, Origin, Reply, Told, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from tests.security.harness import Lines, Place, Site

HEAD = b"\xffAC" + bytes([REVISION])
EVERYWHERE = {"/{rest:path}": 60}
KEY_FIELDS = Settings().key_fields
SILENT: Lines = ()


# ---------------------------------------------------------------- unkeyed inputs


@pytest.mark.parametrize("name", KEY_FIELDS)
@pytest.mark.parametrize("lines", [SHARED, SILENT])
async def test_p01_a_field_of_proxies_poisons_nobody_else(
    place: Place, name: str, lines: Lines
) -> None:
    """The app reflects all that it sees; the victim's page must not show it."""
    site = place.site(Origin(Reply(lines)), paths={} if lines else EVERYWHERE)
    values = ["evil.example", "host=evil.example;proto=evil", "", "POST", "/admin"]
    for value in values:
        poisoned = await site.told(headers=[(name, value)])
        if value:
            assert "evil" in repr(poisoned.fields) or value in repr(poisoned.fields)
    victim = await site.told()
    assert victim.value(name.lower()) is None
    for value in values:
        told = await site.told(headers=[(name, value)])
        assert (told.serial == victim.serial) == (told.value(name.lower()) is None)
    assert await site.told() == victim
    assert (await site.told(headers=[(name, values[0])])).serial == 1


@pytest.mark.parametrize("name", KEY_FIELDS)
async def test_p01_lines_of_one_field_count_together(place: Place, name: str) -> None:
    site = place.site()
    good: Lines = [(name, "host=a")]
    both: Lines = [(name, "host=a"), (name, "host=evil")]
    assert (await site.told(headers=both)).serial == 1
    assert (await site.told(headers=good)).serial == 2
    assert (await site.told(headers=[(name, "host=a, host=evil")])).serial in (1, 3)
    assert (await site.told(headers=good)).serial == 2


async def test_p01_the_app_sees_of_forwarded_what_the_key_holds(place: Place) -> None:
    site = place.site()
    first = await site.told(headers=[("forwarded", "for=evil;host=a;by=evil;x=evil")])
    assert "evil" not in repr(first.fields)
    assert await site.told(headers=[("forwarded", 'for=good; HOST="a"')]) == first
    assert (await site.told(headers=[("forwarded", "for=good;proto=a")])).serial == 2
    assert (await site.told(headers=[("forwarded", "for=good")])).serial == 3
    assert (await site.told()).serial == 3
    unparsed = await site.told(headers=[("forwarded", "host=a;host=evil")])
    assert unparsed.value("forwarded") == "host=a;host=evil"
    assert (await site.told(headers=[("forwarded", "host=a;;=evil")])).serial == 5


async def test_p01_what_accept_encoding_is_folded_to_is_what_the_app_sees(place: Place) -> None:
    site = place.site()
    first = await site.told(headers=[("accept-encoding", "gzip, <evil>, br;q=0")])
    assert first.value("accept-encoding") == "gzip"
    assert (await site.told(headers=[("accept-encoding", "evil")])).serial == first.serial


@pytest.mark.parametrize(
    "body", [b"x=evil", [b"", b"x=evil"]], ids=["at once", "after an empty part"]
)
@pytest.mark.parametrize("declared", [[("content-length", "6")], [("transfer-encoding", "c")], []])
@pytest.mark.parametrize("user", [[], [("cookie", "user=ann")]])
@pytest.mark.parametrize("lines", [SHARED, SILENT])
async def test_p01_the_body_of_a_get_poisons_nobody(
    place: Place, body: Any, declared: Lines, user: Lines, lines: Lines
) -> None:
    """ "Fat GET": an app that reads its parameters from the content of a GET."""
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        content, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            content += message.get("body", b"")
            more = message.get("more_body", False)
        headers = [(str(name).encode(), str(value).encode()) for name, value in lines]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"page " + content})

    site = place.site(app, paths={} if lines else EVERYWHERE)
    assert (await drive(site.app, headers=[*declared, *user], body=body)).body == b"page x=evil"
    assert (await drive(site.app)).body == b"page "
    assert (await drive(site.app, headers=user)).body == b"page "


async def test_p02_a_redirect_to_https_is_no_loop(place: Place) -> None:
    def answer(told: Told) -> Reply:
        if told.value("x-forwarded-proto") == "https":
            return Reply(filler=3)
        return Reply([("location", "https://shop.example/")], status=301)

    for paths in (EVERYWHERE, {"/": Rule(ttl=60, public=True, statuses=[302, 307])}):
        site = place.site(
            Origin(answer), paths=paths, namespace=f"{place.namespace}-{'/' in paths}"
        )
        for proto in ("http", "HTTPS", "", "https,http"):
            assert (await site.ask(headers=[("x-forwarded-proto", proto)])).status == 301
        assert (await site.ask()).status == 301
        for _ in range(2):
            page = await site.ask(headers=[("x-forwarded-proto", "https")])
            assert page.status == 200
        assert site.calls == 6


@pytest.mark.parametrize(
    "headers",
    [
        [("x-http-method", "POST")],
        [("x-http-method-override", "DELETE")],
        [("x-method-override", "HEAD")],
        [("X-HTTP-Method-Override", "PUT")],
        [("x-http-method", "POST"), ("x-method-override", "GET")],
    ],
)
@pytest.mark.parametrize("lines", [SHARED, SILENT])
async def test_p04_a_method_override_leaves_nothing(
    place: Place, headers: Lines, lines: Lines
) -> None:
    def answer(told: Told) -> Reply:
        overridden = any("method" in name for name, _ in told.fields) or "_method" in told.query
        return Reply(lines, status=200, body=b"" if overridden else None)

    site = place.site(Origin(answer), paths={} if lines else EVERYWHERE)
    for _ in range(2):
        assert (await site.ask(headers=headers)).body == b""
    assert (await site.ask("/?_method=POST")).body == b""
    assert (await site.told()).path == "/"
    assert (await site.told()).serial == site.calls
    assert (await site.ask(headers=headers)).body == b""


# ---------------------------------------------------------------- errors that a client provokes


@pytest.mark.parametrize(
    "headers",
    [
        *([("x-oversized", "a" * size)] for size in (7 * 1024, 9 * 1024, 64 * 1024)),
        [(f"x-{number}", "a") for number in range(200)],
    ],
    ids=["7 KiB", "9 KiB", "64 KiB", "200 fields"],
)
@pytest.mark.parametrize("paths", [{}, EVERYWHERE])
async def test_p06_an_oversized_header_leaves_no_error(
    place: Place, headers: Lines, paths: Any
) -> None:
    def answer(told: Told) -> Reply:
        too_much = len(told.fields) > 50 or any(len(value) > 4096 for _, value in told.fields)
        return Reply(status=431 if too_much else 200)

    site = place.site(Origin(answer), paths=paths, default_ttl=60)
    assert (await site.ask(headers=headers)).status == 431
    assert (await site.ask()).status == 200
    assert (await site.ask()).status == 200
    assert site.calls == 2


@pytest.mark.parametrize("value", ["\x07", "\\n", "a\x00b", "\x7f", "a\nb", "\r\n\r\n", "\xff"])
@pytest.mark.parametrize("name", ["x-meta", "accept-language", "user-agent", "x-host", "referer"])
async def test_p07_a_meta_character_leaves_no_error(place: Place, name: str, value: str) -> None:
    def answer(told: Told) -> Reply:
        return Reply(status=400 if told.value(name) is not None else 200)

    site = place.site(Origin(answer), paths=EVERYWHERE)
    assert (await site.ask(headers=[(name, value)])).status == 400
    assert (await site.ask()).status == 200
    assert (await site.ask()).status == 200
    assert site.calls == 2


STORABLE = {200, 203, 300, 301, 308}


async def test_p08_a_rules_ttl_stores_its_statuses_only(place: Place) -> None:
    def answer(told: Told) -> Reply:
        status = int(told.path.rpartition("/")[2])
        return Reply(status=status, body=None if status not in (204, 304) else b"", length=False)

    paths = {"/plain/{status}": 60, "/named/{status}": Rule(ttl=60, statuses=[404, 503])}
    site = place.site(Origin(answer), paths=paths)
    free = place.site(Origin(answer), default_ttl=60, namespace=f"{place.namespace}-free")
    for status in range(200, 600):
        for path, one, expected in (
            ("/plain", site, STORABLE),
            ("/named", site, STORABLE | {404, 503}),
            ("/default", free, STORABLE),
        ):
            stored = await one.stores(f"{path}/{status}")
            assert stored == (status in expected), (path, status)


async def test_p08_what_may_answer_credentials(place: Place) -> None:
    """Of what a rule's TTL stored, only 200, 203 and the statuses that it names."""
    user: Lines = [("cookie", "user=ann")]
    rule = Rule(ttl=60, statuses=[404])
    for status in (200, 203, 300, 301, 308, 404):
        site = place.site(
            Origin(Reply(status=status)),
            paths={"/": rule},
            namespace=f"{place.namespace}-{status}",
        )
        shared = status in (200, 203, 404)
        first = await site.told(headers=user)
        assert (first.user is None) == shared
        public = await site.told()
        assert public.user is None
        assert await site.told() == public
        second = await site.told(headers=user)
        assert (second.user is None) == (second == first) == shared


@pytest.mark.parametrize("status", [204, 205, 206, 404, 500, 502, 503, 504, 429])
@pytest.mark.parametrize("paths", [{}, EVERYWHERE])
async def test_p09_an_empty_answer_among_many_stays_one(
    place: Place, status: int, paths: Any
) -> None:
    together = asyncio.Barrier(20)

    async def answer(told: Told) -> Reply:
        if told.serial <= 20:
            await together.wait()
        if told.serial == 7:
            return Reply(status=status, body=b"", length=status != 204)
        return Reply()

    # Nobody waits for another: all of them are with the app at once.
    site = place.site(Origin(answer), paths=paths, default_ttl=60, collapse_timeout=0)
    exchanges = await asyncio.gather(*(site.ask() for _ in range(20)))
    assert sum(exchange.status == status for exchange in exchanges) == 1
    for _ in range(3):
        exchange = await site.ask()
        assert exchange.status == 200
        assert read(exchange.body).serial != 7
    assert site.calls == 20


# ---------------------------------------------------------------- splitting

BAD_LINES = [
    ("x-evil", "a\r\nset-cookie: sid=evil"),
    ("x-evil", "a\nb"),
    ("x-evil", "a\rb"),
    ("x-evil", "a\0b"),
    ("x-evil\r\nset-cookie", "sid=evil"),
    ("x evil", "a"),
    ("", "a"),
    ("x:evil", "a"),
]


@pytest.mark.parametrize("line", BAD_LINES)
@pytest.mark.parametrize("paths", [{}, EVERYWHERE])
async def test_p11_a_split_response_is_not_stored(
    place: Place, line: tuple[str, str], paths: Any
) -> None:
    site = place.site(Origin(Reply([*SHARED, line])), paths=paths)
    name, value = (text.encode() for text in line)
    for number in (1, 2):
        exchange = await site.ask()
        # It is the server that refuses it, as it does without a cache.
        assert (name, value) in exchange.headers
        assert site.calls == number


STATUS, BODY, GENERATED_AT, FRESH_UNTIL, DISCARD_AT, LINES, STAMPS = 2, 3, 4, 5, 8, 17, 20
FIRST_LINE = 21
"""Where these stand among the objects of a stored response (see asgi_cache.stores.codec)."""

LINES_FORGED: list[list[tuple[Any, Any]]] = [
    *([(name.encode(), value.encode())] for name, value in BAD_LINES),
    [(b"set-cookie", b"sid=evil")],
    [(b"Set-Cookie", b"sid=evil")],
    [(b"X-Upper", b"evil")],
    [(b"x-evil", "text")],
    [("x-evil", b"text")],
    [(b"x-%d" % number, b"evil") for number in range(10_000)],
]
VALUES_FORGED: list[tuple[int, Any]] = [
    *((STATUS, status) for status in (99, 100, 199, 206, 304, 600, 1000, -1, "200", 200.0, None)),
    *((BODY, body) for body in ("text", None, 1)),
    *((GENERATED_AT, value) for value in (float("-inf"), float("nan"), 0, None)),
    *((FRESH_UNTIL, value) for value in (float("nan"), float("inf"), True)),
    *((DISCARD_AT, value) for value in (float("nan"), float("inf"), 1.0)),
    *((count, value) for count in (LINES, STAMPS) for value in (-1, 10**6, 2**63, 0)),
    (0, 2),
    (0, 1),
    (1, b"another key"),
]


def forged(record: bytes, change: Callable[[list[Any]], None]) -> bytes:
    """*record* with its objects changed, and a checksum that is right again."""
    unpacker = msgpack.Unpacker(raw=False)
    unpacker.feed(record[8:])
    objects = list(unpacker)
    change(objects)
    payload = b"".join(map(msgpack.packb, objects))
    return record[:4] + crc32(payload).to_bytes(4, "big") + payload


async def assert_not_served(place: Place, change: Callable[[list[Any]], None]) -> None:
    """Somebody wrote into Redis; the client gets the app's answer, and nothing of that."""
    site = place.site()
    genuine = await site.ask()
    async with Redis.from_url(place.url) as client:
        (name,) = [name async for name in client.scan_iter(f"{place.namespace}:*:0")]
        record = await client.get(name)
        assert isinstance(record, bytes)
        await client.set(name, forged(record, lambda _: None), ex=60)
        assert (await site.ask()).body == genuine.body
        assert site.calls == 1
        await client.set(name, forged(record, change), ex=60)
    exchange = await site.ask()
    assert read(exchange.body).serial == 2
    assert exchange.status == 200
    assert not [line for line in exchange.headers if b"evil" in line[0] + line[1]]


@pytest.mark.parametrize("lines", LINES_FORGED)
async def test_p11_a_record_with_forged_lines_is_not_served(
    redis_place: Place, lines: list[tuple[Any, Any]]
) -> None:
    def change(objects: list[Any]) -> None:
        end = FIRST_LINE + 2 * objects[LINES]
        objects[LINES] += len(lines)
        objects[end:end] = [part for line in lines for part in line]

    await assert_not_served(redis_place, change)


@pytest.mark.parametrize(("index", "value"), VALUES_FORGED)
async def test_p11_a_record_with_a_forged_value_is_not_served(
    redis_place: Place, index: int, value: Any
) -> None:
    def change(objects: list[Any]) -> None:
        objects[index] = value

    await assert_not_served(redis_place, change)


async def test_p11_a_record_without_stamps_is_not_served(redis_place: Place) -> None:
    def change(objects: list[Any]) -> None:
        del objects[-2 * objects[STAMPS] :]
        objects[STAMPS] = 0

    await assert_not_served(redis_place, change)


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"\0", HEAD, HEAD + b"\0" * 64, b"\xffAC\x00" + b"\0" * 64),
        *(b"cos\nsystem\n(S'true'\ntR.", checked(b"cos\nsystem\n(S'true'\ntR.")),
        *(b"\x80\x04\x95", b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000, b"x" * 1_000_000),
    ],
)
async def test_p11_whatever_lies_at_a_key_costs_an_app_call(
    redis_place: Place, value: bytes
) -> None:
    site = redis_place.site()
    await site.ask()
    async with Redis.from_url(redis_place.url) as client:
        async for name in client.scan_iter(f"{redis_place.namespace}:*"):
            await client.set(name, value, ex=60)
        assert (await site.told()).serial == 2
        assert (await site.told()).serial == 2
        async for name in client.scan_iter(f"{redis_place.namespace}:*"):
            await client.delete(name)
            await client.lpush(name, b"x")
            await client.expire(name, 60)
    assert (await site.told()).serial == 3


# ---------------------------------------------------------------- groups


async def assert_purged_by(site: Site, purge: Callable[[], Any], purged: bool) -> None:
    before = site.calls
    await purge()
    await site.ask()
    assert (site.calls > before) == purged


async def test_p13_a_client_puts_nothing_into_a_group(place: Place) -> None:
    site = place.site()
    evil: Lines = [("cache-groups", '"victims"'), ("cache-group-invalidation", '"victims"')]
    await site.ask(headers=evil)
    await assert_purged_by(site, lambda: site.cache.purge(group="victims"), False)


async def test_p13_a_client_purges_no_group(place: Place) -> None:
    site = place.site(Origin(Reply([*SHARED, ("cache-groups", '"g"')])))
    await site.ask("/page")
    evil: Lines = [("cache-group-invalidation", '"g"'), ("cache-groups", '"g"')]
    for method in ("GET", "HEAD", "POST", "OPTIONS", "PURGE"):
        await site.ask("/other", headers=evil, method=method)
    before = site.calls
    await site.ask("/page", headers=evil)
    assert site.calls == before


GROUPS = [
    ('"with space"', "with space"),
    ('"*"', "*"),
    ('"g";x=1', "g"),
    ('"g", "g", "h"', "h"),
    ('""', ""),
    ('"a:b{c}"', "a:b{c}"),
    (' "g"  ', "g"),
]


@pytest.mark.parametrize(("value", "group"), GROUPS)
async def test_p13_an_odd_group_is_a_group_and_goes_out_as_it_came(
    place: Place, value: str, group: str
) -> None:
    site = place.site(Origin(Reply([*SHARED, ("Cache-Groups", value)])))
    first = await site.ask()
    assert (b"Cache-Groups", value.encode()) in first.headers
    second = await site.ask()
    assert second.field("cache-groups") == value
    assert site.calls == 1
    await assert_purged_by(site, lambda: site.cache.purge(group="another"), False)
    await assert_purged_by(site, lambda: site.cache.purge(group=group), True)


async def test_p13_a_star_is_no_pattern(place: Place) -> None:
    site = place.site(Origin(Reply([*SHARED, ("cache-groups", '"product:1"')])))
    await site.ask()
    for group in ("*", "product:*", "", "product", "product:1 ", "PRODUCT:1", "product:?"):
        await assert_purged_by(site, partial(site.cache.purge, group=group), False)
    await assert_purged_by(site, lambda: site.cache.purge(group="product:1"), True)


@pytest.mark.parametrize(
    "value",
    [
        *("g", "g, h", '"g', '"g" "h"', "1", '("g" "h")', "?1", ":Zw==:", '"\u00e9"', '"a\tb"'),
        ", ".join(f'"{number}"' for number in range(10_000)),
        ", ".join(f'"{number}"' for number in range(129)),
    ],
)
async def test_p13_what_is_no_list_of_groups_is_not_stored(place: Place, value: str) -> None:
    """A purge of one of them could not be kept to."""
    site = place.site(Origin(Reply([*SHARED, ("cache-groups", value)])))
    for number in (1, 2):
        exchange = await site.ask()
        assert exchange.field("cache-groups") == value
        assert site.calls == number


async def test_p13_a_group_is_invalidated_at_its_own_origin_only(place: Place) -> None:
    def answer(told: Told) -> Reply:
        if told.method == "POST":
            return Reply([("cache-group-invalidation", '"g"')])
        return Reply([*SHARED, ("cache-groups", '"g"')])

    site = place.site(Origin(answer))
    mine = await site.told("/page", host="a.example")
    theirs = await site.told("/page", host="b.example")
    await site.ask("/other", host="a.example", method="POST")
    assert await site.told("/page", host="b.example") == theirs
    assert (await site.told("/page", host="a.example")).serial > mine.serial


# ---------------------------------------------------------------- methods


@pytest.mark.parametrize("method", ["PURGE", "BAN", "REFRESH", "FOO", "get", "Purge"])
async def test_p14_a_purge_from_outside_reaches_the_app(place: Place, method: str) -> None:
    def answer(told: Told) -> Reply:
        return Reply(SHARED, status=405 if told.method == method else 200)

    site = place.site(Origin(answer))
    page = await site.told("/page")
    for headers in ((), [("x-purge", "*")], [("cache-groups", '"g"')]):
        refused = await site.ask("/page", headers, method=method)
        assert refused.status == 405
        assert read(refused.body).method == method
        assert await site.told("/page") == page


async def test_p14_an_unknown_methods_success_spoils_its_own_uri_only(place: Place) -> None:
    site = place.site(Origin(Reply(SHARED)))
    targets = ["/page", "/page?x=1", "/page/sub", "/other"]
    pages = {target: await site.told(target) for target in targets}
    assert read((await site.ask("/page", method="PURGE")).body).method == "PURGE"
    for target in targets[1:]:
        assert await site.told(target) == pages[target]
    assert (await site.told("/page", host="b.example")).method == "GET"
    assert (await site.told("/page")).serial > pages["/page"].serial


@pytest.mark.parametrize("name", ["location", "content-location"])
async def test_p14_an_unsafe_answer_spoils_nothing_of_another_host(place: Place, name: str) -> None:
    def answer(told: Told) -> Reply:
        if told.method == "POST":
            return Reply([(name, f"http://{told.query}/page")])
        return Reply(SHARED)

    site = place.site(Origin(answer))
    page = await site.told("/page", host="b.example")
    own = await site.told("/page", host="a.example")
    await site.ask("/form?b.example", host="a.example", method="POST")
    assert await site.told("/page", host="b.example") == page
    assert await site.told("/page", host="a.example") == own
    await site.ask("/form?a.example", host="a.example", method="POST")
    assert (await site.told("/page", host="a.example")).serial > own.serial


async def test_p14_safe_methods_spoil_nothing(place: Place) -> None:
    site = place.site(Origin(Reply(MAX_AGE)))
    page = await site.told("/page")
    for method in ("GET", "HEAD", "OPTIONS", "TRACE"):
        await site.ask("/page", method=method)
    assert await site.told("/page") == page
