"""Decisions 2 and 3: what is folded in the key is folded for the app, in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asgi_cache.policy.folding import (
    Folded,
    fold,
    fold_accept_encoding,
    fold_accept_language,
    fold_forwarded,
    fold_query,
    hides_credentials,
    keyed_cookies,
)
from asgi_cache.policy.keys import key_of, nominated_values
from asgi_cache.settings import Rule, Settings
from asgi_cache.settings.plan import compile_rule
from tests.policy.builders import (
    OCTETS,
    PLAIN,
    looked_up,
    request,
    under,
    untimed,
)

if TYPE_CHECKING:
    from asgi_cache.model import RequestHead
    from tests.policy.builders import Headers


def folded(head: RequestHead, settings: Settings = PLAIN) -> Folded:
    screened = looked_up(head, settings)
    return fold(screened.request, screened.shape, screened.compiled)


# --- query ------------------------------------------------------------------------------------

IGNORE_UTM = Rule(ignore_query=["utm_*", "gclid"])
ONLY_Q = Rule(query=["q", "page", "größe"])


@pytest.mark.parametrize(
    ("rule", "query", "expected"),
    [
        # K05: order, blanks and spelling are kept.
        (Rule(), b"b=2&a=1&&c", b"b=2&a=1&&c"),
        (IGNORE_UTM, b"b=2&a=1&", b"b=2&a=1&"),
        (IGNORE_UTM, b"a=+&a=%20", b"a=+&a=%20"),
        (IGNORE_UTM, b"", b""),
        (IGNORE_UTM, b"utm_source=x&a=1&gclid=7&utm_=", b"a=1"),
        (IGNORE_UTM, b"utm_source", b""),
        (IGNORE_UTM, b"utm%5fsource=x&%67clid=1", b""),
        (IGNORE_UTM, b"UTM_source=x&xutm_a=1&gclidx=1", b"UTM_source=x&xutm_a=1&gclidx=1"),
        (IGNORE_UTM, b"a=1&utm_\n=2", b"a=1"),
        # K06: what is cloaked behind a semicolon goes where its piece goes.
        (IGNORE_UTM, b"x=1&utm_a=1;x=2", b"x=1"),
        (IGNORE_UTM, b"x=1;utm_a=1", b"x=1;utm_a=1"),
        (ONLY_Q, b"q=1;x=2&x=3&page=", b"q=1;x=2&page="),
        (ONLY_Q, b"x;q=1", b""),
        (ONLY_Q, b"q&Q=1&%71=2&q+=3", b"q&%71=2"),
        (ONLY_Q, "größe=1".encode(), "größe=1".encode()),
        (ONLY_Q, b"gr%C3%B6%C3%9Fe=1&gr%F6%DFe=1", b"gr%C3%B6%C3%9Fe=1"),
        (Rule(query=[]), b"q=1&&", b""),
        (Rule(ignore_query=["*"]), b"q=1&&", b""),
        (Rule(ignore_query=["a+b"]), b"a+b=1&a%2Bb=2", b"a+b=1"),
    ],
)
def test_query(rule: Rule, query: bytes, expected: bytes) -> None:
    assert fold_query(query, compile_rule(rule)) == expected


@untimed
@given(query=OCTETS)
def test_a_folded_query_is_what_was_sent_but_for_pieces(query: bytes) -> None:
    for rule in (IGNORE_UTM, ONLY_Q):
        compiled = compile_rule(rule)
        found = fold_query(query, compiled)
        assert fold_query(found, compiled) == found
        pieces = iter(query.split(b"&"))
        assert all(piece in pieces for piece in found.split(b"&") if piece)


# --- Accept-Encoding --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (b"", None),
        (b"identity", None),
        (b"gzip", b"gzip"),
        (b"GZip", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"gzip;q=0, x-gzip", None),
        (b"deflate, gzip;q=0.5", b"gzip"),
        (b"gzip;q=0", None),
        (b"gzip;q=0.000, br", None),
        (b"gzip;q=x", None),
        (b"br", None),
        (b"br, gzip", b"gzip, br"),
        (b"gzip, deflate, br, zstd", b"gzip, br, zstd"),
        (b"gzip, zstd", b"gzip"),
        (b"gzip, br;q=0, zstd", b"gzip"),
        (b"*", b"gzip, br, zstd"),
        (b"*;q=0", None),
        (b"gzip, *;q=0", b"gzip"),
        (b"*, br;q=0", b"gzip"),
        # Of repeats, the first.
        (b"gzip;q=0, gzip", None),
    ],
)
def test_accept_encoding(value: bytes | None, expected: bytes | None) -> None:
    assert fold_accept_encoding(value) == expected


CODINGS = st.lists(
    st.sampled_from([b"gzip", b"br", b"zstd", b"*", b"x-gzip", b"identity", b";q=0", b";q=1", b","])
).map(b"".join)


@untimed
@given(value=st.one_of(OCTETS, CODINGS))
def test_v06_at_most_four_values_whatever_is_sent(value: bytes) -> None:
    found = fold_accept_encoding(value)
    assert found in (None, b"gzip", b"gzip, br", b"gzip, br, zstd")
    assert fold_accept_encoding(found) == found


# --- Accept-Language --------------------------------------------------------------------------

LANGUAGES = (b"en", b"de-at", b"de")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (b"", None),
        (b"de", b"de"),
        (b"DE-at", b"de-at"),
        (b"de-CH", b"de"),
        (b"en-GB,en;q=0.9,de;q=0.8", b"en"),
        (b"fr, de;q=0.5, en;q=0.7", b"en"),
        (b"fr", None),
        (b"fr, *", b"en"),
        (b"de;q=0, en", b"en"),
        (b"de;q=0", None),
        (b"d", None),
        (b"english", None),
        (b"en;q=0.5, de-at;q=0.5", b"en"),
    ],
)
def test_languages_of_a_rule(value: bytes | None, expected: bytes | None) -> None:
    assert fold_accept_language(value, LANGUAGES) == expected


def test_a_range_matches_what_begins_with_it() -> None:
    assert fold_accept_language(b"zh", (b"en", b"zh-hant", b"zh-hans")) == b"zh-hant"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (b"", b""),
        (b"en-US, DE ;q=0.5", b"en-us,de;q=0.5"),
        (b"de,en", b"de,en"),
        (b"en,de", b"de,en"),
        (b"en,de;q=0.5,fr", b"en,fr,de;q=0.5"),
        (b"de;q=0.5,en;q=0.9,*;q=0.1", b"en;q=0.9,de;q=0.5,*;q=0.1"),
    ],
)
def test_without_them_case_and_space_are_folded(
    value: bytes | None, expected: bytes | None
) -> None:
    assert fold_accept_language(value, ()) == expected


@untimed
@given(value=OCTETS, languages=st.sampled_from([(), LANGUAGES, (b"de-at", b"de", b"a")]))
def test_what_was_folded_folds_to_itself(value: bytes, languages: tuple[bytes, ...]) -> None:
    found = fold_accept_language(value, languages)
    assert fold_accept_language(found, languages) == found
    assert not languages or found is None or found in languages


# --- Forwarded --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", None),
        (b"for=192.0.2.1", None),
        (b"for=192.0.2.1;host=a.example;proto=https", b'host="a.example";proto="https"'),
        (b"Host=a , for=x, PROTO=http;by=y", b'host="a", proto="http"'),
        (b'host="a\\"b"', b'host="a\\"b"'),
        (b'host="a\\\\"', b'host="a\\\\"'),
        (b'host=""', b'host=""'),
        (b"host=a;host=b", b"host=a;host=b"),
        (b"host = a", b"host = a"),
        (b"for=1;;host=a", b'host="a"'),
    ],
)
def test_forwarded(value: bytes, expected: bytes | None) -> None:
    assert fold_forwarded(value) == expected


FORWARDED = st.lists(
    st.sampled_from(
        [b"host=", b"proto=", b"for=", b"a", b'"', b"\\", b";", b",", b" ", b'"a,;\\""']
    )
).map(b"".join)


@untimed
@given(value=st.one_of(OCTETS, FORWARDED))
def test_what_was_folded_of_forwarded_folds_to_itself(value: bytes) -> None:
    found = fold_forwarded(value)
    assert found is None or fold_forwarded(found) == found


# --- cookies ----------------------------------------------------------------------------------

NAMES = frozenset({b"lang", b"ab"})


@pytest.mark.parametrize(
    ("value", "names", "expected"),
    [
        (None, NAMES, []),
        (b"lang=de", frozenset(), []),
        (
            b"sid=1; lang=de;ab=2 ; lang=en",
            NAMES,
            [(b"lang", b"de"), (b"ab", b"2"), (b"lang", b"en")],
        ),
        (b"Lang=de; LANG=de; lang", NAMES, []),
        (b'lang="d;ab=e"', NAMES, [(b"lang", b'"d'), (b"ab", b'e"')]),
        (b"lang=;x", NAMES, [(b"lang", b"")]),
        (b"lang=de; " + b"x" * 40_000, NAMES, []),
    ],
)
def test_keyed_cookies(
    value: bytes | None, names: frozenset[bytes], expected: list[tuple[bytes, bytes]]
) -> None:
    assert keyed_cookies(value, names) == expected


@pytest.mark.parametrize(
    ("headers", "cookies", "hides"),
    [
        ({}, [], False),
        ({"Cookie": "sid=1"}, [], True),
        ({"Cookie": ""}, [], True),
        ({"Cookie": "lang=de"}, [], True),
        ({"Cookie": "lang=de"}, ["lang"], False),
        ({"Cookie": ""}, ["lang"], False),
        ({"Cookie": "lang=de; lang=en"}, ["lang"], False),
        ({"Cookie": "lang=de; sid=1"}, ["lang"], True),
        ({"Cookie": "lang=de; lang"}, ["lang"], True),
        ({"Cookie": "lang=de", "Authorization": "x"}, ["lang"], True),
        ({"Authorization": "x"}, ["lang"], True),
        ({"X-Amzn-Oidc-Data": "x"}, [], True),
    ],
)
def test_what_hides_a_credential(headers: Headers, cookies: list[str], hides: bool) -> None:
    settings = under(ttl=60, cookies=cookies)
    head = request(headers=headers)
    screened = looked_up(head, settings)
    assert screened.compiled is not None
    assert hides_credentials(head, screened.shape, screened.compiled) is hides
    assert folded(head, settings).hidden is hides


# --- the whole request ------------------------------------------------------------------------

CLIENT = {
    "Accept-Encoding": "gzip, deflate, br",
    "Accept-Language": "de, en;q=0.5",
    "Cookie": "sid=1; lang=de",
    "Authorization": "Basic YTpi",
    "If-None-Match": '"a"',
    "If-Modified-Since": "now",
    "If-Range": '"a"',
    "Forwarded": "for=1;host=a",
    "X-A": "1",
}


def shown(found: Folded) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in found.head.fields.items()}


def test_without_a_rule_only_what_selects_is_folded() -> None:
    found = folded(request("/x?utm_a=1", CLIENT))
    assert shown(found) == {
        "host": "shop.example",
        "cookie": "sid=1; lang=de",
        "authorization": "Basic YTpi",
        "if-none-match": '"a"',
        "if-modified-since": "now",
        "if-range": '"a"',
        "x-a": "1",
        "accept-encoding": "gzip, br",
        "accept-language": "de,en;q=0.5",
        "forwarded": 'host="a"',
    }
    assert found.replaced == {
        b"accept-encoding": b"gzip, br",
        b"accept-language": b"de,en;q=0.5",
        b"forwarded": b'host="a"',
    }
    assert (found.head.query, found.hidden) == (b"utm_a=1", False)


def test_under_a_rule_with_a_ttl_it_is_anonymous() -> None:
    settings = under(ttl=60, languages=["en"], cookies=["lang"], ignore_query=["utm_*"])
    found = folded(request("/x?utm_a=1&b=2", CLIENT), settings)
    assert shown(found) == {
        "host": "shop.example",
        "x-a": "1",
        "accept-encoding": "gzip, br",
        "accept-language": "en",
        "forwarded": 'host="a"',
        "cookie": "lang=de",
    }
    assert found.replaced[b"authorization"] is None
    assert (found.head.query, found.hidden) == (b"b=2", True)


@pytest.mark.parametrize("rule", [{}, {"ttl": 60, "anonymous": False}, {"cookies": ["lang"]}])
def test_any_other_rule_leaves_credentials_and_conditions(rule: dict[str, object]) -> None:
    headers = {name: CLIENT[name] for name in ("If-None-Match", "X-A")}
    if "ttl" not in rule:
        headers["Cookie"] = CLIENT["Cookie"]
    found = folded(request(headers=headers), under(**rule))
    assert found.replaced == {}
    assert not found.hidden


def test_nothing_is_replaced_by_what_it_was() -> None:
    headers = {"Accept-Encoding": "gzip", "Accept-Language": "en", "Cookie": "lang=de"}
    found = folded(request(headers=headers), under(ttl=60, cookies=["lang"]))
    assert found.replaced == {}
    assert found.head == request(headers=headers)


def test_forwarded_is_the_app_s_where_it_is_not_keyed() -> None:
    found = folded(request(headers={"Forwarded": "for=1"}), Settings(key_fields=[]))
    assert found.replaced == {}
    assert folded(request(headers={"Forwarded": "for=1"})).replaced == {b"forwarded": None}


@pytest.mark.parametrize("cookie", ["sid=1", "sid=1; x", ""])
def test_named_cookies_are_all_that_is_shown(cookie: str) -> None:
    # Also where Cookie is no credential by the settings.
    settings = Settings(
        credential_fields=["X-API-Key"], paths={"/x": Rule(ttl=60, cookies=["lang"])}
    )
    assert b"cookie" not in folded(request(headers={"Cookie": cookie}), settings).head.fields
    cookie += "; lang=de"
    found = folded(request(headers={"Cookie": cookie}), settings)
    assert found.head.fields[b"cookie"] == b"lang=de"


FIELDS = st.dictionaries(
    st.sampled_from(
        [name.lower().encode() for name in CLIENT] + [b"x-forwarded-host", b"x-api-key"]
    ),
    st.one_of(OCTETS.map(lambda value: value.replace(b"\0", b"")), FORWARDED, CODINGS),
)
RULES = [
    Settings(),
    under(),
    under(ttl=60),
    under(ttl=60, languages=["de-at", "de"], cookies=["lang", "a"], ignore_query=["a*"]),
    under(query=["a"], cookies=["lang"]),
]
SELECTING = (b"accept-encoding", b"accept-language", b"forwarded", b"x-a")


@untimed
@example(fields={b"accept-language": b';"a,;\\"",host="'}, query=b"")
@given(fields=FIELDS, query=OCTETS.map(lambda octets: octets.replace(b"\0", b"")))
def test_the_key_of_what_the_app_sees_is_the_key_of_what_was_sent(
    fields: dict[bytes, bytes], query: bytes
) -> None:
    head = request()._replace(query=query)
    head = head._replace(fields={**head.fields, **fields})
    for settings in RULES:
        screened = looked_up(head, settings)
        found = folded(head, settings)
        again = looked_up(found.head, settings)
        assert again.key == screened.key
        assert again.target == screened.target
        assert folded(found.head, settings).head == found.head
        compiled = screened.compiled
        assert key_of(screened.target, found.head, again.shape, compiled) == key_of(
            screened.target, head, screened.shape, compiled
        )
        assert nominated_values(SELECTING, found.head, compiled) == tuple(
            (name, found.head.fields.get(name)) for name in SELECTING
        )
