"""What the wrong versions of ``tests/mutations/wrong`` showed to be judged by no other test."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from asgi_cache import CacheMiddleware, MemoryStore, RedisStore, Rule
from asgi_cache.model import CarriedStamp
from asgi_cache.notes import NOTES, Notes
from asgi_cache.policy.keys import variant_slots
from asgi_cache.stores.base import VARIANT_SLOTS
from asgi_cache.stores.capabilities import LEFT
from tests.driver import BODY, START, drive, http_scope
from tests.revising import Revising
from tests.security.harness import MAX_AGE, SHARED, Origin, Reply
from tests.security.test_invalidation import Shop
from tests.security.turns import FOLLOWS, with_all
from tests.stores.records import stored_response

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from asgi_cache.stores import Store
    from tests.conftest import Clock
    from tests.security.harness import Place, Told

PAGE = "http://shop.example/page?n=1"
RULE = {"/page": Rule(ttl=60, groups=["pages"])}


async def evict(place: Place, store: Store, name: bytes) -> None:
    """Remove one stamp, as a store that is short of memory does."""
    if isinstance(store, MemoryStore):
        assert store._values.pop(name, None) is not None
        return
    assert isinstance(store, RedisStore)
    async with Redis.from_url(place.url) as client:
        assert await client.unlink(store.stamp_place(name)) == 1


async def test_s12_an_evicted_stamp_proves_nothing(place: Place) -> None:
    """Whichever of the stamps that a response carries is gone: it is not served any more."""
    store = place.store()
    site = place.site(Origin(Reply()), store, paths=RULE)
    screened = site.screened("/page?n=1")
    assert screened is not None
    names = screened.required
    assert len(names) == 5  # all, the target, the path, and both of the group
    for serial, name in enumerate(names, 1):
        assert (await site.told("/page?n=1")).serial == serial
        assert (await site.told("/page?n=1")).serial == serial
        await evict(place, store, name)
    assert (await site.told("/page?n=1")).serial == len(names) + 1


@pytest.mark.parametrize("soft", [False, True], ids=["", "soft"])
@pytest.mark.parametrize("what", ["url", "all queries", "group", "everything"])
async def test_c11_a_purge_takes_every_variant(place: Place, what: str, soft: bool) -> None:
    languages = ["en", "de", "fr"]
    site = place.site(Origin(Reply([("vary", "Accept-Language")])), paths=RULE)

    async def serials() -> list[int]:
        return [
            (await site.told("/page?n=1", [("accept-language", language)])).serial
            for language in languages
        ]

    assert await serials() == await serials() == [1, 2, 3]
    match what:
        case "url":
            await site.cache.purge(PAGE, soft=soft)
        case "all queries":
            await site.cache.purge("http://shop.example/page", all_queries=True, soft=soft)
        case "group":
            await site.cache.purge(group="pages", soft=soft)
        case _:
            await site.cache.purge_all(soft=soft)
    assert await serials() == await serials() == [4, 5, 6]


@pytest.mark.parametrize("label", ["settle to come", "settle done", "read to come"])
async def test_i03_a_group_made_anew_after_a_purge_of_it(place: Place, label: str) -> None:
    """One purge, at one of the moments between the app call and the proof that none was."""
    shop = Shop(place)
    await shop.turns.start("F", shop.request())
    await shop.turns.run_to("F", "app answers")
    await shop.turns.run_to("F", label)
    shop.version += 1
    await shop.purge("named group", worker=1)
    await shop.evict([b"gh", b"oshop.example\0h"])
    await shop.turns.finish("F")
    await shop.assert_current_and_kept(0)
    await shop.assert_current_and_kept(1)


@pytest.mark.parametrize("evicted", [False, True], ids=["", "evicted"])
@pytest.mark.parametrize("soft", [False, True], ids=["", "soft"])
@pytest.mark.parametrize("label", ["read done", "write to come"])
async def test_i05_who_begins_after_a_purge_does_not_get_what_is_being_written(
    memory: Place, monkeypatch: pytest.MonkeyPatch, label: str, soft: bool, evicted: bool
) -> None:
    """The epoch that F has read proves that nobody purged h; P(h) returns; R waits for F.

    R knows of h only where F has got its reply by then.
    """
    with_all(monkeypatch)
    shop = Shop(memory)
    await shop.turns.start("F", shop.request())
    await shop.turns.run_to("F", "app answers")
    await shop.turns.run_to("F", label)
    shop.version += 1
    await shop.purge("named group", soft=soft, worker=1)
    if evicted:
        await shop.evict([b"gh", b"oshop.example\0h"])
    await shop.turns.start("R", shop.request())
    await shop.turns.run_to("R", FOLLOWS)
    await shop.turns.finish("F")
    told: Told = await shop.turns.finish("R")
    assert told.version == shop.version


# ---------------------------------------------------------------- whose answer it is


async def test_l06_a_users_page_is_no_strangers_either(place: Place) -> None:
    site = place.site(Origin(Reply(MAX_AGE)))
    assert (await site.told(headers=[("cookie", "user=ann")])).user == "ann"
    assert (await site.told()).user is None


WINDOW = ("cache-control", "public, max-age=10, stale-while-revalidate=60")


async def settled() -> None:
    """Wait until nothing but this test is left to run."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others, timeout=5)


async def test_l10_without_a_rule_the_background_request_is_nobodys_either(clock: Clock) -> None:
    page = Revising(WINDOW)
    app = CacheMiddleware(page, store=MemoryStore(1 << 20, clock))
    await drive(app)
    clock.advance(11)
    scope = http_scope(headers=[("cookie", "user=ann")], extensions={"tls": {}})
    scope.update(session={"user": "ann"}, user="ann", auth="ann", cookies={"user": "ann"})
    scope["state"] = {"user": "ann"}
    assert (await drive(app, scope=scope)).hit
    await settled()
    assert page.calls == 2
    seen = page.scopes[1]
    assert not {"session", "user", "auth", "cookies"} & seen.keys()
    assert seen["state"] == {}
    assert "tls" not in seen["extensions"]
    assert b"cookie" not in page.fields()


async def test_c13_one_revalidation_where_nobody_waits_for_another(clock: Clock) -> None:
    page = Revising(WINDOW)
    app = CacheMiddleware(page, store=MemoryStore(1 << 20, clock), collapse_timeout=0)
    await drive(app)
    clock.advance(11)
    gate = asyncio.Event()

    async def wait(scope: Scope) -> None:
        await gate.wait()

    page.before = wait
    for _ in range(20):
        assert (await drive(app)).hit
    gate.set()
    await settled()
    assert page.calls == 2


# ---------------------------------------------------------------- variants in one slot


async def test_v02_a_variant_without_a_later_axis_is_not_found_by_the_earlier_one(
    place: Place,
) -> None:
    """It lies where a request with that axis is looked up, and matches by what it knows."""
    (slot, _) = variant_slots(((b"x-a", b"1"),), VARIANT_SLOTS)
    value = next(
        b"%d" % number
        for number in count(1)
        if slot in variant_slots(((b"x-a", b"1"), (b"x-b", b"%d" % number)), VARIANT_SLOTS)
    )
    other = next(
        b"%d" % number
        for number in count(2)
        if slot != variant_slots(((b"x-a", b"%d" % number), (b"x-b", b"1")), VARIANT_SLOTS)[0]
    )
    site = place.site(
        Origin(lambda told: Reply([*SHARED, ("vary", "x-a" if told.serial == 1 else "x-b")]))
    )
    await site.told(headers=[("x-a", "1")])
    await site.told(headers=[("x-a", other), ("x-b", "1")])
    told = await site.told(headers=[("x-a", "1"), ("x-b", value)])
    assert (told.serial, told.value("x-b")) == (3, value.decode())


async def test_v02_an_odd_spelling_does_not_answer_the_plain_one_it_lies_with(
    place: Place,
) -> None:
    plain = variant_slots(((b"x-list", b"1,2"),), VARIANT_SLOTS)
    odd = next(
        spelled
        for spelled in (b"1,%b2" % (b" " * number) for number in count(1))
        if variant_slots(((b"x-list", spelled),), VARIANT_SLOTS)[0] in plain
    )
    site = place.site(Origin(Reply([*SHARED, ("vary", "x-list")])))
    assert (await site.told(headers=[("x-list", odd)])).value("x-list") == odd.decode()
    assert (await site.told(headers=[("x-list", "1,2")])).value("x-list") == "1,2"


async def test_v02_an_odd_spelling_does_not_answer_who_waits_with_the_plain_one(
    memory: Place,
) -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def answer(told: Told) -> Reply:
        if told.serial == 1:
            reached.set()
            await go.wait()
        return Reply([*SHARED, ("vary", "x-list")])

    site = memory.site(Origin(answer))
    leader = asyncio.create_task(site.told(headers=[("x-list", "1,, 2")]))
    await reached.wait()
    follower = asyncio.create_task(site.told(headers=[("x-list", "1,2")]))
    for _ in range(20):
        await asyncio.sleep(0)
    go.set()
    assert (await leader).value("x-list") == "1,, 2"
    assert (await follower).value("x-list") == "1,2"


# ---------------------------------------------------------------- leases


@pytest.mark.parametrize("scripts", [True, False])
async def test_c09_who_has_lost_a_lease_gives_back_nobody_elses(
    redis_place: Place, scripts: bool
) -> None:
    store = redis_place.store()
    assert isinstance(store, RedisStore)
    leases = store.leases
    leases._has_scripts = scripts
    assert await leases.take(b"target", b"place", b"first", 60.0)
    async with Redis.from_url(redis_place.url) as client:
        (lease,) = [key async for key in client.scan_iter(f"{redis_place.namespace}:*:l:*")]
        await client.delete(lease)  # as if its life had ended
    assert await leases.take(b"target", b"place", b"second", 60.0)
    await leases.release(b"target", b"place", b"first", LEFT)
    assert not await leases.take(b"target", b"place", b"third", 60.0)
    await leases.release(b"target", b"place", b"second", LEFT)
    assert await leases.take(b"target", b"place", b"third", 60.0)


# ---------------------------------------------------------------- bodies


async def test_g16_a_buffer_that_the_app_fills_again_is_copied() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": [(b"cache-control", b"max-age=60")]})
        buffer = bytearray(4)
        for piece in (b"one ", b"two ", b"end."):
            buffer[:] = piece
            await send({"type": BODY, "body": buffer, "more_body": piece != b"end."})

    wrapped = CacheMiddleware(app)
    await drive(wrapped)
    second = await drive(wrapped)
    assert (second.hit, second.body) == (True, b"one two end.")


# ---------------------------------------------------------------- bounds


async def test_d01_every_byte_of_a_record_is_accounted() -> None:
    """Whatever part of it is long: a head of 64 KiB costs what a body of 64 KiB does."""
    size = 64 * 1024
    many, text = b"x" * size, "x" * size
    bare = replace(
        stored_response(), lines=(), body=b"", etag=None, nominated=(), groups=(), stamps=()
    )
    long: list[dict[str, Any]] = [
        {"body": many},
        {"lines": ((b"x-a", many),)},
        {"lines": ((many, b""),)},
        {"etag": b'W/"%b"' % many},
        {"nominated": ((b"x-a", many),)},
        {"groups": (text,)},
        {"stamps": (CarriedStamp(many, bytes(16), bytes(16)),)},
    ]
    for parts in long:
        store = MemoryStore(1 << 24)
        await store.write(b"", b"", {0: replace(bare, **parts)}, ())
        assert store.used_bytes > size, parts.keys()
    for target, key in ((many, b""), (b"", many)):
        store = MemoryStore(1 << 24)
        await store.write(target, key, {0: bare}, ())
        assert store.used_bytes > size


def test_d01_notes_of_keys_are_bounded() -> None:
    notes: Notes[bytes, int] = Notes()
    for number in range(3 * NOTES):
        notes.put(b"%d" % number, number, 0.0)
        assert len(notes.held) <= NOTES
    assert notes.get(b"%d" % (3 * NOTES - 1), 0.0) == 3 * NOTES - 1
