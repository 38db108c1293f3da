"""Requests, responses and fills in one line each, so that the tests of the policy read as tables.

Headers are a mapping, or pairs where a field repeats; texts are sent as Latin-1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import unquote

from hypothesis import settings
from hypothesis import strategies as st

from asgi_cache.messages import combined
from asgi_cache.model import RequestHead, ResponseHead, StoredResponse
from asgi_cache.policy.folding import fold
from asgi_cache.policy.reuse import Screened, screen
from asgi_cache.policy.storing import Exchange, admit
from asgi_cache.settings import Rule, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgi_cache.model import Line
    from asgi_cache.policy.decision import Refusal

Headers: TypeAlias = Mapping[str, str] | list[tuple[str, str]]

NOW: Final = 1_700_000_000.0
"""Tue, 14 Nov 2023 22:13:20 GMT."""

HOST: Final = "shop.example"
PLAIN: Final = Settings()

untimed: Final = settings(deadline=None)
"""For examples that a busy machine may slow down."""

OCTETS: Final = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from([bytes([byte]) for byte in b'",;=\\ \t()*?:@%[]{}/#&+W-.019Aaz\xff\x80\0']),
        max_size=30,
    ).map(b"".join),
)
"""Bytes in which the characters that mean something are as frequent as all others together."""

TEXTS: Final = st.one_of(
    st.text(st.characters(), max_size=40),  # surrogates too
    OCTETS.map(lambda octets: octets.decode("utf-8", "surrogateescape")),
)


def lines_of(headers: Headers) -> tuple[Line, ...]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return tuple((name.lower().encode(), value.encode("latin-1")) for name, value in pairs)


def request(
    target: str = "/x",
    headers: Headers | None = None,
    *,
    method: str = "GET",
    host: str | None = HOST,
    scheme: str = "http",
    root_path: str = "",
) -> RequestHead:
    """A request for *target*, a path (``root_path`` in front) and perhaps a query, as sent."""
    raw_path, _, query = target.partition("?")
    lines = lines_of(headers or {})
    if host is not None:
        lines = ((b"host", host.encode("latin-1")), *lines)
    return RequestHead(
        method,
        scheme,
        root_path,
        unquote(raw_path.removeprefix(root_path)),
        raw_path.encode("latin-1"),
        query.encode("latin-1"),
        combined(lines),
    )


def respond_with(status: int, headers: Headers | None = None) -> ResponseHead:
    return ResponseHead(status, lines_of(headers or {}))


def looked_up(head: RequestHead, settings: Settings = PLAIN) -> Screened:
    """*head*, screened; a test that gets here with a request that is not looked up is wrong."""
    screened = screen(head, settings)
    assert isinstance(screened, Screened), screened
    return screened


def exchange_of(
    head: RequestHead,
    settings: Settings = PLAIN,
    *,
    known: Iterable[str] = (),
    started: float = NOW,
    at: float = NOW,
    draw: float = 0.0,
) -> Exchange:
    """What a fill for *head* tells ``admit``, as the responder of a fill says it."""
    screened = looked_up(head, settings)
    shape, compiled = screened.shape, screened.compiled
    anonymous = compiled is not None and compiled.anonymous
    return Exchange(
        request=fold(head, shape, compiled).head,
        compiled=compiled,
        params={} if screened.match is None else screened.match.params,
        anonymous=anonymous,
        personal=shape.personal and not anonymous,
        authorization=shape.authorization and not anonymous,
        known_names=tuple(name.encode() for name in known),
        request_time=started,
        response_time=at,
        draw=draw,
    )


def outcome(
    response: ResponseHead,
    settings: Settings = PLAIN,
    *,
    to: RequestHead | None = None,
    rule: Rule | None = None,
    known: Iterable[str] = (),
    started: float = NOW,
    at: float = NOW,
    draw: float = 0.0,
) -> StoredResponse | Refusal:
    """What becomes of *response* to a request; *rule*: what ``Settings.rule`` made of it."""
    head = request() if to is None else to
    exchange = exchange_of(head, settings, known=known, started=started, at=at, draw=draw)
    if rule is None and exchange.compiled is not None:
        rule = exchange.compiled.rule
    return admit(exchange, response, settings, rule)


def stored(
    response: ResponseHead,
    settings: Settings = PLAIN,
    *,
    to: RequestHead | None = None,
    rule: Rule | None = None,
    known: Iterable[str] = (),
    started: float = NOW,
    at: float = NOW,
    draw: float = 0.0,
) -> StoredResponse:
    """As :func:`outcome`, where it must be stored."""
    result = outcome(
        response, settings, to=to, rule=rule, known=known, started=started, at=at, draw=draw
    )
    assert isinstance(result, StoredResponse), result
    return result


def under(**rule: object) -> Settings:
    """Settings with one rule, for every path."""
    return Settings(paths={"/{rest:path}": Rule(**rule)})  # type: ignore[arg-type]


def any_headers(names: Iterable[bytes]) -> st.SearchStrategy[tuple[Line, ...]]:
    """Field lines with names from *names* and others, and whatever values a message may have."""
    values = OCTETS.map(lambda value: value.replace(b"\0", b"").replace(b"\r", b"")).map(
        lambda value: value.replace(b"\n", b"")
    )
    name = st.one_of(st.sampled_from(sorted(names)), st.sampled_from([b"x-a", b"x-b"]))
    return st.lists(st.tuples(name, values), max_size=8).map(tuple)
