"""What others write into the store: with and without ``secret`` it is a miss, never an answer.

``CORRUPTED_VALUES``, ``OVERSIZED_BYTES`` and ``EVICTION_OPERATIONS`` make the long runs.
"""

from __future__ import annotations

import os
import pickle
import random
import re
import time
import tracemalloc
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from asgi_cache import Cache, CacheMiddleware, Rule
from asgi_cache.errors import ConfigurationError, CorruptRecord
from asgi_cache.stores import GuardedStore, MemoryStore, RedisStore
from asgi_cache.stores.codec import decode, encode
from asgi_cache.stores.sealing import REVISION, Seals, checked
from tests.driver import drive
from tests.figures.telling import tell
from tests.security.harness import SHARED, Origin, Place, Reply, Site
from tests.servers import RedisServer
from tests.stores.records import nominated_fields, stored_response
from tests.stores.test_codec import (
    KEY,
    NOMINATED_FORGERIES,
    RESPONSE_FORGERIES,
    forged,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from asgi_cache.model import StoredResponse
    from tests.conftest import Clock
    from tests.security.harness import Told

CORRUPTED_VALUES = int(os.environ.get("CORRUPTED_VALUES", "1500"))
OVERSIZED_BYTES = int(os.environ.get("OVERSIZED_BYTES", "67108864"))
EVICTION_OPERATIONS = int(os.environ.get("EVICTION_OPERATIONS", "4000"))

OLD, NEW, OTHER = "the-secret-of-before", "the-secret-of-today", "the-secret-of-others"
VARYING = [*SHARED, ("vary", "Accept-Language")]

with_and_without = pytest.mark.parametrize("secrets", [(), (NEW,)], ids=["unsealed", "sealed"])


def site_of(
    place: Place, secrets: Sequence[str], origin: Origin | None = None, **options: Any
) -> Site:
    """A worker that knows *secrets*."""
    store = RedisStore(place.url, place.namespace, secrets=secrets, **options)
    place.stores.append(store)
    # What is judged is what lies in the store, not how soon a busy machine reads it.
    patient = {"store_timeout": 10.0, "request_store_timeout": 10.0}
    return place.site(origin, store, paths={"/ruled": Rule(ttl=60, groups=["g"])}, **patient)


def counted(site: Site) -> int:
    """The corrupt records that its metrics tell."""
    return site.cache.metrics.by_label().get("corrupt_records", 0)


@pytest.fixture
async def redis(redis_place: Place) -> AsyncIterator[Any]:
    async with Redis.from_url(redis_place.url) as client:
        yield client


async def records_of(redis: Any, place: Place) -> list[bytes]:
    """The Redis keys of records, by slot."""
    keys = [key async for key in redis.scan_iter(f"{place.namespace}:*", count=1000)]
    return sorted((key for key in keys if re.search(rb":\d+$", key)), key=lambda key: key[-3:])


class Touching:
    """Pickled, it makes a file wherever it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, int]]:
        return os.open, (self.path, os.O_CREAT)


@with_and_without
async def test_s01_a_pickle_at_our_keys_is_not_loaded(
    redis_place: Place, redis: Any, secrets: Sequence[str], tmp_path: Path
) -> None:
    path = tmp_path / "touched"
    site = site_of(redis_place, secrets)
    pickled = pickle.dumps(Touching(str(path)))
    revision = bytes([REVISION])
    seals = Seals(secrets) if secrets else None
    wrapped: list[Callable[[bytes], bytes]] = [
        lambda _: pickled,
        lambda _: b"\xffAC" + revision + pickled,
        lambda _: b"\xffAS" + revision + pickled,
        # With the sum or the seal that a record has: what is inside comes to be decoded.
        lambda name: checked(pickled) if seals is None else seals.sealed(pickled, name),
    ]
    for wrap in wrapped:
        await site.ask()
        calls = site.calls
        async for name in redis.scan_iter(f"{redis_place.namespace}:*"):
            await redis.set(name, wrap(name), ex=60)
        assert (await site.told()).serial == calls + 1
        assert not path.exists()
    assert counted(site) == len(wrapped)
    # So it is one that loads where it is loaded.
    os.close(pickle.loads(pickled))
    assert path.exists()


def sealed(value: bytes, seals: Seals | None, name: bytes) -> bytes:
    """The payload of *value*, with the sum or the seal of its place."""
    payload = value[8:]
    return checked(payload) if seals is None else seals.sealed(payload, name)


def corrupted(draw: random.Random, value: bytes, others: Sequence[bytes]) -> bytes:
    """*value* after some accident."""
    match draw.randrange(6):
        case 0:
            return value[: draw.randrange(len(value))]
        case 1:
            return value + draw.randbytes(draw.randint(1, 9))
        case 2:
            return draw.randbytes(draw.randrange(100))
        case 3:
            return draw.choice(others)
        case 4:
            at = draw.randrange(len(value))
            return value[:at] + draw.randbytes(draw.randint(1, 20)) + value[at + 9 :]
        case _:
            flipped = int.from_bytes(value)
            for _ in range(draw.randint(1, 4)):
                flipped ^= 1 << draw.randrange(8 * len(value))
            return flipped.to_bytes(len(value))


@with_and_without
async def test_s03_corrupted_values_are_never_answers(
    redis_place: Place, redis: Any, secrets: Sequence[str]
) -> None:
    draw = random.Random(3)
    origin = Origin(lambda told: Reply(VARYING if told.path == "/varies" else SHARED))
    site = site_of(redis_place, secrets, origin)
    targets = ["/1", "/2", "/varies"]
    for target in targets:
        assert await site.stores(target)
    genuine = {key: await redis.get(key) for key in await records_of(redis, redis_place)}
    assert len(genuine) == 4
    seals = Seals(secrets) if secrets else None
    longest, wrong, raised = 0.0, 0, 0
    for _ in range(CORRUPTED_VALUES):
        key = draw.choice([*genuine])
        value = corrupted(draw, genuine[key], [v for k, v in genuine.items() if k != key])
        longest = max(longest, seconds_to_decode(value, seals, key))
        await redis.set(key, value, px=60_000)
        target = draw.choice(targets)
        try:
            # The body says what it was made for, and that it is whole.
            wrong += (await site.told(target)).path != target
        except AssertionError:
            wrong += 1
        except Exception:
            raised += 1
    print(f"{CORRUPTED_VALUES} values, {longest * 1e3:.3f} ms each at most, {counted(site)} read")
    figures = {"values": CORRUPTED_VALUES, "read": counted(site), "ms_each": longest * 1e3}
    tell("corrupted", "sealed" if secrets else "", **figures, wrong=wrong, exceptions=raised)
    assert (wrong, raised) == (0, 0)
    assert longest < 0.010
    assert counted(site) > CORRUPTED_VALUES / 5
    assert site.cache.metrics.store_failures == 0


def seconds_to_decode(value: bytes, seals: Seals | None, key: bytes) -> float:
    took = []
    for _ in range(3):
        began = time.thread_time()
        with pytest.raises(CorruptRecord):
            decode(value, b"a key of nobody", seals, key)
        took.append(time.thread_time() - began)
        if took[-1] < 0.001:
            break
    return min(took)


@with_and_without
@pytest.mark.parametrize("revision", [0, 1, 2, 255])
async def test_s05_another_revision_is_a_miss_and_is_replaced(
    redis_place: Place, redis: Any, secrets: Sequence[str], revision: int
) -> None:
    site = site_of(redis_place, secrets)
    await site.ask()
    (key,) = await records_of(redis, redis_place)
    value = bytearray(await redis.get(key))
    value[3] = revision
    await redis.set(key, bytes(value), px=60_000)
    assert not (await site.ask()).hit
    assert (await site.ask()).hit
    assert counted(site) == 1


async def test_s05_workers_with_and_without_a_secret_coexist(redis_place: Place) -> None:
    """While secrets are switched on: misses, never an error, nor each other's records."""
    before, after = site_of(redis_place, ()), site_of(redis_place, [NEW])
    for count in range(1, 4):
        for site in (before, after):
            assert not (await site.ask()).hit
            assert (await site.ask()).hit
            assert site.calls == count
    assert (counted(before), counted(after)) == (2, 3)
    # A purge needs no secret, and reaches both.
    await before.cache.purge_all()
    assert not (await after.ask()).hit
    for site in (before, after):
        assert site.cache.metrics.store_failures == 0


def poisoned(record: StoredResponse) -> StoredResponse:
    return stored_response(
        record.discard_at,
        lines=((b"content-type", b"text/html"),),
        body=b"<script>",
        generated_at=record.generated_at,
        fresh_until=record.fresh_until,
        emitted=0,
        nominated=(),
        groups=record.groups,
        stamps=record.stamps,
    )


async def test_s07_a_forged_record_is_an_answer_without_secrets_and_a_miss_with(
    redis_place: Place, redis: Any
) -> None:
    site, open_site = site_of(redis_place, [NEW]), site_of(redis_place, ())
    await open_site.ask()
    (place,) = await records_of(redis, redis_place)
    screened = open_site.screened()
    assert screened is not None
    record = decode(await redis.get(place), screened.key)
    assert isinstance(record, type(stored_response()))
    evil = poisoned(record)
    unsealed = encode(evil, screened.key)
    await redis.set(place, unsealed, px=60_000)
    assert (await open_site.ask()).body == b"<script>"  # so the forgery is a good one
    forgeries = [
        unsealed,
        *(encode(evil, screened.key, Seals([secret]), place) for secret in (OLD, OTHER)),
        encode(evil, screened.key, Seals([NEW]), place[:-1] + b"1"),
        encode(evil, screened.key + b" ", Seals([NEW]), place),
        b"\xffAS\x03" + bytes(32) + unsealed[8:],
    ]
    for number, value in enumerate(forgeries, 1):
        await redis.set(place, value, px=60_000)
        assert not (await site.ask()).hit
        assert (await site.ask()).hit
        assert counted(site) == number


async def test_s07_a_genuine_record_is_one_only_where_it_was_put(
    redis_place: Place, redis: Any
) -> None:
    """Moved to another target, key, slot or namespace it is none."""
    site = site_of(redis_place, [NEW], Origin(Reply(VARYING)))
    for language in ("en", "de"):
        assert await site.stores("/varies", [("accept-language", language)])
        assert (await site.ask("/varies", [("accept-language", language)])).hit
    fields, *variants = await records_of(redis, redis_place)
    assert len(variants) == 2
    read = counted(site)
    for source, place in (variants, variants[::-1], (variants[0], fields)):
        kept = await redis.get(place)
        await redis.set(place, await redis.get(source), px=60_000)
        for language in ("en", "de"):
            told = await site.told("/varies", [("accept-language", language)])
            assert told.value("accept-language") == language
        assert counted(site) > read
        read = counted(site)
        await redis.set(place, kept, px=60_000)
    other = place_in(redis_place, "2")
    moved = site_of(other, [NEW], Origin(Reply(VARYING)))
    await moved.ask("/varies")
    prefix, prefix_of_other = (f"{one.namespace}:".encode() for one in (redis_place, other))
    for place in (fields, *variants):
        value = await redis.get(place)
        await redis.set(place.replace(prefix, prefix_of_other), value, px=60_000)
    assert (await moved.told("/varies", [("accept-language", "en")])).serial == moved.calls == 2
    assert counted(moved) > 0


def place_in(place: Place, suffix: str) -> Place:
    """Another namespace of the same Redis; closed with *place*."""
    return Place(place.kind, place.url, place.namespace + suffix, place.stores)


async def test_s07_rotation(redis_place: Place) -> None:
    """[old] -> [old, new] -> [new, old] -> [new]: in every step workers read each other's."""
    steps = [[OLD], [OLD, NEW], [NEW, OLD], [NEW]]
    for number, (before, after) in enumerate(pairwise(steps)):
        one, other = site_of(redis_place, before), site_of(redis_place, after)
        for first, second in ((one, other), (other, one)):
            await redis_place.cache(redis_place.stores[-1]).purge_all()
            body = (await first.ask(f"/{number}")).body
            answer = await second.ask(f"/{number}")
            assert answer.hit
            assert answer.body == body
        assert counted(one) == counted(other) == 0
    stranger = site_of(redis_place, [OLD])
    assert not (await stranger.ask("/2")).hit
    assert counted(stranger) == 1


async def test_s07_settings_hand_the_secret_to_the_store(
    redis_place: Place, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {
        "store": redis_place.url,
        "namespace": redis_place.namespace,
        "store_timeout": 30.0,
        "request_store_timeout": 60.0,
    }
    monkeypatch.setenv("ASGI_CACHE_SECRET", f'["{NEW}"]')
    app, plain = (
        CacheMiddleware(Origin(), **options),
        CacheMiddleware(Origin(), **options, secret=[]),
    )
    await drive(app)
    assert (await drive(app)).hit
    (key,) = await records_of(redis, redis_place)
    assert (await redis.get(key)).startswith(b"\xffAS")
    assert not (await drive(plain)).hit
    assert plain.cache.metrics.corrupt_records == 1
    for one in (app, plain):
        await one.cache.aclose()


def test_s07_a_store_that_cannot_be_told_the_secret_is_refused() -> None:
    store = RedisStore("redis://127.0.0.1", "shop")
    for wrong in (store, GuardedStore(store), GuardedStore(MemoryStore(1000))):
        with pytest.raises(
            ConfigurationError, match=r"secret = \*\*\*: allowed is \[\]"
        ) as refused:
            Cache(store=wrong, secret=[NEW])
        assert NEW not in str(refused.value)
    assert Cache(store=MemoryStore(1000), secret=[NEW]).settings.secret == (NEW,)
    assert Cache(secret=[NEW]).settings.secret == (NEW,)


@with_and_without
async def test_s08_forged_payloads_are_discarded_whoever_sealed_them(
    redis_place: Place, redis: Any, secrets: Sequence[str]
) -> None:
    site = site_of(redis_place, secrets)
    await site.ask()
    (place,) = await records_of(redis, redis_place)
    seals = Seals(secrets) if secrets else None
    values = [forged(stored_response(), changes) for changes in RESPONSE_FORGERIES.values()]
    values += [forged(nominated_fields(), changes) for changes in NOMINATED_FORGERIES.values()]
    values += [forged(stored_response(stamps=()), {16: 10_000}, *[b"a", b"b"] * 10_000)]
    for number, value in enumerate(values, 1):
        data = sealed(value, seals, place)
        with pytest.raises(CorruptRecord):
            decode(data, KEY, seals, place)
        await redis.set(place, data, px=60_000)
        assert (await site.told()).serial == number + 1
    assert counted(site) == len(values)
    assert site.cache.metrics.store_failures == 0


@with_and_without
async def test_s09_an_oversized_value_is_neither_fetched_nor_parsed(
    redis_place: Place, redis: Any, secrets: Sequence[str]
) -> None:
    site = site_of(redis_place, secrets, max_record_bytes=100_000)
    await site.ask()
    (place,) = await records_of(redis, redis_place)
    await redis.setrange(place, OVERSIZED_BYTES - 1, b"x")
    tracemalloc.start()
    try:
        began = time.thread_time()
        answer = await site.ask()
        took = time.thread_time() - began
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not answer.hit
    assert (await site.ask()).hit  # and its place has been taken
    assert counted(site) == 1
    print(f"{took * 1e3:.1f} ms of this thread, {peak / 2**20:.2f} MiB at most")
    assert peak < 2 * 2**20
    assert took < 0.1


async def test_s12_random_eviction_neither_mixes_nor_revives(namespace: str) -> None:
    """Half of what there is does not fit, and any key may go at any time, stamps too."""
    pages, draw = 400, random.Random(12)
    versions = dict.fromkeys([f"/{number}" for number in range(pages)], 1)

    def answer(told: Told) -> Reply:
        group = f'"group-{int(told.path[1:]) % 20}"'
        lines = [*SHARED, ("cache-groups", group)]
        return Reply(lines, filler=8000, version=versions[told.path])

    hits = 0
    with RedisServer() as server:
        place = Place("redis", server.url, namespace)
        sites = [site_of(place, [NEW], Origin(answer)) for _ in range(2)]
        async with Redis.from_url(server.url) as redis:
            used = (await redis.info("memory"))["used_memory"]
            await redis.config_set("maxmemory", used + pages * 7000)
            await redis.config_set("maxmemory-policy", "allkeys-random")
            for _ in range(EVICTION_OPERATIONS):
                site, path = draw.choice(sites), f"/{draw.randrange(pages)}"
                choice = draw.random()
                if choice < 0.97:
                    least = versions[path]
                    told = await site.told(path)
                    assert told.path == path
                    assert told.version >= least
                    hits += site.origin.seen[-1].serial != told.serial
                elif choice < 0.99:
                    versions[path] += 1
                    await site.cache.purge(f"http://shop.example{path}")
                else:
                    group = draw.randrange(20)
                    for number in range(group, pages, 20):
                        versions[f"/{number}"] += 1
                    await site.cache.purge(group=f"group-{group}")
            evicted = (await redis.info("stats"))["evicted_keys"]
        print(f"{EVICTION_OPERATIONS} operations, {evicted} evictions, {hits} hits")
        assert evicted > EVICTION_OPERATIONS / 50
        assert hits > EVICTION_OPERATIONS / 50
        assert sum(counted(site) for site in sites) == 0
        await place.aclose()


@with_and_without
async def test_s14_a_restored_dump_revives_what_was_purged_but_not_beyond_its_lifetime(
    redis_place: Place, redis: Any, secrets: Sequence[str], clock: Clock
) -> None:
    """The limit that SECURITY.md names: a seal does not tell an earlier state from today's."""
    clock.now = time.time()
    site = site_of(redis_place, secrets, clock=clock)
    body = (await site.ask()).body
    names = [name async for name in redis.scan_iter(f"{redis_place.namespace}:*")]
    dump = {name: await redis.dump(name) for name in names}

    async def restore() -> None:
        for name, value in dump.items():
            await redis.restore(name, 3_600_000, value, replace=True)

    await site.cache.purge_all()
    assert (await site.ask()).body != body
    await restore()
    answer = await site.ask()
    assert answer.hit
    assert answer.body == body
    clock.advance(61)  # its max-age, which the record says itself
    await restore()
    assert (await site.ask()).body != body


async def test_s16_two_apps_with_secrets_of_their_own_do_not_mix(redis_place: Place) -> None:
    """Even where they share a namespace and a host by mistake."""
    sites = [site_of(redis_place, [secret]) for secret in (NEW, OTHER)]
    for _ in range(3):
        for site in sites:
            assert (await site.told()).serial == site.calls
            assert (await site.told()).serial == site.calls
    assert [site.calls for site in sites] == [3, 3]
    assert [counted(site) for site in sites] == [2, 3]
