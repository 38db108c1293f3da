"""What the apps of all frameworks have in common: what they say, and when they wait.

A framework's module only turns these into its own routes and responses. Nothing here sleeps: an
app waits at a gate, and the test that opens it knows that it has been reached.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import asgi_cache

from .bodies import Told, written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

WORKER: Final = os.environ.get("INTEGRATION_WORKER", "only")
FILE: Final = os.environ.get("INTEGRATION_FILE", "")
GATE_SECONDS: Final = 30.0
PIECE_BYTES: Final = 65536
PAGE_BYTES: Final = 2000

SHARED: Final = "public, max-age=60"

KINDS: Final[Mapping[str, Mapping[str, str]]] = {
    "page": {"cache-control": SHARED, "etag": '"{serial}"'},
    "untagged": {"cache-control": SHARED},
    "flavours": {"cache-control": SHARED, "vary": "X-Flavour"},
    "personal": {"cache-control": "max-age=60"},
    "ruled": {},
    "me": {"cache-control": "max-age=60"},
    "greeting": {},
    "background": {"cache-control": SHARED},
}
"""Header fields by the route's name."""

REVISED: Final[Mapping[str, Mapping[str, str]]] = {
    "/ruled/windowed": {},
    "/ruled/failing": {"etag": '"{version}"'},
    "/revised": {"cache-control": SHARED, "etag": '"{version}"'},
    "/windowed": {"cache-control": f"{SHARED}, stale-while-revalidate=600"},
    "/failing": {"cache-control": f"{SHARED}, stale-if-error=600"},
}
"""Header fields of the pages that :func:`revised` answers, by the end of their paths."""

RULES: Final[Mapping[str, Any]] = {
    "/ruled/windowed": {"ttl": 60, "stale_while_revalidate": 600},
    "/ruled/failing": {"ttl": 60, "stale_if_error": 600},
    "/ruled/{what}": 60,
    "/greeting": 60,
}
"""Paths with a TTL of ours: what is stored for them is made anonymously."""


@dataclass
class Gate:
    """A place where an app waits for a test."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Answer:
    """A response that comes in one piece."""

    body: bytes
    headers: dict[str, str]
    media_type: str = "text/plain"
    status: int = 200


@dataclass(frozen=True)
class Stream:
    """A response that comes in pieces."""

    pieces: AsyncIterator[bytes]
    headers: dict[str, str]
    media_type: str = "text/plain"


class OnPurposeError(Exception):
    """What the routes that fail raise."""


gates: defaultdict[str, Gate] = defaultdict(Gate)
calls: Counter[str] = Counter()
versions: Counter[str] = Counter()
"""How often a test has changed its pages."""
modes: defaultdict[str, str] = defaultdict(str)
"""What a test's pages do now: ``gated``, ``raise``, ``503``, or nothing special."""
seen: defaultdict[str, list[Told]] = defaultdict(list)
"""What the calls of :func:`revised` saw: a 304 has no body that would tell it."""
_serials = count(1)


async def pass_gate(name: str) -> None:
    """Say that the gate is reached, and go on when it is open."""
    gate = gates[name]
    gate.reached.set()
    async with asyncio.timeout(GATE_SECONDS):  # wait_for may lose a cancellation (Python 3.11)
        await gate.opened.wait()


def query_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a request's query."""
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


def describe(scope: Mapping[str, Any], user: str | None = None) -> Told:
    """What this call saw; it counts as a call for the query's ``id``."""
    calls[query_of(scope).get("id", "")] += 1
    return Told(
        serial=next(_serials),
        worker=WORKER,
        method=scope["method"],
        root_path=scope.get("root_path", ""),
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        fields=tuple((name.decode(), value.decode("latin-1")) for name, value in scope["headers"]),
        user=user,
    )


def answer(scope: Mapping[str, Any], kind: str, user: str | None = None) -> Answer:
    """What a route of that name answers."""
    told = describe(scope, user)
    headers = {name: value.format(serial=told.serial) for name, value in KINDS[kind].items()}
    return Answer(written(told, PAGE_BYTES), headers)


async def revised(scope: Mapping[str, Any]) -> Answer:
    """A page that stays as it is until a test says otherwise, and answers conditions itself.

    The mode ``gated`` lets it wait at the gate ``<id>``; ``raise`` and ``503`` let it fail.
    """
    name = query_of(scope)["id"]
    told = describe(scope)
    seen[name].append(told)
    match modes[name]:
        case "gated":
            await pass_gate(name)
        case "raise":
            raise OnPurposeError("before the start")
        case "503":
            return Answer(b"", {"cache-control": "no-store"}, status=503)
    ending = next(ending for ending in REVISED if scope["path"].endswith(ending))
    version = versions[name]
    headers = {field: value.format(version=version) for field, value in REVISED[ending].items()}
    if headers.get("etag", "none") in "".join(told.values("if-none-match")):
        return Answer(b"", headers, status=304)
    return Answer(written(told, PAGE_BYTES), headers)


def stream(scope: Mapping[str, Any]) -> Stream:
    """A body that waits at the gate ``<id>`` when ``cut`` per cent of it are out.

    ``size``: its bytes; ``framing=length``: it says Content-Length.
    """
    query = query_of(scope)
    body = written(describe(scope), int(query.get("size", PAGE_BYTES)))
    cut = len(body) * int(query.get("cut", "50")) // 100
    headers = {"cache-control": SHARED}
    if query.get("framing") == "length":
        headers["content-length"] = str(len(body))

    async def pieces() -> AsyncIterator[bytes]:
        for part, gated in ((body[:cut], True), (body[cut:], False)):
            for start in range(0, len(part), PIECE_BYTES):
                yield part[start : start + PIECE_BYTES]
            if gated:
                await pass_gate(query["id"])

    return Stream(pieces(), headers)


async def events(scope: Mapping[str, Any]) -> AsyncIterator[str]:
    """The data of an endless stream of events, one for each gate ``<id>.<number>`` opened."""
    told = describe(scope)
    for number in count():
        yield f"{told.serial} no. {number}"
        await pass_gate(f"{query_of(scope)['id']}.{number}")


def event_stream(scope: Mapping[str, Any]) -> Stream:
    """The same, framed, for frameworks without a response of their own for it."""

    async def pieces() -> AsyncIterator[bytes]:
        async for event in events(scope):
            yield f"data: {event}\n\n".encode()

    return Stream(pieces(), {"cache-control": SHARED}, "text/event-stream")


def boom(scope: Mapping[str, Any]) -> None:
    """Fail before anything is sent."""
    describe(scope)
    raise OnPurposeError("before the start")


def late_boom(scope: Mapping[str, Any]) -> Stream:
    """Fail when a part of the body is out."""
    body = written(describe(scope), PAGE_BYTES)

    async def pieces() -> AsyncIterator[bytes]:
        yield body[: PAGE_BYTES // 2]
        raise OnPurposeError("in the body")

    return Stream(pieces(), {"cache-control": SHARED})


async def purge(scope: Mapping[str, Any]) -> None:
    """Purge the URL in the query, from inside a handler; ``soft``: it is stale then."""
    query = query_of(scope)
    await asgi_cache.from_scope(scope).purge(query["url"], soft="soft" in query)
