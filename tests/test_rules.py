from __future__ import annotations

from typing import Any

import pytest

from asgi_cache.errors import ConfigurationError
from asgi_cache.settings import Settings
from asgi_cache.settings.rules import Rule, rules_of


def refusal(**fields: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        Rule(**fields)
    assert refused.value.__context__ is None
    return str(refused.value)


DEFAULTS: dict[str, object] = {
    "ttl": None,
    "browser_ttl": None,
    "public": False,
    "stale_while_revalidate": None,
    "stale_if_error": None,
    "query": None,
    "ignore_query": (),
    "vary": (),
    "languages": (),
    "groups": (),
    "statuses": (),
    "override": False,
    "anonymous": True,
    "cookies": (),
}


def test_the_defaults_are_the_designs() -> None:
    assert dict(Rule()) == DEFAULTS


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_field_says_what_it_is(name: str) -> None:
    assert Rule.model_fields[name].description


def test_a_rule_is_frozen_and_can_be_a_key() -> None:
    rule = Rule(ttl=60, groups=["a"])
    with pytest.raises(ValueError, match="frozen"):
        rule.ttl = 5
    assert {rule: 1}[Rule(ttl=60.0, groups=("a",))] == 1


ACCEPTED: list[tuple[str, object, object]] = [
    ("ttl", 0, 0.0),
    ("ttl", 60, 60.0),
    ("ttl", None, None),
    ("browser_ttl", 0, 0.0),
    ("public", True, True),
    ("stale_while_revalidate", 1.5, 1.5),
    ("stale_if_error", 2**31 - 1, 2.0**31 - 1),
    ("query", [], ()),
    ("query", ["q", "page", "filter[a]"], ("q", "page", "filter[a]")),
    ("query", None, None),
    ("ignore_query", ("utm_*",), ("utm_*",)),
    ("vary", ["Accept"] * 8, ("Accept",) * 8),
    ("languages", ["en", "de-AT", "zh-Hant-TW"], ("en", "de-AT", "zh-Hant-TW")),
    ("groups", ["product:{id}", "all products"], ("product:{id}", "all products")),
    ("statuses", [200, 404, 599], (200, 404, 599)),
    ("override", True, True),
    ("anonymous", False, False),
    ("cookies", ["locale"], ("locale",)),
]


@pytest.mark.parametrize(("name", "given", "expected"), ACCEPTED)
def test_a_right_value_is_taken(name: str, given: object, expected: object) -> None:
    fields: dict[str, Any] = {name: given}
    value: Any = getattr(Rule(**fields), name)
    assert value == expected
    assert type(value) is type(expected)


SECONDS = "a number of seconds from 0 to 2147483647, or None"

NUMBERS_REFUSED: list[object] = [
    *(True, False, "60", -1, -0.001, float("nan"), float("inf"), 2**31, [], {})
]

REFUSED: list[tuple[str, object, str, str]] = [
    *(
        (name, value, "", SECONDS)
        for name in ("ttl", "browser_ttl", "stale_while_revalidate", "stale_if_error")
        for value in NUMBERS_REFUSED
    ),
    *(
        (name, value, repr(value), "True or False")
        for name in ("public", "override", "anonymous")
        for value in (1, 0, None, "true")
    ),
    *((name, "abc", "'abc'", "a list of ") for name in ("query", "ignore_query", "vary")),
    *((name, "abc", "'abc'", "a list of ") for name in ("languages", "groups", "cookies")),
    *((name, {"a"}, "<builtins.set>", "a list of ") for name in ("query", "vary", "groups")),
    ("statuses", "200", "'200'", "a list of status codes from 200 to 599"),
    ("query", [""], "['']", "names of query parameters; '' is not one"),
    ("query", ["\ud800"], "", "names of query parameters"),
    ("query", [1], "[1]", "names of query parameters; 1 is not one"),
    ("ignore_query", None, "None", "a list of glob patterns"),
    ("vary", ["*"], "['*']", "'*' would make every response unusable"),
    ("vary", ["Accept", "COOKIE"], "['Accept', 'COOKIE']", "'COOKIE' carries them"),
    ("vary", ["Authorization"], "['Authorization']", "without credentials"),
    ("vary", ["Proxy-Authorization"], "['Proxy-Authorization']", "without credentials"),
    ("vary", ["Accept"] * 9, "", "at most 8 field names"),
    ("vary", ["Accept Language"], "", "'Accept Language' is not one"),
    ("languages", ["*"], "['*']", "language tags; '*' is not one"),
    ("languages", ["en_US"], "['en_US']", "'en_US' is not one"),
    *(
        ("groups", [group], repr(group), "braces only as in 'product:{id}'")
        for group in ("", "é", "a\n", "{", "a}", "{}", "{a.b}", "{a[0]}", "{a!r}", "{a:x}", "{{a}}")
    ),
    *(
        ("statuses", [code], f"[{code!r}]", "from 200 to 599 other than 206 and 304")
        for code in (199, 600, 206, 304, True, "200", 200.0)
    ),
    ("cookies", ["a=b"], "['a=b']", "cookie names; 'a=b' is not one"),
    ("cookies", ["a;"], "['a;']", "cookie names"),
]


@pytest.mark.parametrize(("name", "value", "shown", "allowed"), REFUSED)
def test_a_wrong_value_is_refused(name: str, value: object, shown: str, allowed: str) -> None:
    text = refusal(**{name: value})
    assert text.startswith(f"Rule.{name} = ")
    assert shown in text
    assert allowed in text
    assert "\n" not in text


def test_query_excludes_ignore_query() -> None:
    assert "only one of query and ignore_query" in refusal(query=[], ignore_query=["a"])
    assert Rule(query=["a"], ignore_query=[]).query == ("a",)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("tll", "did you mean ttl?"), ("max_age", "allowed are ttl, browser_ttl"), ("a-b", "allowed")],
)
def test_an_unknown_field_is_refused(name: str, hint: str) -> None:
    text = refusal(**{name: 1})
    assert name in text
    assert hint in text


def test_every_problem_is_told() -> None:
    text = refusal(ttl=-1, tll=1, vary="Accept")
    assert [line.split()[0] for line in text.splitlines()] == ["Rule.tll:", "Rule.ttl", "Rule.vary"]


def test_a_copy_with_other_values_is_checked() -> None:
    rule = Rule(ttl=60, query=["q"])
    assert rule.model_copy(update={"ttl": 5}) == Rule(ttl=5, query=["q"])
    with pytest.raises(ConfigurationError, match=r"Rule\.ttl = -1"):
        rule.model_copy(update={"ttl": -1})


TABLE = "above 0 and up to 2147483647, false (never cached), or a rule"

PATHS_REFUSED: list[tuple[object, object, str, str, str]] = [
    # template, value, key, value as quoted, what is allowed
    ("/products/{id}", {"ttl": -1}, 'paths["/products/{id}"].ttl', "= -1", "from 0 to 2147483647"),
    ("/a", {"tll": 1}, 'paths["/a"].tll', "", "did you mean ttl?"),
    ("/a", {1: 1}, 'paths["/a"].', "'1'", "allowed are ttl"),
    ("/a", {"ttl": True}, 'paths["/a"].ttl', "= True", "a number of seconds"),
    ("/a", 0, 'paths["/a"]', "= 0", TABLE),
    ("/a", 0, 'paths["/a"]', "= 0", "{ ttl = 0 } caches, but validates each time"),
    ("/a", True, 'paths["/a"]', "= True", TABLE),
    ("/a", "60", 'paths["/a"]', "= '60'", TABLE),
    ("/a", -1, 'paths["/a"]', "= -1", TABLE),
    ("/a", float("nan"), 'paths["/a"]', "= nan", TABLE),
    ("/a", None, 'paths["/a"]', "= None", TABLE),
    ("/a", [60], 'paths["/a"]', "= [60]", TABLE),
    ("/a", Rule, 'paths["/a"]', "Rule>", TABLE),
    ("a", 60, 'paths["a"]', "'a'", "begins with '/'"),
    (1, 60, "paths[1]", "of type int", "begins with '/'"),
    ("/\ud800", -1, 'paths["/\\ud800"]', "= -1", TABLE),
    ('/"', -1, 'paths["/\\""]', "= -1", TABLE),
    ("/é", -1, 'paths["/é"]', "= -1", TABLE),
    ("/{a:b}", 60, 'paths["/{a:b}"]', "'b'", "str, path, int, float, uuid"),
    (
        "/p/{id}/{x:int}",
        {"groups": ["p:{ID}"]},
        'paths["/p/{id}/{x:int}"].groups',
        "'p:{ID}'",
        "the template has no parameter {ID}; allowed are {id}, {x}",
    ),
    (
        "/p",
        Rule(groups=["{id}"]),
        'paths["/p"].groups',
        "'{id}'",
        "{id}; allowed are groups without",
    ),
]


@pytest.mark.parametrize(("template", "value", "key", "shown", "allowed"), PATHS_REFUSED)
def test_a_wrong_path_is_refused(
    template: object, value: object, key: str, shown: str, allowed: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings(paths={template: value})
    text = str(refused.value)
    assert text.startswith(key)
    assert shown in text
    assert allowed in text
    assert "\n" not in text


def test_placeholders_of_groups_are_parameters_of_the_template() -> None:
    rules = rules_of({"/{a}/{b:path}": {"ttl": 1, "groups": ["{b}-{a}-{a}", "c"]}})
    assert rules == {"/{a}/{b:path}": Rule(ttl=1, groups=["{b}-{a}-{a}", "c"])}
