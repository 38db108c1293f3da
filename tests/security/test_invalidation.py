"""Cases I01 to I14: a request that begins after a purge has returned gets no earlier response.

F is a fill, P a purge, R a request that begins after P returned; g a group known from the rule, h
one that only the response names, q the epoch. The origin reads a version of its data; P comes
after the version has changed. So R must show the new version, wherever F stood and stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from asgi_cache import Cache, MemoryStore, RedisStore, Rule, StoreError, StoreUnavailable
from asgi_cache.policy.keys import EPOCH
from tests.driver import BODY, START
from tests.figures.telling import tell
from tests.security.harness import SHARED, Origin, Reply, read
from tests.security.turns import SteppedStore, Turns, with_all
from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from starlette.types import Message

    from asgi_cache.model import Stamp
    from asgi_cache.stores import Store
    from tests.driver import Field
    from tests.security.harness import Place, Site, Told

URL = "http://shop.example/page?x=1"
TARGET = "/page?x=1"

PURGES = ["url", "path", "rule group", "named group", "everything", "post", "post group"]
HARD_ONLY = {"post", "post group"}


@pytest.fixture(autouse=True)
def _all_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    with_all(monkeypatch)


@dataclass
class Shop:
    """Two workers with one app and one store, taken step by step."""

    place: Place
    vary: bool = False
    ruled: bool = True
    tagged: bool = False
    """The page has an entity tag, and the app answers 304 where that still holds."""
    window: float = 0.0
    """Of stale-while-revalidate."""
    turns: Turns = field(default_factory=Turns)
    version: int = 1

    def __post_init__(self) -> None:
        self.raw = self.place.store()
        self.sites = [self._site() for _ in range(2)]

    def _site(self) -> Site:
        store: Any = SteppedStore(self.raw, self.turns)
        rule = Rule(
            ttl=60 if self.ruled else None, groups=["g"], stale_while_revalidate=self.window
        )
        return self.place.site(Origin(self._answer), store, paths={"/page": rule})

    async def _answer(self, told: Told) -> Reply:
        lines: list[Field]
        if told.method == "POST":
            lines = [("cache-group-invalidation", '"h"')] if told.path == "/form" else []
            await self.turns.gate("app changes")
            return Reply(lines)
        await self.turns.gate("app reads")
        version = self.version
        await self.turns.gate("app answers")
        lines = [] if self.ruled else [*SHARED]
        lines += [("cache-groups", '"h"'), *([("vary", "x-a")] if self.vary else [])]
        if self.tagged:
            lines.append(("etag", f'"{version}"'))
            if told.value("if-none-match") == f'"{version}"':
                self.turns.took_part["not_modified"] += 1
                return Reply(lines, 304, b"", length=False, version=version)
        return Reply(lines, version=version)

    async def request(self, worker: int = 0) -> Told:
        """GET the page."""
        return read((await self.sites[worker].ask(TARGET)).body)

    async def purge(self, kind: str, *, soft: bool = False, worker: int = 0) -> None:
        """Purge what the page is in, in one of the ways there are."""
        site = self.sites[worker]
        match kind:
            case "url":
                await site.cache.purge(URL, soft=soft)
            case "path":
                await site.cache.purge(URL, all_queries=True, soft=soft)
            case "rule group":
                await site.cache.purge(group="g", soft=soft)
            case "named group":
                await site.cache.purge(group="h", soft=soft)
            case "everything":
                await site.cache.purge_all(soft=soft)
            case "post":
                await site.ask(TARGET, method="POST")
            case "post group":
                await site.ask("/form", method="POST")

    async def evict(self, only: Iterable[bytes] = ()) -> None:
        """Lose every stamp, as a store that is full may; *only*: these."""
        names = set(only) or self.turns.stamps
        store = self.raw
        if isinstance(store, MemoryStore):
            for name in names:
                store._values.pop(name, None)
        elif names:
            assert isinstance(store, RedisStore)
            async with Redis.from_url(self.place.url) as client:
                await client.delete(*map(store.stamp_place, names))

    async def stamp(self, name: bytes) -> Stamp | None:
        """The value of one stamp."""
        _, (stamp,) = await self.raw.read(b"", b"", (), (name,))
        return stamp

    async def assert_current_and_kept(self, worker: int = 0, *, at_once: bool = True) -> None:
        """R shows the new version; and what it brought is stored for the next one."""
        first = await self.request(worker)
        assert first.version == self.version
        second = await self.request(worker)
        assert second.version == self.version
        if at_once:
            assert second == first


def kinds() -> list[tuple[str, bool]]:
    return [
        (kind, soft) for kind in PURGES for soft in (False, True)[: 1 + (kind not in HARD_ONLY)]
    ]


KINDS = pytest.mark.parametrize(
    ("kind", "soft"), kinds(), ids=[f"{kind}{' soft' * soft}" for kind, soft in kinds()]
)


# ---------------------------------------------------------------- at every moment


@KINDS
@pytest.mark.parametrize("vary", [False, True], ids=["", "vary"])
@pytest.mark.parametrize("evicted", [False, True], ids=["", "evicted"])
async def test_i_a_purge_at_every_moment_of_a_fill(
    place: Place, kind: str, soft: bool, vary: bool, evicted: bool
) -> None:
    """I01, I02, I03, I06 and their neighbours: F stands at each of its gates while P comes."""
    moments = 0
    # Whether the worker knows the page from before; on Redis, where each costs, one of both.
    for known in (False, True) if place.kind == "memory" else (vary != evicted,):
        for moment in range(99):
            await place.move()
            shop = Shop(place, vary=vary, ruled=moment % 2 == 0)
            turns = shop.turns
            if known:
                await shop.request(0)
                await shop.sites[1].cache.purge_all()
            await turns.start("F", shop.request())
            for _ in range(moment):
                if "F" in turns.at:
                    await turns.step("F")
            standing = "F" in turns.at
            shop.version += 1
            await shop.purge(kind, soft=soft, worker=1)
            if evicted:
                await shop.evict()
            await turns.finish("F")
            await shop.assert_current_and_kept(moment % 2)
            await shop.assert_current_and_kept(1 - moment % 2)
            moments += 1
            if not standing:
                break
    assert moments > 6


@KINDS
async def test_i_each_step_of_a_purge_at_every_moment_of_a_fill(
    place: Place, kind: str, soft: bool
) -> None:
    """I04, I08: P is half done while F goes on, and returns when F has ended."""
    draw = random.Random(f"{kind}{soft}")
    for moment in range(4, 18):
        for done in range(7):
            if draw.random() < (0.4 if place.kind == "memory" else 0.85):
                continue
            await place.move()
            shop = Shop(place, vary=draw.random() < 0.3, ruled=draw.random() < 0.5)
            turns = shop.turns
            if draw.random() < 0.3:
                await shop.request(0)
                await shop.sites[1].cache.purge_all()
            await turns.start("F", shop.request())
            for _ in range(moment):
                if "F" in turns.at:
                    await turns.step("F")
            shop.version += 1
            await turns.start("P", shop.purge(kind, soft=soft, worker=1))
            for _ in range(done):
                if "P" in turns.at:
                    await turns.step("P")
            await turns.finish("F")
            await turns.finish("P")
            await shop.assert_current_and_kept(draw.randrange(2))


@KINDS
@pytest.mark.parametrize("evicted", [False, True], ids=["", "evicted"])
@pytest.mark.parametrize("ruled", [False, True], ids=["", "ruled"])
async def test_i05_i06_a_purge_while_a_complete_response_is_being_sent(
    place: Place, kind: str, soft: bool, evicted: bool, ruled: bool
) -> None:
    """F is complete, and can be joined before its last bytes are out; P returns; R."""
    shop = Shop(place, ruled=ruled)
    await shop.request()  # So that the worker knows h, and F can be joined.
    await shop.sites[0].cache.purge_all()
    last, go = asyncio.Event(), asyncio.Event()

    async def hold(message: Message) -> None:
        if message["type"] == BODY:
            last.set()
            await go.wait()

    filling = asyncio.create_task(shop.sites[0].ask(TARGET, on_send=hold))
    async with asyncio.timeout(30):
        await last.wait()
    calls = shop.sites[0].calls
    assert (await shop.request()).version == 1
    assert shop.sites[0].calls == calls, "a complete response was not joined"
    shop.version += 1
    await shop.purge(kind, soft=soft, worker=1)
    if evicted:
        await shop.evict()
    assert (await shop.request()).version == 2
    go.set()
    assert read((await filling).body).version == 1
    await shop.assert_current_and_kept(1)
    await shop.assert_current_and_kept(0)


async def test_i_an_unsafe_answer_has_spoiled_before_its_start_is_seen(place: Place) -> None:
    shop = Shop(place)
    await shop.request()
    seen: list[int] = []

    async def look(message: Message) -> None:
        if message["type"] == START:
            seen.extend([(await shop.request(worker)).version for worker in (0, 1)])

    shop.version += 1
    await shop.sites[0].ask(TARGET, method="POST", on_send=look)
    assert seen == [2, 2]


async def test_i_an_unsafe_request_spoils_again_when_its_work_is_done(place: Place) -> None:
    """Its data change only after its response: what was filled in between is outdated."""
    shop = Shop(place)

    async def work(message: Message) -> None:
        if message["type"] == BODY:
            assert (await shop.request(1)).version == 1
            shop.version += 1

    await shop.sites[0].ask(TARGET, method="POST", on_send=work)
    await shop.assert_current_and_kept(1)
    await shop.assert_current_and_kept(0)


# ---------------------------------------------------------------- the named ones


async def test_i01_a_missing_stamp_is_settled_before_the_app_is_called(place: Place) -> None:
    shop = Shop(place)
    await shop.turns.start("F", shop.request())
    await shop.turns.run_to("F", "app answers")
    shop.version += 1
    await shop.purge("rule group", worker=1)
    await shop.turns.finish("F")
    await shop.assert_current_and_kept()


async def test_i02_an_evicted_stamp_is_not_made_again_by_an_earlier_fill(place: Place) -> None:
    shop = Shop(place)
    await shop.turns.start("F", shop.request())
    await shop.turns.run_to("F", "app answers")
    shop.version += 1
    await shop.purge("rule group", worker=1)
    await shop.evict([b"gg", b"oshop.example\0g"])
    await shop.turns.finish("F")
    await shop.assert_current_and_kept()


async def test_i03_a_group_that_is_found_missing_after_the_app_call(place: Place) -> None:
    """P replaces q, stamps h and returns; h is evicted; F makes h anew, but q has changed."""
    shop = Shop(place)
    await shop.turns.start("F", shop.request())
    await shop.turns.run_to("F", "app answers")
    for label in ("settle to come", "settle done", "read to come"):
        await shop.turns.run_to("F", label)
        shop.version += 1
        await shop.purge("named group", worker=1)
        await shop.evict([b"gh", b"oshop.example\0h"])
    await shop.turns.finish("F")
    await shop.assert_current_and_kept(0)
    await shop.assert_current_and_kept(1)


async def test_i04_a_late_stamp_of_an_earlier_purge(place: Place) -> None:
    shop = Shop(place)
    turns = shop.turns
    await turns.start("P2", shop.purge("named group", worker=1))
    await turns.run_to("P2", "replace done")  # q
    await turns.start("F", shop.request())
    await turns.run_to("F", "app answers")
    shop.version += 1
    await turns.start("P3", shop.purge("named group", worker=1))
    await turns.run_to("P3", "replace done")
    await turns.step("P3")
    await turns.run_to("P3", "replace done")  # h, not returned yet
    await turns.finish("P2")
    await turns.finish("F")
    await turns.finish("P3")
    await shop.assert_current_and_kept()


@pytest.mark.parametrize("made_again", [False, True])
async def test_i07_an_evicted_epoch_forbids_storing(place: Place, made_again: bool) -> None:
    """No clock says whether one that was made again is older: it is another one."""
    shop = Shop(place)
    await shop.turns.start("F", shop.request())
    await shop.turns.run_to("F", "app answers")
    shop.version += 1
    await shop.purge("named group", worker=1)
    await shop.evict([EPOCH, b"gh", b"oshop.example\0h"])
    if made_again:
        await shop.raw.settle([EPOCH], 60.0)
    await shop.turns.finish("F")
    await shop.assert_current_and_kept()


@pytest.mark.parametrize("soft", [False, True])
async def test_i08_a_group_purge_replaces_the_epoch_first(place: Place, soft: bool) -> None:
    """F settles h after P stamped it; then q, read afterwards, must have changed already."""
    for steps in range(1, 5):
        await place.move()
        shop = Shop(place)
        await shop.turns.start("F", shop.request())
        await shop.turns.run_to("F", "app answers")
        shop.version += 1
        await shop.turns.start("P", shop.purge("named group", soft=soft, worker=1))
        for _ in range(steps):
            if "P" in shop.turns.at:
                await shop.turns.step("P")
        await shop.turns.finish("F")
        await shop.turns.finish("P")
        await shop.assert_current_and_kept()


class FailingStore(SteppedStore):
    """Its purges are carried out and not answered."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, Turns())
        self.sent: list[Sequence[bytes]] = []

    async def replace(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
    ) -> None:
        self.sent.append([*names, *soft_names])
        await self.store.replace(names, soft_names, life)
        raise StoreUnavailable("replace: no answer")


@KINDS
async def test_i09_a_purge_without_an_answer_is_not_sent_again(
    place: Place, kind: str, soft: bool
) -> None:
    shop = Shop(place)
    store: Any = FailingStore(shop.raw)
    shop.sites[1] = place.site(Origin(shop._answer), store, paths={})
    if kind in HARD_ONLY:
        await shop.purge(kind, worker=1)
    else:
        with pytest.raises(StoreError):
            await shop.purge(kind, soft=soft, worker=1)
    if kind in HARD_ONLY:
        # An unsafe request stamps twice, before its start and when the app returns, and what has
        # failed is tried again in the background: each time the store draws anew.
        assert len(store.sent) in (2, 3)
    else:
        assert len(store.sent) == 1
    assert len(set(store.sent[0])) == len(store.sent[0])


@pytest.fixture(scope="module")
def counting_server() -> Iterator[str]:
    """A server whose commands are counted."""
    with RedisServer() as server:
        yield server.url


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("cut", ["at once", "after the command"])
async def test_i09_a_lost_connection_costs_one_command(
    counting_server: str, namespace: str, soft: bool, cut: str
) -> None:
    """The relay passes the purge on and cuts the connection before its reply."""
    host, port = counting_server.removeprefix("redis://").removesuffix("/0").split(":")
    cutting = False
    over = asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        try:
            while asked := await reader.read(65536):
                if cutting and cut == "at once":
                    break
                inner_writer.write(asked)
                await inner_writer.drain()
                answered = await inner_reader.read(65536)
                if cutting:
                    break
                writer.write(answered)
                await writer.drain()
        finally:
            for ended in (inner_writer, writer):
                ended.close()
                with contextlib.suppress(OSError):
                    await ended.wait_closed()
            over.set()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    cache = Cache(store=url, namespace=namespace)
    try:
        await cache.purge(URL, soft=soft)
        cutting = True
        async with Redis.from_url(counting_server) as client:
            await client.config_resetstat()
            with pytest.raises(StoreError):
                await cache.purge(URL, soft=soft)
            stats = await client.info("commandstats")
        sent = stats.get("cmdstat_set", {"calls": 0})["calls"]
        assert sent == (0 if cut == "at once" else 1)
    finally:
        await cache.aclose()
        async with asyncio.timeout(30):
            await over.wait()
        server.close()
        await server.wait_closed()


async def test_i10_a_soft_purge_does_not_undo_a_hard_one(place: Place) -> None:
    """Whatever their order: nothing that carried the nonce before both is valid after both."""
    shop = Shop(place)
    other = place.store()
    for round_number in range(100):
        name = b"g%d" % round_number
        (before,) = await shop.raw.settle([name], 60.0)
        await asyncio.gather(
            *(
                [other, shop.raw][index % 2].replace([name], [], 60.0)
                if index == 2
                else [other, shop.raw][index % 2].replace([], [name], 60.0)
                for index in range(5)
            )
        )
        after = await shop.stamp(name)
        assert after is not None
        assert after.nonce != before.nonce


async def test_i10_a_hard_purge_between_the_steps_of_a_soft_one(place: Place) -> None:
    shop = Shop(place)
    await shop.request()
    shop.version += 1
    await shop.turns.start("P", shop.purge("named group", soft=True, worker=1))
    while "P" in shop.turns.at:
        await shop.purge("named group", worker=1)
        await shop.turns.step("P")
    await shop.assert_current_and_kept()


async def test_i11_a_soft_purge_of_an_evicted_stamp_makes_a_new_one(place: Place) -> None:
    shop = Shop(place)
    seen = set()
    for _ in range(20):
        await shop.raw.replace([], [b"gh"], 60.0)
        stamp = await shop.stamp(b"gh")
        assert stamp is not None
        assert stamp.nonce != bytes(16)
        assert stamp.soft_nonce != bytes(16)
        seen.add(stamp.nonce)
        seen.add(stamp.soft_nonce)
        await shop.evict([b"gh"])
    assert len(seen) == 40


@pytest.mark.parametrize("kind", [kind for kind in PURGES if kind not in HARD_ONLY])
async def test_i12_after_a_soft_purge_a_new_fill_is_fresh_and_an_old_one_is_not(
    place: Place, kind: str
) -> None:
    for vary in (False, True):
        await place.move()
        shop = Shop(place, vary=vary)
        await shop.request()
        await shop.turns.start("F", shop.request(1))
        await shop.turns.finish("F")
        shop.version += 1
        await shop.purge(kind, soft=True)
        await shop.turns.start("F", shop.request(1))
        await shop.turns.run_to("F", "app answers")
        shop.version += 1
        await shop.purge(kind, soft=True)
        await shop.turns.finish("F")
        calls = [site.calls for site in shop.sites]
        for _ in range(3):
            await shop.assert_current_and_kept(0)
            await shop.assert_current_and_kept(1)
        assert sum(site.calls for site in shop.sites) <= sum(calls) + 2


@pytest.mark.parametrize("variant", ["plain", "vary"])
async def test_i14_purges_of_other_groups_cannot_starve_a_page(place: Place, variant: str) -> None:
    shop = Shop(place, vary=variant == "vary")
    neighbour = place.site(store=shop.raw)

    async def answer(told: Told) -> Reply:
        await neighbour.cache.purge(group=f"noise {told.serial % 3}", soft=told.serial % 2 == 0)
        reply = await shop._answer(told)
        await neighbour.cache.purge(group="noise")
        return reply

    site = shop.sites[0]
    site.origin.answer = answer
    pages = [await shop.request() for _ in range(5)]
    assert site.calls == 2
    assert pages[1] == pages[2] == pages[4]
    shop.version += 1
    await shop.purge("named group")
    assert (await shop.request()).version == 2


# ---------------------------------------------------------------- random ones

SCHEDULES = int(os.environ.get("INTERLEAVINGS", "500"))
SEED = int(os.environ.get("INTERLEAVINGS_SEED", "7"))


async def schedule(place: Place, draw: random.Random, found: Counter[str]) -> None:
    """One random order of some clients, purgers and evictions; then quiet, and a last look.

    After a soft purge the stale response may be used in its window, and never after a hard one.
    """
    shop = Shop(
        place,
        vary=draw.random() < 0.3,
        ruled=draw.random() < 0.5,
        tagged=draw.random() < 0.7,
        window=draw.choice([0.0, 60.0]),
    )
    turns = shop.turns
    acknowledged = shop.version
    if draw.random() < 0.7:
        # Stale, though its data are as they were: who asks about it now is told 304.
        await shop.request(draw.randrange(2))
        await shop.purge("everything", soft=True)

    async def client() -> None:
        for _ in range(draw.randint(1, 3)):
            begun_with = acknowledged
            told = await shop.request(draw.randrange(2))
            assert told.version >= begun_with, f"{told.version} after {begun_with} was purged"
            found["judged"] += 1
            await turns.gate("client rests")

    async def purger() -> None:
        nonlocal acknowledged
        for _ in range(draw.randint(1, 2)):
            shop.version += draw.random() < 0.7
            version = shop.version
            kind, soft = draw.choice(kinds())
            await shop.purge(kind, soft=soft, worker=draw.randrange(2))
            if not (soft and shop.window):
                acknowledged = max(acknowledged, version)
            found["purges"] += 1
            found[f"{kind}{' soft' * soft}"] += 1
            await turns.gate("purger rests")

    async def noise() -> None:
        for _ in range(draw.randint(0, 2)):
            await turns.gate("noise")
            await shop.sites[draw.randrange(2)].cache.purge(group="noise")

    async def evictor() -> None:
        for _ in range(draw.choice([0, 0, 1, 2])):
            await turns.gate("evicting")
            groups = [b"gh", b"oshop.example\0h", b"gg", EPOCH]
            await shop.evict(draw.choice([[], groups[:2], groups, [draw.choice(groups)]]))

    for number in range(draw.randint(1, 4)):
        await turns.start(f"client {number}", client())
    for number in range(draw.randint(1, 2)):
        await turns.start(f"purger {number}", purger())
    await turns.start("noise", noise())
    await turns.start("evictor", evictor())
    while ready := await turns.ready():
        await turns.step(draw.choice(ready))
        found["steps"] += 1
    for actor in list(turns._tasks):
        await turns.finish(actor)
    if shop.window:
        # What is stale now is asked for in the background, by actors that nobody gives turns.
        for worker in (0, 1):
            assert (await shop.request(worker)).version >= acknowledged
        while ready := await turns.ready():
            await turns.step(draw.choice(ready))
        await shop.purge("everything")
    await shop.assert_current_and_kept(0)
    await shop.assert_current_and_kept(1)
    found.update(turns.took_part)


async def test_i_random_interleavings(place: Place) -> None:
    """``INTERLEAVINGS`` and ``INTERLEAVINGS_SEED`` make the long run, or one again."""
    number = SCHEDULES if place.kind == "memory" else SCHEDULES // 4
    found: Counter[str] = Counter()
    for seed in range(SEED * 1_000_000, SEED * 1_000_000 + number):
        await place.move()
        try:
            await schedule(place, random.Random(seed), found)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    print(f"\n{place.kind}: {number} interleavings from seed {SEED}: {dict(found)}, 0 resurrected")
    in_flight = {name: found[name] for name in ("followers", "revalidations", "not_modified")}
    tell("interleavings", place.kind, interleavings=number, resurrected=0, **in_flight)
    assert min(in_flight.values()) > number / 10
    names = [f"{kind}{' soft' * soft}" for kind, soft in kinds()]
    assert min(found[name] for name in names) > number / 20
