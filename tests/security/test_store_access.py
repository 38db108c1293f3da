"""The way to the store: a user that may do no more than it must, and TLS that is verified."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest
import trustme
from redis.asyncio import Redis

import asgi_cache
from asgi_cache.errors import StoreError, StoreUnavailable
from asgi_cache.stores import GuardedStore, MemoryStore, RedisStore, TieredStore
from tests.driver import BODY, drive
from tests.security.harness import SHARED, Origin, Reply, Site, read
from tests.stores.wire import Relay, serving, until
from tests.test_collapsing import FRESH, Gated
from tests.test_leases import waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from starlette.types import Message, Receive, Scope, Send

    from tests.security.harness import Lines, Told
    from tests.servers import RedisServer

ROOT: Final = Path(__file__).parents[2]
SECURITY: Final = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
SECRET = "the-secret-of-today"


# ---------------------------------------------------------------------- S17: least privilege


def documented_rule() -> list[str]:
    """The words of the rule in SECURITY.md, after the user's name."""
    found = re.search(r"<!-- acl -->\n```\nACL SETUSER asgi-cache (.+)\n```", SECURITY)
    assert found is not None
    return found[1].split()


RULE: Final = documented_rule()
COMMANDS: Final = [word for word in RULE if word.startswith("+")]


@pytest.fixture
async def user(redis_url: str, namespace: str) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Makes the documented user, less or more some words; gives the URL to connect by."""

    async def make(*more: str, less: str = "", database: int = 0) -> str:
        words = [word for word in RULE if word != less] + list(more)
        words = [word.replace("PASSWORD", "pass-word") for word in words]
        words = [word.replace("asgi-cache:", f"{namespace}:") for word in words]
        await admin.execute_command("ACL", "SETUSER", namespace, "reset", *words)
        address = redis_url.removeprefix("redis://").removesuffix("/0")
        return f"redis://{namespace}:pass-word@{address}/{database}"

    admin: Any
    async with Redis.from_url(redis_url) as admin:
        yield make
        await admin.execute_command("ACL", "DELUSER", namespace)


LINES: Final[dict[str, Lines]] = {
    "/varies": [*SHARED, ("vary", "Accept-Language")],
    "/grouped": [*SHARED, ("cache-groups", '"named"')],
    "/long": [("cache-control", "public, max-age=86400")],
}


def answer(told: Told) -> Reply:
    return Reply(LINES.get(told.path, SHARED))


class FailsLate:
    """Raises after the last byte of ``/fails``, so that what was stored is removed again."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    @property
    def calls(self) -> int:
        return self.origin.calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def more_to_come(message: Message) -> None:
            await send({**message, "more_body": True} if message["type"] == BODY else message)

        fails = scope["path"] == "/fails"
        await self.origin(scope, receive, more_to_come if fails else send)
        if fails:
            raise ZeroDivisionError


async def two_workers_agree(url: str, namespace: str) -> None:
    """One app call over two workers, and the other one is woken by a message."""
    gated = Gated(FRESH)
    workers = [
        asgi_cache.CacheMiddleware(
            gated, store=url, namespace=namespace, store_timeout=30.0, request_store_timeout=60.0
        )
        for _ in range(2)
    ]
    tasks = [asyncio.ensure_future(drive(worker, "/agreed")) for worker in workers]
    await until(
        lambda: (
            gated.inside + sum(map(waiting, workers)) == 2
            or any(worker.cache.metrics.store_failures for worker in workers)
        )
    )
    gated.gate.set()
    await asyncio.gather(*tasks)
    await until(
        lambda: (
            not any(
                worker.cache.leasing is not None and worker.cache.leasing._tasks
                for worker in workers
            )
        )
    )
    failures = [worker.cache.metrics.store_failures for worker in workers]
    for worker in workers:
        await worker.cache.aclose()
    assert (gated.calls, failures) == (1, [0, 0])


async def use_everything(url: str, namespace: str) -> None:
    """All that the cache does with a store; raises where some of it does not work."""
    hour_ago: Callable[[], float] = lambda: time.time() - 3600  # noqa: E731
    store = RedisStore(url, namespace, clock=hour_ago, secrets=[SECRET])
    guarded = GuardedStore(store, timeout=30.0, request_timeout=60.0, purge_timeout=60.0)
    paths: Any = {"/ruled": {"ttl": 60, "groups": ["ruled"]}}
    tier = TieredStore(MemoryStore(2**20), guarded)
    cache = asgi_cache.Cache(store=tier, paths=paths)
    site = Site(FailsLate(Origin(answer)), cache)

    async def is_gone(target: str = "/", headers: Any = ()) -> bool:
        before = site.calls
        read((await site.ask(target, headers)).body)
        read((await site.ask(target, headers)).body)
        assert site.calls - before in (0, 1), f"{target} is not stored"
        return site.calls > before

    try:
        await two_workers_agree(url, namespace)
        await cache.purge_all(soft=True)  # the very first command asks for the server's clock
        assert abs(store.now() - time.time()) < 60, "the server's clock is not known"
        for soft in (False, True):
            for target in ("/", "/?q=1", "/grouped", "/ruled", "/long"):
                await is_gone(target)
                assert not await is_gone(target)
            for language in ("en", "de"):
                await is_gone("/varies", [("accept-language", language)])
                assert not await is_gone("/varies", [("accept-language", language)])
            await cache.purge("http://shop.example/", soft=soft)
            assert await is_gone("/")
            await cache.purge("http://shop.example/", all_queries=True, soft=soft)
            assert await is_gone("/?q=1")
            await cache.purge(group="named", soft=soft)
            assert await is_gone("/grouped")
            await cache.purge(group="ruled", soft=soft)
            assert await is_gone("/ruled")
            await cache.purge("http://shop.example/varies", soft=soft)
            for language in ("en", "de"):
                assert await is_gone("/varies", [("accept-language", language)])
            await cache.purge_all(soft=soft)
            assert await is_gone("/long")
        await site.ask("/", method="POST")
        assert await is_gone("/")
        before = site.calls
        for _ in range(2):
            with suppress(ZeroDivisionError):
                await site.ask("/fails")
        assert site.calls == before + 2
        assert cache.metrics.store_failures == 0, "some operation of the store failed"
        assert cache.metrics.corrupt_records == 0
        await until(lambda: cache.health().near == "on" or cache.health().near_error is not None)
        assert cache.health().near_error is None, "there is no near tier"
    finally:
        await cache.aclose()


async def test_s17_the_documented_rule_is_enough(
    user: Callable[..., Awaitable[str]], namespace: str
) -> None:
    await use_everything(await user(), namespace)


async def test_s17_another_database_takes_one_command_more(
    user: Callable[..., Awaitable[str]], namespace: str
) -> None:
    assert "`+select`" in SECURITY
    with pytest.raises((AssertionError, StoreUnavailable)):
        await use_everything(await user(database=1), namespace)
    await use_everything(await user("+select", database=1), namespace)


@pytest.mark.parametrize("command", COMMANDS)
async def test_s17_nothing_in_the_rule_is_superfluous(
    user: Callable[..., Awaitable[str]], namespace: str, command: str
) -> None:
    with pytest.raises((AssertionError, StoreError)):
        await use_everything(await user(less=command), namespace)


async def test_s17_the_user_can_do_nothing_else(
    user: Callable[..., Awaitable[str]], redis_url: str, namespace: str
) -> None:
    url = await user()
    client: Any
    async with Redis.from_url(url) as client:
        for command in (
            *(("KEYS", "*"), ("SCAN", "0"), ("FLUSHDB",), ("EVAL", "return 1", "0")),
            *(("CONFIG", "GET", "*"), ("ACL", "WHOAMI"), ("PUBLISH", "c", "m")),
            *(("GETRANGE", "other:key", "0", "1"), ("SET", f"{namespace}2:key", "x")),
        ):
            with pytest.raises(Exception, match=r"(?i)no permissions"):
                await client.execute_command(*command)
    # Another namespace is as an unreachable store: the app answers.
    app = asgi_cache.CacheMiddleware(Origin(), store=url, namespace=f"{namespace}2")
    exchange = await drive(app)
    assert exchange.status == 200
    assert "detail=store-unavailable" in exchange.cache_status
    await app.cache.aclose()


# ---------------------------------------------------------------------- S18: TLS


class Authority:
    """A CA, and the certificates that it signs."""

    def __init__(self, directory: Path, name: str) -> None:
        self._ca = trustme.CA(organization_name=name)
        self.certificate = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.certificate))

    def server(self, names: Sequence[str], days: int = 2) -> ssl.SSLContext:
        """What a server with a certificate for *names* has; expired where *days* is below 0."""
        now = datetime.now(UTC)
        begins, ends = now - timedelta(days=3), now + timedelta(days=days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = self._ca.issue_cert(*names, not_before=begins, not_after=ends)
        certificate.configure_cert(context)
        return context


LOCAL = ("localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """The one that is trusted, and another."""
    directory = tmp_path_factory.mktemp("authorities")
    return Authority(directory, "ours"), Authority(directory, "others")


async def ask_over_tls(
    redis_server: RedisServer,
    namespace: str,
    server: ssl.SSLContext,
    trusted: Authority,
    host: str = "127.0.0.1",
) -> tuple[Relay, list[bool], Any]:
    """Two requests of an app whose Redis is behind TLS; which were hits, and the metrics."""
    relay = Relay(redis_server.port)
    async with serving(relay, server) as url:
        url = url.replace("127.0.0.1", host)
        app = asgi_cache.CacheMiddleware(
            Origin(),
            store=f"{url}?ssl_ca_certs={quote(str(trusted.certificate))}",
            namespace=namespace,
            store_timeout=30.0,
            request_store_timeout=60.0,
            near_bytes=0,
        )
        hits = []
        for _ in range(2):
            exchange = await drive(app)
            assert exchange.status == 200
            assert read(exchange.body).path == "/"
            hits.append(exchange.hit)
        await app.cache.aclose()
    return relay, hits, app.cache.metrics


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_s18_the_right_authority_and_name_are_connected_to(
    redis_server: RedisServer,
    namespace: str,
    authorities: tuple[Authority, Authority],
    host: str,
) -> None:
    ours, _ = authorities
    server = ours.server(LOCAL)
    relay, hits, metrics = await ask_over_tls(redis_server, namespace, server, ours, host)
    assert hits == [False, True]
    assert metrics.store_failures == 0
    assert relay.connections == 1  # joined round trips: no fill needs one of its own


@pytest.mark.parametrize(
    ("names", "days", "others_sign", "reason"),
    [
        (LOCAL, 2, True, "unable to get local issuer certificate"),
        (("redis.example", "192.0.2.1"), 2, False, "IP address mismatch"),
        (LOCAL, -1, False, "certificate has expired"),
    ],
    ids=["another CA", "another host", "expired"],
)
async def test_s18_any_other_is_refused_and_the_app_answers(
    redis_server: RedisServer,
    namespace: str,
    authorities: tuple[Authority, Authority],
    names: Sequence[str],
    days: int,
    others_sign: bool,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours, others = authorities
    server = (others if others_sign else ours).server(names, days)
    with caplog.at_level(logging.WARNING, "asgi_cache"):
        relay, hits, metrics = await ask_over_tls(redis_server, namespace, server, ours)
    assert hits == [False, False]
    assert metrics.store_failures > 0
    assert relay.connections == 0  # not a byte of protocol was sent
    lines = [record for record in caplog.records if record.name == "asgi_cache"]
    (line,) = {record.getMessage() for record in lines if "failed: " in record.getMessage()}
    assert "certificate verify failed" in line
    assert reason in line
    assert "\n" not in line
    assert all(record.exc_info is None for record in lines)


async def test_s18_a_server_without_tls_is_refused(
    redis_server: RedisServer, namespace: str
) -> None:
    url = redis_server.url.replace("redis://", "rediss://")
    store = RedisStore(url, namespace, connect_timeout=0.2)
    with pytest.raises(StoreUnavailable):
        await store.read(b"target", b"key", [0], ())
    await store.aclose()
