"""The scopes of invalidation: what a response carries, and what a purge replaces."""

from __future__ import annotations

import pytest

import asgi_cache
from asgi_cache.policy.keys import (
    NAMESPACE,
    Target,
    group_stamps,
    path_stamp,
    target_stamp,
)
from asgi_cache.policy.scopes import group_names, purged_names, required_names

HOST = b"shop.example"
PLAIN = Target(HOST, b"/products/1", b"")
ASKED = Target(HOST, b"/products/1", b"page=2")


def test_what_every_response_carries() -> None:
    assert required_names(PLAIN, None) == (NAMESPACE, target_stamp(PLAIN.text))
    assert required_names(ASKED, None) == (
        NAMESPACE,
        target_stamp(ASKED.text),
        path_stamp(HOST, b"/products/1"),
    )


def test_a_rules_groups_with_the_parameters_of_the_path() -> None:
    rule = {"ttl": 60, "groups": ["product:{id}", "products", "products"]}
    settings = asgi_cache.Settings(paths={"/products/{id}": rule, "/off": False})
    match = settings.plan.matcher.match("/products/1", b"/products/1")
    names = required_names(PLAIN, match)
    assert names[:2] == required_names(PLAIN, None)
    assert names[2:] == group_stamps("product:1", HOST) + group_stamps("products", HOST)
    off = settings.plan.matcher.match("/off", b"/off")
    assert off is not None
    assert len(required_names(Target(HOST, b"/off", b""), off)) == 2


def test_each_group_once() -> None:
    assert group_names(["a", "b", "a"], HOST) == group_stamps("a", HOST) + group_stamps("b", HOST)


@pytest.mark.parametrize("target", [PLAIN, ASKED])
def test_a_purge_replaces_what_the_responses_carry(target: Target) -> None:
    """Of one query the target's stamp; of all queries what plain and asked responses carry."""
    assert purged_names([target], all_queries=False) == [target_stamp(target.text)]
    replaced = purged_names([target], all_queries=True)
    assert set(replaced) == {path_stamp(HOST, b"/products/1"), target_stamp(PLAIN.text)}
    for other in (PLAIN, ASKED):
        assert not set(replaced).isdisjoint(required_names(other, None))


def test_a_purge_of_several_targets() -> None:
    elsewhere = Target(HOST, b"/about", b"")
    assert purged_names([PLAIN, elsewhere], all_queries=False) == [
        target_stamp(PLAIN.text),
        target_stamp(elsewhere.text),
    ]
