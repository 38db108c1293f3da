"""``debug_token``: the key in our own member of Cache-Status, for who presents the token only."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

import asgi_cache
from asgi_cache import debugging
from tests.driver import HOST, START, Recorder, drive, http_scope

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tests.driver import Exchange

TOKEN = 'let-me;see"'
FRESH = [("cache-control", "max-age=60")]
PRESENTED = [("asgi-cache-debug", TOKEN)]
KEY = f"{HOST} /p  http  /p"
"""Of ``/p``: authority, path and query as sent; scheme, root_path and decoded path."""

Options = dict[str, Any]


def members(exchange: Exchange) -> list[tuple[object, dict[str, Any]]]:
    """The members of Cache-Status with their parameters."""
    value = ", ".join(exchange.values("cache-status")).encode()
    found: Any = http_sf.parse(value, tltype="list")
    return [(str(name), parameters) for name, parameters in found]


def key_of(exchange: Exchange) -> object:
    """The key that our member tells; ``None`` where it tells none."""
    name, parameters = members(exchange)[-1]
    assert name == "asgi-cache"
    return parameters.get("key")


def wrap(app: Any, **settings: Any) -> Any:
    return asgi_cache.wrap(app, debug_token=TOKEN, **settings)


async def test_a_miss_a_hit_and_a_304_tell_their_key() -> None:
    app = wrap(Recorder(FRESH))
    miss = await drive(app, "/p", headers=PRESENTED)
    assert miss.cache_status == f'asgi-cache; fwd=uri-miss; stored; key="{KEY}"'
    hit = await drive(app, "/p", headers=PRESENTED)
    assert hit.hit
    assert key_of(hit) == KEY
    validated = [*PRESENTED, ("if-none-match", "*")]
    same = await drive(app, "/p", headers=validated)
    assert (same.status, key_of(same)) == (304, KEY)
    part = await drive(app, "/p", headers=[*PRESENTED, ("range", "bytes=0-3")])
    assert (part.status, key_of(part)) == (206, KEY)
    none = await drive(app, "/p", headers=[*PRESENTED, ("range", "bytes=9999-")])
    assert (none.status, key_of(none)) == (416, KEY)
    head = await drive(app, "/p", method="HEAD", headers=PRESENTED)
    assert (head.hit, key_of(head)) == (True, KEY)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("asgi-cache-debug", "")],
        [("asgi-cache-debug", TOKEN[:-1])],
        [("asgi-cache-debug", TOKEN + "x")],
        [("asgi-cache-debug", TOKEN.upper())],
        [("asgi-cache-debug", "\xff")],
        [*PRESENTED, *PRESENTED],
        [("x-asgi-cache-debug", TOKEN)],
    ],
)
async def test_without_the_token_nothing_is_told(headers: list[tuple[str, str]]) -> None:
    app = wrap(Recorder(FRESH))
    await drive(app, "/p", headers=PRESENTED)
    for target in ("/p", "/q"):
        assert key_of(await drive(app, target, headers=headers)) is None


async def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    original = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return original(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    await drive(wrap(Recorder(FRESH)), "/p", headers=[("asgi-cache-debug", "no")])
    assert compared == [(b"no", TOKEN.encode())]


async def test_without_the_setting_the_field_is_an_ordinary_one() -> None:
    app = asgi_cache.wrap(Recorder(FRESH))
    for value in (TOKEN, "", "None", "***"):
        exchange = await drive(app, "/p", headers=[("asgi-cache-debug", value)])
        assert "key" not in exchange.cache_status


async def test_without_cache_status_nothing_is_emitted() -> None:
    app = wrap(Recorder(FRESH), cache_status=False)
    for _ in range(2):
        assert (await drive(app, "/p", headers=PRESENTED)).cache_status == ""


async def test_a_key_told_is_not_stored() -> None:
    recorder = Recorder(FRESH)
    app = wrap(recorder)
    assert key_of(await drive(app, "/p", headers=PRESENTED)) == KEY
    hit = await drive(app, "/p")
    assert hit.hit
    assert members(hit)[-1][1].keys() == {"hit", "ttl"}
    assert recorder.calls == 1


async def test_the_app_does_not_see_the_token() -> None:
    """A page that echoes its request would show it to everybody."""
    recorder = Recorder([*FRESH, ("vary", "asgi-cache-debug, x-host")])
    repeated = [("x-host", "a"), ("x-host", "b"), ("asgi-cache-debug", TOKEN), ("x-other", "c")]
    scope = http_scope("/p", headers=repeated)
    before = list(scope["headers"])
    filled = await drive(wrap(recorder), scope=scope)
    assert key_of(filled) == f"{KEY} fx-host a,%20b"
    (seen,) = recorder.scopes
    assert seen["headers"] == [(b"host", HOST.encode()), (b"x-host", b"a, b"), (b"x-other", b"c")]
    assert scope["headers"] == before
    head = await drive(wrap(recorder), "/p", method="HEAD", headers=PRESENTED)
    assert key_of(head) == KEY
    assert [name for name, _ in recorder.scopes[-1]["headers"]] == [b"host"]
    # What is not it is nobody's secret.
    await drive(wrap(recorder), "/p", headers=[("asgi-cache-debug", "no")])
    assert (b"asgi-cache-debug", b"no") in recorder.scopes[-1]["headers"]


@pytest.mark.parametrize("name", ["asgi-cache", "upstream"])
async def test_only_our_own_member_tells_it(name: str) -> None:
    """An app that has a cache of its own, even of the same name, says what it says."""
    theirs = ("Cache-Status", f"{name}; fwd=miss")
    app = wrap(Recorder([*FRESH, theirs]))
    for _ in range(2):
        exchange = await drive(app, "/p", headers=PRESENTED)
        first, second = members(exchange)
        assert first[0] == name
        assert "key" not in first[1]
        assert second[1]["key"] == KEY


async def test_a_request_that_goes_to_the_app_tells_its_key() -> None:
    paths: Options = {"/p": {"ttl": 60, "anonymous": False}}
    refused = await drive(wrap(Recorder([("set-cookie", "a=b")])), "/p", headers=PRESENTED)
    assert refused.cache_status == f'asgi-cache; fwd=uri-miss; detail=set-cookie; key="{KEY}"'
    head = await drive(wrap(Recorder(FRESH)), "/p", method="HEAD", headers=PRESENTED)
    assert head.cache_status == f'asgi-cache; fwd=uri-miss; detail=head; key="{KEY}"'
    tls = {"tls": {"client_cert_name": "CN=me"}}
    named = await drive(wrap(Recorder(FRESH)), "/p", headers=PRESENTED, extensions=tls)
    assert named.cache_status == f'asgi-cache; fwd=bypass; detail=credentials; key="{KEY}"'
    # Screened out before there is a key.
    cookie = [*PRESENTED, ("cookie", "session=1")]
    bypass = await drive(wrap(Recorder(), paths=paths), "/p", headers=cookie)
    assert bypass.cache_status == "asgi-cache; fwd=bypass; detail=credentials"
    for method, settings in (("POST", {}), ("GET", {"enabled": False})):
        exchange = await drive(
            wrap(Recorder(FRESH), **settings), "/p", method=method, headers=PRESENTED
        )
        assert exchange.cache_status == ""


async def test_the_second_run_of_an_anonymous_fill_tells_it_once() -> None:
    recorder = Recorder([("cache-control", "private")])
    app = wrap(recorder, paths={"/p": 60})
    for calls in (2, 3):  # the second time the note sends it to the app directly
        exchange = await drive(app, "/p", headers=[*PRESENTED, ("cookie", "session=1")])
        assert exchange.cache_status == f'asgi-cache; fwd=bypass; detail=private; key="{KEY}"'
        assert recorder.calls == calls


async def test_what_is_stale_tells_it() -> None:
    recorder = Recorder([("cache-control", "max-age=0, stale-if-error=60"), ("etag", '"1"')])
    app = wrap(recorder)
    await drive(app, "/p")
    stale = await drive(app, "/p", headers=PRESENTED)
    assert stale.cache_status == f'asgi-cache; fwd=stale; stored; key="{KEY}"'
    recorder.status = 503
    failed = await drive(app, "/p", headers=PRESENTED)
    assert "detail=stale-if-error" in failed.cache_status
    assert key_of(failed) == KEY
    asked = wrap(Recorder(FRESH), honor_request_directives=True)
    only = [*PRESENTED, ("cache-control", "only-if-cached")]
    refused = await drive(asked, "/p", headers=only)
    assert (refused.status, refused.cache_status) == (504, "")


async def test_a_malformed_start_is_passed_on() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": None})
        await send({"type": START, "status": 200, "headers": [(b"cache-status", b"theirs")]})

    first, second = (await drive(wrap(app), "/p", headers=PRESENTED)).messages
    assert first["headers"] is None
    assert (b"cache-status", b"theirs") in second["headers"]


@pytest.mark.parametrize(
    ("settings", "headers", "told"),
    [
        (
            {},
            [("x-forwarded-host", 'evil"\\.example')],
            f'"{KEY} fx-forwarded-host evil\\"\\\\.example"',
        ),
        ({"key": lambda _: "\xe9 %\0z"}, [], f'"{KEY} c%C3%A9%20%25 z"'),
        (
            {"paths": {"/p": {"ttl": 60, "cookies": ["lang"]}}},
            [("cookie", "lang=de; session=1")],
            f'"{KEY} klang de"',
        ),
    ],
    ids=["field", "custom", "cookie"],
)
async def test_everything_that_is_keyed_is_told(
    settings: Options, headers: list[tuple[str, str]], told: str
) -> None:
    app = wrap(Recorder(FRESH), **settings)
    exchange = await drive(app, "/p", headers=[*PRESENTED, *headers])
    assert exchange.cache_status.endswith(f"; key={told}")


async def test_a_path_is_told_as_sent_and_as_decoded() -> None:
    app = wrap(Recorder(FRESH))
    exchange = await drive(app, "/%C3%A9%20x?q=%22", headers=PRESENTED)
    assert key_of(exchange) == f"{HOST} /%25C3%25A9%2520x q=%2522 http  /%C3%A9%20x"


async def test_a_long_key_is_cut() -> None:
    exchange = await drive(wrap(Recorder(FRESH)), "/" + "x" * 5000, headers=PRESENTED)
    key = key_of(exchange)
    assert isinstance(key, str)
    assert (len(key), key[-4:]) == (1024, "x...")
    whole = debugging.shown(b"x" * 1024)
    assert whole == "x" * 1024


@given(st.lists(st.binary(max_size=20)).map(b"\0".join))
def test_whoever_splits_and_decodes_has_the_key(key: bytes) -> None:
    text = debugging.shown(key)
    assert all(" " <= character <= "~" for character in text)
    assert b"\0".join(map(unquote_to_bytes, text.split(" "))) == key


async def test_a_server_never_sees_our_copy_change() -> None:
    """What the app sent stays its own."""
    lines = [(b"content-length", b"0")]
    message = {"type": START, "status": 200, "headers": lines}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(message)
        await send({"type": "http.response.body"})

    await drive(wrap(app), "/p", headers=PRESENTED)
    assert message["headers"] is lines
    assert lines == [(b"content-length", b"0")]
