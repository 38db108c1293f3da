"""ASGI scopes and messages as values: read without writing, total over what servers and apps do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache.messages import (
    anonymous_scope,
    combined,
    mounted_path,
    read_request,
    read_response,
    replaced_lines,
    with_handle,
    with_lines,
)
from asgi_cache.model import ResponseHead
from tests.driver import START, http_scope

if TYPE_CHECKING:
    from starlette.types import Message


# ------------------------------------------------------------------ requests


def test_a_request_as_a_server_gives_it() -> None:
    scope = http_scope("/a%20b?x=1", headers=[("accept", "*/*")], method="HEAD", scheme="https")
    request = read_request(scope)
    assert tuple(request) == (
        "HEAD",
        "https",
        "",
        "/a b",
        b"/a%20b",
        b"x=1",
        {b"host": b"shop.example", b"accept": b"*/*"},
    )
    assert request.path == "/a b"
    assert request._replace(path="/c").path == "/c"


def test_what_is_missing_reads_as_empty() -> None:
    request = read_request({"type": "http", "method": "GET", "path": "/"})
    assert request == ("GET", "http", "", "/", b"/", b"", {})


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [
        ("/a b", b"/a%20b"),
        ("/ü", b"/%C3%BC"),
        ("/50%", b"/50%25"),
        ("/a?b#c", b"/a%3Fb%23c"),
        ("/~user/(x)", b"/~user/(x)"),
        ("/\udcff", b"/%ED%B3%BF"),
        ("", b""),
    ],
)
def test_k12_a_raw_path_that_is_absent_is_made(path: str, raw_path: bytes) -> None:
    scope = {**http_scope(), "path": path}
    del scope["raw_path"]
    assert read_request(scope).raw_path == raw_path
    assert read_request({**scope, "raw_path": None}).raw_path == raw_path


@pytest.mark.parametrize(
    ("path", "raw_path", "root_path", "inside", "full"),
    [
        ("/shop/a", b"/shop/a", "/shop", "/a", b"/shop/a"),
        ("/a", b"/a", "/shop", "/a", b"/shop/a"),
        ("/shop", b"/shop", "/shop", "/", b"/shop"),
        ("/shop/", b"/shop/", "/shop/", "/", b"/shop/"),
        ("/shopping", b"/shopping", "/shop", "/shopping", b"/shop/shopping"),
        ("/a b/c", b"/a%20b/c", "/a b", "/c", b"/a%20b/c"),
        ("/c", b"/c", "/\udcff", "/c", b"/%ED%B3%BF/c"),
    ],
)
def test_k03_servers_differ_in_whether_the_path_has_the_root(
    path: str, raw_path: bytes, root_path: str, inside: str, full: bytes
) -> None:
    assert mounted_path(path, raw_path, root_path)[:2] == (inside, full)
    scope = http_scope(path=path, raw_path=raw_path, root_path=root_path)
    request = read_request(scope)
    assert (request.path, request.raw_path) == (inside, full)


def test_repeated_fields_are_combined_and_cookies_with_semicolons() -> None:
    lines = [(b"accept", b"a"), (b"cookie", b"a=1"), (b"accept", b"b"), (b"cookie", b"b=2")]
    assert combined(lines) == {b"accept": b"a, b", b"cookie": b"a=1; b=2"}
    scope = {**http_scope(), "headers": lines}
    assert read_request(scope).fields == combined(lines)
    assert read_request({**scope, "headers": [list(line) for line in lines]}).fields == combined(
        lines
    )


def test_with_handle_copies() -> None:
    cases: list[dict[str, Any] | None] = [None, {}, {"tls": {}}]
    for extensions in cases:
        scope = http_scope(extensions=extensions)
        scope["extensions"] = extensions
        copied = with_handle(scope, "handle")
        assert copied["extensions"] == {**(extensions or {}), "asgi_cache": "handle"}
        assert scope["extensions"] is extensions
        assert "asgi_cache" not in (extensions or {})
    del scope["extensions"]
    assert with_handle(scope, "handle")["extensions"] == {"asgi_cache": "handle"}


def test_replaced_lines() -> None:
    lines = [(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"c", b"1")]
    assert replaced_lines(lines, {}) == lines
    assert replaced_lines(lines, {b"a": b"x", b"b": None}) == [(b"a", b"x"), (b"c", b"1")]
    assert replaced_lines(lines, {b"absent": b"x"}) == lines


# ------------------------------------------------------------------ the anonymous scope


@pytest.mark.parametrize(
    ("found", "start_up", "hidden"),
    [
        ({}, None, False),
        ({}, {}, False),
        ({"a": 1}, {"a": 1}, False),
        ({"a": 1}, {}, True),
        ({"a": 1}, None, True),
        ({}, {"a": 1}, True),
        ({"a": 2}, {"a": 1}, True),
        ({"b": 1}, {"a": 1}, True),
    ],
)
def test_state_is_replaced_by_that_of_start_up(
    found: dict[str, int], start_up: dict[str, int] | None, hidden: bool
) -> None:
    original = dict(found)
    scope = with_handle(http_scope(state=found), "handle")
    anonymous, told = anonymous_scope(scope, start_up)
    assert (anonymous["state"], told) == (start_up or {}, hidden)
    assert found == original
    assert anonymous["state"] is not start_up


def test_state_is_not_made_where_there_is_none() -> None:
    scope = with_handle(http_scope(), "handle")
    del scope["state"]
    anonymous, hidden = anonymous_scope(scope, {"a": 1})
    assert ("state" in anonymous, hidden) == (False, False)


# ------------------------------------------------------------------ responses


def test_a_response_in_lower_case() -> None:
    message: Message = {"type": START, "status": 200, "headers": [(b"X-A", b"B"), [b"x", b""]]}
    head, passed = read_response(message)
    assert head == ResponseHead(200, ((b"x-a", b"B"), (b"x", b"")))
    assert passed is message


def test_an_iterator_is_read_out_once() -> None:
    message: Message = {"type": START, "status": 200, "headers": iter([(b"a", b"1")])}
    head, passed = read_response(message)
    assert head == ResponseHead(200, ((b"a", b"1"),))
    assert passed == {"type": START, "status": 200, "headers": [(b"a", b"1")]}
    assert passed is not message


@pytest.mark.parametrize(
    "message",
    [
        {"status": None},
        {"status": True},
        {},
        {"status": 200, "headers": None},
        {"status": 200, "headers": 7},
        {"status": 200, "headers": "text"},
        {"status": 200, "headers": {b"a": b"b"}},
        {"status": 200, "headers": [(b"a",)]},
        {"status": 200, "headers": [(b"a", b"b", b"c")]},
        {"status": 200, "headers": [("a", b"b")]},
        {"status": 200, "headers": [(b"a", None)]},
        {"status": 200, "headers": [(b"a", bytearray(b"b"))]},
        {"status": 200, "headers": [(b"a b", b"c")]},
        {"status": 200, "headers": [(b"", b"c")]},
        {"status": 200, "headers": [(b"a:", b"c")]},
        {"status": 200, "headers": [(b"a", b"b\r")]},
        {"status": 200, "headers": [(b"a", b"b\n")]},
        {"status": 200, "headers": [(b"a", b"b\0")]},
    ],
    ids=repr,
)
def test_a_malformed_response_has_no_head(message: dict[str, Any]) -> None:
    head, passed = read_response(message)
    assert head is None
    assert passed == message or list(message["headers"]) == passed["headers"]


def test_with_lines_copies() -> None:
    message: Message = {"type": START, "status": 200, "headers": [(b"a", b"1")]}
    assert with_lines(message, [(b"b", b"2")])["headers"] == [(b"a", b"1"), (b"b", b"2")]
    assert message["headers"] == [(b"a", b"1")]
    assert with_lines({"type": START}, ()) == {"type": START, "headers": []}


def test_the_lines_of_a_repeated_field_are_kept_in_order_and_in_time() -> None:
    """What an app sends is read in the event loop: not in the square of its lines."""
    many = tuple((b"set-cookie", b"%d" % number) for number in range(20_000))
    began = time.process_time()
    head = ResponseHead(200, ((b"age", b"1"), *many, (b"via", b"a"), (b"via", b"b")))
    assert time.process_time() - began < 0.25
    assert head.values(b"set-cookie") == tuple(value for _, value in many)
    assert (head.values(b"age"), head.values(b"via")) == ((b"1",), (b"a", b"b"))
    assert head.values(b"none") == ()
