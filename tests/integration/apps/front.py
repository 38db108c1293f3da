"""What stands between a server and the sites under test: it picks one by Host, and can watch it.

A request for the host ``control`` steers and asks instead; it never reaches a cache. A request
with the field ``X-Run`` is recorded under that name, and with ``X-Strict`` it meets a server of
ASGI 2.4, which none of these servers is yet. All else goes through untouched.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from . import kit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from asgi_cache.metrics import Metrics


@dataclass
class Run:
    """One request, seen from the server's side of the cache."""

    gone: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[str] = field(default_factory=list)
    offered: list[str] = field(default_factory=list)
    raised: str | None = None


class Strict:
    """ASGI 2.4 on an older server: ``send`` raises OSError once the client has gone."""

    def __init__(self, receive: Receive, send: Send, gone: asyncio.Event) -> None:
        self._receive = receive
        self._send = send
        self._gone = gone
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()

    async def watch(self) -> None:
        """Learn of a disconnect whether the app asks for it or not."""
        while not self._gone.is_set():
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._gone.set()
            await self._inbox.put(message)

    async def receive(self) -> Message:
        """What the app gets as ``receive``."""
        if self._gone.is_set() and self._inbox.empty():
            return {"type": "http.disconnect"}
        return await self._inbox.get()

    async def send(self, message: Message) -> None:
        """What the app gets as ``send``."""
        if self._gone.is_set():
            raise OSError("the client has gone")
        await self._send(message)


class Front:
    """Several sites on one server; *plain*: what the cache of the first of them counts."""

    def __init__(self, sites: Mapping[str, ASGIApp], plain: Metrics) -> None:
        self._sites = sites
        self._plain = plain
        self._runs: defaultdict[str, Run] = defaultdict(Run)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan_of_all(list(self._sites.values()), scope, receive, send)
            return
        fields = dict(scope["headers"])
        name = fields[b"host"].decode().split(".")[0].split(":")[0]
        if name not in self._sites:
            await self._control(scope, send)
        elif b"x-run" in fields:
            run = self._runs[fields[b"x-run"].decode()]
            await self._watched(run, self._sites[name], scope, receive, send)
        else:
            await self._sites[name](scope, receive, send)

    async def _watched(
        self, run: Run, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        run.offered = sorted(scope.get("extensions") or ())
        watch = None
        if b"x-strict" in dict(scope["headers"]):
            scope = {**scope, "asgi": {**scope["asgi"], "spec_version": "2.4"}}
            strict = Strict(receive, send, run.gone)
            watch = asyncio.ensure_future(strict.watch())
            receive, send = strict.receive, strict.send

        async def watched_send(message: Message) -> None:
            run.sent.append(message["type"])
            await send(message)

        try:
            await app(scope, receive, watched_send)
        except BaseException as error:
            run.raised = repr(error)
            raise
        finally:
            if watch is not None:
                watch.cancel()
            run.ended.set()

    async def _control(self, scope: Scope, send: Send) -> None:
        query = kit.query_of(scope)
        name = query.get("name", "")
        told: Any = None
        async with asyncio.timeout(kit.GATE_SECONDS / 2):
            match scope["path"]:
                case "/worker":
                    told = kit.WORKER
                case "/calls":
                    told = kit.calls[name]
                case "/stores":
                    told = self._plain.stores
                case "/seen":
                    told = [asdict(each) for each in kit.seen[name]]
                case "/revise":
                    kit.versions[name] += 1
                case "/mode":
                    kit.modes[name] = query.get("mode", "")
                case "/reached":
                    await kit.gates[name].reached.wait()
                case "/open":
                    kit.gates[name].opened.set()
                case "/gone":
                    await self._runs[name].gone.wait()
                case "/ended":
                    run = self._runs[name]
                    await run.ended.wait()
                    told = {"sent": run.sent, "offered": run.offered, "raised": run.raised}
                case path:
                    raise LookupError(f"no such control: {path}")
        body = json.dumps(told).encode()
        length = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": body})


async def lifespan_of_all(apps: list[ASGIApp], scope: Scope, receive: Receive, send: Send) -> None:
    """One lifespan for the server, one for each app; an app that knows none does without."""
    inboxes: list[asyncio.Queue[Message]] = [asyncio.Queue() for _ in apps]
    outboxes: list[asyncio.Queue[Message]] = [asyncio.Queue() for _ in apps]

    async def run(number: int) -> None:
        try:
            await apps[number](dict(scope), inboxes[number].get, outboxes[number].put)
        except ValueError:  # Django's: it knows nothing but HTTP
            for kind in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
                await outboxes[number].put({"type": kind})

    runs = [asyncio.ensure_future(run(number)) for number in range(len(apps))]
    for _ in ("startup", "shutdown"):
        message = await receive()
        for inbox in inboxes:
            await inbox.put(message)
        answers = [await outbox.get() for outbox in outboxes]
        bad = [each for each in answers if not each["type"].endswith("complete")]
        await send((bad or answers)[0])
    await asyncio.gather(*runs)
