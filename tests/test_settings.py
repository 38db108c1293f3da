from __future__ import annotations

import copy
import json
import os
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
import redis
import redis.asyncio

from asgi_cache.errors import ConfigurationError
from asgi_cache.settings import Rule, Settings

if TYPE_CHECKING:
    from pathlib import Path

    from asgi_cache.model import RequestHead, ResponseHead

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.upper().startswith("ASGI_CACHE_"):
            monkeypatch.delenv(variable)


def refusal(**overrides: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        Settings(**overrides)
    shown = "".join(traceback.format_exception(refused.value))
    assert "pydantic_core" not in shown
    assert refused.value.__context__ is None
    return str(refused.value)


class FakeStore:
    async def settle(self) -> None: ...

    async def aclose(self) -> None: ...


def key_of(request: RequestHead) -> bytes:
    return request.raw_path


def rule_of(request: RequestHead, response: ResponseHead) -> Rule | None:
    return None


DEFAULTS: dict[str, object] = {
    "enabled": True,
    "store": "memory://",
    "namespace": "asgi-cache",
    "paths": {},
    "default_ttl": None,
    "max_ttl": 31 * 24 * 3600.0,
    "keep": 3600.0,
    "ttl_jitter": 0.0,
    "heuristic_fraction": 0.0,
    "stale_while_revalidate": 0.0,
    "stale_if_error": 0.0,
    "targeted_fields": ("ASGI-Cache-Control",),
    "honor_request_directives": False,
    "authorization_must_revalidate": False,
    "credential_fields": (
        "Cookie",
        "Authorization",
        "Proxy-Authorization",
        "X-API-Key",
        "Api-Key",
        "X-Auth-Token",
        "X-Remote-User",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "Cf-Access-Jwt-Assertion",
        "X-Amzn-Oidc-*",
        # Beyond the design's: what other proxies put in front of an app say of a user.
        "Cf-Access-Authenticated-*",
        "Remote-User",
        "Tailscale-User-*",
        "X-Access-Token",
        "X-Auth-Request-*",
        "X-Authenticated-User",
        "X-Forwarded-Access-Token",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Preferred-Username",
        "X-Goog-Authenticated-*",
        "X-Ms-Client-*",
        "X-Ssl-Client-*",
        "X-Webauth-User",
    ),
    "cookies": "explicit",
    "key_fields": (
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Server",
        "X-Forwarded-Scheme",
        "X-Forwarded-Ssl",
        "X-Host",
        "X-Original-Host",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method",
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "Front-End-Https",
        "Forwarded",
    ),
    "key": None,
    "rule": None,
    "authorities": (),
    "unstored_fields": ("X-Response-Time", "Server-Timing", "X-Request-ID"),
    "max_body_bytes": MIB,
    "fill_bytes": 64 * MIB,
    "near_bytes": 64 * MIB,
    "compress_bytes": 64 * 1024,
    "store_timeout": 0.1,
    "request_store_timeout": 0.15,
    "collapse_timeout": 5.0,
    "max_followers": 1000,
    "etag": True,
    "cache_status": True,
    "name": "asgi-cache",
    "debug_token": None,
    "response_time": "ms",
    "secret": (),
}


def test_the_defaults_are_the_designs() -> None:
    assert dict(Settings()) == DEFAULTS


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_setting_says_what_it_is(name: str) -> None:
    assert Settings.model_fields[name].description


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        *((name, "second") for name in ("default_ttl", "max_ttl", "keep", "store_timeout")),
        *((name, "second") for name in ("stale_while_revalidate", "request_store_timeout")),
        *((name, "byte") for name in ("max_body_bytes", "fill_bytes")),
        *((name, "byte") for name in ("near_bytes", "compress_bytes")),
        *((name, "share") for name in ("ttl_jitter", "heuristic_fraction")),
    ],
)
def test_a_quantity_names_its_unit(name: str, unit: str) -> None:
    description = Settings.model_fields[name].description
    assert description is not None
    assert unit in description.lower()


STORE = FakeStore()
CLIENT = redis.asyncio.Redis()
FAKE_CLIENT = fakeredis.FakeAsyncRedis()

ACCEPTED: list[tuple[str, object, object]] = [
    ("enabled", False, False),
    ("store", "redis://localhost:6379/0", "redis://localhost:6379/0"),
    ("store", "rediss://u:p%40w@[::1]:6379/15?a=b", "rediss://u:p%40w@[::1]:6379/15?a=b"),
    ("store", "redis://", "redis://"),
    ("store", "redis://host/", "redis://host/"),
    ("store", "unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
    ("store", "unix://u:p@/run/redis.sock", "unix://u:p@/run/redis.sock"),
    ("store", STORE, STORE),
    ("store", CLIENT, CLIENT),
    ("store", FAKE_CLIENT, FAKE_CLIENT),
    ("namespace", "shop-v42:été", "shop-v42:été"),
    ("namespace", "x" * 100, "x" * 100),
    ("paths", {"/a": 60}, {"/a": Rule(ttl=60)}),
    ("paths", {"/a": 0.5}, {"/a": Rule(ttl=0.5)}),
    ("paths", {"/a": False}, {"/a": False}),
    ("paths", {"/a": {"ttl": 0}}, {"/a": Rule(ttl=0)}),
    ("paths", {"/a": {}}, {"/a": Rule()}),
    ("paths", {"/a": Rule(public=True)}, {"/a": Rule(public=True)}),
    ("default_ttl", 5, 5.0),
    ("default_ttl", 0, 0.0),
    ("max_ttl", 2**31 - 1, 2.0**31 - 1),
    ("keep", 0, 0.0),
    ("ttl_jitter", 0.999, 0.999),
    ("heuristic_fraction", 1, 1.0),
    ("targeted_fields", [], ()),
    ("targeted_fields", ["CDN-Cache-Control"], ("CDN-Cache-Control",)),
    ("credential_fields", ("X-*",), ("X-*",)),
    ("cookies", "ignore", "ignore"),
    ("key", key_of, key_of),
    ("rule", rule_of, rule_of),
    ("authorities", ["Shop.Example:8443", "[::1]:80"], ("shop.example:8443", "[::1]:80")),
    ("max_body_bytes", 1, 1),
    ("request_store_timeout", 1, 1.0),
    ("name", "my cache", "my cache"),
    ("honor_request_directives", True, True),
    ("debug_token", '!~"\\,;', '!~"\\,;'),
    ("debug_token", "x" * 200, "x" * 200),
    ("debug_token", None, None),
    ("response_time", "s", "s"),
    ("response_time", False, False),
    ("secret", [], ()),
    ("secret", ["x" * 16], ("x" * 16,)),
    ("secret", tuple("abcdefgh"[at] * 200 for at in range(8)), tuple(c * 200 for c in "abcdefgh")),
]


@pytest.mark.parametrize(("name", "given", "expected"), ACCEPTED)
def test_a_right_value_is_taken(name: str, given: object, expected: object) -> None:
    overrides: dict[str, Any] = {name: given}
    value = getattr(Settings(**overrides), name)
    assert value == expected
    assert type(value) is type(expected)


NUMBERS_REFUSED = [True, "5", -1, float("nan"), float("inf"), 10**400, [], None, {}]
SECONDS = "a number of seconds from 0 to 2147483647"
ABOVE_ZERO = "a number of seconds above 0 and up to 2147483647"
FIELD_NAMES = "a list of field names"
SCHEMES = "memory://, redis://, rediss://, unix://"

REFUSED: list[tuple[str, object, str, str]] = [
    # name, value, how it is quoted, what is allowed
    ("enabled", 1, "1", "True or False"),
    ("enabled", "true", "'true'", "True or False"),
    ("store", "localhost:6379", "'localhost:6379'", SCHEMES),
    ("store", "http://localhost", "'http://localhost'", SCHEMES),
    ("store", "Redis://localhost", "'Redis://localhost'", SCHEMES),
    ("store", "redis+cluster://h:1", "'redis+cluster://h:1'", SCHEMES),
    ("store", "redis+sentinel://h:1/s", "'redis+sentinel://h:1/s'", SCHEMES),
    ("store", "memory://x", "'memory://x'", "memory:// with nothing behind it"),
    ("store", "redis://h:port/0", "'redis://h:port/0'", "redis://user:password@host:port/0"),
    ("store", "redis://h:0", "'redis://h:0'", "redis://user:password@host:port/0"),
    ("store", "redis://h:6379/zero", "'redis://h:6379/zero'", "host:port/0"),
    ("store", "rediss://[::1/0", "'rediss://[::1/0'", "rediss://user:password@host:port/0"),
    ("store", "redis://h /0", "'redis://h /0'", "percent-encoded"),
    ("store", "unix://", "'unix://'", "unix:///path/to/redis.sock?db=0"),
    ("store", "", "''", SCHEMES),
    ("store", None, "None", SCHEMES),
    ("store", {"url": 1}, "{'url': 1}", "a store or an asynchronous Redis client"),
    ("store", FakeStore, "test_settings.FakeStore>", "a store or an asynchronous Redis client"),
    ("store", redis.Redis(), "<redis.client.Redis>", "a store or an asynchronous Redis client"),
    *(
        ("namespace", value, repr(value), "1 to 100 printable characters without white space")
        for value in ("", "a b", "a\n", "a{b}", "x" * 101, "\ud800", "\u00a0", 1, None)
    ),
    *(
        (name, value, "", SECONDS)
        for name in ("keep", "stale_if_error")
        for value in NUMBERS_REFUSED
    ),
    *(
        ("default_ttl", value, "", f"{SECONDS}, or None")
        for value in NUMBERS_REFUSED
        if value is not None
    ),
    *(
        (name, value, "", ABOVE_ZERO)
        for name in ("max_ttl", "store_timeout", "request_store_timeout")
        for value in [*NUMBERS_REFUSED, 0, 2**31]
    ),
    ("stale_while_revalidate", -0.5, "-0.5", SECONDS),
    *(("ttl_jitter", value, "", "a share from 0 to below 1") for value in [*NUMBERS_REFUSED, 1]),
    *(
        ("heuristic_fraction", value, "", "a share from 0 to 1")
        for value in [*NUMBERS_REFUSED, 1.01]
    ),
    *(
        (name, value, "", "a whole number of bytes from 1 to 2**62")
        for name in ("max_body_bytes", "fill_bytes")
        for value in [*NUMBERS_REFUSED, 0, 1.0, 2**63]
    ),
    ("near_bytes", -1, "-1", "a whole number of bytes from 0 to 2**62"),
    ("compress_bytes", -1, "-1", "a whole number of bytes from 0 to 2**62"),
    ("near_bytes", 1.5, "1.5", "a whole number of bytes from 0 to 2**62"),
    ("near_bytes", 0, "0", "with store = 'memory://' is a whole number of bytes above 0"),
    ("store_timeout", 0.2, "0.2", "at most request_store_timeout, which is 0.15"),
    *(
        (name, value, "", FIELD_NAMES)
        for name in ("targeted_fields", "key_fields", "unstored_fields")
        for value in ("Age", ["a b"], ["a:"], [""], [b"Age"], {"Age"}, None, 1, ["a\n"])
    ),
    ("key_fields", ["Age", "X Y"], "['Age', 'X Y']", "field names; 'X Y' is not one"),
    ("credential_fields", "Cookie", "'Cookie'", "a last '*' standing for any ending"),
    ("credential_fields", ["*"], "['*']", "'*' is not one"),
    ("credential_fields", ["X-*-Y"], "['X-*-Y']", "'X-*-Y' is not one"),
    ("credential_fields", ["X-**"], "['X-**']", "'X-**' is not one"),
    ("honor_request_directives", "yes", "'yes'", "True or False"),
    *(
        ("debug_token", value, "***", "is 1 to 200 printable characters of ASCII without white")
        for value in ("", "a b", "a\n", "\x7f", "é", "x" * 201, b"x", 5, True, ["x"])
    ),
    *(
        ("secret", value, "***", "at most 8, each 16 to 200 printable characters without white")
        for value in (
            *("x" * 16, b"x" * 16, None, True, 5, {"x" * 16}, {"x" * 16: 1}, [b"x" * 16], [5]),
            *(["x" * 15], ["x" * 201], ["x" * 16, ""], ["x" * 16 + " "], ["x" * 16 + "\n"]),
            *(["x" * 16 + "\ud800"], ["x" * 16] * 9, [["x" * 16]]),
        )
    ),
    ("cookies", "all", "'all'", "'explicit' or 'ignore'"),
    ("cookies", [], "[]", "'explicit' or 'ignore'"),
    ("key", "module:function", "'module:function'", "a function, or None"),
    ("rule", Rule, "<asgi_cache.settings.rules.Rule>", "a function, or None"),
    *(
        ("authorities", [value], repr(value), "hosts as in a Host field")
        for value in ("", "https://a", "a/b", "a b", "u@a", "*.a", "a:", "a:123456", "é.example")
    ),
    ("authorities", "a.example", "'a.example'", "a list of hosts"),
    ("etag", None, "None", "True or False"),
    ("cache_status", 0, "0", "True or False"),
    ("name", "", "''", "1 to 100 printable characters of ASCII"),
    ("name", "é", "'é'", "1 to 100 printable characters of ASCII"),
    ("response_time", "us", "'us'", "'ms' or 's' or False"),
    ("response_time", True, "True", "'ms' or 's' or False"),
    ("response_time", 0, "0", "'ms' or 's' or False"),
    ("paths", [("/a", 1)], "[['/a', 1]]", "a table of path templates"),
    ("paths", "/a", "'/a'", "a table of path templates"),
]


@pytest.mark.parametrize(("name", "value", "shown", "allowed"), REFUSED)
def test_a_wrong_value_is_refused(name: str, value: object, shown: str, allowed: str) -> None:
    text = refusal(**{name: value})
    assert text.startswith(f"{name} = ")
    assert shown[:120] in text
    assert allowed in text
    assert text.endswith(".")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("defualt_ttl", "did you mean default_ttl?"),
        ("path", "did you mean paths?"),
        ("stores", "did you mean store?"),
        ("zzz", "allowed are enabled, store, namespace, paths,"),
        ("_env_file", "allowed are"),
        ("_env_prefix", "allowed are"),
        # A setting of later releases.
        ("server_timing", ""),
    ],
)
def test_an_unknown_name_is_refused(name: str, hint: str) -> None:
    text = refusal(**{name: "hunter2"})
    assert text.startswith(f"{name}: there is no such setting (")
    assert hint in text
    assert "hunter2" not in text


FORM = "redis://user:password@host:port/0, special characters percent-encoded"
PORT = "is no port, which is a number from 1 to 65535"
DATABASE = "is no database, which is a number such as 0"


@pytest.mark.parametrize(
    ("url", "end"),
    [
        ("redis://h:port/0", f"{FORM}; 'port' {PORT}."),
        ("redis://h:65536", f"{FORM}; '65536' {PORT}."),
        ("redis://u:hunter2@h:0/0", f"{FORM}; '0' {PORT}."),
        ("redis://u:hun/ter2@h:1:2/0", f"{FORM}; '1:2' {PORT}."),
        ("redis://[::1]:\u0661", f"{FORM}; '\u0661' {PORT}."),
        ("redis://h:6379/zero?password=hunter2", f"{FORM}; 'zero' {DATABASE}."),
        ("redis://:hunter2@[::1]/100000", f"{FORM}; '100000' {DATABASE}."),
        ("redis://h/0/1", f"{FORM}; '0/1' {DATABASE}."),
        ("redis://u:hunter2@x:y@h:1/0", f"{FORM}."),
        ("redis://h:1/0?password=hunt@er2:x/y", None),
        ("redis://[::1/0", f"{FORM}."),
    ],
)
def test_what_is_wrong_in_a_stores_url_is_named(url: str, end: str | None) -> None:
    if end is None:
        assert Settings(store=url).store == url
        return
    text = refusal(store=url)
    assert text.endswith(f": allowed is {end}")
    assert "ter2" not in text


@pytest.mark.parametrize("url", ["redis://:hunter2/0", "redis://:hunter2"])
def test_what_may_be_a_password_is_not_named_as_a_port(url: str) -> None:
    text = refusal(store=url)
    assert text.endswith(f": allowed is {FORM}.")
    assert "hunter2" not in text


def test_each_problem_has_its_own_line() -> None:
    text = refusal(keep=-1, stor="memory://", name="", paths={"/a": -1, "/b": {"ttl": "x"}})
    assert [line.partition(" = ")[0].partition(":")[0] for line in text.splitlines()] == [
        "stor",
        'paths["/a"]',
        'paths["/b"].ttl',
        "keep",
        "name",
    ]


def test_a_long_value_is_cut() -> None:
    assert len(refusal(name="x" * 10_000)) < 300


def test_near_bytes_may_be_zero_with_another_store() -> None:
    assert Settings(store="redis://localhost", near_bytes=0).near_bytes == 0


def test_one_operation_may_not_take_longer_than_all_of_a_request() -> None:
    text = "store_timeout = 0.1: allowed is at most request_store_timeout, which is 0.05."
    assert refusal(request_store_timeout=0.05) == text
    same = Settings(store_timeout=5, request_store_timeout=5)
    assert same.store_timeout == same.request_store_timeout
    with pytest.raises(ConfigurationError, match="request_store_timeout, which is 5"):
        same.model_copy(update={"store_timeout": 6})


@pytest.mark.parametrize("name", ["X-API-Key", "x-amzn-oidc-data"])
def test_a_rule_cannot_vary_on_a_credential_field(name: str) -> None:
    text = refusal(paths={"/a": Rule(vary=["Accept", name])})
    assert text.startswith(f'paths["/a"].vary = {name!r}')
    assert "not in credential_fields" in text


def test_credential_fields_are_those_of_the_setting() -> None:
    paths = {"/a": Rule(vary=["X-API-Key"])}
    assert Settings(credential_fields=["Cookie"], paths=paths).paths == paths
    text = refusal(credential_fields=["X-Plan*"], paths={"/a": {"vary": ["x-plan"]}})
    assert text.startswith("paths[\"/a\"].vary = 'x-plan'")


def test_settings_are_frozen_and_own_their_paths() -> None:
    paths: dict[str, object] = {"/a": 60}
    settings = Settings(paths=paths)
    paths["/b"] = 60
    assert list(settings.paths) == ["/a"]
    assert Settings().paths is not Settings().paths
    with pytest.raises(ValueError, match="frozen"):
        settings.store = "redis://elsewhere"
    with pytest.raises(ValueError, match="frozen"):
        settings.paths["/a"].ttl = 5  # type: ignore[union-attr]


def test_the_order_of_paths_is_kept() -> None:
    assert list(Settings(paths={"/b": 1, "/a": 1, "/c": 1}).paths) == ["/b", "/a", "/c"]


def test_a_copy_with_other_values_is_checked() -> None:
    settings = Settings(store="redis://:pw@h/0", paths={"/a": 60}, key=key_of)
    assert settings.plan  # what is derived is derived anew for the copy
    changed = settings.model_copy(update={"keep": 5})
    assert changed.keep == 5.0
    assert changed.model_dump(exclude={"keep"}) == settings.model_dump(exclude={"keep"})
    assert (changed.store, changed.key) == ("redis://:pw@h/0", key_of)
    with pytest.raises(ConfigurationError, match="keep = -1"):
        settings.model_copy(update={"keep": -1})
    assert settings.model_copy() == settings
    assert settings.model_copy(deep=True) == settings


def test_settings_survive_copies_and_pickles() -> None:
    settings = Settings(store="redis://:pw@h/0", paths={"/a": 60, "/b": False}, rule=rule_of)
    settings.plan.matcher.match("/b", b"/b")
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert copy.deepcopy(settings) == settings


URLS_WITH_SECRETS = [
    ("redis://:hunter2@host:6379/0", "redis://:***@host:6379/0"),
    ("redis://user:hunter2@host/0", "redis://user:***@host/0"),
    ("rediss://hunter2@host/0", "rediss://***@host/0"),
    ("redis://host/0?password=hunter2&db=1", "redis://host/0?password=***&db=1"),
    ("redis://u:hunter2@host/0?ssl_password=hunter2", "redis://***"),
    ("unix://u:hunter2@/run/redis.sock?db=1", "unix://u:***@/run/redis.sock?db=1"),
]


@pytest.mark.parametrize(("url", "shown"), URLS_WITH_SECRETS[:4])
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    settings = Settings(store=url)
    assert settings.store == url
    assert settings.shown()["store"] == shown
    assert settings.model_dump()["store"] == shown
    for text in (repr(settings), str(settings), settings.model_dump_json(), f"{settings!r:>10}"):
        assert "hunter2" not in text
        assert shown in text


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2#@host/0",
        "redis://:hun#hunter2@host/0",
        "redis://:hun/hunter2@host/0",
        "redis://:hun?hunter2@host/0",
        "redis://:hun@hunter2@host/0",
        "redis://:hunter2@host:port/0",
        "redis://:hunter2@host /0",
        "redis:/user:hunter2@host/0",
        "redis//user:hunter2@host/0",
        "user:hunter2@host:6379",
        "http://user:hunter2@host",
        "redis://host/x?password=hunter2",
        "redis://host/x?password=a@hunter2",
        "memory://:hunter2@host",
    ],
)
@pytest.mark.parametrize("name", ["store", "namespace", "authorities", "cookies", "key"])
def test_a_refusal_never_quotes_a_password(url: str, name: str) -> None:
    text = refusal(
        **{name: [url] if name == "authorities" else f"{url} " if name != "store" else url}
    )
    assert "hunter2" not in text
    assert "***" in text


def test_a_redacted_url_is_not_mistaken_for_a_real_one() -> None:
    shown = Settings(store="redis://:hunter2@host/0").model_dump()["store"]
    assert "stands for a redacted one" in refusal(store=shown)


def test_a_debug_token_is_never_shown() -> None:
    settings = Settings(debug_token="hunter2", key=key_of)
    assert settings.debug_token == "hunter2"
    assert settings.model_copy().debug_token == "hunter2"
    assert settings.shown()["debug_token"] == "***"
    assert settings.model_dump()["debug_token"] == "***"
    assert Settings().shown()["debug_token"] is None
    assert Settings().model_dump()["debug_token"] is None
    for text in (repr(settings), str(settings), settings.model_dump_json(), f"{settings!r:>10}"):
        assert "hunter2" not in text
        assert "***" in text


@pytest.mark.parametrize(
    "token", ["hunter2 ", "hunter2\n", "hunter2" * 50, b"hunter2", ["hunter2"]]
)
def test_a_refusal_never_quotes_a_debug_token(token: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for overrides in ({}, {"keep": -1}, {"paths": {"/a": -1}}):
        text = refusal(debug_token=token, **overrides)
        assert "hunter2" not in text
        assert "debug_token = ***: allowed is 1 to 200 printable characters" in text
    if isinstance(token, str):
        monkeypatch.setenv("ASGI_CACHE_DEBUG_TOKEN", token)
        text = refusal()
        assert text.startswith("debug_token = *** (from ASGI_CACHE_DEBUG_TOKEN): allowed is ")
        assert "hunter2" not in text


def test_a_redacted_debug_token_is_not_mistaken_for_a_real_one() -> None:
    shown = Settings(debug_token="hunter2").model_dump()["debug_token"]
    assert refusal(debug_token=shown) == (
        "debug_token = ***: this is the mark that stands for a redacted one."
    )


def test_a_secret_is_never_shown() -> None:
    secrets = ["hunter2-hunter2-1", "hunter2-hunter2-2"]
    settings = Settings(secret=secrets)
    assert settings.secret == tuple(secrets)
    assert settings.model_copy().secret == tuple(secrets)
    assert settings.shown()["secret"] == settings.model_dump()["secret"] == ("***", "***")
    assert Settings().shown()["secret"] == Settings().model_dump()["secret"] == ()
    for text in (repr(settings), str(settings), settings.model_dump_json(), f"{settings!r:>10}"):
        assert "hunter2" not in text
        assert "***" in text


@pytest.mark.parametrize(
    "secret",
    [
        *("hunter2-hunter2-hunter2", ["hunter2"], ["hunter2-hunter2 hunter2"], [b"hunter2"]),
        *(["hunter2-hunter2-1", "hunter2"], ["hunter2-hunter2"] * 9, {"hunter2-hunter2": 1}),
    ],
)
def test_a_refusal_never_quotes_a_secret(
    secret: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for overrides in ({}, {"keep": -1}, {"paths": {"/a": -1}}):
        text = refusal(secret=secret, **overrides)
        assert "hunter2" not in text
        assert "secret = ***: allowed is a list (in the environment JSON) of at most 8" in text
    texts = [secret, f'["{secret}'] if isinstance(secret, str) else []
    if "[b" not in repr(secret):
        texts.append(json.dumps(secret))
        file = tmp_path / "asgi-cache.toml"
        file.write_text(f"secret = {json.dumps(secret).replace(':', '=')}".replace('{"', '{ "'))
        monkeypatch.setenv("ASGI_CACHE_CONFIG", str(file))
        assert "hunter2" not in refusal()
        assert refusal().startswith("secret = *** (from ")
        monkeypatch.delenv("ASGI_CACHE_CONFIG")
    for text in texts:
        monkeypatch.setenv("ASGI_CACHE_SECRET", text)
        assert refusal().startswith("secret = *** (from ASGI_CACHE_SECRET): allowed is a list")
        assert "hunter2" not in refusal()


def test_a_redacted_secret_is_not_mistaken_for_a_real_one() -> None:
    shown = Settings(secret=["hunter2-hunter2-1"]).model_dump()["secret"]
    assert refusal(secret=shown) == (
        "secret = ***: this is the mark that stands for a redacted one."
    )


def test_what_is_shown() -> None:
    paths = {"/a": Rule(ttl=60, groups=["g"]), "/b": False}
    shown = Settings(store=STORE, paths=paths, key=key_of, rule=rule_of).shown()
    assert list(shown) == list(DEFAULTS)
    assert str(shown["store"]).endswith("test_settings.FakeStore>")
    assert shown["paths"] == {"/a": {"ttl": 60.0, "groups": ("g",)}, "/b": False}
    assert str(shown["key"]).endswith("test_settings.key_of")
    assert shown["keep"] == 3600.0
    json.dumps(shown)


def test_settings_with_functions_can_be_written_as_json() -> None:
    text = Settings(store=STORE, key=key_of, paths={"/a": 1, "/b": False}).model_dump_json()
    assert "key_of" in text
    assert "FakeStore" in text
