"""The near tier: what is held near is right, or a push of it is on its way and the lease is short.

Case I13 by forced interleavings; every way of them by a state machine in ``test_cells.py``.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache import CacheMiddleware, ConfigurationError, GuardedStore, MemoryStore, TieredStore
from asgi_cache.errors import StoreRefused, StoreUnavailable
from asgi_cache.model import NominatedFields
from asgi_cache.stores import RESPONSE_SLOT, watching
from asgi_cache.stores import tiered as tiered_module
from asgi_cache.stores.base import Store
from asgi_cache.stores.capabilities import Doubted
from tests.conftest import Clock
from tests.driver import Recorder, drive
from tests.stores.near import NAME, Far, tiered
from tests.stores.records import nominated_fields, stored_response
from tests.stores.wire import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TARGET, KEY = b"shop.example/", b"https shop.example/"
STAMP = b"t" + TARGET
NAMES = (NAME, STAMP)
LIFE = 3600.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BEAT", 0.01)
    monkeypatch.setattr(watching, "RETRY", 0.02)


@pytest.fixture
def far(clock: Clock) -> Far:
    return Far(clock)


@pytest.fixture
async def tier(far: Far) -> AsyncIterator[TieredStore]:
    """With a response and its stamps held near."""
    async with tiered(far) as tier:
        await fill(tier)
        yield tier


async def fill(tier: TieredStore, body: bytes = b"old") -> None:
    await tier.settle(NAMES, LIFE)
    await tier.write(TARGET, KEY, {0: stored_response(tier.now() + 600, body=body)}, NAMES)
    assert isinstance(tier.far, Far)
    await seen(tier.far)
    await look(tier)
    assert await near(tier)


async def look(store: Store, *stamps: bytes) -> Any:
    """The body stored, and the values of the stamps."""
    (record,), values = await store.read(TARGET, KEY, RESPONSE_SLOT, stamps or NAMES)
    return None if record is None else record.body, list(values)  # type: ignore[union-attr]


async def near(tier: TieredStore) -> bool:
    """Whether a look-up is answered near."""
    far = tier.far
    assert isinstance(far, Far)
    before = far.reads
    view = tier.for_request()
    await look(view)
    return far.reads == before


async def seen(far: Far) -> None:
    """Return when all that has arrived on the channel has been taken."""
    await until(lambda: far.channel_now._arrived.empty())
    await asyncio.sleep(0)


# ---------------------------------------------------------------------- what a hit is


async def test_it_is_a_store(tier: TieredStore) -> None:
    assert isinstance(tier, Store)
    view = tier.for_request()
    assert isinstance(view, Store)
    assert isinstance(view, Doubted)
    await view.aclose()
    assert "TieredStore <MemoryStore" in repr(tier)


def test_what_cannot_be_watched_has_no_near_tier() -> None:
    with pytest.raises(ConfigurationError, match="far is a MemoryStore; it must be a store whose"):
        TieredStore(MemoryStore(1000), GuardedStore(MemoryStore(1000)))


async def test_a_hit_waits_for_nothing(tier: TieredStore) -> None:
    coroutine = tier.for_request().read(TARGET, KEY, RESPONSE_SLOT, NAMES)
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    (record,), values = stopped.value.value
    assert record.body == b"old"
    assert None not in values


@pytest.mark.parametrize("name", [b"absent", b"g"])
async def test_what_is_not_held_is_asked_for_whole(
    tier: TieredStore, far: Far, name: bytes
) -> None:
    if name == b"g":
        await far.settle([name], LIFE)
    before = far.reads
    body, (first, _, third) = await look(tier.for_request(), *NAMES, name)
    assert (body, far.reads) == (b"old", before + 1)
    assert first == far.get(NAME)
    assert third == far.get(name)
    _, _ = await look(tier.for_request(), *NAMES, name)
    assert far.reads == before + (1 if third else 2)  # what is missing is not held as missing


async def test_once_asked_far_a_request_stays_there(tier: TieredStore, far: Far) -> None:
    """A fill must see the epoch as it is."""
    view = tier.for_request()
    await view.read(TARGET, KEY, (1,), ())
    before = far.reads
    await look(view)
    assert far.reads == before + 1


async def test_variants_are_held_and_the_slots_that_are_empty(tier: TieredStore, far: Far) -> None:
    variant = stored_response(tier.now() + 600, body=b"variant")
    await far.write(TARGET, KEY, {0: nominated_fields(tier.now() + 600), 5: variant}, NAMES)
    await seen(far)
    await tier.read(TARGET, KEY, RESPONSE_SLOT, NAMES)
    await tier.read(TARGET, KEY, (5, 6), ())
    before = far.reads
    view = tier.for_request()
    (fields,), _ = await view.read(TARGET, KEY, RESPONSE_SLOT, NAMES)
    found, _ = await view.read(TARGET, KEY, (5, 6), NAMES)
    assert isinstance(fields, NominatedFields)
    assert (list(found), far.reads) == ([variant, None], before)
    await far.write(TARGET, KEY, {6: variant}, NAMES)
    await seen(far)
    found, _ = await tier.read(TARGET, KEY, (5, 6), NAMES)
    assert list(found) == [variant, variant]


async def test_a_record_ends_near_when_it_ends_far(tier: TieredStore, clock: Clock) -> None:
    clock.advance(601)
    assert (await look(tier.for_request()))[0] is None


async def test_a_variant_ends_near_when_it_ends_far(tier: TieredStore, clock: Clock) -> None:
    await tier.write(TARGET, KEY, {3: stored_response(tier.now() + 5)}, NAMES)
    await tier.read(TARGET, KEY, (3,), NAMES)
    clock.advance(6)
    found, _ = await tier.for_request().read(TARGET, KEY, (3,), NAMES)
    assert list(found) == [None]


# ---------------------------------------------------------------------- changes by anybody


@pytest.mark.parametrize("cell", [(TARGET, KEY, 0), STAMP, NAME])
async def test_what_is_lost_far_is_lost_near(tier: TieredStore, far: Far, cell: Any) -> None:
    far.lose(cell)
    await seen(far)
    assert not await near(tier)


async def test_s13_everything_is_lost(tier: TieredStore, far: Far) -> None:
    far.clear()
    far.push(None)
    await seen(far)
    assert await look(tier.for_request()) == (None, [None, None])


async def test_another_writer_replaces(tier: TieredStore, far: Far) -> None:
    await far.write(TARGET, KEY, {0: stored_response(tier.now() + 600, body=b"new")}, NAMES)
    await seen(far)
    assert (await look(tier.for_request()))[0] == b"new"


async def test_what_was_not_pushed_shows_in_the_answer(tier: TieredStore, far: Far) -> None:
    """A server with other contents, and not a word of it: the stamp that is asked for differs."""
    assert await near(tier)
    await MemoryStore.replace(far, [NAME], (), LIFE)
    asked = far.asked
    await until(lambda: far.asked > asked + 1)
    await seen(far)
    assert tier.cells.get(STAMP) is None


# ---------------------------------------------------------------------- I13


async def overtaken(
    tier: TieredStore, far: Far, operation: Any, *, everything: bool = False
) -> None:
    """Begin *operation*, have its reply overtaken by a purge and its push, and end it."""
    far.reached.clear()
    far.answering.clear()
    asking = asyncio.ensure_future(operation)
    await far.reached.wait()
    await MemoryStore.replace(far, [STAMP], (), LIFE)
    far.push(None if everything else [far.stamp_place(STAMP)])
    await seen(far)
    far.answering.set()
    await asking


@pytest.mark.parametrize("everything", [False, True])
async def test_i13_a_read_is_answered_after_the_push_of_its_key(
    tier: TieredStore, far: Far, everything: bool
) -> None:
    far.lose((TARGET, KEY, 0))
    await seen(far)
    await overtaken(tier, far, look(tier.for_request()), everything=everything)
    assert tier.cells.get(STAMP) is None
    assert (await look(tier.for_request()))[1][1] == far.get(STAMP)


async def test_i13_a_settle_is_answered_after_the_push_of_its_key(
    tier: TieredStore, far: Far
) -> None:
    await overtaken(tier, far, tier.for_request().settle([STAMP], LIFE))
    assert tier.cells.get(STAMP) is None
    assert (await look(tier.for_request()))[1][1] == far.get(STAMP)


async def test_the_reply_to_a_settle_is_held(tier: TieredStore, far: Far) -> None:
    await far.settle([b"g"], LIFE)
    await seen(far)
    (settled,) = await tier.settle([b"g"], LIFE)
    assert tier.cells.get(b"g") == settled


async def test_i13_a_lease_counts_from_before_the_question(
    far: Far, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer comes late: nothing is proven by then."""
    monotonic = Clock(1000.0)
    monkeypatch.setattr(watching, "monotonic", monotonic)
    monkeypatch.setattr(tiered_module, "monotonic", monotonic)
    monkeypatch.setattr(watching, "BEAT", 3600.0)
    async with tiered(far) as tier:
        await fill(tier)
        assert tier.watching.lease_until == 1000.0 + watching.LEASE
        far.delivers = False
        monkeypatch.setattr(watching, "BEAT", 0.0)
        tier.watching._turn._asked.append(monotonic())  # type: ignore[union-attr]
        await far.channel_now.ask()
        monotonic.advance(watching.LEASE + 0.5)
        far.channel_now.deliver()
        await seen(far)
        assert tier.watching.lease_until <= 1000.0 + watching.LEASE
        assert not tier.watching.is_alive
        assert not await near(tier)


async def test_i13_no_cell_is_kept_over_a_reconnect(tier: TieredStore, far: Far) -> None:
    first = far.channel_now
    first.cut()
    await MemoryStore.replace(far, [STAMP], (), LIFE)  # told nobody
    await until(lambda: far.channel_now is not first and tier.watching.is_alive)
    assert (await look(tier.for_request()))[1][1] == far.get(STAMP)


async def test_i13_a_read_over_a_reconnect_is_not_put(tier: TieredStore, far: Far) -> None:
    far.lose((TARGET, KEY, 0))
    await seen(far)
    first = far.channel_now
    far.reached.clear()
    far.answering.clear()
    reading = asyncio.ensure_future(look(tier.for_request()))
    await far.reached.wait()
    first.cut()
    await until(lambda: tier.watching.lease_until == 0)
    await MemoryStore.replace(far, [STAMP], (), LIFE)  # told nobody
    await until(lambda: far.channel_now is not first and tier.watching.is_alive)
    far.answering.set()
    await reading
    assert tier.cells.get(STAMP) is None


async def test_i13_a_read_without_a_channel_is_not_put(tier: TieredStore, far: Far) -> None:
    far.refuses = StoreUnavailable("away")
    far.channel_now.cut()
    await until(lambda: tier.watching.lease_until == 0)
    await look(tier.for_request())
    assert tier.cells.get(STAMP) is None
    far.refuses = None
    await until(lambda: tier.watching.is_alive)
    assert tier.cells.get(STAMP) is None


async def test_i13_an_evicted_cell_is_gone_for_whoever_needs_it(far: Far) -> None:
    """Budget for some records: a stamp that had to go makes every record that needs it a miss."""
    async with tiered(far, near_bytes=8000) as tier:
        await fill(tier)
        for number in range(20):
            await far.write(TARGET, b"%d" % number, {0: stored_response(tier.now() + 60)}, ())
            await tier.read(TARGET, b"%d" % number, RESPONSE_SLOT, ())
            assert len(tier.cells._index) == len(tier.near._values)  # type: ignore[attr-defined]
        assert tier.cells.get(STAMP) is None
        await MemoryStore.replace(far, [STAMP], (), LIFE)
        far.push([far.stamp_place(STAMP)])
        assert (await look(tier.for_request()))[1][1] == far.get(STAMP)


async def test_what_does_not_fit_is_not_held(far: Far) -> None:
    async with tiered(far, near_bytes=4000) as tier:
        await tier.settle(NAMES, LIFE)
        await tier.read(b"", b"", (), NAMES)
        big = stored_response(tier.now() + 60, body=b"x" * 4000)
        await far.write(TARGET, KEY, {0: big}, NAMES)
        for _ in range(2):
            assert (await look(tier.for_request()))[0] == big.body
        assert tier.cells.get((TARGET, KEY, 0)) is None
        assert len(tier.cells._index) == len(tier.near._values)  # type: ignore[attr-defined]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("within_a_request", [False, True])
@pytest.mark.parametrize("fails", [False, True])
async def test_i13_own_purge_has_returned_and_its_push_not_come(
    tier: TieredStore, far: Far, soft: bool, within_a_request: bool, fails: bool
) -> None:
    far.delivers = False
    far.fails = StoreUnavailable("no answer") if fails else None
    store = tier.for_request() if within_a_request else tier
    hard_names, soft_names = ((), [STAMP]) if soft else ([STAMP], ())
    try:
        await store.replace(hard_names, soft_names, LIFE)
    except StoreUnavailable:
        assert fails
    far.fails = None
    assert (await look(tier.for_request()))[1][1] == far.get(STAMP)


@pytest.mark.parametrize("fails", [False, True])
async def test_own_writes_are_seen_at_once(tier: TieredStore, far: Far, fails: bool) -> None:
    far.delivers = False
    far.fails = StoreUnavailable("no answer") if fails else None
    new = stored_response(tier.now() + 600, body=b"new")
    try:
        await tier.for_request().write(TARGET, KEY, {0: new}, NAMES)
    except StoreUnavailable:
        assert fails
    far.fails = None
    assert (await look(tier.for_request()))[0] == b"new"
    await tier.for_request().remove(TARGET, KEY, 0)
    assert (await look(tier.for_request()))[0] is None


# ---------------------------------------------------------------------- the channel


async def test_it_is_off_where_the_server_refuses_and_says_so_once(
    far: Far, caplog: pytest.LogCaptureFixture
) -> None:
    far.refuses = StoreRefused("tracking: NOPERM")
    async with tiered(far) as tier:
        await until(lambda: tier.watching.error is not None)
        for _ in range(5):
            await look(tier.for_request())
        assert not await near(tier)
        assert len(far.channels) == 1  # not asked again soon
    assert [record.message for record in caplog.records] == [
        "the near tier (near_bytes) is off, and every look-up asks the store: tracking: NOPERM"
    ]


async def test_it_comes_back_by_itself(
    tier: TieredStore, far: Far, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    far.refuses = StoreUnavailable("away")
    far.channel_now.cut()
    channels = len(far.channels)
    await until(lambda: len(far.channels) > channels + 2)
    assert not tier.watching.is_alive
    far.refuses = None
    await until(lambda: tier.watching.is_alive)
    await look(tier.for_request())
    assert await near(tier)
    off, on = (record.message for record in caplog.records)
    assert off.startswith("the near tier (near_bytes) is off, and every look-up asks the store: ")
    assert on == "the near tier is on again"


async def test_a_silent_channel_is_given_up(
    tier: TieredStore, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SILENCE", 0.05)
    first = far.channel_now
    far.delivers = False
    await until(lambda: not first.is_open)
    far.delivers = True
    await until(lambda: tier.watching.is_alive)
    assert far.channel_now is not first


async def test_it_is_not_tried_while_the_store_is_left_alone(far: Far) -> None:
    guarded = GuardedStore(far)
    tier = TieredStore(MemoryStore(2**20), guarded, NAME)
    guarded.breaker.is_open = True
    tier.watching.ensure()
    await asyncio.sleep(0.1)
    assert far.channels == []
    guarded.breaker.is_open = False
    await until(lambda: tier.watching.is_alive)
    await tier.aclose()


async def test_closing_ends_it_until_it_is_used_again(tier: TieredStore, far: Far) -> None:
    tasks = len(asyncio.all_tasks())
    for _ in range(2):
        await tier.aclose()
    assert len(asyncio.all_tasks()) == tasks - 2
    assert not far.channel_now.is_open
    assert tier.cells.get(STAMP) is None
    assert not await near(tier)
    await until(lambda: tier.watching.is_alive)
    await look(tier.for_request())
    assert await near(tier)


@pytest.mark.parametrize("turns", range(6))
async def test_o04_it_ends_also_where_the_channel_is_lost_in_that_moment(
    far: Far, turns: int
) -> None:
    """Redis and the app are told to end together: the app must not wait for its task for ever."""
    async with tiered(far) as tier:
        assert tier.watching._turn is not None
        task = tier.watching._turn.task
        far.channel_now.cut()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=5)
        assert done == {task}


def test_o02_the_next_event_loop_takes_over(clock: Clock) -> None:
    far: Far | None = None
    tier: TieredStore | None = None

    async def use() -> None:
        nonlocal far, tier
        if far is None or tier is None:
            far = Far(clock)
            tier = TieredStore(MemoryStore(2**20, clock), far, NAME)
        await tier.settle(NAMES, LIFE)
        await tier.read(b"", b"", (), NAMES)
        await until(lambda: bool(far.channels) and far.channel_now.is_open)
        await until(lambda: tier.watching.is_alive)
        await fill(tier)

    for _ in range(3):
        asyncio.run(use())
    assert far is not None
    assert len(far.channels) == 3
    assert not far.channels[1].is_open


async def test_o02_loops_in_threads_share_one_channel(tier: TieredStore, far: Far) -> None:
    found: list[bool] = []

    def other() -> None:
        async def use() -> None:
            found.append(await near(tier))
            await tier.read(b"", b"", (), [b"absent"])

        asyncio.run(use())

    thread = threading.Thread(target=other)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert found == [True]
    assert len(far.channels) == 1


# ---------------------------------------------------------------------- with a cache around it


async def test_what_waits_in_the_journal_is_hidden_near(far: Far) -> None:
    guarded = GuardedStore(far)
    tier = TieredStore(MemoryStore(2**20, far.now), guarded, NAME)
    app = CacheMiddleware(Recorder([("cache-control", "max-age=60")]), store=tier)
    for _ in range(3):
        first = await drive(app)
    await until(lambda: tier.watching.is_alive)
    await drive(app)
    reads = far.reads
    assert (await drive(app)).serial == first.serial
    assert far.reads == reads
    far.fails = StoreRefused("OOM")
    await app.cache.purge("http://shop.example/", on_error="queue")
    far.fails = None
    assert (await drive(app)).serial > first.serial
    await app.cache.aclose()


async def test_what_is_queued_and_what_stands_for_everything_is_forgotten(
    tier: TieredStore, far: Far
) -> None:
    assert tier.queue([STAMP], [], LIFE, NAME) is False  # there is no guard that could keep it
    assert await near(tier)
    guarded = TieredStore(MemoryStore(2**20, far.now), GuardedStore(far), NAME)
    await guarded.read(b"", b"", (), NAMES)
    await until(lambda: guarded.watching.is_alive)
    await guarded.read(b"", b"", (), NAMES)
    assert guarded.cells.get(STAMP) is not None
    assert guarded.queue([STAMP], [], LIFE, NAME) is True
    assert guarded.cells.get(STAMP) is None
    assert guarded.cells.get(NAME) is None  # where too much waits, that is what is hidden
    await guarded.aclose()


async def test_a_contradiction_is_read_again_before_it_is_a_miss(far: Far) -> None:
    """A new record, and near the stamp from before the purge that it was filled after."""
    tier = TieredStore(MemoryStore(2**20, far.now), far, NAME)
    recorder = Recorder([("cache-control", "max-age=60"), ("vary", "accept-language")])
    app = CacheMiddleware(recorder, store=tier)
    elsewhere = CacheMiddleware(recorder, store=GuardedStore(far))
    german, english = ([("accept-language", language)] for language in ("de", "en"))
    await drive(app, headers=german)
    await until(lambda: tier.watching.is_alive)
    for _ in range(3):
        assert (await drive(app, headers=german)).hit
    far.delivers = False
    await elsewhere.cache.purge("http://shop.example/")
    new = await drive(elsewhere, headers=english)
    calls = recorder.calls
    found = await drive(app, headers=english)
    assert (found.hit, found.serial, recorder.calls) == (True, new.serial, calls)
    await app.cache.aclose()
    await elsewhere.cache.aclose()


async def test_i03_the_epoch_is_never_read_near(far: Far) -> None:
    """A fill notes the epoch, a group purge replaces it, and nothing of that has been pushed."""
    tier = TieredStore(MemoryStore(2**20, far.now), far, NAME)
    elsewhere = CacheMiddleware(Recorder(), store=GuardedStore(far))

    async def before(_: Any) -> None:
        if recorder.calls == 2:
            far.delivers = False
            await elsewhere.cache.purge(group="named")

    recorder = Recorder(
        [("cache-control", "max-age=1, stale-while-revalidate=0"), ("etag", '"1"')], before=before
    )
    app = CacheMiddleware(recorder, store=tier)
    await drive(app)
    await until(lambda: tier.watching.is_alive)
    for _ in range(2):
        await drive(app)
    assert isinstance(far.now, Clock)
    far.now.advance(2)
    recorder.headers.append((b"cache-groups", b'"named"'))
    validated = await drive(app)
    assert "fwd=stale" in validated.cache_status
    # Its data is from before the purge of a group that it names: it must not be stored.
    assert app.cache.metrics.by_label()["refusal.purged"] == 1
    assert app.cache.metrics.stores == 1
    await app.cache.aclose()
    await elsewhere.cache.aclose()


async def test_what_was_stored_elsewhere_meanwhile_is_not_overwritten(far: Far) -> None:
    """A 304 freshens what is held near, and something newer lies far (RFC 9111 section 4.3.4)."""
    tier = TieredStore(MemoryStore(2**20, far.now), far, NAME)
    headers = [("cache-control", "max-age=1"), ("etag", '"1"')]
    recorder = Recorder(headers)
    app = CacheMiddleware(recorder, store=tier)
    elsewhere = CacheMiddleware(Recorder([*headers, ("x-new", "1")]), store=GuardedStore(far))
    await drive(app)
    await until(lambda: tier.watching.is_alive)
    for _ in range(2):
        assert (await drive(app)).hit
    far.delivers = False
    assert isinstance(far.now, Clock)
    far.now.advance(2)
    newer = await drive(elsewhere)
    assert "stored" in newer.cache_status
    recorder.status = 304
    await drive(app)
    assert app.cache.metrics.by_label()["refusal.overtaken"] == 1
    assert (await drive(elsewhere)).field("x-new") == "1"
    await app.cache.aclose()
    await elsewhere.cache.aclose()
