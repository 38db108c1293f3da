"""How Redis is waited for: rarely, quietly, in any event loop, and what was missed is made up.

``FLAPPING_SECONDS`` makes the long run.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from asgi_cache import CacheMiddleware, GuardedStore
from tests.driver import Recorder, drive
from tests.faults.conftest import FRESH, warm
from tests.faults.load import BUDGET, after, load
from tests.faults.test_faults import RECOVERY, fail_until_away, is_away, seconds_to_hit
from tests.figures.telling import tell
from tests.stores.wire import until

if TYPE_CHECKING:
    from tests.faults.conftest import Site
    from tests.faults.proxy import FaultProxy
    from tests.servers import RedisServer

FLAPS = max(1, round(float(os.environ.get("FLAPPING_SECONDS", "6")) / 2))


async def test_x20_recovery(site: Site, proxy: FaultProxy) -> None:
    """At most one probe a second while it is away, and hits again within two of its return."""
    proxy.answer = lambda asked: b"-LOADING\r\n" if asked[0] in (b"PING", b"GETRANGE") else None
    async with site(proxy.url) as app:
        await fail_until_away(app)
        connected = len(proxy.accepted)
        report = await load(app, rate=200, until=after(2.6))
        report.check_budget()
        probes = proxy.times(b"PING")
        gaps = [round(b - a, 3) for a, b in pairwise(probes)]
        print(f"X20 probes {gaps} s apart, {len(proxy.accepted) - connected} connections")
        assert 2 <= len(probes) <= 3
        assert min(gaps) >= 0.99
        assert len(proxy.accepted) - connected <= len(probes)
        proxy.answer = None
        took = await seconds_to_hit(app)
        print(f"X20 hits again after {took:.2f} s")
        assert took < RECOVERY
        probes = proxy.times(b"PING")
        await asyncio.sleep(1.3)
        assert proxy.times(b"PING") == probes


async def test_x20_nobody_asks_while_nobody_is_there(site: Site, proxy: FaultProxy) -> None:
    async with site(proxy.url) as app:
        await proxy.refuse()
        await fail_until_away(app)
        await proxy.listen()
        assert await seconds_to_hit(app) < RECOVERY
        # Who has gone quiet is not asked for on behalf of requests that do not come.
        await proxy.refuse()
        await fail_until_away(app)
        await app.cache.aclose()
        assert len(asyncio.all_tasks()) == 1


async def test_x21_log_lines(
    site: Site, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with site(server.url) as app:
        await warm(app)
        server.kill()
        began = time.time()
        report = await load(app, rate=1000, until=after(2.0))
        report.say("X21")
        report.check_budget()
        took = time.time() - began
        lines = Counter(record.getMessage().partition(":")[0] for record in caplog.records)
        print(f"X21 {dict(lines)} in {took:.1f} s")
        per_kind = Counter(
            (record.msg, str(record.args)[:40], int(record.created - began))
            for record in caplog.records
        )
        assert max(per_kind.values()) == 1
        assert len(caplog.records) <= 6
        server.start()


async def test_x23_flapping(site: Site, server: RedisServer) -> None:
    """Up and down by turns, a second each; each time it hangs instead of ending."""
    async with site(server.url) as app:
        await warm(app)
        flapping = True

        async def flap() -> None:
            nonlocal flapping
            for _ in range(FLAPS):
                server.pause()
                await asyncio.sleep(1.0)
                server.resume()
                await asyncio.sleep(1.0)
            flapping = False

        flaps = asyncio.create_task(flap())
        at_most = 2.0 * FLAPS + 30.0
        report = await load(app, rate=300, until=lambda: not flapping, at_most=at_most)
        await flaps
        report.say("X23")
        p99 = sorted(report.added)[int(len(report.added) * 0.99)]
        tell(
            "hanging",
            "flapping",
            flapping_seconds=2 * FLAPS,
            flapping_p99_ms=p99 * 1000,
            flapping_most_ms=report.most_added * 1000,
            errors=report.errors,
        )
        assert report.errors == 0
        assert p99 <= BUDGET
        if FLAPS <= 3:  # of more requests a busy machine keeps some for longer
            report.check_budget()
        assert report.hits > 0
        assert await seconds_to_hit(app) < RECOVERY


@pytest.mark.parametrize("soft", [False, True])
async def test_what_was_purged_meanwhile_is_not_served_afterwards(
    site: Site, proxy: FaultProxy, soft: bool
) -> None:
    """Also not by a worker that was never cut off, once the purge has been carried out."""
    async with site(proxy.url) as app, site(f"redis://127.0.0.1:{proxy.upstream}/0") as other:
        targets = [f"/{name}" for name in ("posted", "purged", "grouped", "kept")]
        await warm(app, *targets)
        before = {target: (await drive(app, target)).serial for target in targets}
        proxy.flowing.clear()
        assert (await drive(app, "/posted", method="PUT")).status == 200
        await fail_until_away(app)
        await app.cache.purge("http://shop.example/purged", on_error="queue", soft=soft)
        assert app.cache.health().waiting == 2
        proxy.flowing.set()
        hidden = {target: await drive(app, target) for target in ("/posted", "/purged")}
        assert all(each.serial > before[target] for target, each in hidden.items())
        await until(lambda: app.cache.health().available)
        assert app.cache.health().waiting == 0
        for each in (app, other):
            assert (await drive(each, "/kept")).serial == before["/kept"]
            assert not (await drive(each, "/posted")).hit or each is other
        assert (await drive(other, "/purged")).hit is False


async def test_too_much_to_remember_is_everything(
    site: Site, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(proxy.url) as app:
        await warm(app, "/page", "/other")
        before = (await drive(app, "/other")).serial
        await proxy.refuse()
        assert isinstance(app.cache.store, GuardedStore)
        monkeypatch.setattr(app.cache.store.journal, "_most_names", 3)
        for number in range(5):
            assert (await drive(app, f"/{number}", method="POST")).status == 200
        assert app.cache.health().waiting == 1
        await proxy.listen()
        await until(lambda: app.cache.health().available and not app.cache.health().waiting)
        assert (await drive(app, "/other")).serial > before


def test_o02_several_loops_wait_for_one_store(server: RedisServer, namespace: str) -> None:
    """Whichever loop is alive asks whether it is back; all of them notice."""
    app = CacheMiddleware(Recorder([FRESH]), store=server.url, namespace=namespace)
    server.pause()
    away, back = threading.Barrier(3), threading.Event()
    seconds: list[float] = []

    async def one() -> None:
        await fail_until_away(app)
        await asyncio.to_thread(away.wait, 10)
        await asyncio.to_thread(back.wait, 10)
        seconds.append(await seconds_to_hit(app))
        await app.cache.aclose()

    async def gone() -> None:
        """The loop whose request opens the breaker ends."""
        await fail_until_away(app)

    asyncio.run(gone())
    threads = [threading.Thread(target=asyncio.run, args=(one(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    away.wait(10)
    assert is_away(app)
    server.resume()
    back.set()
    for thread in threads:
        thread.join()
    assert len(seconds) == 2
    assert max(seconds) < RECOVERY + 0.5
    assert not is_away(app)
