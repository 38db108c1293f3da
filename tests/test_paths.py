from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

import pytest
from starlette.convertors import CONVERTOR_TYPES, Convertor, register_url_convertor

from asgi_cache.errors import ConfigurationError
from asgi_cache.settings import paths
from asgi_cache.settings.paths import UNSEEN, Match, PathMatcher, compile_template, is_odd
from asgi_cache.settings.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RULE = Rule(ttl=60)
OTHER = Rule(ttl=5)


def match(
    templates: Mapping[str, Rule | Literal[False]], path: str, raw_path: bytes | None = None
) -> Match | None:
    raw = quote(path).encode() if raw_path is None else raw_path
    matcher = PathMatcher(templates)
    found = matcher.match(path, raw)
    assert matcher.match(path, raw) == found
    return found


MATCHED: list[tuple[str, str, dict[str, str]]] = [
    ("/", "/", {}),
    ("/products", "/products", {}),
    ("/products/{id}", "/products/1", {"id": "1"}),
    ("/products/{id}", "/products/é ?#", {"id": "é ?#"}),
    ("/products/{id}", "/products/100%", {"id": "100%"}),
    ("/products/{id:int}", "/products/007", {"id": "7"}),
    ("/products/{id:float}", "/products/1.50", {"id": "1.5"}),
    ("/static/{rest:path}", "/static/", {"rest": ""}),
    ("/static/{rest:path}", "/static/a/b.css", {"rest": "a/b.css"}),
    ("/{rest:path}", "/", {"rest": ""}),
    ("/{a}.{b}", "/x.tar.gz", {"a": "x.tar", "b": "gz"}),
    ("/{a:path}/x/{b:path}", "/1/x/2/x/3", {"a": "1/x/2", "b": "3"}),
    ("/a.c", "/a.c", {}),
    (
        "/{id:uuid}",
        "/0b4f5f2a-9c3e-4d0a-8a52-6d4f2d8e1a11",
        {"id": "0b4f5f2a-9c3e-4d0a-8a52-6d4f2d8e1a11"},
    ),
    ("/a/...", "/a/...", {}),
    ("/a/{x}", "/a/.hidden", {"x": ".hidden"}),
    ("/a/{x}", "/a/..b", {"x": "..b"}),
]


@pytest.mark.parametrize(("template", "path", "params"), MATCHED)
def test_a_path_that_matches(template: str, path: str, params: dict[str, str]) -> None:
    assert match({template: RULE}, path) == Match(template, RULE, params)
    found = match({template: False}, path)
    assert found is not None
    assert (found.template, found.rule) == (template, None)


UNMATCHED = [
    ("/products", "/products/"),
    ("/products", "/Products"),
    ("/products/", "/products"),
    ("/products/{id}", "/products/"),
    ("/products/{id}", "/products/1/2"),
    ("/products/{id:int}", "/products/x"),
    ("/products/{id:int}", "/products/\u0661"),
    ("/static/{rest:path}", "/static"),
    ("/a.c", "/abc"),
    ("/a", "/x/a"),
    ("/a", "/a/b"),
]


@pytest.mark.parametrize(("template", "path"), UNMATCHED)
def test_a_path_that_does_not_match(template: str, path: str) -> None:
    assert match({template: RULE}, path) is None
    assert match({template: False}, path) is None


def test_the_first_template_wins() -> None:
    templates: dict[str, Rule | Literal[False]] = {
        "/a/x": OTHER,
        "/a/{rest:path}": RULE,
        "/a/b": False,
        "/never": False,
        "/{rest:path}": OTHER,
    }
    assert match(templates, "/a/x") == Match("/a/x", OTHER, {})
    assert match(templates, "/a/b") == Match("/a/{rest:path}", RULE, {"rest": "b"})
    assert match(templates, "/never") == Match("/never", None, {})
    assert match(templates, "/other") == Match("/{rest:path}", OTHER, {"rest": "other"})


def test_no_templates_match_nothing() -> None:
    assert match({}, "/") is None
    assert match({}, "//") is None


# Decoded path, raw path: what a server or an application might read as another path.
ODD: list[tuple[str, bytes]] = [
    ("/a/./b", b"/a/./b"),
    ("/a/../b", b"/a/../b"),
    ("/a/..", b"/a/.."),
    ("/a/.", b"/a/%2e"),
    ("/..", b"/.."),
    ("//a", b"//a"),
    ("/a//b", b"/a//b"),
    ("/a//", b"/a//"),
    ("/a;v=1", b"/a;v=1"),
    ("/a;", b"/a%3B"),
    ("/a\\b", b"/a%5Cb"),
    ("/a\x00", b"/a%00"),
    ("/a\n", b"/a%0A"),
    ("/a\t", b"/a%09"),
    ("/a\x7f", b"/a%7F"),
    ("/a/b", b"/a%2Fb"),
    ("/a/b", b"/a%2fb"),
    ("/a%2fb", b"/a%252fb"),
    ("/%61", b"/%2561"),
    ("", b""),
    ("a", b"a"),
    ("*", b"*"),
    ("http://h/a", b"http://h/a"),
]


@pytest.mark.parametrize(("path", "raw_path"), ODD)
def test_an_odd_path_is_never_granted_a_ttl(path: str, raw_path: bytes) -> None:
    assert is_odd(path, raw_path)
    templates = {"/{rest:path}": RULE, "/{a}": RULE, "/{a}/{b}": RULE, "/a": RULE}
    assert match(templates, path, raw_path) is None


@pytest.mark.parametrize(("path", "raw_path"), ODD)
def test_an_odd_path_is_false_where_all_are(path: str, raw_path: bytes) -> None:
    templates: dict[str, Rule | Literal[False]] = {"/a": RULE, "/{rest:path}": False}
    assert match(templates, path, raw_path) == Match("/{rest:path}", None, {})


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [
        ("/a", b"/a"),
        ("/a.b/c-d_e~f", b"/a.b/c-d_e~f"),
        ("/é%", b"/%C3%A9%25"),
        ("/a:b@c", b"/a:b@c"),
    ],
)
def test_an_ordinary_path_is_not_odd(path: str, raw_path: bytes) -> None:
    assert not is_odd(path, raw_path)


DISGUISES: list[tuple[str, bytes | None]] = [
    ("/admin/x", b"/admin%2Fx"),
    ("//admin/x", None),
    ("///admin///x", None),
    ("/admin//x", None),
    ("/./admin/x", None),
    ("/x/../admin/y", None),
    ("/x/y/../../admin/z", None),
    ("/../admin/x", None),
    ("/x//../admin/y", None),
    ("/x/%2e%2e/admin/y", b"/x/%252e%252e/admin/y"),
    ("/x/..;/admin/y", None),
    ("/x/..;a=b/admin/y", None),
    ("/admin;v=1/x", None),
    ("/;v=1/admin/x", None),
    ("/admin/x;v=1", None),
    ("\\admin\\x", None),
    ("/\\admin/x", None),
    ("/x\\..\\admin\\y", None),
    ("/x\\../admin/y", None),
    ("/admin\\x", None),
    ("/admin/\x00", None),
    ("/admin/x\x00.css", None),
    ("/admin/x\n", None),
    ("/adm\tin/x", None),
    ("/a\x00dmin/x", None),
    ("admin/x", None),
    ("/%61dmin/x", b"/%2561dmin/x"),
    ("/%2561dmin/x", b"/%252561dmin/x"),
    ("/x%2f..%2fadmin%2fy", b"/x%252f..%252fadmin%252fy"),
    ("//admin", None),
    ("/admin/.", None),
    ("/admin/..", None),
    ("/x/../admin", None),
    ("/admin;", None),
    ("/%2e%2e;/%5cadmin\x00//y", None),
    ("/a" * 600 + "//", None),
    ("/" + "".join(f";{n}/../\\%2561\t" for n in range(60)), None),
]


@pytest.mark.parametrize(("path", "raw_path"), DISGUISES)
def test_a_disguise_does_not_hide_a_path_that_is_never_cached(
    path: str, raw_path: bytes | None
) -> None:
    templates: dict[str, Rule | Literal[False]] = {
        "/{rest:path}": RULE,
        "/other": False,
        "/admin/{rest:path}": False,
    }
    found = match(templates, path, raw_path)
    assert found is not None
    assert found.rule is None
    assert found.params == {}


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [
        ("/account/.", None),
        ("/account//", None),
        ("//account", None),
        ("/account;jsessionid=1", None),
        ("/x/../account", None),
        ("/account/x/..", None),
        ("/account\x00.css", None),
        ("/account%00.css", b"/account%2500.css"),
        ("\\account", None),
    ],
)
def test_a_single_path_is_recognised_in_disguise_too(path: str, raw_path: bytes | None) -> None:
    assert match({"/account": False}, path, raw_path) == Match("/account", None, {})


@pytest.mark.parametrize("path", ["/shop//x", "/shop/../x", "/administrators;x", "/x/admin/..//y"])
def test_an_odd_path_that_is_none_of_them_has_no_match(path: str) -> None:
    assert match({"/admin/{rest:path}": False, "/shop/{rest:path}": RULE}, path) is None


TEMPLATES_REFUSED: list[tuple[object, str]] = [
    ("", "begins with '/'"),
    ("products", "begins with '/'"),
    ("{rest:path}", "begins with '/'"),
    (b"/a", "begins with '/'"),
    (None, "begins with '/'"),
    ("/{a}/{a}", "each parameter once, and {a} occurs twice"),
    ("/{a}/{a:int}", "each parameter once"),
    ("/{a:integer}", "str, path, int, float, uuid, not 'integer'"),
    ("/{a", "braces only as in {name} or {name:int}"),
    ("/a}", "braces only"),
    ("/{}", "braces only"),
    ("/{1a}", "braces only"),
    ("/{a-b}", "braces only"),
    ("/{a:}", "braces only"),
    ("/{{a}}", "braces only"),
    ("/search?q={q}", "parameters of the query belong in the rule's 'query'"),
    ("//a", "without dot segments"),
    ("/a/../b", "without dot segments"),
    ("/a/.", "without dot segments"),
    ("/a;b", "';'"),
    ("/a\\b", "without dot segments"),
    ("/a\n", "control characters"),
    ("/a%20b", "percent-encoding"),
]


@pytest.mark.parametrize(("template", "allowed"), TEMPLATES_REFUSED)
@pytest.mark.parametrize("rule", [RULE, False])
def test_a_wrong_template_is_refused(
    template: object, allowed: str, rule: Rule | Literal[False]
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        PathMatcher({template: rule})  # type: ignore[dict-item]
    text = str(refused.value)
    assert text.startswith("the path template ")
    assert (repr(template) if isinstance(template, str) else type(template).__name__) in text
    assert allowed in text


def test_a_template_knows_its_parameters() -> None:
    assert compile_template("/{a}/b/{c:path}").parameters == {"a", "c"}
    assert compile_template("/a").parameters == frozenset()


class Greedy(Convertor[str]):
    regex = "(?P<inner>[a-z/]+)"


@pytest.fixture
def _convertor() -> Iterator[None]:
    register_url_convertor("greedy", Greedy())
    yield
    del CONVERTOR_TYPES["greedy"]


@pytest.mark.usefixtures("_convertor")
def test_a_convertor_of_the_application_can_be_used() -> None:
    assert match({"/{a:greedy}": RULE}, "/a/b") == Match("/{a:greedy}", RULE, {"a": "a/b"})


@pytest.mark.parametrize(
    ("template", "competing"),
    [
        ("/a", 1),
        ("/{a}/{b}/{c:int}", 1),
        ("/{a}/{rest:path}", 1),
        ("/{rest:path}/{a}", 1),
        ("/{a}.{b}", 2),
        ("/{a:path}-{b}", 2),
        ("/{a:path}/x/{b:path}", 2),
        ("/{a:path}/{b}.{c}/{d:path}", 3),
    ],
)
def test_parameters_that_compete_limit_the_length_of_a_path(template: str, competing: int) -> None:
    limits = {1: 1_000_000, 2: 1414, 3: 181}
    assert compile_template(template).longest_path == limits[competing]


def test_a_path_on_which_matching_might_take_too_long_is_not_tried() -> None:
    template = "/{a:path}/x/{b:path}"
    fits, too_long = "/a/x/".ljust(1414, "b"), "/a/x/".ljust(1415, "b")
    found = match({template: RULE}, fits)
    assert found is not None
    assert found.rule is RULE
    assert match({template: RULE}, too_long) is None
    # What is never cached stays so: an attacker chooses how long a path is.
    assert match({template: False}, too_long) == Match(template, None, {})
    triple: dict[str, Rule | Literal[False]] = {"/{a}-{b}-{c}": False}
    assert match(triple, "/" + "x" * 100 + "//" + "y" * 100) == Match("/{a}-{b}-{c}", None, {})


def test_a_path_is_remembered_with_its_raw_path() -> None:
    matcher = PathMatcher({"/a/{x}": RULE})
    key = (b"/a/b", "/a/b")
    assert matcher.remembered.get(key, UNSEEN) is UNSEEN
    found = matcher.match("/a/b", b"/a/b")
    assert matcher.remembered.get(key, UNSEEN) is found
    assert matcher.match("/a/b", b"/a/b") is found
    # The same decoded path came in another way, and the same raw path under another root_path.
    assert matcher.match("/a/b", b"/a%2Fb") is None
    assert matcher.match("/b", b"/a/b") is None
    assert matcher.remembered == {key: found, (b"/a%2Fb", "/a/b"): None, (b"/a/b", "/b"): None}


def test_that_nothing_matched_is_remembered() -> None:
    matcher = PathMatcher({})
    assert matcher.match("/a", b"/a") is None
    assert matcher.remembered.get((b"/a", "/a"), UNSEEN) is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MOST_REMEMBERED", 3)
    matcher = PathMatcher({"/{x}": RULE})
    remembered = matcher.remembered
    for number in range(10):
        assert matcher.match(f"/{number}", b"/%d" % number) is not None
        assert len(remembered) <= 3
    assert matcher.remembered is remembered


def test_a_long_path_is_not_remembered() -> None:
    matcher = PathMatcher({"/{x}": RULE})
    path = "/" + "x" * (paths.LONGEST_REMEMBERED // 2)
    assert matcher.match(path, path.encode()) is not None
    assert matcher.remembered == {}
    path = path[:-1]
    assert matcher.match(path, path.encode()) is not None
    assert list(matcher.remembered) == [(path.encode(), path)]


def test_a_line_feed_at_the_end_does_not_pass_an_anchor() -> None:
    assert compile_template("/a").pattern.match("/a\n")
    assert match({"/a": RULE}, "/a\n") is None
