"""What follows from settings: names in lower case, shapes of requests, rules made for bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_cache.settings import Rule, Settings
from asgi_cache.settings.plan import (
    LONGEST_SHAPE,
    MAX_AUTHORITY_BYTES,
    MEMO_LIMIT,
    Plan,
    compile_rule,
)

if TYPE_CHECKING:
    from asgi_cache.settings.plan import Shape


def plan(**settings: Any) -> Plan:
    return Settings(**settings).plan


def shape(*names: str, **settings: Any) -> Shape:
    return plan(**settings).shape(tuple(name.encode() for name in names))


PLAIN = plan()

# --- shapes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "credentials"),
    [
        ([], []),
        (["host", "accept"], []),
        (["x-api-key", "host", "cookie"], ["cookie", "x-api-key"]),
        (["x-amzn-oidc-", "x-amzn-oidc-data", "x-amzn-oidc"], ["x-amzn-oidc-", "x-amzn-oidc-data"]),
        (["authorization", "proxy-authorization"], ["authorization", "proxy-authorization"]),
        (["cookies", "x-cookie"], []),
    ],
)
def test_credentials(names: list[str], credentials: list[str]) -> None:
    assert [name.decode() for name in shape(*names).credentials] == credentials


@pytest.mark.parametrize(
    ("names", "settings", "personal", "authorization"),
    [
        ([], {}, False, False),
        (["cookie"], {}, True, False),
        (["cookie"], {"cookies": "ignore"}, False, False),
        (["cookie", "x-api-key"], {"cookies": "ignore"}, True, False),
        (["authorization"], {}, False, True),
        (["authorization", "cookie"], {}, True, True),
        (["authorization", "cookie"], {"cookies": "ignore"}, False, True),
        (["authorization"], {"credential_fields": ["X-User"]}, False, True),
        (["cookie"], {"credential_fields": ["X-User"]}, True, False),
        (["x-user"], {"credential_fields": ["X-User"]}, True, False),
    ],
)
def test_who_asks(
    names: list[str], settings: dict[str, Any], personal: bool, authorization: bool
) -> None:
    found = shape(*names, **settings)
    assert (found.personal, found.authorization) == (personal, authorization)


def test_some_are_credentials_whatever_the_settings_say() -> None:
    found = shape("authorization", "cookie", credential_fields=["X-User"])
    assert found.credentials == (b"authorization", b"cookie")


@pytest.mark.parametrize("name", ["x_api_key", "x_forwarded_host", "accept_encoding", "_", "a_"])
def test_an_underscore_may_be_read_as_a_hyphen_by_the_app(name: str) -> None:
    assert shape("host", name).irregular


def test_key_fields_stand_in_the_order_of_the_setting() -> None:
    names = ["x-host", "x-a", "forwarded", "x-forwarded-host"]
    assert shape(*names).key_fields == (b"x-forwarded-host", b"x-host", b"forwarded")
    assert shape(*names, key_fields=["X-A", "X-Host"]).key_fields == (b"x-a", b"x-host")


@pytest.mark.parametrize(
    ("name", "conditional", "ranged", "exceptional"),
    [
        ("accept", False, False, False),
        ("if-none-match", True, False, False),
        ("if-modified-since", True, False, False),
        ("if-range", False, False, False),
        ("range", False, True, False),
        ("if-match", False, False, True),
        ("if-unmodified-since", False, False, True),
        ("content-length", False, False, True),
        ("transfer-encoding", False, False, True),
        ("cache-control", False, False, True),
    ],
)
def test_what_to_look_at(name: str, conditional: bool, ranged: bool, exceptional: bool) -> None:
    found = shape("host", name)
    assert (found.conditional, found.ranged, found.exceptional) == (
        conditional,
        ranged,
        exceptional,
    )
    assert not found.irregular


@pytest.mark.parametrize("name", [b"Cookie", b"x-A", "cookie", 7])
def test_a_name_that_asgi_does_not_allow(name: Any) -> None:
    one = plan()
    assert one.shape((b"host", name)).irregular
    assert one.shapes == {}


def test_shapes_are_remembered_and_bounded() -> None:
    one = plan()
    names = (b"host", b"cookie")
    assert one.shapes.get(names) is None
    assert one.shapes == {names: one.shape(names)}
    for number in range(MEMO_LIMIT):
        assert len(one.shapes) <= MEMO_LIMIT
        one.shape((b"x-%d" % number,))
    assert len(one.shapes) == 1
    # What a stranger can make long is not remembered.
    fits = (b"a" * LONGEST_SHAPE,)
    one.shape(fits)
    one.shape((b"b" * LONGEST_SHAPE, b"c"))
    assert set(one.shapes) == {(b"x-%d" % (MEMO_LIMIT - 1),), fits}


@given(names=st.lists(st.binary(max_size=20), unique=True).map(tuple))
def test_any_names_have_a_shape(names: tuple[bytes, ...]) -> None:
    found = PLAIN.shape(names)
    assert found.irregular is any(name != name.lower() or b"_" in name for name in names)


# --- authorities ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "authority"),
    [
        (b"Shop.Example:8080", b"shop.example:8080"),
        (b"[::1]", b"[::1]"),
        (b"a" * MAX_AUTHORITY_BYTES, b"a" * MAX_AUTHORITY_BYTES),
        (b"a" * (MAX_AUTHORITY_BYTES + 1), None),
        (b"", None),
        (b"a b", None),
        (b"a/b", None),
    ],
)
def test_authorities(host: bytes, authority: bytes | None) -> None:
    one = plan()
    assert one.authority(host) == authority
    assert one.hosts == ({} if authority is None else {host: authority})


def test_authorities_are_bounded() -> None:
    one = plan()
    for number in range(MEMO_LIMIT + 1):
        one.authority(b"a%d" % number)
        assert len(one.hosts) <= MEMO_LIMIT
    assert one.hosts == {b"a%d" % MEMO_LIMIT: b"a%d" % MEMO_LIMIT}


def test_authorities_served() -> None:
    assert plan().serves(b"a")
    one = plan(authorities=["Shop.Example", "a:80"])
    assert one.serves(b"shop.example")
    assert one.serves(b"a:80")
    assert not one.serves(b"a")


# --- names and rules --------------------------------------------------------------------------


def test_names_are_lower_case_bytes() -> None:
    one = plan(targeted_fields=["CDN-Cache-Control"], unstored_fields=["X-A"], key_fields=["X-B"])
    assert one.targeted_fields == (b"cdn-cache-control",)
    assert one.unstored_fields == {b"x-a"}
    assert one.key_fields == (b"x-b",)
    assert plan(name="a cache").cache_status_name == b'"a cache"'
    assert one.is_credential(b"x-amzn-oidc-data")
    assert not one.is_credential(b"x-amzn")


@pytest.mark.parametrize(
    ("rule", "anonymous", "looks"),
    [
        ({}, False, False),
        ({"ttl": 60}, True, False),
        ({"ttl": 0}, True, False),
        ({"ttl": 60, "cookies": ["a"]}, True, True),
        ({"ttl": 60, "anonymous": False}, False, True),
        ({"anonymous": False, "cookies": ["a"]}, False, False),
    ],
)
def test_which_fills_are_anonymous(rule: dict[str, Any], anonymous: bool, looks: bool) -> None:
    compiled = compile_rule(Rule(**rule))
    assert (compiled.anonymous, compiled.looks_at_credentials) == (anonymous, looks)


def test_a_rule_made_for_bytes() -> None:
    rule = Rule(vary=["X-B", "X-A"], languages=["DE", "en-GB"], cookies=["Lang"], query=["größe"])
    compiled = compile_rule(rule)
    assert compiled.rule is rule
    assert compiled.vary == (b"accept-language", b"x-a", b"x-b")
    assert compiled.languages == (b"de", b"en-gb")
    assert compiled.cookies == {b"Lang"}
    assert compiled.query == frozenset({"größe".encode()})
    assert compiled.folds_query
    assert compile_rule(Rule(vary=["X-B"])).vary == (b"x-b",)


@pytest.mark.parametrize(
    ("rule", "folds"), [({}, False), ({"query": []}, True), ({"ignore_query": ["a"]}, True)]
)
def test_which_rules_fold_the_query(rule: dict[str, Any], folds: bool) -> None:
    assert compile_rule(Rule(**rule)).folds_query is folds


@pytest.mark.parametrize(
    ("patterns", "ignored", "kept"),
    [
        (["utm_*"], [b"utm_", b"utm_a\n"], [b"utm", b"xutm_", b"UTM_A"]),
        (["a", "b?"], [b"a", b"bc"], [b"b", b"ab", b"a\n"]),
        (["[ab]c", "[!x]"], [b"ac", b"bc", b"y"], [b"cc", b"x"]),
        (["ä*", "[ü-ä]", "(a|b"], ["äx".encode(), b"(a|b"], [b"x", b"a"]),
    ],
)
def test_ignored_parameters(patterns: list[str], ignored: list[bytes], kept: list[bytes]) -> None:
    compiled = compile_rule(Rule(ignore_query=patterns))
    assert compiled.ignored_query is not None
    assert all(map(compiled.ignored_query.match, ignored))
    assert not any(map(compiled.ignored_query.match, kept))


def test_the_rule_of_a_match() -> None:
    one = plan(paths={"/a": 60, "/b": False})
    assert set(one.rules) == {"/a"}
    assert one.compiled(one.matcher.match("/a", b"/a")) is one.rules["/a"]
    assert one.compiled(one.matcher.match("/b", b"/b")) is None
    assert one.compiled(one.matcher.match("/c", b"/c")) is None
    assert one.compiled(None) is None
