"""What a history is made of: an app that does as it is told, clients, a clock.

Here the model meets ``asgi_cache``: every answer of the middleware becomes facts to judge.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from asgi_cache import CacheMiddleware, MemoryStore, Settings
from tests.conftest import Clock
from tests.driver import BODY, START, Connection, http_scope
from tests.property.expect import Finished, clearly_stored, missed, unsliced
from tests.property.facts import Answer, Call, Request, Terms
from tests.property.model import Judge
from tests.property.syntax import Pairs, http_date, instant, ranges, tags, weakly_equal

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

EPOCH = 1_700_000_000.0
FINISHED = Finished(
    validates=True,
    revalidates_behind=True,
    serves_on_error=True,
    slices=True,
)
"""What there is to judge beyond what must never happen."""

HONORS = "honor_request_directives" in Settings.model_fields

LAST = "<last>"
"""In a condition: the validator that the client last saw."""


class AppError(Exception):
    """What the app raises."""


@dataclass(frozen=True)
class Behaviour:
    """What the app does, if it is called."""

    control: tuple[str, ...] = ("max-age=10",)
    lines: Pairs = ()
    status: int = 200
    etag: str | None = None
    modified: float | None = None
    """Seconds before the epoch of the histories."""
    date: float | None = None
    """Seconds before now."""
    delay: float = 0.0
    fails: str | None = None
    """``before`` or ``within`` its response."""
    length: str | None = "right"
    chunked: bool = False
    lazy: bool = False
    """Its 304 repeats neither validators nor Cache-Control."""
    conditional: bool = True
    stubborn: bool = False
    """It answers 304 to whatever condition."""
    ranged: bool = False
    size: int = 60


@dataclass(frozen=True)
class Step:
    """Time passes, then a client asks; *behaviour* is the app's if it is called."""

    pause: float
    request: Request
    behaviour: Behaviour


class World:
    """One app behind one cache."""

    def __init__(self, terms: Terms) -> None:
        self.clock = Clock(EPOCH)
        self.judge = Judge(terms)
        self.terms = terms
        self.calls = 0
        self.hits = 0
        self.behaviour = Behaviour()
        self.seen: dict[str, Pairs] = {}
        """By target, the fields of the last answer with a validator."""
        store = MemoryStore(16 * 1024 * 1024, self.clock)
        self.middleware = CacheMiddleware(self.app, store=store, **options_of(terms))

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app: everything that it does is noted in a :class:`Call`."""
        told, self.calls = self.behaviour, self.calls + 1
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        seen = texts(line for line in scope["headers"] if line[0] != b"host")
        foreground = not self.connection.exchange.complete
        own = Request(scope["method"], target, seen, self.clock.now)  # nobody waits for it
        call = Call(
            number=self.calls,
            request=self.request if foreground else own,
            seen=seen,
            method=scope["method"],
            target=target,
            asked_at=self.clock.now,
            foreground=foreground,
        )
        self.answer.calls.append(call)
        self.clock.advance(told.delay)
        call.answered_at = self.clock.now
        if told.fails == "before":
            call.raised = True
            raise AppError
        status, lines, body = self.response(call, told)
        call.status, call.lines = status, lines
        await send({"type": START, "status": status, "headers": octets(lines)})
        if told.chunked or told.fails is not None:
            await send({"type": BODY, "body": body[:20], "more_body": True})
            call.body, body = body[:20], body[20:]
        if told.fails == "within":
            call.raised = True
            raise AppError
        call.complete = True
        call.body += body
        await send({"type": BODY, "body": body})

    def response(self, call: Call, told: Behaviour) -> tuple[int, Pairs, bytes]:
        """Status, fields and body, by what *call* asks."""
        fields = dict(call.seen)
        serial = [("x-serial", str(call.number))]
        shared = [("cache-control", line) for line in told.control]
        if told.date is not None:
            shared.append(("date", http_date(self.clock.now - told.date)))
        validators = [("etag", told.etag)] if told.etag is not None else []
        if told.modified is not None:
            validators.append(("last-modified", http_date(EPOCH - told.modified)))
        asks = call.method in ("GET", "HEAD") and told.conditional and told.status == 200
        if asks and self.unmodified(fields, told):
            kept = [] if told.lazy else [*shared, *validators]
            return 304, (*kept, *told.lines, ("x-fresh", str(call.number))), b""
        text = f"{call.number} {call.method} {call.target} "
        body = text.encode().ljust(told.size, b".") if told.status != 204 else b""
        status = told.status
        lines: list[tuple[str, str]] = [*serial, *shared, *validators, *told.lines]
        if told.ranged and status == 200 and "range" in fields:
            spans = ranges(fields["range"], len(body))
            if spans:
                first, last = spans[0]
                lines.append(("content-range", f"bytes {first}-{last}/{len(body)}"))
                status, body = 206, body[first : last + 1]
        if told.length is not None and status != 204:
            size = len(body) + (told.length == "wrong")
            lines.append(("content-length", str(size)))
        return status, tuple(lines), b"" if call.method == "HEAD" else body

    def unmodified(self, fields: dict[str, str], told: Behaviour) -> bool:
        """The app's own reading of the conditions (RFC 9110 §13.2.2)."""
        listed = fields.get("if-none-match")
        if told.stubborn and (listed or "if-modified-since" in fields):
            return True
        if listed is not None:
            etag = told.etag
            return etag is not None and (
                listed == "*" or any(weakly_equal(etag, one) for one in tags(listed))
            )
        since = instant(fields.get("if-modified-since", ""))
        return since is not None and told.modified is not None and EPOCH - told.modified <= since

    async def step(self, step: Step) -> list[str]:
        """One exchange; what the judge has against it."""
        self.clock.advance(step.pause)
        self.behaviour = step.behaviour
        request = self.request = self.filled_in(step.request)
        answer = self.answer = Answer()
        due = clearly_stored(self.judge, request)
        scope = http_scope(request.target, method=request.method, headers=request.fields)
        self.connection = Connection(scope, b"content" if request.body else b"")
        try:
            await self.connection.run(self.middleware)
        except AppError:
            answer.raised = True
        await settled()
        exchange = self.connection.exchange
        if any(message["type"] == START for message in exchange.messages):
            answer.status, answer.lines = exchange.status, texts(exchange.headers)
            answer.body, answer.complete = exchange.body, exchange.complete
        else:
            answer.complete = False
        wrong = self.judge.judge(request, answer)
        late = missed(due, request, answer, self.terms, FINISHED)
        if FINISHED.slices and late is None:
            late = unsliced(clearly_stored(self.judge, bare(request)), request, answer)
        if late is not None:
            wrong.append(late)
        if any(name in ("etag", "last-modified") for name, _ in answer.lines):
            self.seen[request.target] = answer.lines
        self.hits += not answer.calls
        return wrong

    def filled_in(self, request: Request) -> Request:
        """*request* now, with the validators that a client would have."""
        last = dict(self.seen.get(request.target, ()))
        known = {"if-none-match": last.get("etag"), "if-modified-since": last.get("last-modified")}
        known["if-range"] = last.get("etag", last.get("last-modified"))
        fields = [
            (name, known.get(name) if value == LAST else value) for name, value in request.fields
        ]
        kept = tuple((name, value) for name, value in fields if value is not None)
        return Request(request.method, request.target, kept, self.clock.now, request.body)


def bare(request: Request) -> Request:
    """*request* for the whole."""
    fields = tuple(line for line in request.fields if line[0] != "range")
    return replace(request, fields=fields)


async def settled() -> None:
    """Until nothing runs behind the answer."""
    for _ in range(1000):
        await asyncio.sleep(0)
        if len(asyncio.all_tasks()) == 1:
            await asyncio.sleep(0)  # for what is called when a task is done
            return
    raise AssertionError("something goes on behind the answers")


def options_of(terms: Terms) -> dict[str, Any]:
    """The settings that these terms stand for."""
    options: dict[str, Any] = {
        "stale_while_revalidate": terms.stale_while_revalidate,
        "stale_if_error": terms.stale_if_error,
        "heuristic_fraction": terms.heuristic_fraction,
        "default_ttl": terms.default_ttl,
        "max_ttl": terms.max_ttl,
        "keep": terms.keep,
        "cookies": "ignore" if terms.cookies_ignored else "explicit",
        "authorization_must_revalidate": terms.authorization_must_revalidate,
    }
    if HONORS:
        options["honor_request_directives"] = terms.honor_request_directives
    return options


def texts(lines: Any) -> Pairs:
    """Field lines as the model reads them."""
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in lines)


def octets(lines: Pairs) -> list[tuple[bytes, bytes]]:
    """Field lines as they stand in a message."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in lines]


async def run(steps: list[Step], terms: Terms) -> World:
    """A whole history; the first exchange that the judge forbids fails it."""
    world = World(terms)
    for number, step in enumerate(steps):
        wrong = await world.step(step)
        if wrong:
            raise AssertionError(explained(world, number, steps, wrong))
    return world


def explained(world: World, number: int, steps: list[Step], wrong: list[str]) -> str:
    """What happened, for whoever reads the failure."""
    lines = [f"step {number} is forbidden, {world.terms}:", *(f"  - {why}" for why in wrong)]
    lines += [f"  asked: {world.request}", f"  got: {world.answer}", "  before:"]
    lines += [f"    {call}" for call in world.judge.calls]
    lines += [f"    step {at}: {step}" for at, step in enumerate(steps[: number + 1])]
    return "\n".join(lines)
