"""RFC 9111 §4.1, decisions 1, 2 and 8: targets, keys and slots that no two inputs share."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from asgi_cache.policy.decision import Decision, Refusal
from asgi_cache.policy.keys import (
    EPOCH,
    MAX_TARGET_BYTES,
    NAMESPACE,
    Target,
    custom_key,
    group_stamps,
    key_of,
    nominated_values,
    path_stamp,
    plain_values,
    target_of,
    target_stamp,
    variant_slots,
)
from asgi_cache.policy.reuse import Screened, Screening, screen
from asgi_cache.settings import Rule, Settings
from asgi_cache.settings.plan import AUTHORIZATION
from tests.policy.builders import (
    OCTETS,
    PLAIN,
    TEXTS,
    looked_up,
    request,
    under,
    untimed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgi_cache.model import RequestHead

SEPARATORS = [
    "",
    "a",
    "aa",
    "\0",
    "a\0",
    "\0a",
    "\x1e",
    "\x1f",
    ":",
    "{a}",
    "*",
    "/",
    "?",
    "#",
    "\n",
]
KEYED = ["X-Forwarded-Host", "X-Forwarded-Proto", "X-Host"]


def bypassed(head: RequestHead, settings: Settings = PLAIN) -> Refusal | None:
    screening = screen(head, settings)
    assert isinstance(screening, Screening)
    assert screening.decision is Decision.BYPASS
    return screening.refusal


# --- what is part of them ---------------------------------------------------------------------

SEPARATE = [
    # K01, K02, K03
    [request(host="a.example"), request(host="b.example")],
    [request(host=f"a.example{port}") for port in ("", ":80", ":443", ":1337", ":")],
    [request(scheme="http"), request(scheme="https")],
    [request("/a/x"), request("/a/x", root_path="/a"), request("/b/x", root_path="/b")],
    # K05
    [
        request(f"/x{query}")
        for query in ("", "?a=1&b=2", "?b=2&a=1", "?a=1&b=2&", "?a=+", "?a=%20")
    ],
    # K09: nothing is decoded, normalised or case-folded.
    [
        request(path)
        for path in (
            *("/k-", "/k45", "/K", "/%E2%84%AA", "/%e2%84%aa", "/%C3%A9", "/e%CC%81", "/\xe9"),
            *("/x", "/X", "//x", "/x/", "/./x", "/%78"),
        )
    ],
    # The unkeyed inputs: each is part of the key, and absent is not empty.
    [
        request(headers=headers)
        for headers in (
            *({}, {"X-Forwarded-Host": ""}, {"X-Forwarded-Host": "a"}, {"X-Host": "a"}),
            *({"X-Forwarded-Host": "A"}, {"X-Forwarded-Host": "a", "X-Host": ""}),
            {"X-Forwarded-Host": "a", "X-Host": "a"},
            # The name of one is the beginning of another's.
            *({"X-HTTP-Method-Override": "PUT"}, {"X-HTTP-Method": "-overridePUT"}),
            *({"Forwarded": "host=a"}, {"Forwarded": "host=b"}, {"Forwarded": "host=a;host=b"}),
        )
    ],
]


@pytest.mark.parametrize("heads", SEPARATE)
def test_what_makes_another_key(heads: list[RequestHead]) -> None:
    keys = [looked_up(head).key for head in heads]
    assert len(set(keys)) == len(heads)


@pytest.mark.parametrize("name", PLAIN.key_fields)
def test_p01_every_key_field_is_part_of_the_key(name: str) -> None:
    value = "host=a" if name == "Forwarded" else "a"
    assert looked_up(request(headers={name: value})).key != looked_up(request()).key


SAME = [
    [request(host="Shop.Example"), request(host="shop.EXAMPLE")],
    [request("/x"), request("/x?")],
    [request(headers={"Forwarded": "for=1"}), request()],
    [request(headers={"Forwarded": "HOST=a;for=2"}), request(headers={"Forwarded": 'host="a"'})],
    [request(headers={"User-Agent": "a"}), request(headers={"User-Agent": "b"})],
    [request(), request(method="HEAD")],
]


@pytest.mark.parametrize("heads", SAME)
def test_what_does_not(heads: list[RequestHead]) -> None:
    assert len({looked_up(head).key for head in heads}) == 1


def test_the_cookies_of_a_rule_are_part_of_the_key() -> None:
    settings = under(ttl=60, cookies=["lang", "ab"])

    def key(cookie: str | None) -> bytes:
        return looked_up(
            request(headers={} if cookie is None else {"Cookie": cookie}), settings
        ).key

    cookies = ["lang=", "lang=de", "lang=en", "ab=de", "lang=de; lang=en", "lang=en; lang=de"]
    assert len({key(cookie) for cookie in (None, *cookies)}) == len(cookies) + 1
    assert key("sid=1; lang=de") == key("lang=de; sid=2")
    # Only an anonymous fill hides the others.
    settings = under(cookies=["lang"])
    keys = {
        looked_up(request(headers={"Cookie": cookie, "X-Host": "a"}), settings).key
        for cookie in cookies
    }
    assert len(keys) == 1


def test_a_query_that_does_not_count_is_not_part_of_the_target() -> None:
    settings = under(ttl=60, ignore_query=["utm_*"])
    assert looked_up(request("/x?utm_a=1&b=2"), settings).target == b"shop.example\0/x\0b=2"
    assert looked_up(request("/x?utm_a=1&b=2")).target == b"shop.example\0/x\0utm_a=1&b=2"
    # K06: the cloaked parameter does not become one that counts.
    cloaked = looked_up(request("/x?x=1&utm_a=1;x=2"), settings)
    assert (cloaked.key, cloaked.query) == (looked_up(request("/x?x=1"), settings).key, b"x=1")


# --- no collisions (K08) ----------------------------------------------------------------------


def test_k08_no_two_requests_share_a_key() -> None:
    seen: dict[bytes, tuple[str, ...]] = {}
    parts = ["", "a", "\0", "a\0", ":", "fx-host\0a", "/"]
    for path, query, scheme, root, forwarded in product(parts, repeat=5):
        head = request()._replace(
            raw_path=b"/" + path.encode(), query=query.encode(), scheme=scheme, root_path=root
        )
        if forwarded:
            head = head._replace(fields={**head.fields, b"x-host": forwarded.encode()})
        screened = screen(head, PLAIN)
        if isinstance(screened, Screened):
            parts_of = (path, query, scheme, root, forwarded)
            assert seen.setdefault(screened.key, parts_of) == parts_of
    assert len(seen) == 4**5  # what contains a NUL is not looked up


def test_k08_no_two_sets_of_fields_share_a_key() -> None:
    seen: dict[bytes, tuple[str | None, ...]] = {}
    values = [None, *SEPARATORS]
    for chosen in product(values, repeat=3):
        headers = [
            (name, value) for name, value in zip(KEYED, chosen, strict=True) if value is not None
        ]
        screened = screen(request(headers=headers), PLAIN)
        if isinstance(screened, Screened):
            assert seen.setdefault(screened.key, chosen) == chosen
    assert len(seen) == (len(values) - 3) ** 3  # three of them contain a NUL


PARTS = st.one_of(st.sampled_from(SEPARATORS).map(str.encode), OCTETS)
KEY_INPUTS = st.fixed_dictionaries(
    {"path": PARTS, "query": PARTS, "scheme": TEXTS, "root": TEXTS},
    optional={"x-host": PARTS, "x-forwarded-host": PARTS, "lang": PARTS},
)


def key_from(parts: dict[str, bytes | str]) -> bytes | None:
    path, query, scheme, root = (parts[name] for name in ("path", "query", "scheme", "root"))
    assert isinstance(path, bytes)
    assert isinstance(query, bytes)
    head = request()._replace(
        raw_path=b"/" + path, query=query, scheme=str(scheme), root_path=str(root)
    )
    fields = dict(head.fields)
    for name in ("x-host", "x-forwarded-host"):
        if name in parts:
            fields[name.encode()] = bytes(parts[name])  # type: ignore[arg-type]
    if "lang" in parts:
        fields[b"cookie"] = b"lang=%b" % bytes(parts["lang"]).replace(b";", b"")  # type: ignore[arg-type]
    screened = screen(head._replace(fields=fields), COOKIE_RULE)
    return screened.key if isinstance(screened, Screened) else None


COOKIE_RULE = Settings(paths={"/x": Rule(ttl=60, cookies=["lang"])})


@untimed
@given(one=KEY_INPUTS, other=KEY_INPUTS)
def test_k08_no_two_different_inputs_share_a_key(
    one: dict[str, bytes | str], other: dict[str, bytes | str]
) -> None:
    key = key_from(one)
    assume(key is not None)
    assert key_from(dict(one)) == key
    if {**one, "lang": 0} != {**other, "lang": 0}:
        assert key_from(other) != key


STAMP_PARTS = ["", "a", "b", "ab", "\0", "a\0", "\0a", "t", "g", "o", "e", "n", "p", "é", "\ud800"]


def test_no_two_scopes_share_a_stamp() -> None:
    scopes: list[tuple[object, bytes]] = [("namespace", NAMESPACE), ("epoch", EPOCH)]
    hosts = [b"a", b"b", b"ab", b"a:80"]
    paths = [b"/", b"/a", b"/a/", b"/\x1f", b"/{a}", b"b/"]
    for host, path, query in product(hosts, paths, [b"", b"a", b"/"]):
        target = Target(host, path, query)
        scopes.append((target, target_stamp(target.text)))
        scopes.append((("path", host, path), path_stamp(host, path)))
    for host, group in product(hosts, STAMP_PARTS):
        named, owned = group_stamps(group, host)
        scopes += [(("group", group), named), (("group", host, group), owned)]
    distinct = dict(scopes)
    assert len(set(distinct.values())) == len(distinct)


@untimed
@given(one=TEXTS, other=TEXTS)
def test_a_custom_key_only_adds(one: str, other: str) -> None:
    key = looked_up(request()).key
    assert (custom_key(key, one) == custom_key(key, other)) is (one == other)
    assert custom_key(key, one).startswith(key)
    assert custom_key(key, one) != key
    assert custom_key(key, one) == custom_key(key, one.encode("utf-8", "surrogatepass"))


def test_a_custom_key_is_no_other_part() -> None:
    settings = under(ttl=60, cookies=["lang"])
    headers = {"X-Host": "a", "Cookie": "lang=a"}
    for name in ("X-Host", "Cookie"):
        screened = looked_up(request(headers={name: headers[name]}), settings)
        plain = looked_up(request(), settings).key
        added = screened.key.removeprefix(plain)
        assert added.startswith(b"\0")
        assert custom_key(plain, added[1:]) != screened.key
        assert custom_key(plain, added[2:]) != screened.key


@pytest.mark.parametrize("field", ["X-Host", "X-Forwarded-Host", "Cookie"])
def test_a_nul_is_not_looked_up(field: str) -> None:
    settings = under(ttl=60, cookies=["lang"])
    head = request(headers={field: "lang=a\0b"})
    assert bypassed(head, settings) is Refusal.PATH
    screened = looked_up(request(headers={field: "lang=ab"}), settings)
    fields = {**screened.request.fields, field.lower().encode(): b"lang=a\0b"}
    changed = screened.request._replace(fields=fields)
    assert key_of(screened.target, changed, screened.shape, screened.compiled) is None


# --- what is not looked up --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "refusal"),
    [
        # K11
        (request("/" + "a" * MAX_TARGET_BYTES), Refusal.TARGET_TOO_LONG),
        (request("/x?" + "a" * MAX_TARGET_BYTES), Refusal.TARGET_TOO_LONG),
        # K13
        (request("http://x/"), Refusal.PATH),
        (request("*"), Refusal.PATH),
        (request("@evil"), Refusal.PATH),
        (request("x"), Refusal.PATH),
        (request(""), Refusal.PATH),
        (request("x" * MAX_TARGET_BYTES), Refusal.PATH),
        (request("/a\0b"), Refusal.PATH),
        (request("/x?a\0b"), Refusal.PATH),
        (request(scheme="a\0b"), Refusal.PATH),
        (request("/a\0b/x", root_path="/a\0b"), Refusal.PATH),
        # K14
        (request(host=None), Refusal.HOST),
        (request(host=""), Refusal.HOST),
        (request(headers={"Host": "b.example"}), Refusal.HOST),
        (request(host="a/b?c"), Refusal.HOST),
        (request(host="a\r\nb"), Refusal.HOST),
        (request(host="a b"), Refusal.HOST),
        (request(host="a@b"), Refusal.HOST),
        (request(host="a\0"), Refusal.HOST),
        (request(host="\xe9.example"), Refusal.HOST),
        (request(host="x:99999"), Refusal.HOST),
        (request(host="[::1"), Refusal.HOST),
        (request(host="a" * 300), Refusal.HOST),
        (request(host="a" * 256), Refusal.HOST),
    ],
)
def test_odd_targets_and_hosts(head: RequestHead, refusal: Refusal) -> None:
    assert bypassed(head) is refusal


@pytest.mark.parametrize("host", ["a" * 255, "[::1]", "[::1]:80", "a:65535", "127.0.0.1", "a_b"])
def test_hosts(host: str) -> None:
    assert looked_up(request(host=host)).authority == host.encode()


def test_k11_the_longest_target() -> None:
    length = MAX_TARGET_BYTES - len(b"shop.example\0/\0")
    assert len(looked_up(request("/" + "a" * length)).target) == MAX_TARGET_BYTES
    assert bypassed(request("/" + "a" * (length + 1))) is Refusal.TARGET_TOO_LONG
    # What does not count is no part of it.
    settings = under(ttl=60, query=["q"])
    assert looked_up(request("/x?q=1&a=" + "a" * MAX_TARGET_BYTES), settings).query == b"q=1"


# --- URLs for people and in fields ------------------------------------------------------------


def text_of(url: str, settings: Settings = PLAIN, **options: object) -> bytes | None:
    target = target_of(url, settings, **options)  # type: ignore[arg-type]
    return None if target is None else target.text


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://a.example", b"a.example\0/\0"),
        ("https://A.Example/", b"a.example\0/\0"),
        ("//a.example/x", b"a.example\0/x\0"),
        ("http://a.example:80/x?a=1&b=?/#top", b"a.example:80\0/x\0a=1&b=?/"),
        ("http://a.example?a", b"a.example\0/\0a"),
        ("http://a.example/x?", b"a.example\0/x\0"),
        ("http://a.example//x/./y;z", b"a.example\0//x/./y;z\0"),
        ("http://[::1]:8000/x", b"[::1]:8000\0/x\0"),
        # As browsers and clients send it.
        ('http://a.example/é ü?é="', b"a.example\0/%C3%A9%20%C3%BC\0%C3%A9=%22"),
        ("http://a.example/%e9%C3%A9", b"a.example\0/%e9%C3%A9\0"),
        ("http://a.example/a[1]|b^c'd?f[x]={y}|z^'`", b"a.example\0/a[1]|b^c'd\0f[x]={y}|z^'`"),
        ("http://a.example/{x}`<>", b"a.example\0/%7Bx%7D%60%3C%3E\0"),
        ("http://a.example/\udcff\x01\x7f", b"a.example\0/%FF%01%7F\0"),
        # What names no target.
        ("", None),
        ("/x", None),
        ("a.example/x", None),
        ("mailto:a@a.example", None),
        ("ftp://a.example/x", None),
        ("javascript://a.example/x", None),
        ("http:///x", None),
        ("http://", None),
        ("http://[::1", None),
        ("http://[::1]x/", None),
        ("http://[v1.x]/", None),
        ("http://x:99999/", None),
        ("http://x:y/", None),
        ("http://user@a.example/", None),
        ("http://user:password@a.example/", None),
        ("http://a.example\\@b.example/", None),
        ("http://a\\b/", None),
        ("http://a%zz/", None),
        ("http://bücher.example/", None),
        ("http://a.example\u2100/", None),
        ("http://\ud800/", None),
        ("http://a.example/\ud800", None),
        ("http://a.example/?\ud800", None),
        ("http://a.example" + "a" * 300, None),
    ],
)
def test_urls(url: str, text: bytes | None) -> None:
    assert text_of(url) == text


BASE = Target(b"a.example", b"/p/q", b"r=1")


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("/x?y", b"a.example\0/x\0y"),
        ("x", b"a.example\0/p/x\0"),
        ("../x", b"a.example\0/x\0"),
        ("?s", b"a.example\0/p/q\0s"),
        ("", b"a.example\0/p/q\0r=1"),
        ("#top", b"a.example\0/p/q\0r=1"),
        ("//b.example/x", b"b.example\0/x\0"),
        ("https://b.example/x", b"b.example\0/x\0"),
        ("mailto:a@a.example", None),
        ("http://[::1", None),
    ],
)
def test_references(reference: str, text: bytes | None) -> None:
    assert text_of(reference, base=BASE) == text


@pytest.mark.parametrize("path", [b"@evil.example/x", b"*", b".evil/", b"", b":80/"])
def test_a_reference_stays_with_the_host_of_an_odd_path(path: bytes) -> None:
    assert text_of("/x", base=Target(b"a.example", path, b"")) == b"a.example\0/x\0"


def test_the_octets_of_a_base_are_kept() -> None:
    base = Target(b"a.example", b"/\xff/\xc3\xa9/x", b"\xfe")
    assert text_of("y", base=base) == b"a.example\0/%FF/%C3%A9/y\0"
    assert text_of("", base=base) == b"a.example\0/%FF/%C3%A9/x\0%FE"


MOUNTED = Settings(
    paths={"/p": Rule(query=["q"]), "/": Rule(query=[]), "/rootp": Rule(query=["x"])}
)


@pytest.mark.parametrize(
    ("url", "root_path", "text"),
    [
        ("//a/p?q=1&x=2", "", b"a\0/p\0q=1"),
        ("//a/%70?q=1&x=2", "", b"a\0/%70\0q=1"),
        ("//a/root/p?q=1&x=2", "", b"a\0/root/p\0q=1&x=2"),
        ("//a/root/p?q=1&x=2", "/root", b"a\0/root/p\0q=1"),
        ("//a/root/p?q=1&x=2", "/root/", b"a\0/root/p\0q=1"),
        ("//a/p?q=1&x=2", "/root", b"a\0/p\0q=1"),
        ("//a/root?q=1", "/root", b"a\0/root\0"),
        ("//a/?q=1", "/", b"a\0/\0"),
        ("//a/rootp?q=1&x=2", "/root", b"a\0/rootp\0x=2"),
    ],
)
def test_the_rule_of_a_url_s_path_folds_its_query(url: str, root_path: str, text: bytes) -> None:
    assert text_of(url, MOUNTED, root_path=root_path) == text


AGREEING = st.text(
    st.characters(exclude_characters="#?\\%.", exclude_categories=["Cs"]), max_size=20
)


@untimed
@given(path=AGREEING, query=AGREEING)
@example(path="a[1]{x}|^'~", query="filter[x]=1&{y}='|^`")
def test_a_purge_finds_what_a_client_asked_for_by_the_same_url(path: str, query: str) -> None:
    url = f"http://shop.example/{path}?{query}"
    assume(not re.search(r"[\t\r\n\x00-\x1f\x7f]", url))
    sent = httpx.URL(url)
    assume(sent.host == "shop.example")
    for settings in (PLAIN, under(ttl=60, ignore_query=["a*"])):
        head = request(sent.raw_path.decode("ascii"))
        assert text_of(url, settings) == looked_up(head, settings).target


@untimed
@given(url=TEXTS, reference=TEXTS, root_path=TEXTS, path=OCTETS, query=OCTETS)
def test_any_text_is_a_url_or_none(
    url: str, reference: str, root_path: str, path: bytes, query: bytes
) -> None:
    base = Target(b"shop.example", path, query)
    settings = under(ttl=60, query=["a"])
    found = [
        target_of(url, settings),
        target_of("http://" + url, settings),
        target_of("http://a.example/" + url, settings),
        target_of(reference, settings, base, root_path),
    ]
    for target in found:
        assert target is None or target.text.count(b"\0") == 2


# --- variants (§4.1, decision 8) --------------------------------------------------------------


def test_nominated_values() -> None:
    headers = {"Accept-Language": "DE, en", "X-A": " A ", "Accept-Encoding": "x"}
    head = request(headers=headers)
    names = (b"accept-encoding", b"accept-language", b"x-a", b"x-b")
    plain = (b"x-a", b" A "), (b"x-b", None)
    assert nominated_values(names, head, None) == (
        (b"accept-encoding", None),
        (b"accept-language", b"de,en"),
        *plain,
    )
    compiled = looked_up(head, under(languages=["fr", "de"])).compiled
    assert nominated_values(names, head, compiled)[1:] == ((b"accept-language", b"de"), *plain)


@pytest.mark.parametrize(
    ("nominated", "plain"),
    [
        ((), ()),
        ([(b"x-a", None), (b"x-b", b"")], [(b"x-a", None), (b"x-b", b"")]),
        ([(b"x-a", b" a ,\tb,, ")], [(b"x-a", b"a,b")]),
        ([(b"x-a", b'a, "b, c" ,d')], [(b"x-a", b'a,"b, c",d')]),
        ([(b"x-a", b"b,A")], [(b"x-a", b"b,A")]),
        # These have a normal form of their own, which apps see.
        ([(b"accept-encoding", b"gzip, br")], [(b"accept-encoding", b"gzip, br")]),
        ([(b"accept-language", b"a , b")], [(b"accept-language", b"a , b")]),
    ],
)
def test_plain_values(
    nominated: list[tuple[bytes, bytes | None]], plain: list[tuple[bytes, bytes | None]]
) -> None:
    found = plain_values(tuple(nominated))
    assert found == tuple(plain)
    assert plain_values(found) == found


NOMINATED = st.lists(st.tuples(OCTETS, st.one_of(st.none(), OCTETS)), max_size=8).map(tuple)


@untimed
@given(nominated=NOMINATED, slots=st.integers(2, 64))
def test_two_slots_that_differ(
    nominated: tuple[tuple[bytes, bytes | None], ...], slots: int
) -> None:
    first, second = found = variant_slots(nominated, slots)
    assert 1 <= first <= slots
    assert 1 <= second <= slots
    assert first != second
    assert variant_slots(nominated, slots) == found


def pairs_of(values: Iterable[tuple[tuple[bytes, bytes | None], ...]]) -> set[tuple[int, int]]:
    return {variant_slots(value, 32) for value in values}


def test_every_pair_of_slots_is_used() -> None:
    assert len(pairs_of(((b"a", b"%d" % n),) for n in range(20_000))) == 32 * 31


@pytest.mark.parametrize(
    "nominated",
    [
        [((b"a", None),), ((b"a", b""),), ((b"a", b"-"),), ((b"a-", None),), ()],
        [((b"a", b"b"), (b"c", b"d")), ((b"a", b"b1:c1:d"),), ((b"ab", b""), (b"c", b"d"))],
        [((b"a", b"bc"),), ((b"ab", b"c"),), ((b"abc", None),)],
        [((b"a", b""), (b"-", None)), ((b"a0:-", None),)],
    ],
)
def test_absent_and_empty_values_lie_apart(
    nominated: list[tuple[tuple[bytes, bytes | None], ...]],
) -> None:
    assert len(pairs_of(nominated)) == len(nominated)


def test_authorization_is_not_a_part_of_the_key() -> None:
    # A credential is hidden from a shared fill, or its response is not shared: never keyed.
    head = request(headers={AUTHORIZATION.decode(): "x"})
    assert looked_up(head).key == looked_up(request()).key
