from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache.errors import ConfigurationError
from asgi_cache.stores.base import RESPONSE_SLOT
from asgi_cache.stores.memory import MemoryStore
from tests.driver import uncollected
from tests.stores.records import nominated_fields, stored_response

if TYPE_CHECKING:
    from asgi_cache.model import Record
    from tests.conftest import Clock

TARGET, KEY = b"shop.example/", b"https\0shop.example/"
MIB = 2**20


async def held(store: MemoryStore, key: bytes = KEY) -> Record | None:
    (record,), _ = await store.read(TARGET, key, RESPONSE_SLOT, ())
    return record


async def test_a_hit_is_the_object_that_was_stored() -> None:
    store, record = MemoryStore(MIB), stored_response()
    await store.write(TARGET, KEY, {0: record}, ())
    assert await held(store) is record
    (by_list,), _ = await store.read(TARGET, KEY, [0], ())
    assert by_list is record


async def test_a_look_up_makes_no_python_calls_but_its_own() -> None:
    store = MemoryStore(MIB)
    names = (b"n", b"tshop.example/", b"gproducts")
    await store.write(TARGET, KEY, {0: stored_response()}, names)
    await store.settle(names, 60)
    calls: list[str] = []

    def note(frame: object, event: str, _: object) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)  # type: ignore[attr-defined]  # a frame

    with uncollected():
        sys.setprofile(note)
        try:
            await store.read(TARGET, KEY, RESPONSE_SLOT, names)
        finally:
            sys.setprofile(None)
    assert calls == ["read"]


def test_now_is_the_clock_itself(clock: Clock) -> None:
    assert MemoryStore(1, clock).now is clock


async def test_records_end_at_their_instant(clock: Clock) -> None:
    store = MemoryStore(MIB, clock)
    await store.write(TARGET, KEY, {0: stored_response(clock.now + 10)}, ())
    clock.advance(9.999)
    assert await held(store) is not None
    clock.advance(0.001)
    assert await held(store) is None


async def test_the_budget_holds_and_the_least_recently_used_goes_first() -> None:
    store = MemoryStore(10 * 1024)
    for at in range(100):
        await store.write(TARGET, b"%d" % at, {0: stored_response(body=bytes(1024))}, ())
        assert await held(store, b"0") is not None
        assert store.used_bytes <= store.max_bytes == 10 * 1024
    assert await held(store, b"1") is None
    assert await held(store, b"99") is not None


async def test_a_record_over_the_budget_is_not_stored_and_takes_nothing_with_it() -> None:
    store = MemoryStore(10 * 1024)
    await store.write(TARGET, b"other", {0: stored_response()}, ())
    await store.write(TARGET, KEY, {0: stored_response()}, ())
    await store.write(TARGET, KEY, {0: stored_response(body=bytes(10 * 1024))}, ())
    assert await held(store) is None
    assert await held(store, b"other") is not None


async def test_no_room_for_a_stamp_leaves_it_missing() -> None:
    store = MemoryStore(10)
    (stamp,) = await store.settle([b"n"], 60)
    assert len(stamp.nonce) == 16
    assert await store.read(TARGET, KEY, (), [b"n"]) == ([], (None,))
    await store.replace([b"n"], [b"n"], 60)
    assert store.used_bytes == 0


async def test_stamps_in_use_stay_while_others_records_are_evicted() -> None:
    store, names = MemoryStore(16 * 1024), (b"n", b"tshop.example/")
    settled = await store.settle(names, 60)
    await store.write(TARGET, KEY, {0: stored_response()}, names)
    for at in range(100):
        await store.write(b"other", b"%d" % at, {0: stored_response(body=bytes(1024))}, ())
        records, stamps = await store.read(TARGET, KEY, RESPONSE_SLOT, names)
        assert records != (None,)
        assert list(stamps) == list(settled)


async def test_writing_touches_the_stamps_after_the_record() -> None:
    store = MemoryStore(6 * 1024)
    await store.settle([b"n"], 60)
    for at in range(20):
        await store.write(TARGET, b"%d" % at, {0: stored_response(body=bytes(1024))}, [b"n"])
    _, (stamp,) = await store.read(TARGET, b"", (), [b"n"])
    assert stamp is not None


@pytest.mark.parametrize("max_bytes", [0, -1])
def test_a_budget_of_nothing_is_refused(max_bytes: int) -> None:
    with pytest.raises(ConfigurationError, match="max_bytes"):
        MemoryStore(max_bytes)


def test_its_repr_shows_what_it_holds() -> None:
    assert repr(MemoryStore(1000)) == "<MemoryStore 0 of 1000 bytes>"


def test_i10_a_soft_purge_cannot_undo_a_hard_one_of_another_thread() -> None:
    """The hard purge comes after the soft one has read the stamp, and before it writes it."""

    def purge_hard() -> None:
        asyncio.run(store.replace([b"n"], [], 60))

    other = threading.Thread(target=purge_hard)

    def clock() -> float:
        other.start()
        other.join(0.1)  # with the lock it cannot end in here
        return 1.0

    store = MemoryStore(MIB, clock)
    (before,) = asyncio.run(store.settle([b"n"], 60))
    asyncio.run(store.replace([], [b"n"], 60))
    other.join()
    (after,) = asyncio.run(store.settle([b"n"], 60))
    assert after.nonce != before.nonce


_MEASURE = """
import asyncio, gc, sys
from asgi_cache.stores.memory import MemoryStore
from tests.driver import uncollected
from tests.stores.records import stored_response
from asgi_cache.model import CarriedStamp

def resident():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096

def response(at, body, lines):
    return stored_response(
        body=b"%d" % at + bytes(body),
        lines=tuple((b"x-%d-%d" % (n, at), b"value %d %d" % (n, at)) for n in range(lines)),
        generated_at=at + 0.25, fresh_until=at + 1.25, revalidate_until=at + 2.25,
        error_until=at + 3.25, etag=b'W/"%d"' % at, last_modified=at + 0.5,
        nominated=((b"accept-language", b"en-%d" % at),), groups=("product:%d" % at,),
        stamps=(CarriedStamp(b"t%d" % at, b"%016d" % at, b"%016d" % -at),) * 2,
    )

async def main(body, lines, count):
    store = MemoryStore(2**40)
    await store.settle([b"first"], 1)
    before = resident()
    for at in range(count):
        key = b"shop.example/products/%d" % at
        if lines < 0:
            await store.settle([b"t" + key], 1)
        else:
            await store.write(key, b"https " + key, {0: response(at, body, lines)}, ())
    print((resident() - before) / store.used_bytes)

asyncio.run(main(*map(int, sys.argv[1:])))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("body", "lines", "count"),
    [(0, -1, 40_000), (0, 0, 8_000), (1000, 10, 5_000), (30_000, 20, 1_000)],
    ids=["stamps", "bare", "typical", "large"],
)
def test_d01_the_process_grows_by_what_is_accounted(body: int, lines: int, count: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(body), str(lines), str(count)],
        check=True,
        capture_output=True,
        text=True,
    )
    share = float(ran.stdout)
    print(f"growth of the process: {share:.2f} of what is accounted")
    assert 0.6 < share <= 1.0


async def test_every_part_of_a_response_is_accounted() -> None:
    bare: dict[str, Any] = {
        "lines": (),
        "body": b"",
        "etag": None,
        "nominated": (),
        "groups": (),
        "stamps": (),
    }
    sizes = []
    for name in ("", *bare):
        store = MemoryStore(MIB)
        response = stored_response(**{each: bare[each] for each in bare if each != name})
        await store.write(TARGET, KEY, {0: response}, ())
        sizes.append(store.used_bytes)
    assert all(size > sizes[0] for size in sizes[1:])


async def test_nominated_fields_are_accounted_by_their_length() -> None:
    store = MemoryStore(MIB)
    await store.write(TARGET, KEY, {0: nominated_fields(names=(b"a",))}, ())
    small = store.used_bytes
    await store.write(TARGET, KEY, {0: nominated_fields(names=(b"a" * 1000,))}, ())
    assert store.used_bytes == small + 999
