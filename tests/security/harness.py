"""An origin whose bodies describe themselves, and sites: that origin behind a cache.

Every answer can be judged alone. Its body says which call made it, on which worker, what that
call saw of the request, who it was for, which version of the data it read, how long it is and
what its digest is; so a cut, mixed, foreign or outdated answer shows, whatever its headers say.
Nothing here sleeps.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import asgi_cache
from asgi_cache.messages import read_request
from asgi_cache.policy.reuse import Screened, screen
from asgi_cache.stores import GuardedStore, MemoryStore, RedisStore
from tests.driver import BODY, START, Connection, Exchange, Field, as_bytes, http_scope

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from asgi_cache.settings import Settings
    from asgi_cache.stores import Store

Lines: TypeAlias = Sequence[Field]

SHARED: Lines = [("cache-control", "public, max-age=60")]
MAX_AGE: Lines = [("cache-control", "max-age=60")]


@dataclass(frozen=True)
class Told:
    """What a body says of its making."""

    serial: int
    worker: str
    method: str
    scheme: str
    root_path: str
    path: str
    raw_path: str | None
    query: str
    fields: tuple[tuple[str, str], ...]
    user: str | None
    version: int
    length: int

    def values(self, name: str) -> list[str]:
        """What the call saw of a request field."""
        return [value for line, value in self.fields if line == name]

    def value(self, name: str) -> str | None:
        """The one line of a request field, or ``None``."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


@dataclass
class Reply:
    """What an origin answers; *body* ``None``: the one that describes itself."""

    lines: Lines = ()
    status: int = 200
    body: bytes | None = None
    length: bool = True
    """Whether it says Content-Length."""
    filler: int = 40
    """Bytes of seeded filler after the description."""
    chunks: int = 1
    version: int = 0


Answer: TypeAlias = Callable[[Told], Reply | Awaitable[Reply]]


def filler(serial: int, size: int) -> bytes:
    """Bytes that only this call's body has."""
    return random.Random(serial).randbytes(size)


def written(told: Told, size: int) -> bytes:
    """A body that describes itself: a JSON line, its digest, then *size* bytes of filler."""
    tail = filler(told.serial, size)
    description = {**told.__dict__, "length": len(tail)}
    line = json.dumps(description).encode()
    digest = hashlib.sha256(line + tail).hexdigest().encode()
    return b"%b\n%b\n%b" % (line, digest, tail)


def read(body: bytes) -> Told:
    """What *body* says; fails where it is cut, mixed or changed."""
    line, _, rest = body.partition(b"\n")
    digest, _, tail = rest.partition(b"\n")
    assert hashlib.sha256(line + tail).hexdigest().encode() == digest, f"not whole: {body[:400]!r}"
    described = json.loads(line)
    described["fields"] = tuple((name, value) for name, value in described["fields"])
    told = Told(**described)
    assert len(tail) == told.length
    assert tail == filler(told.serial, told.length)
    return told


def user_of(fields: Sequence[tuple[str, str]]) -> str | None:
    """Whom an app would take the request's author for."""
    for name, value in fields:
        if name == "authorization":
            return value
        if name == "cookie" and "user=" in value:
            return value.partition("user=")[2].partition(";")[0]
    return None


class Origin:
    """An ASGI app that counts its calls. *answer*: a :class:`Reply`, or what makes one."""

    def __init__(
        self, answer: Reply | Answer | None = None, *, worker: str = "w", serials: Any = None
    ) -> None:
        self.answer = Reply(SHARED) if answer is None else answer
        self.worker = worker
        self.seen: list[Told] = []
        self.scopes: list[Scope] = []
        self._serials = count(1) if serials is None else serials

    @property
    def calls(self) -> int:
        """How often it was called."""
        return len(self.seen)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        assert scope["type"] == "http"
        self.scopes.append(scope)
        told = self._told(scope)
        self.seen.append(told)
        answer = self.answer
        reply = answer if isinstance(answer, Reply) else answer(told)
        if inspect.isawaitable(reply):
            reply = await reply
        told = Told(**{**told.__dict__, "version": reply.version})
        body = written(told, reply.filler) if reply.body is None else reply.body
        lines = [(as_bytes(name), as_bytes(value)) for name, value in reply.lines]
        if reply.length:
            lines.append((b"content-length", b"%d" % len(body)))
        await send({"type": START, "status": reply.status, "headers": lines})
        if told.method == "HEAD":
            body = b""
        size = max(1, -(-len(body) // reply.chunks))
        pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        for index, piece in enumerate(pieces, 1):
            await send({"type": BODY, "body": piece, "more_body": index < len(pieces)})

    def restart(self) -> None:
        """Count from one again."""
        self._serials = count(1)

    def _told(self, scope: Scope) -> Told:
        fields = tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        )
        raw_path = scope.get("raw_path")
        return Told(
            serial=next(self._serials),
            worker=self.worker,
            method=scope["method"],
            scheme=scope.get("scheme", "http"),
            root_path=scope.get("root_path", ""),
            path=scope["path"],
            raw_path=None if raw_path is None else raw_path.decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            fields=fields,
            user=user_of(fields),
            version=0,
            length=0,
        )


@dataclass
class Place:
    """Where a test's records lie."""

    kind: str
    """``memory`` or ``redis``."""
    url: str
    namespace: str
    stores: list[Store] = field(default_factory=list)
    _memory: dict[str, MemoryStore] = field(default_factory=dict)
    _moves: int = 0

    async def aclose(self) -> None:
        """Close what was opened here."""
        for store in self.stores:
            await store.aclose()
        self.stores.clear()

    async def move(self) -> None:
        """Close what was opened here, and go on in a namespace of its own."""
        await self.aclose()
        self._memory.clear()
        self._moves += 1
        self.namespace = f"{self.namespace.partition('/')[0]}/{self._moves}"

    def store(self, namespace: str | None = None) -> Store:
        """The store as one more worker has it: the same memory, or one more client of Redis."""
        name = self.namespace if namespace is None else namespace
        if self.kind == "memory":
            return self._memory.setdefault(name, MemoryStore(64 * 1024 * 1024))
        store = RedisStore(self.url, name)
        self.stores.append(store)
        return store

    def cache(self, store: Store | None = None, **settings: Any) -> asgi_cache.Cache:
        """A cache that is patient with a slow machine: what is judged here is not its haste."""
        settings.setdefault("namespace", self.namespace)
        settings.setdefault("store_timeout", 30.0)
        settings.setdefault("request_store_timeout", 60.0)
        if store is None:
            store = self.store(settings["namespace"])
        if not isinstance(store, MemoryStore):
            store = GuardedStore(store, timeout=30.0, request_timeout=60.0, purge_timeout=60.0)
        return asgi_cache.Cache(store=store, **settings)

    def site(self, origin: Any = None, store: Store | None = None, **settings: Any) -> Site:
        """*origin* behind a cache on this place."""
        return Site(Origin() if origin is None else origin, self.cache(store, **settings))


class Site:
    """An origin behind a cache."""

    def __init__(self, origin: Any, cache: asgi_cache.Cache) -> None:
        self.origin = origin
        self.cache = cache
        self.app = asgi_cache.wrap(origin, cache=cache)

    @property
    def calls(self) -> int:
        """How often the origin was called."""
        calls = self.origin.calls
        assert isinstance(calls, int)
        return calls

    async def ask(
        self,
        target: str = "/",
        headers: Lines = (),
        *,
        body: bytes = b"",
        on_send: Any = None,
        **options: Any,
    ) -> Exchange:
        """One exchange; its app call, if any, is over when this returns."""
        scope = http_scope(target, headers=headers, **options)
        async with asyncio.timeout(60):  # A barrier that nobody reaches is a failure, not a wait.
            exchange = await Connection(scope, body, on_send).run(self.app)
        assert exchange.complete
        return exchange

    async def told(self, target: str = "/", headers: Lines = (), **options: Any) -> Told:
        """As :meth:`ask`; what the body says."""
        return read((await self.ask(target, headers, **options)).body)

    async def stores(self, target: str = "/", headers: Lines = (), **options: Any) -> bool:
        """Whether two equal requests cost one app call; the second got the first's body, then."""
        before = self.calls
        first = await self.ask(target, headers, **options)
        second = await self.ask(target, headers, **options)
        calls = self.calls - before
        assert calls in (1, 2)
        if calls == 1:
            assert second.body == first.body
            assert second.status == first.status
        return calls == 1

    def screened(self, target: str = "/", **options: Any) -> Screened | None:
        """How the cache reads a request; ``None`` where it takes no part."""
        outcome = screen(read_request(http_scope(target, **options)), self.settings)
        return outcome if isinstance(outcome, Screened) else None

    @property
    def settings(self) -> Settings:
        """The cache's settings."""
        return self.cache.settings


def memory_of(cache: asgi_cache.Cache) -> MemoryStore:
    """The memory store behind *cache*."""
    assert isinstance(cache.store, MemoryStore)
    return cache.store


def resident_bytes() -> int:
    """What this process holds of memory; 0 where the platform does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * 4096 if status.exists() else 0
