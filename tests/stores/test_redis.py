from __future__ import annotations

import pickle
import random
import re
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
import redis

from asgi_cache.errors import ConfigurationError, StoreRefused, StoreUnavailable
from asgi_cache.stores import RESPONSE_SLOT, RedisStore
from asgi_cache.stores.codec import encode
from tests.conftest import Clock, keys_without_end
from tests.servers import RedisServer
from tests.stores.records import nominated_fields, stored_response
from tests.stores.wire import Relay, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

TARGET, KEY = b"shop.example/", b"https\0shop.example/"
NAMES = (b"n", b"e", b"t" + TARGET, b"p" + TARGET, b"gproducts", b"oshop.example g")
LIFE = 3600.0


@pytest.fixture
async def store(redis_url: str, namespace: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_url, namespace)
    yield store
    await store.aclose()


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def keys_of(client: Any, namespace: str) -> list[bytes]:
    return sorted(client.scan_iter(match=f"{namespace}:*", count=1000))


async def held(store: RedisStore) -> Any:
    (record,), _ = await store.read(TARGET, KEY, RESPONSE_SLOT, ())
    return record


async def test_the_keys_are_those_documented(
    store: RedisStore, client: Any, namespace: str
) -> None:
    await store.settle((*NAMES, b"", b"\xff", b"T"), LIFE)
    await store.write(TARGET, KEY, {0: stored_response(), 32: nominated_fields()}, NAMES)
    prefix, digest = re.escape(namespace) + ":", "[0-9A-Za-z_-]{43}"
    of_target = re.compile(f"{prefix}{{({digest})}}:(?:{digest}:(?:0|32)|t)")
    other = re.compile(f"{prefix}[negop_]:{digest}")
    keys = [key.decode() for key in keys_of(client, namespace)]
    assert len(keys) == len(NAMES) + 3 + 2
    tags = [found[1] for key in keys if (found := of_target.fullmatch(key))]
    assert len(tags) == 3
    assert len(set(tags)) == 1
    assert len([key for key in keys if other.fullmatch(key)]) == len(keys) - 3


async def test_s15_every_key_has_an_end(store: RedisStore, client: Any, namespace: str) -> None:
    now = store.now()
    await store.settle(NAMES, 10)
    await store.write(TARGET, KEY, {0: stored_response(now + 100)}, NAMES)
    await store.replace([b"n", b"gnew"], [b"e", b"gsoft"], 10)
    lives = {key: client.pttl(key) for key in keys_of(client, namespace)}
    assert len(lives) == len(NAMES) + 3
    assert all(0 < life <= 200_000 for life in lives.values())
    assert not [key for key in keys_without_end(client_url(client)) if key in lives]


def client_url(client: Any) -> str:
    options = client.connection_pool.connection_kwargs
    return f"redis://{options['host']}:{options['port']}/{options['db']}"


async def test_a_record_lives_until_it_is_to_be_discarded(
    store: RedisStore, client: Any, namespace: str
) -> None:
    await held(store)
    await store.write(TARGET, KEY, {0: stored_response(store.now() + 100)}, ())
    (key,) = keys_of(client, namespace)
    assert 95_000 < client.pttl(key) <= 100_000


async def test_stamps_are_made_to_outlive_records(
    store: RedisStore, client: Any, namespace: str
) -> None:
    def lives() -> list[int]:
        return [client.pttl(key) for key in keys_of(client, namespace) if b"{" not in key]

    now = store.now()
    before = await store.settle([b"n"], 50)
    await store.write(TARGET, KEY, {0: stored_response(now + 40)}, [b"n"])
    assert 40_000 < lives()[0] <= 50_000
    await store.write(TARGET, KEY, {0: stored_response(now + 100)}, [b"n"])
    assert 190_000 < lives()[0] <= 200_000
    await store.write(TARGET, KEY, {0: stored_response(now + 10)}, [b"n", b"gmissing"])
    assert 190_000 < lives()[0] <= 200_000
    assert len(lives()) == 1
    assert await store.settle([b"n"], 1) == before
    # One that somebody made immortal gets an end, too.
    for key in keys_of(client, namespace):
        client.persist(key)
    await store.write(TARGET, KEY, {0: stored_response(now + 100)}, [b"n"])
    assert 190_000 < lives()[0] <= 200_000


async def test_each_operation_is_one_round_trip(redis_server: RedisServer, namespace: str) -> None:
    relay = Relay(redis_server.port)
    async with serving(relay) as url:
        store = RedisStore(url, namespace)
        await held(store)
        await store.replace([b"purged"], (), LIFE)
        response = stored_response(store.now() + 60)

        async def trips(operation: Any) -> int:
            before = relay.trips
            await operation
            return relay.trips - before

        assert await trips(store.settle(NAMES, LIFE)) == 1
        assert await trips(store.settle(NAMES, LIFE)) == 1
        assert await trips(store.write(TARGET, KEY, {0: response, 1: response}, NAMES)) == 1
        assert await trips(store.write(TARGET, KEY, {0: response}, [b"gmissing"])) == 1
        assert await trips(store.read(TARGET, KEY, RESPONSE_SLOT, NAMES)) == 1
        assert await trips(store.read(TARGET, KEY, range(33), NAMES)) == 1
        assert await trips(store.replace(NAMES, NAMES, LIFE)) == 1
        assert await trips(store.remove(TARGET, KEY, 0)) == 1
        assert await trips(store.read(TARGET, KEY, (), ())) == 0
        assert await trips(store.settle((), LIFE)) == 0
        assert await trips(store.replace((), (), LIFE)) == 0
        # The second renews the stamps, where they would end before the record.
        long = stored_response(store.now() + 2 * LIFE)
        assert await trips(store.write(TARGET, KEY, {0: long}, NAMES)) == 2
        assert relay.connections == 2  # a purge has its own, because its deadline is another
        await store.aclose()


async def plant(store: RedisStore, client: Any, namespace: str, value: Any) -> bytes:
    """Put *value* where a record lies."""
    await store.write(TARGET, KEY, {0: stored_response(time.time() + 60)}, ())
    (key,) = keys_of(client, namespace)
    assert isinstance(key, bytes)
    client.set(key, value, px=60_000)
    return key


async def test_what_is_no_record_is_a_miss_and_counted(
    store: RedisStore, client: Any, namespace: str
) -> None:
    good = encode(stored_response(time.time() + 60), KEY)
    bad = [
        pickle.dumps(stored_response()),  # S01
        b"\xff",
        good[:-1],
        good + b"\0",
        good[:3] + bytes([good[3] + 1]) + good[4:],  # S05
        encode(stored_response(time.time() + 60), b"another key"),
    ]
    for number, value in enumerate(bad, 1):
        await plant(store, client, namespace, value)
        assert await held(store) is None
        assert store.corrupt_records == number
    await plant(store, client, namespace, good)
    assert await held(store) is not None
    assert store.corrupt_records == len(bad)


async def test_s03_flipped_bits_are_misses(store: RedisStore, client: Any, namespace: str) -> None:
    record = stored_response(time.time() + 60)
    good = encode(record, KEY)
    key = await plant(store, client, namespace, good)
    choose = random.Random(7)
    for _ in range(300):
        flipped = int.from_bytes(good) ^ (1 << choose.randrange(8 * len(good)))
        client.set(key, flipped.to_bytes(len(good)), px=60_000)
        assert await held(store) is None


async def test_another_type_where_a_record_lies_is_a_miss(
    store: RedisStore, client: Any, namespace: str
) -> None:
    key = await plant(store, client, namespace, b"x")
    client.delete(key)
    client.rpush(key, b"x")
    client.pexpire(key, 60_000)
    await store.settle([b"n"], LIFE)
    found, (stamp,) = await store.read(TARGET, KEY, [0, 1], [b"n"])
    assert list(found) == [None, None]
    assert stamp is not None
    assert store.corrupt_records == 1
    record = stored_response(time.time() + 60)
    await store.write(TARGET, KEY, {0: record}, ())
    assert await held(store) == record


async def test_s09_an_oversized_value_is_not_even_fetched(
    redis_url: str, client: Any, namespace: str
) -> None:
    store = RedisStore(redis_url, namespace, max_record_bytes=100_000)
    key = await plant(store, client, namespace, b"x")
    client.setrange(key, 64 * 2**20, b"x")
    tracemalloc.start()
    try:
        assert await held(store) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    client.delete(key)
    assert peak < 2**20
    assert store.corrupt_records == 1
    await store.aclose()


async def test_a_record_over_the_limit_is_not_written_and_empties_its_slot(
    redis_url: str, client: Any, namespace: str
) -> None:
    record = stored_response(time.time() + 60, body=bytes(1000))
    size = len(encode(record, KEY))
    exact = RedisStore(redis_url, namespace, max_record_bytes=size)
    less = RedisStore(redis_url, namespace, max_record_bytes=size - 1)
    await exact.write(TARGET, KEY, {0: record}, ())
    assert await held(exact) == record
    assert await held(less) is None
    await less.write(TARGET, KEY, {0: record}, ())
    assert keys_of(client, namespace) == []
    await exact.aclose()
    await less.aclose()


async def test_a_record_that_outlived_its_instant_is_a_miss(
    store: RedisStore, client: Any, namespace: str
) -> None:
    """An old dump, restored with new times to live."""
    await plant(store, client, namespace, encode(stored_response(time.time() - 1), KEY))
    assert await held(store) is None
    assert store.corrupt_records == 0


@pytest.mark.parametrize("value", [b"", b"1", bytes(39), bytes(41), b"\xff" * 40, [b"list"]])
async def test_what_is_no_stamp_is_missing_and_settling_replaces_it(
    store: RedisStore, client: Any, namespace: str, value: Any
) -> None:
    await store.settle([b"n"], LIFE)
    (key,) = keys_of(client, namespace)
    client.delete(key)
    if isinstance(value, list):
        client.rpush(key, *value)
    else:
        client.set(key, value)
    client.pexpire(key, 60_000)
    _, (stamp,) = await store.read(TARGET, KEY, (), [b"n"])
    assert stamp is None
    made, other = await store.settle([b"n", b"e"], LIFE)
    _, stamps = await store.read(TARGET, KEY, (), [b"n", b"e"])
    assert stamps == [made, other]
    assert await store.settle([b"n", b"e"], LIFE) == [made, other]


async def test_a_purge_that_was_carried_out_in_part_raises(
    store: RedisStore, client: Any, namespace: str
) -> None:
    await store.settle([b"n"], LIFE)
    (key,) = keys_of(client, namespace)
    client.delete(key)
    client.rpush(key, b"x")
    client.pexpire(key, 60_000)
    with pytest.raises(StoreUnavailable, match=r"replace: .*WRONGTYPE"):
        await store.replace([], [b"n"], LIFE)
    await store.replace([b"n"], [b"n"], LIFE)
    _, (stamp,) = await store.read(TARGET, KEY, (), [b"n"])
    assert stamp is not None


async def test_s16_namespaces_do_not_mix_and_workers_of_one_share(
    redis_url: str, namespace: str
) -> None:
    ours, same, other, nested = (
        RedisStore(redis_url, name)
        for name in (namespace, namespace, namespace + "2", namespace + ":n")
    )
    record = stored_response(time.time() + 60)
    await ours.write(TARGET, KEY, {0: record}, ())
    settled = await ours.settle(NAMES, LIFE)
    assert await held(same) == record
    assert await same.settle(NAMES, LIFE) == settled
    for another in (other, nested):
        assert await held(another) is None
        _, stamps = await another.read(TARGET, KEY, (), NAMES)
        assert stamps == [None] * len(NAMES)
        await another.replace(NAMES, (), LIFE)
    assert await same.settle(NAMES, LIFE) == settled
    for store in (ours, same, other, nested):
        await store.aclose()


async def test_all_workers_have_the_servers_clock(redis_url: str, namespace: str) -> None:
    ahead = RedisStore(redis_url, namespace, clock=lambda: time.time() + 3600)
    behind = RedisStore(redis_url, namespace, clock=lambda: time.time() - 3600)
    assert ahead.now() - behind.now() == pytest.approx(7200, abs=1)
    for store in (ahead, behind):
        await held(store)
        assert store.now() == pytest.approx(time.time(), abs=0.5)
    await behind.write(TARGET, KEY, {0: stored_response(behind.now() + 60)}, ())
    assert await held(ahead) is not None
    await ahead.aclose()
    await behind.aclose()


async def test_a_soft_purge_as_the_first_command_has_the_servers_clock(
    redis_url: str, namespace: str
) -> None:
    store = RedisStore(redis_url, namespace, clock=lambda: time.time() - 3600)
    await store.replace((), [b"n"], LIFE)
    _, (stamp,) = await store.read(TARGET, KEY, (), [b"n"])
    assert stamp is not None
    assert stamp.soft_at == pytest.approx(time.time(), abs=0.5)
    await store.aclose()


async def test_a_clock_that_jumps_is_found_out_on_the_next_connection(
    redis_url: str, namespace: str, clock: Clock
) -> None:
    clock.now = time.time()
    store = RedisStore(redis_url, namespace, clock=clock)
    await held(store)
    clock.advance(500)
    await store.aclose()
    await held(store)
    assert store.now() == pytest.approx(time.time(), abs=0.5)
    await store.aclose()


async def test_without_permission_for_time_clocks_have_to_agree(
    client: Any, redis_url: str, namespace: str
) -> None:
    client.acl_setuser("untimed", enabled=True, nopass=True, keys="*", commands=["+@all", "-time"])
    store = RedisStore(redis_url.replace("//", "//untimed:any@"), namespace, clock=lambda: 5.0)
    await store.replace([b"n"], [b"n"], LIFE)
    assert store.now() == 5.0
    await store.aclose()
    client.acl_deluser("untimed")


async def test_x09_a_full_server_refuses_writes_and_answers_reads(namespace: str) -> None:
    with RedisServer() as server, redis.Redis.from_url(server.url) as admin:
        store = RedisStore(server.url, namespace)
        record = stored_response(time.time() + 60)
        await store.write(TARGET, KEY, {0: record}, ())
        admin.config_set("maxmemory", "1")
        admin.config_set("maxmemory-policy", "noeviction")
        for operation in (
            lambda: store.write(TARGET, KEY, {1: record}, ()),
            lambda: store.settle([b"n"], LIFE),
            lambda: store.replace([b"n"], (), LIFE),
            lambda: store.replace((), [b"n"], LIFE),
        ):
            with pytest.raises(StoreRefused, match="OutOfMemory"):
                await operation()
        assert await held(store) == record
        assert admin.info("clients")["connected_clients"] == 3
        await store.aclose()


@pytest.mark.parametrize("namespace", ["", "a b", "a{b}", "a\n", "a\0"])
def test_a_namespace_that_would_break_keys_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigurationError, match="namespace"):
        RedisStore("redis://127.0.0.1", namespace)


def test_its_repr_shows_no_password() -> None:
    store = RedisStore("redis://user:s3cret@127.0.0.1:7000/3", "shop")
    assert repr(store) == "<RedisStore shop host=127.0.0.1 port=7000 db=3>"


def test_the_digest_is_256_bits_without_what_keys_are_made_of() -> None:
    store = RedisStore("redis://127.0.0.1", "shop")
    places = {store.stamp_place(b"g%d" % at) for at in range(1000)}
    places |= {store.record_place(b"%d" % at, b"", 0) for at in range(1000)}
    assert len(places) == 2000
    assert {len(place) for place in places} == {len("shop:g:") + 43, len("shop:{}::0") + 86}


def test_stamps_of_a_target_lie_with_its_records() -> None:
    store = RedisStore("redis://127.0.0.1", "shop")
    stamp, record = store.stamp_place(b"t" + TARGET), store.record_place(TARGET, KEY, 0)
    assert stamp.split(b"}")[0] == record.split(b"}")[0]
