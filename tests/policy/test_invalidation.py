"""RFC 9111 §4.4, RFC 9875 §3: what a successful unsafe request spoils."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_cache.model import ResponseHead
from asgi_cache.policy.grouping import MAX_GROUPS
from asgi_cache.policy.invalidation import MAX_URL_BYTES, is_unsafe, targets_to_invalidate
from asgi_cache.policy.keys import EPOCH, target_stamp
from asgi_cache.settings import Rule, Settings
from tests.policy.builders import (
    OCTETS,
    PLAIN,
    TEXTS,
    any_headers,
    looked_up,
    request,
    respond_with,
    untimed,
)

if TYPE_CHECKING:
    from asgi_cache.model import Line
    from tests.policy.builders import Headers

OWN = b"tshop.example\0/x\0a=1"


def spoiled(headers: Headers, *, status: int = 200, settings: Settings = PLAIN) -> list[bytes]:
    head = request("/x?a=1", method="POST")
    return list(targets_to_invalidate(head, respond_with(status, headers), settings))


@pytest.mark.parametrize(
    ("method", "unsafe"),
    [
        *[(method, True) for method in ("POST", "PUT", "PATCH", "DELETE", "PURGE", "BAN", "MOVE")],
        *[(method, False) for method in ("GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND")],
        # Unknown, as methods are case-sensitive.
        ("get", True),
        ("", True),
        ("\ud800", True),
    ],
)
def test_unknown_methods_are_unsafe(method: str, unsafe: bool) -> None:
    assert is_unsafe(method) is unsafe


@pytest.mark.parametrize("status", [0, 100, 199, 400, 404, 500, 599, 600])
def test_an_error_spoils_nothing(status: int) -> None:
    headers = {"Location": "/y", "Cache-Group-Invalidation": '"g"'}
    assert spoiled(headers, status=status) == []


@pytest.mark.parametrize("status", [200, 201, 204, 299, 302, 303, 399])
def test_anything_else_spoils_its_own_target(status: int) -> None:
    assert spoiled({}, status=status) == [OWN]


def test_the_target_is_the_one_that_a_get_has() -> None:
    settings = Settings(paths={"/x": Rule(ttl=60, query=["a"])})
    for target in ("/x?a=1", "/x?a=1&b=2", "/x?b", "/y?b=1"):
        names = targets_to_invalidate(
            request(target, method="PUT", host="SHOP.example"), respond_with(204), settings
        )
        assert names == (target_stamp(looked_up(request(target), settings).target),)
    assert spoiled({}, settings=Settings(paths={"/x": False})) == [OWN]


@pytest.mark.parametrize("host", [None, "", "a b", "a, b"])
def test_without_a_valid_host_nothing(host: str | None) -> None:
    head = request(method="POST", host=host)
    assert targets_to_invalidate(head, respond_with(200), PLAIN) == ()


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("/y", b"/y\0"),
        ("/y?b=2#top", b"/y\0b=2"),
        ("y", b"/y\0"),
        ("?b", b"/x\0b"),
        ("../y", b"/y\0"),
        ("http://shop.example/y", b"/y\0"),
        ("https://SHOP.example/y", b"/y\0"),
        ("//shop.example", b"/\0"),
        ("/\xc3\xa9\xff", b"/%C3%A9%FF\0"),
        # Of another authority never, nor what is no URL.
        ("http://other.example/y", None),
        ("//other.example/y", None),
        ("http://shop.example:80/y", None),
        ("http://shop.example@other.example/y", None),
        ("http://user@shop.example/y", None),
        ("http://[::1", None),
        ("http://x:99999/", None),
        ("http://\\shop.example/", None),
        ("ftp://shop.example/y", None),
        ("mailto:a@shop.example", None),
    ],
)
@pytest.mark.parametrize("name", ["Location", "Content-Location"])
def test_locations(name: str, value: str, target: bytes | None) -> None:
    expected = [] if target is None else [b"tshop.example\0" + target]
    assert spoiled({name: value}) == [OWN, *expected]


def test_each_location_once() -> None:
    headers = [("Content-Location", "/z"), ("Location", "/y"), ("Location", "/x?a=1")]
    headers += [("Location", "/w"), ("Content-Location", "/y")]
    names = [b"tshop.example\0/%b\0" % path for path in (b"y", b"w", b"z")]
    assert spoiled(headers) == [OWN, *names]


def test_a_location_below_root_path_has_the_rule_of_its_path() -> None:
    settings = Settings(paths={"/y": Rule(ttl=60, query=["a"])})
    head = request("/root/x", method="POST", root_path="/root")
    response = respond_with(200, {"Location": "/root/y?a=1&b=2"})
    assert targets_to_invalidate(head, response, settings) == (
        b"tshop.example\0/root/x\0",
        b"tshop.example\0/root/y\0a=1",
    )


def test_groups_of_this_authority_after_the_epoch() -> None:
    # I08: whoever reads the epoch after the groups must find it replaced.
    headers = [("Cache-Group-Invalidation", '"g", "h i"'), ("Location", "/y")]
    headers += [("Cache-Group-Invalidation", '"g"')]
    assert spoiled(headers) == [
        OWN,
        b"tshop.example\0/y\0",
        EPOCH,
        b"oshop.example\0g",
        b"oshop.example\0h i",
    ]


@pytest.mark.parametrize("value", ["", "g", '"g', '"g", 1', '("g")', '"' + "g" * 9000 + '"'])
def test_a_list_of_groups_that_is_none_spoils_none(value: str) -> None:
    assert spoiled({"Cache-Group-Invalidation": value}) == [OWN]


def test_groups_are_bounded() -> None:
    groups = ", ".join(f'"{n}"' for n in range(1000))
    assert len(spoiled({"Cache-Group-Invalidation": groups})) == 2 + MAX_GROUPS


def test_cache_groups_spoil_nothing() -> None:
    assert spoiled({"Cache-Groups": '"g"'}) == [OWN]


def test_no_more_is_resolved_than_a_target_may_be_long() -> None:
    long, longer = ["/" + "y" * size for size in (MAX_URL_BYTES - 3, MAX_URL_BYTES)]
    named = [target_stamp(b"shop.example\0%b\0" % url.encode()) for url in (long, "/z", "/w")]
    lines = [("Location", url) for url in (longer, long, "/z", "/w")]
    assert spoiled(lines) == [OWN, *named[:2]]
    assert spoiled([*lines, ("Content-Location", "/w")]) == [OWN, *named]


@untimed
@given(
    lines=any_headers([b"location", b"content-location", b"cache-group-invalidation"]),
    status=st.integers(),
    raw_path=OCTETS,
    path=TEXTS,
    query=OCTETS,
    root_path=TEXTS,
)
def test_whatever_the_app_sends_spoils_this_authority_only(
    lines: tuple[Line, ...],
    status: int,
    raw_path: bytes,
    path: str,
    query: bytes,
    root_path: str,
) -> None:
    head = request(method="POST")._replace(
        raw_path=raw_path, path=path, query=query, root_path=root_path
    )
    for code in (status, 200):
        names = targets_to_invalidate(head, ResponseHead(code, lines), PLAIN)
        assert len(set(names)) == len(names)
        assert all(name == EPOCH or name[1:].startswith(b"shop.example\0") for name in names)
