"""What every store and every composition of stores must do: each sentence of ``stores.base``

and ``stores.capabilities``.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import fakeredis
import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgi_cache.errors import StoreError
from asgi_cache.model import NONCE_BYTES, Record, Stamp
from asgi_cache.stores import (
    RESPONSE_SLOT,
    VARIANT_SLOTS,
    Budget,
    GuardedStore,
    MemoryStore,
    RedisStore,
    Store,
    TieredStore,
)
from tests.stores.records import nominated_fields, records, stored_response
from tests.stores.wire import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.conftest import Clock

TARGET = b"shop.example/products/1"
KEY = b"https\0shop.example/products/1"
NAMES = (b"n", b"e", b"t" + TARGET, b"pshop.example/products/1", b"gproducts", b"oshop.example g")
LIFE = 3600.0


class Bench(NamedTuple):
    """A store, what tests do to it from outside, and its clock."""

    store: Store
    evict: Callable[[], Awaitable[None]]
    """Lose everything, as a store may at any time."""
    clock: Clock


@asynccontextmanager
async def in_memory(clock: Clock, _: str, __: str) -> AsyncIterator[Bench]:
    store = MemoryStore(16 * 2**20, clock)

    async def evict() -> None:
        store._values.clear()

    yield Bench(store, evict, clock)


@asynccontextmanager
async def in_fakeredis(clock: Clock, namespace: str, _: str) -> AsyncIterator[Bench]:
    client = fakeredis.FakeAsyncRedis()
    async with on_client(client, clock, namespace) as bench:
        yield bench


@asynccontextmanager
async def in_redis(clock: Clock, namespace: str, url: str) -> AsyncIterator[Bench]:
    client = redis.asyncio.Redis.from_url(url)
    store = RedisStore(url, namespace, clock=clock)
    try:
        yield Bench(store, lambda: forget(client, namespace), clock)
    finally:
        await store.aclose()
        await client.aclose()


@asynccontextmanager
async def in_redis_sealed(clock: Clock, namespace: str, url: str) -> AsyncIterator[Bench]:
    client = redis.asyncio.Redis.from_url(url)
    store = RedisStore(url, namespace, clock=clock, secrets=["a secret of the contract"])
    try:
        yield Bench(store, lambda: forget(client, namespace), clock)
    finally:
        await store.aclose()
        await client.aclose()


@asynccontextmanager
async def in_redis_by_client(clock: Clock, namespace: str, url: str) -> AsyncIterator[Bench]:
    client = redis.asyncio.Redis.from_url(url, protocol=3)
    async with on_client(client, clock, namespace) as bench:
        yield bench


@asynccontextmanager
async def on_client(client: Any, clock: Clock, namespace: str) -> AsyncIterator[Bench]:
    store = RedisStore(client, namespace, clock=clock)
    try:
        yield Bench(store, lambda: forget(client, namespace), clock)
    finally:
        await store.aclose()
        await client.aclose()


@asynccontextmanager
async def in_tiers(clock: Clock, namespace: str, url: str) -> AsyncIterator[Bench]:
    client = redis.asyncio.Redis.from_url(url)
    guarded = GuardedStore(
        RedisStore(url, namespace, clock=clock), timeout=30.0, purge_timeout=30.0
    )
    tier = TieredStore(MemoryStore(16 * 2**20), guarded)

    async def evict() -> None:
        await forget(client, namespace)
        await until(lambda: not tier.cells._index)  # pushed

    try:
        await tier.read(TARGET, KEY, RESPONSE_SLOT, ())
        await until(lambda: tier.watching.is_alive)
        yield Bench(tier, evict, clock)
    finally:
        await tier.aclose()
        await client.aclose()


async def forget(client: Any, namespace: str) -> None:
    async for key in client.scan_iter(match=f"{namespace}:*", count=1000):
        await client.delete(key)


KINDS = {
    "memory": in_memory,
    "fakeredis": in_fakeredis,
    "redis": in_redis,
    "redis-sealed": in_redis_sealed,
    "redis-client": in_redis_by_client,
    "tiered": in_tiers,
}


@pytest.fixture(params=[*KINDS, "guarded-memory", "guarded-redis", "budgeted-redis"])
async def bench(
    request: pytest.FixtureRequest, clock: Clock, namespace: str, redis_url: str
) -> AsyncIterator[Bench]:
    composition, _, kind = request.param.rpartition("-")
    made = KINDS.get(request.param) or KINDS[kind]
    async with made(clock, namespace, redis_url) as bench:
        # Instants mean something once the store's clock is known: after the first exchange.
        await bench.store.read(TARGET, KEY, RESPONSE_SLOT, ())
        # Generous deadlines: this suite is about what is done, on however slow a machine.
        guarded = GuardedStore(bench.store, timeout=30.0, purge_timeout=30.0)
        match composition:
            case "guarded":
                yield bench._replace(store=guarded)
            case "budgeted":
                yield bench._replace(store=guarded.within(Budget(600.0)))
            case _:
                yield bench


@pytest.fixture
def store(bench: Bench) -> Store:
    return bench.store


async def held(store: Store, slot: int = 0, target: bytes = TARGET, key: bytes = KEY) -> Any:
    (record,), stamps = await store.read(target, key, [slot], ())
    assert len(stamps) == 0
    return record


async def stamp_of(store: Store, name: bytes) -> Stamp | None:
    found, (stamp,) = await store.read(TARGET, KEY, (), [name])
    assert len(found) == 0
    return stamp


def test_it_is_a_store(store: Store) -> None:
    assert isinstance(store, Store)


async def test_an_empty_store_gives_none_for_everything(store: Store) -> None:
    found, stamps = await store.read(TARGET, KEY, range(VARIANT_SLOTS + 1), NAMES)
    assert list(found) == [None] * (VARIANT_SLOTS + 1)
    assert list(stamps) == [None] * len(NAMES)


async def test_an_ordinary_look_up(store: Store) -> None:
    record = stored_response(store.now() + 60)
    await store.write(TARGET, KEY, {0: record}, NAMES)
    settled = await store.settle(NAMES, LIFE)
    found, stamps = await store.read(TARGET, KEY, RESPONSE_SLOT, NAMES)
    assert list(found) == [record]
    assert list(stamps) == list(settled)


async def test_reading_nothing_gives_nothing(store: Store) -> None:
    found, stamps = await store.read(TARGET, KEY, (), ())
    assert (list(found), list(stamps)) == ([], [])


async def test_every_slot_holds_its_own_record(store: Store) -> None:
    slots = range(VARIANT_SLOTS + 1)
    variants: dict[int, Record] = {
        slot: stored_response(store.now() + 60, body=b"%d" % slot) for slot in slots
    }
    variants[0] = nominated_fields(store.now() + 60)
    await store.write(TARGET, KEY, variants, ())
    found, _ = await store.read(TARGET, KEY, [*reversed(slots)], ())
    assert list(found) == [variants[slot] for slot in reversed(slots)]


async def test_a_write_replaces_its_slots_and_leaves_the_others(store: Store) -> None:
    old, new = (stored_response(store.now() + 60, body=body) for body in (b"old", b"new"))
    await store.write(TARGET, KEY, {0: old, 1: old, 2: old}, ())
    await store.write(TARGET, KEY, {0: new, 2: new}, ())
    found, _ = await store.read(TARGET, KEY, [0, 1, 2, 3], ())
    assert list(found) == [new, old, new, None]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=records, key=st.binary(max_size=40), target=st.binary(max_size=40))
async def test_any_record_under_any_key(
    store: Store, record: Any, key: bytes, target: bytes
) -> None:
    discard_at = store.now() + 60
    record = type(record)(**{**_fields(record), "discard_at": discard_at})
    await store.write(target, key, {7: record}, ())
    assert await held(store, 7, target, key) == record


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


@pytest.mark.parametrize(
    "other",
    [
        KEY + b"\0",
        KEY + b" ",
        KEY.upper(),
        KEY + b":0",
        KEY[:-1] + b"{1}",
        b"",
        KEY.replace(b"s", "\N{LATIN SMALL LETTER LONG S}".encode()),
        KEY + b"\x1e\x1f*",
    ],
)
async def test_k08_keys_are_compared_byte_by_byte(store: Store, other: bytes) -> None:
    await store.write(TARGET, KEY, {0: stored_response(store.now() + 60)}, ())
    assert await held(store, key=other) is None
    assert await held(store, target=other) is None
    assert await held(store, 1) is None


async def test_records_and_stamps_do_not_meet(store: Store) -> None:
    """Whatever a stamp is called, it is no record, and the other way round."""
    record = stored_response(store.now() + 60)
    for name in (KEY, TARGET, b"t" + TARGET, b"t", b"n", b"0", b""):
        await store.write(name, name, {0: record}, ())
        assert await stamp_of(store, name) is None
        await store.settle([name], LIFE)
        assert await held(store, 0, name, name) == record


async def test_removing_empties_one_slot(store: Store) -> None:
    record = stored_response(store.now() + 60)
    await store.write(TARGET, KEY, {0: record, 1: record}, ())
    for _ in range(2):
        await store.remove(TARGET, KEY, 0)
        assert await held(store, 0) is None
        assert await held(store, 1) == record
    await store.remove(b"another", KEY, 1)
    assert await held(store, 1) == record


async def test_a_record_is_there_until_its_instant(bench: Bench) -> None:
    store = bench.store
    await store.settle(NAMES, LIFE)
    record = stored_response(store.now() + 60)
    await store.write(TARGET, KEY, {0: record, 1: nominated_fields(store.now() + 120)}, NAMES)
    bench.clock.advance(59)
    assert await held(store) == record
    bench.clock.advance(2)
    assert await held(store) is None
    found, _ = await store.read(TARGET, KEY, RESPONSE_SLOT, ())
    assert list(found) == [None]
    assert await held(store, 1) is not None


async def test_a_record_that_has_ended_leaves_its_slot_empty(store: Store) -> None:
    now = store.now()
    await store.write(TARGET, KEY, {0: stored_response(now + 60)}, ())
    await store.write(TARGET, KEY, {0: stored_response(now - 1)}, NAMES)
    assert await held(store) is None


async def test_writing_names_no_stamp_into_being(store: Store) -> None:
    await store.write(TARGET, KEY, {0: stored_response(store.now() + 60)}, NAMES)
    _, stamps = await store.read(TARGET, KEY, (), NAMES)
    assert list(stamps) == [None] * len(NAMES)


async def test_missing_stamps_are_made_once(store: Store) -> None:
    first = list(await store.settle(NAMES, LIFE))
    assert len({stamp.nonce for stamp in first}) == len(NAMES)
    assert {len(nonce) for stamp in first for nonce in stamp[:2]} == {NONCE_BYTES}
    assert list(await store.settle(NAMES, LIFE)) == first
    _, stamps = await store.read(TARGET, KEY, (), NAMES)
    assert list(stamps) == first


async def test_settling_nothing_gives_nothing(store: Store) -> None:
    assert list(await store.settle((), LIFE)) == []


async def test_settling_keeps_what_is_there_and_makes_what_is_not(store: Store) -> None:
    (there,) = await store.settle([b"gproducts"], LIFE)
    made, kept, again = await store.settle([b"n", b"gproducts", b"n"], LIFE)
    assert kept == there
    assert made == again != there


async def test_who_settles_at_the_same_time_gets_the_same(store: Store) -> None:
    settled = await asyncio.gather(*(store.settle(NAMES, LIFE) for _ in range(20)))
    assert {tuple(each) for each in settled} == {tuple(settled[0])}


async def test_a_purge_replaces_nonces(store: Store) -> None:
    before = await store.settle(NAMES, LIFE)
    await store.replace(NAMES[:3], (), LIFE)
    after = await store.settle(NAMES, LIFE)
    for old, new in zip(before[:3], after[:3], strict=True):
        assert old.nonce != new.nonce
    assert list(after[3:]) == list(before[3:])


async def test_a_purge_makes_what_is_missing(store: Store) -> None:
    await store.replace([b"gnew"], [b"gsoft"], LIFE)
    hard, soft = await stamp_of(store, b"gnew"), await stamp_of(store, b"gsoft")
    assert hard is not None
    assert soft is not None
    assert hard.nonce != soft.nonce


async def test_a_soft_purge_keeps_the_nonce(store: Store) -> None:
    (before,) = await store.settle([b"gproducts"], LIFE)
    await store.replace((), [b"gproducts"], LIFE)
    after = await stamp_of(store, b"gproducts")
    assert after is not None
    assert after.nonce == before.nonce
    assert after.soft_nonce != before.soft_nonce
    assert after.soft_at == pytest.approx(store.now(), abs=5)
    await store.replace((), [b"gproducts"], LIFE)
    again = await stamp_of(store, b"gproducts")
    assert again is not None
    assert again.soft_nonce != after.soft_nonce


async def test_soft_and_hard_in_either_order(store: Store) -> None:
    (first,) = await store.settle([b"g"], LIFE)
    await store.replace([b"g"], [b"g"], LIFE)
    (second,) = await store.settle([b"g"], LIFE)
    await store.replace((), [b"g"], LIFE)
    await store.replace([b"g"], (), LIFE)
    (third,) = await store.settle([b"g"], LIFE)
    assert len({first.nonce, second.nonce, third.nonce}) == 3
    assert second.soft_at > 0
    assert third.soft_at == 0


async def test_i06_a_stamp_made_again_is_another(bench: Bench) -> None:
    seen: set[bytes] = set()
    for _ in range(3):
        (stamp,) = await bench.store.settle([b"gproducts"], LIFE)
        seen.add(stamp.nonce)
        await bench.evict()
        assert await stamp_of(bench.store, b"gproducts") is None
    assert len(seen) == 3


async def test_i11_soft_purges_of_an_evicted_stamp_make_different_ones(bench: Bench) -> None:
    seen: set[bytes] = set()
    for _ in range(3):
        await bench.store.replace((), [b"gproducts"], LIFE)
        stamp = await stamp_of(bench.store, b"gproducts")
        assert stamp is not None
        seen |= {stamp.nonce, stamp.soft_nonce}
        await bench.evict()
    assert len(seen) == 6


async def test_eviction_of_everything_is_a_miss(bench: Bench) -> None:
    await bench.store.settle(NAMES, LIFE)
    await bench.store.write(TARGET, KEY, {0: stored_response(bench.store.now() + 60)}, NAMES)
    await bench.evict()
    found, stamps = await bench.store.read(TARGET, KEY, RESPONSE_SLOT, NAMES)
    assert list(found) == [None]
    assert list(stamps) == [None] * len(NAMES)


async def test_closing_is_idempotent_and_not_the_end(store: Store) -> None:
    record = stored_response(store.now() + 60)
    await store.write(TARGET, KEY, {0: record}, ())
    for _ in range(2):
        await store.aclose()
        await store.aclose()
        assert await held(store) == record


async def test_now_is_seconds_since_the_epoch(bench: Bench) -> None:
    await bench.store.read(TARGET, KEY, RESPONSE_SLOT, ())
    before = bench.store.now()
    assert before > 1_600_000_000
    bench.clock.advance(7)
    assert bench.store.now() - before == pytest.approx(7)


async def test_what_is_wrong_with_a_record_is_a_store_error_or_nothing(store: Store) -> None:
    wrong = stored_response(store.now() + 60, lines=((b"a", b"b\r\nset-cookie: sid=1"),))
    try:
        await store.write(TARGET, KEY, {0: wrong}, ())
    except StoreError:
        assert await held(store) is None
